"""A graph carried out in this process, task after task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from approxattn.sharding.plan import Graph, Ref, filled, needed, refs_of


def run_here(graph: Graph, wanted: Sequence[Ref]) -> Iterator[tuple[Ref, Any]]:
    """Yield what is finished: each wanted result when it is there, None for other tasks. Nothing is
    kept longer than it is needed.
    """
    tasks = needed(graph, wanted)
    users = Counter(ref.key for task in tasks.values() for ref in refs_of(task))
    awaited = {ref.key for ref in wanted}
    results: dict[Any, Any] = {}
    for key, task in tasks.items():
        function, *arguments = filled(task, results)
        result = function(*arguments)
        for ref in refs_of(task):
            users[ref.key] -= 1
            if not users[ref.key]:
                results.pop(ref.key, None)
        if users[key]:
            results[key] = result
        yield Ref(key), result if key in awaited else None
