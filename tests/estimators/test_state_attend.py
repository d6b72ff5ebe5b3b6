"""Causal continuation of a polynomial state: any split of a sequence gives what the whole does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import approxattn as aa
from approxattn._arrays import HostArray

TAYLOR = aa.Polynomial(degree=4, basis="taylor", centre="none")
METHODS = [
    (TAYLOR, None),
    (aa.Polynomial(degree=5), 6.0),
    (aa.Polynomial(coefficients=(1.0, 1.0, 0.5, 0.1)), 40.0),
    (aa.Polynomial(degree=2, basis="taylor", centre="none"), None),
]


def tokens(seed: int, shape: tuple[int, ...], size: float, dtype: str) -> HostArray:
    x = np.random.default_rng(seed).standard_normal((3, *shape))
    return (x * np.array([size, 1, 1]).reshape(3, *[1] * len(shape))).astype(dtype)


def exact(q: HostArray, k: HostArray, v: HostArray) -> HostArray:
    q, k, v = (x.astype(np.longdouble) for x in (q, k, v))
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(np.longdouble(q.shape[-1]))
    s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
    w = np.exp(s - s.max(axis=-1, keepdims=True))
    return np.asarray(w @ v / w.sum(axis=-1, keepdims=True))


def walked(state: Any, q: HostArray, k: HostArray, v: HostArray, cuts: list[int]) -> Any:
    """Return outputs and bounds of all chunks, and the last state."""
    values, rows = [], []
    for a, b in zip([0, *cuts], [*cuts, q.shape[-2]], strict=True):
        out, state = state.attend(*(x[..., a:b, :] for x in (q, k, v)))
        values.append(out.value)
        rows.append(out.certificate.rows)
    return np.concatenate(values, axis=-2), np.concatenate(rows, axis=-1), state


@given(
    seed=st.integers(0, 2**16),
    shape=st.sampled_from([(12, 3), (40, 1), (2, 9, 4), (3, 1, 7, 2)]),
    size=st.sampled_from([0.0, 1e-20, 1e-3, 1.0, 5.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    which=st.sampled_from(METHODS),
    cuts=st.sets(st.integers(1, 6), max_size=4),
)
def test_any_split_is_within_its_bounds_and_ends_in_one_state(
    seed: int, shape: tuple[int, ...], size: float, dtype: str, which: Any, cuts: set[int]
) -> None:
    method, half_range = which
    q, k, v = tokens(seed, shape, size, dtype)
    none = method.state(k, v, half_range=half_range, key_mask=np.zeros((*shape[:-1],), bool))
    value, rows, last = walked(none, q, k, v, sorted(cuts))
    some = np.isfinite(rows)
    error = np.abs(value - exact(q, k, v)).max(axis=-1)
    assert np.all(error[some] <= rows[some])
    whole = method.state(k, v, half_range=half_range)
    scale = np.abs(np.asarray(whole.sums)).max() + 1e-30
    assert np.abs(last.sums - whole.sums).max() <= 1e3 * np.finfo(dtype).eps * scale
    assert np.array_equal(last.keys, whole.keys)


def test_bounds_say_something() -> None:
    q, k, v = tokens(0, (60, 4), 0.3, "float64")
    none = TAYLOR.state(k, v, key_mask=np.zeros(60, bool))
    _, rows, _ = walked(none, q, k, v, [1, 2, 30])
    assert rows.max() < 0.1 * np.ptp(v)


def test_a_state_stays_as_it_is() -> None:
    q, k, v = tokens(1, (9, 2), 0.5, "float64")
    state = TAYLOR.state(k, v)
    before = state.sums.copy()
    state.attend(q, k, v)
    assert np.array_equal(state.sums, before)


def test_refusals() -> None:
    q, k, v = tokens(2, (9, 2), 0.5, "float64")
    state = TAYLOR.state(k, v)
    with pytest.raises(ValueError, match="as many queries as keys"):
        state.attend(q[:3], k, v)
    with pytest.raises(ValueError, match="leading axes"):
        state.attend(q[None], k[None], v[None])
    with pytest.raises(TypeError, match="float32"):
        state.attend(*(x.astype("float32") for x in (q, k, v)))
