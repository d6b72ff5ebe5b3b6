"""Reverse mode through the features on NumPy arrays: `adjoint`, several times faster, and all three
gradients of one sum at once.

The cotangent of degree g is made tile by tile and sent down at once; those of lower degrees are
held. The three gradients of sum_ij P(x_i . y_j) (left_i . right_j), with respect to x, y and right,
share what they need: the state of (y, right), the state of (x, left), and one set of monomials for
each chunk of tokens. With the state of (y, right) kept from the forward sums these are four
products of width m a feature, against the forward's two.

Rounding. The recursion is that of `adjoint`. A gradient is a sum of products of a cotangent and a
monomial of degree below g, at most C(d + g - 1, g - 1) of them. A cotangent gathers at most d terms
a degree.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.contraction import weights
from approxattn.monomials.index import rank
from approxattn.monomials.numpy_contraction import flat, share, total_state
from approxattn.monomials.numpy_dense import Triangle
from approxattn.monomials.numpy_features import TILE_ROWS, Scratch, plan, products, tiles
from approxattn.monomials.numpy_state import (
    State,
    Summation,
    canonical,
    groups,
    joined,
    weigh,
    weights_of,
    within,
    zeros,
)
from approxattn.monomials.workers import gather, shares, worker_count

TOGETHER = 2
"""Sums a chunk: the way back takes many short steps, and longer rows make fewer of them. *Chosen*:
2048 tokens were faster than 1024 for all small ranks.
"""


class PullBack:
    """J_phi(x)^T S left for the chunk of tokens that a `Summation` has loaded."""

    def __init__(self, summation: Summation, dtype: np.dtype[Any]) -> None:
        p = summation.plan
        self.plan, self.held, self.degree, self.d = p, summation.held, p.degree, p.d
        below = rank(p.d, max(p.degree - 1, 0)) * p.chunk
        self.cotangent, self.gradient = Scratch(below, dtype), Scratch(p.d * p.chunk, dtype)
        self.turned, self.tile = Scratch(p.m * p.chunk, dtype), Scratch(TILE_ROWS * p.chunk, dtype)
        top = p.scheme == "top"
        self.total, self.blocks = summation.sums, summation.scaled
        self.sent = Scratch(below if top else 0, dtype)

    def into(self, out: HostArray, weighted: HostArray, left: HostArray) -> None:
        """Set out, shape (tokens, d), for weighted of shape (r, m) and left of shape
        (tokens, m).
        """
        n = left.shape[0]
        gradient = self.gradient.shaped(self.d, n)
        gradient[...] = 0
        if self.degree:
            turned = self._turned(left)
            start = length = rank(self.d, self.degree - 1)
            cotangent = np.matmul(weighted[:length], turned, out=self.cotangent.shaped(length, n))
            for pieces in tiles(self.d, self.degree, TILE_ROWS):
                height = pieces[-1].rows.stop
                tile = np.matmul(
                    weighted[start : start + height], turned, out=self.tile.shaped(height, n)
                )
                for piece in pieces:
                    self._send(tile[piece.rows], piece.i, piece.source, cotangent, gradient)
                start += height
            self._descend(cotangent, gradient)
        out[...] = gradient.T

    def with_sums(
        self, gradient_out: HostArray, sums_out: HostArray, weighted: State, left: HostArray
    ) -> None:
        """Set gradient_out to what `into` gives and sums_out to phi(x)^T S, by "top": both need
        suffix(x)^T S_i, and nothing of degree g.
        """
        n, m, rows, columns = left.shape[0], left.shape[1], self.held.rows, self.held.columns
        turned, gradient = self._turned(left), self.gradient.shaped(self.d, n)
        total = np.matmul(weighted[0].T, rows, out=self.total.shaped(m, n))
        cotangent = np.matmul(weighted[0], turned, out=self.cotangent.shaped(rows.shape[0], n))
        for part, (first, last) in zip(weighted[1:], groups(self.plan), strict=True):
            blocks, suffix = self.blocks.shaped(last - first, m, n), rows[-part.shape[0] :]
            flat_blocks = blocks.reshape(part.shape[1], n)
            np.matmul(part.T, suffix, out=flat_blocks)
            np.einsum("imc,mc->ic", blocks, turned, out=gradient[first:last])
            for i, block in enumerate(blocks, first):
                block *= columns[i]
                total += block
            np.multiply(columns[first:last, None], turned, out=blocks)
            cotangent[-part.shape[0] :] += np.matmul(
                part, flat_blocks, out=self.sent.shaped(part.shape[0], n)
            )
        self._descend(cotangent, gradient)
        gradient_out[...], sums_out[...] = gradient.T, total.T

    def _turned(self, left: HostArray) -> HostArray:
        turned = self.turned.shaped(left.shape[1], left.shape[0])
        turned[...] = left.T
        return turned

    def _descend(self, cotangent: HostArray, gradient: HostArray) -> None:
        """Go through the degrees below the highest one."""
        for i, source, target in reversed(products(self.d, self.degree - 1)):
            self._send(cotangent[target], i, source, cotangent, gradient)
        if self.degree > 1:
            gradient += cotangent[1 : self.d + 1]

    def _send(
        self, above: HostArray, i: int, source: slice, cotangent: HostArray, gradient: HostArray
    ) -> None:
        """Take the cotangent of x_i times the monomials `source` to x_i and to those; `above` is
        used up.
        """
        gradient[i] += np.einsum("kc,kc->c", above, self.held.rows[source])
        if source.start:  # the monomial 1 has no gradient
            above *= self.held.columns[i]
            cotangent[source] += above


def numpy_gradient(
    x: HostArray,
    left: HostArray,
    y: HostArray,
    right: HostArray,
    coefficients: tuple[float, ...],
    causal: bool,
) -> HostArray:
    """Return sum_j P'(x_i . y_j) (left_i . right_j) y_j, over j <= i if causal; shapes (..., n_x,
    d), (..., n_x, m), (..., n_y, d), (..., n_y, m).
    """
    *batch, n_x, d = x.shape
    x, left, y, right = (flat(a) for a in (x, left, y, right))
    m, items = right.shape[-1], x.shape[0]
    p = plan(d, m, len(coefficients) - 1, max(n_x, y.shape[-2]), causal)
    out = np.empty_like(x, shape=x.shape)
    weight = weights(coefficients, d)[:, None].astype(x.dtype)

    def some(span: slice) -> None:
        worker = Summation(p, x.dtype)
        back = PullBack(worker, x.dtype)
        triangle = Triangle(p.chunk, x.dtype, 1) if causal else None
        for i in range(span.start, span.stop):
            state = zeros(p, x.dtype) if causal else total_state([worker], y[i], right[i])
            weighted = canonical(p, state) * weight
            for chunk in within(slice(0, n_x), p.chunk):
                worker.held.load(x[i, chunk])
                back.into(out[i, chunk], weighted, left[i, chunk])
                if triangle is not None:
                    own = slice(i, i + 1), chunk
                    arrays = x[own], left[own], y[own], right[own]
                    triangle.add_gradient(*arrays, coefficients, out[own])
                    worker.add(state, y[i, chunk], right[i, chunk])
                    weighted = canonical(p, state) * weight

    one = (n_x + y.shape[-2]) * rank(d, p.degree) * m
    gather([partial(some, span) for span in shares(items, worker_count(one * items, items))])
    return out.reshape(*batch, n_x, d)


def numpy_gradients(
    x: HostArray,
    left: HostArray,
    y: HostArray,
    right: HostArray,
    coefficients: tuple[float, ...],
    states: HostArray | None = None,
) -> tuple[HostArray, HostArray, HostArray]:
    """Return the gradients of sum_ij P(x_i . y_j) (left_i . right_j) with respect to x, y and
    right.

    Shapes (..., n_x, d), (..., n_x, m), (..., n_y, d), (..., n_y, m) -> (..., n_x, d), (..., n_y,
    d), (..., n_y, m); `states`, shape (..., r, m), is what `numpy_sums_and_states` gave for (y,
    right).
    """
    shapes = x.shape, y.shape, right.shape
    x, left, y, right = (flat(a) for a in (x, left, y, right))
    items, (n_x, d), (n_y, m) = x.shape[0], x.shape[-2:], right.shape[-2:]
    p = plan(d, m, len(coefficients) - 1, max(n_x, n_y), False, TOGETHER)
    outs = tuple(np.empty(a.shape, x.dtype) for a in (x, y, right))
    states = None if states is None else flat(states)
    one = 2 * (n_x + n_y) * rank(d, p.degree) * m
    across = worker_count(one * items, items)

    def some(span: slice, threads: int) -> None:
        workers = [Summation(p, x.dtype) for _ in range(threads)]
        for i in range(span.start, span.stop):
            of_y = None if states is None else states[i]
            _one_item(
                workers,
                x[i],
                left[i],
                y[i],
                right[i],
                coefficients,
                of_y,
                tuple(out[i] for out in outs),
            )

    inner = worker_count(one, -(-min(n_x, n_y) // p.chunk)) if across == 1 else 1
    gather([partial(some, span, inner) for span in shares(items, across)])
    dx, dy, dright = (out.reshape(shape) for out, shape in zip(outs, shapes, strict=True))
    return dx, dy, dright


def _one_item(
    workers: list[Summation],
    x: HostArray,
    left: HostArray,
    y: HostArray,
    right: HostArray,
    coefficients: tuple[float, ...],
    of_y: HostArray | None,
    outs: tuple[HostArray, ...],
) -> None:
    p, dtype = workers[0].plan, x.dtype
    weight = weights_of(p, coefficients, dtype)
    backs = {id(worker): PullBack(worker, dtype) for worker in workers}
    if of_y is None:
        of_y = canonical(p, weigh(total_state(workers, y, right), weight))

    def along_x(worker: Summation, span: slice) -> list[HostArray]:
        state = zeros(p, dtype)
        for chunk in within(span, p.chunk):
            worker.add(state, x[chunk], left[chunk])
            backs[id(worker)].into(outs[0][chunk], of_y, left[chunk])
        return state

    packed = weigh(joined(share(workers, x.shape[0], along_x)), weight)
    of_x = canonical(p, packed)

    def along_y(worker: Summation, span: slice) -> None:
        back = backs[id(worker)]
        for chunk in within(span, p.chunk):
            if p.scheme == "top":
                worker.held.load(y[chunk])
                back.with_sums(outs[1][chunk], outs[2][chunk], packed, right[chunk])
            else:
                worker.read(packed, y[chunk], outs[2][chunk])
                back.into(outs[1][chunk], of_x, right[chunk])

    share(workers, y.shape[0], along_y)
