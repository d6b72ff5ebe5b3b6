"""The graph of one sharded call: measures, folds, merges in a fixed order, answers.

A graph is a dict from keys to tasks, a task a tuple of a function and its arguments, in which
`Ref(key)` stands for the result of another task: a Dask graph without Dask.

Order of merges. States of neighbouring blocks are merged in pairs, these in pairs again, and so
on: a tree that depends on the number of blocks alone. Who computes what, and when, changes no bit.
Under a causal mask block i needs the state of blocks 0 ... i - 1. What lies before the left half of
a node lies before the node, and before the right half lies the left one too: going down the tree
that gives all of them by one more merge a node, in twice the depth (Blelloch 1990; wording
unverified).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from approxattn.methods.sharded import Shards
from approxattn.sharding import tasks

Graph = dict[Any, tuple[Any, ...]]
Span = tuple[int, int]

SAMPLED_BLOCKS, SAMPLED_KEYS = 16, 2**14
"""Blocks whose first keys the centre is found from, and how many keys in all. *Chosen*: the mean of
so many is within a hundredth of the spread of the keys of the mean of all.
"""


@dataclass(frozen=True)
class Ref:
    """The result of another task."""

    key: Any


def spans(n: int, length: int) -> list[Span]:
    """Return 0..n-1 in runs of `length`, the last one shorter."""
    return [(first, min(n, first + length)) for first in range(0, n, length)]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the tokens are.

    Parameters
    ----------
    shards : Shards
        The call.
    queries, keys, values : sequence
        What stands for each block in the arguments of a task: an array, something with `read`, or
        a `Ref`.
    causal : bool
        Whether block i sees blocks 0..i only; then there are as many of each, of equal lengths.
    again : mapping of str to Layout
        What stands for the blocks in other passes, "measure" and "answer", where it differs.
    """

    shards: Shards
    queries: Sequence[Any]
    keys: Sequence[Any]
    values: Sequence[Any]
    causal: bool = False
    again: Mapping[str, Layout] = field(default_factory=dict)

    def in_pass(self, name: str) -> Layout:
        """Return what stands for the blocks in a pass."""
        return self.again.get(name, self)


def folded(layout: Layout, graph: Graph) -> tuple[Ref, list[Ref]]:
    """Add what comes before the answers; return the settings and the state of each block."""
    settings = _settings(layout, graph)
    states = []
    for i, (k, v) in enumerate(zip(layout.keys, layout.values, strict=True)):
        states.append(_add(graph, f"fold-{i}", tasks.fold, layout.shards, settings, k, v))
    return settings, states


def answers(layout: Layout, graph: Graph, finish: Callable[[int], tuple[Any, ...]]) -> list[Ref]:
    """Add everything up to the answer of each block of queries, and return these.

    `finish(i)` is a function that takes the pieces of the output of block i, and its arguments
    after those.
    """
    settings, states = folded(layout, graph)
    found = []
    if layout.causal:
        before = scanned(graph, "state", states)
        own = layout.in_pass("answer")
        blocks = zip(own.queries, own.keys, own.values, strict=True)
        for i, (q, k, v) in enumerate(blocks):
            task = tasks.advance, layout.shards, settings, before[i], q, k, v, *finish(i)
            found.append(_add(graph, f"out-{i}", *task))
        return found
    root = reduced(graph, "state", tasks.merge, states)
    for i, q in enumerate(layout.in_pass("answer").queries):
        task = tasks.answer, layout.shards, settings, root, q, *finish(i)
        found.append(_add(graph, f"out-{i}", *task))
    return found


def _settings(layout: Layout, graph: Graph) -> Ref:
    shards, layout = layout.shards, layout.in_pass("measure")
    every = -(-len(layout.keys) // SAMPLED_BLOCKS)
    some = layout.keys[::every]
    heads = [
        _add(graph, f"head-{i}", tasks.head, k, -(-SAMPLED_KEYS // len(some)))
        for i, k in enumerate(some)
    ]
    begun = _add(graph, "begin", tasks.begin, shards, *heads)
    measures: list[Ref | None] = [None, None]
    if shards.measured:
        of_queries = [
            _add(graph, f"queries-{i}", tasks.measure_queries, shards, q)
            for i, q in enumerate(layout.queries)
        ]
        of_keys = [
            _add(graph, f"keys-{i}", tasks.measure_keys, shards, begun, k)
            for i, k in enumerate(layout.keys)
        ]
        measures = [
            reduced(graph, name, tasks.larger, refs)
            for name, refs in (("queries", of_queries), ("keys", of_keys))
        ]
    return _add(graph, "settings", tasks.settle, shards, begun, *measures)


def reduced(graph: Graph, name: str, merge: Callable[..., Any], refs: list[Ref]) -> Ref:
    """Merge results by the fixed tree and return its root."""
    return _tree(graph, name, merge, refs)[-1][0]


def scanned(graph: Graph, name: str, refs: list[Ref]) -> list[Ref | None]:
    """Return for each result the merged ones before it; None before the first."""
    levels = _tree(graph, name, tasks.merge, refs)
    before: list[Ref | None] = [None]
    for level in range(len(levels) - 2, -1, -1):
        below, found = levels[level], []
        for i in range(len(below)):
            above = before[i // 2]
            if i % 2 and above is not None:
                key = f"{name}-before-{level}-{i}"
                above = _add(graph, key, tasks.merge, above, below[i - 1])
            elif i % 2:
                above = below[i - 1]
            found.append(above)
        before = found
    return before


def _tree(graph: Graph, name: str, merge: Callable[..., Any], refs: list[Ref]) -> list[list[Ref]]:
    """Return the levels of the tree, leaves first; a node without a neighbour rises as it is."""
    levels = [refs]
    while len(levels[-1]) > 1:
        below, above = levels[-1], []
        for i in range(0, len(below), 2):
            pair = below[i : i + 2]
            key = f"{name}-{len(levels)}-{i // 2}"
            above.append(_add(graph, key, merge, *pair) if len(pair) == 2 else pair[0])
        levels.append(above)
    return levels


def _add(graph: Graph, key: str, *task: Any) -> Ref:
    graph[key] = task
    return Ref(key)


def needed(graph: Graph, wanted: Sequence[Ref]) -> Graph:
    """Return what is needed for some results, in an order in which it can be computed, and which
    keeps few results at a time.
    """
    found: Graph = {}
    stack = [ref.key for ref in reversed(wanted)]
    while stack:
        key = stack[-1]
        # what is not in the graph is somebody else's
        missing = [r.key for r in refs_of(graph[key]) if r.key in graph and r.key not in found]
        if key in found or not missing:
            found.setdefault(key, graph[key])
            stack.pop()
        else:
            stack += reversed(missing)
    return found


def refs_of(task: tuple[Any, ...]) -> list[Ref]:
    """Return what a task refers to."""
    return [argument for argument in task[1:] if isinstance(argument, Ref)]


def filled(task: tuple[Any, ...], results: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Return a task with results in the place of what it refers to."""
    return tuple(results[x.key] if isinstance(x, Ref) else x for x in task)
