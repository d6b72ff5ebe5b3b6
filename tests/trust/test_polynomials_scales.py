"""Queries, keys, values, cotangents and the scale of extreme sizes, each by itself: no bound below
the error, no crash, no warning.

Steps of the check.

1. q, k, v, G have moderate entries times 2^a, 2^b, 2^c, 2^e, any exponents of the dtype. beta makes
   scores of a chosen size of them, or is drawn by itself.
2. The truth is the formula in long doubles, whose exponents hold all that occurs.
3. It is itself off by a few units of 2^-64 of its largest entry, which is subtracted from an error.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
from dense_attention import EXTENDED, exact

import approxattn as aa
from approxattn._arrays import HostArray

PROBLEMS = 120
KINDS = ("plug-in", "consistent")

FULL = [
    aa.Polynomial(degree=degree, basis=basis, gradient=kind, centre=centre)
    for degree, basis, kind, centre in itertools.product(
        (2, 4), ("taylor", "minimax", "chebyshev"), KINDS, ("both", "keys", "none")
    )
]
ANISOTROPIC = [
    aa.Polynomial(tolerance=1e-2, basis=basis, index="anisotropic", fallback=False, gradient=kind)
    for basis, kind in itertools.product(("taylor", "minimax"), KINDS)
]
OTHERS = [aa.Polynomial(tolerance=1e-3), aa.FittedPolynomial(degree=4, rows=4)]
METHODS: dict[str, list[Any]] = {"full": FULL, "anisotropic": ANISOTROPIC, "others": OTHERS}


class Posed(NamedTuple):
    """Arrays q, k, v, G of one dtype, and the options of a call."""

    arrays: list[HostArray]
    options: dict[str, Any]


def posed(rng: np.random.Generator) -> Posed:
    """Draw a problem as step 1 says."""
    dtype, largest = ((np.float32, 120), (np.float64, 1000))[rng.integers(2)]
    n, d, dv = (int(rng.integers(1, top)) for top in (9, 4, 3))
    n_q = n if rng.random() < 0.6 else int(rng.integers(1, 5))
    arrays = [rng.standard_normal(shape) for shape in ((n_q, d), (n, d), (n, dv), (n_q, dv))]
    for x, offset in zip(arrays, (2, 3, 3, 0), strict=True):
        x += offset * (rng.random() < 0.3)
        if rng.random() < 0.2:  # rows of unequal size
            x *= np.exp2(rng.integers(-40, 1, (x.shape[0], 1)))
        x *= rng.random() > 0.05
    powers = rng.integers(-largest, largest, 4) * (rng.random(4) < 0.7)
    size = int(rng.integers(-12, 3)) - int(powers[0]) - int(powers[1])
    free = int(rng.integers(-1000, 1000)) * (rng.random() < 0.3)
    exponent = size if rng.random() < 0.7 else free
    options: dict[str, Any] = {
        "scale": float(np.ldexp(rng.uniform(0.5, 1), int(np.clip(exponent, -1000, 1000))))
    }
    if n_q == n and rng.random() < 0.5:
        options["causal"] = True
    if rng.random() < 0.4:
        options["key_mask"] = (rng.random(n) < 0.6) | (np.arange(n) == 0)
    with np.errstate(all="ignore"):
        arrays = [np.ldexp(x, p).astype(dtype) for x, p in zip(arrays, powers, strict=True)]
    return Posed(arrays, options)


def excess(value: HostArray, bounds: HostArray, true: HostArray) -> float:
    """Return the largest error / bound over the rows with a bound, where 0 / 0 is 0."""
    bounded = np.isfinite(bounds)
    assert np.isfinite(value[bounded]).all(), "a row with a bound is not finite"
    largest = np.abs(true).max(initial=0)
    if not np.isfinite(largest):
        return 0.0
    with np.errstate(all="ignore"):
        error = np.abs(value.astype(EXTENDED) - true).max(axis=-1)
        error = np.maximum(error - EXTENDED(1e-17) * largest, 0)
        ratio = error / np.where(bounds > 0, bounds, np.finfo(EXTENDED).tiny)
        return float(np.max(np.where(bounded & (error > 0), ratio, 0), initial=0))


def hunt(methods: list[Any], seed: int) -> dict[str, float]:
    """Return the largest ratios, and how many rows had a bound."""
    rng, largest = np.random.default_rng(seed), {"dq": 0.0, "dk": 0.0, "dv": 0.0, "value": 0.0}
    bounded = 0.0
    for number in range(PROBLEMS):
        (q, k, v, g), options = posed(rng)
        method = methods[number % len(methods)]
        if not all(np.isfinite(x).all() for x in (q, k, v, g)):
            continue
        with np.errstate(all="ignore"):
            truth = exact(q, k, v, **options), *exact(q, k, v, **options, dout=g)
        try:
            out = aa.attention(q, k, v, method, **options)
            grads = aa.attention_vjp(q, k, v, g, method, **options)
        except ValueError as refusal:
            assert ": " in str(refusal)  # noqa: PT017 - a refusal with its remedy
            continue
        bounded += float(np.isfinite(grads.certificate.dk).sum())
        rows = {"value": out.certificate.rows}
        rows |= {name: getattr(grads.certificate, name) for name in ("dq", "dk", "dv")}
        for name, true in zip(("value", "dq", "dk", "dv"), truth, strict=True):
            value = out.value if name == "value" else getattr(grads, name)
            largest[name] = max(largest[name], excess(value, rows[name], true))
    return {**largest, "bounded": bounded}


@pytest.mark.parametrize("name", METHODS)
def test_no_bound_below_the_error_at_any_scale(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = hunt(METHODS[name], seed=len(name))
    bounded = found.pop("bounded")
    assert max(found.values()) <= 1, found
    assert min(found.values()) > 1e-3, "the hunt would not notice much"
    assert bounded > PROBLEMS


@pytest.mark.parametrize("power", [-1000, -300, 300, 990])
@pytest.mark.parametrize("method", [FULL[0], FULL[6], *OTHERS], ids=repr)
def test_what_queries_lose_keys_gain(method: Any, power: int) -> None:
    """q 2^p and k 2^-p have the scores of q and k; -1000 and 990 leave no room in float64."""
    q, k, v, g = np.random.default_rng(3).uniform(-1, 1, (4, 30, 3))
    moved = np.ldexp(q, power), np.ldexp(k, -power)
    plain, out = aa.attention(q, k, v, method), aa.attention(*moved, v, method)
    np.testing.assert_allclose(out.value, plain.value, rtol=0, atol=1e-12)
    assert np.all(out.certificate.rows <= 2 * plain.certificate.rows + 1e-5)
    before, after = aa.attention_vjp(q, k, v, g, method), aa.attention_vjp(*moved, v, g, method)
    np.testing.assert_allclose(np.ldexp(after.dq, power), before.dq, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.ldexp(after.dk, -power), before.dk, rtol=1e-9, atol=1e-12)


def test_a_loss_before_the_balance_is_in_no_gradient() -> None:
    q, g = np.array([[2e-33]], np.float32), np.ones((1, 1), np.float32)
    k, v = np.array([[1e31], [-1e31]], np.float32), np.array([[1e14], [-1e14]], np.float32)
    method = aa.Polynomial(degree=4, centre="none")
    grads = aa.attention_vjp(q, k, v, g, method, scale=1e-12)
    true = exact(q, k, v, 1e-12, dout=g)
    for name, right in zip(("dq", "dk", "dv"), true, strict=True):
        np.testing.assert_allclose(getattr(grads, name), right.astype(float), rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("small", [1e-15, 1e-30])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("degree", [1, 4, 16])
def test_scores_of_almost_nothing_give_the_mean(
    dtype: str, small: float, causal: bool, degree: int
) -> None:
    q, k, v = np.random.default_rng(5).uniform(-1, 1, (3, 20, 3)).astype(dtype)
    method = aa.FittedPolynomial(degree=degree)
    out = aa.attention(
        q * np.asarray(small, dtype), k * np.asarray(small, dtype), v, method, causal=causal
    )
    mean = np.cumsum(v, axis=0) / np.arange(1, 21)[:, None] if causal else np.mean(v, axis=0)
    np.testing.assert_allclose(out.value, np.broadcast_to(mean, (20, 3)), atol=1e-6)


# --- states and pairs of keys -----------------------------------------------------------------


def test_states_hold_their_bounds_at_any_scale() -> None:
    rng, largest, bounded = np.random.default_rng(11), 0.0, 0
    for _ in range(PROBLEMS):
        (q, k, v, _g), options = posed(rng)
        options.pop("causal", None)
        if not all(np.isfinite(x).all() for x in (q, k, v)):
            continue
        mask = options.get("key_mask")
        method = aa.Polynomial(degree=4, basis="taylor")
        try:
            state = method.state(k, v, scale=options["scale"], key_mask=mask)
            out = state.extend(k, v, key_mask=mask).query(q)
        except ValueError as refusal:
            assert ": " in str(refusal)  # noqa: PT017
            continue
        with np.errstate(all="ignore"):
            true = exact(q, k, v, **options)
        bounded += int(np.isfinite(out.certificate.rows).sum())
        largest = max(largest, excess(out.value, out.certificate.rows, true))
    assert 1e-3 < largest <= 1
    assert bounded > PROBLEMS


def test_pairs_of_keys_hold_their_bounds_at_any_scale() -> None:
    rng, largest, bounded = np.random.default_rng(12), 0.0, 0
    for _ in range(PROBLEMS):
        (q, k1, v1, _g), options = posed(rng)
        n, powers = int(rng.integers(1, 5)), rng.integers(-20, 20, 2)
        k2 = np.ldexp(rng.standard_normal((n, k1.shape[1])), powers[0]).astype(q.dtype)
        v2 = np.ldexp(rng.standard_normal((n, v1.shape[1])), powers[1]).astype(q.dtype)
        arrays = q, k1, k2, v1, v2
        if not all(np.isfinite(x).all() for x in arrays):
            continue
        try:
            out = aa.tensor_attention(*arrays, degree=4, basis="taylor", scale=options["scale"])
        except ValueError as refusal:
            assert ": " in str(refusal)  # noqa: PT017
            continue
        wide = [x.astype(EXTENDED) for x in arrays]
        pairs = (wide[1][:, None] * wide[2]).reshape(-1, q.shape[1])
        values = (wide[3][:, None] * wide[4]).reshape(-1, v1.shape[1])
        with np.errstate(all="ignore"):
            true = exact(wide[0], pairs, values, options["scale"])
        bounded += int(np.isfinite(out.certificate.rows).sum())
        largest = max(largest, excess(out.value, out.certificate.rows, true))
    assert 1e-3 < largest <= 1
    assert bounded > PROBLEMS / 2
