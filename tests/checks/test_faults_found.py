"""Every planted fault is found by the check that is meant for it, and sound functions pass all."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
from attentions import (
    AT_BLOCKS,
    BLOCKS,
    FAULTY,
    FAULTY_GRADIENTS,
    FAULTY_ORDERS,
    always_leaves,
    always_raises,
    gradient,
    ordered,
    right,
)

import approxattn as aa
from approxattn.testing import Attention, NoOutputError, attention_checks, check_attention


def found_by(attention: Attention, name: str) -> str:
    """The complaint of a check."""
    with pytest.raises(AssertionError) as caught:
        dict(attention_checks(attention))[name](attention)
    return str(caught.value)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("fault", AT_BLOCKS, ids=lambda f: f.__name__)
def test_a_fault_at_the_end_of_a_block_is_found(
    fault: Callable[[int], Callable[..., Any]], block: int
) -> None:
    for name in AT_BLOCKS[fault]:
        n = re.search(r"\(Gaussian, n = (\d+);", found_by(Attention(fault(block)), name))
        assert n is not None
        assert block // 2 < int(n[1]) <= block + 1


@pytest.mark.parametrize("fault", AT_BLOCKS, ids=lambda f: f.__name__)
def test_problems_of_at_most_16_tokens_do_not_find_it(
    fault: Callable[[int], Callable[..., Any]],
) -> None:
    """What was asked before: so it is the lengths that find it."""
    assert check_attention(Attention(fault(64), sizes=(1, 2, 3, 5, 10, 16))).ok


@pytest.mark.parametrize("function", FAULTY, ids=lambda f: f.__name__)
def test_a_planted_fault_is_found(function: Callable[..., Any]) -> None:
    attention = Attention(function)
    check = dict(attention_checks(attention))[FAULTY[function]]
    with pytest.raises((AssertionError, NoOutputError)):
        check(attention)
    check(Attention(right))


@pytest.mark.parametrize("wrong", FAULTY_GRADIENTS, ids=lambda f: f.__name__)
def test_a_wrong_gradient_is_found(wrong: Callable[..., Any]) -> None:
    found = check_attention(Attention(right, gradient=wrong, sizes=(1, 2, 3, 5, 65)))
    assert [f.name for f in found.findings if f.held is False] == [FAULTY_GRADIENTS[wrong]]


def test_a_sound_function_passes_every_check_that_is_asked_of_exact_ones() -> None:
    found = check_attention(Attention(right, gradient=gradient))
    assert found.ok, found
    assert [f.name for f in found.findings if f.held is None] == [
        "nearer than the mean of the values",
        "query offset",
        "window agrees with softmax",
        "keys beyond the window",
        "packed sequences",
    ]


def test_our_own_functions_pass() -> None:
    def exact(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
        return aa.attention(q, k, v, aa.Exact(), causal=causal, key_mask=key_mask).value

    def even(q: Any, k: Any, v: Any) -> Any:
        return aa.attention(q, k, v, aa.Polynomial(degree=8, basis="taylor")).value

    few = (1, 2, 5, 65)
    assert check_attention(Attention(exact, sizes=few)).ok
    reasons = {"queries are independent": "their mean is taken out of all"}
    found = check_attention(Attention(even, exact=False, sizes=few, expected_failures=reasons))
    assert found.ok, found
    assert found["nearer than the mean of the values"].held


@pytest.mark.parametrize("function", [always_raises, always_leaves], ids=lambda f: f.__name__)
def test_a_function_that_gives_nothing_holds_nothing(function: Callable[..., Any]) -> None:
    """Neither by a refusal that would do, nor by its conduct, nor by a skip of a form it has."""
    attention = Attention(function, sizes=(1, 2, 3, 65))
    assert not any(f.held for f in check_attention(attention).findings)
    passed, failed = [], []
    for name, check in attention_checks(attention):
        try:
            check(attention)
            passed.append(name)
        except NoOutputError:
            failed.append(name)
        except SkipTest:
            continue
    assert passed == []
    assert {"NaN does not disappear", "shapes are checked", "inputs are not written to"} <= set(
        failed
    )


@pytest.mark.parametrize("nothing", [0.0, 1.0])
def test_an_approximation_must_be_nearer_than_nothing(nothing: float) -> None:
    def mean(q: Any, k: Any, v: Any) -> Any:
        del k
        out = nothing * v.mean(axis=-2, keepdims=True)
        return np.broadcast_to(out, (*q.shape[:-1], v.shape[-1]))

    assert "mean of V" in found_by(
        Attention(mean, exact=False), "nearer than the mean of the values"
    )


def test_an_approximation_is_asked_for_no_agreement() -> None:
    found = check_attention(Attention(right, exact=False, sizes=(1, 2, 3, 5)))
    asked = {f.name for f in found.findings if f.held is not None}
    assert not any("agrees" in name for name in asked)
    assert found["nearer than the mean of the values"].held


@pytest.mark.parametrize("function", FAULTY_ORDERS, ids=lambda f: f.__name__)
def test_a_fault_in_the_order_of_tokens_is_found(function: Callable[..., Any]) -> None:
    for name in FAULTY_ORDERS[function]:
        attention = Attention(function, sizes=(1, 2, 5, 33))
        check = dict(attention_checks(attention))[name]
        with pytest.raises(AssertionError):
            check(attention)
        check(Attention(ordered, sizes=(1, 2, 5, 33)))


def test_our_own_has_every_form() -> None:
    def exact(
        q, k, v, *, causal=False, key_mask=None, query_offset=None, window=None, segments=None
    ):
        masks = {"causal": causal, "key_mask": key_mask, "query_offset": query_offset}
        out = aa.attention(q, k, v, aa.Exact(), **masks, window=window, segments=segments)
        return out.value

    found = check_attention(Attention(exact, sizes=(1, 2, 5, 33)))
    assert found.ok, str(found)
    for name in ("query offset", "window agrees with softmax", "packed sequences"):
        assert found[name].held


def test_functions_that_need_a_multiple_are_asked_for_multiples() -> None:
    def in_fours(q, k, v, *, causal=False, query_offset=0, segments=None):
        assert len(q) % 4 == len(k) % 4 == 0
        return ordered(q, k, v, causal=causal, query_offset=query_offset, segments=segments)

    found = check_attention(Attention(in_fours, multiple_of=4, sizes=(4, 20)))
    assert found["query offset"].held
    assert found["packed sequences"].held
