"""Which tasks of a graph can start, as others finish."""

from __future__ import annotations

import heapq
from typing import Any

from approxattn.sharding.plan import Graph, refs_of


class Ready:
    """The tasks that can start, earlier ones of the graph first; a step takes O(log tasks)."""

    def __init__(self, graph: Graph) -> None:
        self._keys = list(graph)
        order = {key: i for i, key in enumerate(self._keys)}
        self._users: dict[Any, list[int]] = {key: [] for key in graph}
        self._missing = []
        for i, task in enumerate(graph.values()):
            needs = {ref.key for ref in refs_of(task)}
            self._missing.append(len(needs))
            for key in needs:
                self._users[key].append(i)
        self._heap = [order[key] for key in graph if not self._missing[order[key]]]
        heapq.heapify(self._heap)

    def __bool__(self) -> bool:
        return bool(self._heap)

    def take(self) -> Any:
        """Return the key of the first task that can start, and forget it."""
        return self._keys[heapq.heappop(self._heap)]

    def finish(self, key: Any) -> None:
        """Let those start that waited for this one alone."""
        for i in self._users[key]:
            self._missing[i] -= 1
            if not self._missing[i]:
                heapq.heappush(self._heap, i)
