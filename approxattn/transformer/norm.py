"""Layer normalisation and errors in it.

y = gain o N(c) + shift, with c = x - mean x and N(z) = z / sqrt(|z|^2/d + eps). Let r(z) =
sqrt(|z|^2 + d eps) and s(z) = r(z) / sqrt(d), so that N(z) = z / s(z) = sqrt(d) grad r(z).

Lipschitz constants (proved here). Let z, z' be delta apart, and s_0^2 = max(|z| - delta, 0)^2 / d +
eps, so that s_0 <= s on the segment between them.

1. J_N = (I - z z^T / r^2) / s, hence |J_N| <= 1/s.
2. By 1, |N(z') - N(z)| <= delta / s_0.
3. The derivative of J_N is sqrt(d) times the third derivative of r. That is a symmetric form, so
   (Banach) its norm is its largest value on one unit vector h.
4. With t = z.h / r in [-1, 1], D^3 r[h, h, h] = -3 t (1 - t^2) / r^2, at most 2 / (sqrt 3 r^2).
5. By 3 and 4, |J_N(z') - J_N(z)| <= (2 / sqrt 3) delta / (sqrt(d) s_0^2).
6. Subtracting the mean is an orthogonal projection: it enlarges no distance.

Local s_0: for ordinary tokens it is near their standard deviation, not near sqrt(eps).

How it is computed. No square is taken of anything but fractions, so that entries up to the largest
float do. w is the smallest normal number of the dtype, and w <= eps is required, so that sqrt(eps)
>= sqrt(w).

    h = sqrt(w) if max|x| > 1/sqrt(w), else 1;     y = h x;        c = y - mean y;
    e = h sqrt(eps);     m = max(max|c|, e);       z = c / m;      q = sqrt(mean z^2 + (e / m)^2);
    N = z / q,     s = m q / h.

Rounding (proved here; relative errors add up as indices of gamma).

1. sqrt(w) is a power of two, so y is h x but for underflow, which takes at most w from an entry.
2. |y| <= sqrt(d) max(1/sqrt(w), sqrt(w) largest) and e >= w: nothing overflows, and m > 0.
3. A computed mean is off by at most gamma_{d+1} mean|y|. So a computed row c is off by at most
   gamma_{d+1} |y| + u (1 + gamma_{d+1}) |y| <= 2 gamma_{d+2} |y|, and 4 sqrt(d) w for underflow.
   Call the sum of the two e'.
4. For the computed c, m has no error and z has u. The largest of |z| and e/m is 1, so q^2 >= 1/d:
   what underflows in z, z^2 or e/m is at most 4 d^2 w of it, far below u.
5. The mean of d squares of z is off by gamma_{d+3}, (e / m)^2 by gamma_5, their sum by gamma_{d+5},
   q by gamma_{d+5} and N = z / q by gamma_{d+7}, relatively.
6. |N| <= sqrt(d). So gain o N + shift is off by gamma_{d+10} (2 max|gain| sqrt(d) + |shift|) + 4
   sqrt(d) w in a row, beside what the error of c does (Lipschitz constants, 2).

The gradient is (g - mean g - N mean(g o N)) / s with g = gain o G.

7. It drops N mean(N) as 0. For the computed c, |mean N| <= e' / (sqrt(d) s): that adds at most |g|
   e' / (sqrt(d) s^2) to a row.
8. Each of its three terms has at most 4 d + 40 roundings and is at most |g| / s long.
9. What underflows loses at most w in each of g, g o N, its mean, N times that, and the quotient:
   10 sqrt(d) w (1 / s + 1) in a row.

All lengths below are those of y = h x: h delta in place of delta. Quotients of two are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_positive
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.bounds.rounding import gamma
from approxattn.transformer.affine import (
    bounded,
    length,
    norms,
    plain_roundoff,
    tiny,
    total_error,
    total_over_tokens,
)
from approxattn.transformer.shapes import check_parameters, check_width
from approxattn.transformer.token_map import PulledError

_TURN = 1.1547005383793  # 2 / sqrt 3, rounded up


class _Normed(NamedTuple):
    """c, N, h s and h of each row, shapes (..., n, d) twice, (..., n, 1) twice."""

    centred: Array
    unit: Array
    deviation: Array
    factor: Array


class _Local(NamedTuple):
    """Of each row, shape (..., n): h delta and e' together, as a fraction of h s_0; e' alone, as
    such a fraction; 1/s_0.
    """

    moved: HostArray
    centring: HostArray
    inverse: HostArray


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """gain o (x - mean) / sqrt(variance + epsilon) + shift for every token.

    Parameters
    ----------
    gain, shift : array, shape (d,)
        Entry by entry.
    epsilon : float
        What is added to the variance: a positive number that the dtype holds in full precision.
    """

    gain: Array
    shift: Array
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_parameters("LayerNorm", {"gain": (self.gain, ("d",)), "shift": (self.shift, ("d",))})
        epsilon = check_positive("epsilon", self.epsilon)
        name = _arrays.dtype_name(self.gain)
        low, high = _arrays.smallest_normal(name), _arrays.largest(name)
        if not low <= epsilon <= high:
            msg = (
                f"epsilon(={self.epsilon}) must lie in [{low:.3g}, {high:.3g}], the numbers that "
                f"{name} holds in full precision: choose one of those, or use float64"
            )
            raise ValueError(msg)

    def __call__(self, x: Array) -> Array:
        """Return y."""
        check_width("LayerNorm", x, self.gain.shape[0], self.gain)
        normed = self._normed(x, _arrays.namespace(x=x, gain=self.gain))
        return normed.unit * self.gain + self.shift

    def vjp(self, x: Array, dout: Array) -> tuple[Array, Self]:
        """Return dx and the gradients of gain and shift."""
        xp = _arrays.namespace(x=x, dout=dout)
        normed = self._normed(x, xp)
        unit, g = normed.unit, dout * self.gain
        along = g - xp.mean(g, axis=-1, keepdims=True)
        along = along - unit * xp.mean(g * unit, axis=-1, keepdims=True)
        gain, shift = total_over_tokens(dout * unit, xp), total_over_tokens(dout, xp)
        dx = along / normed.deviation * normed.factor
        return dx, replace(self, gain=gain, shift=shift)

    def error(self, x: Array, delta: HostArray) -> HostArray:
        """Return max|gain| delta / s_0 and the rounding."""
        local, d, u = self._local(x, delta), x.shape[-1], plain_roundoff(x)
        top = self._largest_gain()
        rounding = gamma(d + 10, u) * (2 * top * math.sqrt(d) + length(self.shift))
        return bounded(top * local.moved + rounding + 4 * math.sqrt(d) * tiny(x))

    def vjp_error(self, x: Array, delta: HostArray, dout: Array, total: HostArray) -> PulledError:
        """Return the bounds of the module on dx, dgain, dshift."""
        xp, local, d, u = (
            _arrays.namespace(x=x),
            self._local(x, delta),
            x.shape[-1],
            plain_roundoff(x),
        )
        size, top, root = norms(dout, xp), self._largest_gain(), math.sqrt(d)
        g = bounded(top * size)
        turned = g * bounded((_TURN * local.moved + local.centring) * local.inverse / root)
        rounding = gamma(4 * d + 40, u) * 3 * bounded(g * local.inverse)
        lost = 10 * root * tiny(x) * (local.inverse + 1)
        steepest = bounded(top * np.max(local.inverse, axis=-1, initial=0.0))
        dx = steepest * total + np.sum(turned + rounding + lost, axis=-1)
        # |N| <= sqrt(d), and N is off by at most `moved`
        unit = np.sum(size * (local.moved + gamma(d + 10, u) * root), axis=-1)
        gain = np.sum(root * total + unit) + root * total_error(0 * total, 2 * size, self.gain)
        bounds = {"gain": float(bounded(gain)), "shift": total_error(total, size, self.shift)}
        return PulledError(bounded(dx), bounds)

    def _largest_gain(self) -> float:
        return float(np.max(np.abs(_arrays.to_float64(self.gain))))

    def _normed(self, x: Array, xp: Namespace) -> _Normed:
        """Compute N as the module says."""
        root = math.sqrt(tiny(x))
        top = xp.max(xp.abs(x), axis=-1, keepdims=True)
        factor = xp.where(top > 1 / root, xp.full_like(top, root), xp.ones_like(top))
        y = x * factor
        c = y - xp.mean(y, axis=-1, keepdims=True)
        e = factor * math.sqrt(self.epsilon)
        m = xp.maximum(xp.max(xp.abs(c), axis=-1, keepdims=True), e)
        z, floor = c / m, e / m
        q = xp.sqrt(xp.mean(z * z, axis=-1, keepdims=True) + floor * floor)
        return _Normed(c, z / q, m * q, factor)

    def _local(self, x: Array, delta: HostArray) -> _Local:
        xp, d, u = _arrays.namespace(x=x), x.shape[-1], plain_roundoff(x)
        normed = self._normed(x, xp)
        h = _arrays.to_float64(normed.factor[..., 0])
        y_norms = norms(x * normed.factor, xp)
        centring = bounded(2 * gamma(d + 2, u) * y_norms + 4 * math.sqrt(d) * tiny(x))
        moved = bounded(h * delta + centring)
        # a lower bound on |c|
        spread = norms(normed.centred, xp) * (1 - 4 * gamma(d + 10, u))
        nearest = np.maximum(spread - moved, 0.0) / math.sqrt(d)
        scale = np.hypot(nearest, h * math.sqrt(self.epsilon)) * (1 - 1e-12)  # h s_0
        return _Local(bounded(moved / scale), bounded(centring / scale), bounded(h / scale))
