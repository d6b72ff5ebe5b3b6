"""No finite bound stands beside a NaN or an infinity, and no promise outlives its bound.

The method is made up where the core alone is meant, so that nothing else can catch it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from methods import TABLE

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.certificate import held_to_promise
from approxattn.methods.protocol import Differentiable


@dataclass(frozen=True, kw_only=True)
class Spoilt:
    """Exact attention with something put into one row of what it returns, or into its bounds."""

    value: float | None = None
    bound: float | None = None
    failure: float = 0.0
    tolerance: float | None = None

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""

    def _spoil(self, x: HostArray, by: float | None) -> HostArray:
        x = np.array(x)
        if by is not None:
            x[..., 1, :] = by
        return x

    def compute(self, problem: Problem, rng: Any = None) -> aa.Approximation:
        out = aa.Exact().compute(problem, rng)
        rows = self._spoil(out.certificate.rows[..., None], self.bound)[..., 0]
        promised = None
        if self.tolerance is not None:
            promised = self.tolerance * np.min(np.subtract(*problem.value_range), axis=-1)
        certificate = replace(out.certificate, rows=rows, failure=self.failure, promised=promised)
        return aa.Approximation(value=self._spoil(out.value, self.value), certificate=certificate)

    def vjp(self, problem: Problem, dout: Any, rng: Any = None) -> aa.Gradients:
        found = aa.Exact().vjp(problem, dout, rng)
        values = {n: self._spoil(getattr(found, n), self.value) for n in ("dq", "dk", "dv")}
        bounds = {
            n: self._spoil(getattr(found.certificate, n)[..., None], self.bound)[..., 0]
            for n in values
        }
        certificate = replace(found.certificate, failure=self.failure, **bounds)
        return replace(found, certificate=certificate, **values)


def problem(*batch: int, dtype: str = "float64") -> tuple[HostArray, ...]:
    rng = np.random.default_rng(4)
    return tuple(rng.uniform(-1, 1, (4, *batch, 5, 2)).astype(dtype))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_has_no_bound_and_a_reason(bad: float) -> None:
    q, k, v, g = problem(3)
    out = aa.attention(q, k, v, Spoilt(value=bad)).certificate
    assert np.isinf(out.rows[:, 1]).all()
    assert np.isfinite(np.delete(out.rows, 1, axis=1)).all()
    assert any("3 row(s) of the output" in reason and "float64" in reason for reason in out.unmet)
    grads = aa.attention_vjp(q, k, v, g, Spoilt(value=bad)).certificate
    for name in ("dq", "dk", "dv"):
        rows = getattr(grads, name)
        assert np.isinf(rows[:, 1]).all()
        assert np.isfinite(np.delete(rows, 1, axis=1)).all()
        assert any(f"row(s) of {name} are" in reason for reason in grads.unmet)


def test_a_bound_that_is_nan_is_none_and_says_so() -> None:
    q, k, v, g = problem()
    out = aa.attention(q, k, v, Spoilt(bound=np.nan)).certificate
    assert np.isinf(out.rows[1])
    assert any("rows: the bound of 1 row(s) overflowed" in reason for reason in out.unmet)
    grads = aa.attention_vjp(q, k, v, g, Spoilt(bound=np.nan)).certificate
    assert np.isinf(grads.dk[1])
    assert any("dk: the bound of 1 row(s) overflowed" in reason for reason in grads.unmet)


def test_a_negative_bound_is_a_mistake() -> None:
    q, k, v, _ = problem()
    with pytest.raises(ValueError, match="must be non-negative"):
        aa.attention(q, k, v, Spoilt(bound=-1.0))


def test_what_a_sum_over_broadcast_axes_makes_infinite_is_seen() -> None:
    q, k, v, g = problem(6, dtype="float32")
    big = np.float32(1e38)
    grads = aa.attention_vjp(q, k[0], v[0], g, Spoilt(value=big))
    assert np.isinf(grads.dv[1]).all()
    assert np.isinf(grads.certificate.dv[1])
    assert any("row(s) of dv" in reason for reason in grads.certificate.unmet)


def test_what_the_callers_dtype_cannot_hold_is_seen() -> None:
    q, k, v, _ = problem(dtype="float16")
    out = aa.attention(q, k, v, Spoilt(value=1e5))
    assert np.isinf(out.value[1]).all()
    assert np.isinf(out.certificate.rows[1])
    assert any("float16" in reason for reason in out.certificate.unmet)


def test_hidden_keys_have_no_gradient_whatever_a_method_returns() -> None:
    q, k, v, g = problem(2)
    mask = np.arange(k.shape[-2]) != 1
    grads = aa.attention_vjp(q, k, v, g, Spoilt(value=3.0, bound=7.0), key_mask=mask)
    assert np.all(grads.dq[..., 1, :] == 3.0)
    assert np.all(grads.certificate.dq[..., 1] == 7.0)
    for name in ("dk", "dv"):
        assert not np.any(getattr(grads, name)[..., 1, :])
        assert not np.any(getattr(grads.certificate, name)[..., 1])


def test_sums_over_items_fail_when_one_of_them_does() -> None:
    q, k, v, g = problem(5)
    method = Spoilt(failure=0.05)
    failure = lambda *args: aa.attention_vjp(*args, g, method).certificate.failure
    assert failure(q, k, v) == 0.05
    assert failure(q, k[:1], v) == pytest.approx(0.25)
    assert failure(q, k[0], v[0]) == pytest.approx(0.25)
    assert aa.attention_vjp(q[0], k[0], v, g, Spoilt(failure=0.5)).certificate.failure == 1.0
    assert aa.attention(q, k[0], v, method).certificate.failure == 0.05


def test_a_promise_is_held_against_the_narrowest_column() -> None:
    q, k, v, _ = problem(2)
    v = v * np.array([1.0, 1e-13])
    kept = aa.attention(q, k, v, Spoilt(tolerance=1.0)).certificate
    missed = aa.attention(q, k, v, Spoilt(tolerance=1e-3)).certificate
    assert kept.unmet == ()
    assert any("the tolerance is not certified for 2 of 2" in reason for reason in missed.unmet)
    np.testing.assert_array_equal(kept.rows, missed.rows)


def test_a_promise_is_held_after_the_narrowing() -> None:
    q, k, v, _ = problem(dtype="float16")
    wide = aa.attention(*(x.astype("float32") for x in (q, k, v)), Spoilt(tolerance=1e-5))
    narrow = aa.attention(q, k, v, Spoilt(tolerance=1e-5))
    assert wide.certificate.unmet == ()
    assert any("the tolerance is not certified" in x for x in narrow.certificate.unmet)


def test_a_bound_that_is_inf_keeps_no_promise_and_has_a_reason() -> None:
    def reasons(promised: float | None) -> list[str]:
        allowed = None if promised is None else np.array(promised)
        certificate = aa.Certificate(
            rows=np.array([np.inf]), target="", theorem="", promised=allowed
        )
        return [reason.partition(":")[0] for reason in held_to_promise(certificate).unmet]

    assert reasons(None) == ["rows"]
    assert reasons(np.inf) == ["rows"]
    assert reasons(1.0) == ["rows", "the tolerance is not certified for this item"]


# --- real methods at the ends of their dtype ------------------------------------------------------


def overflowing() -> list[tuple[str, tuple[HostArray, ...]]]:
    """Problems whose gradients, or what these are summed from, leave float32."""
    col = lambda *x: np.array(x, np.float32)[:, None]
    return [
        ("huge pairs", (col(1, -1), col(1e-15, -2e-15), col(1e10, -1e10), col(1e30, 1e30))),
        ("huge dk", (col(1e20, -1e20), col(1e-20, -1e-20), col(1e20, -1e20), col(1, 1))),
        ("huge dq", (col(1e-20, 1e-20), col(1e20, -1e20), col(1e20, -1e20), col(1, 1))),
        ("huge dv", (col(1, 1), col(1, -1), col(1, -1), col(1e38, 1e38))),
    ]


@pytest.mark.parametrize(
    "row", [row for row in TABLE if isinstance(row.method, Differentiable)], ids=str
)
def test_gradients_that_overflow_are_refused_or_not_bounded(row: Any) -> None:
    for name, (q, k, v, g) in overflowing():
        rng = np.random.default_rng(0) if row.method.randomised else None
        try:
            found = aa.attention_vjp(q, k, v, g, row.method, rng=rng)
        except ValueError as error:
            remedies = ("float64", "scale", "basis", "zero row")
            assert any(word in str(error) for word in remedies), f"{name}: {error}"  # noqa: PT017
            continue
        for part in ("dq", "dk", "dv"):
            finite = np.isfinite(getattr(found, part)).all(axis=-1)
            bounds = getattr(found.certificate, part)
            assert (finite | np.isinf(bounds)).all(), f"{name}: {part}"
            assert finite.all() or found.certificate.unmet


@pytest.mark.parametrize("scale", [1e-12, 1e-30, 1.0])
def test_exact_gradients_near_underflow_stay_within_their_bounds(scale: float) -> None:
    """beta q may be subnormal while dk is not: the loss is in the bound."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        powers = rng.integers(-36, 15, 3)
        q, k, v = ((rng.uniform(-1, 1, (4, 2)) * 10.0**p).astype(np.float32) for p in powers)
        g = rng.uniform(-1, 1, (4, 2)).astype(np.float32)
        try:
            found = aa.attention_vjp(q, k, v, g, aa.Exact(), scale=scale)
        except ValueError:
            continue
        wide = aa.attention_vjp(
            *(x.astype(np.float64) for x in (q, k, v, g)), aa.Exact(), scale=scale
        )
        for name in ("dq", "dk", "dv"):
            error = np.abs(getattr(found, name).astype(np.float64) - getattr(wide, name)).max(-1)
            allowed = getattr(found.certificate, name) + getattr(wide.certificate, name)
            assert (error <= allowed).all(), f"{name}, seed {seed}"
