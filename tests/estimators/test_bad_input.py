"""What `attention` and `audit` promise of bad input: an error that names argument, value, rule and
remedy, or a stated, finite answer.

One test for each line of the contract; those about memory layout are in `test_law_layout.py`.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest
from namespaces import FORBIDDING, STRICT

import approxattn as aa
from approxattn._arrays import HostArray

Verb = Callable[..., Any]


def attend(q: Any, k: Any, v: Any, **options: Any) -> aa.Approximation:
    return aa.attention(q, k, v, aa.Exact(), **options)


def judge(q: Any, k: Any, v: Any, **options: Any) -> aa.Audit:
    """Audit an output of the right shape, made without the package."""
    try:
        shape = (
            *np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2]),
            q.shape[-2],
            v.shape[-1],
        )
    except (AttributeError, IndexError, ValueError):
        shape = (3, 2)
    return aa.audit(np.zeros(shape), q, k, v, rows=4, rng=np.random.default_rng(0), **options)


both = pytest.mark.parametrize("verb", [attend, judge], ids=["attention", "audit"])


def problem(
    n: int = 3, d: int = 2, dv: int = 2, dtype: str = "float64"
) -> tuple[HostArray, HostArray, HostArray]:
    q, k, v = np.random.default_rng(7).uniform(-1, 1, (3, n, max(d, dv)))
    return q[:, :d].astype(dtype), k[:, :d].astype(dtype), v[:, :dv].astype(dtype)


def refused(error: type[Exception], fragments: list[str], call: Callable[[], Any]) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    missing = [part for part in fragments if part not in message]
    assert not missing, f"{message!r} does not say {missing}"


# --- NaN and infinity -----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_nan_or_infinity_names_array_and_first_index(name: str, bad: float, verb: Verb) -> None:
    arrays = dict(zip("qkv", problem(), strict=True))
    arrays[name][1, 0] = arrays[name][2, 1] = bad
    remedy = {"q": "mend the query", "k": "mask it with", "v": "mask its key with"}[name]
    refused(
        ValueError, [f"{name}[1, 0]", f"is {bad}", "must be finite", remedy], lambda: verb(**arrays)
    )


def test_propagation_on_request_spoils_whole_batch_items_and_no_other() -> None:
    q, k, v = (np.stack([x, x]) for x in problem())
    v[1, 2, 0] = np.nan
    out = attend(q, k, v, nan_policy="propagate")
    assert np.isnan(out.value[1]).all()
    assert np.isinf(out.certificate.rows[1]).all()
    np.testing.assert_array_equal(out.value[0], attend(*problem()).value)
    assert any("NaN" in reason for reason in out.certificate.unmet)
    refused(
        ValueError,
        ["nan_policy(='ignore')", "raise", "propagate"],
        lambda: attend(q, k, v, nan_policy="ignore"),
    )


def test_audit_refuses_a_value_that_is_not_finite() -> None:
    value = np.zeros((3, 2))
    value[2, 1] = np.nan
    call = lambda: aa.audit(value, *problem(), rows=2, rng=np.random.default_rng(0))
    refused(ValueError, ["value[2, 1]", "nan"], call)


# --- empty ----------------------------------------------------------------------------------------


def test_no_queries_give_an_empty_output() -> None:
    q, k, v = problem(dv=5)
    out = attend(q[:0], k, v)
    assert out.value.shape == (0, 5)
    assert out.certificate.rows.shape == (0,)
    assert out.certificate.bound == 0


@both
def test_no_keys_are_refused(verb: Verb) -> None:
    q, k, v = problem()
    refused(
        ValueError, ["k has shape (0, 2)", "no keys", "at least one"], lambda: verb(q, k[:0], v[:0])
    )


@both
def test_no_width_is_refused(verb: Verb) -> None:
    q, k, v = problem()
    refused(
        ValueError,
        ["q has shape (3, 0)", "at least one feature"],
        lambda: verb(q[:, :0], k[:, :0], v),
    )


@both
@pytest.mark.parametrize("causal", [False, True])
def test_query_without_keys_is_refused(causal: bool, verb: Verb) -> None:
    mask = np.array([False, True, True]) if causal else np.zeros(3, bool)
    refused(
        ValueError,
        ["key_mask", "without keys", "unmask"],
        lambda: verb(*problem(), causal=causal, key_mask=mask),
    )


# --- shapes and options ---------------------------------------------------------------------------


@both
def test_shapes_that_do_not_fit(verb: Verb) -> None:
    q, k, v = problem()
    refused(ValueError, ["q(3, 1)", "k(3, 2)", "same width"], lambda: verb(q[:, :1], k, v))
    refused(
        ValueError, ["k(3, 2)", "v(2, 2)", "every key needs one value"], lambda: verb(q, k, v[:2])
    )
    refused(ValueError, ["q has shape (2,)", "[None, :]"], lambda: verb(q[0], k, v))
    refused(
        ValueError,
        ["(2,)", "(3,)", "broadcast"],
        lambda: verb(np.stack([q] * 2), np.stack([k] * 3), v),
    )
    refused(
        ValueError,
        ["causal=True", "2 queries", "3 keys", "query_offset=1"],
        lambda: verb(q[:2], k, v, causal=True),
    )


@both
@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scale_must_be_positive_and_finite(scale: float, verb: Verb) -> None:
    refused(
        ValueError,
        [f"scale(={scale})", "finite positive", "1/sqrt(d)"],
        lambda: verb(*problem(), scale=scale),
    )


@both
def test_masks(verb: Verb) -> None:
    refused(
        TypeError,
        ["key_mask has dtype", "int", "must be bool"],
        lambda: verb(*problem(), key_mask=np.ones(3, int)),
    )
    refused(
        ValueError,
        ["key_mask has shape (4,)", "broadcast", "(3,)"],
        lambda: verb(*problem(), key_mask=np.ones(4, bool)),
    )


def test_audit_plan() -> None:
    def call(**changes: Any) -> Callable[[], Any]:
        options = {"rows": 2, "rng": np.random.default_rng(0), **changes}
        return lambda: aa.audit(np.zeros((3, 2)), *problem(), **options)

    refused(ValueError, ["rows(=0)", "at least 1"], call(rows=0))
    refused(TypeError, ["rows(=2.5)", "int"], call(rows=2.5))
    refused(TypeError, ["rng(=None)", "default_rng"], call(rng=None))
    for confidence in (0.0, 1.0, np.nan):
        refused(
            ValueError,
            [f"confidence(={confidence})", "between 0 and 1"],
            call(confidence=confidence),
        )
    shape = lambda: aa.audit(np.zeros((2, 2)), *problem(), rows=1, rng=np.random.default_rng(0))
    refused(ValueError, ["value has shape (2, 2)", "(3, 2)"], shape)


# --- dtypes, libraries, devices -------------------------------------------------------------------


@both
@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16", "bool"])
def test_integers_and_bool_are_computed_in_float64(dtype: str, verb: Verb) -> None:
    q, k, v = (np.array(rows, dtype) for rows in ([[1, 0]], [[1, 1], [0, 1]], [[1, 0], [0, 1]]))
    out, same = verb(q, k, v), verb(*(x.astype("float64") for x in (q, k, v)))
    if isinstance(out, aa.Approximation):
        assert out.value.dtype == np.float64
        np.testing.assert_array_equal(out.value, same.value)
    else:
        np.testing.assert_array_equal(out.errors, same.errors)


@both
@pytest.mark.parametrize("dtype", ["complex128", "object", "U3", "datetime64[s]"])
def test_what_is_no_real_number_is_refused(dtype: str, verb: Verb) -> None:
    x = np.ones((3, 2)).astype("int64").astype(dtype)
    refused(TypeError, ["q", str(np.dtype(dtype)), "real numbers"], lambda: verb(x, x, x))


def test_half_precision_is_accumulated_in_float32_and_says_so() -> None:
    q, k, v = problem(n=50, dtype="float16")
    out, wide = attend(q, k, v), attend(*(x.astype("float32") for x in (q, k, v)))
    assert out.value.dtype == np.float16
    np.testing.assert_array_equal(out.value, wide.value.astype("float16"))
    assert out.certificate.facts["unit roundoff"] == 2.0**-24
    assert (out.certificate.rows > wide.certificate.rows).all()


@both
def test_mixed_dtypes(verb: Verb) -> None:
    q, k, v = problem()
    refused(
        TypeError, ["float32", "float64", "equal", "cast"], lambda: verb(q, k.astype("float32"), v)
    )


@both
def test_mixed_libraries_and_devices(verb: Verb) -> None:
    q, k, v = problem()
    refused(
        TypeError,
        ["q", "k", "different array libraries", "convert"],
        lambda: verb(STRICT.put(q), k, v),
    )
    near, far = STRICT.put(q), FORBIDDING.put(k)
    refused(
        TypeError,
        ["different", "device"],
        lambda: aa.attention(near, far, STRICT.put(v), aa.Exact()),
    )
    value = array_api_strict.zeros((3, 2))
    call = lambda: aa.audit(value, near, far, STRICT.put(v), rows=1, rng=np.random.default_rng(0))
    refused(TypeError, ["different devices", "move them to one"], call)


@both
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_lists_and_masked_arrays(name: str, verb: Verb) -> None:
    arrays: dict[str, Any] = dict(zip("qkv", problem(), strict=True))
    listed = {**arrays, name: arrays[name].tolist()}
    refused(
        TypeError,
        [f"{name} is a list", "not an array", f"numpy.asarray({name})"],
        lambda: verb(**listed),
    )
    masked = {**arrays, name: np.ma.masked_array(arrays[name])}
    refused(TypeError, [name, "MaskedArray", "key_mask"], lambda: verb(**masked))


def test_a_class_is_no_method() -> None:
    refused(
        TypeError, ["method is", "instance", "Exact()"], lambda: aa.attention(*problem(), aa.Exact)
    )  # type: ignore[arg-type]


# --- sizes of numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exp_does_not_overflow(dtype: str) -> None:
    """Scores of plus and minus 10^6: the softmax is 0 or 1 to the last bit, and no warning is
    given.
    """
    q, k = np.array([[1000.0], [-1000.0]], dtype), np.array([[1000.0], [-1000.0]], dtype)
    out = attend(q, k, np.array([[1.0], [2.0]], dtype), scale=1.0)
    np.testing.assert_array_equal(out.value, [[1.0], [2.0]])


@both
def test_scores_that_could_overflow_are_refused(verb: Verb) -> None:
    q, k, v = problem()
    refused(
        ValueError, ["could overflow", "float64", "rescale"], lambda: verb(q * 1e200, k * 1e200, v)
    )


def test_polynomial_never_extrapolates() -> None:
    q, k, v = problem()
    minimax = aa.Polynomial(degree=4)
    refused(
        ValueError,
        ["scores bounded by", "taylor", "scale"],
        lambda: aa.attention(100 * q, k, v, minimax, scale=1.0),
    )
    refused(
        ValueError,
        ["degree(=3)", "even", "use degree 4"],
        lambda: aa.Polynomial(degree=3, basis="taylor"),
    )


def test_polynomial_row_sum_that_rounding_lost_is_flagged() -> None:
    """A row that sees only a score of -B: P(-B) = e^-B is lost among terms of size e^B, and the row
    must not look like an answer.
    """
    lost = 0
    for b in (8.0, 9.0, 10.0, 11.0, 12.0, 13.0):
        q, k = np.ones((2, 1), "float32"), np.array([[-b], [b]], "float32")
        out = aa.attention(
            q,
            k,
            np.ones((2, 1), "float32"),
            aa.Polynomial(degree=40, basis="taylor"),
            scale=1.0,
            causal=True,
        )
        gone = np.isnan(out.value[:, 0])
        assert (np.isinf(out.certificate.rows) == gone).all()
        assert (np.abs(out.value[:, 0] - 1)[~gone] <= out.certificate.rows[~gone]).all()
        if gone.any():
            lost += 1
            assert any(
                "denominator" in reason and "float64" in reason for reason in out.certificate.unmet
            )
    assert lost > 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "method",
    [aa.Exact(), aa.Polynomial(degree=4, basis="taylor"), aa.Linformer(rank=2, sketch="mean-pool")],
    ids=str,
)
def test_subnormal_numbers_and_signed_zeros(method: Any, dtype: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    q, k = np.array([[tiny], [-0.0]], dtype), np.array([[-tiny], [0.0], [tiny]], dtype)
    v = np.array([[tiny], [3 * tiny], [2 * tiny]], dtype)
    out = aa.attention(q, k, v, method)
    assert np.isfinite(out.value).all()
    assert (
        np.abs(out.value.astype("float64") - 2 * float(tiny)) <= out.certificate.rows[:, None]
    ).all()
    assert out.certificate.bound < 1e-30


@pytest.mark.parametrize("method", [aa.Yoso(), aa.YosoExpectation()], ids=str)
@pytest.mark.parametrize("name", ["q", "k"])
def test_zero_rows_have_no_direction(name: str, method: Any) -> None:
    arrays = dict(zip("qkv", problem(), strict=True))
    arrays[name][1] = 0.0
    call = lambda: aa.attention(**arrays, method=method, rng=np.random.default_rng(0))
    refused(ValueError, [f"{name}[1", "zero", "zero_rows", "orthogonal"], call)


# --- memory ---------------------------------------------------------------------------------------


@both
def test_memory_grows_with_n_and_not_with_its_square(verb: Verb) -> None:
    """The scores of 8192 tokens take 512 MiB in float64; no verb may hold a tenth of them."""
    n = 8192
    x = np.random.default_rng(0).uniform(-1, 1, (n, 2))
    tracemalloc.start()
    try:
        verb(x, x, x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 * 2**20
