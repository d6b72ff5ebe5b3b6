"""The hunt for a gradient certificate below the error: the structured problems of `hunting`, held
against enclosed exact gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from cases import Case
from hunting import problems
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import approxattn as aa
from proofs_check.arithmetic.balls import Rows, max_error
from proofs_check.arithmetic.gradient_balls import GradientRows, exact_attention_gradient

EXAMPLES = 16 * settings.default.max_examples
"""Problems of the hunt: 400 in the quick profile."""

BITS = 300
"""Of the balls: errors that underflow makes are 2^-1074 beside entries of ordinary size, but only
ratios above one matter.
"""


@dataclass(frozen=True, kw_only=True)
class Hunted:
    """A method, how much its certificate may be off from sharp, and how rarely it is tried (a new
    interval costs a minimax polynomial).
    """

    name: str
    method: aa.Exact | aa.Polynomial | aa.Linformer
    slack: float
    every: int = 1


METHODS = (
    Hunted(name="exact", method=aa.Exact(), slack=80),
    Hunted(
        name="taylor-4-plug-in",
        method=aa.Polynomial(degree=4, basis="taylor", gradient="plug-in"),
        slack=4,
    ),
    Hunted(name="taylor-2-consistent", method=aa.Polynomial(degree=2, basis="taylor"), slack=4),
    Hunted(name="mean-pool-3", method=aa.Linformer(rank=3, sketch="mean-pool"), slack=4),
    Hunted(
        name="minimax-3-plug-in",
        method=aa.Polynomial(degree=3, gradient="plug-in"),
        slack=4,
        every=5,
    ),
    Hunted(name="minimax-5-consistent", method=aa.Polynomial(degree=5), slack=4, every=5),
)


@st.composite
def posed(draw: st.DrawFn) -> tuple[Case, np.ndarray]:
    """Draw a problem and a cotangent: integers, some rows zero, times a power of two."""
    case = draw(problems())
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    shape = (case.q.shape[0], case.v.shape[1])
    g = rng.integers(-3, 4, shape) * 2.0 ** draw(st.sampled_from((0, 0, 3, -20)))
    if draw(st.booleans()):
        g = np.where(rng.random((shape[0], 1)) < 0.5, 0.0, g)
    return case, g.astype(case.q.dtype)


def enclose(case: Case, dout: np.ndarray) -> GradientRows:
    q, k, v, g = (x.astype(np.float64) for x in (case.q, case.k, case.v, dout))
    return exact_attention_gradient(q, k, v, g, bits=BITS, **case.options)


def certain_errors(value: np.ndarray, enclosure: Rows) -> np.ndarray:
    """Return for each row a number certainly not more than its largest error: where the gradient
    vanishes exactly, the balls around it do not.
    """
    return np.array(
        [
            max_error(value[i : i + 1], enclosure[i : i + 1], bits=BITS)[0]
            for i in range(value.shape[0])
        ]
    )


def worst(
    method: aa.Exact | aa.Polynomial | aa.Linformer,
    case: Case,
    dout: np.ndarray,
    exact: GradientRows,
) -> float:
    """Largest error / bound over the rows of dq, dk, dv that have a finite bound; 0/0 is 0."""
    grads = aa.attention_vjp(case.q, case.k, case.v, dout, method, **case.options)
    largest = 0.0
    for name, rows in zip(("dq", "dk", "dv"), exact, strict=True):
        value, bounds = getattr(grads, name), getattr(grads.certificate, name)
        bounded = np.isfinite(bounds)
        assert np.isfinite(value[bounded]).all(), f"{name}: a row with a bound is not finite"
        errors = certain_errors(np.where(bounded[:, None], value, 0.0), rows)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratios = np.where(bounded & (errors > 0), errors / bounds, 0.0)
        largest = max(largest, float(ratios.max(initial=0.0)))
    return largest


def hunt(hunted: Sequence[Hunted], examples: int) -> dict[str, list[float]]:
    """Return the ratios found, by method; a refusal with a remedy is none."""
    found: dict[str, list[float]] = {h.name: [] for h in hunted}
    numbers = itertools.count()

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(posed())
    def hold(pose: tuple[Case, np.ndarray]) -> None:
        case, dout = pose
        number, exact = next(numbers), enclose(case, dout)
        for h in hunted:
            if number % h.every or (case.options.get("causal") and h.method.why_not_causal):
                continue
            try:
                found[h.name].append(worst(h.method, case, dout, exact))
            except ValueError as error:
                if ": " not in str(error):
                    raise

    hold()
    return found


@pytest.fixture(scope="module")
def ratios() -> dict[str, list[float]]:
    return hunt(METHODS, EXAMPLES)


@pytest.mark.parametrize("hunted", METHODS, ids=lambda h: h.name)
def test_no_error_above_its_certificate(hunted: Hunted, ratios: dict[str, list[float]]) -> None:
    found = ratios[hunted.name]
    print(f"{hunted.name}: {len(found)} problems, largest error / bound {max(found):.3g}")
    assert len(found) > 0.5 * EXAMPLES / hunted.every, "refused too often for the hunt to say much"
    assert max(found) <= 1


@pytest.mark.parametrize("hunted", METHODS, ids=lambda h: h.name)
def test_a_certificate_divided_by_its_slack_is_caught(
    hunted: Hunted, ratios: dict[str, list[float]]
) -> None:
    assert max(ratios[hunted.name]) > 1 / hunted.slack


@pytest.mark.parametrize("method", [h.method for h in METHODS], ids=[h.name for h in METHODS])
def test_underflow_is_in_the_certificate(method: aa.Exact | aa.Polynomial | aa.Linformer) -> None:
    """The gradient in q is 2.4e-55, which float32 cannot hold; everything computed is 0."""
    k = np.array([[0.0], [2.0**-60], [0.0], [0.0]], np.float32)
    v = np.array([[0.0], [2.0**-119], [0.0], [0.0]], np.float32)
    case, dout = (
        Case(name="tiny", q=np.zeros((1, 1), np.float32), k=k, v=v),
        np.array([[2.0]], np.float32),
    )
    exact = enclose(case, dout)
    assert float(exact.dq[0][0]) > 1e-55
    assert worst(method, case, dout, exact) <= 1
