"""Closed-form facts about attention matrices and sketches; nothing here is a quotation.

P            row-stochastic: p_ij >= 0, sum_j p_ij = 1; sigma_1 its largest singular value
R            k x n, independent N(0, 1/k); rho = <x, y> for unit x, y; Y_rho = <Rx, Ry> - rho
x, y, z, D   scaled query and key; z = x + y, D = x - y; k = e^{x.y}
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__)

# --- row-stochastic matrices ----------------------------------------------------------------------
# 1. 1 - sum_j p_j^2 = sum_{j != l} p_j p_l >= 0 and sum_j p_j^2 - 1/n = sum_j (p_j - 1/n)^2 >= 0.
# 2. Row by row: 1 <= |P|_F^2 <= n.
# 3. P 1 = 1 gives sigma_1 >= 1.
# 4. sum_j p_j x_j^2 - (sum_j p_j x_j)^2 = sum_{j < l} p_j p_l (x_j - x_l)^2 >= 0 (Jensen).
# 5. So |P x|^2 = sum_i (sum_j p_ij x_j)^2 <= sum_i sum_j p_ij x_j^2 <= c |x|^2, with c the largest
#    column sum (Schur's test).
# 6. Hence sigma_1 <= sqrt c <= sqrt n.


def _stochastic(total: Fraction = Fraction(1)) -> Iterator[Identity]:
    from sympy import QQ, ring

    for n in range(1, 7):
        _, *s = ring([*(f"p{j}" for j in range(n - 1)), *(f"x{j}" for j in range(n))], QQ)
        p, x = s[: n - 1], s[n - 1 :]
        p = [*p, QQ(total.numerator, total.denominator) - sum(p, 0 * x[0])]
        squares = sum((a * a for a in p), 0 * x[0])
        crossed = sum((p[j] * p[i] for j in range(n) for i in range(n) if i != j), 0 * x[0])
        yield Identity(1 - squares, crossed, f"1 - |p|^2, {n} keys")
        yield Identity(
            squares - QQ(1, n),
            sum(((a - QQ(1, n)) ** 2 for a in p), 0 * x[0]),
            f"|p|^2 - 1/n, {n} keys",
        )
        mean = sum((a * b for a, b in zip(p, x, strict=True)), 0 * x[0])
        second = sum((a * b * b for a, b in zip(p, x, strict=True)), 0 * x[0])
        spread = sum(
            (p[j] * p[i] * (x[j] - x[i]) ** 2 for j in range(n) for i in range(j)), 0 * x[0]
        )
        yield Identity(second - mean**2, spread, f"Jensen's inequality, {n} keys")


STOCHASTIC = Theorem(
    key="ours.row-stochastic",
    title="norms of an attention matrix",
    statement=(
        "For row-stochastic P: 1 <= ‖P‖_F² <= n and 1 <= σ₁ <= sqrt(largest column sum) <= sqrt n."
    ),
    source=_HERE,
    reading="every n; Jensen's inequality and the two identities row by row",
    experiments=(
        Symbolic(
            identities=_stochastic,
            covers="statement",
            scope="rows of 1 to 6 keys, all weights and vectors, any number of rows",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_stochastic, total=Fraction(101, 100)),
        covers="statement",
        scope="rows that sum to 1.01",
    ),
)

# --- all tokens as landmarks ----------------------------------------------------------------------


def _all_landmarks(*, transposed: bool = False) -> Iterator[Identity]:
    from sympy import QQ
    from sympy.polys.matrices import DomainMatrix

    for n in (2, 3):
        domain = QQ.frac_field(*(f"p{i}{j}" for i in range(n) for j in range(n)))
        p = DomainMatrix(
            [[domain.gens[n * i + j] for j in range(n)] for i in range(n)], (n, n), domain
        )
        found = (p.transpose() if transposed else p) * p.inv() * p
        for i, row in enumerate((found - p).to_list()):
            for j, entry in enumerate(row):
                yield Identity(entry, domain.zero, f"{n} tokens, entry {i}, {j}")


ALL_LANDMARKS = Theorem(
    key="ours.nystrom-all-landmarks",
    title="Nystrom attention with every token a landmark",
    statement="With all tokens as landmarks F = A = B = P, and P P⁻¹ P = P: the method is exact.",
    source=_HERE,
    reading="P invertible and its exact inverse",
    experiments=(
        Symbolic(identities=_all_landmarks, covers="statement", scope="2 and 3 tokens, all P"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_all_landmarks, transposed=True), covers="statement", scope="Pᵀ P⁻¹ P"
    ),
    uses=("ours.nystrom-rows",),
    bookkeeping=True,
)

# --- trigonometric features -----------------------------------------------------------------------
# 1. The feature pair gives cos(w.D) e^{(|x|^2 + |y|^2)/2}.
# 2. E cos(a w.D) = t^{a^2} with t = e^{-|D|^2/2}.
# 3. So E cos = t and Var cos = (1 + t^4)/2 - t^2 = (1 - t^2)^2/2.
# 4. e^{|x|^2 + |y|^2} = e^{|z|^2}/k^2, since |z|^2 = |x|^2 + |y|^2 + 2 x.y.


def _trigonometric(power: int = 4) -> Iterator[Identity]:
    import sympy as sp

    w, a = sp.symbols("w a", real=True)
    found = sp.integrate(sp.cos(a * w) * sp.exp(-(w**2) / 2), (w, -sp.oo, sp.oo)) / sp.sqrt(
        2 * sp.pi
    )
    yield Identity(sp.simplify(found - sp.exp(-(a**2) / 2)), 0, "E cos(a w) = e^{-a^2/2}")
    t = sp.symbols("t", positive=True)
    yield Identity(
        sp.expand((1 + t**power) / 2 - t**2), sp.expand((1 - t**2) ** 2 / 2), "variance of cos"
    )


TRIGONOMETRIC = Theorem(
    key="ours.trigonometric-features",
    title="variance of trigonometric random features",
    statement=(
        "The estimate of k = e^{x.y} from cosines of m normal vectors has variance (1/2m) e^{|z|²} "
        "k⁻² (1 - e^{-|x - y|²})²: small where k is large."
    ),
    source=_HERE,
    reading="independent vectors; compare ours.positive-features-variance, small where k is small",
    experiments=(Symbolic(identities=_trigonometric, covers="statement", scope="all x, y"),),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_trigonometric, power=2),
        covers="statement",
        scope="E cos² with the wrong power",
    ),
    uses=("ours.positive-features-variance",),
)

# --- tails without a dimension --------------------------------------------------------------------
# 1. Y_rho = ((1 + rho)(X1/k - 1) - (1 - rho)(X2/k - 1))/2 with X1, X2 independent chi^2_k.
# 2. So |Y_rho|_p <= |X1/k - 1|_p for p >= 1: a convex combination.
# 3. For matrices |A R^T R B - A B|_F^2 = sum_ij (|a_i||b_j| Y_ij)^2.
# 4. Minkowski's inequality in L^{p/2} gives | |.|_F |_p <= |A|_F |B|_F |X/k - 1|_p for p >= 2.
# 5. Markov's inequality: Pr(|.|_F > eps |A|_F |B|_F) <= min_p (|X/k - 1|_p/eps)^p, whatever the
#    sizes
#    of A and B.
# 6. Moments: E X^i = k (k + 2) ... (k + 2 i - 2).
# 7. Step 2 again for p = 2, 4, 6, 8, without convexity: E Y_1^p - E Y_rho^p is 1 - rho^2 times a
#    polynomial in k and rho^2 whose coefficients are >= 0, over k^p.


def _central(k: Any, p: int) -> Any:
    """E (X/k - 1)^p times k^p."""
    from math import comb

    total = 0 * k
    for i in range(p + 1):
        moment = 1
        for j in range(i):
            moment = moment * (k + 2 * j)
        total = total + comb(p, i) * (-1) ** (p - i) * moment * k ** (p - i)
    return total


def _difference(p: int) -> tuple[Any, int]:
    """E Y_1^p - E Y_rho^p, times k^p, over 1 - rho^2: the rest, and the coefficients below 0.

    Odd powers of rho cancel, since Y_rho and -Y_{-rho} have the same law and p is even.
    """
    from math import comb

    from sympy import QQ, ring

    _, k, r = ring("k, r", QQ)
    plus, minus = (1 + r) * QQ(1, 2), (1 - r) * QQ(1, 2)
    found = 0 * k
    for i in range(p + 1):
        parts = _central(k, i) * _central(k, p - i) * (-1) ** (p - i)
        found += comb(p, i) * parts * plus**i * minus ** (p - i)
    difference = _central(k, p) - found
    _, k, square = ring("k, s", QQ)
    total = 0 * k
    for (a, b), coefficient in difference.terms():
        if b % 2:
            msg = f"an odd power of rho is left at p(={p}): the moments are not those of Y_rho"
            raise ArithmeticError(msg)
        total += coefficient * k**a * square ** (b // 2)
    (quotient,), rest = total.div([1 - square])
    return rest, sum(c < 0 for c in quotient.coeffs())


def _moments() -> Iterator[Identity]:
    """Steps 6 and 7."""
    from sympy import QQ, ring

    _, k = ring("k", QQ)
    yield Identity(_central(k, 2), 2 * k, "E (X - k)^2 = 2 k")
    yield Identity(_central(k, 4), 12 * k**2 + 48 * k, "E (X - k)^4")
    for p in (2, 4, 6, 8):
        rest, negative = _difference(p)
        yield Identity(rest, 0, f"p = {p}: rest of the division by 1 - rho^2")
        yield Identity(negative, 0, f"p = {p}: coefficients below 0")


def _tail(_bits: int, divisor: Fraction = Fraction(1)) -> list[Comparison]:
    comparisons = []
    for k, eps, claimed, powers in (
        (256, Fraction(1, 2), Fraction(36, 10**7), range(2, 31, 2)),
        (256, Fraction(3, 10), Fraction(66, 10**4), range(2, 21, 2)),
        (91, Fraction(1, 2), Fraction(1, 100), range(2, 21, 2)),
    ):
        best = min((Fraction(_central(k, p), k**p) / eps**p for p in powers), default=Fraction(1))
        comparisons.append(Comparison(ball(best), ball(claimed / divisor), f"k = {k}, eps = {eps}"))
    return comparisons


TAIL = Theorem(
    key="ours.dimension-free-tail",
    title="tail of a sketched product, whatever the sizes",
    statement=(
        "‖ ‖A RᵀR B - A B‖_F ‖_p <= ‖A‖_F ‖B‖_F ‖χ²_k/k - 1‖_p for p >= 2, so it exceeds ε ‖A‖_F "
        "‖B‖_F with probability at most min_p (‖χ²_k/k - 1‖_p/ε)^p: at most 3.6e-6 for k = 256, ε "
        "= 1/2, and 1 % for k = 91, ε = 1/2, for matrices of any size."
    ),
    source=_HERE,
    reading=(
        "Gaussian R; even p for the numbers. Decided for one row and one column (m = q = 1) and "
        "p = 2, 4, 6, 8; argued for matrices and for other p, by steps 2 to 5"
    ),
    experiments=(
        Symbolic(
            identities=_moments,
            covers="statement",
            scope="m = q = 1, p = 2, 4, 6 and 8: all k >= 1 and |ρ| <= 1",
        ),
        Enclose(
            certify=_tail,
            covers="step",
            scope="the numbers of the statement, from the moments: three pairs (k, ε), even p",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_tail, divisor=Fraction(36, 35)),
        covers="step",
        scope="3.5e-6 in place of 3.6e-6",
    ),
    uses=("linformer.lemma-1", "ours.sketch-second-moment"),
)

THEOREMS = (STOCHASTIC, ALL_LANDMARKS, TRIGONOMETRIC, TAIL)
