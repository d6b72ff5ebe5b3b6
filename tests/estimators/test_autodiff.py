"""Gradients against automatic differentiation, and the errors that theory expects of one layer.

Our generic source is array-API code, so JAX can differentiate it: the sums of
`monomials.contraction`, with the centring written out here once more.
"""

from __future__ import annotations

import math

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.monomials.contraction import contract
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
