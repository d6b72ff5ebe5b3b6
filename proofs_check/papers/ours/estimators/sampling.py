"""Our own statements about sampled attention: sampled hashes and sampled keys.

They are Hoeffding's bound with the l1 width and attention to sampled rows. Nothing here is a
quotation but Hoeffding's inequality, whose proof is short enough to be checked: W. Hoeffding,
"Probability inequalities for sums of bounded random variables", JASA 58 (1963) 13-30, theorem 2
(wording unverified).

    X_h in [a, a + W]        one of m independent variables, Y^ their mean, Y = E Y^; for YOSO
                             X_h = sum_j B_ij v_jc and W = sum_j |v_jc|
    w, t = e^w, p = t/sum t  centred scores (mean 0, |w_j| <= B) and softmax weights of one query;
                             o = sum_j p_j v_j
    s_1 .. s_k               keys drawn uniformly with replacement; o~ = sum t_s v_s / sum t_s the
                             attention to them
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared import planar_hashing as planar
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Plan, Sample, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- Hoeffding's inequality -----------------------------------------------------------------------
# 1. For X in [a, a + W] with mean mu, convexity of exp bounds E e^{s(X - mu)} by that of the
#    two-valued variable on the ends with the same mean.
# 2. With u = s W its logarithm is psi(u) = ln(1 - p + p e^u) - p u.
# 3. psi(0) = psi'(0) = 0 and psi'' = y (1 - y) <= 1/4, so psi <= u^2/8.
# 4. Markov's inequality for the mean of m variables: Pr[Y^ - Y >= t] <= exp(-s t + s^2 W^2 / (8 m))
#    for all s.
# 5. s = 4 m t / W^2 is best. The other side alike, hence the factor 2.


def _hoeffding() -> list[Identity]:
    from sympy import diff, exp, log, simplify, symbols

    p, u, t, m, width = symbols("p u t m W", positive=True)
    psi = log(1 - p + p * exp(u)) - p * u
    y = p * exp(u) / (1 - p + p * exp(u))
    s = 4 * m * t / width**2
    return [
        Identity(psi.subs(u, 0), 0, "psi(0)"),
        Identity(simplify(diff(psi, u).subs(u, 0)), 0, "psi'(0)"),
        Identity(simplify(diff(psi, u, 2) - y * (1 - y)), 0, "psi''"),
        Identity(
            Fraction(1, 4) - u * (1 - u), (u - Fraction(1, 2)) ** 2, "1/4 - y (1 - y) is a square"
        ),
        Identity(
            -s * t + s**2 * width**2 / (8 * m), -2 * m * t**2 / width**2, "exponent at the best s"
        ),
    ]


def _exponential(constant: Fraction, exponent: Fraction) -> Any:
    """2 exp(-constant * exponent) as a ball."""
    from flint import arb, fmpq

    rate = constant * exponent
    return 2 * (-arb(fmpq(rate.numerator, rate.denominator))).exp()


def tails(deviations: Sequence[Fraction]) -> Iterator[tuple[Fraction, Fraction]]:
    """(x, Pr[|deviation| >= x]) at every attained x > 0, the deviations being equally likely."""
    counts = Counter(abs(d) for d in deviations)
    above = 0
    for x in sorted(counts, reverse=True):
        above += counts[x]
        if x > 0:
            yield x, Fraction(above, len(deviations))


FAIR = ((2**10, 548), (2**14, 8602), (2**17, 68158))
"""(m, least): m hashes of one bit, equal keys at a right angle, and the least count of collisions
that is far: deviations of 0.035, 0.025 and 0.02 of the width.
"""


def fair_tail(m: int, least: int) -> tuple[Fraction, Any]:
    """Deviation over the width, and Pr[|Y^ - Y| >= it] as a ball, for m fair bits.

    Pr[Bin(m, 1/2) >= c] is a regularised incomplete Beta function.
    """
    from flint import arb, fmpq

    above = arb(fmpq(1, 2)).beta_lower(arb(least), arb(m - least + 1), regularized=True)
    return Fraction(least, m) - Fraction(1, 2), 2 * above


def _hash_tails(_bits: int, constant: Fraction = Fraction(2)) -> list[Comparison]:
    comparisons = []
    for (keys, values), m in itertools.product(
        (((3, 3, 3), (1, 1, 1)), ((0, 2, 5), (2, -1, 1)), ((1, 1, 4, 7), (1, -2, 3, 1))), (1, 2, 3)
    ):
        sums = [
            sum(b * v for b, v in zip(row, values, strict=True))
            for row in planar.collisions(0, keys, 1)
        ]
        width = sum(abs(v) for v in values)
        deviations = [
            Fraction(sum(chosen), m) - planar.mean(sums)
            for chosen in itertools.product(sums, repeat=m)
        ]
        for x, tail in tails(deviations):
            bound = _exponential(constant, m * x**2 / Fraction(width) ** 2)
            comparisons.append(
                Comparison(tail, bound, f"keys {keys}, values {values}, m = {m}, t = {x}")
            )
    for m, least in FAIR:
        x, above = fair_tail(m, least)
        label = f"equal keys at a right angle, m = {m}, t = {x} W"
        comparisons.append(Comparison(above, _exponential(constant, m * x**2), label))
    return comparisons


_CLUSTER = np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0]) + 0.1 * np.random.default_rng(
    11
).standard_normal((10, 6))
_HASHES, _LEVEL = 8, 0.25
_DEVIATION = 10 * math.sqrt(
    math.log(2 / _LEVEL) / (2 * _HASHES)
)  # values 1, so W = 10; the bound at this deviation is _LEVEL


def _draw_far(rng: np.random.Generator, n: int) -> np.ndarray:
    """Whether |Y^ - Y| >= t for the query e_1 and values 1."""
    w = rng.standard_normal((n, _HASHES, 6))
    collided = (w[..., :1] > 0) == (np.matmul(w, _CLUSTER.T) > 0)
    cosine = _CLUSTER[:, 0] / np.linalg.norm(_CLUSTER, axis=1)
    expected = np.sum(1 - np.arccos(cosine) / np.pi)
    return np.asarray(np.abs(np.sum(collided, axis=(1, 2)) / _HASHES - expected) >= _DEVIATION)


HOEFFDING = Theorem(
    key="ours.l1-hoeffding",
    title="Hoeffding's bound with the l1 width",
    statement=(
        "Pr[|Ŷ_ic - Y_ic| >= t] <= 2 exp(-2 m t² / W_c²), W_c = Σ_j |v_jc|; hence all n dv "
        "entries are within W_c √(ln(2 n dv / δ) / 2m) with probability >= 1 - δ. The same holds "
        "for the mean of any m independent variables in intervals of length W_c."
    ),
    source=Source(
        citation="Hoeffding, JASA 58 (1963) 13-30",
        place="theorem 2, applied to the m hashes",
        fidelity="constants made explicit",
    ),
    reading=(
        "m independent hashes, each shared by all keys: the width is that of Σ_j B_ij v_jc for "
        "arbitrary indicators"
    ),
    experiments=(
        Symbolic(
            identities=_hoeffding,
            covers="step",
            scope=(
                "every distribution on an interval, every m and t (convexity and Markov's "
                "inequality in words)"
            ),
        ),
        Enclose(
            certify=_hash_tails,
            covers="statement",
            scope=(
                "three planar rows of 3 or 4 keys, τ = 1, m = 1, 2, 3, every attained deviation, "
                "all hashes enumerated; equal keys at a right angle, m = 2^10, 2^14, 2^17"
            ),
        ),
        Sample(
            draw=_draw_far,
            claim="probability <=",
            target=_LEVEL,
            plan=Plan(n=4000, sampler="6-dimensional Gaussian hyperplanes"),
            covers="statement",
            scope=(
                "10 clustered keys, values 1, τ = 1, m = 8, at the deviation where the bound is 1/4"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_hash_tails, constant=Fraction(21, 10)),
        covers="statement",
        scope="exponent -2.1 m t² / W² in place of -2",
    ),
    uses=("yoso.collision",),
)

# --- attention to sampled rows --------------------------------------------------------------------
# Let the values lie in [a, b], 0 < x < b - o, and T be the mean of t over all keys.
#
# 1. o~ >= o + x exactly when the mean over the sample of Y = t (v - o - x) / T is >= 0.
# 2. E Y = -x.
# 3. T >= 1 by Jensen, so Y lies in an interval of length e^B (b - a).
# 4. Hoeffding's bound with m = k, W = e^B osc(V), t = x; both sides alike.


def _sample_moments(last: int = 1) -> Iterator[Identity]:
    from sympy import QQ, field

    n, k = 3, 2
    _, *symbols = field("t0 t1 t2 v0 v1 v2 x", QQ)
    t, v, x = symbols[:n], symbols[n : 2 * n], symbols[-1]
    total = sum(t)
    p = [tj / total for tj in t]
    o = sum(pj * vj for pj, vj in zip(p, v, strict=True))
    samples = list(itertools.product(range(n), repeat=k))
    numerators = [n * sum(p[s] * (v[s] - o) for s in drawn) / k for drawn in samples]
    denominators = [n * sum(p[s] for s in drawn) / k for drawn in samples]
    size = len(samples)
    yield Identity(sum(numerators), 0, "E N")
    yield Identity(
        sum(z * z for z in numerators) / size,
        n * sum(pj**2 * (vj - o) ** 2 for pj, vj in zip(p, v, strict=True)) / k,
        "E N²",
    )
    yield Identity(sum(denominators) / size, 1, "E D")
    variance = sum((z - 1) ** 2 for z in denominators) / size
    yield Identity(variance, (n * sum(pj**2 for pj in p) - last) / k, "Var D")
    for drawn, top, bottom in zip(samples, numerators, denominators, strict=True):
        sampled = sum(t[s] * v[s] for s in drawn) / sum(t[s] for s in drawn)
        yield Identity(sampled - o, top / bottom, f"o~ - o for the sample {drawn}")
    yield Identity(sum(tj * (vj - o - x) for tj, vj in zip(t, v, strict=True)) / total, -x, "E Y")


def _kantorovich() -> list[Identity]:
    """t_j in [e^-B, e^B]: (M - t)(t - m) >= 0 sums to sum t^2 <= (m + M) S - n m M, and a square
    gives n sum t^2 <= S^2 (m + M)^2 / (4 m M).
    """
    from sympy import symbols

    t, low, high, s, n, y = symbols("t m M S n y", positive=True)
    return [
        Identity((high - t) * (t - low), (low + high) * t - low * high - t**2, "sum over j"),
        Identity(
            s**2 * (low + high) ** 2 / (4 * low * high) - n * ((low + high) * s - n * low * high),
            ((low + high) * s - 2 * n * low * high) ** 2 / (4 * low * high),
            "a square",
        ),
        Identity((1 / y + y) ** 2 / 4, ((y + 1 / y) / 2) ** 2, "cosh² B at y = e^B"),
    ]


_ROWS = (
    ((1, -1), (0, 1)),
    ((1, 0, -1), (1, 0, 2)),
    ((2, -1, -1), (0, 1, 3)),
    ((1, 1, -1, -1), (1, -1, 2, 0)),
)
"""(exponents w / ln 2 of sum zero, values): softmax weights 2^e are rational, and e^B =
2^max|e|.
"""


def _row_tails(_bits: int, part: Fraction = Fraction(1)) -> list[Comparison]:
    comparisons = []
    for (exponents, values), k in itertools.product(_ROWS, (1, 2, 4)):
        t = [Fraction(2) ** e for e in exponents]
        o = sum((a * v for a, v in zip(t, values, strict=True)), Fraction(0)) / sum(t)
        deviations = [
            sum((t[s] * values[s] for s in drawn), Fraction(0)) / sum(t[s] for s in drawn) - o
            for drawn in itertools.product(range(len(t)), repeat=k)
        ]
        e_b = Fraction(2) ** max(abs(e) for e in exponents)
        width = e_b * (max(values) - min(values))
        for x, tail in tails(deviations):
            comparisons.append(
                Comparison(
                    tail,
                    _exponential(Fraction(2), k * x**2 / width**2) * ball(part),
                    f"weights 2^{exponents}, values {values}, k = {k}, x = {x}",
                )
            )
    return comparisons


ROW_SAMPLE = Theorem(
    key="ours.row-sample",
    title="attention to k sampled keys",
    statement=(
        "õ - o = N/D with E N = 0, E‖N‖² = (n/k) Σ_j p_j² ‖v_j - o‖², E D = 1, Var D = (n‖p‖² - "
        "1)/k, and n‖p‖² <= cosh² B; Pr[|õ_c - o_c| >= x] <= 2 exp(-2 k x² / (e^B osc(V_c))²) for "
        "x > 0."
    ),
    source=here(
        __name__, how="moments of the sample, Kantorovich's inequality, Hoeffding's inequality"
    ),
    reading=(
        "k keys drawn uniformly with replacement, E = F in Linformer's form; scores within B of "
        "their mean"
    ),
    experiments=(
        Symbolic(
            identities=_sample_moments,
            covers="statement",
            scope="all weights and values at n = 3, k = 2, all 9 samples; E Y = -x of the tail",
        ),
        Symbolic(identities=_kantorovich, covers="statement", scope="every n and B"),
        Enclose(
            certify=_row_tails,
            covers="statement",
            scope=(
                "four rows of 2 to 4 keys, k = 1, 2, 4, every attained deviation, all samples "
                "enumerated"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_row_tails, part=Fraction(1, 2)),
        covers="statement",
        scope="half of the tail bound: the largest tail is 0.51 of it",
    ),
    uses=("ours.l1-hoeffding",),
    remarks=(
        "This is the repaired form of Linformer's Theorem 2; k does not grow with n, but it grows "
        "like e^(2B).",
    ),
)

THEOREMS = (HOEFFDING, ROW_SAMPLE)
