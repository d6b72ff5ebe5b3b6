"""Attention that finds a close pair of binary vectors (Haverbeck et al. 2026, appendix A).

Read: appendix A.2 to A.4, Lemma A.8 up to its proof. All vectors have d/2 ones; |a - b|_0 counts
the places where they differ.

Lemma A.5 takes beta = 12 d ln(n) / (epsilon t) and mu = 1/2 - (1/2 + epsilon/3) t / d, keys
rho sqrt(beta) (b_j, -mu 1, 0) and n keys 0, queries rho sqrt(beta) (a, 1, 0), rho^2 = D / (2d).

1. The logit of a and b is (beta / 2d)(<a, b> - mu d), and <a, b> = (d - h)/2, h = |a - b|_0.
2. It equals ln(n) (2 + 3 (t - h) / (epsilon t)): 2 ln n at h = t, -ln n at h = (1 + epsilon) t.
3. The output is y = s / (s + n), s the sum of the n weights, which grows with each of them.
4. A close pair gives s >= n^2 and y >= n / (n + 1). It is least when the other keys are farthest.
5. Without one, s <= n (1/n) = 1 and y <= 1 / (n + 1), with equality when all keys lie at
   (1 + epsilon) t.

Lemma A.7: exponential variables E_j of rate theta, clipped at L, are added to fixed numbers s_j.

6. For two numbers at distance D <= g, put y = theta D and q = e^(-theta (L - g)), L >= g + D.
   The first leads by g with probability e^(-theta (g + D)) (1 - e^(-2 theta (L - g - D))) / 2,
   the second likewise with -D for D.
7. Their sum is e^(-theta g) (cosh y)(1 - q^2), and e^(-theta g) - 2 e^(-theta L) is
   e^(-theta g) (1 - 2q). So the claim is 1 - 2q <= (cosh y)(1 - q^2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.haverbeck_2026.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

_CASES = (
    (6, 2, Fraction(1)),
    (8, 2, Fraction(1, 2)),
    (8, 4, Fraction(1, 2)),
    (12, 4, Fraction(1, 4)),
    (12, 6, Fraction(1, 3)),
)
"""d, t and epsilon, with whole exponents of n."""


def _vector(d: int, distance: int) -> list[int]:
    """A vector with d/2 ones at the distance from the one whose first half is ones."""
    half, moved = d // 2, distance // 2
    return [0] * moved + [1] * (half - moved) + [1] * moved + [0] * (half - moved)


def _exponent(case: tuple[int, int, Fraction], distance: int, factor: int) -> Fraction:
    """The logit of the gadget, from its vectors, in units of ln n."""
    d, t, epsilon = case
    a, b = _vector(d, 0), _vector(d, distance)
    beta = factor * d / (epsilon * t)
    mu = Fraction(1, 2) - (Fraction(1, 2) + epsilon / 3) * Fraction(t, d)
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return beta / (2 * d) * (product - mu * d)


def _output(n: int, exponents: Sequence[Fraction]) -> Any:
    """s / (s + n), exact for whole exponents."""
    terms = [Fraction(n) ** int(e) if e.denominator == 1 else ball(n) ** ball(e) for e in exponents]
    s = sum(terms[1:], terms[0])
    return s / (s + n)


def _gadget(_bits: int, factor: int = 12) -> list[Comparison]:
    found = []
    for case in _CASES:
        d, t, epsilon = case
        least = next(h for h in range(0, d + 1, 2) if h >= (1 + epsilon) * t)
        at = {h: _exponent(case, h, factor) for h in (t, least, d)}
        for n in (*range(2, 13), 16, 32, 64):
            label = f"d, t = {d, t}, ε = {epsilon}, n = {n}"
            close = _output(n, [at[t], *[at[d]] * (n - 1)])
            far = _output(n, [at[least]] * n)
            found += [
                Comparison(Fraction(n, n + 1), close, f"{label}: one key at distance t"),
                Comparison(far, Fraction(1, n + 1), f"{label}: no key below (1 + ε) t"),
            ]
    return found


def _logit() -> Iterator[Identity]:
    """Steps 1 and 2, for all d, t, h and epsilon, in units of ln n."""
    from sympy import QQ, field

    _, d, t, h, epsilon = field("d, t, h, epsilon", QQ)
    beta = 12 * d / (epsilon * t)
    mu = QQ(1, 2) - (QQ(1, 2) + epsilon / 3) * t / d
    logit = beta / (2 * d) * ((d - h) / 2 - mu * d)
    yield Identity(logit, 2 + 3 * (t - h) / (epsilon * t), "the logit")


def _least_lead(_y: Any, q: Any, one: Fraction = Fraction(1)) -> Any:
    return ball(one) - 2 * q


def _lead(y: Any, q: Any) -> Any:
    return y.cosh() * (1 - q * q)


def _clipped(low: Fraction, scope: str, *, one: Fraction = Fraction(1), y: int = 4) -> Enclose:
    """The box y in [0, y], q from 1/256 to `low`."""
    return Enclose(
        lhs=partial(_least_lead, one=one),
        rhs=_lead,
        box=((0, Fraction(y)), (Fraction(1, 256), low)),
        covers="statement",
        scope=scope,
    )


THEOREMS = (
    Theorem(
        key="haverbeck.close-pairs",
        title="a coarse look at one entry of attention finds a close pair",
        statement=(
            "In the instance of Lemma A.5 the output is y >= n/(n + 1) if some |a - b_j|₀ <= t, "
            "and y <= 1/(n + 1) if all are at least (1 + ε) t; the second bound is attained."
        ),
        source=Source(
            citation=CITATION,
            place="Lemma A.5",
            fidelity="constants made explicit",
            wording_verified=True,
        ),
        reading=(
            "the outputs, for every n and not only large ones; the bounds on the entries of Q and "
            "K, which need n large, are left out"
        ),
        experiments=(
            Enclose(
                certify=_gadget,
                covers="statement",
                scope=(
                    "n = 2 to 12, 16, 32, 64, five triples (d, t, ε), every set of vectors by its "
                    "worst case"
                ),
            ),
            Symbolic(identities=_logit, covers="step", scope="the logit, all d, t, h, ε"),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_gadget, factor=11), covers="statement", scope="11 in place of 12"
        ),
        remarks=(
            "So any error below 1/2 - 1/(n + 1), absolute and per entry, tells the cases apart: "
            "no high precision is needed for hardness, unlike in Alman & Song 2023.",
        ),
    ),
    Theorem(
        key="haverbeck.clipped-exponentials",
        title="clipped exponential noise makes one score lead",
        statement=(
            "Pr[some s_j + Ê_j leads all others by g] >= e^(-θg) - n e^(-θL), Ê_j exponential of "
            "rate θ and clipped at L."
        ),
        source=Source(
            citation=CITATION,
            place="Lemma A.7",
            fidelity="constants made explicit",
            wording_verified=True,
        ),
        reading="n = 2, where both sides have closed forms",
        experiments=(
            _clipped(
                Fraction(1),
                "n = 2, θD in [0, 4], D <= g, e^(-θ(L - g)) in [1/256, 1], L >= g + D",
            ),
        ),
        expected=Status.PROVED,
        mutant=_clipped(Fraction(1, 64), "21/20 of e^(-θg)", one=Fraction(21, 20), y=0),
        remarks=(
            "The lemma names its numbers z_1, ..., z_n and then writes s_j: a slip of the pen.",
            "Without clipping, equal numbers attain e^(-θg) for every n.",
        ),
    ),
)
