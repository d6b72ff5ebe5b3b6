"""Inequalities about one row of weights, each as an identity with non-negative terms.

Several entries of this folder rest on them, so they stand once. Letters:

    f        weights of one row, f_j >= 0 and sum_j f_j = 1
    x        numbers between lo and hi
    p        a row that sums to 0, for example f~ - f or a row of P~ - P
    rho      largest over smallest f~_j / f_j

A row that sums to 0:

1. Let p_j = a_j >= 0 on a set of keys and p_j = -b_j <= 0 on the others: sum a = sum b = |p|_1/2.
2. (hi - lo) sum a - sum_j p_j x_j = sum a_j (hi - x_j) + sum b_j (x_j - lo) >= 0.
3. With -p for p: |sum_j p_j x_j| <= |p|_1 (hi - lo)/2.

Ratios of weights, f~_j = f_j w_j / <f, w> with w_j = 1 + (rho - 1) s_j and 0 <= s_j <= 1:

4. rho <f, w> - w_j = (rho - 1)((1 - s_j) + rho <f, s>) >= 0, so f~_j <= rho f_j.
5. rho w_j - <f, w> = (rho - 1)(rho s_j + <f, 1 - s>) >= 0, so f~_j >= f_j / rho.
6. (rho - 1) - (1 - 1/rho) = (rho - 1)^2/rho >= 0, so |f~_j - f_j| <= (rho - 1) f_j.

Distance from the mean m = <f, x>, for any set S of keys with a = f(S):

7. a (1 - a)(hi - lo) - sum_S f_j (x_j - m) = (1 - a) sum_S f_j (hi - x_j)
       + a sum_rest f_j (x_j - lo) >= 0.
8. 1/4 - a (1 - a) = (1/2 - a)^2 >= 0.
9. sum_j f_j |x_j - m| is twice the sum over S = {x_j > m}, so it is at most (hi - lo)/2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from proofs_check.statements.experiment import Identity

__all__ = ["deviation", "dot", "ratios", "weights", "zero_sum"]


def dot(x: Sequence[Any], y: Sequence[Any]) -> Any:
    """Return the sum of the products of two rows of ring elements."""
    first, *rest = [a * b for a, b in zip(x, y, strict=True)]
    return sum(rest, first)


def weights(free: Sequence[Any], one: Any) -> list[Any]:
    """Return a row that sums to one: the free entries, and what they leave."""
    return [*free, one - sum(free, 0 * one)]


def zero_sum(keys: Sequence[int], half: Fraction = Fraction(1, 2)) -> Iterator[Identity]:
    """Step 2 for every number of non-negative entries; `half` is the constant of step 3."""
    from sympy import QQ, ring

    for n in keys:
        for k in range(1, n):
            names = [*(f"a{j}" for j in range(k)), *(f"b{j}" for j in range(n - k - 1))]
            _, *s = ring([*names, *(f"x{j}" for j in range(n)), "lo", "hi"], QQ)
            a, x, (lo, hi) = s[:k], s[n - 1 : -2], s[-2:]
            total = sum(a, 0 * lo)
            b = [*s[k : n - 1], total - sum(s[k : n - 1], 0 * lo)]
            seen = dot(a, x[:k]) - dot(b, x[k:])
            left = dot(a, [hi - y for y in x[:k]]) + dot(b, [y - lo for y in x[k:]])
            bound = QQ(2 * half.numerator, half.denominator) * total * (hi - lo)
            yield Identity(bound - seen, left, f"{n} keys, {k} non-negative entries")


def ratios(keys: Sequence[int]) -> Iterator[Identity]:
    """Steps 4 to 6, the key being the first; the others are alike."""
    from sympy import QQ, field, ring

    for n in keys:
        _, *g = ring([*(f"f{j}" for j in range(n - 1)), *(f"s{j}" for j in range(n)), "rho"], QQ)
        rho, s = g[-1], g[n - 1 : -1]
        f = weights(g[: n - 1], rho**0)
        w = [1 + (rho - 1) * y for y in s]
        above = (rho - 1) * ((1 - s[0]) + rho * dot(f, s))
        below = (rho - 1) * (rho * s[0] + dot(f, [1 - y for y in s]))
        yield Identity(rho * dot(f, w) - w[0], above, f"f~ <= rho f, {n} keys")
        yield Identity(rho * w[0] - dot(f, w), below, f"f~ >= f/rho, {n} keys")
    _, r = field("rho", QQ)
    yield Identity((r - 1) - (1 - 1 / r), (r - 1) ** 2 / r, "1 - 1/rho <= rho - 1")


def deviation(keys: Sequence[int], quarter: Fraction = Fraction(1, 4)) -> Iterator[Identity]:
    """Steps 7 and 8 for every size of S; `quarter` is the constant of step 8."""
    from sympy import QQ, ring

    for n in keys:
        _, *g = ring(
            [*(f"f{j}" for j in range(n - 1)), *(f"x{j}" for j in range(n)), "lo", "hi"], QQ
        )
        x, (lo, hi) = g[n - 1 : -2], g[-2:]
        f = weights(g[: n - 1], lo**0)
        mean = dot(f, x)
        for k in range(1, n):
            a = sum(f[:k], 0 * lo)
            above = dot(f[:k], [y - mean for y in x[:k]])
            inside = (1 - a) * dot(f[:k], [hi - y for y in x[:k]])
            outside = a * dot(f[k:], [y - lo for y in x[k:]])
            label = f"{n} keys, {k} in S"
            yield Identity(a * (1 - a) * (hi - lo) - above, inside + outside, label)
    _, a = ring("a", QQ)
    yield Identity(
        QQ(quarter.numerator, quarter.denominator) - a * (1 - a), (a - QQ(1, 2)) ** 2, "a (1 - a)"
    )
