"""States of hash tables: any split gives what one call with the same hashes does, and causal
continuation what each query's own call does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from namespaces import LIBRARIES, Library

import approxattn as aa

METHODS = [
    aa.Yoso(bits=3, hashes=6, zero_rows="orthogonal"),
    aa.Yoso(bits=2, hashes=5, hashing="hadamard", zero_rows="orthogonal"),
]


def draws() -> np.random.Generator:
    return np.random.default_rng(7)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**16),
    shape=st.sampled_from([(12, 3), (150, 2), (2, 9, 4), (3, 1, 7, 2)]),
    size=st.sampled_from([0.0, 1e-20, 1.0, 1e15]),
    dtype=st.sampled_from(["float32", "float64"]),
    method=st.sampled_from(METHODS),
    cut=st.integers(1, 6),
)
def test_any_split(
    seed: int, shape: tuple[int, ...], size: float, dtype: str, method: aa.Yoso, cut: int
) -> None:
    q, k, v = np.random.default_rng(seed).standard_normal((3, *shape))
    q, k, v = (x.astype(dtype) for x in (q, k, v * size))
    slack = float(8 * np.finfo(dtype).eps * np.abs(v).sum(axis=-2).max() + 1e-37)
    first, rest = (..., slice(0, cut), slice(None)), (..., slice(cut, None), slice(None))
    state = method.state(k[first], v[first], rng=draws())
    other = method.state(k[rest], v[rest], rng=draws())
    whole = aa.attention(q, k, v, method, rng=draws())
    for found in (state.merge(other), other.merge(state), state.extend(k[rest], v[rest])):
        out = found.query(q)
        np.testing.assert_allclose(out.value, whole.value, atol=slack)
        close = out.certificate.rows <= whole.certificate.rows * 1.001 + slack
        assert close.all()
    out, after = state.attend(q[rest], k[rest], v[rest])
    np.testing.assert_allclose(after.tables, found.tables, atol=slack)
    for i in (cut, shape[-2] // 2, shape[-2] - 1):
        if i < cut:
            continue
        seen = (..., slice(0, i + 1), slice(None))
        row = aa.attention(q[..., i : i + 1, :], k[seen], v[seen], method, rng=draws())
        at = out.value[..., i - cut : i - cut + 1, :]
        np.testing.assert_allclose(at, row.value, atol=slack)


def test_the_certificate_holds_for_the_causal_expectation() -> None:
    q, k, v = np.random.default_rng(0).standard_normal((3, 80, 3))
    method = aa.Yoso(bits=2, hashes=3000)
    state = method.state(k[:30], v[:30], rng=draws())
    out, _ = state.attend(q[30:], k[30:], v[30:])
    exact = aa.attention(q, k, v, aa.YosoExpectation(bits=2), causal=True)
    error = np.abs(out.value - exact.value[30:]).max(axis=-1)
    assert np.all(error <= out.certificate.rows)
    assert out.certificate.bound < 0.1 * np.abs(v).sum(axis=0).max()
    assert out.certificate.target == "YOSO-E"
    assert "do not depend on the draws" in out.certificate.facts["holds for"]


def test_token_by_token_through_a_file(tmp_path: Path) -> None:
    q, k, v = np.random.default_rng(1).standard_normal((3, 2, 90, 3))
    state = METHODS[0].state(k[:, :1], v[:, :1], rng=draws())
    want, _ = state.attend(q[:, 1:], k[:, 1:], v[:, 1:])
    found = []
    for i in range(1, 90):
        if i % 30 == 0:
            state.save(tmp_path / "state")
            state = aa.YosoState.load(tmp_path / "state")
        out, state = state.attend(*(x[:, i : i + 1] for x in (q, k, v)))
        found.append(out.value)
    np.testing.assert_allclose(np.concatenate(found, axis=1), want.value, atol=1e-12)


def test_items_without_keys_have_the_sum_0() -> None:
    q, k, v = np.random.default_rng(2).standard_normal((3, 2, 5, 3))
    mask = np.array([[True, False] * 2 + [True], [False] * 5])
    out = METHODS[0].state(k, v, key_mask=mask, rng=draws()).query(q)
    assert np.all(out.value[1] == 0)
    assert out.certificate.bound[1] < 1e-300
    want = aa.attention(q[0], k[0], v[0], METHODS[0], key_mask=mask[0], rng=draws())
    np.testing.assert_allclose(out.value[0], want.value, atol=1e-13)


@pytest.mark.parametrize("library", [x for x in LIBRARIES if x.name != "forbidding"], ids=str)
def test_queries_of_any_library(library: Library) -> None:
    q, k, v = np.random.default_rng(3).standard_normal((3, 2, 9, 3))
    want, _ = METHODS[0].state(k, v, rng=draws()).attend(q, k, v)
    arrays = [library.put(x) for x in (q, k, v)]
    out, _ = METHODS[0].state(*arrays[1:], rng=draws()).attend(*arrays)
    assert library.owns(out.value)
    np.testing.assert_allclose(library.get(out.value), want.value, atol=1e-13)


def test_refusals() -> None:
    q, k, v = np.random.default_rng(4).standard_normal((3, 9, 2))
    state = METHODS[0].state(k, v, rng=draws())
    with pytest.raises(ValueError, match="normalize=True"):
        aa.Yoso(normalize=True).state(k, v, rng=draws())
    with pytest.raises(ValueError, match="bernstein"):
        aa.Yoso(bound="bernstein").state(k, v, rng=draws())
    with pytest.raises(ValueError, match="zero row"):
        aa.Yoso().state(k * 0, v, rng=draws())
    with pytest.raises(ValueError, match="other hyperplanes"):
        state.merge(METHODS[0].state(k, v, rng=np.random.default_rng(8)))
    with pytest.raises(TypeError, match=r"must be a YosoState: make one with Yoso\.state"):
        state.merge(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as many queries as keys"):
        state.attend(q[:3], k, v)
    with pytest.raises(TypeError, match="float32"):
        state.query(q.astype("float32"))
    with pytest.raises(ValueError, match="leading axes"):
        state.query(q[None])


@pytest.mark.parametrize(
    ("name", "factor"), [("tables", 3.0), ("widths", 0.01), ("keys", -1), ("confidence", 2.0)]
)
def test_damage_is_found(name: str, factor: float, tmp_path: Path) -> None:
    _, k, v = np.random.default_rng(5).standard_normal((3, 9, 2)) + 1
    METHODS[0].state(k, v, rng=draws()).save(tmp_path / "state")
    arrays = dict(np.load(tmp_path / "state"))
    arrays[name] = (arrays[name] * factor).astype(arrays[name].dtype)
    with (tmp_path / "state").open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match="holds no approxattn hash tables state 1"):
        aa.YosoState.load(tmp_path / "state")
