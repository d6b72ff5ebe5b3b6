"""States of block means: bounds hold for any way of folding, and blocks stay few."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_attention import output, visible
from namespaces import LIBRARIES, Library

import approxattn as aa


def method(rank: int) -> aa.Linformer:
    return aa.Linformer(rank=rank, sketch="mean-pool")


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**16),
    shape=st.sampled_from([(12, 3), (150, 2), (2, 9, 4), (3, 1, 7, 1)]),
    size=st.sampled_from([0.0, 1e-170, 1e-20, 0.1, 1.0, 30.0]),
    offset=st.sampled_from([0.0, 1e3]),
    dtype=st.sampled_from(["float32", "float64"]),
    rank=st.sampled_from([1, 2, 5, 16]),
    cuts=st.sets(st.integers(1, 6), max_size=3),
)
def test_bounds_hold(
    seed: int,
    shape: tuple[int, ...],
    size: float,
    offset: float,
    dtype: str,
    rank: int,
    cuts: set[int],
) -> None:
    q, k, v = np.random.default_rng(seed).standard_normal((3, *shape))
    q, k, v = (x.astype(dtype) for x in (q, k * size + offset, v))
    n, batch, scale = shape[-2], shape[:-2], shape[-1] ** -0.5
    edges = [0, *sorted(cuts), n]
    parts = [(..., slice(a, b), slice(None)) for a, b in itertools.pairwise(edges)]
    state = method(rank).state(k[parts[0]], v[parts[0]])
    causal = output(q, k, v, visible(n, n, batch, {"causal": True}), scale)
    extended = merged = state
    for part in parts[1:]:
        out, state = state.attend(q[part], k[part], v[part])
        error = np.abs(out.value - causal[part]).max(axis=-1)
        assert np.all(error <= out.certificate.rows)
        extended = extended.extend(k[part], v[part])
        merged = merged.merge(method(rank).state(k[part], v[part]))
    whole = output(q, k, v, visible(n, n, batch, {}), scale)
    for found in (state, extended, merged):
        assert found.counts.shape == (*batch, rank)
        assert np.all(found.counts.sum(axis=-1) == n)
        out = found.query(q)
        assert np.all(np.abs(out.value - whole).max(axis=-1) <= out.certificate.rows)


def test_token_by_token_blocks_stay_as_long_as_they_can_be() -> None:
    k = np.random.default_rng(0).standard_normal((100, 2))
    state = method(8).state(k[:1], k[:1])
    for i in range(1, 100):
        _, state = state.attend(k[i : i + 1], k[i : i + 1], k[i : i + 1])
    assert int(np.sum(state.counts > 0)) >= 4
    assert list(state.counts[state.counts > 0]) == [16] * 6 + [4]
    block = k[:16]
    np.testing.assert_allclose(state.keys[0], block.mean(axis=0), atol=1e-14)
    farthest = np.linalg.norm(block - block.mean(axis=0), axis=1).max()
    assert farthest <= state.radii[0] < 3 * farthest


def test_as_a_call_where_blocks_are_the_same() -> None:
    """64 keys in 8 blocks of 8; the bound is no worse than that of the call."""
    q, k, v = np.random.default_rng(1).standard_normal((3, 64, 3)) * 0.5
    out = method(8).state(k, v).query(q)
    call = aa.attention(q, k, v, method(8))
    np.testing.assert_allclose(out.value, call.value, atol=1e-14)
    assert out.certificate.bound <= call.certificate.bound * 1.001


def test_few_keys_are_exact() -> None:
    q, k, v = np.random.default_rng(2).standard_normal((3, 7, 3))
    out = method(8).state(k, v).query(q)
    assert out.certificate.bound < 1e-12


def test_ragged_items_and_items_without_keys(tmp_path: Path) -> None:
    q, k, v = np.random.default_rng(3).standard_normal((3, 3, 9, 2))
    mask = np.array([[True] * 9, [True, False, True] * 3, [False] * 9])
    state = method(3).state(k, v, key_mask=mask)
    state.save(tmp_path / "state")
    state = aa.LinformerState.load(tmp_path / "state")
    out = state.query(q)
    assert np.isnan(out.value[2]).all()
    assert np.isinf(out.certificate.rows[2]).all()
    want = output(q, k, v, visible(9, 9, (3,), {"key_mask": mask}), 2**-0.5)
    assert np.all(np.abs(out.value - want).max(axis=-1)[:2] <= out.certificate.rows[:2])
    later, _ = state.attend(q, k, v)
    assert np.isfinite(later.value).all()


@pytest.mark.parametrize(
    "library", [x for x in LIBRARIES if x.name not in ("forbidding", "jax")], ids=str
)
def test_queries_of_any_library(library: Library) -> None:
    q, k, v = np.random.default_rng(4).standard_normal((3, 2, 9, 3))
    want, _ = method(3).state(k, v).attend(q, k, v)
    arrays = [library.put(x) for x in (q, k, v)]
    out, _ = method(3).state(*arrays[1:]).attend(*arrays)
    assert library.owns(out.value)
    np.testing.assert_allclose(library.get(out.value), want.value, atol=1e-13)


def test_refusals() -> None:
    q, k, v = np.random.default_rng(5).standard_normal((3, 9, 2))
    state = method(3).state(k, v)
    for sketch in ("gaussian", "srht", "max-pool", "row-sample", "count-sketch"):
        with pytest.raises(ValueError, match="use sketch='mean-pool'"):
            aa.Linformer(rank=3, sketch=sketch).state(k, v)
    with pytest.raises(ValueError, match="grows with the keys"):
        aa.Linformer(kernel=(0.5, 0.5)).state(k, v)
    with pytest.raises(ValueError, match="fixed number of keys"):
        aa.Linformer(key_projection=np.ones((2, 9))).state(k, v)
    with pytest.raises(ValueError, match="rank 4"):
        state.merge(method(4).state(k, v))
    with pytest.raises(TypeError, match=r"must be a LinformerState: make one with Linformer"):
        state.merge(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as many queries as keys"):
        state.attend(q[:3], k, v)
    with pytest.raises(TypeError, match="float32"):
        state.query(q.astype("float32"))
    with pytest.raises(ValueError, match="other has shape"):
        state.extend(k[:, :1], v)


@pytest.mark.parametrize(
    ("name", "factor"),
    [("block_keys", 9.0), ("block_values", 9.0), ("counts", 2), ("radii", -1.0), ("scale", 0.0)],
)
def test_damage_is_found(name: str, factor: float, tmp_path: Path) -> None:
    _, k, v = np.random.default_rng(6).standard_normal((3, 9, 2)) + 1
    method(3).state(k, v).save(tmp_path / "state")
    arrays = dict(np.load(tmp_path / "state"))
    arrays[name] = (arrays[name] * factor).astype(arrays[name].dtype)
    with (tmp_path / "state").open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match="holds no approxattn block means state 1"):
        aa.LinformerState.load(tmp_path / "state")
