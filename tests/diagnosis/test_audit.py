"""The audit: its statement holds as often as it says, its errors are upper bounds, it finds what is
bad, and refuses bad input.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from namespaces import LIBRARIES, NUMPY, Library
from scipy import stats
from scipy.stats import binomtest

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.bounds.order_statistics import order_for
from proofs_check.arithmetic.balls import exact_attention, max_error

N, D = 40, 3


def problem(seed: int = 0, batch: tuple[int, ...] = (), n: int = N) -> tuple[HostArray, ...]:
    return tuple(np.random.default_rng(seed).normal(size=(3, *batch, n, D)))


def exact(q: HostArray, k: HostArray, v: HostArray, **options: Any) -> HostArray:
    return np.array(aa.attention(q, k, v, aa.Exact(), **options).value)


def audit(
    value: HostArray,
    *qkv: HostArray,
    library: Library = NUMPY,
    rows: int = 10,
    seed: int = 0,
    **options: Any,
) -> aa.Audit:
    options = {
        name: library.put(x) if isinstance(x, np.ndarray) else x for name, x in options.items()
    }
    arrays = (library.put(x) for x in (value, *qkv))
    return aa.audit(*arrays, rows=rows, rng=np.random.default_rng(seed), **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"key_mask": np.arange(N) % 3 == 0},
        {"causal": True, "key_mask": np.arange(N) % 3 == 0},
    ],
)
def test_errors_of_all_rows_against_ball_arithmetic(dtype: str, options: dict[str, Any]) -> None:
    q, k, v = (x.astype(dtype) for x in problem())
    value = aa.attention(q, k, v, aa.Polynomial(degree=4, basis="taylor"), **options).value
    report = audit(value, q, k, v, rows=1000, **options)
    assert report.complete
    assert report.errors.shape == (N,)
    balls = exact_attention(*(x.astype(np.float64) for x in (q, k, v)), **options)
    for i in range(N):
        least, most = max_error(value[i : i + 1], balls[i : i + 1])
        assert least <= report.errors[i] <= most * (1 + 1e-6) + 1e-12
    assert report.exceeding == 0
    assert "none errs by more than" in str(report)


def test_exact_output_has_only_rounding_left() -> None:
    q, k, v = problem(1, batch=(2, 3))
    report = audit(exact(q, k, v), q, k, v, rows=50)
    assert 0 < report.largest < 1e-12
    assert report.relative_error < 1e-14


@pytest.mark.parametrize(("population", "drawn"), [(60, 12), (60, 59), (500, 40)])
@pytest.mark.parametrize("fraction", [None, 0.5, 0.8])
def test_the_statement_holds_as_often_as_it_says(
    population: int, drawn: int, fraction: float | None
) -> None:
    confidence, tries = 0.8, 400
    q = k = np.zeros((population, 1))
    v = np.zeros((population, 1))
    errors = np.random.default_rng(2).permutation(np.arange(1.0, population + 1))
    failures, earned = 0, 0
    for seed in range(tries):
        report = audit(errors[:, None], q, k, v, rows=drawn, seed=seed, confidence=confidence)
        limit = report.largest if fraction is None else report.quantile(fraction)
        share = 1 - report.exceeding if fraction is None else fraction
        failures += bool(np.sum(errors <= limit) < share * population)
        earned += math.isfinite(limit)
    assert earned == tries
    assert stats.binomtest(failures, tries, 1 - confidence, alternative="greater").pvalue > 1e-4
    if fraction is not None and drawn < population - 1:
        assert failures > 0.02 * tries, "never wrong: the statement is weaker than it could be"


@pytest.mark.parametrize(("rows", "drawn"), [(1, 1), (5, 3), (30, 30), (100, 20), (10_000, 256)])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_order_against_scipy(rows: int, drawn: int, fraction: float) -> None:
    r, marked = (
        order_for(rows, drawn, fraction, 0.99),
        math.ceil(Fraction(str(fraction)) * rows) - 1,
    )
    tail = stats.hypergeom(rows, marked, drawn).sf
    assert 1 <= r <= drawn + 1
    assert tail(r - 1) <= 0.01 * (1 + 1e-9)
    assert r == 1 or tail(r - 2) > 0.01 * (1 - 1e-9)


def test_largest_error_earns_what_the_binomial_says() -> None:
    q, k, v = problem(3)
    report = audit(exact(q, k, v), q, k, v, rows=30)
    assert report.exceeding == pytest.approx(1 - 0.01 ** (1 / 30), rel=1e-9)
    assert report.quantile(1 - report.exceeding) <= report.largest
    assert report.quantile(0.999) == math.inf
    assert "with 99 % confidence at most 14.2 % of the rows" in str(report)
    assert "[ours.audit-binomial]" in str(report)


def test_quantiles_of_all_rows_are_exact() -> None:
    v = np.zeros((4, 1))
    report = audit(np.array([[4.0], [1.0], [3.0], [2.0]]), v, v, v, rows=4)
    np.testing.assert_allclose(
        [report.quantile(f) for f in (0.25, 0.26, 0.75, 1.0)], [1.0, 2.0, 3.0, 4.0]
    )
    with pytest.raises(ValueError, match=r"fraction\(=0\)"):
        report.quantile(0)


def test_planted_bad_rows_are_found() -> None:
    q, k, v = problem(4, batch=(2,), n=100)
    value = exact(q, k, v, causal=True)
    bad = [(0, 7), (0, 99), (1, 0), (1, 50)]
    for place in bad:
        value[place][1] += 0.5
    report = audit(value, q, k, v, rows=200, causal=True)
    assert [tuple(row) for row in report.rows[report.errors > 0.4]] == bad
    many = exact(q, k, v) + (np.arange(100) % 4 == 0)[:, None]
    sampled = audit(many, q, k, v, rows=60)
    assert sampled.largest == pytest.approx(1.0)
    assert (sampled.errors > 0.5).tolist() == (sampled.rows[:, 1] % 4 == 0).tolist()


def test_baselines() -> None:
    q, k, v = problem(5)
    seen = np.arange(N) % 5 != 1
    options: dict[str, Any] = {"causal": True, "key_mask": seen}
    right = exact(q, k, v, **options)
    means = np.stack([v[: i + 1][seen[: i + 1]].mean(axis=0) for i in range(N)])
    report = audit(np.zeros_like(right), q, k, v, rows=N, **options)
    assert report.relative_error == report.baselines["zero output"].relative_error == 1
    np.testing.assert_allclose(
        report.baselines["zero output"].errors, np.abs(right).max(axis=-1), rtol=1e-12
    )
    np.testing.assert_allclose(
        report.baselines["mean of v"].errors, np.abs(right - means).max(axis=-1), atol=1e-14
    )
    assert audit(means, q, k, v, rows=N, **options).relative_error == pytest.approx(
        report.baselines["mean of v"].relative_error
    )


def test_relative_error_where_exact_is_zero() -> None:
    x, zero = np.ones((3, 2)), np.zeros((3, 2))
    assert audit(x, x, x, zero).relative_error == math.inf
    assert audit(zero, x, x, zero).relative_error == 0


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_every_library_gives_the_same(library: Library, dtype: str) -> None:
    q, k, v = ((2 * x).astype(dtype) for x in problem(6, batch=(2, 2), n=9))
    mask = np.arange(9) % 4 != 3
    for options in ({}, {"causal": True}, {"key_mask": mask}):
        value = exact(q, k, v, **options) + 0.25
        report, host = (
            audit(value, q, k, v, library=place, rows=8, **options) for place in (library, NUMPY)
        )
        assert (report.rows == host.rows).all()
        np.testing.assert_allclose(report.errors, host.errors, rtol=1e-9)
        np.testing.assert_allclose(report.errors, 0.25, rtol=1e-5)


def test_narrow_values_are_judged_as_they_are() -> None:
    q, k, v = problem(7)
    report = audit(exact(q, k, v).astype("float16"), q, k, v, rows=N)
    assert 2.0**-14 < report.largest < 2.0**-9


@pytest.mark.parametrize(
    "options", [{}, {"causal": True}, {"key_mask": np.arange(2 * N).reshape(2, N) % 3 > 0}]
)
def test_rows_and_keys_pass_in_blocks(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    q, k, v = problem(8, batch=(2,))
    value = exact(q, k, v, **options) * 1.01
    whole = audit(value, q, k, v, rows=33, **options)
    monkeypatch.setattr("approxattn.softmax.rows.ROWS_AT_ONCE", 5)
    monkeypatch.setattr("approxattn.softmax.rows.KEY_BLOCK", 7)
    parts = audit(value, q, k, v, rows=33, **options)
    assert (parts.rows == whole.rows).all()
    np.testing.assert_allclose(parts.errors, whole.errors, rtol=1e-10)
    np.testing.assert_allclose(parts.concentration, whole.concentration, rtol=1e-10)
    assert parts.relative_error == pytest.approx(whole.relative_error)
    assert parts.baselines["mean of v"].relative_error == pytest.approx(
        whole.baselines["mean of v"].relative_error
    )


@pytest.mark.parametrize(
    "shape", [((1, 1), (1, 1)), ((2, 1), (1, 1)), ((0, 2), (3, 2)), ((3, 2), (4, 2))]
)
def test_small_and_empty(shape: tuple[tuple[int, int], ...]) -> None:
    q, k = (np.ones(s) for s in shape)
    report = audit(exact(q, k, k), q, k, k, rows=5)
    assert report.complete
    assert report.largest < 1e-14
    assert report.quantile(0.5) < 1e-14
    assert str(report)


def test_no_columns() -> None:
    q, v = np.ones((3, 2)), np.ones((3, 0))
    assert audit(np.ones((3, 0)), q, q, v, rows=2).largest < 1e-300


def test_inputs_are_taken_as_they_lie() -> None:
    q, k, v = problem(9, batch=(2,))
    value = exact(q, k, v)
    plain = audit(value, q, k, v)
    odd = [
        np.asfortranarray(q),
        k[:, ::-1][:, ::-1],
        np.lib.stride_tricks.as_strided(v, v.shape, v.strides),
    ]
    for x in odd:
        x.flags.writeable = False
    assert (audit(value, *odd).errors == plain.errors).all()


Q = np.ones((4, 2))
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"value": [[1.0]]}, TypeError, "value is a list"),
    ({"value": Q.astype(complex)}, TypeError, "value has dtype complex128"),
    ({"value": Q.astype(object)}, TypeError, "value has dtype object"),
    (
        {"value": Q[:3]},
        ValueError,
        r"value has shape \(3, 2\), but the attention of q, k, v has \(4, 2\)",
    ),
    ({"value": Q[None]}, ValueError, "value has shape"),
    (
        {"value": np.where(np.arange(8).reshape(4, 2) == 5, np.nan, Q)},
        ValueError,
        r"value\[2, 1\] is nan",
    ),
    (
        {"value": np.where(np.arange(8).reshape(4, 2) == 0, -np.inf, Q)},
        ValueError,
        r"value\[0, 0\] is -inf",
    ),
    ({"value": LIBRARIES[2].put(Q)}, TypeError, "different array libraries"),
    ({"q": np.full((4, 2), np.nan)}, ValueError, r"q\[0, 0\] is nan"),
    ({"k": Q.astype("float32")}, TypeError, "dtypes"),
    ({"k": np.ones((0, 2)), "v": np.ones((0, 2))}, ValueError, "softmax over no keys"),
    ({"v": Q.astype(complex)}, TypeError, "complex"),
    ({"key_mask": np.zeros(4, bool)}, ValueError, "without keys"),
    ({"key_mask": np.ones(4)}, TypeError, "must be bool"),
    ({"scale": -1.0}, ValueError, "scale"),
    ({"rows": 0}, ValueError, r"rows\(=0\) must be at least 1"),
    ({"rows": 2.5}, TypeError, r"rows\(=2.5\) must be an int"),
    ({"rows": True}, TypeError, r"rows\(=True\) must be an int"),
    ({"rng": None}, TypeError, r"rng\(=None\) must be a generator"),
    ({"rng": 3}, TypeError, r"rng\(=3\) must be a generator"),
    ({"rng": np.random.RandomState(0)}, TypeError, "must be a generator"),
    ({"confidence": 1.0}, ValueError, r"confidence\(=1.0\)"),
    ({"confidence": float("nan")}, ValueError, r"confidence\(=nan\)"),
]


@pytest.mark.parametrize(
    ("changes", "error", "message"), BAD, ids=lambda x: x if isinstance(x, str) else None
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {
        "value": Q,
        "q": Q,
        "k": Q,
        "v": Q,
        "rows": 2,
        "rng": np.random.default_rng(0),
        **changes,
    }
    with pytest.raises(error, match=message):
        aa.audit(**call)


def test_strata_by_the_share_of_keys() -> None:
    rng = np.random.default_rng(21)
    sizes = np.repeat([0.01, 4.0, 60.0], 40)[:, None]
    q, k, v = (
        rng.normal(size=(120, 3)) * sizes,
        rng.normal(size=(120, 3)),
        rng.normal(size=(120, 2)),
    )
    w = np.exp((s := q @ k.T / np.sqrt(3)) - s.max(axis=1, keepdims=True))
    p = w / w.sum(axis=1, keepdims=True)
    value = p @ v + 0.1 * (1 / np.sum(p**2, axis=1) / 120 <= 1 / 32)[:, None]
    for rows in (50, 120):
        report = aa.audit(value, q, k, v, rows=rows, rng=np.random.default_rng(22))
        share = 1 / np.sum(p[report.rows[:, 0]] ** 2, axis=1) / 120
        np.testing.assert_allclose(report.concentration, share, rtol=1e-9)
        sharp, middling, flat = report.strata()
        assert [part.rows for part in (sharp, middling, flat)] == [
            int(np.sum(share <= 1 / 32)),
            int(np.sum((share > 1 / 32) & (share <= 1 / 4))),
            int(np.sum(share > 1 / 4)),
        ]
        assert sharp.median == pytest.approx(0.1)
        assert max(middling.largest, flat.largest) < 1e-9
        for part in (sharp, flat):
            wanted = 0.0 if rows == 120 else 1 - 0.01 ** (1 / part.rows)
            assert part.exceeding == pytest.approx(wanted)


def test_the_statement_of_a_stratum_holds_as_often_as_promised() -> None:
    """Flat rows with distinct errors: the largest error drawn is exceeded by more than promised in
    at most half of the audits, at confidence 1/2.
    """
    rng = np.random.default_rng(23)
    q, k, v = np.zeros((60, 1)), rng.normal(size=(60, 1)), np.zeros((60, 1))
    q[40:] = 1000.0  # sharp rows, another stratum
    value = np.arange(60.0)[:, None] / 60
    failed = 0
    for seed in range(400):
        flat = aa.audit(
            value, q, k, v, rows=15, rng=np.random.default_rng(seed), confidence=0.5
        ).strata()[2]
        failed += int(np.sum(value[:40, 0] > flat.largest) > flat.exceeding * 40)
    assert failed <= 200 + 4 * np.sqrt(400) / 2
    assert failed > 20, "too conservative to mean anything"


def test_an_empty_stratum_claims_nothing() -> None:
    x = np.zeros((40, 1))
    sharp, _, flat = aa.audit(x, x, x, x, rows=10, rng=np.random.default_rng(0)).strata()
    assert (sharp.rows, sharp.exceeding) == (0, 1.0)
    assert flat.rows == 10


def test_statements_hold_at_their_confidence_over_many_error_distributions() -> None:
    """2,000 populations with known errors: uniform, heavy-tailed, rarely wrong, tied; failures
    tested exactly.
    """
    rng = np.random.default_rng(24)
    failures = np.zeros(2, int)
    for case in range(2000):
        n, drawn = int(rng.integers(50, 300)), int(rng.integers(5, 60))
        kinds = (
            rng.random(n),
            rng.pareto(1.0, n),
            1.0 * (rng.random(n) < 0.02),
            1.0 * rng.integers(0, 3, n),
        )
        errors = kinds[case % 4]
        zeros = np.zeros((n, 1))
        report = aa.audit(errors[:, None], zeros, zeros, zeros, rows=drawn, rng=rng, confidence=0.9)
        fraction = float(rng.choice([0.5, 0.8, 0.95]))
        failures += [
            np.mean(errors > report.largest) > report.exceeding + 1e-12,
            np.mean(errors <= report.quantile(fraction)) < fraction - 1e-12,
        ]
    for failed in failures:
        assert binomtest(int(failed), 2000, 0.1, alternative="greater").pvalue > 1e-6
        assert failed > 0, "statements that never fail at 90 % are too weak to mean anything"
