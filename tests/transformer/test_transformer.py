"""Transformers: value and whole gradient against the exact network in extended precision, against
finite differences and automatic differentiation.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from dense_transformer import extended, random_model, run, whole_gradient
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn.transformer import (
    Custom,
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    Mlp,
    Residual,
    SelfAttention,
    Transformer,
    forward,
    gradient,
    parameters,
    with_parameters,
)

KINDS = {
    "one head, the paper's": {
        "layers": 1,
        "heads": 1,
        "residual": False,
        "norm": "none",
        "joint": True,
        "biases": False,
        "project": False,
    },
    "three layers": {
        "layers": 3,
        "heads": 1,
        "residual": False,
        "norm": "none",
        "activation": "tanh",
    },
    "causal": {"causal": True, "activation": "silu"},
    "pre": {"norm": "pre"},
    "post": {"norm": "post", "causal": True},
    "joint": {"joint": True, "norm": "none", "activation": "tanh"},
    "heads side by side": {"project": False, "activation": "silu"},
}


class ForwardOnly:
    """Exact attention without its gradient."""

    randomised, why_not_causal, why_no_scale = False, "", ""

    def compute(self, problem, rng):
        return aa.Exact().compute(problem, rng)


def inputs(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal(shape), rng.standard_normal(shape)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_gradient(kind: str, recompute: bool) -> None:
    rng = np.random.default_rng(3)
    model, (x, g) = random_model(rng, **KINDS[kind]), inputs(rng, 5, 4)
    own = gradient(model, x, g, aa.Exact(), recompute=recompute)
    dx, others = whole_gradient(model, x, g)
    np.testing.assert_allclose(
        own.value, run(extended(model), x.astype(np.clongdouble)).real, atol=1e-12
    )
    np.testing.assert_allclose(own.dx, dx, atol=1e-10)
    found = parameters(own.model)
    assert found.keys() == others.keys() == parameters(model).keys()
    for name, exact in others.items():
        np.testing.assert_allclose(found[name], exact, atol=1e-10, err_msg=name)


def test_mask_and_leading_axes() -> None:
    rng = np.random.default_rng(4)
    model, (x, g) = random_model(rng, layers=2), inputs(rng, 2, 3, 4)
    mask = np.array([[True, True, False], [True, True, True]])
    own = gradient(model, x, g, aa.Exact(), key_mask=mask)
    dx, others = whole_gradient(model, x, g, mask)
    np.testing.assert_allclose(own.dx, dx, atol=1e-10)
    for name, exact in others.items():
        np.testing.assert_allclose(parameters(own.model)[name], exact, atol=1e-10, err_msg=name)
    alone = [gradient(model, x[i], g[i], aa.Exact(), key_mask=mask[i]) for i in range(2)]
    np.testing.assert_allclose(own.dx, np.stack([a.dx for a in alone]), atol=1e-13)


def test_gradients_between_the_layers() -> None:
    """dL/dT_i is dL/dX of the layers that are left."""
    rng = np.random.default_rng(5)
    model, (x, g) = random_model(rng, layers=3), inputs(rng, 6, 4)
    whole = gradient(model, x, g, aa.Exact())
    run_of = forward(model, x, aa.Exact())
    for i in range(4):
        rest = gradient(Transformer(layers=model.layers[i:]), run_of.tokens[i], g, aa.Exact())
        np.testing.assert_allclose(whole.tokens[i], rest.dx, atol=1e-12)


def test_the_cotangent_may_be_a_function_of_the_output() -> None:
    rng = np.random.default_rng(14)
    model, (x, y) = random_model(rng, layers=2), inputs(rng, 6, 4)
    value = forward(model, x, aa.Exact()).value
    by_function = gradient(model, x, lambda out: out - y, aa.Exact())
    np.testing.assert_array_equal(by_function.dx, gradient(model, x, value - y, aa.Exact()).dx)


def test_w_is_the_product_of_w_q_and_w_k() -> None:
    """dL/dW_Q = (dL/dW) W_K and dL/dW_K = (dL/dW)^T W_Q (Liang et al. 2024, after F.4)."""
    rng = np.random.default_rng(6)
    separate = random_model(rng, layers=1, biases=False)
    a = separate.layers[0].attention
    joint = SelfAttention(w=a.wq @ np.swapaxes(a.wk, -1, -2), wv=a.wv, wo=a.wo, scale=a.beta)
    other = Transformer(layers=(dataclasses.replace(separate.layers[0], attention=joint),))
    x, g = inputs(rng, 7, 4)
    one, two = (gradient(m, x, g, aa.Exact()) for m in (separate, other))
    dw = two.model.layers[0].attention.w
    np.testing.assert_allclose(one.dx, two.dx, atol=1e-13)
    np.testing.assert_allclose(one.model.layers[0].attention.wq, dw @ a.wk, atol=1e-13)
    np.testing.assert_allclose(
        one.model.layers[0].attention.wk, np.swapaxes(dw, -1, -2) @ a.wq, atol=1e-13
    )


@pytest.mark.parametrize(
    "method", [aa.Exact(), aa.Polynomial(degree=4, basis="taylor", centre="keys")], ids=repr
)
def test_gradient_check(method: aa.Exact | aa.Polynomial) -> None:
    """The gradient is that of the loss computed, also with consistent polynomial attention.

    (With centre="both" a head may change from one centring to the other.)
    """
    rng = np.random.default_rng(7)
    model, (x, g) = random_model(rng, layers=3, causal=True), inputs(rng, 40, 4)
    own = parameters(gradient(model, x, g, method, certify=False).model)
    point = parameters(model)
    directions = {name: rng.standard_normal(p.shape) for name, p in point.items()}

    def loss(t: float) -> float:
        moved = with_parameters(
            model, {name: p + t * directions[name] for name, p in point.items()}
        )
        return float(np.sum(g * forward(moved, x, method, certify=False).value))

    slope = (8 * (loss(1e-4) - loss(-1e-4)) - (loss(2e-4) - loss(-2e-4))) / 12e-4
    assert slope == pytest.approx(sum(float(np.sum(directions[k] * own[k])) for k in own), rel=1e-8)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", ["none", "pre", "post"])
@pytest.mark.parametrize("activation", ["gelu", "silu", "tanh"])
def test_agrees_with_automatic_differentiation(
    causal: bool, residual: bool, norm: str, activation: str
) -> None:
    torch = pytest.importorskip("torch")
    from torch_transformer import run_in_torch

    rng = np.random.default_rng(8)
    for layers in range(1, 7):
        options = {
            "layers": layers,
            "heads": 1 + layers % 3,
            "width": 3,
            "causal": causal,
            "residual": residual,
            "norm": norm,
        }
        model, (x, g) = random_model(rng, **options, activation=activation), inputs(rng, 2, 9, 4)
        own = gradient(model, x, g, aa.Exact(), certify=False)
        leaves = {
            name: torch.tensor(p, requires_grad=True) for name, p in parameters(model).items()
        }
        there = torch.tensor(x, requires_grad=True)
        run_in_torch(model, leaves, there).backward(torch.tensor(g))
        pairs = {name: (p, leaves[name].grad.numpy()) for name, p in parameters(own.model).items()}
        for name, (mine, theirs) in ({"x": (own.dx, there.grad.numpy())} | pairs).items():
            scale = max(1.0, float(np.max(np.abs(theirs))))
            np.testing.assert_allclose(mine / scale, theirs / scale, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_every_array_library(library: Library) -> None:
    rng = np.random.default_rng(9)
    model, (x, g) = random_model(rng, causal=True), inputs(rng, 2, 12, 4)
    there = with_parameters(model, {name: library.put(p) for name, p in parameters(model).items()})
    for method in (aa.Exact(), aa.Polynomial(degree=4, gradient="plug-in")):
        own = gradient(model, x, g, method, second_moments=True)
        mask = library.put(np.ones(12, bool))
        other = gradient(
            there, library.put(x), library.put(g), method, key_mask=mask, second_moments=True
        )
        assert own.certificate is not None
        np.testing.assert_allclose(other.certificate.dx, own.certificate.dx, rtol=1e-6)
        assert library.owns(other.dx)
        np.testing.assert_allclose(library.get(other.dx), own.dx, atol=1e-11)
        for name, p in parameters(other.model).items():
            assert library.owns(p), name
            np.testing.assert_allclose(
                library.get(p), parameters(own.model)[name], atol=1e-11, err_msg=name
            )


def test_embedding() -> None:
    """Its gradient is that of a one-hot matrix product."""
    rng = np.random.default_rng(10)
    layer = random_model(rng, layers=1, causal=True, biases=False).layers[0]
    ids, g = rng.integers(0, 6, (2, 5)), rng.standard_normal((2, 5, 4))
    table, positions = rng.standard_normal((7, 4)), rng.standard_normal((8, 4))
    own = gradient(
        Transformer(first=(Embedding(tokens=table, positions=positions),), layers=(layer,)),
        ids,
        g,
        aa.Exact(),
    )
    hot = gradient(
        Transformer(layers=(layer,)), np.eye(7)[ids] @ table + positions[:5], g, aa.Exact()
    )
    assert own.dx is None
    assert own.certificate is not None
    assert own.certificate.dx is None
    tables: Any = own.model.first[0]
    np.testing.assert_allclose(
        tables.tokens, np.einsum("bnv,bnd->vd", np.eye(7)[ids], hot.dx), atol=1e-14
    )
    np.testing.assert_allclose(tables.positions[:5], hot.dx.sum(0), atol=1e-14)
    assert not tables.positions[5:].any()
    with pytest.raises(ValueError, match=r"tokens lie in \[0, 9\].*\[0, 6\]"):
        forward(
            Transformer(first=(Embedding(tokens=table),), layers=(layer,)),
            np.array([0, 9]),
            aa.Exact(),
        )
    with pytest.raises(ValueError, match=r"9 tokens in a row.*8 positions"):
        forward(
            Transformer(first=(Embedding(tokens=table, positions=positions),), layers=(layer,)),
            np.zeros(9, int),
            aa.Exact(),
        )
    with pytest.raises(TypeError, match="needs integers"):
        forward(
            Transformer(first=(Embedding(tokens=table),), layers=(layer,)),
            np.ones((3, 4)),
            aa.Exact(),
        )


def test_users_own_function() -> None:
    """A pair (value, gradient) does what the map it copies does; what is not known about it leaves
    no bound.
    """
    rng = np.random.default_rng(11)
    base, (x, g) = random_model(rng, layers=2, residual=False, norm="none"), inputs(rng, 6, 4)
    mlp = base.layers[0].then[0]
    known = {"lipschitz": 40.0, "curvature": 90.0, "rounding": 100.0}
    results, plug_in = {}, aa.Polynomial(degree=6, gradient="plug-in")
    for name, facts in (("known", known), ("unknown", {})):
        own = Custom(value=mlp, gradient=lambda y, d: mlp.vjp(y, d)[0], **facts)
        first = dataclasses.replace(base.layers[0], then=(own,))
        results[name] = gradient(
            dataclasses.replace(base, layers=(first, base.layers[1])), x, g, plug_in
        )
    plain = gradient(base, x, g, plug_in)
    for result in results.values():
        np.testing.assert_array_equal(result.dx, plain.dx)
        np.testing.assert_array_equal(
            result.model.layers[1].attention.wq, plain.model.layers[1].attention.wq
        )
    assert np.isfinite(results["known"].certificate.dx)
    assert np.isinf(results["unknown"].certificate.dx)
    with pytest.raises(ValueError, match=r"lipschitz\(=-1\)"):
        Custom(value=mlp, gradient=mlp.vjp, lipschitz=-1)


def test_methods_by_layer_and_draws_by_seed() -> None:
    rng = np.random.default_rng(12)
    model, (x, _) = random_model(rng, layers=2), inputs(rng, 20, 4)
    mixed = forward(model, x, [aa.Exact(), aa.Linformer(rank=10)], rng=np.random.default_rng(1))
    again = forward(model, x, [aa.Exact(), aa.Linformer(rank=10)], rng=np.random.default_rng(1))
    other = forward(model, x, [aa.Exact(), aa.Linformer(rank=10)], rng=np.random.default_rng(2))
    np.testing.assert_array_equal(mixed.value, again.value)
    assert not np.array_equal(mixed.value, other.value)
    np.testing.assert_array_equal(mixed.tokens[1], forward(model, x, aa.Exact()).tokens[1])
    assert np.isinf(mixed.certificate.bound)  # a Gaussian sketch promises nothing
    with pytest.raises(ValueError, match="method has 3 entries for 2 layers"):
        forward(model, x, [aa.Exact()] * 3)
    with pytest.raises(TypeError, match="draws random numbers"):
        forward(model, x, aa.Linformer(rank=10))


def test_refusals() -> None:
    rng = np.random.default_rng(13)
    w = rng.standard_normal((2, 4, 3))
    with pytest.raises(ValueError, match="needs both wq and wk, or w alone"):
        SelfAttention(wq=w, wv=w)
    with pytest.raises(
        ValueError, match=r"SelfAttention.wk has shape \(2, 4, 2\).*width.*must be 3, as in wq"
    ):
        SelfAttention(wq=w, wk=w[..., :2], wv=w)
    with pytest.raises(ValueError, match="bo was given without wo"):
        SelfAttention(wq=w, wk=w, wv=w, bo=np.zeros(6))
    with pytest.raises(TypeError, match="must all be float32 or all float64"):
        SelfAttention(wq=w, wk=w, wv=w.astype(np.float32))
    with pytest.raises(ValueError, match=r"activation\(='relu'\)"):
        Mlp(w1=w[0], w2=w[0].T, activation="relu")
    with pytest.raises(ValueError, match=r"epsilon\(=0\)"):
        LayerNorm(gain=np.ones(4), shift=np.ones(4), epsilon=0)
    model, (x, g) = random_model(rng, layers=1), inputs(rng, 6, 4)
    with pytest.raises(ValueError, match=r"dout has shape \(5, 4\)"):
        gradient(model, x, g[:5], aa.Exact())
    with pytest.raises(ValueError, match="dout holds NaN"):
        gradient(model, x, g * np.nan, aa.Exact())
    with pytest.raises(ValueError, match=r"tokens of shape \(6, 3\)"):
        forward(model, x[:, :3], aa.Exact())
    with pytest.raises(TypeError, match="float32 tokens"):
        forward(model, x.astype(np.float32), aa.Exact())
    with pytest.raises(TypeError, match="ForwardOnly has no gradient"):
        gradient(model, x, g, ForwardOnly())
    with pytest.raises(ValueError, match="residual=True adds tokens"):
        forward(
            Transformer(layers=(Layer(attention=SelfAttention(wq=w, wk=w, wv=w), residual=True),)),
            x,
            aa.Exact(),
        )
    with pytest.raises(KeyError, match=r"layers\.9"):
        with_parameters(model, {"layers.9.attention.wq": w})
    with pytest.raises(ValueError, match=r"Linear.b has shape \(2,\)"):
        Residual(maps=(Linear(w=w[0], b=np.zeros(2)),))
