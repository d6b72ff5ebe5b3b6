"""Heads that share keys: as heads with copies of them, and keys are looked at once a group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_attention import gradient, output, visible
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.methods.random_features import features, sums
from approxattn.monomials.numpy_features import Monomials

METHODS = [
    aa.Exact(),
    aa.Polynomial(degree=2, basis="taylor"),
    aa.Polynomial(degree=4, basis="taylor", centre="none"),
    aa.Polynomial(degree=5, gradient="plug-in"),
    aa.Polynomial(coefficients=(1.0, 1.0, 0.5, 0.2)),
    aa.Polynomial(tolerance=1e-2),
    aa.Polynomial(tolerance=1e-3, index="anisotropic", fallback=False),
    aa.Performer(features=16),
    aa.Linformer(rank=3, sketch="mean-pool"),
]
NOT_CAUSAL = METHODS[8:]
BOUNDED = METHODS[:7]


def heads(
    seed: int, batch: tuple[int, ...], n_q: int, n_k: int, size: float, dtype: str = "float64"
) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """Return q, k, v and a cotangent: keys have a last leading axis of length 1."""
    rng = np.random.default_rng(seed)
    q, dout = (rng.standard_normal((*batch, n_q, w)) for w in (3, 2))
    shared = (*batch[:-1], 1)
    k, v = (rng.standard_normal((*shared, n_k, w)) for w in (3, 2))
    q, k, v, dout = (x.astype(dtype) for x in (q * size + 0.2, k + 1, v, dout))
    return q, k, v, dout


def rng_for(method: Any) -> dict[str, Any]:
    return {"rng": np.random.default_rng(4)} if method.randomised else {}


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    batch=st.sampled_from([(2,), (3,), (2, 4), (2, 0), (0, 2)]),
    n_q=st.integers(1, 9),
    earlier=st.sampled_from([0, 1, 12]),
    size=st.sampled_from([0.0, 1e-20, 0.3, 1.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    method=st.sampled_from(BOUNDED),
    causal=st.booleans(),
    masked=st.booleans(),
)
def test_within_the_bounds(
    seed: int,
    batch: tuple[int, ...],
    n_q: int,
    earlier: int,
    size: float,
    dtype: str,
    method: Any,
    causal: bool,
    masked: bool,
) -> None:
    n_k = n_q + earlier
    q, k, v, dout = heads(seed, batch, n_q, n_k, size, dtype)
    options: dict[str, Any] = {"causal": True, "query_offset": earlier} if causal else {}
    if masked:
        options["key_mask"] = np.random.default_rng(seed).random((*batch[:-1], 1, n_k)) < 0.7
        options["key_mask"][..., 0] = True
    see = visible(n_q, n_k, batch, options)
    out = aa.attention(q, k, v, method, **options)
    error = np.abs(out.value - output(q, k, v, see, 3**-0.5)).max(axis=-1, initial=0)
    assert out.certificate.rows.shape == (*batch, n_q)
    assert np.all(error <= out.certificate.rows)
    found = aa.attention_vjp(q, k, v, dout, method, **options)
    dq, dk, dv = gradient(q, k, v, dout, see, 3**-0.5)
    wanted = dq, dk.sum(-3, keepdims=True), dv.sum(-3, keepdims=True)
    for name, exact in zip(("dq", "dk", "dv"), wanted, strict=True):
        error = np.abs(getattr(found, name) - exact).max(axis=-1, initial=0)
        assert np.all(error <= getattr(found.certificate, name))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: repr(m)[:40])
def test_as_with_copies(method: Any, causal: bool) -> None:
    """The same to rounding where nothing is chosen from the queries, within the bounds elsewhere;
    and facts have the shapes of the heads.
    """
    if causal and method in NOT_CAUSAL:
        pytest.skip("it has no causal form")
    q, k, v, dout = heads(5, (2, 3), 30, 30, 0.5)
    copies = [np.repeat(x, 3, axis=1) for x in (k, v)]
    out = aa.attention(q, k, v, method, causal=causal, **rng_for(method))
    want = aa.attention(q, *copies, method, causal=causal, **rng_for(method))
    gap = np.abs(out.value - want.value).max(axis=-1)
    chosen = isinstance(method, aa.Polynomial) and method.centre != "none"
    assert np.all(gap <= (out.certificate.rows + want.certificate.rows if chosen else 1e-12))
    for name, fact in want.certificate.facts.items():
        if isinstance(fact, np.ndarray) and name in out.certificate.facts:
            assert np.shape(out.certificate.facts[name]) == fact.shape, name
    found = aa.attention_vjp(q, k, v, dout, method, causal=causal, **rng_for(method))
    exact = aa.attention_vjp(q, *copies, dout, method, causal=causal, **rng_for(method))
    if not chosen:
        np.testing.assert_allclose(found.dq, exact.dq, atol=1e-12)
        np.testing.assert_allclose(found.dk, exact.dk.sum(1, keepdims=True), atol=1e-12)
        np.testing.assert_allclose(found.dv, exact.dv.sum(1, keepdims=True), atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("method", [METHODS[1], METHODS[2], METHODS[4], METHODS[7]], ids=repr)
def test_the_gradient_is_that_of_the_output(method: Any, causal: bool) -> None:
    q, k, v, dout = heads(3, (3,), 12, 12, 0.5)
    options: dict[str, Any] = {"causal": causal}
    found = aa.attention_vjp(q, k, v, dout, method, **options, **rng_for(method))
    rng = np.random.default_rng(0)
    step = [rng.standard_normal(x.shape) for x in (q, k, v)]

    def along(t: float) -> float:
        moved = [x + t * s for x, s in zip((q, k, v), step, strict=True)]
        return float(
            np.sum(aa.attention(*moved, method, **options, **rng_for(method)).value * dout)
        )

    slope = (along(1e-5) - along(-1e-5)) / 2e-5
    own = sum(np.sum(g * s) for g, s in zip((found.dq, found.dk, found.dv), step, strict=True))
    assert abs(slope - own) < 1e-7 * (1 + abs(own))


@pytest.mark.parametrize("causal", [False, True])
def test_monomials_of_keys_are_made_once_a_group(
    causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = []
    load = Monomials.load
    monkeypatch.setattr(Monomials, "load", lambda s, x: (tokens.append(len(x)), load(s, x))[1])
    q, k, v, _ = heads(0, (2, 5), 700, 700, 0.3)
    aa.attention(q, k, v, METHODS[1], causal=causal)
    assert sum(tokens) == 2 * (700 + 5 * 700)


@pytest.mark.parametrize("causal", [False, True])
def test_random_features_of_keys_are_made_once_a_group(
    causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    own = features.log_key_features

    def count(*given: Any) -> Any:
        found = own(*given)
        shapes.append(found.shape)
        return found

    monkeypatch.setattr(sums, "log_key_features", count)
    q, k, v, _ = heads(0, (2, 5), 300, 300, 0.3)
    aa.attention(q, k, v, METHODS[7], causal=causal, **rng_for(METHODS[7]))
    assert sum(np.prod(shape[:-1]) for shape in shapes) == 2 * 300


def test_exact_attention_takes_one_product_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    compute = aa.Exact.compute

    def count(method: aa.Exact, problem: Any, rng: Any = None) -> aa.Approximation:
        seen.append(problem.q.shape)
        return compute(method, problem, rng)

    monkeypatch.setattr(aa.Exact, "compute", count)
    q, k, v, _ = heads(0, (2, 5), 7, 40, 0.3)
    out = aa.attention(q, k, v, aa.Exact(), return_lse=True)
    assert seen == [(2, 35, 3)]
    assert out.lse is not None
    assert out.lse.shape == (2, 5, 7)
    assert out.certificate.lse is not None
    assert out.certificate.lse.shape == (2, 5, 7)


@pytest.mark.parametrize("library", [x for x in LIBRARIES if x.name != "jax"], ids=str)
@pytest.mark.parametrize("method", [METHODS[0], METHODS[1], METHODS[7]], ids=repr)
def test_in_any_library(method: Any, library: Library) -> None:
    """JAX compiles every step for seconds."""
    q, k, v, _ = heads(6, (2, 3), 20, 20, 0.5)
    arrays = [library.put(x) for x in (q, k, v)]
    for causal in (False, True):
        want = aa.attention(q, k, v, method, causal=causal, **rng_for(method))
        out = aa.attention(*arrays, method, causal=causal, **rng_for(method))
        np.testing.assert_allclose(library.get(out.value), want.value, atol=1e-11)


def test_what_differs_by_head_is_not_shared() -> None:
    """A mask, a bias or values of each head."""
    q, k, v, _ = heads(7, (3,), 6, 6, 0.5)
    mask = np.random.default_rng(1).random((3, 6)) < 0.6
    mask[:, 0] = True
    bias = np.random.default_rng(2).standard_normal((3, 6, 6))
    calls: list[tuple[HostArray, dict[str, Any]]] = [
        (v, {"key_mask": mask}),
        (v, {"bias": bias}),
        (np.repeat(v, 3, axis=0) * [[[1.0]], [[2.0]], [[3.0]]], {}),
        (v, {"sinks": np.array([0.0, 1.0, 2.0])}),
    ]
    for values, options in calls:
        out = aa.attention(q, k, values, aa.Exact(), **options)
        for head in range(3):
            own = {name: x[head] for name, x in options.items()}
            of_head = np.broadcast_to(values, (3, 6, 2))[head]
            want = aa.attention(q[head], k[0], of_head, aa.Exact(), **own)
            np.testing.assert_allclose(out.value[head], want.value, atol=1e-14)
