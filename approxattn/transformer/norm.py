"""Layer normalisation and errors in it.

y = gain o N(c) + shift with c = x - mean x and N(z) = z / sqrt(|z|^2/d + eps). Write r(z) =
sqrt(|z|^2 + d eps), so N = sqrt(d) grad r, and s = r / sqrt(d).

Proved here. J_N = (I - z z^T / r^2) / s has norm at most 1/s. Its derivative is sqrt(d) times the
third derivative of r, a symmetric form, so (Banach) its norm is the largest value on one unit
vector h: D^3 r[h, h, h] = -3 t (1 - t^2) / r^2 with t = z.h / r in [-1, 1], at most 2 / (sqrt 3
r^2). Hence along a step of length delta

    |N(z') - N(z)| <= delta / s_0,     |J_N(z') - J_N(z)| <= (2 / sqrt 3) delta / (sqrt(d) s_0^2),
        s_0^2 = max(|z| - delta, 0)^2 / d + eps,

and subtracting the mean, an orthogonal projection, enlarges nothing. Local s_0: for ordinary tokens
it is near their standard deviation, not near sqrt eps.

Rounding. A computed c is off by at most e = 2 gamma_{d+2} |x|, which joins delta; the rest is
relative. The gradient, (h - mean h - N mean(h o N)) / s with h = gain o G, drops N mean(N) as 0;
for the computed c it is at most e / s, and adds at most |h| e / (sqrt(d) s^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.bounds.rounding import gamma, up
from approxattn.transformer.affine import (
    bounded,
    length,
    norms,
    roundoff,
    total_error,
    total_over_tokens,
)
from approxattn.transformer.shapes import check_parameters, check_width
from approxattn.transformer.token_map import PulledError

_TURN = 1.1547005383793  # 2 / sqrt 3, rounded up


class _Local(NamedTuple):
    """s_0 of each row, with delta and e joined, and e alone."""

    scale: HostArray
    moved: HostArray
    centring: HostArray


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """gain o (x - mean) / sqrt(variance + epsilon) + shift for every token.

    Parameters
    ----------
    gain, shift : array, shape (d,)
        Entry by entry.
    epsilon : float
        Positive; what is added to the variance.
    """

    gain: Array
    shift: Array
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_parameters("LayerNorm", {"gain": (self.gain, ("d",)), "shift": (self.shift, ("d",))})
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            msg = (
                f"epsilon(={self.epsilon}) must be finite and positive: a constant token has no "
                "variance to divide by"
            )
            raise ValueError(msg)

    def __call__(self, x: Array) -> Array:
        """Return y."""
        check_width("LayerNorm", x, self.gain.shape[0], self.gain)
        return self._unit(x, _arrays.namespace(x=x, gain=self.gain))[0] * self.gain + self.shift

    def vjp(self, x: Array, dout: Array) -> tuple[Array, Self]:
        """Return dx and the gradients of gain and shift."""
        xp = _arrays.namespace(x=x, dout=dout)
        unit, s = self._unit(x, xp)
        h = dout * self.gain
        dx = (
            h
            - xp.mean(h, axis=-1, keepdims=True)
            - unit * xp.mean(h * unit, axis=-1, keepdims=True)
        ) / s
        return dx, replace(
            self, gain=total_over_tokens(dout * unit, xp), shift=total_over_tokens(dout, xp)
        )

    def error(self, x: Array, delta: HostArray) -> HostArray:
        """Return max|gain| delta / s_0 and the rounding."""
        local, d, u = self._local(x, delta), x.shape[-1], roundoff(x)
        top = float(np.max(np.abs(_arrays.to_host(self.gain))))
        rounding = gamma(d + 10, u) * (2 * top * math.sqrt(d) + length(self.shift))
        return bounded(top * local.moved / local.scale + rounding)

    def vjp_error(self, x: Array, delta: HostArray, dout: Array, total: HostArray) -> PulledError:
        """Return the bounds of the module on dx, dgain, dshift."""
        xp, local, d, u = _arrays.namespace(x=x), self._local(x, delta), x.shape[-1], roundoff(x)
        g, s, top = norms(dout, xp), local.scale, float(np.max(np.abs(_arrays.to_host(self.gain))))
        turned = top * g * (_TURN * local.moved + local.centring) / (math.sqrt(d) * s * s)
        rounding = gamma(4 * d + 40, u) * 3 * top * g / s
        dx = top * np.max(1 / s, axis=-1, initial=0.0) * total + np.sum(turned + rounding, axis=-1)
        # |N| <= sqrt(d), and N is off by at most delta / s_0.
        unit = np.sum(g * (local.moved / s + gamma(d + 10, u) * math.sqrt(d)), axis=-1)
        gain = np.sum(math.sqrt(d) * total + unit) + gamma(g.size + 4, u) * 2 * math.sqrt(
            d
        ) * np.sum(g)
        return PulledError(
            bounded(dx), {"gain": float(bounded(gain)), "shift": total_error(total, g, u)}
        )

    def _unit(self, x: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return N(c) and s."""
        c = x - xp.mean(x, axis=-1, keepdims=True)
        s = xp.sqrt(xp.mean(c * c, axis=-1, keepdims=True) + self.epsilon)
        return c / s, s

    def _local(self, x: Array, delta: HostArray) -> _Local:
        xp, d, u = _arrays.namespace(x=x), x.shape[-1], roundoff(x)
        centring = up(2 * gamma(d + 2, u) * norms(x, xp))
        moved = bounded(delta + centring)
        # a lower bound
        spread = norms(x - xp.mean(x, axis=-1, keepdims=True), xp) * (1 - 4 * gamma(d + 10, u))
        nearest = np.maximum(spread - moved, 0.0)
        return _Local(np.sqrt(nearest * nearest / d + self.epsilon) * (1 - 1e-12), moved, centring)
