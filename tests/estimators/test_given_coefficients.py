"""Polynomials with coefficients of the user's own: no output, gradient or state is off by more than
its certificate says, whatever the coefficients are; Taylor's by hand are as good as the basis.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import HostArray

TAYLOR = tuple(1 / math.factorial(t) for t in range(11))


def exact(
    q: HostArray, k: HostArray, v: HostArray, g: HostArray, causal: bool, mask: HostArray
) -> tuple[HostArray, ...]:
    """The output and dq, dk, dv in long double."""
    q, k, v, g = (x.astype(np.longdouble) for x in (q, k, v, g))
    beta = 1 / np.sqrt(np.longdouble(q.shape[-1]))
    s = beta * q @ np.swapaxes(k, -1, -2)
    seen = np.broadcast_to(mask[..., None, :], s.shape)
    s = np.where(seen & np.tri(s.shape[-2], dtype=bool) if causal else seen, s, -np.inf)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    f = e / e.sum(axis=-1, keepdims=True)
    z = g @ np.swapaxes(v, -1, -2)
    p = beta * f * (z - np.sum(f * z, axis=-1, keepdims=True))
    return f @ v, p @ k, np.swapaxes(p, -1, -2) @ q, np.swapaxes(f, -1, -2) @ g


def coefficients(seed: int) -> tuple[float, ...]:
    """Of every kind: near exp, far from it, negative, scaled, with zeros."""
    rng = np.random.default_rng(seed)
    g = int(rng.integers(0, 9))
    c = np.asarray(TAYLOR[: g + 1])
    kind = seed % 6
    if kind == 1:
        c = c * (1 + 0.1 * rng.standard_normal(g + 1))
    if kind == 2:
        c = rng.standard_normal(g + 1)
    if kind == 3:
        c = np.where(rng.random(g + 1) < 0.7, c, 0.0)
        c[0] = 1.0
    if kind == 4:
        c = np.append(c, -1 / math.factorial(g + 1))
    if kind == 5:
        c = c * 10.0 ** rng.uniform(-3, 3)
    return tuple(c)


def problem(seed: int, dtype: type) -> tuple[HostArray, ...]:
    """Tokens, a cotangent and a mask."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 40)), int(rng.integers(1, 5))
    batch = () if seed % 3 else (2,)
    q, k, v, g = (rng.standard_normal((*batch, n, x)) for x in (d, d, 3, 3))
    if seed % 4 == 1:
        q, k = np.round(q), np.round(k)
    if seed % 4 == 2:
        q, k[..., :1, :] = q + 3, 20 * k[..., :1, :]
    k = k * 10.0 ** rng.uniform(-2, 0.7)
    mask = rng.random((*batch, n)) < (0.7 if seed % 2 else 1.1)
    mask[..., 0] = True
    return *(x.astype(dtype) for x in (q, k, v, g)), mask


WAYS = list(itertools.product([np.float32, np.float64], [False, True], ["consistent", "plug-in"]))


@pytest.mark.parametrize(("dtype", "causal", "gradient"), WAYS)
def test_no_error_is_above_its_bound(dtype: type, causal: bool, gradient: str) -> None:
    finite: dict[str, list[HostArray]] = {}
    first = WAYS.index((dtype, causal, gradient))
    for seed in range(first, first + 7 * 6, 7):  # each way has problems of its own
        q, k, v, g, mask = problem(seed, dtype)
        method = aa.Polynomial(
            coefficients=coefficients(seed),
            gradient=gradient,
            centre=("both", "keys", "none")[seed % 5 % 3],
        )
        options = {"causal": causal, "key_mask": mask}
        out = aa.attention(q, k, v, method, **options)
        grads = aa.attention_vjp(q, k, v, g, method, **options)
        found = {"out": out.value, "dq": grads.dq, "dk": grads.dk, "dv": grads.dv}
        bounds = {"out": out.certificate.rows} | {
            name: getattr(grads.certificate, name) for name in ("dq", "dk", "dv")
        }
        for name, true in zip(found, exact(q, k, v, g, causal, mask), strict=True):
            error = np.max(np.abs(found[name] - true), axis=-1)
            known = np.isfinite(bounds[name])
            # long double itself is off by some 1e-19 of terms up to 100
            assert np.all(error[known] <= bounds[name][known] + 1e-17), (seed, name)
            finite.setdefault(name, []).append(known.ravel())
        if not np.all(np.isfinite(out.certificate.rows)):
            assert out.certificate.unmet
    for name, known in finite.items():
        assert np.mean(np.concatenate(known)) > 0.5, name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_state_is_off_by_more_than_it_says(dtype: type, tmp_path: Path) -> None:
    finite = []
    for seed in range(dtype is np.float32, 14, 2):
        q, k, v, g, mask = problem(seed, dtype)
        q = 0.3 * q
        method = aa.Polynomial(coefficients=coefficients(seed))
        state = method.state(k, v, half_range=(0.5, 3.0, 12.0)[seed % 3], key_mask=mask)
        state.save(tmp_path / "state.npz")
        again = aa.PolynomialState.load(tmp_path / "state.npz")
        assert again.polynomial.coefficients == state.polynomial.coefficients
        true = exact(q, k, v, g, False, mask)[0]
        for one in (state, again):
            out = one.query(q)
            known = np.isfinite(out.certificate.rows)
            error = np.max(np.abs(out.value - true), axis=-1)
            assert np.all(error[known] <= out.certificate.rows[known]), seed
            assert np.all(known) or out.certificate.unmet
            finite.append(known.ravel())
        np.testing.assert_array_equal(again.query(q).certificate.rows, out.certificate.rows)
        merged = state.merge(again)
        assert np.all(merged.keys == 2 * state.keys)
    assert np.mean(np.concatenate(finite)) > 0.3


def test_taylor_by_hand_is_as_good_as_the_basis() -> None:
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 300, 8))
    for g in (2, 4, 6, 8, 10):
        by_hand, basis = (
            aa.attention(q, k, v, method)
            for method in (
                aa.Polynomial(coefficients=TAYLOR[: g + 1]),
                aa.Polynomial(degree=g, basis="taylor"),
            )
        )
        np.testing.assert_array_equal(by_hand.value, basis.value)
        ratio = by_hand.certificate.rows / basis.certificate.rows
        assert np.median(ratio) < 1.4, g  # the basis has more majorants
        assert by_hand.certificate.theorem == "ours.moments"


def test_a_negative_denominator_is_no_row_of_finite_bound() -> None:
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 30, 2))
    out = aa.attention(q, k, v, aa.Polynomial(coefficients=[-1.0, -1.0, -0.5]))
    assert np.all(np.isinf(out.certificate.rows))
    assert "lost to rounding" in out.certificate.unmet[0]


def test_where_nothing_is_sure_the_certificate_says_so() -> None:
    q, k, v = 5 * np.random.default_rng(0).standard_normal((3, 30, 4))
    out = aa.attention(q, k, v, aa.Polynomial(coefficients=[1.0, 1.0]))
    nothing = np.isinf(out.certificate.rows)
    assert np.any(nothing)
    assert any("not known to be positive" in reason for reason in out.certificate.unmet)


def test_the_state_needs_a_half_range() -> None:
    k, v = np.random.default_rng(0).uniform(-1, 1, (2, 30, 4))
    with pytest.raises(ValueError, match="half_range"):
        aa.Polynomial(coefficients=[1.0, 1.0, 0.5]).state(k, v)


@pytest.mark.parametrize(
    "options", [{"degree": 2}, {"tolerance": 0.1}, {"basis": "taylor"}, {"basis": "one-sided"}]
)
def test_coefficients_exclude_what_would_choose_others(options: dict[str, object]) -> None:
    name = next(iter(options))
    with pytest.raises(ValueError, match=name):
        aa.Polynomial(coefficients=[1.0, 1.0, 0.5], **options)


@pytest.mark.parametrize(
    ("bad", "error"),
    [("12", TypeError), (2.0, TypeError), ([1.0, "x"], TypeError), ([], ValueError)],
)
def test_what_is_no_list_of_coefficients_is_refused(bad: object, error: type) -> None:
    with pytest.raises(error, match="coefficients"):
        aa.Polynomial(coefficients=bad)


def test_without_a_degree_or_its_like_the_rule_is_named() -> None:
    with pytest.raises(ValueError, match="exactly one of them"):
        aa.Polynomial()


def test_the_cost_is_that_of_the_degree() -> None:
    by_hand = aa.Polynomial(coefficients=TAYLOR[:5]).cost(1000, 2000, 4, 4)
    assert by_hand == aa.Polynomial(degree=4, basis="taylor").cost(1000, 2000, 4, 4)
