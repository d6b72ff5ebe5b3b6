"""Places for the boxes of a graph without cycles: columns by depth, few crossings, short edges.

Pure arithmetic, no drawing.

Sugiyama, Tagawa & Toda, Methods for visual understanding of hierarchical system structures, IEEE
Trans. SMC 11 (1981), in its plainest form: layers by the longest path, long edges cut by bends,
every layer ordered by the means of its neighbours; heights then by least squares with a least
distance.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Place", "Placed", "components", "depths", "place"]

_SWEEPS = 24
"""Passes over the layers, forth and back in turn. *Chosen*: later ones move nothing by more than a
pixel on our graphs.
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Column, counted from 0, and height of the middle, in units of the least distance between two
    boxes.
    """

    column: int
    height: float


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A finished layout: places by node, and for every edge the places that it passes through, ends
    included.
    """

    places: Mapping[str, Place]
    edges: Mapping[tuple[str, str], tuple[Place, ...]]


def depths(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Length of the longest path that ends at each node; an edge (a, b) leads from a to b.

    Raises
    ------
    ValueError
        When the edges lead round in a circle.
    """
    before: dict[str, list[str]] = {node: [] for node in nodes}
    for a, b in edges:
        before[b].append(a)
    layers: dict[str, int] = {}
    while len(layers) < len(before):
        ready = [
            n
            for n, needed in before.items()
            if n not in layers and all(m in layers for m in needed)
        ]
        if not ready:
            msg = (
                f"edges lead round in a circle among {sorted(set(before) - set(layers))}: a "
                "layered drawing needs none"
            )
            raise ValueError(msg)
        layers |= {node: 1 + max((layers[m] for m in before[node]), default=-1) for node in ready}
    return layers


def components(nodes: Sequence[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Connected parts in the order of their first nodes; the nodes of each in the given order."""
    leader = {node: node for node in nodes}

    def find(node: str) -> str:
        while leader[node] != node:
            node = leader[node]
        return node

    for a, b in edges:
        leader[find(a)] = find(b)
    parts: dict[str, list[str]] = {}
    for node in nodes:
        parts.setdefault(find(node), []).append(node)
    return list(parts.values())


def place(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Placed:
    """Lay out one graph; what is topmost stands at the height 0.

    Parameters
    ----------
    nodes : sequence of str
        In the order in which they should stand in their columns, where the edges leave a choice.
    edges : sequence of pairs
        (a, b) puts b in a later column than a.
    """
    depth = depths(nodes, edges)
    chains = {edge: _chain(edge, depth) for edge in edges}
    columns: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for node in nodes:
        columns[depth[node]].append(node)
    neighbours: dict[str, list[str]] = {node: [] for node in nodes}
    column_of = dict(depth)
    for chain in chains.values():
        for i, point in enumerate(chain):
            if point not in neighbours:
                neighbours[point] = []
                column_of[point] = depth[chain[0]] + i
                columns[column_of[point]].append(point)
        for a, b in itertools.pairwise(chain):
            neighbours[a].append(b)
            neighbours[b].append(a)
    heights = _heights(columns, neighbours, column_of)
    top = min(heights.values())
    places = {point: Place(column=column_of[point], height=y - top) for point, y in heights.items()}
    return Placed(
        places={node: places[node] for node in nodes},
        edges={edge: tuple(places[point] for point in chain) for edge, chain in chains.items()},
    )


def _chain(edge: tuple[str, str], depth: Mapping[str, int]) -> tuple[str, ...]:
    """The edge with a bend, named after both ends, in every column between."""
    a, b = edge
    return (a, *(f"{a} > {b} {i}" for i in range(depth[a] + 1, depth[b])), b)


def _heights(
    columns: list[list[str]], neighbours: Mapping[str, list[str]], column_of: Mapping[str, int]
) -> dict[str, float]:
    heights = {point: float(i) for column in columns for i, point in enumerate(column)}
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for column in columns if forth else reversed(columns):
            wanted = {}
            for point in column:
                near = [m for m in neighbours[point] if (column_of[m] < column_of[point]) == forth]
                if sweep >= _SWEEPS - 2:  # in the end both sides count
                    near = neighbours[point]
                wanted[point] = (
                    sum(heights[m] for m in near) / len(near) if near else heights[point]
                )
            ordered = sorted(column, key=lambda p: (wanted[p], heights[p]))
            heights |= dict(zip(ordered, spread([wanted[p] for p in ordered]), strict=True))
    return heights


def spread(wanted: Sequence[float]) -> list[float]:
    """Heights at least 1 apart, in the given order, nearest to those wanted in the sum of squares
    (pool adjacent violators).
    """
    # With z_i = y_i - i the constraint is z_i <= z_{i+1}: isotonic regression of w_i - i.
    blocks: list[tuple[float, int]] = []
    for i, w in enumerate(wanted):
        mean, size = w - i, 1
        while blocks and blocks[-1][0] >= mean:
            other, count = blocks.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        blocks.append((mean, size))
    levels = [mean for mean, size in blocks for _ in range(size)]
    return [level + i for i, level in enumerate(levels)]
