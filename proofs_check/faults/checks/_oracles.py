"""What the checks hold our code against: attention by its definition, and slopes by finite
differences.

They know nothing of approxattn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
Complaints = Iterator[str]


def package() -> Any:
    """Return approxattn, imported when a fault is in place: lists of arrays are passed on, so its
    types are not checked here.
    """
    import approxattn

    return approxattn


def dense_weights(
    q: Host, k: Host, *, scale: float | None = None, causal: bool = False, mask: Host | None = None
) -> Host:
    """Softmax weights of one head in extended precision."""
    q, k = (x.astype(np.longdouble) for x in (q, k))
    beta = (
        np.longdouble(1) / np.sqrt(np.longdouble(q.shape[-1]))
        if scale is None
        else np.longdouble(scale)
    )
    s = beta * (q @ k.T)
    keep = np.ones(s.shape, bool) if mask is None else np.broadcast_to(mask, s.shape)
    s = np.where(np.tril(keep) if causal else keep, s, -np.inf)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def dense(q: Host, k: Host, v: Host, **options: Any) -> Host:
    """Softmax attention of one head in extended precision."""
    return np.asarray(dense_weights(q, k, **options) @ v.astype(np.longdouble))


def dense_gradient(
    q: Host, k: Host, v: Host, g: Host, *, causal: bool = False
) -> tuple[Host, Host, Host]:
    """Its gradient, dS = F o (G V^T - rows of <F, G V^T>)."""
    q, k, v, g = (x.astype(np.longdouble) for x in (q, k, v, g))
    beta = 1 / np.sqrt(np.longdouble(q.shape[-1]))
    f = dense_weights(q, k, causal=causal)
    z = g @ v.T
    ds = beta * f * (z - np.sum(f * z, axis=-1, keepdims=True))
    return ds @ k, ds.T @ q, f.T @ g


def cosine_angles(a: Host, b: Host) -> Host:
    """Angles between the rows of a and of b, none zero."""
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    return np.asarray(np.arccos(np.clip(a @ b.T, -1.0, 1.0)))


def above(label: str, error: Any, bound: Any, *, slack: float = 1e-9) -> Complaints:
    """Complain where an error exceeds its bound by more than the oracle's own rounding, or is not a
    number where a bound is finite.
    """
    error, bound = np.broadcast_arrays(np.asarray(error, np.float64), np.asarray(bound, np.float64))
    finite = np.isfinite(bound)
    bad = finite & ~(error <= bound * (1 + slack))
    if bad.any():
        worst = float(
            np.max(
                np.where(
                    bad,
                    np.nan_to_num(error / np.where(bound > 0, bound, 1e-300), nan=math.inf),
                    0.0,
                )
            )
        )
        yield f"{label}: error {worst:.4g} times its bound"


def apart(label: str, found: Any, expected: Any, tolerance: float) -> Complaints:
    """Complain when two arrays differ by more than `tolerance` times the size of the
    expected one.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    size = max(1e-300, float(np.max(np.abs(expected), initial=0.0)))
    gap = (
        float(np.max(np.abs(found - expected), initial=0.0))
        if found.shape == expected.shape
        else math.inf
    )
    if not gap <= tolerance * size:
        yield f"{label}: off by {gap:.3g} of {size:.3g}"


def slope(f: Callable[[float], float], step: float = 1e-3) -> float:
    """f'(0) by central differences of fourth order."""
    return (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step)


def slopes(
    label: str,
    value: Callable[..., Any],
    points: Sequence[Host],
    gradients: Sequence[Any],
    cotangent: Host,
    *,
    step: float = 1e-3,
    tolerance: float = 1e-6,
) -> Complaints:
    """Complain about gradients of <cotangent, value(*points)> whose product with a random direction
    is not the slope along it.
    """
    rng = np.random.default_rng(7)
    for i, (x, gradient) in enumerate(zip(points, gradients, strict=True)):
        direction = rng.standard_normal(x.shape)

        def along(t: float, i: int = i, direction: Any = direction) -> float:
            moved = [p + t * direction if j == i else p for j, p in enumerate(points)]
            return float(np.sum(cotangent * np.asarray(value(*moved), np.float64)))

        expected = slope(along, step)
        found = float(np.sum(np.asarray(gradient, np.float64) * direction))
        if not abs(found - expected) <= tolerance * (1 + abs(expected)):
            yield (
                f"{label}: slope along argument {i} is {expected:.8g}, the gradient says "
                f"{found:.8g}"
            )
