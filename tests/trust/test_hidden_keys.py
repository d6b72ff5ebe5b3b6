"""What stands behind a key mask has no influence on any value or bound, not by a bit.

Uninitialised buffers hold NaN and numbers of any size; a cache hands them over with a mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import Case, suits
from methods import TABLE, Row
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import pose
from approxattn.methods.protocol import Differentiable

JUNK = {
    "float64": (np.nan, np.inf, -np.inf, 1e300, -1e160, 5e-324),
    "float32": (np.nan, np.inf, -1e37, 1e20, 1e-45),
    "float16": (np.nan, -np.inf, 6e4),
}


def _case(name: str, batch: tuple[int, ...], mask: HostArray, **options: Any) -> Case:
    rng = np.random.default_rng(17)
    n = mask.shape[-1]
    q, k = rng.uniform(-1, 1, (2, *batch, n, 3))
    v = rng.uniform(-3, 3, (*batch, n, 2))
    return Case(name=name, q=q, k=k, v=v, options={"key_mask": mask, **options})


_HOLES = np.array([True, False, True, True, False, True, True, False])
CASES = (
    _case("holes", (), _HOLES),
    _case("causal holes", (), _HOLES, causal=True),
    _case("ragged", (2,), np.stack([_HOLES, np.arange(8) < 5])),
    _case("shared over heads", (2, 3), np.stack([_HOLES, np.arange(8) < 5])[:, None]),
)


def junked(case: Case, junk: float) -> Case:
    """Return the case with junk in all hidden keys and values."""
    hidden = ~np.broadcast_to(case.options["key_mask"], case.k.shape[:-1])[..., None]
    k, v = (np.where(hidden, np.asarray(junk, x.dtype), x) for x in (case.k, case.v))
    return case.where(k=k, v=v)


def forward(row: Row, case: Case, library: Library, **more: Any) -> aa.Approximation:
    arrays, options = _put(case, library)
    rng = np.random.default_rng(5) if row.method.randomised else None
    return aa.attention(*arrays, row.method, rng=rng, **options, **more)


def backward(row: Row, case: Case, library: Library = NUMPY) -> aa.Gradients:
    arrays, options = _put(case, library)
    rng = np.random.default_rng(5) if row.method.randomised else None
    shape = (*case.q.shape[:-1], case.v.shape[-1])
    dout = np.random.default_rng(3).uniform(-1, 1, shape).astype(case.q.dtype)
    return aa.attention_vjp(*arrays, library.put(dout), row.method, rng=rng, **options)


def _put(case: Case, library: Library) -> tuple[list[Any], dict[str, Any]]:
    arrays = [library.put(x) for x in (case.q, case.k, case.v)]
    options = {
        n: library.put(x) if isinstance(x, np.ndarray) else x for n, x in case.options.items()
    }
    return arrays, options


def same_certificate(a: Any, b: Any, names: tuple[str, ...]) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.unmet == b.unmet
    assert str(a) == str(b)


@pytest.mark.parametrize("dtype", JUNK)
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_output_and_bound_are_those_of_clean_padding(row: Row, dtype: str) -> None:
    for case in (c.astype(dtype) for c in CASES if suits(row, c)):
        clean = forward(row, junked(case, 0.0), NUMPY)
        for junk in JUNK[dtype]:
            for policy in ("raise", "propagate"):
                dirty = forward(row, junked(case, junk), NUMPY, nan_policy=policy)
                np.testing.assert_array_equal(dirty.value, clean.value, err_msg=f"{case} {junk}")
                same_certificate(dirty.certificate, clean.certificate, ("rows",))


@pytest.mark.parametrize("dtype", JUNK)
@pytest.mark.parametrize(
    "row", [row for row in TABLE if isinstance(row.method, Differentiable)], ids=str
)
def test_gradients_are_those_of_clean_padding_and_0_behind_the_mask(row: Row, dtype: str) -> None:
    for case in (c.astype(dtype) for c in CASES if suits(row, c)):
        clean = backward(row, junked(case, 0.0))
        for junk in JUNK[dtype]:
            dirty = backward(row, junked(case, junk))
            hidden = ~np.broadcast_to(case.options["key_mask"], case.k.shape[:-1])
            for name in ("dq", "dk", "dv"):
                value = getattr(dirty, name)
                np.testing.assert_array_equal(value, getattr(clean, name), err_msg=f"{case} {junk}")
                if name != "dq":
                    assert not np.any(value[hidden]), f"{name} of a hidden key is not 0"
            same_certificate(dirty.certificate, clean.certificate, ("dq", "dk", "dv"))


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_in_every_library(library: Library) -> None:
    row = next(row for row in TABLE if row.name == "exact")
    for case in CASES:
        clean, dirty = (forward(row, junked(case, x), library) for x in (0.0, np.nan))
        np.testing.assert_array_equal(library.get(dirty.value), library.get(clean.value))


def test_audit_and_diagnose_do_not_see_it_either() -> None:
    case = CASES[2]
    mask = case.options["key_mask"]
    out = aa.attention(case.q, case.k, case.v, aa.Exact(), key_mask=mask).value
    reports = []
    for junk in (0.0, np.nan, 1e300):
        dirty = junked(case, junk)
        arrays = dirty.q, dirty.k, dirty.v
        rng = np.random.default_rng(0)
        judged = aa.audit(out, *arrays, rows=7, rng=rng, key_mask=mask)
        seen = aa.diagnose(*arrays, key_mask=mask, compare_methods=True)
        reports.append((str(judged), judged.errors.tolist(), str(seen)))
    assert reports[1] == reports[0]
    assert reports[2] == reports[0]


def test_what_methods_see_of_hidden_keys() -> None:
    """They are in no range of values, and a mask lies in memory in one way only."""
    q, k, v = np.random.default_rng(0).uniform(5, 6, (3, 4, 6, 2))
    mask = np.array([[True] * 3 + [False] * 3, [False, True] * 3] * 2)
    for laid in (mask, np.asfortranarray(mask), mask[:, ::-1]):
        posed = pose(q, k, v, key_mask=laid)
        high, low = posed.value_range
        for item, own in enumerate(laid):
            np.testing.assert_array_equal(high[item], v[item][own].max(axis=0))
            np.testing.assert_array_equal(low[item], v[item][own].min(axis=0))
        assert posed.key_mask is not None
        assert posed.key_mask.flags.c_contiguous
        np.testing.assert_array_equal(posed.key_mask, laid)


def test_a_key_that_one_item_sees_must_be_finite() -> None:
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 4, 2))
    k[2, 1] = np.nan
    mask = np.array([[True, True, False, True], [True, True, True, True]])
    with pytest.raises(ValueError, match=r"^k\[2, 1\] is nan: k must be finite; mend the key, or"):
        aa.attention(np.stack([q, q]), k, v, aa.Exact(), key_mask=mask)
    out = aa.attention(np.stack([q, q]), k, v, aa.Exact(), key_mask=mask, nan_policy="propagate")
    assert np.isfinite(out.value[0]).all()
    assert np.isfinite(out.certificate.bound[0])
    assert np.isnan(out.value[1]).all()
    assert np.isinf(out.certificate.bound[1])


@pytest.mark.parametrize("method", [aa.Yoso(), aa.YosoExpectation()], ids=str)
def test_a_hidden_key_needs_no_direction(method: Any) -> None:
    q, k, v = np.random.default_rng(0).normal(size=(3, 4, 2))
    k[2] = 0.0
    mask = np.array([True, True, False, True])
    rng = np.random.default_rng(0)
    out = aa.attention(q, k, v, method, key_mask=mask, rng=rng)
    assert np.isfinite(out.value).all()


def test_keys_shared_over_heads_are_not_copied_for_each() -> None:
    from approxattn._problem import pose

    q, k = np.ones((2, 5, 4, 3)), np.ones((2, 1, 4, 3))
    mask = np.array([[True, True, False, True], [True, True, True, True]])[:, None, :]
    problem = pose(q, k, k, key_mask=mask)
    assert problem.k.shape == (2, 5, 4, 3)
    assert problem.k.strides[1] == 0


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda x: x[::-1, ::-1][::-1, ::-1]])
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_layout_of_the_mask_is_invisible(row: Row, layout: Any) -> None:
    rng = np.random.default_rng(8)
    q, k, v = rng.uniform(-1, 1, (3, 3, 33, 2)) * np.exp2(rng.integers(-20, 3, (3, 3, 33, 1)))
    mask = rng.random((3, 33)) < 0.7
    mask[:, 0] = True
    case = Case(name="many", q=q, k=k, v=v, options={"key_mask": mask})
    if not suits(row, case):
        return
    plain, other = (
        forward(row, case.where(options={"key_mask": m}), NUMPY)
        for m in (np.ascontiguousarray(mask), layout(mask))
    )
    np.testing.assert_array_equal(other.value, plain.value)
    same_certificate(other.certificate, plain.certificate, ("rows",))
