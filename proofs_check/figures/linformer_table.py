"""Table 3 of Linformer: time and memory saved, the printed numbers beside counted ones.

Counted is a layer of RoBERTa-base, D = 768 in h = 12 heads, perceptron 4 D wide, which the paper
trains; it does not say which model it times. Multiply-adds, with n tokens and k rows:

    projections of q, k, v and the output         4 n D^2
    perceptron                                    8 n D^2
    scores and product with the values            2 n^2 D    exact        2 n k D    projected
    E k and F v                                              +            2 n k D

Numbers held at the widest place: q, k, v and the input, 4 n D; the scores, h n^2 or h n k; the
projected keys and values, 2 k D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from proofs_check.figures.record import Axis, Figure, Key, Panel, Printed, Series

Table: TypeAlias = Mapping[int, tuple[float, ...]]

_D, _HEADS = 768, 12
RANKS = (128, 256, 512, 1024, 2048)

TIME: Table = {
    512: (1.5, 1.3),
    1024: (1.7, 1.6, 1.3),
    2048: (2.6, 2.4, 2.1, 1.3),
    4096: (3.4, 3.2, 2.8, 2.2, 1.3),
    8192: (5.5, 5.0, 4.4, 3.5, 2.1),
    16384: (8.6, 7.8, 7.0, 5.6, 3.3),
    32768: (13, 12, 11, 8.8, 5.0),
    65536: (20, 18, 16, 14, 7.9),
}
"""Printed, times saved in time on a V100, by n and then k."""

MEMORY: Table = {
    512: (1.7, 1.5),
    1024: (3.0, 2.9, 1.8),
    2048: (6.1, 5.6, 3.6, 2.0),
    4096: (14, 13, 8.3, 4.3, 2.3),
    8192: (28, 26, 17, 8.5, 4.5),
    16384: (56, 48, 32, 16, 8),
    32768: (56, 48, 36, 18, 16),
    65536: (60, 52, 40, 20, 18),
}
"""Printed, times saved in memory."""


def time_saved(n: int, k: int) -> float:
    """Multiply-adds of a layer with exact attention over those with k projected rows."""
    rest = 12 * n * _D**2
    return (rest + 2 * n * n * _D) / (rest + 4 * n * k * _D)


def memory_saved(n: int, k: int) -> float:
    """Numbers held by a layer with exact attention over those with k projected rows."""
    return (4 * n * _D + _HEADS * n * n) / (4 * n * _D + _HEADS * n * k + 2 * k * _D)


def linformer_savings(tiny: bool = False) -> Figure:
    """Time and memory saved by a projection to k rows, printed and counted."""
    columns = (0, 2, 4)[: 2 if tiny else None]
    quotients = [time_saved(n, RANKS[j]) / t for n, row in TIME.items() for j, t in enumerate(row)]
    return Figure(
        name="linformer-savings",
        title="What k projected keys save: Linformer, Table 3",
        claims=("code.cost-linformer-gaussian", "code.cost-exact"),
        caption="Printed: runs of a whole model on a V100, which model is not said. Counted: "
        "multiply-adds, and numbers held, for a layer of RoBERTa-base with its projections "
        f"and perceptron. Counted over printed time is {min(quotients):.1f} to "
        f"{max(quotients):.1f}: exponentials and traffic of the n x n scores are not counted. "
        "Printed memory is the largest batch that fits, and stops doubling where that is small.",
        panels=(
            _panel("time saved, times", TIME, time_saved, columns),
            _panel("memory saved, times", MEMORY, memory_saved, columns),
        ),
        printed=tuple(
            Printed(
                what=f"n = {n:,}: time; memory, k = {', '.join(map(str, RANKS[: len(TIME[n])]))}",
                source=f"{_row(TIME[n])}; {_row(MEMORY[n])}",
                ours=f"{_row(_counted(time_saved, n))}; {_row(_counted(memory_saved, n))}",
            )
            for n in TIME
        ),
        of_paper="Linformer, Table 3, times and memory, in operations and numbers held",
        facts={
            "time, n = 65536, k = 128": time_saved(65536, 128),
            "memory, n = 65536, k = 128": memory_saved(65536, 128),
            "least quotient": min(quotients),
            "largest quotient": max(quotients),
        },
    )


def _panel(
    label: str, table: Table, count: Callable[[int, int], float], columns: tuple[int, ...]
) -> Panel:
    series: list[Series] = []
    for colour, j in enumerate(columns):
        k = RANKS[j]
        sizes = [n for n, row in table.items() if len(row) > j]
        printed = [table[n][j] for n in sizes]
        counted = [count(n, k) for n in sizes]
        series.append(Series(label=f"k = {k}", x=sizes, y=counted, colour=colour))
        series.append(Series(label="", x=sizes, y=printed, kind="points", colour=colour))
    return Panel(
        x=Axis(label="tokens n", log=True, base=2),
        y=Axis(label=label, log=True),
        series=tuple(series),
        keys=(Key(label="counted", kind="line"), Key(label="printed", kind="points")),
    )


def _counted(count: Callable[[int, int], float], n: int) -> tuple[float, ...]:
    return tuple(count(n, k) for k in RANKS[: len(TIME[n])])


def _row(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{x:.2g}" for x in numbers)
