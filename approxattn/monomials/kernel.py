"""Sums with the kernel P(x_i . y_j) and their gradients, by features or by scores, whichever costs less.

Rounding (proved here). Every term of a computed sum sum_j P(x_i . y_j) v_j is off by a factor of at most (1 + u)^K relative to
sum_t |c_t| (|x_i| |y_j|)^t |v_j|, where K counts the roundings on its way: with features, 2 g for the monomials of both sides, 4 for the weight, r for the
product with the state, t_n for the sum over keys in its chunks; by scores, g (d + 2) for the powers of a dot product, 2 g for Horner, t_n.
The caller adds what the tokens themselves were rounded by, g times for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from approxattn._arrays import Array, Namespace
from approxattn.monomials.adjoint import contract_gradient
from approxattn.monomials.contraction import chunk_length, contract
from approxattn.monomials.dense import SCORE_BLOCK, dense_gradient, dense_sums
from approxattn.monomials.index import rank
from approxattn.rounding import blocked_sum_terms


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """P(x_i . y_j) for i < n_x, j < n_y, with j <= i if causal.

    Attributes
    ----------
    coefficients : tuple of float
        c_0 ... c_g of P.
    kind : str
        "features" or "scores".
    """

    coefficients: tuple[float, ...]
    causal: bool
    kind: str
    xp: Namespace

    def sums(self, x: Array, y: Array, values: Array) -> Array:
        """Return sum_j P(x_i . y_j) values_j, shapes (..., n_x, d), (..., n_y, d), (..., n_y, m) -> (..., n_x, m)."""
        by = contract if self.kind == "features" else dense_sums
        return self._items(lambda a, b, c: by(a, b, c, self.coefficients, self.causal, self.xp), x, y, values)

    def transposed_sums(self, x: Array, y: Array, values: Array) -> Array:
        """Return sum_i P(x_i . y_j) values_i, shapes (..., n_x, d), (..., n_y, d), (..., n_x, m) -> (..., n_y, m)."""
        return self._flipped(self.sums, y, x, values)

    def gradient_x(self, x: Array, left: Array, y: Array, right: Array) -> Array:
        """Return sum_j P'(x_i . y_j) (left_i . right_j) y_j, shape (..., n_x, d)."""
        by = contract_gradient if self.kind == "features" else dense_gradient
        return self._items(
            lambda a, b, c, e: by(a, b, c, e, self.coefficients, self.causal, self.xp), x, left, y, right
        )

    def gradient_y(self, x: Array, left: Array, y: Array, right: Array) -> Array:
        """Return sum_i P'(x_i . y_j) (left_i . right_j) x_i, shape (..., n_y, d)."""
        return self._flipped(self.gradient_x, y, right, x, left)

    def _items(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """Apply f to each item of the leading axes: features of many items at a time would not fit the memory promised."""
        if self.kind == "scores" or arrays[0].ndim == 2:
            return f(*arrays)
        batch = arrays[0].shape[:-2]
        flat = [self.xp.reshape(a, (-1, *a.shape[-2:])) for a in arrays]
        out = self.xp.stack([f(*(a[i, ...] for a in flat)) for i in range(flat[0].shape[0])])
        return self.xp.reshape(out, (*batch, *out.shape[-2:]))

    def _flipped(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """Apply f with the roles of x and y swapped; under a causal mask j <= i becomes i <= j again once both run backwards (suffix sums)."""
        if not self.causal:
            return f(*arrays)
        return self.xp.flip(f(*(self.xp.flip(a, axis=-2) for a in arrays)), axis=-2)


def cheapest_kind(n_x: int, n_y: int, d: int, degree: int, m: int) -> str:
    """Return "features" when (n_x + n_y) r (m + 1) operations are fewer than n_x n_y (d + g + m), else "scores"."""
    return "features" if (n_x + n_y) * rank(d, degree) * (m + 1) < n_x * n_y * (d + degree + m) else "scores"


def sum_roundings(kind: str, n_y: int, d: int, degree: int, causal: bool) -> int:
    """Return K of the module's rounding analysis."""
    direct = degree * (d + 4) + 4
    if kind == "scores":
        return direct + blocked_sum_terms(n_y, SCORE_BLOCK)
    by_features = 2 * degree + 4 + rank(d, degree)
    own_chunk = direct + blocked_sum_terms(n_y, SCORE_BLOCK) if causal else 0
    return max(by_features, own_chunk) + blocked_sum_terms(n_y, chunk_length(d, degree)) + 2
