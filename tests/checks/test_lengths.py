"""Which numbers of tokens a function is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attentions import gradient, right

from approxattn.testing import Attention, check_attention
from approxattn.testing.laws.shared import ends, masked_places
from approxattn.testing.problem import Lengths, fixed_problems


def asked(attention: Attention) -> tuple[set[int], set[int]]:
    """Numbers of queries and of keys in all calls of an examination, which must hold."""
    queries, keys = set(), set()

    def watched(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
        queries.add(q.shape[-2])
        keys.add(k.shape[-2])
        return right(q, k, v, causal=causal, key_mask=key_mask)

    fields = {n: getattr(attention, n) for n in ("sizes", "multiple_of", "square", "gradient")}
    found = check_attention(Attention(watched, **fields))
    assert found.ok, found
    return queries, keys


def test_sizes_lie_around_the_ends_of_blocks() -> None:
    queries, keys = asked(Attention(right))
    for n in (1, 16, 64, 128, 256):
        assert {n, n + 1} <= queries & keys
        assert n == 1 or n - 1 in queries & keys
    assert 1000 in queries & keys


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("step", [2, 7, 64])
def test_a_function_that_takes_multiples_only_is_asked_for_no_others(
    step: int, square: bool
) -> None:
    wanted = (step, 2 * step, 3 * step)
    queries, keys = asked(Attention(right, multiple_of=step, sizes=wanted, square=square))
    assert set(wanted) <= keys
    assert not any(n % step for n in queries | keys)
    assert max(queries | keys) == 3 * step


def test_multiples_of_themselves_choose_the_sizes() -> None:
    queries, keys = asked(Attention(right, multiple_of=100))
    assert not any(n % 100 for n in queries | keys)
    assert {100, 200, 300, 1000} <= keys


@pytest.mark.parametrize("square", [False, True])
def test_one_length_is_enough(square: bool) -> None:
    """As for a model of fixed length: what needs another one is not asked, the rest is."""

    def fixed(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
        if q.shape[-2] != 32 or k.shape[-2] != 32:
            msg = f"{q.shape[-2]} queries, {k.shape[-2]} keys"
            raise ValueError(msg)
        return right(q, k, v, causal=causal, key_mask=key_mask)

    found = check_attention(
        Attention(fixed, sizes=[32], multiple_of=32, square=square, gradient=gradient)
    )
    assert found.ok, found
    assert [f.name for f in found.findings if f.held is None] == [
        "nearer than the mean of the values",
        "every key twice",
        "shapes are checked",
        "no queries",
        "masked keys",
        "contents of masked keys",
        "query offset",
        "window agrees with softmax",
        "keys beyond the window",
        "packed sequences",
    ]


def test_a_function_of_squares_is_asked_for_squares() -> None:
    def square(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
        if q.shape[-2] != k.shape[-2]:
            msg = f"{q.shape[-2]} queries, {k.shape[-2]} keys"
            raise ValueError(msg)
        return right(q, k, v, causal=causal, key_mask=key_mask)

    assert check_attention(Attention(square, square=True, sizes=(1, 2, 5, 65))).ok


@pytest.mark.parametrize("step", [1, 2, 3, 16, 64, 100])
@pytest.mark.parametrize("times", [1, 2, 3, 5, 10])
def test_masked_keys_stand_at_both_sides_of_every_end(step: int, times: int) -> None:
    n = step * times
    places = masked_places(_subject(step), n)
    total = n + len(places)
    assert total % step == 0
    assert len(places) == len(set(places)) >= 2
    assert {0, total - 1} <= set(places)
    for block in (16, 32, 64, 128, 256, 512):
        assert block >= total - 1 or {block - 1, block} <= set(places)


@pytest.mark.parametrize("step", [1, 3, 64])
def test_prefixes_end_near_every_end_of_a_block(step: int) -> None:
    found = ends(_subject(step), 192 * 3)
    assert all(m % step == 0 for m in found)
    if step == 1:
        assert {1, 2, 3, 63, 64, 65, 127, 128, 129, 511, 512, 513, 575, 576} <= set(found)


def _subject(step: int) -> Any:
    return Attention(right, multiple_of=step).subject()


def test_every_kind_of_problem_comes_with_the_least_size() -> None:
    names = {p.name for p in fixed_problems(np.random.default_rng(0), (64, 128))}
    assert {"Gaussian, n = 128", "ties, n = 64", "large scores, n = 64"} <= names
    assert "ties, n = 128" not in names
    assert "negative scores" in names
    assert Lengths(multiple_of=8, most=64).has(64)
    assert not Lengths(multiple_of=8, most=64).has(72)


def test_columns_are_those_that_are_wanted() -> None:
    def even(q: Any, k: Any, v: Any) -> Any:
        if (q.shape[-1], v.shape[-1]) != (8, 8):
            msg = "eight columns"
            raise ValueError(msg)
        return right(q, k, v)

    assert check_attention(Attention(even, d=8, dv=8, sizes=(1, 2, 5))).ok


def test_hidden_keywords_are_tried_when_they_are_named() -> None:
    def hidden(*arrays: Any, **options: Any) -> Any:
        return right(*arrays, **options)

    found = check_attention(Attention(hidden, sizes=(1, 2, 5), keywords=("causal", "key_mask")))
    assert found.ok, found
    assert found["causal"].held
    assert found["masked keys"].held
    assert check_attention(Attention(hidden, sizes=(1, 2)))["causal"].held is None


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"sizes": ()}, r"sizes\(=\[\]\) must be positive multiples"),
        ({"sizes": (0, 1)}, "sizes"),
        ({"sizes": (64, 100), "multiple_of": 64}, r"multiples of multiple_of\(=64\)"),
        ({"multiple_of": 0}, r"multiple_of\(=0\) must be at least 1"),
        ({"leading": -1}, "leading"),
        ({"d": 0}, "d"),
        ({"scale": float("nan")}, r"scale\(=nan\)"),
        ({"framework": "jax"}, "neither 'numpy' nor 'torch'"),
        ({"gradient": "autograd"}, "needs framework='torch'"),
    ],
)
def test_what_cannot_be_is_said_at_once(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Attention(right, **fields)
