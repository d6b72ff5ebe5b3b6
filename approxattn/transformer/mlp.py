"""The two-layer perceptron g(x) = phi(x W_1 + b_1) W_2 + b_2, and errors in it.

With a = x W_1 + b_1, h = phi(a) and H = (G W_2^T) o phi'(a), the gradient is dx = H W_1^T, dW_2 =
h^T G, dW_1 = x^T H.

Errors (proved here). |phi'| <= s and |phi''| <= c on the whole line.

1. A row of a is off by at most alpha = |W_1| delta + rounding.
2. One entry of a is off by at most alpha_1 = max_b |W_1:b| delta + rounding, and by at most alpha.
3. h is off by at most s alpha in a row.
4. phi'(a) is off by at most c alpha_1 in an entry.
5. H is off by at most s |W_2| |error of G| + c alpha_1 |G W_2^T| in a row, by |phi'| <= s and 4.
6. Only the values of phi' between a and the exact a enter 3 and 5. So for each token s may be the
   largest |phi'| of its own entries of a, plus c alpha_1, where that is smaller. Near 0, gelu has
   the slope 1/2, not 1.13.

Where phi' has a jump, c does not exist, and neither does a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.bounds.rounding import gamma
from approxattn.transformer.activations import ROUNDING, activation
from approxattn.transformer.affine import (
    affine,
    affine_rounding,
    bounded,
    euclidean,
    norms,
    outer_error,
    outer_total,
    plain_roundoff,
    roundoff,
    spectral,
    tiny,
    total_error,
    total_over_tokens,
)
from approxattn.transformer.shapes import check_parameters, check_width
from approxattn.transformer.token_map import PulledError


class _Hidden(NamedTuple):
    """Before and after the activation, with the bounds on their rows' errors and on the largest
    error of an entry before it; s of each token.
    """

    before: Array
    after: Array
    row: HostArray
    entry: HostArray
    after_row: HostArray
    slope: HostArray


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """phi(x W_1 + b_1) W_2 + b_2 for every token.

    Parameters
    ----------
    w1, w2 : array, shapes (d, hidden), (hidden, d')
        W_1, W_2.
    b1, b2 : array, shapes (hidden,), (d',), optional
        None: 0.
    activation : {"gelu", "silu", "tanh"}
        phi. gelu is the one with the normal distribution function.
    """

    w1: Array
    w2: Array
    b1: Array | None = None
    b2: Array | None = None
    activation: str = "gelu"

    def __post_init__(self) -> None:
        activation(self.activation)
        shapes = {
            "w1": (self.w1, ("d", "hidden")),
            "b1": (self.b1, ("hidden",)),
            "w2": (self.w2, ("hidden", "d'")),
            "b2": (self.b2, ("d'",)),
        }
        check_parameters("Mlp", shapes)

    def __call__(self, x: Array) -> Array:
        """Return g(x)."""
        check_width("Mlp", x, self.w1.shape[0], self.w1)
        xp = _arrays.namespace(x=x, w1=self.w1)
        return affine(
            activation(self.activation).value(affine(x, self.w1, self.b1, xp), xp),
            self.w2,
            self.b2,
            xp,
        )

    def vjp(self, x: Array, dout: Array) -> tuple[Array, Self]:
        """Return dx and the gradients of W_1, b_1, W_2, b_2."""
        xp, phi = _arrays.namespace(x=x, dout=dout), activation(self.activation)
        a = affine(x, self.w1, self.b1, xp)
        back = xp.matmul(dout, xp.matrix_transpose(self.w2)) * phi.derivative(a, xp)  # H
        gradient = replace(
            self,
            w1=outer_total(x, back, xp),
            b1=None if self.b1 is None else total_over_tokens(back, xp),
            w2=outer_total(phi.value(a, xp), dout, xp),
            b2=None if self.b2 is None else total_over_tokens(dout, xp),
        )
        return xp.matmul(back, xp.matrix_transpose(self.w1)), gradient

    def error(self, x: Array, delta: HostArray) -> HostArray:
        """Return |W_2| s alpha and the rounding."""
        hidden = self._hidden(x, delta)
        rounding = affine_rounding(norms(hidden.after, _arrays.namespace(x=x)), self.w2, self.b2)
        return bounded(spectral(self.w2) * hidden.after_row + rounding)

    def vjp_error(self, x: Array, delta: HostArray, dout: Array, total: HostArray) -> PulledError:
        """Return the bounds of the module on dx, dW_1, dW_2, db_1, db_2."""
        xp, u, phi = _arrays.namespace(x=x), plain_roundoff(x), activation(self.activation)
        hidden, g = self._hidden(x, delta), norms(dout, xp)
        pulled = xp.matmul(dout, xp.matrix_transpose(self.w2))  # G W_2^T
        pulled_norms, pulled_noise = (
            norms(pulled, xp),
            affine_rounding(g, xp.matrix_transpose(self.w2), None),
        )
        slope_noise = ROUNDING * u * (norms_inf(hidden.before) + 1) + 2 * u * phi.slope
        noise = (
            phi.slope * pulled_noise
            + (phi.curvature * hidden.entry + slope_noise) * pulled_norms
            + math.sqrt(pulled.shape[-1]) * tiny(x)  # products with phi' that underflow
        )
        steepest = np.max(hidden.slope, axis=-1, initial=0.0)
        back_total = bounded(steepest * spectral(self.w2) * total + np.sum(noise, axis=-1))
        back = norms(pulled * phi.derivative(hidden.before, xp), xp)
        rounding = np.sum(affine_rounding(back, xp.matrix_transpose(self.w1), None), axis=-1)
        parameters = {
            "w1": outer_error(norms(x, xp), delta, back, back_total, self.w1),
            "w2": outer_error(norms(hidden.after, xp), hidden.after_row, g, total, self.w2),
        }
        if self.b1 is not None:
            parameters["b1"] = total_error(back_total, back, self.b1)
        if self.b2 is not None:
            parameters["b2"] = total_error(total, g, self.b2)
        return PulledError(bounded(spectral(self.w1) * back_total + rounding), parameters)

    def _hidden(self, x: Array, delta: HostArray) -> _Hidden:
        xp, u, phi = _arrays.namespace(x=x), roundoff(x), activation(self.activation)
        before, size = affine(x, self.w1, self.b1, xp), norms(x, xp)
        widest = np.max(euclidean(_arrays.to_float64(self.w1), 0))
        offset = 0.0 if self.b1 is None else float(np.max(np.abs(_arrays.to_float64(self.b1))))
        d, width = self.w1.shape
        row = bounded(spectral(self.w1) * delta + affine_rounding(size, self.w1, self.b1))
        entry = bounded(
            widest * delta + gamma(d + 2, u) * bounded(widest * size + offset) + (d + 2) * tiny(x)
        )
        entry = np.minimum(entry, row)
        phi_roundoff = ROUNDING * plain_roundoff(x)
        phi_rounding = phi_roundoff * (norms(before, xp) + math.sqrt(width))
        here = norms_inf(phi.derivative(before, xp)) + phi_roundoff * (norms_inf(before) + 1)
        slope = np.minimum(phi.slope, bounded(here + phi.curvature * entry))
        after_row = bounded(slope * row + phi_rounding)
        return _Hidden(before, phi.value(before, xp), row, entry, after_row, slope)


def norms_inf(x: Array) -> HostArray:
    """Return the largest absolute entry of each row, shape (..., n), on the host."""
    xp = _arrays.namespace(x=x)
    return _arrays.to_float64(xp.max(xp.abs(x), axis=-1))
