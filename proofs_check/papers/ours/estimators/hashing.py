"""Our own statements about hashed attention: Bernstein's bound, and sums over colliding keys.

They are Bernstein's bound with shared hashes, and the Horvitz-Thompson softmax over colliding keys;
what holds once the kept keys are known is in `kept_keys`.

S. Bernstein's inequality as in Boucheron, Lugosi & Massart, "Concentration inequalities", 2013,
section 2.8 (wording unverified). The estimator is that of D. Horvitz and D. Thompson, "A
generalization of sampling without replacement from a finite universe", JASA 47 (1952) 663-685
(wording unverified).

    X_h, Y^, Y, W, s^2   one of m independent hashes, their mean, its expectation, range and
                         variance of X_h (`yoso.variance`)
    U_j, pi_j, pi_jl     key j collides with the query in at least one table; probability of that,
                         and of both j and l colliding
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial

from proofs_check.papers.ours.estimators.sampling import FAIR, fair_tail, tails
from proofs_check.papers.shared import planar_hashing as planar
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- Bernstein ------------------------------------------------------------------------------------
# Let X be one hash, of mean mu, variance sigma^2 and range W.
#
# 1. e^x <= 1 + x + (x^2/2)/(1 - b/3) for x <= b < 3, since k! >= 2 3^(k-2).
# 2. So ln E e^{s(X - mu)} <= s^2 sigma^2 / (2 (1 - s W/3)).
# 3. Markov's inequality with s = t / (sigma^2 + W t/3) a hash bounds the probability that the mean
#    of
#    m hashes exceeds mu by t: exp(-m t^2 / (2 sigma^2 + (2/3) W t)).


def _factorials() -> Iterator[tuple[int, int]]:
    """k!/2 against 3^(k - 2) for small k; from 3 on each further factor k is at least 3."""
    factorial = 2
    for k in range(2, 12):
        yield factorial // 2, 3 ** (k - 2)
        factorial *= k + 1


def _bernstein() -> Iterator[Identity]:
    from sympy import simplify, sqrt, symbols

    yield Identity(
        min(a - b for a, b in _factorials()), 0, "k!/2 >= 3^(k-2), with equality at k = 2, 3"
    )
    s2, width, log, m, t = symbols("s2 W L m t", positive=True)
    u = t / (s2 + width * t / 3)  # s per hash
    exponent = -u * t + u**2 * s2 / (2 * (1 - u * width / 3))
    yield Identity(
        simplify(exponent + t**2 / (2 * s2 + 2 * width * t / 3)), 0, "exponent at the chosen s"
    )
    linear = width * log / (3 * m)
    root = linear + sqrt(linear**2 + 2 * s2 * log / m)
    yield Identity(
        simplify(m * root**2 - log * (2 * s2 + 2 * width * root / 3)),
        0,
        "the t at which the exponent is -L",
    )


_ROWS = (
    ((3, 3, 3), (1, 1, 1)),
    ((0, 2, 5), (2, -1, 1)),
    ((1, 1, 4, 7), (1, -2, 3, 1)),
    ((0, 0, 5, 5), (1, 1, -1, 2)),
)


def _tail_bounds(_bits: int, scale: Fraction = Fraction(1)) -> list[Comparison]:
    from flint import arb, fmpq

    comparisons = []
    for (keys, values), m in itertools.product(_ROWS, (1, 2, 3)):
        sums = [
            sum(b * v for b, v in zip(row, values, strict=True))
            for row in planar.collisions(0, keys, 1)
        ]
        mean, width = planar.mean(sums), sum(abs(v) for v in values)
        variance = planar.mean([(x - mean) ** 2 for x in sums])
        deviations = [
            Fraction(sum(chosen), m) - mean for chosen in itertools.product(sums, repeat=m)
        ]
        for t, tail in tails(deviations):
            rate = scale * m * t**2 / (2 * variance + Fraction(2, 3) * width * t)
            bound = 2 * (-arb(fmpq(rate.numerator, rate.denominator))).exp()
            comparisons.append(
                Comparison(tail, bound, f"keys {keys}, values {values}, m = {m}, t = {t}")
            )
    for m, least in FAIR:  # variance 1/4 for the width 1
        x, above = fair_tail(m, least)
        rate = scale * m * x**2 / (Fraction(1, 2) + Fraction(2, 3) * x)
        bound = 2 * (-arb(fmpq(rate.numerator, rate.denominator))).exp()
        label = f"equal keys at a right angle, m = {m}, t = {x} W"
        comparisons.append(Comparison(above, bound, label))
    return comparisons


BERNSTEIN = Theorem(
    key="ours.shared-bernstein",
    title="Bernstein's bound with the variance of shared hashes",
    statement=(
        "Pr[|Ŷ_ic - Y_ic| >= t] <= 2 exp(-m t² / (2 σ² + (2/3) W_c t)), σ² = Σ_jl (p_ijl - p_ij "
        "p_il) v_jc v_lc, W_c = Σ_j |v_jc|; hence all N entries are within WL/3m + √((WL/3m)² + "
        "2σ²L/m), L = ln(2N/δ), with probability >= 1 - δ."
    ),
    source=Source(
        citation="Boucheron, Lugosi & Massart, Concentration Inequalities, 2013",
        place="section 2.8, applied to the m hashes",
        fidelity="constants made explicit",
    ),
    reading=(
        "m independent hashes, each shared by all keys; the variance is that of yoso.variance, not "
        "that of independent keys"
    ),
    experiments=(
        Symbolic(
            identities=_bernstein,
            covers="step",
            scope="every σ², W, m, t (the exponential series and Markov's inequality in words)",
        ),
        Enclose(
            certify=_tail_bounds,
            covers="statement",
            scope=(
                "four planar rows of 3 or 4 keys, τ = 1, m = 1, 2, 3, every attained deviation, "
                "all hashes enumerated; equal keys at a right angle, m = 2^10, 2^14, 2^17"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_tail_bounds, scale=Fraction(11, 10)),
        covers="statement",
        scope="the exponent times 1.1",
    ),
    uses=("yoso.variance",),
    remarks=(
        "With the variance of independent keys it would be false for the same reason as "
        "yoso.l2-hoeffding.",
    ),
)

# --- Horvitz-Thompson -----------------------------------------------------------------------------
# 1. U_j is 0 or 1 with mean pi_j, so E U_j/pi_j = 1.
# 2. E U_j U_l = pi_jl: the covariance of U_j/pi_j and U_l/pi_l is pi_jl/(pi_j pi_l) - 1.


def _kept(keys: Sequence[int], tables: int) -> list[tuple[int, ...]]:
    """Indicators of a collision in at least one of the tables of one bit, under each equally likely
    draw of all tables.
    """
    rows = planar.collisions(0, keys, 1)
    return [
        tuple(int(any(bits)) for bits in zip(*chosen, strict=True))
        for chosen in itertools.product(rows, repeat=tables)
    ]


def _union(p: Fraction, tables: int) -> Fraction:
    return 1 - (1 - p) ** tables


def _joint(keys: Sequence[int], j: int, l: int, tables: int) -> Fraction:
    p_j, p_l = planar.pair(0, keys[j], 1), planar.pair(0, keys[l], 1)
    both = planar.triple(0, keys[j], keys[l], 1)
    return 1 - (1 - p_j) ** tables - (1 - p_l) ** tables + (1 - p_j - p_l + both) ** tables


_KEYS, _WEIGHTS = (
    (0, 1, 1, 3, 5),
    (Fraction(5), Fraction(3), Fraction(1, 2), Fraction(2), Fraction(7, 3)),
)


def _horvitz_thompson(weighted: bool = True) -> Iterator[Identity]:
    for tables in (1, 2, 3):
        kept = _kept(_KEYS, tables)
        inclusion = [
            _union(planar.pair(0, key, 1), tables) if weighted else Fraction(1) for key in _KEYS
        ]
        sums = [
            sum(w * u / p for w, u, p in zip(_WEIGHTS, row, inclusion, strict=True)) for row in kept
        ]
        total = sum(_WEIGHTS)
        yield Identity(planar.mean(sums), total, f"mean, L = {tables}")
        variance = planar.mean([(x - total) ** 2 for x in sums])
        formula = sum(
            w * v * (_joint(_KEYS, j, l, tables) / (inclusion[j] * inclusion[l]) - 1)
            for (j, w), (l, v) in itertools.product(enumerate(_WEIGHTS), repeat=2)
        )
        yield Identity(variance, formula, f"variance, L = {tables}")


HORVITZ_THOMPSON = Theorem(
    key="ours.horvitz-thompson",
    title="the Horvitz-Thompson sum over colliding keys",
    statement=(
        "E Σ_j a_j U_j/π_j = Σ_j a_j and its variance is Σ_jl a_j a_l (π_jl/(π_j π_l) - 1), with "
        "π_j = 1 - (1 - p_j)^L and π_jl = 1 - (1 - p_j)^L - (1 - p_l)^L + (1 - p_j - p_l + "
        "p_jl)^L, p_j, p_jl the pair and triple collision probabilities of one table."
    ),
    source=Source(
        citation="Horvitz & Thompson, JASA 47 (1952) 663-685",
        place="applied to the union of L hash tables",
        fidelity="constants made explicit",
    ),
    reading=(
        "a_j = exp(s_ij) v_jc for the numerator of the softmax, exp(s_ij) for its denominator; "
        "keys share the tables; π_j > 0"
    ),
    experiments=(
        Symbolic(
            identities=_horvitz_thompson,
            grade="exact-rational",
            covers="statement",
            scope="5 planar keys, two of them equal, one bit, L = 1, 2, 3, every draw enumerated",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_horvitz_thompson, weighted=False),
        grade="exact-rational",
        covers="statement",
        scope="collided weights summed without 1/π_j",
    ),
    uses=("yoso.triple",),
    remarks=(
        "Neither paper has this estimator. The ratio of the two sums is biased, by the variance of "
        "the denominator to first order.",
    ),
)


THEOREMS = (BERNSTEIN, HORVITZ_THOMPSON)
