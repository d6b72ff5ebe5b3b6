"""The largest and the smallest numbers in a transformer: mended where scaling mends it, and where
not, no bound and the reason.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from dense_transformer import extended, random_model, run

import approxattn as aa
from approxattn.transformer import (
    Custom,
    Layer,
    LayerNorm,
    Linear,
    Mlp,
    Residual,
    SelfAttention,
    Transformer,
    forward,
    gradient,
)
from approxattn.transformer.sight import Sight

DTYPES = (np.float32, np.float64)


def attention(rng: np.random.Generator, dtype: Any) -> SelfAttention:
    wq, wk, wv = (0.3 * rng.standard_normal((3, 1, 4, 4))).astype(dtype)
    return SelfAttention(wq=wq, wk=wk, wv=wv)


def norm(dtype: Any, **options: Any) -> LayerNorm:
    return LayerNorm(gain=np.ones(4, dtype), shift=np.zeros(4, dtype), **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm_of_tokens_of_any_size(dtype: Any) -> None:
    """The same to rounding, up to the largest float; the bounds too."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    model = Transformer(first=(norm(dtype),), layers=(Layer(attention=attention(rng, dtype)),))
    unit, g = rng.uniform(-1, 1, (2, 3, 4)).astype(dtype)
    unit[0, 0] = 1
    plain = gradient(model, dtype(1e6) * unit, g, aa.Exact())
    assert plain.certificate is not None
    for size in (1e10, 1e18, 1e20, float(info.max) ** 0.5, float(info.max) / 10, float(info.max)):
        x = dtype(size) * unit
        out, own = forward(model, x, aa.Exact()), gradient(model, x, g, aa.Exact())
        exact = run(extended(model), x.astype(np.clongdouble)).real
        assert out.certificate is not None
        assert own.certificate is not None
        assert np.all(np.max(np.abs(out.value - exact), axis=-1) <= out.certificate.rows)
        assert out.certificate.bound < 100 * info.eps
        assert own.certificate.unmet == ()
        here, there = own.model.layers[0].attention.wv, plain.model.layers[0].attention.wv
        np.testing.assert_allclose(here, there, atol=1e3 * info.eps)
        np.testing.assert_allclose(own.dx, plain.dx * (1e6 / size), rtol=1e-2)
        for name, bound in own.certificate.parameters.items():
            assert bound <= 2 * plain.certificate.parameters[name], name


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm_of_small_and_of_constant_tokens(dtype: Any) -> None:
    rng, info = np.random.default_rng(1), np.finfo(dtype)
    unit, g = rng.uniform(-1, 1, (2, 3, 4)).astype(dtype)
    for epsilon in (1e-5, float(info.tiny), float(info.max)):
        model = Transformer(first=(norm(dtype, epsilon=epsilon),), layers=())
        for size in (float(info.smallest_subnormal), float(info.tiny), 1e-30, 1.0):
            x = (size * unit.astype(np.longdouble)).astype(dtype)
            for tokens in (x, 0 * x, 0 * x + dtype(size)):
                out, own = (
                    forward(model, tokens, aa.Exact()),
                    gradient(model, tokens, g, aa.Exact()),
                )
                exact = run(extended(model), tokens.astype(np.clongdouble)).real
                assert out.certificate is not None
                assert np.all(np.abs(out.value - exact).max(axis=-1) <= out.certificate.rows)
                assert np.isfinite(out.certificate.rows).all()
                assert np.isfinite(own.dx).all()


def test_an_epsilon_that_the_dtype_does_not_hold() -> None:
    for epsilon in (1e-60, 1e39):
        with pytest.raises(ValueError, match=r"epsilon\(=1e.*float32 holds"):
            norm(np.float32, epsilon=epsilon)
        assert norm(np.float64, epsilon=epsilon).epsilon == epsilon


@pytest.mark.parametrize("activation", ["gelu", "silu", "tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_of_the_largest_numbers(dtype: Any, activation: str) -> None:
    top = float(np.finfo(dtype).max)
    one = np.ones((1, 1), dtype)
    model = Transformer(first=(Mlp(w1=one, w2=one, activation=activation),), layers=())
    x = np.array([[top], [-top], [0.6 * top], [1e4], [-1e4], [30], [-30], [0]], dtype)
    out, own = forward(model, x, aa.Exact()), gradient(model, x, np.ones_like(x), aa.Exact())
    exact = run(extended(model), x.astype(np.clongdouble)).real
    assert out.certificate is not None
    assert own.certificate is not None
    assert np.isfinite(out.value).all()
    assert np.isfinite(own.dx).all()
    assert np.all(np.abs(out.value - exact)[:, 0] <= out.certificate.rows)
    # bounds are float64 numbers too: no larger number is left for those of the largest
    assert np.isfinite(out.certificate.rows[2 if dtype is np.float64 else 0 :]).all()


def swallowing() -> Custom:
    """A user's map that makes a number of infinity, forwards and backwards."""
    return Custom(
        value=lambda x: np.clip(x, -1, 1),
        gradient=lambda _, dout: np.clip(dout, -1, 1),
        lipschitz=1.0,
        curvature=1.0,
        rounding=1.0,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_overflows_has_no_bound_and_a_reason(dtype: Any) -> None:
    rng, big = np.random.default_rng(2), dtype(float(np.finfo(dtype).max) / 2)
    steep, eye = Linear(w=np.eye(4, dtype=dtype) * big), np.eye(4, dtype=dtype)
    mlp = Mlp(w1=eye * big, w2=eye, activation="tanh")
    ends: tuple[tuple[Any, ...], ...] = (
        (steep,),
        (steep, swallowing()),
        (mlp,),
        (Residual(maps=(mlp,)),),
        (Residual(maps=(steep, swallowing())),),
        (steep, norm(dtype)),
    )
    x = rng.standard_normal((3, 4)).astype(dtype)
    for then in ends:
        layer = Layer(attention=attention(rng, dtype), residual=True, then=then)
        for model in (Transformer(layers=(layer,)), Transformer(first=then, layers=())):
            out = forward(model, 100 * x, aa.Exact())
            assert out.certificate is not None
            assert np.isinf(out.certificate.bound)
            assert "T_" in out.certificate.unmet[-1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_cotangents_that_overflow(dtype: Any) -> None:
    rng, big = np.random.default_rng(3), dtype(float(np.finfo(dtype).max) / 2)
    x, g = rng.standard_normal((2, 3, 4)).astype(dtype)
    steep = Linear(w=np.eye(4, dtype=dtype) * big)
    for maps in ((steep,), (swallowing(), steep), (Residual(maps=(swallowing(), steep)),)):
        own = gradient(Transformer(first=maps, layers=()), x, 100 * g, aa.Exact())
        assert own.certificate is not None
        assert np.isinf(own.certificate.dx)
        assert own.certificate.unmet
    layer = Layer(attention=attention(rng, dtype), then=(steep,))
    with pytest.raises(ValueError, match="cotangent of the attention's output exceeds"):
        gradient(Transformer(layers=(layer,)), 0.1 * x, 100 * g, aa.Exact())


def test_tokens_that_no_attention_takes() -> None:
    rng = np.random.default_rng(4)
    model, x = random_model(rng, norm="none", biases=False), rng.standard_normal((3, 4))
    with pytest.raises(ValueError, match="tokens before the attention exceed") as caught:
        forward(model, x * np.nan, aa.Exact())
    assert "layer 0" in caught.value.__notes__[0]


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_second_moments_of_any_size(size: float) -> None:
    """Products of keys would leave float32; the bounds are those of ordinary keys, scaled."""
    rng = np.random.default_rng(5)
    heads = attention(rng, np.float32)
    x = rng.standard_normal((6, 4)).astype(np.float32)
    plain = heads.attend(x, aa.Exact(), Sight(), None, True).spread
    small = np.float32(1 / size)
    other = dataclasses.replace(
        heads, wq=heads.wq * small, wk=heads.wk * np.float32(size), wv=heads.wv * np.float32(size)
    )
    there = other.attend(x, aa.Exact(), Sight(), None, True).spread
    assert plain is not None
    assert there is not None
    np.testing.assert_allclose(there.keys, size * plain.keys, rtol=1e-2)
    np.testing.assert_allclose(there.values, size * plain.values, rtol=1e-2)
    np.testing.assert_allclose(there.steered, plain.steered, rtol=1e-2)
