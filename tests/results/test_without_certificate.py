"""certify=False: the same bits, no bound, and nothing that only a bound needs."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest
from cases import Case, suits
from methods import TABLE, Row

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.certificate import NOT_ASKED, Certificate, GradientCertificate

TAYLOR = aa.Polynomial(degree=2, basis="taylor")
ALONE = [
    aa.Exact(),
    TAYLOR,
    aa.Polynomial(degree=4, basis="taylor", centre="keys"),
    aa.SelectedSummaries(heavy=3, recent=3, summaries=2, sinks=1, block=4),
]


def tokens(dtype: str = "float64", n: int = 24, leading: tuple[int, ...] = (2,)) -> HostArray:
    rng = np.random.default_rng(3)
    return rng.uniform(-0.5, 1.5, (3, *leading, n, 4)).astype(dtype)


def says_nothing(certificate: Certificate | GradientCertificate) -> bool:
    bounds = (
        [certificate.rows]
        if isinstance(certificate, Certificate)
        else [certificate.dq, certificate.dk, certificate.dv]
    )
    return all(np.all(np.isinf(x)) for x in bounds) and certificate.unmet == (NOT_ASKED,)


def both(method: Any, arrays: Any, **options: Any) -> list[aa.Approximation]:
    return [
        aa.attention(*arrays, method, **options, certify=certify, rng=np.random.default_rng(0))
        for certify in (True, False)
    ]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_every_method_returns_the_same_bits(row: Row) -> None:
    case = Case(name="plain", q=tokens()[0, 0], k=tokens()[1, 0], v=tokens()[2, 0])
    assert suits(row, case)
    known, alone = both(row.method, (case.q, case.k, case.v))
    assert np.array_equal(known.value, alone.value)
    assert says_nothing(alone.certificate)
    assert "certify=False" in str(alone.certificate)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("method", ALONE, ids=repr)
def test_masks_dtypes_and_values_far_from_0(method: Any, dtype: str) -> None:
    q, k, v = tokens(dtype)
    q = q + np.asarray(3, dtype)  # so that queries are centred
    v = v + np.asarray(100, dtype)  # and values
    mask = np.arange(24) % 3 > 0
    segments = np.arange(24) // 7
    for options in (
        {},
        {"causal": True},
        {"key_mask": mask},
        {"key_mask": mask, "causal": True, "empty_rows": "zero"},
        {"segments": segments},
    ):
        known, alone = both(method, (q, k, v), **options)
        assert np.array_equal(known.value, alone.value), options
        assert alone.value.dtype == dtype
        sighted = np.any(alone.value != 0, axis=-1)
        assert np.all(np.isinf(alone.certificate.rows[sighted]))
        assert NOT_ASKED in alone.certificate.unmet


def test_the_log_sum_exp_comes_along() -> None:
    known, alone = both(aa.Exact(), tokens(), return_lse=True)
    assert alone.lse is not None
    assert np.array_equal(known.lse, alone.lse)
    assert alone.certificate.lse is not None
    assert np.all(np.isinf(alone.certificate.lse))


@pytest.mark.parametrize("method", ALONE, ids=repr)
def test_another_library(method: Any) -> None:
    arrays = [array_api_strict.asarray(x) for x in tokens()]
    known, alone = both(method, arrays)
    assert np.array_equal(np.asarray(known.value), np.asarray(alone.value))


@pytest.mark.parametrize("method", [*ALONE, aa.Polynomial(tolerance=0.1), aa.Linformer(rank=3)])
def test_gradients(method: Any) -> None:
    q, k, v = tokens()
    known, alone = (
        aa.attention_vjp(
            q, k, v, v, method, certify=certify, rng=np.random.default_rng(0), causal=False
        )
        for certify in (True, False)
    )
    for name in ("dq", "dk", "dv"):
        assert np.array_equal(getattr(known, name), getattr(alone, name))
        assert getattr(alone.certificate, name).shape == getattr(alone, name).shape[:-1]
    assert says_nothing(alone.certificate)
    known_parts = {name: np.asarray(x) for name, x in known.parameters.items()}
    assert all(np.array_equal(alone.parameters[name], x) for name, x in known_parts.items())


@pytest.mark.parametrize("method", ALONE, ids=repr)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_what_nobody_looks_for_shows_in_the_value(method: Any, bad: float, where: int) -> None:
    """Where all of an array is NaN or infinite no row passes for an answer."""
    arrays = tokens("float32", leading=())
    arrays[where, :] = bad
    with pytest.raises(ValueError, match="finite"):
        aa.attention(*arrays, method)
    assert not np.any(np.isfinite(aa.attention(*arrays, method, certify=False).value))


@pytest.mark.parametrize("method", ALONE, ids=repr)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_single_nan_shows_wherever_it_counts(method: Any, causal: bool, where: int) -> None:
    arrays = tokens("float32", leading=())
    place = 3
    arrays[where, place, 0] = np.nan
    value = aa.attention(*arrays, method, causal=causal, certify=False).value
    if where == 0:
        touched = value[place]
    else:
        touched = value[place if causal else 0 :, 0 if where == 2 else slice(None)]
    assert touched.size
    assert np.all(np.isnan(touched))


def test_an_infinite_key_may_have_no_weight() -> None:
    """The one way in which what nobody looks for leaves finite rows; the docs name it."""
    q, v = np.ones((3, 1), np.float32), np.arange(4, dtype=np.float32)[:, None]
    k = np.zeros((4, 1), np.float32)
    k[2] = -np.inf
    value = aa.attention(q, k, v, aa.Exact(), certify=False).value
    np.testing.assert_allclose(value, np.full((3, 1), 4 / 3), rtol=1e-6)


@pytest.mark.parametrize("method", ALONE, ids=repr)
def test_sums_that_overflow_show_too(method: Any) -> None:
    """Also where tiny values leave finite numerators over a denominator of infinity."""
    q, k, v = tokens("float32", leading=())
    by_scores = isinstance(method, (aa.Exact, aa.SelectedSummaries))
    sizes = (1e25,) if by_scores else (1e12, 1e25)
    for size in map(np.float32, sizes):
        with pytest.raises(ValueError, match="overflow"):
            aa.attention(size * q, size * k, v, TAYLOR)
        out = aa.attention(size * q, size * k, np.float32(1e-30) * v, method, certify=False)
        assert not np.any(np.isfinite(out.value))


def test_other_methods_check_as_ever() -> None:
    q, k, v = tokens()
    k[0, 0, 0] = np.nan
    for method in (aa.Yoso(hashes=4, bits=4), aa.Polynomial(degree=2), aa.Linformer(rank=3)):
        with pytest.raises(ValueError, match="finite"):
            aa.attention(q, k, v, method, certify=False, rng=np.random.default_rng(0))


def test_certify_is_a_flag() -> None:
    with pytest.raises(TypeError, match="certify"):
        aa.attention(*tokens(), aa.Exact(), certify=0)
    with pytest.raises(TypeError, match="certify"):
        aa.attention_vjp(*tokens(), tokens()[0], aa.Exact(), certify="no")
