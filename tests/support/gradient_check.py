"""A gradient against central differences of its own forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import HostArray


def differences(loss: Any, direction: HostArray, step: float = 1e-3) -> float:
    """Return the slope of loss(t direction) at t = 0, to fourth order."""
    near, far = (loss(h * direction) - loss(-h * direction) for h in (step, 2 * step))
    return float(8 * near - far) / (12 * step)


def check_gradient(
    method: Any, inputs: dict[str, HostArray], dout: HostArray, **options: Any
) -> aa.Gradients:
    """Hold dq, dk, dv against differences; a randomised method draws the same each time."""

    def attend(**moved: HostArray) -> HostArray:
        arrays = {**inputs, **moved}
        rng = np.random.default_rng(5)
        return np.asarray(
            aa.attention(arrays["q"], arrays["k"], arrays["v"], method, rng=rng, **options).value
        )

    rng = np.random.default_rng(5)
    grads = aa.attention_vjp(
        inputs["q"], inputs["k"], inputs["v"], dout, method, rng=rng, **options
    )
    for name, x in inputs.items():
        gradient = getattr(grads, f"d{name}")
        assert gradient.shape == x.shape
        for seed in (1, 2):
            direction = np.random.default_rng(seed).standard_normal(x.shape)
            slope = differences(
                lambda t, name=name, x=x: float(np.sum(dout * attend(**{name: x + t}))), direction
            )
            assert float(np.sum(gradient * direction)) == pytest.approx(slope, rel=1e-7, abs=1e-8)
    return grads
