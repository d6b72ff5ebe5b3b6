"""Gradients: printed against corrected formulas, the points of a Riemann sum, errors by depth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import approxattn as aa
from approxattn.softmax.scores import row_softmax
from proofs_check.figures.record import Axis, Figure, Panel, Printed, Series

_SEED = 24


def printed_gradients(tiny: bool = False) -> Figure:
    """Relative error of gradient formulas as printed and as corrected."""
    d = 4
    errors = {
        "LSS24 dX": _layer_error("X", 3 if tiny else 30),
        "LSS24 dW_V": _layer_error("W_V", 3 if tiny else 30),
        "AS24 dX, without 1/d": _scale_error(d),
    }
    names = tuple(errors)
    printed, corrected = (np.array([e[i] for e in errors.values()]) for i in (0, 1))
    x = np.arange(len(names))
    return Figure(
        name="printed-gradients",
        title="Gradient formulas as printed and as corrected",
        claims=(
            "lss24.gradient-t-printed",
            "lss24.gradient-wv-printed",
            "as24.gradient-printed",
            "lss24.gradient",
            "as24.gradient",
        ),
        caption="As printed, a softmax matrix stands where its transpose belongs (LSS24), and the "
        f"scale 1/d is missing (AS24; d = {d}, so the gradient is d times too large). Corrected, "
        "they are right to rounding.",
        panels=(
            Panel(
                x=Axis(label="", names=names),
                y=Axis(label="relative Frobenius error (median)", log=True),
                series=(
                    Series(label="as printed", x=x, y=printed, kind="points"),
                    Series(label="corrected", x=x, y=corrected, kind="rings"),
                ),
            ),
        ),
        seed=_SEED,
        facts={name: float(e[0]) for name, e in errors.items()},
    )


def _layer_error(of: str, draws: int) -> tuple[float, float]:
    """Median relative error as printed and as corrected, against central differences of the
    loss <G, softmax(X W X^T) X W_V>.
    """
    rng = np.random.default_rng(_SEED)
    found = [_errors_of_draw(of, rng, n=6, d=3) for _ in range(draws)]
    printed, corrected = np.median(found, axis=0)
    return float(printed), float(corrected)


def _errors_of_draw(of: str, rng: np.random.Generator, n: int, d: int) -> list[float]:
    from proofs_check.papers.liang_2024.gradient import five_printed_terms, five_terms

    x, g = rng.normal(size=(2, n, d))
    w, v = rng.normal(size=(2, d, d))
    f = row_softmax(x @ w @ x.T, np)
    if of == "X":
        m = {"x": x, "w": w, "v": v, "g": g, "f": f, "beta": 1}
        formulas = five_printed_terms(m), five_terms(m)
        right = _slope(lambda z: float(np.sum(g * (row_softmax(z @ w @ z.T, np) @ z @ v))), x)
    else:
        formulas = x.T @ f @ g, x.T @ f.T @ g
        right = _slope(lambda z: float(np.sum(g * (f @ x @ z))), v)
    return [float(np.linalg.norm(y - right) / np.linalg.norm(right)) for y in formulas]


def _scale_error(d: int) -> tuple[float, float]:
    """Relative error of A_1^T P A_2 without and with 1/d, against central differences of the loss
    <G, softmax(A_1 X A_2^T / d) H>.
    """
    rng, n = np.random.default_rng(_SEED), 6
    a, b, h, g = rng.normal(size=(4, n, d))
    x = rng.normal(size=(d, d))
    f, z = row_softmax(a @ x @ b.T / d, np), g @ h.T
    printed = a.T @ (f * (z - np.sum(f * z, axis=1, keepdims=True))) @ b
    right = _slope(lambda y: float(np.sum(g * (row_softmax(a @ y @ b.T / d, np) @ h))), x)
    errors = [np.linalg.norm(y - right) / np.linalg.norm(right) for y in (printed, printed / d)]
    return float(errors[0]), float(errors[1])


def _slope(loss: Callable[[np.ndarray], float], at: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """Central differences of fourth order."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        e = np.zeros_like(at)
        e[place] = h
        near, far = loss(at + e) - loss(at - e), loss(at + 2 * e) - loss(at - 2 * e)
        found[place] = (8 * near - far) / (12 * h)
    return found


def riemann_points(tiny: bool = False) -> Figure:
    """Error of the average of f' over log^4 n points, against what is asked of it."""
    from proofs_check.papers.alman_song_2024.lower_bound import riemann_error

    powers = [4, 8] if tiny else list(range(4, 21))
    error = [riemann_error(p, constant=1) for p in powers]
    asked = [1 / p**4 for p in powers]
    enough = [riemann_error(p, constant=16) for p in powers]
    n = [2.0**p for p in powers]
    return Figure(
        name="riemann-points",
        title="The integral of f' from log⁴ n points",
        claims=("as24.riemann-points", "as24.riemann-sum"),
        caption="Theorem E.5 of AS24, B = d = log₂ n. The proof takes m of the order log⁴ n and "
        "needs the error 1/log⁴ n. The error is "
        "about n d B / (8 m): it grows with n. Points of the order B² n d log⁴ n are enough.",
        panels=(
            Panel(
                x=Axis(label="n", log=True, base=2),
                y=Axis(label="error of f(1) - f(0)", log=True),
                series=(
                    Series(label="m = log₂⁴ n", x=n, y=error),
                    Series(label="m = 16 log₂⁴ n", x=n, y=enough, kind="dashed"),
                    Series(label="needed, 1 / log₂⁴ n", x=n, y=asked, kind="dotted"),
                ),
            ),
        ),
        printed=(
            Printed(
                what=f"n = 2^{powers[-1]}, m = log₂⁴ n",
                source=f"at most {asked[-1]:.1e}",
                ours=f"{error[-1]:.4g}",
            ),
        ),
        facts={f"n = 2^{p}": e for p, e in zip(powers, error, strict=True)},
    )


def layers(tiny: bool = False) -> Figure:
    """Bound and true error of the output of transformers, by depth."""
    from approxattn.transformer import forward

    depth, n, d = (2, 30, 4) if tiny else (6, 200, 8)
    model, x = _model(depth, n, d)
    method = aa.Polynomial(degree=6, basis="taylor")
    out, exact = forward(model, x, method), forward(model, x, aa.Exact())
    sharp = forward(model, x, method, second_moments=True)
    errors = [
        float(np.max(np.linalg.norm(a - b, axis=-1)))
        for a, b in zip(out.tokens[1:], exact.tokens[1:], strict=True)
    ]
    bounds, sharper = ([float(np.max(e.out)) for e in run.layers] for run in (out, sharp))
    places = list(range(1, depth + 1))
    return Figure(
        name="layers",
        title="Certificates through the layers of a transformer",
        claims=("ours.layers", "ours.layers-moments"),
        caption=f"Polynomial attention of degree 6, n = {n}. Largest Euclidean error of a token "
        f"after each residual layer. The bound of each "
        "layer starts from that of the one before; with second moments it grows by what the "
        "Jacobian at the computed point allows.",
        panels=(
            Panel(
                x=Axis(label="layers"),
                y=Axis(label="largest Euclidean error of a token", log=True),
                series=(
                    Series(label="bound", x=places, y=bounds, kind="joined"),
                    Series(label="bound with second moments", x=places, y=sharper, kind="dashed"),
                    Series(label="error", x=places, y=errors, kind="rings"),
                ),
            ),
        ),
        seed=_SEED,
        facts={"least slack": min(b / e for b, e in zip(sharper, errors, strict=True))},
    )


def _model(depth: int, n: int, d: int) -> tuple[Any, np.ndarray]:
    from approxattn.transformer import Layer, SelfAttention, Transformer

    rng = np.random.default_rng(_SEED)

    def weight() -> np.ndarray:
        return np.asarray(rng.normal(size=(1, d, d)) / (2 * math.sqrt(d)))

    made = [
        Layer(attention=SelfAttention(wq=weight(), wk=weight(), wv=weight()), residual=True)
        for _ in range(depth)
    ]
    return Transformer(layers=tuple(made)), rng.uniform(-1, 1, (n, d))
