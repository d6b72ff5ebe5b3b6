"""Gradients of Linformer: against differences for every sketch and for given projections; of pooled
means also against its certificate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dense_attention import dense
from gradient_check import check_gradient, differences
from hypothesis import given, settings
from hypothesis import strategies as st
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.methods.low_rank.sketches import SKETCHES

MASK = np.array([[1, 1, 0, 1, 1, 1, 0, 1], [0, 0, 1, 1, 0, 0, 0, 1]], bool)


def problem(
    seed: int = 0, batch: tuple[int, ...] = (2,), n_q: int = 5
) -> tuple[dict[str, HostArray], HostArray]:
    rng = np.random.default_rng(seed)
    shapes = {"q": (*batch, n_q, 3), "k": (*batch, 8, 3), "v": (*batch, 8, 2)}
    return {name: rng.uniform(-1.5, 1.5, shape) for name, shape in shapes.items()}, rng.normal(
        size=(*batch, n_q, 2)
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sketch", SKETCHES)
def test_gradient_of_every_sketch(sketch: str, masked: bool) -> None:
    inputs, dout = problem()
    options = {"key_mask": MASK} if masked else {}
    grads = check_gradient(aa.Linformer(rank=3, sketch=sketch), inputs, dout, **options)
    if masked:
        assert not grads.dk[~MASK].any()
        assert not grads.dv[~MASK].any()
    assert bool(grads.certificate.unmet) == (sketch != "mean-pool")
    assert not grads.parameters


def test_gradient_of_the_papers_construction() -> None:
    check_gradient(aa.Linformer(rank=4, delta=0.3), *problem(1))


@pytest.mark.parametrize("leading", [(), (3,), (2, 1)])
@pytest.mark.parametrize("shared", [False, True])
def test_given_projections(leading: tuple[int, ...], shared: bool) -> None:
    inputs, dout = problem(2, batch=(2, 3))
    rng = np.random.default_rng(3)
    given = {"key_projection": rng.normal(size=(*leading, 4, 8)) / 2}
    if not shared:
        given["value_projection"] = rng.normal(size=(4, 8)) / 2
    mask = np.array([1, 1, 0, 1, 1, 1, 1, 1], bool)
    out = aa.attention(*inputs.values(), aa.Linformer(**given), key_mask=mask)
    e, f = given["key_projection"], given.get("value_projection", given["key_projection"])
    e, f = (np.where(mask, x, 0.0) for x in (e, f))
    weights = np.exp(inputs["q"] @ np.swapaxes(e @ inputs["k"], -1, -2) / np.sqrt(3))
    expected = weights / weights.sum(axis=-1, keepdims=True) @ (f @ inputs["v"])
    np.testing.assert_allclose(out.value, expected, rtol=1e-12)
    assert np.isinf(out.certificate.rows).all()
    grads = check_gradient(aa.Linformer(**given), inputs, dout, key_mask=mask)
    assert set(grads.parameters) == set(given)
    for name, x in given.items():
        direction = rng.standard_normal(x.shape)

        def loss(t: HostArray, name: str = name, x: HostArray = x) -> float:
            method = aa.Linformer(**{**given, name: x + t})
            return float(np.sum(dout * aa.attention(*inputs.values(), method, key_mask=mask).value))

        assert grads.parameters[name].shape == x.shape
        found = float(np.sum(grads.parameters[name] * direction))
        assert found == pytest.approx(differences(loss, direction), rel=1e-7, abs=1e-8)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(*(st.integers(1, top) for top in (4, 9, 3, 3))),
    size=st.sampled_from([1e-3, 0.3, 1.0, 3.0]),
    rank=st.integers(1, 10),
    wide=st.booleans(),
    clusters=st.booleans(),
)
@settings(max_examples=80)
def test_certificate_of_the_pooled_gradient(
    seed: int, shape: tuple[int, ...], size: float, rank: int, wide: bool, clusters: bool
) -> None:
    n_q, n_k, d, dv = shape
    rng = np.random.default_rng(seed)
    q, k = rng.uniform(-size, size, (n_q, d)), rng.uniform(-size, size, (n_k, d))
    if clusters:
        k = np.repeat(k[: n_k // 2 + 1], 2, axis=0)[:n_k] + 1e-3 * k
    v, g = rng.integers(-3, 4, (n_k, dv)) * 1.0, rng.normal(size=(n_q, dv))
    mask = rng.integers(0, 2, n_k).astype(bool)
    mask[rng.integers(0, n_k)] = True
    arrays = [x.astype("float64" if wide else "float32") for x in (q, k, v, g)]
    grads = aa.attention_vjp(*arrays, aa.Linformer(rank=rank, sketch="mean-pool"), key_mask=mask)
    for name, exact in zip(("dq", "dk", "dv"), dense(*arrays, d**-0.5, mask=mask), strict=True):
        error = np.abs(getattr(grads, name).astype(np.longdouble) - exact).max(axis=-1)
        assert (error <= getattr(grads.certificate, name)).all(), name


def test_the_pooled_gradient_is_exact_from_as_many_blocks_as_keys_on() -> None:
    inputs, dout = problem(4)
    method = aa.Linformer(rank=8, sketch="mean-pool")
    pooled = aa.attention_vjp(*inputs.values(), dout, method, key_mask=MASK)
    exact = aa.attention_vjp(*inputs.values(), dout, aa.Exact(), key_mask=MASK)
    for name in ("dq", "dk", "dv"):
        np.testing.assert_allclose(getattr(pooled, name), getattr(exact, name), atol=1e-13)
        assert (getattr(pooled.certificate, name) < 1e-10).all()


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize(
    "sketch", ["gaussian", "count-sketch", "row-sample", "mean-pool", "max-pool", "given"]
)
def test_every_library_gives_the_same(library: Library, sketch: str) -> None:
    inputs, dout = problem(6)
    e, f = np.random.default_rng(7).normal(size=(2, 3, 8))

    def grads(place: Library) -> aa.Gradients:
        arrays = [place.put(x) for x in (*inputs.values(), dout)]
        method = (
            aa.Linformer(key_projection=place.put(e), value_projection=place.put(f))
            if sketch == "given"
            else aa.Linformer(rank=3, sketch=sketch)
        )
        return aa.attention_vjp(
            *arrays, method, key_mask=place.put(MASK), rng=np.random.default_rng(0)
        )

    found, host = grads(library), grads(NUMPY)
    for name in ("dq", "dk", "dv"):
        assert library.owns(getattr(found, name))
        np.testing.assert_allclose(
            library.get(getattr(found, name)), getattr(host, name), rtol=1e-10, atol=1e-12
        )
    for name, x in host.parameters.items():
        np.testing.assert_allclose(library.get(found.parameters[name]), x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kernel", [(0.5, -1.0, 2.0), (0.25,) * 4, (1.0,)])
def test_a_convolution_is_the_projection_with_its_blocks(
    kernel: tuple[float, ...], masked: bool
) -> None:
    inputs, dout = problem(9)
    options = {"key_mask": MASK} if masked else {}
    length, blocks = len(kernel), -(-8 // len(kernel))
    e = np.zeros((blocks, blocks * length))
    for b in range(blocks):
        e[b, b * length : (b + 1) * length] = kernel
    method = aa.Linformer(kernel=kernel)
    assert not method.randomised
    out = aa.attention(*inputs.values(), method, **options)
    same = aa.attention(*inputs.values(), aa.Linformer(key_projection=e[:, :8]), **options)
    np.testing.assert_allclose(out.value, same.value, rtol=1e-12)
    assert np.isinf(out.certificate.rows).all()
    grads = check_gradient(method, inputs, dout, **options)
    direction = np.random.default_rng(10).standard_normal(length)

    def loss(t: HostArray) -> float:
        moved = aa.Linformer(kernel=tuple(np.asarray(kernel) + t))
        return float(np.sum(dout * aa.attention(*inputs.values(), moved, **options).value))

    found = float(grads.parameters["kernel"] @ direction)
    assert found == pytest.approx(differences(loss, direction), rel=1e-7, abs=1e-8)


E = np.ones((2, 8))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"key_projection": E[:, :5]},
            ValueError,
            r"key_projection has shape \(2, 5\).*column for every key",
        ),
        ({"key_projection": E[0]}, ValueError, r"key_projection has shape \(8,\)"),
        ({"key_projection": E[:0]}, ValueError, r"key_projection has shape \(0, 8\)"),
        ({"key_projection": np.ones((3, 2, 8))}, ValueError, r"leading axes \(3,\).*\(2,\)"),
        ({"key_projection": np.ones((2, 2, 2, 8))}, ValueError, r"leading axes \(2, 2\)"),
        ({"key_projection": E.astype("float32")}, TypeError, "key_projection has dtype float32"),
        ({"key_projection": E * np.nan}, ValueError, "NaN or infinity"),
        ({"key_projection": E, "value_projection": E[:1]}, ValueError, "differ in rows"),
        ({"key_projection": [[1.0]]}, TypeError, "key_projection is a list"),
        ({"value_projection": E, "rank": 2}, ValueError, "without key_projection"),
        ({"key_projection": E, "rank": 2}, ValueError, r"rank\(=2\) with key_projection"),
        (
            {"key_projection": E, "sketch": "mean-pool"},
            ValueError,
            r"sketch\(='mean-pool'\) with key_projection",
        ),
        ({"kernel": (1.0,), "rank": 2}, ValueError, r"rank\(=2\) with kernel"),
        (
            {"kernel": (1.0,), "key_projection": E},
            ValueError,
            r"kernel\(=\(1.0,\)\) with key_projection",
        ),
        ({"kernel": (1.0,), "value_projection": E}, ValueError, "value_projection.* with kernel"),
        ({"kernel": ()}, ValueError, r"kernel\(=\(\)\) must be a tuple"),
        ({"kernel": (float("nan"),)}, ValueError, "finite numbers"),
        ({"kernel": [1.0]}, ValueError, "must be a tuple"),
        ({}, TypeError, r"rank\(=None\) must be an int"),
    ],
)
def test_bad_projections(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    inputs, _ = problem(8)
    with pytest.raises(error, match=message):
        aa.attention(*inputs.values(), aa.Linformer(**arguments))
