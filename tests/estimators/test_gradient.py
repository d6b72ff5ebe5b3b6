"""Gradients: the exact one against a dense formula in extended precision, the consistent one
against differences, all against their certificates.
"""

from __future__ import annotations

import numpy as np
import pytest
from dense_attention import dense
from hypothesis import given, settings
from hypothesis import strategies as st

import approxattn as aa

METHODS = [
    aa.Exact(),
    aa.Polynomial(degree=4, basis="taylor", gradient="plug-in"),
    aa.Polynomial(degree=4, basis="taylor", gradient="consistent"),
    aa.Polynomial(degree=8, gradient="plug-in"),
    aa.Polynomial(degree=8, gradient="consistent"),
]


def within_certificate(grads, reference) -> None:
    for name, exact in zip(("dq", "dk", "dv"), reference, strict=True):
        error = np.abs(getattr(grads, name).astype(np.longdouble) - exact).max(-1)
        assert np.all(error <= getattr(grads.certificate, name)), (
            f"{name}: an error beyond its certificate"
        )


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 1), (40, 3), (700, 2), (50, 8)])
def test_error_stays_within_the_certificate(method, causal, dtype, n, d) -> None:
    rng = np.random.default_rng(n + d)
    q, k, v, g = rng.uniform(-1.3, 1.3, (4, 2, n, d)).astype(dtype)
    mask = rng.random((2, n)) < 0.7
    mask[:, 0] = True
    grads = aa.attention_vjp(q, k, v, g, method, causal=causal, key_mask=mask)
    within_certificate(grads, dense(q, k, v, g, d**-0.5, causal, mask))
    assert not np.any(grads.dk[~mask])
    assert not np.any(grads.dv[~mask])


entries = st.integers(-3, 3).map(float) | st.sampled_from([0.0, 1e-3, -0.5, 8.0])


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    data=st.data(),
    n=st.integers(1, 6),
    d=st.integers(1, 3),
    causal=st.booleans(),
    wide=st.booleans(),
)
def test_certificates_hold_on_structured_inputs(data, n, d, causal, wide) -> None:
    dtype = np.float64 if wide else np.float32
    q, k, v, g = (
        np.array(data.draw(st.lists(entries, min_size=n * d, max_size=n * d))).reshape(n, d)
        for _ in range(4)
    )
    for method in (
        aa.Exact(),
        aa.Polynomial(degree=6, basis="taylor", gradient="plug-in"),
        aa.Polynomial(degree=2, basis="taylor"),
    ):
        grads = aa.attention_vjp(
            *(x.astype(dtype) for x in (q, k, v, g)), method, causal=causal, scale=0.5
        )
        within_certificate(grads, dense(*(x.astype(dtype) for x in (q, k, v, g)), 0.5, causal))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", [12, 90])  # by scores, by features
def test_consistent_gradient_passes_a_gradient_check(causal: bool, n: int) -> None:
    rng = np.random.default_rng(3)
    q, k, v, g = rng.uniform(-1, 1, (4, n, 2))
    mask = np.arange(n) != 5
    method = aa.Polynomial(degree=4, basis="taylor", gradient="consistent")
    inputs = {"dq": q, "dk": k, "dv": v}
    grads = aa.attention_vjp(q, k, v, g, method, causal=causal, key_mask=mask)
    for name in inputs:
        direction = rng.standard_normal((n, 2))

        def loss(t: float, name: str = name, direction: np.ndarray = direction) -> float:
            moved = [x + t * direction * (key == name) for key, x in inputs.items()]
            return float(
                np.sum(g * aa.attention(*moved, method, causal=causal, key_mask=mask).value)
            )

        slope = (8 * (loss(1e-3) - loss(-1e-3)) - (loss(2e-3) - loss(-2e-3))) / 12e-3
        assert slope == pytest.approx(
            float(np.sum(direction * getattr(grads, name))), rel=1e-7, abs=1e-9
        )


def test_plug_in_is_the_more_accurate_one_and_errors_fall_as_the_theory_says() -> None:
    """n = 300, d = 4, scores in [-2, 2]: dq errors fall by about (g + 2)(g + 3)/B^2 for two more
    degrees.
    """
    rng = np.random.default_rng(0)
    q, k, v, g = rng.standard_normal((4, 300, 4))
    q, k = (x / np.linalg.norm(x, axis=1, keepdims=True) * 2 for x in (q, k))
    reference = dense(q, k, v, g, 0.5)

    def errors(degree: int, gradient: str) -> list[float]:
        grads = aa.attention_vjp(
            q, k, v, g, aa.Polynomial(degree=degree, basis="taylor", gradient=gradient)
        )
        return [
            float(np.max(np.abs(getattr(grads, name) - x)) / np.max(np.abs(x)))
            for name, x in zip(("dq", "dk", "dv"), reference, strict=True)
        ]

    by_degree = {degree: errors(degree, "plug-in") for degree in (2, 4, 6, 8)}
    assert max(by_degree[8]) < 2e-4
    assert all(
        a > 5 * b
        for low, high in ((2, 4), (4, 6), (6, 8))
        for a, b in zip(by_degree[low], by_degree[high], strict=True)
    )
    assert max(errors(8, "consistent")[:2]) > max(by_degree[8][:2])


def test_broadcast_axes_are_summed() -> None:
    rng = np.random.default_rng(1)
    q, g = rng.uniform(-1, 1, (2, 3, 4, 10, 2))
    k, v = rng.uniform(-1, 1, (2, 3, 1, 10, 2))
    shared = aa.attention_vjp(q, k, v, g, aa.Exact())
    repeated = aa.attention_vjp(q, *(np.repeat(x, 4, axis=1) for x in (k, v)), g, aa.Exact())
    assert shared.dk.shape == k.shape
    np.testing.assert_allclose(shared.dk, repeated.dk.sum(1, keepdims=True), atol=1e-14)
    np.testing.assert_allclose(shared.dv, repeated.dv.sum(1, keepdims=True), atol=1e-14)
    assert shared.certificate.dk.shape == (3, 1, 10)


def test_agrees_with_automatic_differentiation() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    arrays = rng.uniform(-1, 1, (4, 60, 3))
    for causal in (False, True):
        q, k, v = (torch.tensor(x, requires_grad=True) for x in arrays[:3])
        method = aa.Polynomial(degree=6, basis="taylor", gradient="consistent")
        aa.attention(q, k, v, method, causal=causal).value.backward(torch.tensor(arrays[3]))
        grads = aa.attention_vjp(*arrays, method, causal=causal)
        for own, theirs in zip(
            (grads.dq, grads.dk, grads.dv), (q.grad, k.grad, v.grad), strict=True
        ):
            np.testing.assert_allclose(own, theirs.numpy(), atol=1e-12)


def test_strict_namespace_on_a_device_without_host_access() -> None:
    xp = pytest.importorskip("array_api_strict")
    rng = np.random.default_rng(5)
    arrays = rng.uniform(-1, 1, (4, 30, 2))
    device = xp.Device("device1")
    for method in METHODS:
        grads = aa.attention_vjp(
            *(xp.asarray(x, device=device) for x in arrays), method, causal=True
        )
        own = aa.attention_vjp(*arrays, method, causal=True)
        assert grads.dk.device == device
        np.testing.assert_allclose(
            np.asarray(grads.dk.to_device(xp.Device("CPU_DEVICE"))), own.dk, atol=1e-12
        )


def test_empty_outputs_have_zero_gradients() -> None:
    q, k, v = np.ones((0, 2)), np.ones((3, 2)), np.ones((3, 4))
    grads = aa.attention_vjp(q, k, v, np.ones((0, 4)), aa.Exact())
    assert grads.dq.shape == (0, 2)
    assert not grads.dk.any()
    assert not grads.dv.any()


class ForwardOnly:
    """A method of somebody else's, without `vjp`."""

    randomised = False
    why_not_causal = ""
    why_no_scale = ""

    def compute(self, problem, rng):
        return aa.Exact().compute(problem, rng)


def test_bad_cotangents_and_methods_without_a_gradient() -> None:
    q = k = v = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"dout has shape \(3, 1\).*\(3, 2\)"):
        aa.attention_vjp(q, k, v, np.ones((3, 1)), aa.Exact())
    with pytest.raises(TypeError, match=r"dout has dtype float32.*float64"):
        aa.attention_vjp(q, k, v, np.ones((3, 2), np.float32), aa.Exact())
    with pytest.raises(ValueError, match=r"dout\[0, 0\] is nan"):
        aa.attention_vjp(q, k, v, np.full((3, 2), np.nan), aa.Exact())
    with pytest.raises(TypeError, match="ForwardOnly has no gradient"):
        aa.attention_vjp(q, k, v, v, ForwardOnly())
    with pytest.raises(ValueError, match=r"gradient\(='exact'\)"):
        aa.Polynomial(degree=2, gradient="exact")
