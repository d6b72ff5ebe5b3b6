"""Our own statements about summary keys near the query they were made for.

A cell is a set of keys k_j with values v_j. q0 is a query, q = q0 + s delta another one, and

    pi_j    e^<q0, k_j> / M, with M = sum_j e^<q0, k_j>
    x_j     <delta, k_j>, and x_pi = sum_j pi_j x_j = <delta, k_pi>, k_pi the mean key under pi
    v_pi    sum_j pi_j v_j, the mean value
    F, N    exact mass M sum_j pi_j e^(s x_j), and exact sum M sum_j pi_j e^(s x_j) v_j of the cell
    F~, N~  what the summary key says: M e^(s x_pi), and F~ v_pi

1. F = M (1 + s x_pi + s^2 sum pi x^2 / 2 + ...) and F~ = M (1 + s x_pi + s^2 x_pi^2 / 2 + ...).
   So F and F~ agree to first order, and F - F~ = M Var_pi(x) s^2 / 2 + O(s^3).
2. N = M (v_pi + s sum pi x v + ...) and N~ = M (v_pi + s x_pi v_pi + ...). So they agree at
   s = 0, and N - N~ = M Cov_pi(x, v) s + O(s^2).
3. Let a row meet other keys exactly, with the sums E(s) and O(s). Its output (O + N) / (E + F) is
   off by r Cov_pi(x, v) s + O(s^2), where r = M / (E(0) + M) is the weight of the cell.
4. Cov_pi(x, v) is linear in x and in v, so it is largest where both take two values, their ends.
   Let a, b, c, d be the weights of the keys where x and v are high, only x is, only v is, none is:
   it is (a d - b c) osc(x) osc(v), and 4 (a d - b c) = 1 - (a - d)^2 - (b + c)(2 a + 2 d + b + c)
   - 4 b c. So it is at most osc(x) osc(v) / 4. Two keys of weight 1/2 attain it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.ours.rows import dot, weights
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__)
_KEYS = (2, 3, 4)


def _series(pi: Sequence[Any], x: Sequence[Any], v: Sequence[Any]) -> list[Any]:
    """Coefficients of sum_j pi_j e^(s x_j) v_j up to s^2."""
    return [dot(pi, [a**t * b / (1, 1, 2)[t] for a, b in zip(x, v, strict=True)]) for t in range(3)]


def _cell(n: int, extra: Sequence[str] = ()) -> tuple[Any, ...]:
    """Weights with sum 1, numbers x and v, and further indeterminates."""
    from sympy import QQ, field

    names = [*(f"pi{j}" for j in range(1, n)), *(f"x{j}" for j in range(n))]
    _, *free = field([*names, *(f"v{j}" for j in range(n)), *extra], QQ)
    pi, rest = weights(free[: n - 1], free[0] ** 0), free[n - 1 :]
    return pi, rest[:n], rest[n : 2 * n], rest[2 * n :]


def _masses(spread: int = 1) -> Iterator[Identity]:
    for n in _KEYS:
        pi, x, v, _ = _cell(n)
        mean, value = dot(pi, x), dot(pi, v)
        exact, found = _series(pi, x, [v[0] ** 0] * n), (mean**0, mean, mean**2 / 2)
        variance = dot(pi, [(y - mean) ** 2 for y in x])
        for t, gap in enumerate((0, 0, spread * variance / 2)):
            yield Identity(exact[t] - found[t], gap, f"{n} keys, mass, power {t}")
        yield Identity(_series(pi, x, v)[0], value, f"{n} keys, sum of values at q-")


def _slopes(kept: int = 1) -> Iterator[Identity]:
    for n in _KEYS:
        pi, x, v, others = _cell(n, ("E0", "E1", "O0", "O1", "M"))
        e0, e1, o0, o1, mass = others
        mean, value = dot(pi, x), dot(pi, v)
        covariance = kept * dot(pi, [(a - mean) * b for a, b in zip(x, v, strict=True)])
        exact = _series(pi, x, v)
        yield Identity(exact[1] - mean * value, covariance, f"{n} keys, slope of the sum")
        bottom, slope = e0 + mass, e1 + mass * mean
        tops = (
            (o0 + mass * value, o1 + mass * exact[1]),
            (o0 + mass * value, o1 + mass * mean * value),
        )
        right, wrong = ((b * bottom - a * slope) / bottom**2 for a, b in tops)
        yield Identity(right - wrong, mass / bottom * covariance, f"{n} keys, slope of the output")


def _largest_slope(whole: int = 1) -> Iterator[Identity]:
    """Step 4."""
    from sympy import QQ, ring

    _, a, b, c = ring("a, b, c", QQ)
    d = 1 - a - b - c
    high_x, high_v = a + b, a + c
    left = (a - d) ** 2 + (b + c) * (2 * a + 2 * d + b + c) + 4 * b * c
    yield Identity(whole - 4 * (a - high_x * high_v), left, "four sets of keys")


def _attained(_bits: int, quarter: Fraction = Fraction(1, 4)) -> Iterator[Comparison]:
    half = Fraction(1, 2)
    for width, osc in ((1, 1), (3, 2), (Fraction(1, 7), 5)):
        x, v = (0, width), (0, osc)
        covariance = (
            sum(half * a * b for a, b in zip(x, v, strict=True)) - half * width * half * osc
        )
        yield Comparison(covariance, quarter * width * osc, f"osc(x) = {width}, osc(v) = {osc}")


MEAN_QUERY = Theorem(
    key="ours.summary-mass-order",
    title="the mass of a summary key is right to first order",
    statement=(
        "With π_j ∝ e^⟨q₀,k_j⟩, mass M, mean key k_π and mean value v_π under π, a summary key has "
        "at q₀ the exact mass and the exact sum of values. At q₀ + sδ its mass M e^(s⟨δ,k_π⟩) is "
        "right to first order, and short of the exact one by M Var_π⟨δ,k⟩ s²/2 + O(s³)."
    ),
    source=_HERE,
    reading=(
        '"Exact at the mean query, first order around it" is true of the mass, hence of the weight '
        "that a row gives to the cell; of the output it is not: ours.summary-value-order"
    ),
    experiments=(
        Symbolic(
            identities=_masses,
            covers="statement",
            scope="2, 3 and 4 keys, all weights, keys, values and directions",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_masses, spread=0), covers="statement", scope="right to second order"
    ),
    remarks=("A summary key cannot be wrong to second order from above: ours.summary-mass.",),
)

VALUE_ORDER = Theorem(
    key="ours.summary-value-order",
    title="the output through a summary key is right to zeroth order only",
    statement=(
        "In the direction δ the output of a row that gives the weight r to a cell is off by "
        "r Cov_π(⟨δ,k⟩, v) s + O(s²) when a summary key stands for the cell, and "
        "|Cov_π(⟨δ,k⟩, v)| <= osc⟨δ,k⟩ osc(v)/4, which two keys attain."
    ),
    source=_HERE,
    reading=(
        "the summary drops how values go with keys inside the cell; each column of V by itself; "
        "all other keys of the row are met exactly"
    ),
    experiments=(
        Symbolic(
            identities=_slopes,
            covers="statement",
            scope="2, 3 and 4 keys, all weights, keys, values, directions and sums of other keys",
        ),
        Symbolic(
            identities=_largest_slope,
            covers="statement",
            scope="the bound of the covariance: any number of keys, all weights, keys and values",
        ),
        Enclose(
            certify=_attained,
            relation="=",
            covers="statement",
            scope="attained by two keys, three ranges",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_slopes, kept=0), covers="statement", scope="right to first order"
    ),
    remarks=(
        "The value v_π + C (q - q₀) with C = Cov_π(v, k) would make the output right to first "
        "order, for d dv numbers a cell in the place of dv.",
    ),
)

THEOREMS = (MEAN_QUERY, VALUE_ORDER)
