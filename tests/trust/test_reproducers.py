"""Each defect that was once reported, by the call that showed it; what it does now.

Beside each stands a search for others of its kind: `SEARCHES` names them, by the number that the
defect has in two lists (A to D from a search of our own, F from situations that users of other
libraries reported). A test makes sure that they are there.
"""

from __future__ import annotations

import copy
import pickle
import re
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn import transformer as tf
from approxattn._arrays import HostArray
from approxattn._problem import time_needed
from approxattn.diagnosis import comparison

ROOT = Path(__file__).resolve().parents[1]

SEARCHES: dict[str, tuple[str, ...]] = {
    "A1": ("trust/test_transformer_scales.py", "transformer/test_transformer_extremes.py"),
    "A2, F1": ("precision/test_torch_modes.py", "precision/test_entry.py"),
    "A2, products": ("precision/test_products.py", "precision/test_roundoff.py"),
    "A3": ("trust/test_results_are_looked_at.py", "trust/test_families_scales.py"),
    "A4": ("trust/test_polynomials_scales.py",),
    "A5": ("trust/test_polynomials_promises.py", "mathematics/test_tolerance.py"),
    "A6": ("trust/test_results_are_looked_at.py",),
    "A7": ("trust/test_polynomials_states.py",),
    "B1": ("trust/test_hidden_keys.py",),
    "B2": ("trust/test_messages.py", "trust/settings/test_families_settings.py"),
    "C1, F5": ("trust/test_copies.py",),
    "C2, F14": ("trust/test_polynomials_states.py", "diagnosis/test_command_line.py"),
    "C3, F11": ("trust/test_polynomials_scales.py",),
    "C4, C5, F16": ("trust/test_quiet.py",),
    "C6, F15": ("trust/test_messages.py", "trust/settings/test_numbers_of_numpy.py"),
    "C7": (
        "trust/settings/test_huge_settings.py",
        "trust/settings/test_families_settings.py",
        "trust/test_polynomials_states.py",
    ),
    "D1, D4": ("proofs/kit/test_isolated.py", "proofs/kit/test_conduct.py"),
    "D2, D3, F9": ("proofs/running/test_damaged_store.py",),
    "F2": ("estimators/test_autodiff.py",),
    "F3": ("precision/test_jax_modes.py", "precision/test_entry.py"),
    "F4": ("trust/test_polynomials_threads.py",),
    "F6": ("trust/test_hidden_keys.py", "trust/test_transformer_padding.py"),
    "F7, F13": ("trust/test_polynomials_states.py", "trust/test_messages.py"),
    "F8": ("precision/test_bfloat16.py",),
    "F10": ("proofs/running/test_terminal.py",),
    "F12": ("precision/test_torch_modes.py",),
    "F17": ("proofs/arithmetic/test_statistics.py",),
    "ambiguous masks": ("trust/test_messages.py",),
    "dask arrays": ("precision/test_unreadable.py",),
}


def test_every_search_is_there() -> None:
    named = " ".join(SEARCHES)
    lists = {"A": 7, "B": 2, "C": 7, "D": 4, "F": 17}
    wanted = [f"{kind}{number}" for kind, last in lists.items() for number in range(1, last + 1)]
    assert not [name for name in wanted if not re.search(rf"\b{name}\b", named)]
    for files in SEARCHES.values():
        for name in files:
            assert "\ndef test_" in (ROOT / name).read_text(encoding="utf-8"), name


def softmax(q: Any, k: Any, v: Any, scale: float | None = None) -> HostArray:
    q, k, v = (np.asarray(x, np.longdouble) for x in (q, k, v))
    s = q @ k.T * (1 / np.sqrt(np.longdouble(q.shape[-1])) if scale is None else scale)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True) @ v)


def uniform(*shape: int, seed: int = 0) -> HostArray:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


# --- certificates below the error -----------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e20), ("float64", 1e160)])
def test_a1_layer_norm_of_tokens_whose_squares_overflow(dtype: str, size: float) -> None:
    rng = np.random.default_rng(0)
    wq, wk, wv = (rng.standard_normal((1, 4, 4)).astype(dtype) * 0.3 for _ in range(3))
    norm = tf.LayerNorm(gain=np.ones(4, dtype), shift=np.zeros(4, dtype))
    layer = tf.Layer(attention=tf.SelfAttention(wq=wq, wk=wk, wv=wv), residual=False)
    x = (rng.standard_normal((3, 4)) * size).astype(dtype)
    out = tf.forward(tf.Transformer(first=(norm,), layers=(layer,)), x, aa.Exact())
    c = x.astype(np.longdouble) - x.astype(np.longdouble).mean(axis=-1, keepdims=True)
    u = c / np.sqrt((c * c).mean(axis=-1, keepdims=True))
    exact = softmax(u @ wq[0], u @ wk[0], u @ wv[0])
    error = np.max(np.abs(out.value - exact), axis=-1)
    assert np.all(error <= out.certificate.rows)
    assert np.all(out.certificate.rows < 1e-2)


def test_a1_linear_maps_that_overflow_have_no_bound() -> None:
    eye = np.eye(4, dtype=np.float32)
    attention = tf.SelfAttention(wq=eye[None], wk=eye[None], wv=eye[None])
    then = (tf.Linear(w=np.float32(1.7e38) * eye),)
    model = tf.Transformer(layers=(tf.Layer(attention=attention, then=then),))
    x = (1e3 * uniform(3, 4)).astype(np.float32)
    out = tf.forward(model, x, aa.Exact())
    gone = ~np.isfinite(out.value).all(axis=-1)
    assert gone.any()
    assert np.isinf(out.certificate.rows[gone]).all()
    assert out.certificate.unmet


@pytest.mark.parametrize("method", [aa.Exact(), aa.Linformer(rank=2, sketch="mean-pool")])
def test_a3_gradients_that_overflow_have_no_bound(method: Any) -> None:
    given = [[[1.0], [-1.0]], [[1e-15], [-2e-15]], [[1e10], [-1e10]], [[1e30], [1e30]]]
    q, k, v, g = (np.array(x, np.float32) for x in given)
    try:
        grads = aa.attention_vjp(q, k, v, g, method)
    except ValueError as error:
        assert "could overflow" in str(error)  # noqa: PT017  # or a bound, or a refusal
        return
    for name in ("dq", "dk", "dv"):
        gone = ~np.isfinite(getattr(grads, name)).all(axis=-1)
        assert np.isinf(getattr(grads.certificate, name)[gone]).all()


def test_a3_without_a_huge_cotangent() -> None:
    k = np.array([[1e20], [-1e20]], np.float32)
    try:
        grads = aa.attention_vjp(
            np.full((1, 1), 1e-20, np.float32), k, k, np.ones((1, 1), np.float32), aa.Exact()
        )
    except ValueError as error:
        assert "could overflow" in str(error)  # noqa: PT017
    else:
        assert np.isfinite(grads.dq).all() or np.isinf(grads.certificate.dq).all()


def test_a4_a_loss_before_the_balance() -> None:
    q, k = np.array([[2e-33]], np.float32), np.array([[1e31], [-1e31]], np.float32)
    v, g = np.array([[1e14], [-1e14]], np.float32), np.ones((1, 1), np.float32)
    method = aa.Polynomial(degree=4, centre="none")
    grads = aa.attention_vjp(q, k, v, g, method, scale=1e-12)
    # s = +-2e-14, so both weights are 1/2 and dk = w_j g (v_j - o) beta q
    exact = np.float64(0.5) * v.astype(float) * 1e-12 * float(q[0, 0])
    assert np.all(np.abs(grads.dk - exact)[:, 0] <= grads.certificate.dk)


def test_a5_a_tolerance_column_by_column_and_in_half_precision() -> None:
    rng = np.random.default_rng(0)
    q, k = rng.uniform(-1, 1, (2, 200, 4)).astype("f")
    v = np.stack([rng.uniform(-1e3, 1e3, 200), 1e3 + 1e-2 * rng.uniform(-1, 1, 200)], 1)
    v = v.astype("f")
    out = aa.attention(q, k, v, aa.Polynomial(tolerance=1e-3))
    error = np.max(np.abs(out.value - softmax(q, k, v)), axis=0)
    kept = np.all(error <= 1e-3 * np.ptp(v, axis=0))
    assert kept or any("tolerance" in reason for reason in out.certificate.unmet)
    halves = (x[:, :2].astype(np.float16) for x in (q, k, uniform(200, 2)))
    out = aa.attention(*halves, aa.Polynomial(tolerance=1e-5))
    assert any("tolerance" in reason for reason in out.certificate.unmet)


def test_a6_sums_over_broadcast_items_may_fail_as_often_as_all_of_them() -> None:
    q, k, v, g = uniform(4, 50, 3, 2)
    method = aa.Yoso(bits=2, hashes=4, gradient="sampled", confidence=0.9)
    grads = aa.attention_vjp(q, k[:1], v, g, method, rng=np.random.default_rng(0))
    assert grads.certificate.failure == 1.0


def test_a7_a_file_that_lies_about_its_keys(tmp_path: Path) -> None:
    k, v = uniform(2, 6, 3)
    aa.Polynomial(degree=4, basis="taylor").state(k, v).save(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(tmp_path / "s.npz", **(arrays | {"radius": np.zeros_like(arrays["radius"])}))
    with pytest.raises(ValueError, match="lengths of the keys and the sums disagree"):
        aa.PolynomialState.load(tmp_path / "s.npz")


# --- results, crashes, warnings -------------------------------------------------------------------


def test_b1_the_layout_of_a_mask() -> None:
    q, k, v = uniform(3, 6, 9, 2)
    mask = np.random.default_rng(1).random((6, 9)) < 0.7
    mask[:, 0] = True
    plain, turned = (
        aa.attention(q, k, v, aa.Nystrom(landmarks=3), key_mask=m)
        for m in (mask, np.asfortranarray(mask))
    )
    np.testing.assert_array_equal(plain.value, turned.value)


def test_b2_what_is_no_flag_and_no_degree() -> None:
    q, k, v = uniform(3, 5, 2)
    with pytest.raises(TypeError, match="causal"):
        aa.attention(q, k, v, aa.Exact(), causal="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="fallback"):
        aa.Polynomial(tolerance=0.1, fallback="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="degree"):
        aa.tensor_attention(q, k, k, v, v, degree=True)


def test_c1_results_are_copied() -> None:
    q, k, v, g = uniform(4, 5, 2)
    for result in (
        aa.attention(q, k, v, aa.Exact()),
        aa.attention_vjp(q, k, v, g, aa.Exact()),
    ):
        for other in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):  # noqa: S301
            assert str(other.certificate) == str(result.certificate)


@pytest.mark.parametrize("size", [1e-30, 1e-60])
def test_c3_scores_of_almost_nothing(size: float) -> None:
    q, k, v = uniform(3, 20, 3)
    out = aa.attention(q * size, k * size, v, aa.FittedPolynomial(degree=6))
    error = np.max(np.abs(out.value - v.mean(axis=0)), axis=-1)
    assert np.all(error <= out.certificate.rows)
    assert np.all(error < 1e-12)


def test_c4_and_c5_whatever_the_caller_says_of_floating_point() -> None:
    q, k, v = np.random.default_rng(1).normal(size=(3, 2, 21, 6))
    methods = (aa.Exact(), aa.Polynomial(degree=4, basis="taylor"), aa.Nystrom(landmarks=4))
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in methods:
            aa.attention(q * 30, k, v, method)
        out = aa.attention(1e200 * q, 1e-200 * k, v, methods[1])
    assert np.isfinite(out.value).all()


def test_c6_hashes_for_what_no_number_suffices() -> None:
    v = uniform(5, 2)
    for options in (
        {"tolerance": 1e-300, "delta": 0.1, "v": v},
        {"tolerance": 0.1, "delta": 0.1, "v": v * np.inf},
        {"tolerance": 0.1, "delta": 0.1, "v": v, "queries": 0},
    ):
        with pytest.raises((ValueError, TypeError), match=r"(: |must)"), np.errstate(all="ignore"):
            aa.Yoso.hashes_for(**options)


def test_c7_sizes_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_needed, "PATIENCE", 1.0)  # minutes and not hours
    monkeypatch.setattr(comparison, "PATIENCE", 120.0)
    k, v = uniform(2, 6, 128)
    eight = aa.Polynomial(degree=8, basis="taylor")
    x, rng = uniform(3000, 4), np.random.default_rng(0)
    several, wide = uniform(64, 50_000, 1), uniform(8, 50_000, 16)
    calls: tuple[tuple[Any, str], ...] = (
        (lambda: eight.state(k, v), "lower the degree"),
        (lambda: aa.tensor_attention(k, k, k, v, v, degree=8), "lower the degree"),
        (lambda: aa.Polynomial(tolerance=1e-6).state(k, v, half_range=32), "larger tolerance"),
        (lambda: aa.attention(x, x, x, aa.Performer(features=10**13), rng=rng), "lower features"),
        (lambda: aa.attention(x, x, x, aa.Linformer(rank=10**12), rng=rng), "lower rank"),
        (lambda: aa.attention(x, x, x, aa.Yoso(hashes=2**20, bits=20), rng=rng), "lower hashes"),
        (lambda: aa.attention(x, x, x, aa.LSHSoftmax(tables=2**16), rng=rng), "fewer tables"),
        (lambda: aa.audit(several, several, several, several, rows=10**9, rng=rng), "lower rows"),
        (lambda: aa.diagnose(several, several, several, rows=10**9), "lower rows"),
        (lambda: aa.diagnose(wide, wide, wide, compare_methods=True), "fewer tokens"),
    )
    for call, remedy in calls:
        started = time.process_time()
        with pytest.raises((ValueError, MemoryError), match=f": .*({remedy})"):
            call()
        assert time.process_time() - started < 5


def test_f6_uninitialised_buffers_behind_a_mask() -> None:
    q, k, v = uniform(3, 37, 8)
    mask = np.arange(37) < 30
    clean = aa.attention(q, k, v, aa.Exact(), key_mask=mask)
    for junk in (np.nan, np.inf, 1e300):
        dirty = [np.where(mask[:, None], x, junk) for x in (k, v)]
        out = aa.attention(q, *dirty, aa.Exact(), key_mask=mask)
        np.testing.assert_array_equal(out.value, clean.value)
        np.testing.assert_array_equal(out.certificate.rows, clean.certificate.rows)


def test_f7_an_item_that_has_ended_and_f13_a_state_of_nothing() -> None:
    k, v = uniform(2, 2, 5, 3)
    mask = np.array([[True, True], [False, False]])
    state = aa.Polynomial(degree=4, basis="taylor").state(k, v)
    more = state.extend(k[:, :2], v[:, :2], key_mask=mask)
    np.testing.assert_array_equal(more.sums[1], state.sums[1])
    assert more.keys.tolist() == [7, 5]
    nothing = aa.Polynomial(degree=4, basis="taylor").state(k[:0], v[:0])
    assert nothing.query(k[:0]).value.shape == (0, 5, 3)


def test_f15_remedies_can_be_taken() -> None:
    q, k, v = uniform(3, 4, 2)
    q[1] = 0
    with pytest.raises(ValueError, match="zero_rows='orthogonal'"):
        aa.attention(q, k, v, aa.Yoso(), rng=np.random.default_rng(0))
    aa.attention(q, k, v, aa.Yoso(zero_rows="orthogonal"), rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match="bytes are in the other order"):
        aa.attention(*(x.astype(">f8") for x in (q, k, v)), aa.Exact())


def test_a_mask_that_could_be_for_items_or_for_heads() -> None:
    q, k, v = uniform(3, 2, 2, 5, 3)
    with pytest.raises(ValueError, match=r"key_mask\[:, None, :\].*key_mask\[None, :, :\]"):
        aa.attention(q, k, v, aa.Exact(), key_mask=np.arange(10).reshape(2, 5) != 3)
