"""NaN in bfloat16, of torch and of NumPy's extension: the promised error, or the promised NaN."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import Array, HostArray

KINDS = ("torch", "ml_dtypes")


def maker(kind: str) -> Callable[[HostArray], Array]:
    library = pytest.importorskip(kind)
    if kind == "torch":
        return lambda host: library.tensor(host).bfloat16()
    return lambda host: host.astype(library.bfloat16)


def wide(array: Array) -> HostArray:
    return np.asarray(array.float()) if hasattr(array, "float") else array.astype(np.float64)


def spoilt() -> tuple[HostArray, HostArray]:
    x = np.random.default_rng(0).uniform(-1, 1, (2, 5, 3)).astype(np.float32)
    bad = x.copy()
    bad[1, 2, 1] = np.nan
    return x, bad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_the_error_names_array_and_index(kind: str, name: str) -> None:
    put, (x, bad) = maker(kind), spoilt()
    given = {other: put(bad if other == name else x) for other in ("q", "k", "v")}
    with pytest.raises(ValueError, match=rf"{name}\[1, 2, 1\] is nan"):
        aa.attention(**given, method=aa.Exact())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clean", [False, True])
def test_propagation(kind: str, clean: bool) -> None:
    put, (x, bad) = maker(kind), spoilt()
    q, k, v = put(x if clean else bad), put(x), put(x)
    out = aa.attention(q, k, v, aa.Exact(), nan_policy="propagate")
    plain = aa.attention(put(x), k, v, aa.Exact())
    assert "bfloat16" in str(out.value.dtype)
    np.testing.assert_array_equal(wide(out.value)[0], wide(plain.value)[0])
    assert np.isnan(wide(out.value)[1]).all() != clean
    assert np.isinf(out.certificate.bound[1]) != clean
    assert np.isfinite(out.certificate.bound[0])


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_cotangent_and_in_an_output_to_audit(kind: str) -> None:
    put, (x, bad) = maker(kind), spoilt()
    q = put(x)
    with pytest.raises(ValueError, match=r"dout\[1, 2, 1\] is nan"):
        aa.attention_vjp(q, q, q, put(bad), aa.Exact())
    with pytest.raises(ValueError, match=r"value\[1, 2, 1\] is nan"):
        aa.audit(put(bad), q, q, q, rows=3, rng=np.random.default_rng(0))
