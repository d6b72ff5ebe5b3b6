"""Attention functions in a test file of one's own: laws as parameters, expected failures, and
problems of Hypothesis.

    pytest examples/test_attentions.py
    pytest examples/test_attentions.py -k "polynomial and not masked"

The functions are those of approxattn; put yours in their place. What a method is not meant to obey
stands in `expected_failures` with the reason: the test fails when it obeys after all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings

import approxattn as aa
from approxattn.testing import Attention, Problem, assert_law, parametrize_with_checks, problems
from approxattn.testing.checks import Check

SIZES = (1, 2, 3, 5, 16, 63, 64, 65)


def exact(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
    return aa.attention(q, k, v, aa.Exact(), causal=causal, key_mask=key_mask).value


def exact_gradient(q: Any, k: Any, v: Any, dout: Any) -> tuple[Any, Any, Any]:
    found = aa.attention_vjp(q, k, v, dout, aa.Exact())
    return found.dq, found.dk, found.dv


def polynomial(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
    """Centres would come from all tokens, later ones included: see docs/scope.md."""
    method = aa.Polynomial(degree=8, basis="taylor", centre="none")
    return aa.attention(q, k, v, method, causal=causal).value


def cubic(q: Any, k: Any, v: Any) -> Any:
    """The Taylor polynomial of degree 3: its weights may be negative."""
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]).astype(q.dtype)
    w = 1 + s + s**2 / 2 + s**3 / 6
    return w @ v / w.sum(axis=-1, keepdims=True)


CUBIC = Attention(
    cubic,
    exact=False,
    sizes=SIZES,
    expected_failures={
        "output among the values": "an odd degree has negative weights",
        "shift of keys": "a polynomial of shifted scores is no multiple of it",
    },
)


@parametrize_with_checks(
    [
        Attention(exact, gradient=exact_gradient, sizes=SIZES),
        Attention(
            polynomial,
            exact=False,
            sizes=SIZES,
            expected_failures={
                "shift of keys": "a polynomial of shifted scores is no multiple of it",
            },
        ),
        CUBIC,
    ]
)
def test_attention(attention: Attention, check: Check) -> None:
    check(attention)


@settings(deadline=None)
@given(problems())
def test_keys_of_cubic_attention_have_no_order(p: Problem) -> None:
    assert_law(CUBIC, "order of keys", p)
