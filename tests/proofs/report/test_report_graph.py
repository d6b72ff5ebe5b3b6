"""The drawn graph: every link of the catalogue, boxes that do not overlap, columns that follow the
links.
"""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs_check import catalogue
from proofs_check.report.dependency_graph import draw
from proofs_check.report.graph_layout import components, depths, place, spread
from proofs_check.running.campaign import Result
from proofs_check.statements.verdict import inconclusive

GRAPHS = st.integers(2, 9).flatmap(
    lambda n: st.sets(
        st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] < e[1]),
        min_size=1,
    ).map(lambda edges: ([str(i) for i in range(n)], [(str(a), str(b)) for a, b in sorted(edges)]))
)


@given(GRAPHS)
def test_edges_lead_to_later_columns_and_boxes_keep_their_distance(
    graph: tuple[list[str], list[tuple[str, str]]],
) -> None:
    nodes, edges = graph
    found = place(nodes, edges)
    assert min(
        p.height for route in [found.places.values(), *found.edges.values()] for p in route
    ) == pytest.approx(0)
    for a, b in edges:
        route = found.edges[a, b]
        assert (route[0], route[-1]) == (found.places[a], found.places[b])
        assert [p.column for p in route] == list(
            range(found.places[a].column, found.places[b].column + 1)
        )
    for a, b in itertools.combinations(nodes, 2):
        if found.places[a].column == found.places[b].column:
            assert abs(found.places[a].height - found.places[b].height) >= 1 - 1e-9


@given(GRAPHS)
def test_parts_are_connected_and_no_edge_leaves_them(
    graph: tuple[list[str], list[tuple[str, str]]],
) -> None:
    nodes, edges = graph
    parts = components(nodes, edges)
    assert sorted(itertools.chain(*parts)) == sorted(nodes)
    home = {node: i for i, part in enumerate(parts) for node in part}
    assert all(home[a] == home[b] for a, b in edges)
    # As many parts as a spanning forest leaves: no part could be split.
    joined: list[set[str]] = []
    for a, b in edges:
        touched = [s for s in joined if s & {a, b}]
        joined = [s for s in joined if s not in touched] + [{a, b}.union(*touched)]
    alone = len(nodes) - sum(map(len, joined))
    assert len(parts) == len(joined) + alone


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="in a circle among"):
        depths("abc", [("a", "b"), ("b", "c"), ("c", "b")])


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=7))
def test_heights_are_the_nearest_allowed(wanted: list[float]) -> None:
    found = spread(wanted)
    assert all(b - a >= 1 - 1e-9 for a, b in itertools.pairwise(found))
    # The optimum of a convex problem: no feasible point has a smaller sum of squares; these are
    # some of them.
    best = sum((x - w) ** 2 for x, w in zip(found, wanted, strict=True))
    for i, step in itertools.product(range(len(wanted)), (-0.01, 0.01)):
        moved = [x + step * ((j >= i) if step > 0 else (j <= i)) for j, x in enumerate(found)]
        assert sum((x - w) ** 2 for x, w in zip(moved, wanted, strict=True)) >= best - 1e-9


@pytest.fixture(scope="module")
def results() -> list[Result]:
    verdict = inconclusive("made up")
    theorems = catalogue.theorems().values()
    return [
        Result(theorem=t, verdict=verdict, verdicts=(verdict,) * len(t.experiments), units=())
        for t in theorems
    ]


def test_every_statement_is_drawn_or_listed_and_every_link_is_a_line(results: list[Result]) -> None:
    graph = draw(results)
    drawn = re.findall(r'<a href="#([^"]+)">', graph.svg)
    claims = [r.theorem for r in results if not catalogue.is_control(r.theorem.key)]
    assert sorted([*drawn, *graph.alone]) == sorted(t.key for t in claims)
    assert len(set(drawn)) == len(drawn)
    rests = {(used, t.key) for t in claims for used in t.uses}
    repairs = {(t.repaired_by, t.key) for t in claims if t.repaired_by}
    assert graph.svg.count('class="repairs"') == len(repairs)
    assert graph.svg.count('class="supports"') == len(rests - repairs)
    assert graph.edges == len(rests | repairs)


def test_no_two_boxes_overlap_and_none_leaves_the_sheet(results: list[Result]) -> None:
    svg = draw(results).svg
    width, height = (float(x) for x in re.findall(r'viewBox="-1 0 (\d+) (\d+)"', svg)[0])
    boxes = []
    for part in svg.split('<g transform="translate(')[1:]:
        dx, dy = map(float, re.match(r"(-?\d+) (-?\d+)", part).groups())  # type: ignore[union-attr]
        for x, y, w, h in re.findall(
            r'<rect x="([^"]+)" y="([^"]+)" width="([^"]+)" height="([^"]+)"', part
        ):
            boxes.append((float(x) + dx, float(y) + dy, float(w), float(h)))
    assert len(boxes) == svg.count("<rect")
    for x, y, w, h in boxes:
        assert x >= -1
        assert y >= -0.5
        assert x + w <= width
        assert y + h <= height
    for (x, y, w, h), (u, v, s, t) in itertools.combinations(boxes, 2):
        assert x + w <= u or u + s <= x or y + h <= v or v + t <= y


def test_without_links_there_is_nothing_to_draw(results: list[Result]) -> None:
    lonely = [r for r in results if r.theorem.key == "aa22.minimal-degree"]
    graph = draw(lonely)
    assert (graph.svg, graph.edges, graph.alone) == ("", 0, ("aa22.minimal-degree",))
