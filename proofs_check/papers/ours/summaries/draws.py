"""Our own statements about keys drawn by the weights of the mean query.

Letters as in `mean_query`: a cell of keys with weights pi_j = e^<q0,k_j> / M. For a query q let
w_j = e^<q - q0, k_j> and Z = sum_j pi_j w_j, so that F = M Z is the exact mass of the cell and
N = M sum_j pi_j w_j v_j the exact sum of its values. S keys are drawn independently by pi, once for
all queries of a block, and

    F_S = (M / S) sum over the draws of w_s,    N_S = (M / S) sum over the draws of w_s v_s.

1. E F_S = F and E N_S = N: each draw has the mean sum_j pi_j w_j, or sum_j pi_j w_j v_j.
2. S Var F_S = M^2 sum pi w^2 - F^2, S Var N_S = M^2 sum pi w^2 v^2 - N^2, and S Cov(F_S, N_S) =
   M^2 sum pi w^2 v - F N.
3. If the <q - q0, k_j> lie in an interval of length rho, then w_j lies in [m, m e^rho], and
       (m e^rho - w)(w - m) >= 0 gives sum pi w^2 <= m (1 + e^rho) Z - m^2 e^rho.
4. That is at most Z^2 cosh(rho/2)^2, by a square. So S Var F_S <= F^2 sinh(rho/2)^2.
   Two keys attain it: pi = (e^rho, 1) / (1 + e^rho), the second one higher by rho.
5. For q = q0 all w_j are 1: F_S is exact, and N_S is M times the mean of S values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.ours.rows import dot, weights
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__)


def _moments(last: int = 1) -> Iterator[Identity]:
    """Steps 1 and 2, every outcome with its probability; M = 1."""
    from sympy import QQ, field

    for n, draws in ((2, 1), (2, 2), (2, 3), (3, 2)):
        names = [*(f"pi{j}" for j in range(1, n)), *(f"w{j}" for j in range(n))]
        _, *free = field([*names, *(f"v{j}" for j in range(n))], QQ)
        pi, w, v = weights(free[: n - 1], free[0] ** 0), free[n - 1 : 2 * n - 1], free[2 * n - 1 :]
        terms = {"F": w, "N": [a * b for a, b in zip(w, v, strict=True)]}
        exact = {name: dot(pi, x) for name, x in terms.items()}
        outcomes = list(itertools.product(range(n), repeat=draws))
        chances = [_product([pi[j] for j in drawn]) for drawn in outcomes]
        found = {
            name: [sum((x[j] for j in drawn), 0 * x[0]) / draws for drawn in outcomes]
            for name, x in terms.items()
        }
        for name, values in found.items():
            yield Identity(dot(chances, values), exact[name], f"{n} keys, {draws} draws, E {name}^")
        for a, b in (("F", "F"), ("N", "N"), ("F", "N")):
            gaps = zip(found[a], found[b], strict=True)
            covariance = dot(chances, [(x - exact[a]) * (y - exact[b]) for x, y in gaps])
            second = dot(pi, [x * y for x, y in zip(terms[a], terms[b], strict=True)])
            right = second - last * exact[a] * exact[b]
            yield Identity(draws * covariance, right, f"{n} keys, {draws} draws, Cov {a}^ {b}^")


def _product(factors: list[Any]) -> Any:
    first, *rest = factors
    for x in rest:
        first = first * x
    return first


def _spread() -> Iterator[Identity]:
    """Steps 3 and 4 with e = e^(rho/2)."""
    from sympy import QQ, field

    _, w, m, z, e = field("w, m, Z, e", QQ)
    top = m * e**2
    yield Identity((top - w) * (w - m), m * (1 + e**2) * w - m**2 * e**2 - w**2, "mean over pi")
    cosh, sinh = (e + 1 / e) / 2, (e - 1 / e) / 2
    gap = z**2 * cosh**2 - (m * (1 + e**2) * z - m**2 * e**2)
    yield Identity(gap, (z * cosh - m * e) ** 2, "a square")
    yield Identity(cosh**2 - 1, sinh**2, "cosh² - 1")


def _attained(_bits: int, part: Fraction = Fraction(1)) -> Iterator[Comparison]:
    for width in (Fraction(1, 8), Fraction(1), Fraction(3), Fraction(10)):
        e = ball(width).exp()
        pi, w = (e / (1 + e), 1 / (1 + e)), (ball(1), e)
        mass = dot(pi, w)
        relative = dot(pi, [x * x for x in w]) / mass**2 - 1
        most = (ball(width) / 2).sinh() ** 2
        yield Comparison(relative, ball(part) * most, f"rho = {width}")


MOMENTS = Theorem(
    key="ours.mean-query-sample",
    title="keys drawn by the weights of the mean query",
    statement=(
        "With S draws by π and weights (M/S) e^⟨q - q₀, k⟩, mass and sum of values of a cell are "
        "estimated without bias for every query, with S Var F_S = M² Σ_j π_j w_j² - F², "
        "S Var N_S = M² Σ_j π_j w_j² v_j² - N², S Cov(F_S, N_S) = M² Σ_j π_j w_j² v_j - FN."
    ),
    source=_HERE,
    reading=(
        "independent draws, shared by the queries of a block; the quotient N_S/F_S is not "
        "unbiased, as that of any ratio estimator"
    ),
    experiments=(
        Symbolic(
            identities=_moments,
            covers="statement",
            scope=(
                "2 keys and 1, 2, 3 draws, 3 keys and 2 draws, all weights and values, every "
                "outcome"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_moments, last=0),
        covers="statement",
        scope="the second moment in the place of the variance",
    ),
)

SPREAD = Theorem(
    key="ours.mean-query-spread",
    title="relative variance of a mass sampled by the mean query",
    statement=(
        "If the ⟨q - q₀, k_j⟩ of the cell lie in an interval of length ρ, Var F_S is at most "
        "F² sinh²(ρ/2)/S; two keys attain it for every ρ. At q = q₀ it is 0."
    ),
    source=_HERE,
    reading=(
        "whatever the number of keys; uniform draws have the range of ⟨q,k⟩ itself in the place of "
        "ρ (Kantorovich's inequality, ours.row-sample)"
    ),
    experiments=(
        Symbolic(
            identities=_spread, covers="statement", scope="any number of keys, all weights and ρ"
        ),
        Enclose(
            certify=_attained,
            relation="=",
            radius=Fraction(1, 2**64),
            covers="statement",
            scope="attained by two keys: ρ = 1/8, 1, 3, 10",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_attained, part=Fraction(99, 100)),
        covers="statement",
        scope="99/100 of the bound",
    ),
    uses=("ours.mean-query-sample",),
)

THEOREMS = (MOMENTS, SPREAD)
