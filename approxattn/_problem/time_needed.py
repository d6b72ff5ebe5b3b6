"""Settings that would take minutes are refused before the work begins.

Times are estimates for one core, from rates measured once; nothing certified rests on them. A
method may always take as long as exact attention of the same tokens: then it is their number that
takes time, and not a setting.
"""

from __future__ import annotations

import math

from approxattn._arguments import check_memory
from approxattn._problem import Problem

LONGEST = 120.0
"""Seconds that settings may cost a call. *Chosen*: who waits longer has most likely mistyped."""

PATIENCE = 180.0
"""Times `LONGEST` that recomputed rows may take: six hours. *Chosen*: an audit of a long sequence
is asked for on purpose, and nothing else says what it says.
"""

PRODUCT, SCORE, STEP, NORMAL = 5e-11, 5e-9, 2.5e-5, 4e-8
"""Seconds for one multiply-add of a matrix product, one number that is moved or exponentiated, one
round of a loop in Python, one normal random number. Measured with NumPy on one core of 2024.
"""


def exact_seconds(problem: Problem, rows: float | None = None) -> float:
    """Return about the seconds of exact attention; of some rows of it if their number is given."""
    queries = math.prod(problem.batch) * problem.n_q if rows is None else rows
    return queries * problem.n_k * (PRODUCT * (problem.d + problem.dv) + SCORE)


def spelled(seconds: float) -> str:
    """Return a duration as words."""
    for unit, size in (("years", 3.2e7), ("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 60:.2g} minutes"


def check_time(
    name: str, value: object, seconds: float, what: str, remedy: str, allowed: float = 0.0
) -> None:
    """Raise ValueError, before anything is made, where `what` would take longer than `LONGEST` and
    than the time `allowed`.

    `name` is the setting to change, `value` what it is, `remedy` what to do.
    """
    if seconds > max(LONGEST, allowed):
        msg = (
            f"{name}(={value}): {what} would take about {spelled(seconds)} of one core (the limit "
            f"is {spelled(max(LONGEST, allowed))}): {remedy}"
        )
        raise ValueError(msg)


def check_rows_fit(problem: Problem, rows: int, taken: int, columns: int) -> None:
    """Refuse rows to recompute that this machine cannot hold, or that would take a working day.

    `rows` were asked for, `taken` are there; `columns` numbers are kept of each.
    """
    check_memory("rows", rows, taken * columns, "what is kept of the rows")
    check_time(
        "rows",
        rows,
        exact_seconds(problem, taken),
        f"{taken} rows of {problem.n_k} keys",
        "lower rows",
        PATIENCE * LONGEST,
    )


def check_setting(problem: Problem, name: str, value: object, seconds: float, what: str) -> None:
    """`check_time` for a setting of a method, which is to be lowered."""
    check_time(name, value, seconds, what, f"lower {name}", exact_seconds(problem))
