"""Settings without measure: every call either works in about the time and the memory that it may
take, or refuses at once, naming the setting and a remedy.

The limits are lowered, so that a search through all sizes of all settings takes seconds. Methods
and settings are found, not listed.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn import _arguments
from approxattn._arrays import HostArray
from approxattn._problem import time_needed
from approxattn.diagnosis import comparison
from approxattn.methods import all_methods

SIZES = tuple(2**e for e in (5, 10, 14, 16, 18, 20, 24, 30, 40, 62))
"""Powers of two: some settings take no others."""

LONGEST, MEMORY = 0.1, 2**25
SLOWER, LARGER = 30.0, 8.0
"""How far estimates may be off. *Chosen*: machines differ, and an order of magnitude is the matter
here, not a factor.
"""

REFUSED = r": .*\b(lower|take|use|allow|project)\b"

EXTRAS: dict[str, dict[str, Any]] = {
    "LSHSoftmax": {"radius": 1},
    "BertLSH": {"sparse": True},
    "Yoso": {"gradient": "sampled", "bits": 12},
    "Nystrom": {"rcond": 1e-3},
    "Linformer": {"sketch": "count-sketch"},
}
"""Other settings that lead elsewhere."""


def methods() -> list[Any]:
    """Return one of each method, and one with other settings where these matter."""
    needed = {"landmarks": 2, "features": 2, "rank": 2, "degree": 2}
    found = []
    for kind in all_methods():
        names = {f.name for f in dataclasses.fields(kind)}
        plain = {name: value for name, value in needed.items() if name in names}
        plain.pop("rank", None) if kind.__name__ == "Linformer" else None
        rank = {"rank": 2} if kind.__name__ == "Linformer" else {}
        found.append(kind(**plain, **rank))
        if kind.__name__ in EXTRAS:
            found.append(kind(**plain, **rank, **EXTRAS[kind.__name__]))
    return found


def integers(method: Any) -> list[str]:
    """Return the names of its settings that are whole numbers."""
    return [
        f.name
        for f in dataclasses.fields(method)
        if type(getattr(method, f.name)) is int and f.name != "radius"
    ]


CASES = [(method, name) for method in methods() for name in integers(method)]


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower what a call may take."""
    monkeypatch.setattr(time_needed, "LONGEST", LONGEST)
    monkeypatch.setattr(comparison, "PATIENCE", LONGEST)
    for module in (_arguments, "approxattn.methods.colliding_pairs.output"):
        if isinstance(module, str):
            monkeypatch.setattr(f"{module}.memory", lambda: float(MEMORY))
        else:
            monkeypatch.setattr(module, "memory", lambda: float(MEMORY))
    monkeypatch.setattr("approxattn.monomials.memory.memory", lambda: float(MEMORY))


def tokens(n: int = 48, d: int = 3) -> HostArray:
    return np.random.default_rng(0).standard_normal((3, n, d))


def carried_out(call: Callable[[], object], *, traced: bool = True) -> bool:
    """Return whether a call was carried out, within the limits; False where it was refused, in no
    time and with a remedy. Decimal arithmetic is too slow to be `traced`.
    """
    if traced:
        tracemalloc.start()
    started, done = time.process_time(), True
    try:
        call()
    except (ValueError, MemoryError) as error:
        done = False
        text = str(error)
        assert re.search(REFUSED, text), text
    finally:
        seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert seconds < SLOWER * LONGEST
    assert peak < LARGER * MEMORY
    return done


@pytest.mark.parametrize(
    ("method", "name"), CASES, ids=lambda x: x if isinstance(x, str) else repr(x)[:40]
)
@pytest.mark.parametrize("verb", ["attention", "attention_vjp"])
def test_every_size_of_every_setting(method: Any, name: str, verb: str) -> None:
    q, k, v = tokens()
    arrays = (q, k, v) if verb == "attention" else (q, k, v, v)
    for size in SIZES:
        try:
            changed = dataclasses.replace(method, **{name: size})
        except ValueError as error:
            assert f"{name}(={size})" in str(error)  # noqa: PT017
            continue
        call = functools.partial(getattr(aa, verb), *arrays, changed)
        traced = not isinstance(method, aa.Polynomial)
        carried_out(functools.partial(call, rng=np.random.default_rng(0)), traced=traced)


def test_some_settings_are_carried_out_and_some_are_not() -> None:
    """The search above reaches both sides of the limits."""
    q, k, v = tokens()
    rng = np.random.default_rng(0)
    for small, large in (
        (aa.Yoso(hashes=32), aa.Yoso(hashes=2**20)),
        (aa.LSHSoftmax(tables=32), aa.LSHSoftmax(tables=2**16)),
        (aa.BertLSH(tables=32), aa.BertLSH(tables=2**16)),
        (aa.Performer(features=32), aa.Performer(features=2**20)),
        (aa.Linformer(rank=32), aa.Linformer(rank=2**20)),
        (aa.Nystrom(landmarks=32), aa.Nystrom(landmarks=32, iterations=1000)),
    ):
        assert carried_out(lambda method=small: aa.attention(q, k, v, method, rng=rng))
        assert not carried_out(lambda method=large: aa.attention(q, k, v, method, rng=rng))


@pytest.mark.parametrize("n", [256, 1024])
@pytest.mark.parametrize("size", [2**6, 2**30])
def test_settings_bounded_by_the_tokens(n: int, size: int) -> None:
    """They are as large as the tokens are many, and cost what those cost."""
    q, k, v = tokens(n)
    for method in (
        aa.Nystrom(landmarks=size),
        aa.Nystrom(landmarks=size, rcond=1e-3),
        aa.FittedLinformer(rank=size, rows=size),
        aa.Clustered(heavy=size, key_blocks=size, query_blocks=size),
    ):
        carried_out(lambda method=method: aa.attention(q, k, v, method))


def test_the_time_of_exact_attention_is_always_allowed() -> None:
    """Many tokens are no setting: what costs no more than `Exact` is never refused."""
    q, k, v = tokens(4096, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_needed, "LONGEST", 0.0)
        out = aa.attention(q, k, v, aa.Yoso(hashes=16), rng=np.random.default_rng(0))
    assert np.isfinite(out.value).all()


# --- rows, degrees, ranges ------------------------------------------------------------------------


def test_rows_of_an_audit_and_of_a_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_needed, "PATIENCE", 1.0)
    q, k, v = tokens(6000, 2) * 0.3
    for rows in (10, 2**13, 2**40):
        carried_out(lambda n=rows: aa.audit(v, q, k, v, rows=n, rng=np.random.default_rng(0)))
        carried_out(lambda n=rows: aa.diagnose(q, k, v, rows=n), traced=False)
    with pytest.raises(ValueError, match=r"rows\(=5000\): 5000 rows .* of one core.*: lower rows"):
        aa.audit(v, q, k, v, rows=5000, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"rows\(=5000\): .* of one core .*: lower rows"):
        aa.diagnose(q, k, v, rows=5000)
    assert aa.diagnose(q, k, v, rows=100).rows == 100


def test_results_of_rows_that_memory_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = tokens(2000, 2)
    monkeypatch.setattr(time_needed, "LONGEST", 1e6)
    monkeypatch.setattr(_arguments, "memory", lambda: 2.0**15)
    with pytest.raises(MemoryError, match=r"rows\(=2000\): .* GiB; lower rows"):
        aa.audit(v, q, k, v, rows=2000, rng=np.random.default_rng(0))
    with pytest.raises(MemoryError, match=r"rows\(=2000\): .* GiB; lower rows"):
        aa.diagnose(q, k[:2000], v, rows=2000)


def test_a_comparison_of_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = tokens(3000, 8) * 0.3
    remedy = r"give fewer tokens or leading indices, or compare_methods=False"
    with pytest.raises(ValueError, match=rf"compare_methods\(=True\): .* of one core .*: {remedy}"):
        aa.diagnose(*arrays, compare_methods=True)
    monkeypatch.setattr(comparison, "PATIENCE", 1e6)
    monkeypatch.setattr(_arguments, "memory", lambda: 2.0**22)
    with pytest.raises(MemoryError, match=rf"compare_methods\(=True\): .* GiB; {remedy}"):
        aa.diagnose(*arrays, compare_methods=True)
    assert aa.diagnose(*arrays, compare_methods=False, rows=10).rows == 10


@pytest.mark.parametrize("half_range", [0.1, 1.0, 4.0, 25.0, 40.0, 1e3, 1e300])
@pytest.mark.parametrize("basis", [None, "minimax", "chebyshev", "taylor"])
def test_ranges_and_tolerances_of_states(half_range: float, basis: str | None) -> None:
    """No search is begun whose polynomial float64 cannot hold; the longest takes about a second."""
    _, k, v = tokens(8)
    for setting in ({"tolerance": 0.1}, {"tolerance": 1e-6}, {"degree": 2}, {"degree": 30}):
        method = aa.Polynomial(basis=basis, **setting)
        carried_out(lambda m=method: m.state(k, v, half_range=half_range), traced=False)


@pytest.mark.parametrize("d", [1, 16, 128])
@pytest.mark.parametrize("degree", [2, 10, 30])
def test_degrees_of_states_and_of_tensors(d: int, degree: int) -> None:
    q, k, v = tokens(8, d)
    method = aa.Polynomial(degree=degree, basis="taylor")
    carried_out(lambda: method.state(k, v))
    carried_out(lambda: aa.tensor_attention(q, k, k, v, v, degree=degree, basis="taylor"))
    carried_out(lambda: aa.attention(q, k, v, method))
    carried_out(lambda: aa.attention_vjp(q, k, v, v, method))
    fewer = aa.FittedPolynomial(degree=min(degree, 16))
    carried_out(lambda: aa.attention(q, k, v, fewer), traced=False)


def test_a_fold_that_would_take_minutes() -> None:
    _, k, v = tokens(50_000, 8)
    method = aa.Polynomial(degree=6, basis="taylor")
    with pytest.raises(
        ValueError, match=r"degree\(=6\): .* of one core .*: lower the degree, .* fewer"
    ):
        method.state(k, v)
    assert np.all(method.state(k[:100], v[:100]).keys == 100)


@pytest.mark.parametrize("size", [1.0, 10.0, 30.0, 1e3, 1e6])
def test_tolerances_of_wide_scores(size: float) -> None:
    q, k, v = tokens(30)
    for basis in (None, "minimax", "chebyshev", "taylor", "one-sided"):
        for fallback in (True, False):
            method = aa.Polynomial(tolerance=1e-6, basis=basis, fallback=fallback)
            carried_out(lambda m=method: aa.attention(q * size, k, v, m), traced=False)
