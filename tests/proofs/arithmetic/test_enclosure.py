"""Balls contain what they should: outward floats, exact attention, the YOSO expectation."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs_check.arithmetic import instances
from proofs_check.arithmetic.balls import (
    as_fraction,
    ball,
    exact_attention,
    hull,
    lower,
    matrix,
    max_error,
    power,
    precision,
    upper,
    yoso_expectation,
)


def test_precision_is_restored_on_every_way_out() -> None:
    before = ctx.prec
    with precision(200):
        assert ctx.prec == 200
        with pytest.raises(ZeroDivisionError), precision(30):
            raise ZeroDivisionError
        assert ctx.prec == 200
    assert ctx.prec == before
    with pytest.raises(ValueError, match="bits"), precision(1):
        pass


def test_functions_leave_the_precision_alone() -> None:
    before, x = ctx.prec, np.ones((2, 2))
    exact_attention(x, x, x, bits=333)
    with pytest.raises(ValueError, match="zero"):
        yoso_expectation(0 * x, x, x, bits=2, working_bits=333)
    assert ctx.prec == before


@given(st.fractions(), st.integers(2, 200))
def test_outward_floats_enclose(x: Fraction, bits: int) -> None:
    with precision(bits):
        low, high = lower(ball(x)), upper(ball(x))
    assert low <= high
    assert low == -math.inf or Fraction(low) <= x
    assert high == math.inf or x <= Fraction(high)
    if bits >= 100 and abs(x) > Fraction(1, 2**1000):
        assert high <= math.nextafter(math.nextafter(low, math.inf), math.inf)


def test_outward_floats_of_what_is_not_known() -> None:
    for unknown in (arb("nan"), arb(0, math.inf), arb(1).log() / 0):
        assert (lower(unknown), upper(unknown)) == (-math.inf, math.inf)
    with precision(64):
        huge = arb(2) ** 5000
    assert upper(huge) == math.inf
    assert lower(huge) == np.finfo(float).max
    assert 0 < upper(arb(2) ** -5000) < 1e-300


def test_balls_come_from_exact_numbers() -> None:
    assert ball(0.1).contains(arb(0.1))
    assert not ball(0.1).contains(arb(fmpq(1, 10)))
    with precision(64):
        assert ball(Fraction(1, 10)).contains(fmpq(1, 10))
    with pytest.raises(TypeError, match="string"):
        ball("0.1")  # type: ignore[arg-type]
    assert as_fraction(fmpq(3, 4)) == Fraction(3, 4)
    assert as_fraction(np.float32(0.5)) == Fraction(1, 2)


def test_powers_of_balls_around_zero() -> None:
    around = arb(0, 0.5)
    assert upper(power(around, 8)) <= 2**-8 * (1 + 1e-6)
    assert power(around, 0) == 1
    assert power(ball(3), 5) == 243


def test_a_matrix_is_finite_and_two_dimensional() -> None:
    with pytest.raises(ValueError, match="finite"):
        matrix(np.array([[np.inf]]))
    with pytest.raises(ValueError, match="two-dimensional"):
        matrix(np.ones(3))


def reference(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray
) -> list[list[mpmath.mpf]]:
    """Softmax attention in 400-bit floating point by an unrelated library."""
    out = []
    with mpmath.workprec(400):
        beta = 1 / mpmath.sqrt(q.shape[1])
        for i in range(len(q)):
            w = [
                mpmath.exp(
                    beta
                    * mpmath.fsum(
                        mpmath.mpf(a) * mpmath.mpf(b) for a, b in zip(q[i], k[j], strict=True)
                    )
                )
                if seen[i, j]
                else mpmath.mpf(0)
                for j in range(len(k))
            ]
            total = mpmath.fsum(w)
            out.append(
                [
                    mpmath.fsum(x * mpmath.mpf(y) for x, y in zip(w, v[:, c], strict=True)) / total
                    for c in range(v.shape[1])
                ]
            )
    return out


def contains(enclosure: arb, value: mpmath.mpf) -> bool:
    """Whether the reference, good to 300 bits at least, lies in the ball widened by 2^-300."""
    numerator, denominator = mpmath.libmp.to_rational(value._mpf_)
    with precision(1000):
        return bool(
            (enclosure + arb(0, 2.0**-300)).contains(fmpq(int(numerator), int(denominator)))
        )


@settings(max_examples=60)
@given(instances.heads(max_tokens=4, square=True), st.booleans(), st.sampled_from((20, 53, 128)))
def test_exact_attention_contains_the_truth_at_any_precision(
    case: dict[str, np.ndarray], causal: bool, bits: int
) -> None:
    q, k, v = case["q"], case["k"], case["v"]
    n = len(q)
    mask = np.arange(n) % 3 != 1
    seen = np.tri(n, dtype=bool) & mask if causal else np.broadcast_to(mask, (n, n))
    enclosure = exact_attention(q, k, v, causal=causal, key_mask=mask, bits=bits)
    truth = reference(q, k, v, seen)
    assert all(
        contains(e, t)
        for es, ts in zip(enclosure, truth, strict=True)
        for e, t in zip(es, ts, strict=True)
    )
    if bits == 128:
        assert max(float(e.rad()) for es in enclosure for e in es) < 1e-30


def test_starved_precision_widens_and_contains() -> None:
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(8, 3)) for _ in range(3))
    sharp = exact_attention(q, k, v, bits=200)
    widths = []
    for bits in (10, 30, 53, 100):
        wide = exact_attention(q, k, v, bits=bits)
        assert all(
            w.contains(s)
            for ws, ss in zip(wide, sharp, strict=True)
            for w, s in zip(ws, ss, strict=True)
        )
        widths.append(max(float(w.rad()) for ws in wide for w in ws))
    assert widths == sorted(widths, reverse=True)


def test_exact_attention_by_hand() -> None:
    one, two = np.array([[1.0]]), np.array([[0.0], [math.log(2)]])
    ((out,),) = exact_attention(one, two, np.array([[0.0], [3.0]]), scale=1)
    assert abs(float(out) - 2) < 1e-15  # weights 1/3 and 2/3
    ((constant,),) = exact_attention(one * 1e3, two * 1e3, np.array([[5.0], [5.0]]))
    assert constant.contains(5)
    with pytest.raises(ValueError, match="sees no key"):
        exact_attention(one, two, two, key_mask=np.array([False, False]))


def test_max_error_brackets_the_error() -> None:
    rng = np.random.default_rng(2)
    q, k, v = (rng.normal(size=(5, 3)) for _ in range(3))
    enclosure = exact_attention(q, k, v)
    exact = np.array([[float(e) for e in row] for row in enclosure])
    low, high = max_error(exact, enclosure)
    assert 0 <= low <= high <= 2**-52
    low, high = max_error(exact + 0.25 * (np.arange(3) == 1), enclosure)
    assert low <= 0.25 + 1e-15
    assert high >= 0.25 - 1e-15
    assert high - low < 1e-16
    assert max_error(exact, exact_attention(q, k, v, bits=10))[1] >= 1e-4  # an honest "not known"


def test_yoso_expectation_at_special_angles() -> None:
    q = np.array([[1.0, 0.0]])
    k = np.array([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 1.0]])
    for bits in (1, 3, 8):
        (row,) = yoso_expectation(q, k, np.eye(4), bits=bits)
        weights = (Fraction(1), Fraction(1, 2), Fraction(0), Fraction(3, 4))
        for p, exact in zip(row, weights, strict=True):
            assert (p - ball(exact**bits)).contains(0)
            assert float(p.rad()) < 1e-30
    (unit,) = yoso_expectation(q, k, np.eye(4), bits=2, normalize=True)
    assert abs(sum(float(x) ** 2 for x in unit) - 1) < 1e-12


@settings(max_examples=100)
@given(instances.heads(max_tokens=4), st.integers(1, 9), st.sampled_from((4, 30, 128)))
def test_yoso_expectation_contains_the_float_result(
    case: dict[str, np.ndarray], bits: int, working: int
) -> None:
    q, k, v = (case[name] + (0.0 if name == "v" else 0.37) for name in "qkv")  # no zero vectors
    if not (q.any(axis=1).all() and k.any(axis=1).all()):
        return
    unit_q, unit_k = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, k))
    p = (1 - np.arccos(np.clip(unit_q @ unit_k.T, -1, 1)) / np.pi) ** bits
    low, _ = max_error(p @ v, yoso_expectation(q, k, v, bits=bits, working_bits=working))
    # arccos in floats loses half the digits at parallel vectors
    assert low <= 1e-6 * max(1.0, np.abs(v).sum())


def test_hull_covers_both_ends() -> None:
    both = hull(ball(1), ball(3))
    assert both.contains(1)
    assert both.contains(3)
    assert not hull(ball(1), arb("nan")).is_finite()
