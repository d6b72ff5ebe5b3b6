"""Smooth activations phi, their slopes, and how fast both can change: |phi'| <= `slope`, |phi''| <=
`curvature`.

A gradient at an approximate point is near the gradient at the exact point only if phi' is
Lipschitz, so there is no relu here: at 1e-9 and at -1e-9 its slopes are 1 and 0. (Liang et al.
2024, section 5.4, allow any activation.)

gelu is x Phi(x) with the normal distribution function Phi, not its tanh approximation. The array
API standard has no erfc; here e^{z^2} erfc(z), z >= 0, is a Chebyshev series in s = (z - 3.75)/(z +
3.75) (Shepherd & Laframboise 1981, wording unverified), the coefficients computed with 40 digits;
what is cut off is below 2e-17.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from approxattn._arrays import Array, Namespace

_SHIFT = 3.75
_SERIES = (
    0.3050715409616002,
    -0.4348412727125775,
    0.1763511936436055,
    -0.06071079560924942,
    0.01771206899569411,
    -0.004321119385567298,
    0.000854216676887095,
    -0.00012715509060916606,
    1.1248167243668289e-05,
    3.130638854193594e-07,
    -2.7098806853975216e-07,
    3.073762269991434e-08,
    2.5156203838400165e-09,
    -1.0289299217699386e-09,
    2.9944052203712544e-11,
    2.6051790302890954e-11,
    -2.634838785100344e-12,
    -6.434028625658134e-13,
    1.1245953560553769e-13,
    1.7284125605588154e-14,
    -4.261085059631003e-15,
    -5.419703940020445e-16,
    1.6243970676068768e-16,
    2.4933637515557718e-17,
)

ROUNDING = 64
"""A computed phi(x) is within ROUNDING u (|x| + 1) of the exact one, a computed phi'(x) too:
*chosen*, about four times the largest error seen.
"""


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A function of one number, applied entry by entry.

    Attributes
    ----------
    value, derivative : callable
        (x, namespace) -> phi(x), phi'(x).
    slope, curvature : float
        Bounds on \\|phi'\\| and \\|phi''\\| over the whole line.
    """

    value: Callable[[Array, Namespace], Array]
    derivative: Callable[[Array, Namespace], Array]
    slope: float
    curvature: float


def normal_distribution(x: Array, xp: Namespace) -> Array:
    """Return Phi(x), the probability that a standard normal variable is at most x."""
    # Phi(-40) is 0 in float64, and 2 |x| would overflow for the largest floats
    z = xp.minimum(xp.abs(x), xp.full_like(x, 40.0)) * math.sqrt(0.5)
    s = 2 * (z - _SHIFT) / (z + _SHIFT)
    here, before = xp.zeros_like(s), xp.zeros_like(s)
    for c in reversed(_SERIES[1:]):  # Clenshaw
        here, before = s * here - before + c, here
    upper = 0.5 * (s / 2 * here - before + _SERIES[0]) * xp.exp(-z * z)  # Phi(-|x|)
    return xp.where(x < 0, upper, 1 - upper)


def _gelu(x: Array, xp: Namespace) -> Array:
    return x * normal_distribution(x, xp)


def _gelu_slope(x: Array, xp: Namespace) -> Array:
    near = xp.minimum(xp.abs(x), xp.full_like(x, 40.0))
    return normal_distribution(x, xp) + x * xp.exp(-0.5 * near * near) * (
        1 / math.sqrt(2 * math.pi)
    )


def _sigmoid(x: Array, xp: Namespace) -> Array:
    return 0.5 * (1 + xp.tanh(0.5 * x))


def _silu(x: Array, xp: Namespace) -> Array:
    return x * _sigmoid(x, xp)


def _silu_slope(x: Array, xp: Namespace) -> Array:
    s = _sigmoid(x, xp)
    return s * (1 + x * (1 - s))


def _tanh(x: Array, xp: Namespace) -> Array:
    return xp.tanh(x)


def _tanh_slope(x: Array, xp: Namespace) -> Array:
    t = xp.tanh(x)
    return 1 - t * t


ACTIVATIONS = {
    # gelu' = Phi + x Phi' is largest at sqrt 2, gelu'' = (2 - x^2) Phi' at 0.
    "gelu": Activation(
        value=_gelu, derivative=_gelu_slope, slope=1.1289041451852, curvature=0.7978845608029
    ),
    # silu' is largest at 2.39935..., silu'' at 0, where it is 1/2.
    "silu": Activation(value=_silu, derivative=_silu_slope, slope=1.0998393201289, curvature=0.5),
    # tanh'' = -2 t (1 - t^2) is largest at t^2 = 1/3.
    "tanh": Activation(value=_tanh, derivative=_tanh_slope, slope=1.0, curvature=0.7698003589196),
}


def activation(name: str) -> Activation:
    """Return the activation of a name.

    Raises
    ------
    ValueError
        If it is not one of `ACTIVATIONS`.
    """
    if name not in ACTIVATIONS:
        msg = (
            f"activation(={name!r}) must be one of {', '.join(ACTIVATIONS)}: only smooth ones "
            "have a gradient that can be approximated; give another one as Custom(value=..., "
            "gradient=...)"
        )
        raise ValueError(msg)
    return ACTIVATIONS[name]
