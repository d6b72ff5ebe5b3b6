"""Closed-form facts about attention matrices and sketches; nothing here is a quotation.

Letters of `landmarks_and_features`.

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


def _stochastic(total: int = 1) -> Iterator[Identity]:
    from sympy import QQ, ring

    for n in (1, 2, 4):
        _, *s = ring([*(f"p{j}" for j in range(n - 1)), *(f"x{j}" for j in range(n))], QQ)
        p, x = s[: n - 1], s[n - 1 :]
        p = [*p, total - sum(p, 0 * x[0])]
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
        Symbolic(identities=_stochastic, scope="1, 2 and 4 keys, all weights and vectors"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_stochastic, total=2), scope="rows that sum to 2"),
)

# --- the best matrix of lower rank ----------------------------------------------------------------
# 1. X of rank n - 1 has a unit w with X w = 0, so |P - X|_F >= |(P - X) w| = |P w| >= sigma_n
#    (Eckart
#    and Young).
# 2. It is attained by X = P - P w w^T with w the last right singular vector.
# 3. At n = 2, X = a b^T has w = (b_2, -b_1)/|b|. With w' = (b_2, -b_1),
#        |P - X|_F^2 |b|^2 - |P w'|^2 = |(P - X) b|^2.


def _eckart_young(*, wrong: bool = False) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, p, q, r, s, a, c, b, d = ring("p q r s a c b d", QQ)
    rows = ((p - a * b, q - a * d), (r - c * b, s - c * d))
    square = sum((x * x + y * y for x, y in rows), 0 * p)
    along = sum(((x * b + y * d) ** 2 for x, y in rows), 0 * p)
    lost = (p * d - q * b) ** 2 + (r * d - (0 if wrong else s * b)) ** 2
    yield Identity(
        square * (b**2 + d**2) - lost, along, "n = 2: |P - X|^2 |b|^2 - |P w'|^2 is a square"
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
        "here decided for rank 1 of 2 x 2 matrices; in general by the same argument, wording of "
        "the source unverified"
    ),
    experiments=(Symbolic(identities=_eckart_young, scope="n = 2, rank 1: all P and X"),),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_eckart_young, wrong=True), scope="one term left out of P w"
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
    experiments=(Symbolic(identities=_all_landmarks, scope="2 and 3 tokens, all P"),),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_all_landmarks, transposed=True), scope="Pᵀ P⁻¹ P"),
    uses=("ours.nystrom-rows",),
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
    reading="independent vectors; compare ours.positive-features, small where k is small",
    experiments=(Symbolic(identities=_trigonometric, scope="all x, y"),),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_trigonometric, power=2), scope="E cos² with the wrong power"
    ),
    uses=("ours.positive-features",),
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


def _moments(gap: int = 0) -> Iterator[Identity]:
    """For p = 2, 4: E Y_1^p - E Y_rho^p, times powers of k, as a sum of terms that are >= 0 for
    |rho| <= 1 and k >= 1.
    """
    from sympy import QQ, ring

    _, k, r = ring("k r", QQ)
    yield Identity(_central(k, 2), 2 * k, "E (X - k)^2 = 2 k")
    yield Identity(_central(k, 4), 12 * k**2 + 48 * k, "E (X - k)^4")
    second = ((1 + r) ** 2 + (1 - r) ** 2) * QQ(1, 4) * (2 * k)
    yield Identity(2 * k - second, k * (1 - r**2) + gap, "p = 2")
    plus, minus = (1 + r) ** 2 * QQ(1, 4), (1 - r) ** 2 * QQ(1, 4)
    fourth = (plus**2 + minus**2) * (12 * k**2 + 48 * k) + 6 * plus * minus * (2 * k) ** 2
    margin = 12 * k**2 + 48 * k - fourth
    yield Identity(margin, (1 - r**2) * (3 * k**2 * (3 + r**2) + 6 * k * (7 + r**2)), "p = 4")


def _tail(_bits: int, divisor: int = 1) -> list[Comparison]:
    comparisons = []
    for k, eps, claimed, powers in (
        (256, Fraction(1, 2), Fraction(36, 10**7), range(2, 31, 2)),
        (256, Fraction(3, 10), Fraction(66, 10**4), range(2, 21, 2)),
        (91, Fraction(1, 2), Fraction(1, 100), range(2, 21, 2)),
    ):
        best = min((Fraction(_central(k, p), k**p) / eps**p for p in powers), default=Fraction(1))
        comparisons.append(Comparison(ball(best), ball(claimed) / divisor, f"k = {k}, eps = {eps}"))
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
        "Gaussian R; even p for the numbers; the convexity argument is in the comment above the "
        "entry"
    ),
    experiments=(
        Symbolic(
            identities=_moments,
            scope="p = 2 and 4: the moments, and that they are largest at |ρ| = 1; all k and ρ",
        ),
        Enclose(certify=_tail, scope="three pairs (k, ε), even p up to 30"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_moments, gap=1), scope="p = 2, off by one"),
    uses=("linformer.lemma-1", "ours.sketch-second-moment"),
)

THEOREMS = (STOCHASTIC, ECKART_YOUNG, ALL_LANDMARKS, TRIGONOMETRIC, TAIL)
