"""The floor of every low-rank approximation; nothing here is a quotation.

Rotations leave the Frobenius norm alone, so let P = diag(sigma), sigma_1 >= sigma_2 >= ... >= 0.

Rank 1, X = a b^T, n rows and columns:

1. |a|^2 |P - X|^2 = |a|^2 |P|^2 - |P a|^2 + |P a - |a|^2 b|^2.
2. |a|^2 |P|^2 - |P a|^2 - |a|^2 sum_{j>1} sigma_j^2
       = sum_{j>1} (sigma_1^2 - sigma_j^2) a_j^2 >= 0.

Rank n - 1: X^T w = 0 for some w != 0.

3. |w|^2 |P - X|^2 - |(P - X)^T w|^2 is a sum of squares, the 2 x 2 minors of each column with w.
4. |(P - X)^T w|^2 = |P w|^2, and
       |P w|^2 - sigma_n^2 |w|^2 = sum_{j<n} (sigma_j^2 - sigma_n^2) w_j^2 >= 0.

Any rank k: let 1 - Pi project on the complement of the range of X, of dimension n - k, and let
h_j be the diagonal of 1 - Pi, so that 0 <= h_j <= 1 and sum h = n - k.

5. |P - X|^2 >= |(1 - Pi) P|^2 = sum_j sigma_j^2 h_j.
6. With s_j = sigma_j^2: sum_j s_j h_j - sum_{j>k} s_j
       = sum_{j<=k} (s_j - s_k) h_j + sum_{j>k} (s_k - s_j)(1 - h_j) >= 0.

X = diag(sigma_1, ..., sigma_k, 0, ...) attains it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__)


def _rank_one() -> Iterator[Identity]:
    """Steps 1 and 2."""
    from sympy import QQ, ring

    for n in (2, 3, 4):
        _, *g = ring([f"{x}{j}" for x in ("s", "a", "b") for j in range(n)], QQ)
        s, a, b = g[:n], g[n : 2 * n], g[2 * n :]
        length = sum((x * x for x in a), 0 * s[0])
        pairs = itertools.product(range(n), repeat=2)
        away = sum((((s[i] if i == j else 0) - a[i] * b[j]) ** 2 for i, j in pairs), 0 * s[0])
        whole = sum((x * x for x in s), 0 * s[0])
        along = sum(((x * y) ** 2 for x, y in zip(s, a, strict=True)), 0 * s[0])
        rest = sum(((x * y - length * z) ** 2 for x, y, z in zip(s, a, b, strict=True)), 0 * s[0])
        yield Identity(length * away, length * whole - along + rest, f"step 1, n = {n}")
        tail = sum((x * x for x in s[1:]), 0 * s[0])
        gaps = [(s[0] ** 2 - x * x) * y * y for x, y in zip(s, a, strict=True)]
        yield Identity(length * (whole - tail) - along, sum(gaps, 0 * s[0]), f"step 2, n = {n}")


def _corank_one() -> Iterator[Identity]:
    """Steps 3 and 4."""
    from sympy import QQ, ring

    for n in (2, 3):
        names = [*(f"m{i}{j}" for i in range(n) for j in range(n)), *(f"w{j}" for j in range(n))]
        _, *g = ring(names, QQ)
        m, w = [g[i * n : (i + 1) * n] for i in range(n)], g[n * n :]
        size = sum((x * x for row in m for x in row), 0 * w[0])
        seen = [sum((m[i][j] * w[i] for i in range(n)), 0 * w[0]) for j in range(n)]
        minors = [
            (m[i][j] * w[k] - m[k][j] * w[i]) ** 2
            for j in range(n)
            for i, k in itertools.combinations(range(n), 2)
        ]
        length = sum((x * x for x in w), 0 * w[0])
        gap = length * size - sum((x * x for x in seen), 0 * w[0])
        yield Identity(gap, sum(minors, 0 * w[0]), f"step 3, n = {n}")
        _, *g = ring([f"{x}{j}" for x in "sw" for j in range(n)], QQ)
        s, w = g[:n], g[n:]
        along = sum(((x * y) ** 2 for x, y in zip(s, w, strict=True)), 0 * s[0])
        floor = s[-1] ** 2 * sum((y * y for y in w), 0 * s[0])
        gaps = [(x * x - s[-1] ** 2) * y * y for x, y in zip(s, w, strict=True)]
        yield Identity(along - floor, sum(gaps, 0 * s[0]), f"step 4, n = {n}")


def _any_rank() -> Iterator[Identity]:
    """Step 6."""
    from sympy import QQ, ring

    for n in range(2, 6):
        for k in range(1, n):
            _, *g = ring([*(f"s{j}" for j in range(n)), *(f"h{j}" for j in range(n - 1))], QQ)
            s, free = g[:n], g[n:]
            h = [*free, n - k - sum(free, 0 * s[0])]
            whole = sum((x * y for x, y in zip(s, h, strict=True)), 0 * s[0])
            first = sum(((x - s[k - 1]) * y for x, y in zip(s[:k], h[:k], strict=True)), 0 * s[0])
            last = sum(((s[k - 1] - x) * (1 - y) for x, y in zip(s[k:], h[k:], strict=True)), first)
            yield Identity(whole - sum(s[k:], 0 * s[0]), last, f"n = {n}, k = {k}")


def _low_ranks() -> Iterator[Identity]:
    yield from _rank_one()
    yield from _corank_one()


def _rank_one_matrices() -> Any:
    from hypothesis import strategies as st

    def numbers(low: int) -> Any:
        return st.lists(st.integers(low, 6), min_size=3, max_size=3)

    return st.fixed_dictionaries({"sigma": numbers(0), "a": numbers(-6), "b": numbers(-6)})


def _floor(instance: Instance, part: Fraction = Fraction(1)) -> tuple[Fraction, Fraction]:
    """A part of the floor for rank 1, against |diag(sigma) - a b^T|^2."""
    s, a, b = instance["sigma"], instance["a"], instance["b"]
    pairs = itertools.product(range(3), repeat=2)
    away = sum(((s[i] if i == j else 0) - a[i] * b[j]) ** 2 for i, j in pairs)
    return part * sum(x * x for x in sorted(s)[:-1]), Fraction(away)


def _search(part: Fraction = Fraction(1)) -> Falsify:
    return search_by(
        partial(_floor, part=part),
        instances=_rank_one_matrices,
        examples=({"sigma": [3, 2, 1], "a": [3, 0, 0], "b": [1, 0, 0]},),
        tries=150,
        scope="n = 3, rank 1, whole singular values up to 6, whole factors in [-6, 6]",
    )


ECKART_YOUNG = Theorem(
    key="ours.eckart-young",
    title="the floor of every low-rank approximation",
    statement=(
        "‖P - X‖_F² >= Σ_{j>k} σ_j² for every X of rank k (Eckart & Young 1936), attained by the "
        "truncated decomposition."
    ),
    source=_HERE,
    reading=(
        "decided for k = 1 and n <= 4, and for k = n - 1 and n <= 3; argued for every k; wording "
        "of the source unverified"
    ),
    experiments=(
        Symbolic(
            identities=_low_ranks,
            covers="statement",
            scope="rank 1 for n = 2, 3, 4 and rank n - 1 for n = 2, 3: all P and X",
        ),
        Symbolic(
            identities=_any_rank, covers="step", scope="step 6, n = 2 to 5, every rank below n"
        ),
        _search(),
    ),
    expected=Status.PROVED,
    mutant=_search(Fraction(101, 100)),
)

THEOREMS = (ECKART_YOUNG,)
