"""States of random features: any split gives what one call with the same draws does."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_attention import output, visible
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn._arrays import HostArray

METHODS = [aa.Performer(features=12), aa.Performer(features=8, kind="hyperbolic")]


def tokens(seed: int, shape: tuple[int, ...], size: float, dtype: str = "float64") -> Any:
    x = np.random.default_rng(seed).standard_normal((3, *shape))
    return tuple((a * s).astype(dtype) for a, s in zip(x, (size, size, 1), strict=True))


def draws() -> np.random.Generator:
    return np.random.default_rng(7)


def folded(method: aa.Performer, k: HostArray, v: HostArray, cuts: list[int]) -> Any:
    """Fold the parts apart, and merge them two by two in another order."""
    edges = [0, *cuts, k.shape[-2]]
    parts = [(k[..., a:b, :], v[..., a:b, :]) for a, b in itertools.pairwise(edges)]
    states = [method.state(*part, rng=draws()) for part in parts]
    while len(states) > 1:
        states = [states[-1].merge(states[0]), *states[1:-1]]
    return states[0]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    shape=st.sampled_from([(12, 3), (30, 1), (2, 9, 4), (3, 1, 7, 2)]),
    size=st.sampled_from([0.0, 1e-20, 1e-3, 0.3, 3.0, 30.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    method=st.sampled_from(METHODS),
    cuts=st.sets(st.integers(1, 6), max_size=3),
)
def test_any_split(
    seed: int,
    shape: tuple[int, ...],
    size: float,
    dtype: str,
    method: aa.Performer,
    cuts: set[int],
) -> None:
    q, k, v = tokens(seed, shape, size, dtype)
    slack = float(1e4 * np.finfo(dtype).eps) * max(1.0, size**2)
    n, batch = shape[-2], shape[:-2]
    scale = shape[-1] ** -0.5
    state = folded(method, k, v, sorted(cuts))
    out, call = state.query(q), aa.attention(q, k, v, method, rng=draws())
    np.testing.assert_allclose(out.value, call.value, atol=slack)
    error = np.abs(out.value - output(q, k, v, visible(n, n, batch, {}), scale)).max(axis=-1)
    assert np.all(error <= out.certificate.rows)
    first, rest = slice(0, max(cuts, default=1)), slice(max(cuts, default=1), None)
    state = method.state(k[..., first, :], v[..., first, :], rng=draws())
    before = state.sums.copy()
    out, after = state.attend(*(x[..., rest, :] for x in (q, k, v)))
    assert np.array_equal(before, state.sums)
    call = aa.attention(q, k, v, method, causal=True, rng=draws())
    np.testing.assert_allclose(out.value, call.value[..., rest, :], atol=slack)
    want = output(q, k, v, visible(n, n, batch, {"causal": True}), scale)[..., rest, :]
    assert np.all(np.abs(out.value - want).max(axis=-1) <= out.certificate.rows)
    np.testing.assert_allclose(
        after.query(q).value,
        state.extend(k[..., rest, :], v[..., rest, :]).query(q).value,
        atol=slack,
    )
    assert np.array_equal(after.seen.keys, np.full(batch, n))


def test_token_by_token_and_through_a_file(tmp_path: Path) -> None:
    q, k, v = tokens(3, (2, 40, 4), 0.5)
    method = METHODS[0]
    state = method.state(k[:, :1], v[:, :1], rng=draws())
    found = []
    for i in range(1, 40):
        state.save(tmp_path / "state")
        state = aa.PerformerState.load(tmp_path / "state")
        out, state = state.attend(*(x[:, i : i + 1] for x in (q, k, v)))
        found.append(out.value)
    call = aa.attention(q, k, v, method, causal=True, rng=draws())
    np.testing.assert_allclose(np.concatenate(found, axis=1), call.value[:, 1:], atol=1e-13)


def test_ragged_items_and_items_without_keys() -> None:
    q, k, v = tokens(4, (3, 6, 2), 0.5)
    mask = np.array([[True] * 6, [True, False] * 3, [False] * 6])
    state = METHODS[0].state(k, v, key_mask=mask, rng=draws())
    out = state.query(q)
    assert np.isnan(out.value[2]).all()
    assert np.isinf(out.certificate.rows[2]).all()
    assert "seen no key" in out.certificate.unmet[-1]
    call = aa.attention(q[1], k[1], v[1], METHODS[0], key_mask=mask[1], rng=draws())
    np.testing.assert_allclose(out.value[1], call.value, atol=1e-13)
    later, _ = state.attend(q, k, v)
    assert np.isfinite(later.value).all()
    assert not later.certificate.unmet or "no key" not in later.certificate.unmet[-1]


def test_the_bound_says_something_and_what_it_rests_on() -> None:
    q, k, v = tokens(5, (50, 4), 0.1)
    state = aa.Performer(features=4000).state(k, v, rng=draws())
    out = state.query(q[:2])
    assert out.certificate.bound < 0.5 * np.ptp(v, axis=0).max()
    assert out.certificate.theorem == "ours.positive-features"
    assert out.certificate.failure == pytest.approx(0.01)
    assert "do not depend on the draws" in out.certificate.facts["holds for"]


@pytest.mark.parametrize("library", [x for x in LIBRARIES if x.name != "jax"], ids=str)
def test_in_any_library(library: Library, tmp_path: Path) -> None:
    """JAX compiles every step for seconds."""
    q, k, v = tokens(6, (2, 9, 3), 0.5)
    want, _ = METHODS[0].state(k, v, rng=draws()).attend(q, k, v)
    arrays = [library.put(x) for x in (q, k, v)]
    state = METHODS[0].state(*arrays[1:], rng=draws())
    state.save(tmp_path / "state")
    state = aa.PerformerState.load(tmp_path / "state", like=arrays[0])
    out, after = state.attend(*arrays)
    np.testing.assert_allclose(library.get(out.value), want.value, atol=1e-12)
    assert library.owns(after.sums)


def test_refusals(tmp_path: Path) -> None:
    q, k, v = tokens(2, (9, 2), 0.5)
    state = METHODS[0].state(k, v, rng=draws())
    with pytest.raises(TypeError, match="rng"):
        METHODS[0].state(k, v, rng=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="other random features"):
        state.merge(METHODS[0].state(k, v, rng=np.random.default_rng(8)))
    with pytest.raises(ValueError, match="scale"):
        state.merge(METHODS[0].state(k, v, scale=0.3, rng=draws()))
    with pytest.raises(TypeError, match=r"must be a PerformerState: make one with Performer"):
        state.merge(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as many queries as keys"):
        state.attend(q[:3], k, v)
    with pytest.raises(ValueError, match="leading axes"):
        state.query(q[None])
    with pytest.raises(ValueError, match="widths"):
        state.attend(q, k, v[:, :1])
    with pytest.raises(TypeError, match="float32"):
        state.query(q.astype("float32"))
    with pytest.raises(ValueError, match="overflow"):
        state.query(q * 1e307)
    aa.Polynomial(degree=2, basis="taylor").state(k, v).save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"other'\) holds no .* random features .* other arrays"):
        aa.PerformerState.load(tmp_path / "other")


DAMAGE = {
    "sums": lambda x: x * 3,
    "top": lambda x: x * np.nan,
    "keys": lambda x: -x,
    "high": lambda x: x - 10,
    "radius": lambda x: x * np.inf,
    "scale": lambda x: x * 0,
    "directions": lambda x: x[:-1],
    "confidence": lambda x: x + 1,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(name: str, tmp_path: Path) -> None:
    _, k, v = tokens(2, (9, 2), 0.5)
    METHODS[0].state(k, v, rng=draws()).save(tmp_path / "state")
    arrays = dict(np.load(tmp_path / "state"))
    arrays[name] = np.asarray(DAMAGE[name](arrays[name]))
    with (tmp_path / "state").open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match="holds no approxattn random features state 1"):
        aa.PerformerState.load(tmp_path / "state")
