"""States: equal to attention over all keys seen, mergeable in any order, certified, and the same
after a trip to the disk.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.monomials import numpy_features

METHODS = {
    "taylor": (aa.Polynomial(degree=6, basis="taylor"), {}),
    "minimax": (aa.Polynomial(degree=5), {"half_range": 3.0}),
    "tolerance": (aa.Polynomial(tolerance=1e-3), {"half_range": 3.0}),
}


def tokens(*shape: int, seed: int = 0, dtype: str = "float64") -> tuple[HostArray, ...]:
    q, k, v = np.random.default_rng(seed).uniform(-1, 1, (3, *shape))
    return q.astype(dtype), k.astype(dtype), v.astype(dtype)


def errors(
    value: HostArray, q: HostArray, k: HostArray, v: HostArray, **options: object
) -> HostArray:
    wide = (x.astype(np.float64) for x in (q, k, v))
    exact = aa.attention(*wide, aa.Exact(), **options)
    return np.max(np.abs(value - exact.value), axis=-1) + exact.certificate.rows


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_certificate_holds_and_is_not_idle(name: str, dtype: str) -> None:
    method, options = METHODS[name]
    q, k, v = tokens(2, 300, 6, dtype=dtype)
    centre = np.mean(k, axis=-2, keepdims=True)
    for out in (
        method.state(k, v, **options).query(q),
        method.state(k, v, centre=centre, **options).query(q),
    ):
        assert out.value.dtype == dtype
        assert np.all(errors(out.value, q, k, v) <= out.certificate.rows + 1e-15)
        assert np.all(out.certificate.rows < 0.2)
        # 1e-3 is what truncation takes; rounding comes on top
        missed = name == "tolerance" and dtype == "float32"
        assert (
            all("is not certified" in reason for reason in out.certificate.unmet)
            if missed
            else not out.certificate.unmet
        )
        assert out.certificate.facts["keys"].tolist() == [300, 300]


def test_state_equals_attention_with_the_same_polynomial() -> None:
    q, k, v = tokens(500, 5)
    method = aa.Polynomial(degree=8, basis="taylor", centre="keys")
    whole = aa.attention(q, k, v, method)
    out = method.state(k, v, centre=np.mean(k, axis=0, keepdims=True)).query(q)
    np.testing.assert_allclose(out.value, whole.value, rtol=0, atol=1e-13)
    assert np.all(
        whole.certificate.rows <= out.certificate.rows * (1 + 1e-3) + 1e-11
    )  # it knows the directions of all queries


def test_merging_is_commutative_and_associative_up_to_rounding() -> None:
    q, k, v = tokens(90, 4)
    method = aa.Polynomial(degree=4, basis="taylor")
    parts = [method.state(k[i : i + 30], v[i : i + 30]) for i in (0, 30, 60)]
    whole = method.state(k, v).query(q).value
    for a, b, c in itertools.permutations(parts):
        for merged in (a.merge(b).merge(c), a.merge(b.merge(c))):
            out = merged.query(q)
            np.testing.assert_allclose(out.value, whole, rtol=0, atol=1e-13)
            assert np.all(errors(out.value, q, k, v) <= out.certificate.rows)
    assert np.array_equal(parts[0].merge(parts[1]).sums, parts[1].merge(parts[0]).sums)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decoding_token_by_token_is_causal_attention(dtype: str) -> None:
    q, k, v = tokens(2, 40, 4, dtype=dtype)
    state = aa.Polynomial(degree=6, basis="taylor").state(k[:, :1], v[:, :1])
    rows, bounds = [], []
    for i in range(40):
        state = state if i == 0 else state.extend(k[:, i : i + 1], v[:, i : i + 1])
        out = state.query(q[:, i : i + 1])
        rows.append(out.value)
        bounds.append(out.certificate.rows)
    assert state.additions <= 40
    assert np.all(state.keys == 40)
    error = errors(np.concatenate(rows, axis=1), q, k, v, causal=True)
    assert np.all(error <= np.concatenate(bounds, axis=1))


def test_masked_keys_leave_no_trace() -> None:
    q, k, v = tokens(50, 3)
    mask = np.arange(50) % 3 > 0
    method = aa.Polynomial(degree=4, basis="taylor")
    k[~mask], v[~mask] = 9.0, 1e6
    some, only = method.state(k, v, key_mask=mask), method.state(k[mask], v[mask])
    np.testing.assert_allclose(some.query(q).value, only.query(q).value, atol=1e-12)
    assert (some.reach, int(some.keys)) == (only.reach, int(only.keys))
    assert float(some.radius) == pytest.approx(float(only.radius), rel=1e-12)
    assert np.array_equal(some.high, only.high)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_other_libraries_agree_with_numpy(library: Library, name: str) -> None:
    method, options = METHODS[name]
    q, k, v = tokens(2, 30, 4)
    state = method.state(library.put(k), library.put(v), **options).extend(
        library.put(k[:, :3]), library.put(v[:, :3])
    )
    out = state.query(library.put(q))
    assert library.owns(out.value)
    plain = method.state(k, v, **options).extend(k[:, :3], v[:, :3]).query(q)
    np.testing.assert_allclose(library.get(out.value), plain.value, rtol=0, atol=1e-12)
    np.testing.assert_allclose(out.certificate.rows, plain.certificate.rows, rtol=1e-2)


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_state_is_the_same(name: str, tmp_path: Path) -> None:
    method, options = METHODS[name]
    q, k, v = tokens(2, 30, 4)
    state = method.state(k, v, **options)
    state.save(tmp_path / "state")
    loaded = aa.PolynomialState.load(tmp_path / "state", like=k)
    before, after = state.query(q), loaded.extend(k, v).merge(loaded).query(q)
    np.testing.assert_array_equal(loaded.query(q).value, before.value)
    np.testing.assert_array_equal(loaded.query(q).certificate.rows, before.certificate.rows)
    np.testing.assert_allclose(after.value, before.value, atol=1e-13)


def test_what_is_no_saved_state_is_refused(tmp_path: Path) -> None:
    _, k, v = tokens(30, 4)
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match=r"holds no approxattn polynomial state"):
        aa.PolynomialState.load(tmp_path / "other.npz")
    state = aa.Polynomial(degree=4, basis="taylor").state(k, v)
    changed = replace(state.polynomial, coefficients=(1.0, 1.0, 0.5, 0.2, 0.05))
    replace(state, polynomial=changed).save(tmp_path / "changed.npz")
    with pytest.raises(ValueError, match="another taylor polynomial"):
        aa.PolynomialState.load(tmp_path / "changed.npz")


def test_queries_beyond_the_half_range_get_no_bound() -> None:
    q, k, v = tokens(30, 4)
    out = (
        aa.Polynomial(degree=4)
        .state(k, v, half_range=0.5)
        .query(q * np.linspace(0.01, 9, 30)[:, None])
    )
    infinite = np.isinf(out.certificate.rows)
    assert infinite.any()
    assert not infinite.all()
    assert "half range of the state" in out.certificate.unmet[0]
    assert np.all(
        (errors(out.value, q * np.linspace(0.01, 9, 30)[:, None], k, v) <= out.certificate.rows)[
            ~infinite
        ]
    )


def test_states_of_different_kinds_do_not_merge() -> None:
    _, k, v = tokens(30, 4)
    state = aa.Polynomial(degree=4, basis="taylor").state(k, v)
    others = {
        "polynomial": aa.Polynomial(degree=2, basis="taylor").state(k, v),
        "scale": aa.Polynomial(degree=4, basis="taylor").state(k, v, scale=1.0),
        "shape": aa.Polynomial(degree=4, basis="taylor").state(k, v[:, :2]),
        "dtype": aa.Polynomial(degree=4, basis="taylor").state(
            k.astype("float32"), v.astype("float32")
        ),
        "centre": aa.Polynomial(degree=4, basis="taylor").state(k, v, centre=k[:1]),
    }
    for name, other in others.items():
        with pytest.raises(ValueError, match=name):
            state.merge(other)


def test_bad_calls_say_what_to_do() -> None:
    q, k, v = tokens(30, 4)
    with pytest.raises(ValueError, match=r"half_range\(=None\) must bound"):
        aa.Polynomial(degree=4).state(k, v)
    with pytest.raises(ValueError, match=r"half_range\(=nan\) must be a finite"):
        aa.Polynomial(degree=4).state(k, v, half_range=float("nan"))
    state = aa.Polynomial(degree=4, basis="taylor").state(k, v)
    with pytest.raises(ValueError, match="leading axes"):
        state.query(q[None])
    with pytest.raises(TypeError, match="cast q"):
        state.query(q.astype("float32"))
    with pytest.raises(ValueError, match="overflows float32"):
        aa.Polynomial(degree=12, basis="taylor").state(
            1e4 * k.astype("float32"), v.astype("float32")
        )
    with pytest.raises(ValueError, match="overflows float64"):
        state.query(1e100 * q)
    assert state.query(q[:0]).value.shape == (0, 4)


def test_states_are_read_tile_by_tile_too(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = tokens(50, 6)
    method = aa.Polynomial(degree=4, basis="taylor")
    whole = method.state(k, v).query(q).value
    for scheme in ("tiled", "top"):
        monkeypatch.setattr(numpy_features, "scheme_for", lambda *_, scheme=scheme: scheme)
        np.testing.assert_allclose(method.state(k, v).query(q).value, whole, atol=1e-14)


def test_a_tolerance_is_kept_or_said_to_be_missed(tmp_path: Path) -> None:
    q, k, v = tokens(40, 3)
    state = aa.Polynomial(tolerance=1e-3).state(k, v, half_range=2.0)
    kept = state.query(q).certificate
    assert kept.unmet == ()
    assert kept.facts["tolerance"] == 1e-3
    assert np.all(kept.rows <= 1e-3 * np.ptp(v, axis=0).max() * (1 + 1e-9))
    state.save(tmp_path / "state")
    assert aa.PolynomialState.load(tmp_path / "state").tolerance == 1e-3
    assert state.extend(k, v).tolerance == 1e-3
    narrow = aa.Polynomial(tolerance=1e-6).state(
        *(x.astype(np.float32) for x in (k, v)), half_range=2.0
    )
    missed = narrow.query(q.astype(np.float32)).certificate
    assert "the tolerance is not certified for this item: bounds reach" in missed.unmet[0]
    with pytest.raises(ValueError, match="other has"):
        state.merge(aa.Polynomial(degree=state.polynomial.degree).state(k, v, half_range=2.0))
    with pytest.raises(ValueError, match="use index='full'"):
        aa.Polynomial(tolerance=0.1, index="anisotropic").state(k, v, half_range=1.0)
    assert aa.Polynomial(degree=2, basis="taylor").state(k, v).tolerance is None


def test_a_state_of_nothing_has_no_range_and_comes_back(tmp_path: Path) -> None:
    k = np.ones((2, 3, 2)) * 5
    none = np.array([[False] * 3, [True] * 3])
    state = aa.Polynomial(degree=2, basis="taylor").state(k, k, key_mask=none)
    assert np.isneginf(state.high[0]).all()
    assert np.isposinf(state.low[0]).all()
    state.save(tmp_path / "state")
    loaded = aa.PolynomialState.load(tmp_path / "state")
    later = loaded.extend(k, k)
    assert np.array_equal(later.low, np.full((2, 2), 5.0))
