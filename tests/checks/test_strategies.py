"""Problems that Hypothesis draws: within their bounds, and readable when they have shrunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attentions import off_by_one, right
from hypothesis import find, given, settings
from hypothesis import strategies as st

from approxattn.testing import Attention, NoOutputError, assert_law, key_masks, problems
from approxattn.testing.problem import Problem

QUICK = settings(max_examples=200, derandomize=True, database=None, deadline=None)


@given(st.data())
def test_problems_keep_their_bounds(data: st.DataObject) -> None:
    scale = data.draw(st.sampled_from([None, 0.5, -2.0, 0.0]))
    d = data.draw(st.integers(1, 5))
    p = data.draw(problems(d=d, scale=scale, largest_score=3.0, largest_value=0.5, dtype="float32"))
    beta = d**-0.5 if scale is None else scale
    assert np.max(np.abs(beta * p.q @ p.k.T)) <= 3.0
    assert np.max(np.abs(p.v)) <= 0.5
    assert p.q.shape[1] == p.k.shape[1] == d
    assert p.k.shape[0] == p.v.shape[0] >= 1
    assert {x.dtype.name for x in (p.q, p.k, p.v)} == {"float32"}
    for x in (p.q, p.k, p.v):
        assert np.array_equal(8 * x, np.rint(8 * x))


@given(problems(n=7, d=2, dv=3, same_length=True, dtype="float16"))
def test_shapes_are_those_that_are_wanted(p: Problem) -> None:
    assert (p.q.shape, p.k.shape, p.v.shape) == ((7, 2), (7, 2), (7, 3))
    assert p.q.dtype == np.float16


def test_lengths_differ_unless_they_must_not() -> None:
    p = find(problems(), lambda p: p.q.shape[0] != p.k.shape[0], settings=QUICK)
    assert p.q.shape[0] != p.k.shape[0]
    p = find(problems(n=st.integers(4, 9)), lambda p: p.k.shape[0] == 9, settings=QUICK)
    assert 4 <= p.q.shape[0] <= 9


@given(st.data())
def test_masks_keep_a_key(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 6))
    mask = data.draw(key_masks(n))
    assert mask.shape == (n,)
    assert mask.dtype == bool
    assert mask.any()


def test_masks_shrink_to_all_keys() -> None:
    assert find(key_masks(4), lambda _: True, settings=QUICK).all()
    assert find(key_masks(4), lambda m: not m.all(), settings=QUICK).sum() == 3


def broken(attention: Attention, law: str) -> Any:
    """Whether a problem breaks a law."""

    def is_broken(p: Problem) -> bool:
        try:
            assert_law(attention, law, p)
        except AssertionError:
            return True
        return False

    return is_broken


def test_a_negative_weight_shrinks_to_one_query_and_few_keys() -> None:
    """1 + s + s^2/2 + s^3/6 is negative below -1.596."""

    def odd(q: Any, k: Any, v: Any) -> Any:
        s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
        w = 1 + s + s**2 / 2 + s**3 / 6
        return w @ v / w.sum(axis=-1, keepdims=True)

    attention = Attention(odd, exact=False)
    p = find(problems(), broken(attention, "output among the values"), settings=QUICK)
    assert p.q.shape == (1, 1)
    assert p.k.shape[0] <= 4
    assert p.k.shape[1] == p.v.shape[1] == 1
    assert abs(p.q[0, 0]) * np.max(np.abs(p.k)) >= 1.5


def test_a_row_too_many_shrinks_to_two_tokens_of_zeros() -> None:
    p = find(problems(same_length=True), broken(Attention(off_by_one), "causal"), settings=QUICK)
    assert p.k.shape[0] == 2
    assert not p.q.any()
    assert not p.k.any()
    assert np.count_nonzero(p.v) == 1


@given(problems())
def test_a_sound_function_obeys_at_every_drawn_problem(p: Problem) -> None:
    for law in (
        "agrees with softmax",
        "output among the values",
        "every key twice",
        "linear in values",
    ):
        assert_law(Attention(right), law, p)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match=r"n_k\(=0\) must be at least 1"):
        key_masks(0)
    with pytest.raises(ValueError, match=r"largest_score\(=0.1\) must be at least 1/8"):
        problems(largest_score=0.1)
    with pytest.raises(ValueError, match=r"largest_value\(=nan\)"):
        problems(largest_value=float("nan"))
    p = Problem(name="mine", q=np.ones((1, 1)), k=np.ones((2, 1)), v=np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"'order of kays'.*'order of keys'"):
        assert_law(Attention(right), "order of kays", p)
    with pytest.raises(NoOutputError, match="repeatable: ZeroDivisionError"):
        assert_law(Attention(lambda *_: 1 / 0), "repeatable", p)
