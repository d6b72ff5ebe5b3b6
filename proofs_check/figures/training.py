"""Training curves: does a transformer learn as well by approximate gradients as by exact ones?

A student of two residual layers learns what a teacher of the same form, with exact attention, makes
of uniform tokens: the loss is half the mean square of the difference, and 0 can be reached. All
methods start from the same weights and see the same tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import approxattn as aa
from approxattn.transformer import (
    Layer,
    SelfAttention,
    Transformer,
    forward,
    gradient,
    parameters,
    with_parameters,
)
from proofs_check.figures.record import Axis, Figure, Kind, Panel, Series

_SEED = 29
_LAYERS, _D, _TOKENS = 2, 8, 48
_RATE = 0.01

METHODS: Mapping[str, Any] = {
    "exact": aa.Exact(),
    "degree 2, plug-in": aa.Polynomial(degree=2, basis="taylor", gradient="plug-in"),
    "degree 2, consistent": aa.Polynomial(degree=2, basis="taylor", gradient="consistent"),
    "degree 6, plug-in": aa.Polynomial(degree=6, basis="taylor", gradient="plug-in"),
    "YOSO, expectation": aa.YosoExpectation(bits=4, normalize=True),
}

_LINES: Mapping[str, Kind] = {"degree 6, plug-in": "dashed"}
"""It lies on the exact one."""


def training(tiny: bool = False) -> Figure:
    """Held-out loss by step, for exact attention put in place of the one that was trained with."""
    steps, every = (12, 6) if tiny else (300, 20)
    methods = dict(list(METHODS.items())[: 2 if tiny else None])
    curves = {name: _trained(method, steps, every) for name, method in methods.items()}
    at = list(range(0, steps + 1, every))
    last = {name: curve[-1] for name, curve in curves.items()}
    return Figure(
        name="training",
        title="A student that learns by approximate gradients",
        claims=("ours.gradient", "ours.layers-gradient", "lss24.gradient"),
        caption=f"Two residual layers of width {_D}, {_TOKENS} tokens, Adam; the loss is measured "
        "with exact attention, on tokens that were not trained on. At degree 6 the student learns "
        "as with exact gradients. Degree 2 cannot follow scores as large as the teacher's: the "
        "plug-in gradient takes exact attention for what was computed and is led astray; the "
        "consistent one fits what was computed. YOSO's student learns weights for another "
        "attention. One teacher and one seed: a picture, not a comparison of methods.",
        panels=(
            Panel(
                x=Axis(label="step of training"),
                y=Axis(label="held-out loss, half a mean square", log=True),
                series=tuple(
                    Series(label=name, x=at, y=y, kind=_LINES.get(name, "line"))
                    for name, y in curves.items()
                ),
                legend="below",
            ),
        ),
        seed=_SEED,
        facts={f"first, {name}": curve[0] for name, curve in curves.items()}
        | {f"last, {name}": loss for name, loss in last.items()},
    )


def _trained(method: Any, steps: int, every: int) -> list[float]:
    """The held-out losses of one student."""
    rng = np.random.default_rng(_SEED)
    teacher, model = _model(rng, 1.5), _model(rng, 0.5)
    held_out = rng.uniform(-1, 1, (4, _TOKENS, _D))
    adam, curve = _Adam(), []
    for step in range(steps + 1):
        if step % every == 0:
            curve.append(_loss(model, teacher, held_out))
        x = rng.uniform(-1, 1, (4, _TOKENS, _D))
        right = forward(teacher, x, aa.Exact(), certify=False).value
        slopes = gradient(model, x, _away_from(right), method, certify=False).model
        model = with_parameters(model, adam.moved(parameters(model), parameters(slopes)))
    return curve


def _model(rng: np.random.Generator, strength: float) -> Transformer:
    def weight() -> np.ndarray:
        return np.asarray(strength * rng.normal(size=(1, _D, _D)) / math.sqrt(_D))

    return Transformer(
        layers=tuple(
            Layer(attention=SelfAttention(wq=weight(), wk=weight(), wv=weight()), residual=True)
            for _ in range(_LAYERS)
        )
    )


def _away_from(right: Any) -> Callable[[Any], Any]:
    """The gradient of half the mean square of value - right."""
    return lambda value: (value - right) / right.size


def _loss(model: Transformer, teacher: Transformer, x: np.ndarray) -> float:
    ours, right = (forward(m, x, aa.Exact(), certify=False).value for m in (model, teacher))
    return float(np.mean((ours - right) ** 2) / 2)


class _Adam:
    """Adam (Kingma & Ba 2015) at its usual constants."""

    def __init__(self) -> None:
        self.step = 0
        self.means: dict[str, tuple[Any, Any]] = {}

    def moved(self, values: Mapping[str, Any], slopes: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters after one more step."""
        self.step += 1
        out = {}
        for name, g in slopes.items():
            first, second = self.means.get(name, (0 * g, 0 * g))
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            self.means[name] = first, second
            mean, square = first / (1 - 0.9**self.step), second / (1 - 0.999**self.step)
            out[name] = values[name] - _RATE * mean / (np.sqrt(square) + 1e-8)
        return out
