"""Gradients against automatic differentiation, and the errors that theory expects of one layer.

Our generic source is array-API code, so JAX can differentiate it: the sums of
`monomials.device.contraction`, with the centring written out here once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest
from methods import TABLE, Row

import approxattn as aa
from approxattn._arrays import Array, HostArray
from approxattn.methods.protocol import Method
from approxattn.monomials.device.contraction import contract
from approxattn.monomials.split import SplitKernel


def tokens(n: int, offset: float, seed: int = 0) -> tuple[HostArray, ...]:
    q, k, v, g = np.random.default_rng(seed).uniform(-1, 1, (4, n, 3))
    return q + offset, k, v, g


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1.5])  # the queries stay as they are, or are centred
@pytest.mark.parametrize("n", [20, 150])
def test_consistent_gradient_is_what_jax_makes_of_the_generic_source(
    n: int, offset: float, causal: bool
) -> None:
    jax = pytest.importorskip("jax")
    q, k, v, g = tokens(n, offset)
    method = aa.Polynomial(degree=4, basis="taylor")
    grads = aa.attention_vjp(q, k, v, g, method, causal=causal)
    centred = grads.certificate.facts["queries centred"] == "yes"
    assert centred == (offset > 0)
    coefficients = tuple(1 / math.factorial(t) for t in range(5))

    def output(q, k, v):
        jnp, beta = jax.numpy, 3**-0.5
        m = jnp.mean(q, axis=0, keepdims=True) if centred else jnp.zeros((1, 3))
        keys = k - jnp.mean(k, axis=0, keepdims=True)
        w = jnp.exp(beta * keys @ m.T)
        values = jnp.concatenate([w * v, w], axis=-1)
        sums = contract(beta * (q - m), keys, values, coefficients, causal, jnp)
        return sums[:, :-1] / sums[:, -1:]

    with jax.enable_x64(True):
        arrays = [jax.numpy.asarray(x) for x in (q, k, v)]
        value, pull = jax.vjp(output, *arrays)
        found = pull(jax.numpy.asarray(g))
        out = aa.attention(q, k, v, method, causal=causal).value
        np.testing.assert_allclose(out, np.asarray(value), rtol=0, atol=1e-12)
        for name, other in zip(("dq", "dk", "dv"), found, strict=True):
            np.testing.assert_allclose(getattr(grads, name), np.asarray(other), rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_consistent_gradient_is_what_torch_makes_of_the_generic_source(causal: bool) -> None:
    torch = pytest.importorskip("torch")
    compat = pytest.importorskip("array_api_compat.torch")
    q, k, v, g = tokens(60, 1.5)
    grads = aa.attention_vjp(q, k, v, g, aa.Polynomial(degree=4, basis="taylor"), causal=causal)
    leaves = [torch.tensor(x, requires_grad=True) for x in (q, k, v)]
    m, beta = leaves[0].mean(0, keepdim=True), 3**-0.5
    keys = leaves[1] - leaves[1].mean(0, keepdim=True)
    w = torch.exp(beta * keys @ m.T)
    coefficients = tuple(1 / math.factorial(t) for t in range(5))
    sums = contract(
        beta * (leaves[0] - m),
        keys,
        torch.cat([w * leaves[2], w], -1),
        coefficients,
        causal,
        compat,
    )
    (sums[:, :-1] / sums[:, -1:]).backward(torch.tensor(g))
    for name, leaf in zip(("dq", "dk", "dv"), leaves, strict=True):
        np.testing.assert_allclose(getattr(grads, name), leaf.grad.numpy(), rtol=0, atol=1e-12)


def test_split_kernel_runs_in_jax() -> None:
    jax = pytest.importorskip("jax")
    x, y, v = np.random.default_rng(0).uniform(-1, 1, (3, 40, 4))
    kernels = [
        SplitKernel(
            table=((1.0, 1.0, 0.5), (1.0, 1.0)), head=2, tail=2, causal=True, kind="features", xp=xp
        )
        for xp in (numpy_namespace, jax.numpy)
    ]
    with jax.enable_x64(True):
        other = kernels[1].sums(*(jax.numpy.asarray(a) for a in (x, y, v)))
        np.testing.assert_allclose(kernels[0].sums(x, y, v), np.asarray(other), atol=1e-12)


# --- backward() through our results: the derivative of the output, or an error --------------------

NOT_ITS_OWN = {
    "anisotropic-1e-4": "directions held fixed",
    "fitted-polynomial-2": "coefficients held fixed",
    "yoso": "an estimate of the gradient of the expectation",
    "yoso-sure": "the same",
    "yoso-unit-sure": "the same",
    "yoso-bernstein-sure": "the same",
    "yoso-hadamard-sure": "the same",
    "lsh-softmax": "the sampling probabilities are held fixed",
    "lsh-softmax-ball": "the same",
}
"""Rows whose `attention_vjp` is another gradient than that of the output, and why."""


def draws(method: Method) -> np.random.Generator | None:
    return np.random.default_rng(7) if method.randomised else None


def slope(f: Callable[[float], float], step: float = 1e-4) -> float:
    """Return f'(0) by central differences of fourth order."""
    return (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step)


def off_centre(n: int = 12) -> list[HostArray]:
    """Return q, k, v and a cotangent; the queries lie off their centre."""
    q, k, v, g = np.random.default_rng(1).standard_normal((4, n, 3))
    return [q * 0.5 + 1, k * 0.5, v, g]


def backward(method: Method, given: list[HostArray], **options: Any) -> list[Array]:
    """Return what torch's backward leaves in q, k, v."""
    torch = pytest.importorskip("torch")
    leaves = [torch.tensor(x, requires_grad=True) for x in given[:3]]
    out = aa.attention(*leaves, method, rng=draws(method), **options)
    out.value.backward(torch.tensor(given[3]))
    return [leaf.grad.numpy() for leaf in leaves]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_backward_is_the_slope_of_the_output_or_an_error(row: Row) -> None:
    pytest.importorskip("torch")
    given = off_centre()
    if row.name in NOT_ITS_OWN:
        with pytest.raises(
            RuntimeError, match=r"approxattn\.attention_vjp\(q, k, v, dout, method\)"
        ):
            backward(row.method, given)
        return
    grads = backward(row.method, given)
    ways = np.random.default_rng(2).standard_normal((3, *given[0].shape))
    for i in range(3):

        def loss(t: float, i: int = i) -> float:
            moved = [x + t * ways[i] * (i == j) for j, x in enumerate(given[:3])]
            value = aa.attention(*moved, row.method, rng=draws(row.method)).value
            return float(np.sum(value * given[3]))

        assert np.sum(grads[i] * ways[i]) == pytest.approx(slope(loss), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("row", [r for r in TABLE if r.name in NOT_ITS_OWN], ids=str)
def test_what_is_refused_would_have_been_wrong(row: Row) -> None:
    """Of the rows that refuse, `attention_vjp` is not the slope of the output for some tokens."""
    found = []
    for seed in range(4):
        q, k, v, g, *ways = np.random.default_rng(seed).standard_normal((6, 12, 3))
        q, k = q * 0.5 + 1, k * 0.5

        def loss(t: float) -> float:
            moved = (q + t * ways[0], k + t * ways[1], v)  # noqa: B023
            value = aa.attention(*moved, row.method, rng=draws(row.method)).value
            return float(np.sum(value * g))  # noqa: B023

        grads = aa.attention_vjp(q, k, v, g, row.method, rng=draws(row.method))
        own = np.sum(grads.dq * ways[0] + grads.dk * ways[1])
        found.append(abs(own - slope(loss)) / abs(own))
    assert max(found) > 1e-6  # differences are exact to 1e-10


def test_plug_in_is_refused_as_it_is_no_slope() -> None:
    pytest.importorskip("torch")
    with pytest.raises(RuntimeError, match=r"plug-in.*not differentiable by torch"):
        backward(aa.Polynomial(degree=4, gradient="plug-in"), off_centre())


@pytest.mark.parametrize("causal", [False, True])
def test_reproducer_of_weights_that_left_the_graph(causal: bool) -> None:
    pytest.importorskip("torch")
    q, k, v, g = np.random.default_rng(1).normal(size=(4, 21, 6))
    given, method = [q * 0.5 + 2, k * 0.5, v, g], aa.Polynomial(degree=4, basis="taylor")
    grads = aa.attention_vjp(*given, method, causal=causal)
    for name, found in zip("qkv", backward(method, given, causal=causal), strict=True):
        np.testing.assert_allclose(found, getattr(grads, f"d{name}"), rtol=0, atol=1e-12)


def test_backward_with_mask_batch_broadcast_and_half_precision() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((2, 3, 9, 4)), *rng.standard_normal((2, 9, 4))
    mask = torch.tensor(rng.random((2, 3, 9)) < 0.7)
    mask[..., 0] = True
    leaves = [torch.tensor(x).bfloat16().requires_grad_() for x in (q, k, v)]
    out = aa.attention(*leaves, aa.Exact(), key_mask=mask, scale=0.3)
    out.value.sum().backward()  # an expanded cotangent, of stride 0
    plain = [leaf.detach() for leaf in leaves]
    dout = torch.ones_like(out.value.detach())
    grads = aa.attention_vjp(*plain, dout, aa.Exact(), key_mask=mask, scale=0.3)
    for leaf, dx in zip(leaves, (grads.dq, grads.dk, grads.dv), strict=True):
        assert leaf.grad.dtype == torch.bfloat16
        assert torch.equal(leaf.grad, dx)


def test_backward_reaches_the_arrays_of_the_method() -> None:
    torch = pytest.importorskip("torch")
    q, k, v, g = (torch.tensor(x) for x in off_centre())
    e = torch.tensor(np.random.default_rng(0).standard_normal((4, 12)) / 3, requires_grad=True)
    method = aa.Linformer(key_projection=e)
    aa.attention(q, k, v, method).value.backward(g)
    expected = aa.attention_vjp(q, k, v, g, aa.Linformer(key_projection=e.detach()))
    assert torch.equal(e.grad, expected.parameters["key_projection"])


def test_backward_draws_what_forward_drew() -> None:
    torch = pytest.importorskip("torch")
    q, k, v, g = (torch.tensor(x) for x in off_centre())
    rng, method = np.random.default_rng(3), aa.Performer(features=4)
    value = aa.attention(q.requires_grad_(), k, v, method, rng=rng).value
    rng.standard_normal(5)  # the caller draws on
    for _ in range(2):
        q.grad = None
        value.backward(g, retain_graph=True)
        expected = aa.attention_vjp(q.detach(), k, v, g, method, rng=np.random.default_rng(3))
        assert torch.equal(q.grad, expected.dq)


def test_torch_notices_inputs_overwritten_before_backward() -> None:
    torch = pytest.importorskip("torch")
    q, k, v, g = (torch.tensor(x) for x in off_centre())
    q.requires_grad_()
    value = aa.attention(q, k, v, aa.Exact()).value
    k.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward(g)


def test_other_results_are_constants_by_no_means() -> None:
    """A gradient that is left out in silence is a wrong one: each says that it has none."""
    torch = pytest.importorskip("torch")
    from approxattn.transformer import Layer, SelfAttention, Transformer, forward

    q, k, v, g = (torch.tensor(x, requires_grad=True) for x in off_centre())
    w = torch.tensor(np.random.default_rng(0).standard_normal((1, 3, 3)), requires_grad=True)
    model = Transformer(layers=(Layer(attention=SelfAttention(wq=w, wk=w, wv=w)),))
    state = aa.Polynomial(degree=4, basis="taylor").state(k, v)
    results = {
        "second derivatives": aa.attention_vjp(q, k, v, g, aa.Exact()).dq,
        "attention_vjp": state.query(q).value,
        "this has none": aa.tensor_attention(q / 9, k, k, v, v, degree=4).value,
        "transformer.gradient": forward(model, q.detach(), aa.Exact()).value,
    }
    for remedy, result in results.items():
        with pytest.raises(RuntimeError, match=remedy):
            result.sum().backward()


def test_nothing_is_joined_where_no_gradient_is_wanted() -> None:
    torch = pytest.importorskip("torch")
    q, k, v, _ = (torch.tensor(x) for x in off_centre())
    assert not aa.attention(q, k, v, aa.Exact()).value.requires_grad
    with torch.no_grad():
        assert not aa.attention(q.requires_grad_(), k, v, aa.Exact()).value.requires_grad


# --- one layer: s = softmax(beta X W X^T) X W_V, n = 300, d = 4, scores within 2 ------------------

FIGURES = {
    2: (1.0e-1, 1.1e-2, 8.2e-2, 2.3e-2),
    4: (6.6e-3, 1.1e-3, 3.9e-3, 3.2e-3),
    6: (3.5e-4, 9.1e-5, 1.8e-4, 2.6e-4),
    8: (1.5e-5, 4.7e-6, 7.5e-6, 1.3e-5),
}
"""Errors of s, dW, dW_V, dX relative to the largest entry, for even Taylor degrees, measured once
on other random tokens: within a factor of 8 here.
"""


def layer(
    x: HostArray, w: HostArray, w_v: HostArray, g: HostArray, method: object, causal: bool
) -> list[HostArray]:
    """Return s, dW, dW_V, dX of one layer."""
    q, v = x @ w, x @ w_v
    out = aa.attention(q, x, v, method, causal=causal).value
    grads = aa.attention_vjp(q, x, v, g, method, causal=causal)
    return [out, x.T @ grads.dq, x.T @ grads.dv, grads.dq @ w.T + grads.dk + grads.dv @ w_v.T]


@pytest.mark.parametrize("causal", [False, True])
def test_errors_of_one_layer_are_those_that_theory_expects(causal: bool) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 300, 4))
    w, w_v = rng.standard_normal((2, 4, 4))
    x -= x.mean(axis=0)
    w *= 2 / np.abs(x @ w @ x.T / 2).max()
    exact = layer(x, w, w_v, g, aa.Exact(), causal)
    for degree, figures in FIGURES.items():
        found = layer(
            x, w, w_v, g, aa.Polynomial(degree=degree, basis="taylor", gradient="plug-in"), causal
        )
        errors = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, exact, strict=True)]
        print(degree, causal, *(f"{e:.1e}" for e in errors))
        for error, figure in zip(errors, figures, strict=True):
            assert figure / 8 <= error <= 8 * figure
