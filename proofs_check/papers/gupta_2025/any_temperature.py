"""Attention in one dimension at any temperature: one polynomial serves all queries.

What was read of Gupta et al. 2025, and which keys are relevant: `relevant_keys`.

1. For d = 1 let m be the best key. A polynomial P of degree g in x = q (k - m) is a sum of
   (g + 1)(g + 2)/2 terms q^p (-m)^(p-r) k^r. Prefix sums of k^r v over the sorted keys serve every
   query.
2. Relevant weights have x in [-c, 0], c = ln(n / epsilon), whatever the size B of the entries is.
   There the even Taylor polynomial of e^x has some relative error eta(g, c).
3. Weights off by at most eta give TV <= tau(eta) = eta / (1 + sqrt(1 - eta^2)) (ours.hilbert), and
   leaving out the others at most epsilon (n - 1) / (n + epsilon (n - 1)) more
   (gupta.relevant-keys).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from math import comb, factorial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.gupta_2025.relevant_keys import SOURCE
from proofs_check.papers.shared.softmax_gradient import Source as Matrices
from proofs_check.papers.shared.softmax_gradient import tested
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)

# --- prefix sums ----------------------------------------------------------------------------------


def _prefix_sums(source: Matrices, n: int, degree: int, *, first: int = 0) -> Iterator[Identity]:
    """Every run of keys, one query, centre m; both sides times degree!, so that all is whole.

    A fault leaves out the first moments.
    """
    k, v = source("k", 1, n)[0], source("v", 1, n)[0]
    q, m = source("q", 1, 2)[0]
    top = factorial(degree)
    sums = [[0 * q] for _ in range(degree + 1)]
    for x, y in zip(k, v, strict=True):
        for r in range(degree + 1):
            sums[r].append(sums[r][-1] + x**r * y)
    for low in range(n):
        for high in range(low + 1, n + 1):
            direct, quick = 0 * q, 0 * q
            for p in range(degree + 1):
                weight = top // factorial(p) * q**p
                for x, y in zip(k[low:high], v[low:high], strict=True):
                    direct += weight * (x - m) ** p * y
                for r in range(first, p + 1):
                    moment = sums[r][high] - sums[r][low]
                    quick += weight * comb(p, r) * (-m) ** (p - r) * moment
            yield Identity(direct, quick, f"keys {low} to {high}")


# --- any temperature ------------------------------------------------------------------------------


def _polynomial(x: Any, degree: int) -> Any:
    return sum((x**p / factorial(p) for p in range(degree + 1)), ball(0))


def _variation(gaps: list[Any], c: Any, degree: int) -> Any:
    """TV between the softmax of -gaps and the relevant keys with polynomial weights."""
    exact = [(-x).exp() for x in gaps]
    cut = [_polynomial(-x, degree) if bool(x < c) else ball(0) for x in gaps]
    total, other = sum(exact, ball(0)), sum(cut, ball(0))
    rows = zip(exact, cut, strict=True)
    return sum((abs(y / other - x / total) for x, y in rows), ball(0)) / 2


def _temperatures(_bits: int, part: Fraction = ONE) -> list[Comparison]:
    """n = 64 keys, eps = 1/100, so c = ln 6400 = 8.7641, degree 40; on [-c, 0] the relative error
    of the even Taylor polynomial is largest at -c.

    First equally spaced keys in [0, 1] and the query B = 2^m, then keys with gaps 0, 8 and, 62
    times, 8.765, just too far to be relevant.
    """
    n, degree, epsilon = 64, 40, Fraction(1, 100)
    c = (n / ball(epsilon)).log()
    eta = _polynomial(-c, degree) * c.exp() - 1
    left_out = ball(epsilon * (n - 1) / (n + epsilon * (n - 1)))
    bound = ball(part) * (eta / (1 + (1 - eta * eta).sqrt()) + left_out)
    found = []
    for m in range(0, 21, 4):
        gaps = [ball(Fraction(2**m * i, n - 1)) for i in range(n)]
        found.append(Comparison(_variation(gaps, c, degree), bound, f"B = 2^{m}"))
    gaps = [ball(0), ball(8), *[ball(Fraction(8765, 1000))] * (n - 2)]
    found.append(Comparison(_variation(gaps, c, degree), bound, "keys just out of reach"))
    return found


PREFIX = Theorem(
    key="gupta.prefix-moments",
    title="prefix sums of moments serve every query in one dimension",
    statement=(
        "For every run of sorted keys, Σ_j P(q (k_j - m)) v_j = Σ_p (q^p/p!) Σ_r C(p, r) "
        "(-m)^(p - r) (S_r(end) - S_r(start)), S_r the prefix sums of k^r v."
    ),
    source=SOURCE,
    reading="P the Taylor polynomial of e^x of degree g; g + 1 prefix sums serve all queries",
    experiments=(
        Symbolic(
            identities=partial(tested, _prefix_sums, 6, 5),
            grade="pit(2^-55)",
            covers="statement",
            scope="6 keys, degree 5, every run, all queries, keys, values and centres",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(tested, partial(_prefix_sums, first=1), 6, 5),
        grade="pit(2^-55)",
        covers="statement",
        scope="without the moment of order 0",
    ),
)

TEMPERATURE = Theorem(
    key="gupta.any-temperature",
    title="one degree serves every temperature in one dimension",
    statement=(
        "Relevant keys with even Taylor weights of degree g give TV <= τ(η) + ε (n - 1)/(n + ε (n "
        "- 1)), η the relative error on [-ln(n/ε), 0], whatever the size B of the entries."
    ),
    source=SOURCE,
    reading="d = 1; the bound does not depend on B",
    experiments=(
        Enclose(
            certify=_temperatures,
            covers="statement",
            scope=(
                "64 keys, ε = 1/100, degree 40: equally spaced for B = 2^0, 2^4, ..., 2^20, and "
                "just out of reach"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_temperatures, part=Fraction(9, 10)),
        covers="statement",
        scope="9/10 of the bound",
    ),
    uses=("gupta.relevant-keys", "ours.hilbert"),
)

THEOREMS = (PREFIX, TEMPERATURE)
