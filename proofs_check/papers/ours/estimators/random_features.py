"""Our own statements about positive random features, which certificates of Performer cite.

Nothing here is a quotation.

x, y, z, w    scaled query and key, z = x + y; w a standard normal vector, so that w.z is
              N(0, |z|^2)
f_j, v_j, o   softmax weights of one query, values, o = sum_j f_j v_j
A_j           estimated over exact weight of key j: mean 1, variance at most rho^2

Variance of the weights:

1. t = E e^{w.z} = e^{|z|^2/2} gives E e^{a w.z} = t^{a^2}.
2. One pair of features is e^{w.z - (|x|^2 + |y|^2)/2}, and e^{-|x|^2 - |y|^2} = e^{2 x.y} / t^2.
3. With k = e^{x.y} its mean is k. Positive features: variance k^2 (t^4 - t^2)/t^2.
4. Hyperbolic features: E cosh^2 = (t^4 + 1)/2 in place of t^4.

Attention with these weights, o~ = sum_j f_j A_j v_j / sum_j f_j A_j:

5. o~ - o = N/D with N = sum_j f_j A_j (v_j - o) of mean 0 and D = sum_j f_j A_j of mean 1.
6. The root mean square of a sum is at most the sum of those of its terms (Minkowski). So that of N
   is at most rho sum_j f_j |v_j - o| <= rho osc(V)/2 (`rows`, steps 7 to 9), that of D - 1 at most
   rho.
7. Chebyshev's inequality with delta/(2 n_q d_v) for each N and delta/(2 n_q) for each D: but for a
   probability of delta, |N| <= (rho osc(V)/2) sqrt(2 n_q d_v/delta) and D >= 1 - rho sqrt(2
   n_q/delta).
8. |o~ - o| <= |N|/D.

Orthogonal vectors w, w' of lengths r, r', turned at random together:

9. Let h = d/2 and (h)_k = h (h + 1) ... (h + k - 1). Over the directions of a, e^{a.z} has the mean
   F(|a|^2), F(s) = sum_k s^k (|z|^2/4)^k / (k! (h)_k).
10. |w + w'|^2 = r^2 + r'^2, so the product of the two has the mean F(r^2 + r'^2); independent
    directions give F(r^2) F(r'^2).
11. In powers of u = (r |z|/2)^2 and v = (r' |z|/2)^2 the coefficients of u^i v^j are
    1/(i! j! (h)_{i+j}) and 1/(i! j! (h)_i (h)_j).
12. (h)_{i+j} = (h)_i (h + i)_j >= (h)_i (h)_j, factor by factor, so F(r^2 + r'^2) is at most
    F(r^2) F(r'^2).
13. Lengths independent of each other and of the turn: the covariance is at most 0. The four sign
    pairs of hyperbolic features are alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.ours import rows
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__)


def _moment() -> Iterator[Any]:
    import sympy as sp

    w, a = sp.symbols("w a", real=True)
    found = sp.integrate(sp.exp(a * w - w**2 / 2), (w, -sp.oo, sp.oo)) / sp.sqrt(2 * sp.pi)
    yield Identity(sp.simplify(found - sp.exp(a**2 / 2)), sp.Integer(0), "E e^{a w} = e^{a^2/2}")


def _variances(half: Fraction = Fraction(2)) -> Iterator[Identity]:
    from sympy import QQ, field

    _, t, k = field("t, k", QQ)
    e = t**2  # e^{|z|^2}
    yield Identity(k**2 / e * (t**4 - t**2), k**2 * (e - 1), "positive")
    yield Identity(
        k**2 / e * ((t**4 + 1) / 2 - t**2),
        k**2 * (e - 1) * (1 - 1 / e) / QQ(half.numerator, half.denominator),
        "hyperbolic",
    )


def _quotient() -> Iterator[Identity]:
    """Step 5."""
    from sympy import QQ, ring

    for n in (2, 3, 4):
        _, *s = ring(
            [*(f"f{j}" for j in range(n - 1)), *(f"{x}{j}" for x in "Av" for j in range(n))], QQ
        )
        f = rows.weights(s[: n - 1], s[0] ** 0)
        a, v = s[n - 1 : 2 * n - 1], s[2 * n - 1 :]
        kept = [x * y for x, y in zip(f, a, strict=True)]
        o, d = rows.dot(f, v), sum(kept, 0 * s[0])
        numerator = rows.dot(kept, [x - o for x in v])
        yield Identity(rows.dot(kept, v) - o * d, numerator, f"o~ - o = N/D, {n} keys")


def _steps(quarter: Fraction = Fraction(1, 4)) -> Iterator[Identity]:
    yield from _quotient()
    yield from rows.deviation((2, 3, 4, 5), quarter)


# --- orthogonal vectors ---------------------------------------------------------------------------


def _rising(h: Any, k: int) -> Any:
    """(h)_k."""
    return math.prod((h + i for i in range(k)), start=h**0)


def _orthogonal(factor: Fraction = Fraction(1)) -> Iterator[Identity]:
    """Step 12, as polynomials in h; `factor` is what the right side is multiplied by."""
    from sympy import QQ, ring

    _, h = ring("h", QQ)
    scale = QQ(factor.numerator, factor.denominator)
    for i, j in itertools.product(range(9), repeat=2):
        whole = _rising(h, i + j)
        yield Identity(whole, _rising(h, i) * _rising(h + i, j), f"(h)_{i + j} in two parts")
        gap = whole - scale * _rising(h, i) * _rising(h, j)
        yield Identity(sum(c < 0 for c in gap.coeffs()), 0, f"coefficients below 0 at {i}, {j}")


def _three_dimensions(_bits: int) -> list[Comparison]:
    """F(s) = sinh(x)/x for d = 3, x = sqrt(s) |z|."""

    def mean(square: Fraction) -> Any:
        x = ball(square).sqrt()
        return x.sinh() / x

    sizes = [Fraction(1, 8), Fraction(1), Fraction(4), Fraction(25)]
    return [
        Comparison(mean(a + b), mean(a) * mean(b), f"(r|z|)^2 = {a}, (r'|z|)^2 = {b}")
        for a, b in itertools.combinations_with_replacement(sizes, 2)
    ]


ORTHOGONAL = Theorem(
    key="ours.orthogonal-features",
    title="orthogonal random features are never worse",
    statement=(
        "For w, w' at right angles, turned at random together and of independent lengths, "
        "Cov(e^{w.z}, e^{w'.z}) <= 0 for every z: the mean of orthogonal positive features has at "
        "most the variance of independent ones."
    ),
    source=here(__name__, "approxattn.methods.random_features.features"),
    reading="any d >= 2 and any lengths; hyperbolic features alike, sign pair by sign pair",
    experiments=(
        Symbolic(
            identities=_orthogonal,
            covers="statement",
            scope="every d, term by term: the powers u^i v^j with i, j <= 8",
        ),
        Enclose(
            certify=_three_dimensions,
            covers="statement",
            scope="d = 3 as a whole: ten pairs of lengths, (r |z|)² from 1/8 to 25",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_orthogonal, factor=Fraction(101, 100)),
        covers="statement",
        scope="a hundredth below independent ones",
    ),
    uses=("ours.positive-features-variance",),
)

VARIANCE = Theorem(
    key="ours.positive-features-variance",
    title="variance of positive random features",
    statement=(
        "The estimate of e^{x.y} from m independent normal vectors has relative variance "
        "(e^{|z|²} - 1)/m, with their negatives as well (e^{|z|²} - 1)(1 - e^{-|z|²})/(2m)."
    ),
    source=_HERE,
    reading="z = x + y; the draws are independent of q, k, v; m vectors in all",
    experiments=(
        Symbolic(identities=_moment, covers="step", scope="E e^{aw} = e^{a²/2}, all real a"),
        Symbolic(identities=_variances, covers="statement", scope="both variances, all x, y"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_variances, half=Fraction(21, 10)),
        covers="statement",
        scope="hyperbolic features with 2.1 m in place of 2 m",
    ),
    remarks=("Orthogonal vectors do not increase it: ours.orthogonal-features.",),
)

ATTENTION = Theorem(
    key="ours.positive-features",
    title="attention by positive random features",
    statement=(
        "If the weights have relative variance at most ρ², attention with them obeys |o~ - o| <= "
        "(ρ osc(V)/2) sqrt(2 n_q d_v/δ) / (1 - ρ sqrt(2 n_q/δ)) in all rows and columns with "
        "probability >= 1 - δ."
    ),
    source=_HERE,
    reading="the denominator positive; the draws are independent of q, k, v",
    experiments=(
        Symbolic(
            identities=_steps,
            covers="step",
            scope="N/D for 2 to 4 keys; Σ f|v - o| <= osc(V)/2 for 2 to 5 keys, all f and v",
        ),
    ),
    expected=Status.ARGUED,
    mutant=Symbolic(
        identities=partial(_steps, quarter=Fraction(6, 25)),
        covers="step",
        scope="0.24 in place of 1/4 as the largest a (1 - a)",
    ),
    uses=("ours.positive-features-variance",),
    remarks=("Minkowski's and Chebyshev's inequalities are by hand, in steps 6 and 7.",),
)

THEOREMS = (VARIANCE, ORTHOGONAL, ATTENTION)
