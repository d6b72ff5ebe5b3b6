"""Certificates are found when somebody looks: the same as at once, whatever became of the arrays,
from a few numbers a row.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from methods import TABLE

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.certificate import Certificate, GradientCertificate
from approxattn.exponential import ExpPolynomial
from approxattn.exponential.degree import POLYNOMIAL_BASES

N, D = 12, 24
MASK = np.arange(N) < N - 2
SEGMENTS = np.arange(N) // 5
EXACT = {
    "bias": {"bias": np.linspace(-1, 1, N * N).reshape(N, N).astype("f4")},
    "soft cap": {"softcap": 0.5},
    "sinks": {"sinks": np.array([0.5, 2.0], "f4")},
    "log-sum-exp": {"return_lse": True, "segments": SEGMENTS},
}
MASKED: dict[str, dict[str, Any]] = {
    "causal": {"causal": True},
    "segments": {"segments": SEGMENTS, "causal": True},
    "key mask": {"key_mask": np.stack([MASK, MASK[::-1]])},
    "padding": {"key_mask": MASK[::-1], "causal": True, "empty_rows": "zero"},
    "NaN": {"nan_policy": "propagate"},
}
POLYNOMIALS = [aa.Polynomial(degree=2, basis=basis) for basis in POLYNOMIAL_BASES]
POLYNOMIALS += [
    aa.Polynomial(degree=4, basis="taylor", centre="keys"),
    aa.Polynomial(degree=3, basis="one-sided", gradient="plug-in"),
    aa.Polynomial(coefficients=(1, 1, 0.5)),
    aa.Polynomial(coefficients=(1, 0.9), gradient="plug-in", centre="none"),
    aa.Polynomial(tolerance=0.9, fallback=False),
]
CALLS: list[Any] = [pytest.param(row.method, {}, id=row.name) for row in TABLE]
CALLS += [pytest.param(aa.Exact(), options, id=f"exact, {name}") for name, options in EXACT.items()]
CALLS += [
    pytest.param(method, options, id=f"{method}, {name}")
    for name, options in MASKED.items()
    for method in (aa.Exact(), *POLYNOMIALS[:2], aa.Performer(features=4))
]
CALLS += [pytest.param(method, {}, id=f"{method}") for method in POLYNOMIALS]
CALLS += [
    pytest.param(method, {}, id=str(method))
    for method in (
        aa.Nystrom(landmarks=5, centred=False),
        aa.Yoso(bits=3, hashes=70, normalize=True),
        aa.Yoso(bits=3, hashes=9, bound="bernstein"),
        aa.YosoExpectation(bits=3, normalize=True, gradient="surrogate"),
    )
]
CALLS += [
    pytest.param(method, {"key_mask": np.stack([MASK, MASK[::-1]])}, id=f"{method}, key mask")
    for method in (aa.Yoso(bits=3, hashes=8), aa.Nystrom(landmarks=3), aa.Linformer(rank=3))
]


def tokens() -> list[HostArray]:
    """q, k, v and dout of two heads that share keys and values, which are far from 0."""
    q, k, v, g = np.random.default_rng(3).uniform(-0.5, 0.5, (4, 2, N, D)).astype("f4")
    return [q + 1, k[:1].copy(), v[:1] + 9, g]


def forward(method: Any, given: list[HostArray], options: dict[str, Any]) -> aa.Approximation:
    q, k, v, _ = given
    if "nan_policy" in options:
        q[1, 0, 0] = np.nan
    return aa.attention(q, k, v, method, rng=np.random.default_rng(1), **options)


def backward(method: Any, given: list[HostArray], options: dict[str, Any]) -> aa.Gradients | None:
    if not hasattr(method, "vjp") or options.keys() & {"nan_policy", "return_lse"}:
        return None
    return aa.attention_vjp(*given, method, rng=np.random.default_rng(1), **options)


def overwritten(*arrays: Any) -> None:
    for x in arrays:
        x[...] = ~x if x.dtype == bool else 77


def said(certificate: Certificate | GradientCertificate) -> dict[str, Any]:
    return {f.name: getattr(certificate, f.name) for f in dataclasses.fields(certificate)}


def assert_equal(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            assert_equal(found[name], value)
    elif isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(found, wanted, strict=True)
    else:
        assert found == wanted


_SHARED = FunctionType | ModuleType | type | ExpPolynomial


def kept(record: Any) -> Iterator[HostArray]:
    """Yield every array that a record not looked at yet holds on to, the whole of each view; not
    the tables of polynomials, which calls share.
    """
    seen, left = set(), [vars(record)]
    while left:
        x = left.pop()
        if id(x) in seen or isinstance(x, _SHARED):
            continue
        seen.add(id(x))
        if isinstance(x, np.ndarray):
            yield x
            left += [] if x.base is None else [x.base]
        else:
            left += gc.get_referents(x)


@pytest.mark.parametrize(("method", "options"), CALLS)
def test_read_later_is_read_at_once(method: Any, options: dict[str, Any]) -> None:
    calls: list[Callable[..., Any]] = [forward, backward]
    for call in calls:
        given = tokens()
        result = call(method, given, options)
        if result is None:
            continue
        at_once = said(result.certificate)
        options = {name: copy.deepcopy(x) for name, x in options.items()}
        later = call(method, given, options)
        inputs = [weakref.ref(x) for x in given]
        held = sum(x.size for x in kept(later.certificate))
        assert max((x.size for x in kept(later.certificate)), default=0) < N * D
        assert held <= 2 * 40 * N, "at most 40 numbers a token of each head"
        values = [x for x in vars(later).values() if isinstance(x, np.ndarray)]
        overwritten(*given, *values, *(x for x in options.values() if isinstance(x, np.ndarray)))
        del given
        assert not any(ref() is not None for ref in inputs)
        assert_equal(said(later.certificate), at_once)


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),  # noqa: S301 - our own
    "replaced": dataclasses.replace,
}


@pytest.mark.parametrize("way", COPIES)
def test_copies_say_the_same(way: str) -> None:
    for call in (forward, backward):
        at_once = said(call(aa.Polynomial(degree=4), tokens(), {}).certificate)
        later = call(aa.Polynomial(degree=4), tokens(), {})
        assert_equal(said(COPIES[way](later).certificate), at_once)
        assert_equal(said(COPIES[way](later.certificate)), at_once)


def test_whoever_looks_first_sees_it() -> None:
    def out() -> aa.Approximation:
        return forward(aa.Exact(), tokens(), {})

    one = out()
    bound = one.certificate.bound.max()
    assert repr(out()) == repr(one)
    assert out()._repr_html_() == one._repr_html_()
    assert str(out().certificate) == str(one.certificate)
    assert json.dumps(out().to_dict()) == json.dumps(one.to_dict())
    assert f"{bound:.3g}" in repr(out())
    with pytest.raises(AttributeError, match="no attribute 'row'"):
        _ = out().certificate.row  # type: ignore[attr-defined]


def test_certify_false_keeps_nothing() -> None:
    q, k, v, g = (x[0] for x in tokens())
    for method in (aa.Exact(), aa.Polynomial(degree=2), aa.Performer(features=4)):
        for call, given in ((aa.attention, (q, k, v)), (aa.attention_vjp, (q, k, v, g))):
            result = call(*given, method, rng=np.random.default_rng(0), certify=False)
            assert "_pending" not in vars(result.certificate)


def test_threads_find_it_once_and_all_see_it() -> None:
    found: list[int] = []
    ready = threading.Barrier(8)

    def find(rows: HostArray) -> Certificate:
        found.append(1)
        return Certificate(rows=rows, target="t", theorem="none", unmet=("none",))

    def look(seen: list[Any]) -> None:
        ready.wait()
        seen.append(later.rows)

    for _ in range(20):
        later = Certificate.later(find, np.ones(3))
        seen: list[np.ndarray] = []
        threads = [threading.Thread(target=look, args=(seen,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(x is later.rows for x in seen)
        assert len(seen) == 8
    assert len(found) == 20


def test_what_was_kept_is_dropped() -> None:
    class Number:
        pass

    number = Number()
    alive = weakref.ref(number)
    later = Certificate.later(
        lambda _: Certificate(rows=np.ones(1), target="t", theorem="none"), number
    ).then(lambda c: dataclasses.replace(c, theorem="ours.tanh"))
    del number
    assert alive() is not None
    assert later.theorem == "ours.tanh"
    gc.collect()
    assert alive() is None


def test_an_error_is_told_each_time() -> None:
    def find() -> Certificate:
        return Certificate(rows=np.array([-1.0]), target="t", theorem="none")

    later = Certificate.later(find)
    for _ in range(2):
        with pytest.raises(ValueError, match="must be non-negative"):
            _ = later.rows


@pytest.mark.parametrize("kind", [Certificate, GradientCertificate])
def test_no_field_is_found_on_the_class(kind: type) -> None:
    assert not [f.name for f in dataclasses.fields(kind) if hasattr(kind, f.name)]
