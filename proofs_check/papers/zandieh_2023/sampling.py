"""KDEformer (Zandieh et al. 2023): sampling keys by both norms, and what it gains.

Read: the abstract, and the README of the authors' code (majid-daliri/kdeformer): the sampling
probabilities are to be proportional to the column norms of the softmax matrix. As the paper is
usually quoted: q_j proportional to |P e_j|^2 + gamma |v_j|^2 with gamma = |P|^2 / |V|^2.

Write a_j = |P e_j|^2 / |P|_F^2 and b_j = |v_j|^2 / |V|_F^2, which sum to 1, and measure
S = m E |Z - P V|_F^2 + |P V|_F^2 in units of |P|_F^2 |V|_F^2. Then S = sum_j a_j b_j / q_j.

1. q = b (by row norms, HyperAttention): S = 1.
2. q = (a + b) / 2 (KDEformer, gamma in Frobenius norms): S = sum 2 a b / (a + b), and
   1 - S = sum (a - b)^2 / (2 (a + b)) >= 0: never worse, strictly better unless a = b.
3. Any q: with w_j = sqrt(a_j b_j), S - (sum w)^2 = sum_(i<j) (w_i q_j - w_j q_i)^2 / (q_i q_j).
   So the least S is (sum w)^2, at q proportional to w.
4. For q = (a + b) / 2, S <= sum w, as a harmonic mean is at most a geometric one. So S lies between
   the least value and its square root.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial

from proofs_check.papers.zandieh_2023.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)


def _gain(part: Fraction = ONE) -> Iterator[Identity]:
    from sympy import QQ, field

    share = QQ(part.numerator, part.denominator)
    for n in (2, 3, 4):
        names = [f"{x}{j}" for x in "ab" for j in range(1, n)]
        _, *free = field(names, QQ)
        a, b = ([1 - sum(rest[1:], rest[0]), *rest] for rest in (free[: n - 1], free[n - 1 :]))
        zero = 0 * free[0]
        pairs = list(zip(a, b, strict=True))
        s = sum((2 * x * y / (x + y) for x, y in pairs), zero)
        gain = sum(((x - y) ** 2 / (2 * (x + y)) for x, y in pairs), zero)
        yield Identity(1 - s, share * gain, f"n = {n}")


def _best(sign: int = -1) -> Iterator[Identity]:
    from sympy import QQ, field

    for n in (2, 3, 4):
        _, *free = field([*(f"w{j}" for j in range(n)), *(f"q{j}" for j in range(1, n))], QQ)
        w, rest = free[:n], free[n:]
        q = [1 - sum(rest[1:], rest[0]), *rest]
        zero = 0 * w[0]
        s = sum((x * x / y for x, y in zip(w, q, strict=True)), zero)
        mixed = sum(
            (
                (w[i] * q[j] + sign * w[j] * q[i]) ** 2 / (q[i] * q[j])
                for i in range(n)
                for j in range(i + 1, n)
            ),
            zero,
        )
        yield Identity(s - sum(w, zero) ** 2, mixed, f"n = {n}")


def _between() -> Iterator[Identity]:
    """Step 4 with squares x^2, y^2 for a, b: w = x y."""
    from sympy import QQ, field

    _, x, y = field("x, y", QQ)
    harmonic = 2 * x**2 * y**2 / (x**2 + y**2)
    yield Identity(x * y - harmonic, x * y * (x - y) ** 2 / (x**2 + y**2), "harmonic mean")


def _far_apart(_bits: int, part: Fraction = ONE) -> list[Comparison]:
    """Squares of rationals: one key with most of a, another with most of b; S against sum w."""
    found = []
    for k in (1, 2, 5, 20, 100):
        # a = (x^2, y^2), b = (y^2, x^2) with x^2 + y^2 = 1
        x, y = Fraction(k * k - 1, k * k + 1), Fraction(2 * k, k * k + 1)
        s = sum((2 * p * q / (p + q) for p, q in ((x * x, y * y), (y * y, x * x))), Fraction(0))
        w = 2 * x * y
        found += [
            Comparison(w * w, s, f"k = {k}: least <= S"),
            Comparison(s, part * w, f"k = {k}: S <= sum w"),
        ]
    for n in (2, 50):
        same = [Fraction(1, n)] * n
        s = sum((2 * p * p / (p + p) for p in same), Fraction(0))
        found.append(Comparison(s, part * sum(same), f"n = {n} equal keys"))
    return found


def _source(place: str) -> Source:
    return Source(citation=CITATION, place=place, fidelity="constants made explicit")


THEOREMS = (
    Theorem(
        key="kdeformer.both-norms",
        title="sampling by the norms of columns and values beats either alone",
        statement=(
            "With q_j = (a_j + b_j)/2 the second moment is ‖P‖_F²‖V‖_F² (1 - Σ_j (a_j - b_j)²/(2 "
            "(a_j + b_j))), a_j and b_j the shares of ‖P e_j‖² and ‖v_j‖²."
        ),
        source=_source("the sampling probabilities, with γ in Frobenius norms"),
        reading="the second moment m E ‖Z - PV‖_F² + ‖PV‖_F² of m draws",
        experiments=(
            Symbolic(identities=_gain, covers="statement", scope="n = 2, 3, 4 keys, all a and b"),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_gain, Fraction(21, 20)),
            covers="statement",
            scope="21/20 of the gain",
        ),
        uses=("hyper.row-norms",),
        remarks=(
            "By either norm alone it is ‖P‖_F²‖V‖_F² exactly. The price: norms of the columns of P "
            "have to be estimated.",
        ),
    ),
    Theorem(
        key="kdeformer.best-probabilities",
        title="the best probabilities, and how far KDEformer's are from them",
        statement=(
            "Σ_j a_j b_j/q_j is least at q_j ∝ w_j = √(a_j b_j), with the value (Σ w)²; that of "
            "KDEformer lies between that and Σ w."
        ),
        source=_source("the sampling probabilities, against the best ones"),
        reading="ours: no claim of optimality is ascribed to the paper",
        experiments=(
            Symbolic(
                identities=_best, covers="statement", scope="n = 2, 3, 4, all q and w: step 3"
            ),
            Symbolic(identities=_between, covers="statement", scope="each key by itself: step 4"),
            Enclose(
                certify=_far_apart,
                covers="statement",
                scope="two keys with opposite shares, and equal keys, where Σ w is attained",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_far_apart, part=Fraction(99, 100)),
            covers="statement",
            scope="99/100 of Σ w",
        ),
        uses=("kdeformer.both-norms",),
    ),
)
