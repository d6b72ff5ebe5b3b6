"""Index sets for coordinates of unequal weight: high degrees in the first ones (the head), low
degrees in the others (the tail).

Symbols. x = (x', x'') with d' and d'' coordinates, y likewise; C_h is a polynomial of degree g_h,
g_0 >= g_1 >= ... >= g_H.

1. The kernel is K(x, y) = sum_{h <= H} C_h(x' . y') (x'' . y'')^h.
2. It holds the monomials x'^alpha x''^beta with |beta| = h <= H and |alpha| <= g_h: with every
   monomial each of its divisors.
3. These are r = sum_h C(d'' + h - 1, h) C(d' + g_h, g_h).
4. Its features are, for each h, the products of the degree-h monomials of the tail with those of
   degree at most g_h of the head, both in the order of `index`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.bounds.rounding import blocked_sum_terms
from approxattn.monomials.adjoint import pull_back
from approxattn.monomials.both_ways import BothWays
from approxattn.monomials.contraction import (
    FEATURES_AT_ONCE,
    LARGEST_CHUNK,
    chunks,
    feature_blocks,
    features,
    weights,
)
from approxattn.monomials.dense import SCORE_BLOCK, derivative, horner, radix
from approxattn.monomials.index import multiplicities, rank, suffix_length

Table = tuple[tuple[float, ...], ...]
"""Coefficients of C_0 ... C_H."""


def split_rank(head: int, tail: int, degrees: tuple[int, ...]) -> int:
    """Return r for d' = `head`, d'' = `tail` and the degrees g_0 ... g_H."""
    return sum(suffix_length(tail, 0, h) * rank(head, g) for h, g in enumerate(degrees))


@dataclass(frozen=True, kw_only=True)
class SplitKernel(BothWays):
    """K(x_i, y_j).

    Attributes
    ----------
    table : tuple of tuples of float
        Coefficients of C_0 ... C_H.
    head, tail : int
        d' >= 1 and d'' >= 1, the numbers of coordinates.
    """

    table: Table
    head: int
    tail: int

    @property
    def degrees(self) -> tuple[int, ...]:
        """g_0 ... g_H."""
        return tuple(len(c) - 1 for c in self.table)

    @property
    def rank(self) -> int:
        """The number of features."""
        return split_rank(self.head, self.tail, self.degrees)

    @property
    def step(self) -> int:
        """Tokens whose features are held at one time."""
        return max(8, min(LARGEST_CHUNK, FEATURES_AT_ONCE // self.rank))

    def sums(self, x: Array, y: Array, values: Array) -> Array:
        """Return sum_j K(x_i, y_j) values_j, shapes (..., n_x, d), (..., n_y, d), (..., n_y, m) ->
        (..., n_x, m).
        """
        earlier = self._earlier(x, y)
        if earlier:
            first, rest = (
                k.sums(x, y[..., s, :], values[..., s, :]) for k, s in self._apart(earlier)
            )
            return first + rest
        return self._items(self._contract if self.kind == "features" else self._dense, x, y, values)

    def gradient_x(self, x: Array, left: Array, y: Array, right: Array) -> Array:
        """Return the gradient of sum_ij K(x_i, y_j) (left_i . right_j) with respect to x, shape
        (..., n_x, d).
        """
        earlier = self._earlier(x, y)
        if earlier:
            first, rest = (
                k.gradient_x(x, left, y[..., s, :], right[..., s, :])
                for k, s in self._apart(earlier)
            )
            return first + rest
        return self._items(
            self._pull if self.kind == "features" else self._dense_pull, x, left, y, right
        )

    def features(self, x: Array) -> Array:
        """Return the features of the rows of x, shape (tokens, d) -> (r, tokens)."""
        xp, tokens = self.xp, x.shape[0]
        head = features(x[:, : self.head], max(self.degrees), xp)
        tails = feature_blocks(x[:, self.head :], len(self.table) - 1, xp)
        products = [
            xp.reshape(block[:, None, :] * head[None, : rank(self.head, g), :], (-1, tokens))
            for block, g in zip(tails, self.degrees, strict=True)
        ]
        return xp.concat(products, axis=0)

    def weights(self) -> HostArray:
        """Return the weight of every feature, shape (r,)."""
        tail, blocks = multiplicities(self.tail, len(self.table) - 1), []
        for h, coefficients in enumerate(self.table):
            start, length = rank(self.tail, h - 1) if h else 0, suffix_length(self.tail, 0, h)
            blocks.append(np.kron(tail[start : start + length], weights(coefficients, self.head)))
        return np.concatenate(blocks)

    def absolute(self, head: HostArray, tail: HostArray) -> HostArray:
        """Return sum_h |C_h|(head) tail^h for head, tail >= 0: what the terms of K may add up to
        where |x'||y'| <= head, |x''||y''| <= tail.
        """
        total = np.zeros(np.broadcast_shapes(np.shape(head), np.shape(tail)))
        for coefficients in reversed(self.table):
            inner = np.zeros_like(total)
            for c in reversed(coefficients):
                inner = inner * head + abs(c)
            total = total * tail + inner
        return total

    def roundings(self, n_y: int) -> int:
        """Return K of the analysis in `kernel`: one more product for each side of a feature and for
        its weight.
        """
        g, d = max(self.degrees) + len(self.table) - 1, self.head + self.tail
        direct = g * (d + 4) + len(self.table) + 8 + blocked_sum_terms(n_y, SCORE_BLOCK)
        if self.kind == "scores":
            return direct
        return (
            max(
                2 * g + 10 + self.rank + blocked_sum_terms(n_y, self.step),
                direct if self.causal else 0,
            )
            + 2
        )

    def partial_sum(self, m_x: float, m_y: float) -> float:
        """Bound every feature, weighted feature and partial sum over r of them, for tokens with
        entries of at most m_x and m_y and one value of size 1.
        """
        g, omega = (
            max(self.degrees) + len(self.table) - 1,
            max(1.0, float(np.max(np.abs(self.weights())))),
        )
        with np.errstate(over="ignore"):
            return float(self.rank * omega * np.power(max(m_x, 1.0) * max(m_y, 1.0), float(g)))

    def underflow(
        self, head: HostArray, tail: HostArray, m_x: float, m_y: float, tiny: float
    ) -> HostArray:
        """Return what underflow can take from one term K(x_i, y_j) v_j, |v_j| <= 1, as in `kernel`:
        w lost by each operation, times all factors that follow.
        """
        g, d = max(self.degrees) + len(self.table) - 1, self.head + self.tail
        one, other = np.maximum(head, 1.0), np.maximum(tail, 1.0)
        with np.errstate(over="ignore"):
            scores = (
                g * self.absolute(one, other) * (d * tiny) * (max(m_x, 1.0) + max(m_y, 1.0) + 1)
            )
            direct = [
                (2 * len(c) * np.maximum(np.ldexp(one, -radix(c)), 1.0) ** (len(c) - 1) + 2 + h)
                * tiny
                for h, c in enumerate(self.table)
            ]
            powers = tiny * self.absolute(one, other) * len(self.table)
            by_scores = np.sum(direct, axis=0) * other ** len(self.table) + powers
            by_features = (
                0.0 if self.kind == "scores" else (2 * g + 10) * tiny * self.partial_sum(m_x, m_y)
            )
        return np.asarray(scores + by_scores + by_features)

    def _contract(self, x: Array, y: Array, values: Array) -> Array:
        state, out, w = None, [], _arrays.from_host(self.weights()[:, None], y)
        w = _arrays.cast(w, _arrays.dtype_name(y), self.xp)
        if not self.causal:
            for chunk in chunks(y.shape[0], self.step):
                state = self._add(state, y[chunk, :], values[chunk, :])
            return self.xp.concat(
                [self._read(state * w, x[chunk, :]) for chunk in chunks(x.shape[0], self.step)],
                axis=0,
            )
        for chunk in chunks(x.shape[0], self.step):
            own = self._dense(x[chunk, :], y[chunk, :], values[chunk, :])
            out.append(own if state is None else own + self._read(state * w, x[chunk, :]))
            state = self._add(state, y[chunk, :], values[chunk, :])
        return self.xp.concat(out, axis=0)

    def _add(self, state: Array | None, y: Array, values: Array) -> Array:
        part = self.xp.matmul(self.features(y), values)
        return part if state is None else state + part

    def _read(self, weighted: Array, x: Array) -> Array:
        return self.xp.matmul(self.xp.matrix_transpose(self.features(x)), weighted)

    def _dense(self, x: Array, y: Array, values: Array) -> Array:
        xp, out = self.xp, []
        for rows in chunks(x.shape[0], SCORE_BLOCK):
            total: Array | None = None
            for keys in chunks(rows.stop if self.causal else y.shape[0], SCORE_BLOCK):
                w = self._at(x[rows, :], y[keys, :], self.table)
                w = xp.tril(w, k=rows.start - keys.start) if self.causal else w
                part = xp.matmul(w, values[keys, :])
                total = part if total is None else total + part
            out.append(total)
        return xp.concat(out, axis=0)

    def _pull(self, x: Array, left: Array, y: Array, right: Array) -> Array:
        """Take the cotangent S left_i of the features of x_i back to x_i."""
        xp, state, out = self.xp, None, []
        w = _arrays.cast(_arrays.from_host(self.weights()[:, None], y), _arrays.dtype_name(y), xp)
        if not self.causal:
            for chunk in chunks(y.shape[0], self.step):
                state = self._add(state, y[chunk, :], right[chunk, :])
        for chunk in chunks(x.shape[0], self.step):
            own, parts = (x[chunk, :], left[chunk, :]), []
            if state is not None:
                parts.append(self._back(own[0], xp.matmul(state * w, xp.matrix_transpose(own[1]))))
            if self.causal:
                parts.append(self._dense_pull(*own, y[chunk, :], right[chunk, :]))
                state = self._add(state, y[chunk, :], right[chunk, :])
            out.append(parts[0] if len(parts) == 1 else parts[0] + parts[1])
        return xp.concat(out, axis=0)

    def _back(self, x: Array, cotangent: Array) -> Array:
        """Return J(x_i)^T cotangent_i, shapes (tokens, d), (r, tokens) -> (tokens, d): each factor
        of a product against the other.
        """
        xp, tokens, start = self.xp, x.shape[0], 0
        top, order = max(self.degrees), len(self.table) - 1
        head = features(x[:, : self.head], top, xp)
        total, tails = xp.zeros_like(head), []
        for block, g in zip(
            feature_blocks(x[:, self.head :], order, xp), self.degrees, strict=True
        ):
            r_head, r_tail = rank(self.head, g), block.shape[0]
            part = xp.reshape(
                cotangent[start : start + r_head * r_tail, :], (r_tail, r_head, tokens)
            )
            start += r_head * r_tail
            own = xp.sum(part * block[:, None, :], axis=0)
            total = total + xp.concat([own, xp.zeros_like(total[r_head:, :])], axis=0)
            tails.append(xp.sum(part * head[None, :r_head, :], axis=1))
        of_head = pull_back(x[:, : self.head], total, top, xp)
        return xp.concat(
            [of_head, pull_back(x[:, self.head :], xp.concat(tails, axis=0), order, xp)], axis=1
        )

    def _dense_pull(self, x: Array, left: Array, y: Array, right: Array) -> Array:
        xp, out = self.xp, []
        tables = tuple(derivative(c) for c in self.table), tail_derivative(self.table)
        for rows in chunks(x.shape[0], SCORE_BLOCK):
            total: Array | None = None
            for keys in chunks(rows.stop if self.causal else y.shape[0], SCORE_BLOCK):
                pair = xp.matmul(left[rows, :], xp.matrix_transpose(right[keys, :]))
                pair = xp.tril(pair, k=rows.start - keys.start) if self.causal else pair
                both = (self._at(x[rows, :], y[keys, :], table) * pair for table in tables)
                sides = y[keys, : self.head], y[keys, self.head :]
                part = xp.concat(
                    [xp.matmul(a, side) for a, side in zip(both, sides, strict=True)], axis=1
                )
                total = part if total is None else total + part
            out.append(total)
        return xp.concat(out, axis=0)

    def _at(self, x: Array, y: Array, table: Table) -> Array:
        """Return sum_h C_h(s') s''^h entry by entry, shapes (n_x, d), (n_y, d) -> (n_x, n_y)."""
        xp = self.xp
        head = xp.matmul(x[:, : self.head], xp.matrix_transpose(y[:, : self.head]))
        tail = xp.matmul(x[:, self.head :], xp.matrix_transpose(y[:, self.head :]))
        total = horner(head, table[-1])
        for coefficients in reversed(table[:-1]):
            total = total * tail + horner(head, coefficients)
        return total


def tail_derivative(table: Table) -> Table:
    """Return the table of the derivative of K with respect to the score of the tail."""
    return tuple(tuple(h * c for c in row) for h, row in enumerate(table))[1:] or ((0.0,),)


def primitives(table: Table) -> tuple[Table, Table]:
    """Return tables whose derivatives with respect to the score of the head, and of the tail, are
    K.
    """
    of_head = tuple((0.0, *(c / (t + 1) for t, c in enumerate(row))) for row in table)
    return of_head, ((0.0,), *(tuple(c / (h + 1) for c in row) for h, row in enumerate(table)))
