"""The diagnosis: what it measures, what it certifies, what it costs, and that its advice follows
from its numbers.
"""

from __future__ import annotations

import math
import re
import textwrap
from typing import Any

import numpy as np
import pytest
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.data import minilm_heads
from approxattn.diagnosis.polynomial_needs import Need
from approxattn.exponential import degree_for


def diagnose(*qkv: HostArray, library: Library = NUMPY, **options: Any) -> aa.Regime:
    options = {
        name: library.put(x) if isinstance(x, np.ndarray) else x for name, x in options.items()
    }
    return aa.diagnose(*(library.put(x) for x in qkv), **options)


def problem(
    seed: int = 0, size: float = 1.0, shape: tuple[int, ...] = (12, 3)
) -> tuple[HostArray, ...]:
    return tuple(np.random.default_rng(seed).uniform(-size, size, (3, *shape)))


def need(regime: aa.Regime, tolerance: float, scores: str, basis: str) -> Need:
    (found,) = (
        n for n in regime.needs if (n.tolerance, n.scores, n.basis) == (tolerance, scores, basis)
    )
    return found


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, np.arange(12) % 3 != 2])
def test_measurements_by_hand(causal: bool, mask: HostArray | None) -> None:
    q, k, v = problem(1)
    k = k + 2
    regime = diagnose(q, k, v, causal=causal, key_mask=mask, scale=0.75)
    keep = np.broadcast_to(True if mask is None else mask, (12, 12)) & (
        np.tri(12, dtype=bool) if causal else True
    )
    visible = np.ones(12, bool) if mask is None else mask
    scores, centred = 0.75 * q @ k.T, 0.75 * q @ (k - k[visible].mean(axis=0)).T
    rows = [s[m] for s, m in zip(scores, keep, strict=True)]
    weights = [np.exp(row) / np.exp(row).sum() for row in rows]
    effective = [1 / np.sum(p**2) for p in weights]
    assert regime.complete
    assert regime.rows == 12
    for found, wanted in (
        (regime.largest_score, np.abs(scores[keep]).max()),
        (regime.largest_centred_score, np.abs(centred[keep]).max()),
        (
            regime.largest_score_both_centred,
            np.abs((centred - 0.75 * q.mean(axis=0) @ (k - k[visible].mean(axis=0)).T)[keep]).max(),
        ),
        (regime.half_range, max(np.ptp(row) / 2 for row in rows)),
        (regime.effective_keys, np.median(effective)),
        (regime.fewest_effective_keys, min(effective)),
        (regime.median_visible_keys, np.median(keep.sum(axis=1))),
    ):
        assert found == pytest.approx(wanted, rel=1e-12)
    assert regime.largest_score <= regime.score_bound
    assert (
        regime.half_range
        <= regime.largest_centred_score
        <= regime.centred_score_bound
        < regime.score_bound
    )
    assert (
        regime.largest_score_both_centred <= regime.both_centred_score_bound <= regime.score_bound
    )


def test_bounds_hold_where_a_few_rows_do_not_see_it() -> None:
    q, k, v = problem(2, shape=(5000, 2))
    q[1234] *= 50
    regime = diagnose(q, k, v, rows=10)
    assert regime.rows == 10
    assert not regime.complete
    assert regime.largest_score < np.abs(q @ k.T).max() / math.sqrt(2) <= regime.score_bound
    assert (
        diagnose(q, k, v, rows=10, rng=np.random.default_rng(0)).largest_score
        != regime.largest_score
    )


def test_needs_are_those_of_the_polynomial_method() -> None:
    q, k, v = problem(3, size=1.3, shape=(2, 200, 3))
    regime = diagnose(q, k, v)
    for row in regime.needs:
        assert row.rank == math.comb(3 + row.degree, row.degree)
        if row.scores == "moments":
            continue
        half_range = (
            regime.both_centred_score_bound
            if row.scores == "certified"
            else min(regime.largest_centred_score, regime.largest_score_both_centred)
        )
        assert row.half_range == half_range
        assert row.degree == degree_for(half_range, row.tolerance, row.basis)
    for scores, basis in (
        ("moments", "taylor"),
        ("certified", "minimax"),
        ("moments", "one-sided"),
    ):
        method = aa.Polynomial(tolerance=1e-2, basis=basis, fallback=False)
        facts = aa.attention(q, k, v, method).certificate.facts
        row = need(regime, 1e-2, scores, basis)
        assert (row.degree, row.rank) == (facts["degree"], facts["rank"])


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"key_mask": np.arange(400) < 100}])
def test_costs_are_equal_at_the_break_even_length(options: dict[str, Any]) -> None:
    regime = diagnose(*problem(4, size=0.5, shape=(400, 2)), **options)
    row = need(regime, 1e-2, "certified", "taylor")
    assert row.rank is not None
    keys = 100 if "key_mask" in options else 400
    pairs = 400 * 401 / 2 if options.get("causal") else 400 * keys
    assert row.cost == pytest.approx((400 + keys) * row.rank * (2 + 2) / (pairs * (2 + 2)))
    assert row.pays == (row.cost < 1)
    assert row.break_even == math.ceil(400 * row.cost)


def test_advice_where_the_polynomial_pays() -> None:
    q, k, v = problem(5, size=0.5, shape=(3000, 2))
    regime = diagnose(q, k, v)
    rows = [need(regime, 1e-2, "certified", "minimax"), need(regime, 1e-2, "moments", "one-sided")]
    row = min(rows, key=lambda row: row.rank)
    assert row.pays
    assert (
        f"Polynomial(tolerance=0.01) needs degree {row.degree}, {row.rank} features"
        in regime.advice
    )
    assert "of a plain mean of v" in regime.advice
    out = aa.attention(q, k, v, aa.Polynomial(tolerance=0.01))
    assert not out.certificate.unmet


def test_the_distance_from_a_mean_is_a_bound() -> None:
    q, k, v = problem(6, size=0.8, shape=(30, 2))
    (said,) = re.findall(r"within total variation (\S+) of", diagnose(q, k, v).advice)
    weights = np.exp(q @ k.T / math.sqrt(2))
    weights /= weights.sum(axis=1, keepdims=True)
    distance = float(np.median(np.abs(weights - 1 / 30).sum(axis=1) / 2))
    assert 0.7 * float(said) < distance <= 1.05 * float(said)  # two digits are said


def test_advice_where_the_sequence_is_too_short() -> None:
    regime = diagnose(*problem(7, shape=(20, 4)))
    rows = [need(regime, 1e-2, "certified", "minimax"), need(regime, 1e-2, "moments", "one-sided")]
    row = min(rows, key=lambda row: row.rank)
    assert row.cost is not None
    assert row.cost > 1
    assert regime.advice.startswith("Use Exact(): with scores up to")
    assert f"only from {row.break_even} tokens on" in regime.advice


def test_advice_where_scores_are_huge() -> None:
    regime = diagnose(*problem(8, size=40, shape=(64, 4)))
    assert all(
        row.degree is None and not row.pays for row in regime.needs if row.scores == "certified"
    )
    assert "out of reach of any polynomial" in regime.advice
    assert "half of the rows attend to" in regime.advice


def test_real_heads() -> None:
    heads = minilm_heads()
    regime = diagnose(heads.q, heads.k, heads.v)
    assert regime.shape == {"items": 8, "n_q": 256, "n_k": 256, "d": 32, "dv": 32}
    tops = [
        diagnose(heads.q[i, j], heads.k[i, j], heads.v[i, j]).largest_score
        for i in range(4)
        for j in range(2)
    ]
    assert max(tops) == pytest.approx(regime.largest_score)
    assert np.median(tops) == pytest.approx(6.96, abs=0.01)
    assert not any(row.pays for row in regime.needs)
    assert regime.advice.startswith("Use Exact()")
    table = str(regime)
    assert " ".join(table.split()).endswith(regime.advice)
    assert len(table.splitlines()) == 9 + len(regime.needs) + len(textwrap.wrap(regime.advice, 80))
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_every_library_gives_the_same(library: Library) -> None:
    q, k, v = problem(9, shape=(2, 9, 3))
    mask = np.arange(9) % 4 != 1
    for options in ({}, {"causal": True}, {"key_mask": mask}):
        regime, host = (diagnose(q, k, v, library=place, **options) for place in (library, NUMPY))
        for name in (
            "score_bound",
            "centred_score_bound",
            "largest_centred_score",
            "half_range",
            "effective_keys",
        ):
            assert getattr(regime, name) == pytest.approx(getattr(host, name), rel=1e-12)
        assert regime.advice == host.advice


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_other_dtypes(dtype: str) -> None:
    q, k, v = (np.round(3 * x).astype(dtype) for x in problem(10))
    wide = diagnose(*(x.astype("float64") for x in (q, k, v)))
    assert diagnose(q, k, v).largest_score == pytest.approx(wide.largest_score, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 1), (1, 300)])
def test_small_and_wide(n: int, d: int) -> None:
    for q, k, v in (problem(11, shape=(n, d)), tuple(np.zeros((3, n, d)))):
        regime = diagnose(q, k, v)
        assert 1 <= regime.fewest_effective_keys <= n * (1 + 1e-12)
        assert str(regime)


def test_more_features_than_can_be_counted() -> None:
    q, k, v = problem(12, size=0.1, shape=(2, 20_000))
    q[0], k[0] = 0.7, 0.7
    regime = diagnose(q, k, v)
    assert any(row.rank is not None and row.rank > 10**100 for row in regime.needs)
    assert str(regime)


Q = np.ones((4, 2))
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"q": [[1.0]]}, TypeError, "q is a list"),
    ({"q": np.where(np.arange(8).reshape(4, 2) == 5, np.nan, Q)}, ValueError, r"q\[2, 1\] is nan"),
    ({"k": Q.astype(complex)}, TypeError, "complex"),
    ({"key_mask": np.zeros(4, bool)}, ValueError, "without keys"),
    ({"q": np.ones((0, 2))}, ValueError, "nothing to diagnose"),
    ({"v": np.ones((4, 0))}, ValueError, "nothing to diagnose"),
    ({"rows": 0}, ValueError, r"rows\(=0\) must be at least 1"),
    ({"rows": 2.5}, TypeError, r"rows\(=2.5\) must be an int"),
    ({"rng": 3}, TypeError, r"rng\(=3\) must be"),
]


@pytest.mark.parametrize(
    ("changes", "error", "message"), BAD, ids=lambda x: x if isinstance(x, str) else None
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"q": Q, "k": Q, "v": Q, **changes}
    with pytest.raises(error, match=message):
        aa.diagnose(**call)
