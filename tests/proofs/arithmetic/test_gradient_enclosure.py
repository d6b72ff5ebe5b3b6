"""The enclosed gradient against difference quotients of the enclosed output: no formula of the one
is used by the other.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proofs_check.arithmetic.balls import ball, exact_attention, lower, precision, upper
from proofs_check.arithmetic.gradient_balls import exact_attention_gradient

HOLES = np.array([True, False, True, True, True])


def integers(seed: int, n_q: int = 5, n_k: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"q": (n_q, 2), "k": (n_k, 2), "v": (n_k, 3), "dout": (n_q, 3)}
    return {name: rng.integers(-3, 4, shape).astype(float) for name, shape in shapes.items()}


def loss(x: dict[str, np.ndarray], options: dict[str, Any]) -> Any:
    out = exact_attention(x["q"], x["k"], x["v"], bits=600, **options)
    with precision(600):
        return sum(
            (
                ball(g) * o
                for gs, row in zip(x["dout"], out, strict=True)
                for g, o in zip(gs, row, strict=True)
            ),
            ball(0),
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"key_mask": HOLES},
        {"causal": True, "key_mask": HOLES, "scale": Fraction(1, 3)},
        {"scale": 2.5},
    ],
    ids=str,
)
def test_slopes_are_those_of_the_output(options: dict[str, Any]) -> None:
    """Every entry is moved by +-2^-40 about an input of small integers, exactly; the quotient
    differs by O(2^-80) times a third derivative.
    """
    x = integers(3)
    found = exact_attention_gradient(**x, **options, bits=200)
    for name, rows in zip("qkv", found, strict=True):
        for index in np.ndindex(x[name].shape):
            moved = []
            for sign in (1, -1):
                other = x | {name: x[name].copy()}
                other[name][index] += sign * 2.0**-40
                moved.append(loss(other, options))
            with precision(600):
                gap = abs((moved[0] - moved[1]) * 2**39 - rows[index[0]][index[1]])
                assert upper(gap) < 2.0**-60, (name, index)
                assert upper(rows[index[0]][index[1]].rad() * 1) < 1e-50


def test_fewer_queries_than_keys_and_hidden_keys() -> None:
    x = integers(4, n_q=2)
    found = exact_attention_gradient(**x, key_mask=HOLES)
    assert [len(rows) for rows in found] == [2, 5, 5]
    assert all(entry == 0 for rows in (found.dk, found.dv) for entry in rows[1])
    visible = exact_attention_gradient(q=x["q"], k=x["k"][HOLES], v=x["v"][HOLES], dout=x["dout"])
    for mine, other in zip(found.dq, visible.dq, strict=True):
        assert all(a.overlaps(b) for a, b in zip(mine, other, strict=True))


def test_one_token_and_equal_values_have_no_slope_in_the_scores() -> None:
    x = integers(5, 1, 1)
    found = exact_attention_gradient(**x)
    assert all(
        entry.contains(0) and upper(abs(entry)) < 1e-30
        for rows in (found.dq, found.dk)
        for entry in rows[0]
    )
    assert [float(entry) for entry in found.dv[0]] == x["dout"][0].tolist()


@pytest.mark.parametrize("bits", [12, 30, 64])
def test_starved_precision_widens_but_contains(bits: int) -> None:
    x = integers(6)
    sharp, wide = (exact_attention_gradient(**x, bits=b) for b in (300, bits))
    for rows, others in zip(sharp, wide, strict=True):
        for row, other in zip(rows, others, strict=True):
            for a, b in zip(row, other, strict=True):
                assert lower(b) <= lower(a)
                assert upper(b) >= upper(a)


def test_misuse() -> None:
    x = integers(7)
    with pytest.raises(ValueError, match=r"dout has shape \(5, 2\).*\(5, 3\)"):
        exact_attention_gradient(x["q"], x["k"], x["v"], x["dout"][:, :2])
    with pytest.raises(ValueError, match="sees no key"):
        exact_attention_gradient(**x, key_mask=np.zeros(5, bool))
