"""The graph of what rests on what, as SVG text: boxes in the colours of the verdicts, every box a
link to its section.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from proofs_check.catalogue import is_control
from proofs_check.report.graph_layout import Place, components, place
from proofs_check.running.campaign import Result

__all__ = ["Graph", "draw"]

_STEP, _HEIGHT = 21.0, 17.0
"""Distance of two boxes and height of one, in pixels. *Chosen*, as are the other measures here."""

_LETTER, _PADDING, _GAP = 6.05, 14.0, 58.0
"""Width of a letter, what a box adds to its text, room for the edges between two columns."""

_PAGE = 1130.0
"""Width of the drawing, that of the page."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The drawing, and the keys without any link, which are not drawn."""

    svg: str
    alone: tuple[str, ...]
    edges: int


def draw(results: Sequence[Result]) -> Graph:
    """Draw the links among the statements of this run; controls are left out.

    Each statement stands to the right of what it rests on; a refuted one to the right of what
    repairs it, with a broken line.
    """
    by_key = {r.theorem.key: r for r in results if not is_control(r.theorem.key)}
    rests = [(used, key) for key, r in by_key.items() for used in r.theorem.uses if used in by_key]
    repairs = [(key, r.theorem.repaired_by) for key, r in by_key.items()]
    broken = [(repair, key) for key, repair in repairs if repair in by_key and repair is not None]
    edges = list(dict.fromkeys([*rests, *broken]))
    linked = {key for edge in edges for key in edge}
    nodes = [key for key in by_key if key in linked]
    parts = sorted(components(nodes, edges), key=len, reverse=True)
    drawn = [_part(part, edges, set(broken), by_key) for part in parts]
    alone = tuple(key for key in by_key if key not in linked)
    return Graph(svg=_sheet(drawn) if drawn else "", alone=alone, edges=len(edges))


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One connected part, drawn from its own origin."""

    svg: str
    width: float
    height: float


def _sheet(parts: Sequence[_Part]) -> str:
    """Wide parts on top, the others below them in two stacks, each on the one that is shorter so
    far.
    """
    tops, body = [0.0, 0.0], []
    for part in sorted(parts, key=lambda p: p.width <= _PAGE / 2):
        wide = part.width > _PAGE / 2
        i = 0 if wide else tops.index(min(tops))
        body.append(f'<g transform="translate({i * _PAGE / 2:.0f} {tops[i]:.0f})">{part.svg}</g>')
        top = tops[i] + part.height + _STEP / 2
        tops = [top, top] if wide else [*tops[:i], top, *tops[i + 1 :]]
    width, height = max(_PAGE, *(part.width for part in parts)) + 2, max(tops)
    head = (
        f'<svg viewBox="-1 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        'role="img" aria-labelledby="graph-title"><defs><marker id="graph-arrow" viewBox="0 0 8 '
        '8" refX="7" refY="4" markerWidth="5.5" markerHeight="5.5" orient="auto"><path d="M0 0.5 '
        '8 4 0 7.5z"/></marker></defs>'
    )
    return "\n".join([head, *body, "</svg>"])


def _part(
    nodes: Sequence[str],
    edges: Sequence[tuple[str, str]],
    broken: set[tuple[str, str]],
    by_key: Mapping[str, Result],
) -> _Part:
    placed = place(nodes, [edge for edge in edges if edge[0] in nodes])
    widths = _widths(placed.places)
    lines = [
        _line(edge, route, widths, broken=edge in broken) for edge, route in placed.edges.items()
    ]
    boxes = [_box(by_key[key], placed.places[key], widths) for key in nodes]
    lowest = max(
        p.height for route in [*placed.edges.values(), placed.places.values()] for p in route
    )
    return _Part(
        svg="\n".join([*lines, *boxes]),
        width=sum(widths) + _GAP * (len(widths) - 1),
        height=(lowest + 1) * _STEP,
    )


def _widths(places: Mapping[str, Place]) -> list[float]:
    """Width of every column: that of its longest key."""
    columns = 1 + max(p.column for p in places.values())
    return [
        _box_width(max((k for k, p in places.items() if p.column == c), key=len))
        for c in range(columns)
    ]


def _left(column: int, widths: Sequence[float]) -> float:
    return sum(widths[:column]) + _GAP * column


def _middle(p: Place) -> float:
    return p.height * _STEP + _STEP / 2


def _line(
    edge: tuple[str, str], route: Sequence[Place], widths: Sequence[float], *, broken: bool
) -> str:
    """Curves between columns, straight across the columns between."""
    start, *bends, end = route
    x, y = _left(start.column, widths) + _box_width(edge[0]), _middle(start)
    path = f"M{x:.0f} {y:.1f}"
    if x < _left(start.column, widths) + widths[start.column]:
        x = _left(start.column, widths) + widths[start.column]
        path += f"H{x:.0f}"
    for p in [*bends, end]:
        left, below = _left(p.column, widths), _middle(p)
        half = (x + left) / 2
        path += f"C{half:.0f} {y:.1f} {half:.0f} {below:.1f} {left:.0f} {below:.1f}"
        x, y = left, below
        if p is not end:
            x = left + widths[p.column]
            path += f"H{x:.0f}"
    return (
        f'<path class="{"repairs" if broken else "supports"}" d="{path}" '
        'marker-end="url(#graph-arrow)"/>'
    )


def _box_width(key: str) -> float:
    return len(key) * _LETTER + _PADDING


def _box(result: Result, p: Place, widths: Sequence[float]) -> str:
    key = escape(result.theorem.key)
    x, y = _left(p.column, widths), _middle(p) - _HEIGHT / 2
    return (
        f'<a href="#{key}"><g class="{result.verdict.status}"><title>{key}: '
        f'{result.verdict.status}. {escape(result.theorem.title)}</title><rect x="{x:.0f}" '
        f'y="{y:.1f}" width="{_box_width(key):.0f}" height="{_HEIGHT:.0f}" rx="4"/><text '
        f'x="{x + _PADDING / 2:.0f}" y="{y + 12.2:.1f}" '
        f'textLength="{len(key) * _LETTER:.0f}">{key}</text></g></a>'
    )
