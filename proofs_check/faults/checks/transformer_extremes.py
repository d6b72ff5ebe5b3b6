"""Checks of maps of tokens where numbers are the largest, the smallest, infinite, or masked.

Without attention: a network of first maps only, whose exact value and gradient are a few lines of
extended precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs_check.faults.checks._oracles import Complaints, Host, above, package

DTYPES = (np.float32, np.float64)


def extremes() -> Complaints:
    """Finite bounds hold at every size, what is not finite has none, masked tokens do not count."""
    package()
    with np.errstate(all="ignore"):
        for dtype in DTYPES:
            yield from _norms(dtype)
            yield from _small_weights(dtype)
            yield from _overflows(dtype)
    yield from _masked()


def _network(*maps: Any) -> Any:
    from approxattn.transformer import Transformer

    return Transformer(first=maps, layers=())


def _both(m: Any, x: Host, g: Host, **options: Any) -> tuple[Any, Any]:
    """Return the output and the gradients; no attention is computed, so no method matters."""
    from approxattn.transformer import forward, gradient

    aa = package()
    return forward(m, x, aa.Exact(), **options), gradient(m, x, g, aa.Exact(), **options)


def _norms(dtype: Any) -> Complaints:
    """LayerNorm for numbers from subnormal ones to the largest."""
    from approxattn.transformer import LayerNorm

    rng, info = np.random.default_rng(0), np.finfo(dtype)
    unit, g = rng.uniform(-1, 1, (2, 3, 4)).astype(dtype)
    gain, shift = rng.uniform(0.5, 1, (2, 4)).astype(dtype)
    low, high = (int(np.log10(float(y))) for y in (info.tiny, info.max))
    for exponent in (*np.linspace(low - 5, high - 1, 15), high):
        x = (unit * np.longdouble(10) ** exponent).astype(dtype)
        for epsilon in (1e-5, float(info.tiny)):
            m = _network(LayerNorm(gain=gain, shift=shift, epsilon=epsilon))
            value, grads = _both(m, x, g)
            y, dx, dgain = _exact_norm(x, g, gain, shift, epsilon)
            name = f"LayerNorm in {info.dtype} at 1e{exponent:.0f}, epsilon {epsilon:.0e}"
            stated = grads.certificate
            yield from _within(f"{name}, value", value.value - y, value.certificate.rows)
            yield from _within(f"{name}, dx", (grads.dx - dx).reshape(-1), stated.dx)
            told = stated.parameters["first.0.gain"]
            yield from _within(f"{name}, gain", grads.model.first[0].gain - dgain, told)


def _exact_norm(
    x: Host, g: Host, gain: Host, shift: Host, epsilon: float
) -> tuple[Host, Host, Host]:
    x, g, gain, shift = (y.astype(np.longdouble) for y in (x, g, gain, shift))
    c = x - x.mean(axis=-1, keepdims=True)
    s = np.sqrt((c * c).mean(axis=-1, keepdims=True) + np.longdouble(epsilon))
    n, h = c / s, gain * g
    dx = (h - h.mean(axis=-1, keepdims=True) - n * (h * n).mean(axis=-1, keepdims=True)) / s
    return gain * n + shift, dx, (g * n).sum(axis=0)


def _within(label: str, error: Host, bound: Any) -> Complaints:
    """Compare Euclidean norms along the last axis; every one must have a bound."""
    if not np.isfinite(bound).all():
        yield f"{label}: there is no bound"
    size = np.sqrt((error.astype(np.longdouble) ** 2).sum(axis=-1))
    ratio = size / np.maximum(np.asarray(bound, np.longdouble), np.longdouble(1e-320))
    yield from above(label, ratio, np.where(np.isfinite(bound), 1.0, np.inf), slack=1e-2)


def _small_weights(dtype: Any) -> Complaints:
    """A linear map whose squares vanish, of tokens that are as large; and products that vanish."""
    from approxattn.transformer import Linear

    rng, info = np.random.default_rng(1), np.finfo(dtype)
    for power in (-0.6, -0.9, 0.0):
        size = np.longdouble(info.max) ** np.longdouble(power)
        w = (size * rng.uniform(-1, 1, (4, 3))).astype(dtype)
        for back in (1.0, 1e-10 * float(np.sqrt(info.tiny))):
            x = (rng.uniform(-1, 1, (5, 4)) * back / max(float(size), 1e-290)).astype(dtype)
            g = (rng.uniform(-1, 1, (5, 3)) * float(np.sqrt(info.tiny))).astype(dtype)
            value, grads = _both(_network(Linear(w=w)), x, g)
            wide = [y.astype(np.longdouble) for y in (x, w, g)]
            name = f"Linear in {info.dtype}, weights {float(size):.0e}, tokens {back:.0e}"
            yield from _within(
                f"{name}, value", value.value - wide[0] @ wide[1], value.certificate.rows
            )
            off = (grads.model.first[0].w - wide[0].T @ wide[2]).reshape(-1)
            yield from _within(f"{name}, w", off, grads.certificate.parameters["first.0.w"])


def _overflows(dtype: Any) -> Complaints:
    """What is infinite has no bound, and a reason."""
    from approxattn.transformer import Linear

    top = float(np.finfo(dtype).max)
    w, x, g = np.eye(3), np.ones((2, 3)), np.ones((2, 3))
    cases = ((top / 2, 1e3, 1.0), (top / 2, 1.0, 1e3), (1.0, np.sqrt(top), 1e3 * np.sqrt(top)))
    for case, sizes in enumerate(cases):
        arrays = [(s * y).astype(dtype) for s, y in zip(sizes, (w, x, g), strict=True)]
        value, grads = _both(_network(Linear(w=arrays[0])), *arrays[1:])
        stated = grads.certificate
        pairs = (
            ("value", value.value, value.certificate.rows.max()),
            ("dx", grads.dx, stated.dx),
            ("w", grads.model.first[0].w, stated.parameters["first.0.w"]),
        )
        for name, found, bound in pairs:
            if not np.isfinite(found).all() and np.isfinite(bound):
                yield f"overflow {case}, {name}: infinite within {bound:.3g}"
        if not (value.certificate.unmet or stated.unmet):
            yield f"overflow {case}: no reason is given"


def _masked() -> Complaints:
    """What stands in masked tokens, and in their cotangents, does not matter."""
    from approxattn.transformer import LayerNorm, Linear, parameters

    rng = np.random.default_rng(2)
    w, x, g = (rng.standard_normal(shape) for shape in ((4, 4), (5, 4), (5, 4)))
    m, mask = _network(Linear(w=w), LayerNorm(gain=w[0], shift=w[1])), np.arange(5) < 3
    seen = []
    for fill in (0.0, 1.0, np.nan):
        filled = [np.where(mask[:, None], y, fill) for y in (x, g)]
        try:
            value, grads = _both(m, *filled, key_mask=mask)
        except ValueError as error:
            yield f"masked tokens of {fill}: {error}"
            continue
        parts = [value.value, value.certificate.rows, grads.dx, grads.certificate.dx]
        seen.append([*parts, *parameters(grads.model).values()])
    for other in seen[1:]:
        for one, two in zip(seen[0], other, strict=True):
            if not np.array_equal(one, two):
                yield "what stands in masked tokens changes a result"
