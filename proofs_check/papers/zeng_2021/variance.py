"""The spread of YOSO-m about YOSO-E when all keys of a row share the hash.

Citation and letters: `collision`.

Whether the paper states a variance or a concentration lemma could not be checked. The two refuted
statements below are no quotations. They are what one writes down by treating the n indicators of a
row as independent, as "all can be sampled by a single hash" invites.

    X_h = sum_j B_ij^(h) v_j      one hash; the m hashes are independent,
                                  the indicators B_ij, B_il of one hash are not
    Y^_i = (1/m) sum_h X_h        YOSO-m;  Y_i = sum_j p_ij v_j   YOSO-E
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.shared import planar_hashing as planar
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.papers.zeng_2021.source import CITATION
from proofs_check.statements.experiment import (
    Assumption,
    Falsify,
    Identity,
    Instance,
    Plan,
    Sample,
    Symbolic,
)
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- the exact variance ---------------------------------------------------------------------------
# 1. E|Y^ - Y|^2 = (1/m) E|X - E X|^2, since the hashes are independent.
# 2. E B_ij B_il = p_ijl.
# 3. Hence E|Y^ - Y|^2 = (1/m) sum_jl (p_ijl - p_ij p_il) <v_j, v_l>.

_KEYS = (0, 0, 1, 3, 4, 6, 9, 11)
"""Directions of keys against a query at 0: duplicates, near, orthogonal, opposite."""


def _covariances() -> Iterator[Identity]:
    for bits in (1, 2):
        rows = planar.collisions(0, _KEYS, bits)
        means = [planar.mean([row[j] for row in rows]) for j in range(len(_KEYS))]
        for j, l in itertools.product(range(len(_KEYS)), repeat=2):
            counted = planar.mean([row[j] * row[l] for row in rows]) - means[j] * means[l]
            claimed = planar.triple(0, _KEYS[j], _KEYS[l], bits) - planar.pair(
                0, _KEYS[j], bits
            ) * planar.pair(0, _KEYS[l], bits)
            yield Identity(counted, claimed, f"coefficient of <v_{j}, v_{l}>, {bits} bits")


def row_error(keys: tuple[int, ...], values: tuple[tuple[int, ...], ...], m: int) -> Fraction:
    """E|Y^ - Y|^2 over all m-tuples of one-bit hashes, Y taken as the exact expectation."""
    rows = planar.collisions(0, keys, 1)
    sums = [
        [sum(b * v[c] for b, v in zip(row, values, strict=True)) for c in range(len(values[0]))]
        for row in rows
    ]
    expected = [planar.mean([s[c] for s in sums]) for c in range(len(values[0]))]
    errors = [
        sum(
            (Fraction(sum(s[c] for s in chosen), m) - expected[c]) ** 2
            for c in range(len(expected))
        )
        for chosen in itertools.product(sums, repeat=m)
    ]
    return planar.mean(errors)


def _formula(
    keys: tuple[int, ...], values: tuple[tuple[int, ...], ...], m: int, *, shared: bool = True
) -> Fraction:
    total = Fraction(0)
    for (j, v), (l, u) in itertools.product(enumerate(values), repeat=2):
        p_j, p_l = planar.pair(0, keys[j], 1), planar.pair(0, keys[l], 1)
        covariance = (
            planar.triple(0, keys[j], keys[l], 1) - p_j * p_l if shared or j == l else Fraction(0)
        )
        total += covariance * sum(a * b for a, b in zip(v, u, strict=True))
    return total / m


_VALUES = ((1, 2), (3, -1), (0, 1), (2, 2))


def _row_errors(shared: bool = True) -> Iterator[Identity]:
    for keys, m in itertools.product(((0, 0, 1, 3), (2, 5, 7, 9), (3, 3, 3, 3)), (1, 2, 3)):
        yield Identity(
            row_error(keys, _VALUES, m),
            _formula(keys, _VALUES, m, shared=shared),
            f"keys {keys}, m = {m}",
        )


_RNG = np.random.default_rng(7)
_CENTRE = _RNG.standard_normal(8)
_SAMPLED_KEYS = np.concatenate(
    [_CENTRE + 0.3 * _RNG.standard_normal((6, 8)), _RNG.standard_normal((6, 8))]
)
_SAMPLED_VALUES = 1 + _RNG.standard_normal(12)
_TAU, _M = 2, 4


def _unit_angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    return np.asarray(np.arccos(np.clip(a @ b.T, -1, 1)))


def _sampled_moments() -> tuple[float, float]:
    """Mean and variance of one output entry by the formula."""
    own, among = (
        _unit_angles(_CENTRE[None], _SAMPLED_KEYS)[0],
        _unit_angles(_SAMPLED_KEYS, _SAMPLED_KEYS),
    )
    p = (1 - own / np.pi) ** _TAU
    joint = (1 - (own[:, None] + own[None, :] + among) / (2 * np.pi)) ** _TAU
    v = _SAMPLED_VALUES
    return float(p @ v), float(v @ (joint - np.outer(p, p)) @ v) / _M


_MEAN, _VARIANCE = _sampled_moments()


def _draw_relative_square(rng: np.random.Generator, n: int) -> np.ndarray:
    """(Y^ - Y)^2 / formula, whose mean is 1 if the formula holds."""
    w = rng.standard_normal((n, _M, _TAU, 8))
    own, others = np.matmul(w, _CENTRE) > 0, np.matmul(w, _SAMPLED_KEYS.T) > 0
    collided = np.all(own[..., None] == others, axis=2)  # (n, m, keys)
    estimate = np.mean(collided @ _SAMPLED_VALUES, axis=1)
    return np.asarray((estimate - _MEAN) ** 2 / _VARIANCE)


VARIANCE = Theorem(
    key="yoso.variance",
    title="exact variance with a shared hash",
    statement=(
        "E|Ŷ_i - Y_i|² = (1/m) Σ_jl (p_ijl - p_ij p_il) <v_j, v_l>, with p_ijl the joint collision "
        "probability of yoso.triple."
    ),
    source=here(__name__, how="from yoso.triple and the independence of the m hashes"),
    reading=(
        "one query row, m independent hashes of τ Gaussian hyperplanes, each shared by the query "
        "and all keys"
    ),
    experiments=(
        Symbolic(
            identities=_covariances,
            grade="exact-rational",
            covers="statement",
            scope=(
                "all coefficients <v_j, v_l> for 8 keys at multiples of π/6, τ = 1, 2, every hash "
                "enumerated"
            ),
        ),
        Symbolic(
            identities=_row_errors,
            grade="exact-rational",
            covers="statement",
            scope=(
                "4 keys with values in Z², τ = 1, m = 1, 2, 3, every m-tuple of hashes enumerated"
            ),
        ),
        Sample(
            draw=_draw_relative_square,
            claim="mean =",
            target=1.0,
            plan=Plan(n=60_000, margin=0.05, sampler="8-dimensional Gaussian hyperplanes"),
            chunk=2048,
            covers="statement",
            scope=(
                "(Ŷ - Y)² over the formula for 6 clustered and 6 free keys, d = 8, τ = 2, m = 4"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_row_errors, shared=False),
        grade="exact-rational",
        covers="statement",
        scope="covariances left out",
    ),
    uses=("yoso.collision", "yoso.triple"),
)

# --- the same, as if the keys were independent ----------------------------------------------------


def planar_rows() -> Any:
    """Strategy of up to four planar keys, one column of values and one or two hashes."""
    from hypothesis import strategies as st

    return st.integers(1, 4).flatmap(
        lambda n: st.fixed_dictionaries(
            {
                "keys": st.lists(st.integers(0, 11), min_size=n, max_size=n),
                "values": st.lists(st.integers(-2, 2), min_size=n, max_size=n),
                "hashes": st.integers(1, 2),
            }
        )
    )


def _variance(
    instance: Instance, factor: Fraction = Fraction(1), *, shared: bool = False
) -> tuple[Fraction, Fraction]:
    """The variance, against a multiple of what it would be for independent keys, or shared ones."""
    keys, values, m = (
        tuple(instance["keys"]),
        tuple((v,) for v in instance["values"]),
        instance["hashes"],
    )
    return row_error(keys, values, m), factor * _formula(keys, values, m, shared=shared)


_EQUAL_KEYS: tuple[Instance, ...] = ({"keys": (3, 3), "values": (1, 1), "hashes": 1},)


def _planar_rows(confirm: Any) -> Falsify:
    return search_by(
        confirm,
        instances=planar_rows,
        examples=_EQUAL_KEYS,
        tries=150,
        scope=(
            "planar keys at multiples of π/6 of the query (keys = multiple), integer values, τ = "
            "1, m <= 2"
        ),
    )


INDEPENDENT = Theorem(
    key="yoso.independent-variance",
    title="variance as if the keys were independent",
    statement="E|Ŷ_i - Y_i|² <= (1/m) Σ_j p_ij (1 - p_ij) |v_j|².",
    source=Source(
        citation=CITATION,
        place="not a quotation: the variance of n independent Bernoulli indicators",
        fidelity="ours",
    ),
    reading="as an upper bound, which already fails; as an equality it fails with it",
    alternative_readings=(
        "A fresh hash for every pair would make it true, at the cost of n² hashes.",
    ),
    experiments=(_planar_rows(_variance),),
    expected=Status.REFUTED,
    mutant=_planar_rows(partial(_variance, factor=Fraction(19, 10))),
    kind="sharpness",
    repaired=_planar_rows(partial(_variance, shared=True)),
    defence="Nobody prints it; it is what treating the keys of a row as independent would give.",
    uses=("yoso.variance",),
    repaired_by="yoso.variance",
    by_hand=ByHand(
        instance=(
            "One hash of one bit, two equal keys at a right angle to the query, values 1: p = 1/2."
        ),
        shows=(
            "Both keys collide or none: Ŷ is 0 or 2, Y = 1, so E|Ŷ - Y|² = 1. The formula gives "
            "1/4 + 1/4."
        ),
    ),
    remarks=(
        "n equal keys with equal values: the true variance is n times this one, so the ratio is "
        "unbounded.",
    ),
)

# --- concentration with the l2 width --------------------------------------------------------------
# 1. n equal keys at pi/2 from the query, values 1, tau = 1: X_h = n b_h with fair bits b_h.
# 2. So Y^ = (n/m) Bin(m, 1/2) and Y = n/2 exactly.


def _tail_instances() -> Any:
    from hypothesis import strategies as st

    return st.fixed_dictionaries(
        {"n": st.integers(1, 64), "m": st.integers(1, 16), "deviation": st.integers(1, 32)}
    )


def _tail(instance: Instance) -> Fraction:
    """Pr[|Y^ - Y| >= t], by counting."""
    n, m, t = instance["n"], instance["m"], instance["deviation"]
    far = sum(
        math.comb(m, c) for c in range(m + 1) if abs(Fraction(n * c, m) - Fraction(n, 2)) >= t
    )
    return Fraction(far, 2**m)


def _l2_tail(instance: Instance, factor: int = 1) -> tuple[Fraction, Any]:
    """The tail, against a multiple of the bound with the Euclidean width."""
    from flint import arb, fmpq

    exponent = arb(fmpq(-2 * instance["m"] * instance["deviation"] ** 2, instance["n"]))
    return _tail(instance), 2 * factor * exponent.exp()


def _is_tail(instance: Instance) -> bool:
    return all(
        isinstance(instance[name], int) and instance[name] >= 1 for name in ("n", "m", "deviation")
    )


_TAIL_SIZES = Assumption(
    text="n equal keys, m hashes and the deviation t are positive integers", predicate=_is_tail
)


def _l1_tail(instance: Instance) -> tuple[Fraction, Any]:
    """The tail, against the bound with the sum of the values' sizes as the width."""
    from flint import arb, fmpq

    n, m, t = instance["n"], instance["m"], instance["deviation"]
    return _tail(instance), 2 * arb(fmpq(-2 * m * t**2, n**2)).exp()


_EQUAL_ROW: tuple[Instance, ...] = ({"n": 64, "m": 16, "deviation": 8},)


def _equal_rows(confirm: Any) -> Falsify:
    return search_by(
        confirm,
        instances=_tail_instances,
        assumptions=(_TAIL_SIZES,),
        examples=_EQUAL_ROW,
        tries=150,
        scope="n <= 64 equal keys, m <= 16 hashes, whole deviations",
    )


L2_HOEFFDING = Theorem(
    key="yoso.l2-hoeffding",
    title="Hoeffding's bound with the Euclidean width",
    statement="Pr[|Ŷ_ic - Y_ic| >= t] <= 2 exp(-2 m t² / Σ_j v_jc²).",
    source=Source(
        citation=CITATION,
        place="not a quotation: Hoeffding's inequality for independent keys",
        fidelity="ours",
    ),
    reading=(
        "tested on n equal keys orthogonal to the query, values 1, τ = 1, where the tail is an "
        "exact binomial sum"
    ),
    assumptions=(_TAIL_SIZES,),
    experiments=(_equal_rows(_l2_tail),),
    expected=Status.REFUTED,
    mutant=_equal_rows(partial(_l2_tail, factor=10)),
    kind="sharpness",
    repaired=_equal_rows(_l1_tail),
    defence="Nobody prints it; it is Hoeffding's inequality misapplied to keys that share a hash.",
    repaired_by="ours.l1-hoeffding",
    by_hand=ByHand(
        instance=(
            "One hash of one bit, four equal keys at a right angle to the query, values 1, t = 2."
        ),
        shows=(
            "Ŷ is 0 or 4, Y = 2: the deviation is 2 with probability 1. The formula allows 2 "
            "e^(-2) = 0.271."
        ),
    ),
)

THEOREMS = (VARIANCE, INDEPENDENT, L2_HOEFFDING)
