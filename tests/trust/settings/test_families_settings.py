"""Settings of low-rank, hashing and random-feature methods: what is accepted, and how the rest is
refused: at once, naming the setting, its value, the rule and a remedy.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn import _arguments
from approxattn._arrays import HostArray

METHODS: dict[str, Any] = {
    "Linformer": aa.Linformer(rank=2),
    "FittedLinformer": aa.FittedLinformer(rank=2),
    "Nystrom": aa.Nystrom(landmarks=2),
    "Clustered": aa.Clustered(),
    "Performer": aa.Performer(features=2),
    "Yoso": aa.Yoso(),
    "YosoExpectation": aa.YosoExpectation(),
    "BertLSH": aa.BertLSH(),
    "LSHSoftmax": aa.LSHSoftmax(),
}


def settings(kind: type | tuple[type, ...]) -> list[tuple[str, str]]:
    """Return method and field of every setting whose value is of a kind."""
    return [
        (name, field.name)
        for name, method in METHODS.items()
        for field in dataclasses.fields(method)
        if type(getattr(method, field.name)) in (kind if isinstance(kind, tuple) else (kind,))
    ]


def changed(name: str, field: str, value: Any) -> Any:
    return dataclasses.replace(METHODS[name], **{field: value})


def inputs() -> HostArray:
    return np.random.default_rng(0).standard_normal((3, 6, 2))


# --- integers, flags, choices, numbers ------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
@pytest.mark.parametrize(("name", "field"), settings(int))
def test_integers_of_numpy_are_integers(name: str, field: str, kind: type) -> None:
    """Also where 2 to their power does not fit into their own dtype."""
    given = getattr(METHODS[name], field)
    plain = changed(name, field, given if given < 100 else 64)
    method = changed(name, field, kind(getattr(plain, field)))
    assert method == plain
    assert repr(method) == repr(plain)
    assert type(getattr(method, field)) is int
    q, k, v = inputs()
    outputs = [
        aa.attention(q, k, v, m, rng=np.random.default_rng(1)).value for m in (method, plain)
    ]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(("name", "field"), settings(int))
def test_what_is_no_integer(name: str, field: str) -> None:
    for bad in (2.0, True, "2", None if field == "max_pairs" else 1.5, np.array([1, 2])):
        with pytest.raises(TypeError, match=rf"{field}\(=.*must be an int"):
            changed(name, field, bad)
    for low in (-1, -(2**70)):
        with pytest.raises(ValueError, match=rf"{field}\(={low}\) must (be at least|lie in)"):
            changed(name, field, low)


@pytest.mark.parametrize(("name", "field"), settings(bool))
def test_flags_are_true_or_false(name: str, field: str) -> None:
    for bad in ("yes", 1, 0.0, None, np.array([True])):
        with pytest.raises(TypeError, match=rf"{field}\(=.*must be True or False"):
            changed(name, field, bad)
    assert getattr(changed(name, field, np.bool(False)), field) == False  # noqa: E712


@pytest.mark.parametrize(("name", "field"), settings(str))
def test_choices_are_quoted(name: str, field: str) -> None:
    for bad in ("nonsense", 3, None, np.array(["a"])):
        with pytest.raises(ValueError, match=rf"{field}\(=.*must be one of '.*', '"):
            changed(name, field, bad)


@pytest.mark.parametrize(("name", "field"), [x for x in settings(float) if x[1] != "fill"])
def test_numbers(name: str, field: str) -> None:
    bad: Any
    for bad in ("a", True, None, np.ones(2)):
        with pytest.raises(TypeError, match=rf"{field}\(="):
            changed(name, field, bad)
    for bad in (math.nan, -1.0, math.inf):
        with pytest.raises(ValueError, match=rf"{field}\(={bad}\) must "):
            changed(name, field, bad)
    method = changed(name, field, np.float64(0.5))
    assert type(getattr(method, field)) is float


@pytest.mark.parametrize("bad", [np.zeros(1), "0", None, 1.0, math.inf, math.nan, False, 0j])
def test_fill(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"fill\(=.*must be 0.0 or -inf"):
        aa.BertLSH(fill=bad)


def test_optional_numbers() -> None:
    bad: Any
    for bad in ("a", np.ones(2), True):
        with pytest.raises(TypeError, match=r"delta\(="):
            aa.Linformer(rank=2, delta=bad)
        with pytest.raises(TypeError, match=r"rcond\(="):
            aa.Nystrom(landmarks=2, rcond=bad)
    assert aa.Nystrom(landmarks=2, rcond=0).rcond == 0.0
    for bad in ((), [1.0], (1.0, "a"), (math.inf,), 3, "ab"):
        with pytest.raises(ValueError, match=r"kernel\(=.*must be a tuple of finite numbers"):
            aa.Linformer(kernel=bad)  # type: ignore[arg-type]


# --- memory ---------------------------------------------------------------------------------------

TOO_LARGE = {
    "features": aa.Performer(features=10**12),
    "rank, gaussian": aa.Linformer(rank=10**12),
    "rank, count-sketch": aa.Linformer(rank=10**12, sketch="count-sketch"),
    "rank, row-sample": aa.Linformer(rank=10**12, sketch="row-sample"),
    "hashes": aa.Yoso(hashes=2**20, bits=20),
    "hashes, sampled": aa.Yoso(hashes=2**20, bits=20, gradient="sampled"),
    "tables": aa.BertLSH(tables=2**16, bits=1024),
    "tables, sparse": aa.BertLSH(tables=2**16, bits=1024, sparse=True),
    "tables, pairs": aa.LSHSoftmax(tables=2**16, bits=62, radius=1),
}
LARGE_WITH_TOKENS = {
    "landmarks": aa.Nystrom(landmarks=10**9),
    "rank": aa.FittedLinformer(rank=10**9),
    "query_blocks": aa.Clustered(heavy=10**9, query_blocks=2**20),
}


@pytest.mark.parametrize("verb", ["attention", "attention_vjp"])
@pytest.mark.parametrize("name", [*TOO_LARGE, *LARGE_WITH_TOKENS])
def test_what_cannot_fit_is_announced(
    name: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is drawn, so the generator is where it was."""
    monkeypatch.setattr(_arguments, "memory", lambda: 2.0**20)
    q, k, v = np.random.default_rng(0).standard_normal((3, 400, 2))
    method = (TOO_LARGE | LARGE_WITH_TOKENS)[name]
    rng, arrays = np.random.default_rng(1), (q, k, v) if verb == "attention" else (q, k, v, v)
    if name == "hashes" and verb == "attention_vjp":
        return  # the dense gradient draws nothing
    parameter = name.split(",")[0]
    text = rf"{parameter}\(=\d+\): .* would take .* GiB, .* has .* GiB; lower {parameter}"
    with pytest.raises(MemoryError, match=text):
        getattr(aa, verb)(*arrays, method, rng=rng)
    assert rng.random() == np.random.default_rng(1).random()


@pytest.mark.parametrize("name", METHODS)
def test_ordinary_settings_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_arguments, "memory", lambda: 2.0**22)
    q, k, v = inputs()
    aa.attention(q, k, v, METHODS[name], rng=np.random.default_rng(1))


def test_settings_beyond_the_tokens_cost_nothing() -> None:
    """There are no more blocks, landmarks or heavy keys than tokens."""
    q, k, v = inputs()
    for method in (
        aa.Linformer(rank=10**12, sketch="mean-pool"),
        aa.Linformer(rank=10**12, sketch="max-pool"),
        aa.FittedLinformer(rank=10**12, rows=10**12),
        aa.Nystrom(landmarks=10**12),
        aa.Clustered(heavy=10**12, key_blocks=2**40, query_blocks=2**40),
    ):
        assert np.isfinite(aa.attention(q, k, v, method).value).all()


def test_pairs_that_cannot_fit_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("approxattn.methods.colliding_pairs.output.memory", lambda: 1e5)
    q, k, v = np.ones((3, 300, 2))
    for method in (aa.LSHSoftmax(), aa.BertLSH(sparse=True)):
        with pytest.raises(MemoryError, match=r"take more bits, fewer tables$"):
            aa.attention(q, k, v, method, rng=np.random.default_rng(0))
    with pytest.raises(MemoryError, match=r"fewer tables or a larger max_pairs$"):
        aa.attention(
            q[:10], k[:10], v[:10], aa.LSHSoftmax(max_pairs=50), rng=np.random.default_rng(0)
        )


# --- remedies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [aa.Yoso(), aa.YosoExpectation()], ids=repr)
def test_remedies_for_zero_rows_can_be_taken(method: Any) -> None:
    """Queries have no mask; keys have one."""
    q, k, v = inputs()
    zero_q, zero_k = q.copy(), k.copy()
    zero_q[1], zero_k[1] = 0, 0
    mask = np.arange(6) != 1

    def call(*arrays: HostArray, using: Any = method, **options: Any) -> None:
        aa.attention(*arrays, using, rng=np.random.default_rng(0), **options)

    with pytest.raises(ValueError, match=r"q\[1\] is a zero row.*: pass zero_rows='orthogonal'$"):
        call(zero_q, k, v)
    with pytest.raises(
        ValueError, match=r"k\[1\] is a zero row.*: hide it with key_mask, or pass zero_rows"
    ):
        call(q, zero_k, v)
    orthogonal = dataclasses.replace(method, zero_rows="orthogonal")
    call(zero_q, zero_k, v, using=orthogonal)
    call(q, zero_k, v, key_mask=mask)


def test_every_setting_is_documented() -> None:
    for name, method in METHODS.items():
        text = inspect.getdoc(type(method)) or ""
        for field in dataclasses.fields(method):
            assert field.name in text, f"{name}.{field.name}"
