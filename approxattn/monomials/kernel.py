"""Sums with the kernel P(x_i . y_j) and their gradients, by features or by scores, whichever costs
less.

Symbols. u is the unit roundoff, g the degree, d the width of tokens, r the number of monomials,
P_abs the sum of the sizes of the terms of P, t_n the additions behind a sum over n keys in its
chunks (`numpy_contraction`: no more, in chunks of its own length).

Rounding (proved here).

1. A term of a computed sum sum_j P(x_i . y_j) v_j is off by a factor of at most (1 + u)^K, relative
   to sum_t |c_t| (|x_i| |y_j|)^t |v_j|. K counts the roundings on its way.
2. With features: 2 g for the monomials of both sides, 4 for the weight, r for the product with the
   state, t_n for the sum over keys.
3. By scores: g (d + 2) for the powers of a dot product, 2 g for Horner's rule, t_n.
4. The caller adds what the tokens themselves were rounded by, g times for each.
5. A term of part_t, sum_j c_t (x_i . y_j)^t v_j, is off by the same factor at most, relative to
   |c_t| (|x_i| |y_j|)^t |v_j|. By features a part is a sum over fewer monomials
   (`numpy_contraction`, 7), by scores it is a power (`parts.powers`, 4).

Underflow (proved here), all per key. Let w be the smallest normal number, M_x, M_y >= 1 bounds on
the entries of the tokens, B one on the scores, omega one on the weights; values are at most 1.

1. An operation that underflows loses at most w, whether flushed to 0 or not. What is lost grows
   with the factors that follow.
2. A score loses at most d w (M_x + M_y + 1), which P turns into g P_abs(max(B, 1)) times as much.
3. By scores, Horner's rule in x / b on c_t b^t loses at most 2 w at step t, which then grows by
   (B/b)^t.
4. By features a monomial of y loses g w M_y^{g-1}, its product with a value and with the weight 2 w
   omega M_y^g more, a monomial of x g w M_x^{g-1}, the last product w. Where a product is made of
   parts of its factors (`device.tensor_cores`), two parts and three products lose w: 4 more, twice.
5. So features lose at most (2 g + 12) omega w (M_x M_y)^g in each of r products.
6. A part loses no more by 2, 4 and 5, since its terms are some of those. Its powers in the place of
   Horner's rule lose what `parts.powers` says: `parts_underflow` adds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.bounds.rounding import blocked_sum_terms, up, whole_power
from approxattn.monomials.both_ways import BothWays
from approxattn.monomials.contraction import chunk_length, weights
from approxattn.monomials.dense import SCORE_BLOCK, dense_gradient, dense_sums, radix
from approxattn.monomials.device import contraction, tensor_cores
from approxattn.monomials.index import rank
from approxattn.monomials.numpy_adjoint import numpy_gradient, numpy_gradients
from approxattn.monomials.numpy_contraction import (
    numpy_sums,
    numpy_sums_and_states,
    numpy_sums_with_parts,
)
from approxattn.monomials.numpy_features import chunk_tokens
from approxattn.monomials.parts import powers
from approxattn.monomials.parts.cuts import check_degrees
from approxattn.monomials.parts.dense import dense_sums_with_parts
from approxattn.monomials.parts.numpy_scores import numpy_dense_gradient, numpy_dense_sums
from approxattn.monomials.states import read_states_with_parts


@dataclass(frozen=True, kw_only=True)
class Kernel(BothWays):
    """P(x_i . y_j); `coefficients` are c_0 ... c_g of P."""

    coefficients: tuple[float, ...]

    @property
    def degree(self) -> int:
        """g."""
        return len(self.coefficients) - 1

    def sums(self, x: Array, y: Array, values: Array) -> Array:
        """Return sum_j P(x_i . y_j) values_j, shapes (..., n_x, d), (..., n_y, d), (..., n_y, m) ->
        (..., n_x, m).
        """
        if self.kind == "features" and _arrays.on_host(x, y, values):
            return numpy_sums(x, y, values, self.coefficients, self.causal, self.heads)
        if self.heads > 1:
            one, own, over = self._apart_heads(x)
            return self._in_rows(one.sums(own(x), over(y), over(values)))
        if self.kind == "scores" and _arrays.on_host(x, y, values):
            return numpy_dense_sums(x, y, values, self.coefficients, self.causal)[0]
        by = self._sums_by(0, x, y, values) if self.kind == "features" else dense_sums
        return self._items(
            lambda a, b, c: by(a, b, c, self.coefficients, self.causal, self.xp), x, y, values
        )

    def gradient_x(self, x: Array, left: Array, y: Array, right: Array) -> Array:
        """Return sum_j P'(x_i . y_j) (left_i . right_j) y_j, shape (..., n_x, d)."""
        if self.heads > 1:
            one, own, over = self._apart_heads(x)
            return self._in_rows(one.gradient_x(own(x), own(left), over(y), over(right)))
        earlier = self._earlier(x, y)
        if earlier:
            first, rest = (
                k.gradient_x(x, left, y[..., s, :], right[..., s, :])
                for k, s in self._apart(earlier)
            )
            return first + rest
        if _arrays.on_host(x, left, y, right):
            gradient = numpy_gradient if self.kind == "features" else numpy_dense_gradient
            return gradient(x, left, y, right, self.coefficients, self.causal)
        features = self.kind == "features"
        by = contraction.contract_gradient if features else dense_gradient
        return self._items(
            lambda a, b, c, e: by(a, b, c, e, self.coefficients, self.causal, self.xp),
            x,
            left,
            y,
            right,
        )

    def sums_and_states(self, x: Array, y: Array, values: Array) -> tuple[Array, Array | None]:
        """Return the sums, and the states of (y, values) for `gradients` where these can
        use them.
        """
        if self.kind == "features" and not self.causal and _arrays.on_host(x, y, values):
            return numpy_sums_and_states(x, y, values, self.coefficients)
        return self.sums(x, y, values), None

    def sums_with_parts(
        self,
        x: Array,
        y: Array,
        values: Array,
        degrees: tuple[int, ...],
        *,
        keep: bool = False,
        initial: Array | None = None,
    ) -> tuple[Array, Array, Array | None]:
        """Return the sums, the parts of their last column by degree, and what `sums_and_states`
        keeps.

        Parameters
        ----------
        x, y, values : array, shapes (..., n_x, d), (..., n_y, d), (..., n_y, m)
            As for `sums`.
        degrees : tuple of int
            The t for which part_t(i) = sum_j c_t (x_i . y_j)^t values_jm is wanted, increasing,
            each in 1 ... g.
        keep : bool
            Whether to return the states for `gradients`; causal sums, the state of all of y.
        initial : array, shape (..., r, m), optional
            What a causal sum starts from: a weighted state, as `states.states` makes it.

        Returns
        -------
        sums, parts : array, shapes (..., n_x, m), (..., n_x, number of degrees)
            The sums equal those of `sums` up to the order of their additions.
        states : array or None
        """
        m = values.shape[-1]
        check_degrees(degrees, self.degree, m)
        if initial is not None and not (self.kind == "features" and _arrays.on_host(x, initial)):
            more = read_states_with_parts(x, initial, self.degree, self.xp, degrees)
            later = self.sums_with_parts(x, y, values, degrees)
            return later[0] + more[0], later[1] + more[1], None
        if self.heads > 1 and not (self.kind == "features" and _arrays.on_host(x, y, values)):
            one, own, over = self._apart_heads(x)
            found = one.sums_with_parts(own(x), over(y), over(values), degrees)
            return self._in_rows(found[0]), self._in_rows(found[1]), None
        if _arrays.on_host(x, y, values):
            common = x, y, values, self.coefficients, self.causal, degrees
            if self.kind == "features":
                return numpy_sums_with_parts(*common, keep, initial, self.heads)
            return *numpy_dense_sums(*common), None
        if not (math.prod(x.shape[:-1]) and y.shape[-2]):
            shape = (*x.shape[:-1], m + len(degrees))
            wide = self.xp.zeros(shape, dtype=x.dtype, device=_arrays.device(x))
        else:
            by = dense_sums_with_parts
            if self.kind == "features":
                by = self._sums_by(len(degrees), x, y, values)
            wide = self._items(
                lambda a, b, c: by(a, b, c, self.coefficients, self.causal, self.xp, degrees),
                x,
                y,
                values,
            )
        return wide[..., :m], wide[..., m:], None

    def gradients(
        self, x: Array, left: Array, y: Array, right: Array, states: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Return the gradients of sum_ij P(x_i . y_j) (left_i . right_j) with respect to x, y and
        right, which share their sums.
        """
        if self.kind == "features" and not self.causal and _arrays.on_host(x, left, y, right):
            return numpy_gradients(x, left, y, right, self.coefficients, states)
        dx, dy = self.gradient_x(x, left, y, right), self.gradient_y(x, left, y, right)
        return dx, dy, self.transposed_sums(x, y, left)

    def _sums_by(self, more: int, x: Array, y: Array, values: Array) -> Callable[..., Array]:
        """Return `contract`, on tensor cores where they take these arrays; for so many columns more
        than those of the values.
        """
        (n, d), degree = y.shape[-2:], len(self.coefficients) - 1
        # these may be some of the keys of a causal problem
        limit = min(sum_roundings("features", n, d, degree, mask) for mask in (False, True))
        wide = values.shape[-1] + more
        if not self.causal and tensor_cores.serves(d, degree, wide, n, limit, x, y, values):
            return tensor_cores.contract
        return contraction.contract

    def _items(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """Apply f to each item; to all at once by scores, whose blocks are small anyway."""
        return f(*arrays) if self.kind == "scores" else super()._items(f, *arrays)


def cheapest_kind(n_x: int, n_y: int, d: int, degree: int, m: int) -> str:
    """Return "features" when (n_x + n_y) r (m + 1) operations are fewer than n_x n_y (d + g + m),
    else "scores".
    """
    return (
        "features"
        if (n_x + n_y) * rank(d, degree) * (m + 1) < n_x * n_y * (d + degree + m)
        else "scores"
    )


def underflow(
    kind: str,
    coefficients: tuple[float, ...],
    bound: HostArray,
    m_x: float,
    m_y: float,
    d: int,
    tiny: float,
) -> HostArray:
    """Return what underflow can take from one term P(x_i . y_j) v_j, |v_j| <= 1, given B_i and the
    largest entries of x and y: shape of B_i.
    """
    g, size = len(coefficients) - 1, np.maximum(bound, 1.0)
    m_x, m_y = max(m_x, 1.0), max(m_y, 1.0)
    with np.errstate(over="ignore"):
        absolute = np.full_like(size, abs(coefficients[-1]))
        for c in reversed(coefficients[:-1]):
            absolute = absolute * size + abs(c)
        lost = g * absolute * (d * tiny) * (m_x + m_y + 1)
        ratio = np.maximum(np.ldexp(bound, -radix(coefficients)), 1.0)
        by_scores = 2 * (g + 1) * tiny * whole_power(ratio, g)
        if kind == "scores":
            return up(lost + by_scores)
        of_features = (2 * g + 12) * tiny * largest_partial_sum(coefficients, d, m_x, m_y)
        return up(lost + of_features + by_scores)


def parts_underflow(
    of_sums: HostArray, coefficients: tuple[float, ...], bound: HostArray, tiny: float
) -> HostArray:
    """Return what underflow can take from one term c_t (x_i . y_j)^t v_j of any part, |v_j| <= 1,
    given what it can take from a term of the sums (`underflow`).
    """
    return up(of_sums + powers.loss(coefficients, bound, tiny))


def largest_partial_sum(coefficients: tuple[float, ...], d: int, m_x: float, m_y: float) -> float:
    """Bound every monomial, weighted monomial and partial sum over r of them, for tokens with
    entries of at most m_x and m_y and one value of size 1.
    """
    g, omega = len(coefficients) - 1, max(1.0, float(np.max(np.abs(weights(coefficients, d)))))
    with np.errstate(over="ignore"):
        return float(rank(d, g) * omega * np.power(max(m_x, 1.0) * max(m_y, 1.0), float(g)))


def sum_roundings(kind: str, n_y: int, d: int, degree: int, causal: bool) -> int:
    """Return K of the module's rounding analysis."""
    direct = degree * (d + 4) + 4
    if kind == "scores":
        return direct + blocked_sum_terms(n_y, SCORE_BLOCK)
    own_chunk = direct + blocked_sum_terms(n_y, SCORE_BLOCK) if causal else 0
    return max(feature_roundings(d, degree), own_chunk) + key_sum_terms(n_y, d, degree, causal) + 2


def feature_roundings(d: int, degree: int) -> int:
    """Return the part of K that has nothing to do with the number of keys, by features."""
    return 2 * degree + 4 + rank(d, degree)


def key_sum_terms(n_y: int, d: int, degree: int, causal: bool) -> int:
    """Return t_n, by features.

    Keys before all queries of a causal problem may be summed apart, in the chunks of a plain one.
    """
    steps = {chunk_length(d, degree), *(chunk_tokens(d, degree, mask) for mask in {causal, False})}
    return max(blocked_sum_terms(n_y, step) for step in steps)
