"""The estimator of Zeng et al. 2021 at its ends, and the bias of gradients that share its hashes.

Citation and letters: `collision`.

They are the slope of the weight at the ends, a bound of the variance, the bias of gradients from
the same hashes, and that of rows of unit length.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared import planar_hashing as planar
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.zeng_2021.source import CITATION
from proofs_check.papers.zeng_2021.variance import planar_rows, row_error
from proofs_check.statements.experiment import Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- the slope of the weight at opposite directions -----------------------------------------------
# 1. p(x) = (1 - theta/pi)^tau with theta = arccos x.
# 2. p' = tau (1 - theta/pi)^(tau - 1)/(pi sin theta).
# 3. With e = pi - theta it is tau e^(tau - 1)/(pi^tau sin e).


def _end(second: int = 2) -> Iterator[Identity]:
    import sympy as sp

    e = sp.symbols("e", positive=True)
    for tau, expected in ((1, sp.oo), (2, second / sp.pi**2), (3, 0), (4, 0), (9, 0)):
        slope = tau * (e / sp.pi) ** (tau - 1) / (sp.pi * sp.sin(e))
        found = sp.limit(slope, e, 0, "+")
        yield Identity(int(bool(found == expected)), 1, f"x -> -1, tau = {tau}: {found}")
        near = tau * (1 - e / sp.pi) ** (tau - 1) / (sp.pi * sp.sin(e))
        yield Identity(int(bool(sp.limit(near, e, 0, "+") == sp.oo)), 1, f"x -> 1, tau = {tau}")


ENDS = Theorem(
    key="yoso.slope-at-ends",
    title="slope of the weight at x = 1 and x = -1",
    statement=(
        "p'(x) = τ (1 - θ/π)^{τ-1} / (π sin θ) tends to infinity as x -> 1 for every τ; as x -> -1 "
        "to infinity for τ = 1, to 2/π² for τ = 2, to 0 for τ >= 3."
    ),
    source=Source(
        citation=CITATION,
        place="derivative of the collision probability; the limits are worked out",
        fidelity="ours",
    ),
    experiments=(Symbolic(identities=_end, covers="statement", scope="τ = 1, 2, 3, 4, 9"),),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_end, second=4), covers="statement", scope="4/π² at τ = 2"),
    uses=("yoso.collision", "yoso.exact-gradient"),
)

# --- a bound of the variance without triple collisions --------------------------------------------
# 1. Let indicators B, C have the joint probabilities a (both), b (B alone), c (C alone), d
#    (neither).
# 2. Cov = a d - b c, Var B = (a + b)(c + d), Var C = (a + c)(b + d).
# 3. Var B Var C - Cov^2 has positive coefficients.
# 4. So |Cov(B_j, B_l)| <= s_j s_l with s_j = sqrt(p_j (1 - p_j)).
# 5. Hence sum_jl Cov <v_j, v_l> <= (sum_j s_j |v_j|)^2.


def _indicators() -> Iterator[Identity]:
    from sympy import QQ, ring

    _, a, b, c, d = ring("a b c d", QQ)
    covariance = a * d - b * c
    margin = (a + b) * (c + d) * (a + c) * (b + d) - covariance**2
    terms = a * b * c**2 + a * b**2 * c + a**2 * b * c + a * b * d**2 + a * b**2 * d + a**2 * b * d
    terms += (
        a * c * d**2
        + a * c**2 * d
        + a**2 * c * d
        + b * c * d**2
        + b * c**2 * d
        + b**2 * c * d
        + 4 * a * b * c * d
    )
    yield Identity(margin, terms, "Var B Var C - Cov^2, all of whose coefficients are positive")
    total = a + b + c + d
    yield Identity(
        a * total - (a + b) * (a + c), covariance, "covariance of indicators, up to the total"
    )


def _spread(instance: Instance, part: Fraction = Fraction(1)) -> tuple[Fraction, Any]:
    """The variance of one column, against a part of the bound."""
    keys, values, m = instance["keys"], instance["values"], instance["hashes"]
    chances = [planar.pair(0, key, 1) for key in keys]
    size = sum(
        (ball(p * (1 - p)).sqrt() * abs(v) for p, v in zip(chances, values, strict=True)), ball(0)
    )
    return row_error(tuple(keys), tuple((v,) for v in values), m), ball(part / m) * size**2


def _search(part: Fraction = Fraction(1)) -> Falsify:
    return search_by(
        partial(_spread, part=part),
        instances=planar_rows,
        examples=({"keys": (3, 3), "values": (1, 1), "hashes": 1},),
        tries=150,
        scope="up to 4 planar keys at multiples of π/6, values from -2 to 2, τ = 1, m = 1, 2",
    )


VARIANCE_BOUND = Theorem(
    key="yoso.variance-bound",
    title="a bound of the variance from collision probabilities alone",
    statement=(
        "E|Ŷ_i - Y_i|² <= (1/m) (Σ_j sqrt(p_ij (1 - p_ij)) |v_j|)², attained by equal keys with "
        "values of one direction."
    ),
    source=Source(
        citation=CITATION,
        place="from yoso.variance by the inequality of Cauchy and Schwarz",
        fidelity="ours",
    ),
    reading="the right-hand side that replaces that of yoso.independent-variance",
    experiments=(
        Symbolic(
            identities=_indicators,
            covers="statement",
            scope="two indicators with any joint probabilities, so any number of keys",
        ),
        _search(),
    ),
    expected=Status.PROVED,
    mutant=_search(Fraction(99, 100)),
    uses=("yoso.variance", "yoso.independent-variance"),
)

# --- gradients from the same hashes ---------------------------------------------------------------
# 1. One key, one column, loss Y^2/2: G = Y^ = M v with M the mean of m indicators.
# 2. The sampled dL/dv is M G = M^2 v, of mean (p^2 + p (1 - p)/m) v.


def _shared(*, independent: bool = False) -> Iterator[Identity]:
    from math import comb

    from sympy import QQ, ring

    _, p = ring("p", QQ)
    for m in (1, 2, 5):
        found = 0 * p
        for hits in range(m + 1):
            found += comb(m, hits) * p**hits * (1 - p) ** (m - hits) * QQ(hits * hits, m * m)
        bias = 0 * p if independent else p * (1 - p) * QQ(1, m)
        yield Identity(found, p**2 + bias, f"E M^2 of {m} hashes")


SHARED = Theorem(
    key="yoso.shared-hash-bias",
    title="gradients from the hashes of the forward pass are biased",
    statement=(
        "The sampled gradient is unbiased for a fixed cotangent G; with G = dL/dŶ from the same "
        "hashes it is not: for one key and L = Ŷ²/2 the mean of dL/dv is (p² + p(1 - p)/m) v, p(1 "
        "- p) v/m too much."
    ),
    source=Source(
        citation=CITATION,
        place="forward and backward pass share their codes (authors' code)",
        fidelity="ours",
    ),
    reading="the bias falls like 1/m; it is that of a square of a mean",
    experiments=(
        Symbolic(identities=_shared, covers="statement", scope="1, 2 and 5 hashes, all p"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_shared, independent=True),
        covers="statement",
        scope="as if the hashes were drawn anew",
    ),
    uses=("yoso.sampled-gradient", "yoso.collision"),
)

# --- rows of unit length --------------------------------------------------------------------------
# 1. Two keys at right angles to each other, values e1 and e2, collisions independent, one hash.
# 2. E Y^/|Y^| in the first coordinate is p1 (1 - p2) + p1 p2/sqrt 2.
# 3. It should be p1/sqrt(p1^2 + p2^2).


def _unit_rows(*, equal: bool = False) -> Iterator[Identity]:
    import sympy as sp

    p = sp.Rational(1, 4)
    mean = p * (1 - p) + p * p / sp.sqrt(2)
    target = p / sp.sqrt(2 * p * p)
    yield Identity(
        sp.simplify(target - mean)
        if equal
        else int(bool(sp.simplify(target - mean) > sp.Rational(2, 5))),
        0 if equal else 1,
        "p1 = p2 = 1/4, one hash",
    )


UNIT_ROWS = Theorem(
    key="yoso.normalised-bias",
    title="rows of unit length are biased",
    statement=(
        "E Ŷ/|Ŷ| differs from Y/|Y|: by more than 0.4 in a coordinate for one hash and two keys "
        "with collision probability 1/4, orthogonal values."
    ),
    source=Source(
        citation=CITATION,
        place="N-YOSO, normalisation after sampling (authors' code)",
        fidelity="ours",
    ),
    reading=(
        "independent collisions of the two keys, as for a query and two keys pairwise at right "
        "angles and τ = 2; a row without collision stays 0"
    ),
    experiments=(
        Symbolic(identities=_unit_rows, covers="statement", scope="one hash, p = 1/4, exactly"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_unit_rows, equal=True), covers="statement", scope="no bias"
    ),
    uses=("yoso.triple", "ours.dunkl-williams"),
)

THEOREMS: tuple[Any, ...] = (ENDS, VARIANCE_BOUND, SHARED, UNIT_ROWS)
