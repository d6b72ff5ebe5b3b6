"""Contractions with the features: S = phi(Y)^T values, then phi(X) S, its gradient, and the causal
form by prefix sums over blocks.

phi is laid out (blocks, r, tokens): each step of `index` is a long row operation, and the products
with S are matrix products. Blocks pass in runs, so the memory is O(r (m + run)) whatever n is.

Gradient. With S = sum_j w phi(y_j) right_j^T (r x m), sum_j P(x_i . y_j) (left_i . right_j) =
phi(x_i)^T S left_i, so its gradient with respect to x_i,

    sum_j P'(x_i . y_j) (left_i . right_j) y_j = J_phi(x_i)^T S left_i,

needs no array of size r d a token.

Rounding (proved here): K of `kernel` holds, with N blocks of at most L = `chunk_length` keys.

1. A monomial is a product of g factors, with g - 1 roundings, whoever makes it.
2. A block of keys is one product of the library: L roundings at most, in whatever order.
3. By the library, B blocks of a run and what came before are added up, or their prefixes are, in
   whatever order: no term takes part in more than B additions. All runs hold N blocks.
4. By our kernels, blocks are added in float64, weighted there, and rounded once. In float32 that
   is at most two roundings for up to 2^28 blocks, in float64 one for each block and one for the
   weight.
5. K counts L + N for sums over keys, 4 for the weight, of which 2 are taken, and 2 more: that
   covers the last block of earlier keys, which a causal problem sums apart, and its own block.
6. The product with the state has r roundings, the own block of a causal sum those of its scores.
7. In the gradient a derivative of a monomial has one rounding for its power, which 2 g covers.
   Entry a of dx_i is a sum over the C(d + g - 1, g - 1) <= r monomials that hold x_a, of a sum over
   m columns or the other way round: dv + 1 of `methods.polynomials.gradient_error` counts these.

Underflow: no more operations than in `kernel`, and sums in float64 cannot underflow where those in
float32 did not.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn.monomials.dense import dense_gradient, dense_sums
from approxattn.monomials.device import kernels
from approxattn.monomials.device.blocks import Blocks
from approxattn.monomials.device.kernels import Kernels
from approxattn.monomials.device.library import Library
from approxattn.monomials.device.runs import Run, blocks_of, each, flat_blocks
from approxattn.monomials.index import degrees
from approxattn.monomials.parts.dense import dense_sums_with_parts


def contract(
    x: Array,
    y: Array,
    values: Array,
    coefficients: tuple[float, ...],
    causal: bool,
    xp: Namespace,
    asked: tuple[int, ...] = (),
) -> Array:
    """Return sum_j P(x_i . y_j) values_j, over j <= i + n_y - n_x if causal, and behind these
    columns the parts of the last one that belong to the degrees asked for; shapes (n_x, d), (n_y,
    d), (n_y, m) -> (n_x, m + number of degrees), at O((n_x + n_y) r m).

    Causal: earlier blocks through the state, the own block by its scores.
    """
    blocks = blocks_for(coefficients, xp, x, y, values)
    if not causal:
        return read(blocks, x, widened(blocks, state_of(blocks, y, values), asked))
    earlier = y.shape[0] - x.shape[0]  # keys that every query sees
    carry = _total(blocks, y[:earlier, :], values[:earlier, :])
    y, values = y[earlier:, :], values[earlier:, :]
    of_x, of_y = blocks.columns(x), blocks.columns(y)

    def one(run: Run) -> Array:
        nonlocal carry
        right = blocks_of(values, run, xp)
        carry, before = _add(blocks, carry, of_y, run, right, prefixes=True)
        before = widened(blocks, before, asked)
        past = xp.matmul(xp.matrix_transpose(before), blocks.features(of_x, run))
        tokens = blocks_of(x, run, xp), blocks_of(y, run, xp), right, coefficients, True, xp
        own = dense_sums_with_parts(*tokens, asked) if asked else dense_sums(*tokens)
        return flat_blocks(own + xp.matrix_transpose(past), xp)

    return each(blocks.key_runs(x.shape[0], values.shape[1], causal=True), xp, one)


def contract_gradient(
    x: Array,
    left: Array,
    y: Array,
    right: Array,
    coefficients: tuple[float, ...],
    causal: bool,
    xp: Namespace,
) -> Array:
    """Return sum_j P'(x_i . y_j) (left_i . right_j) y_j, over j <= i if causal; shapes (n_x, d),
    (n_x, m), (n_y, d), (n_y, m) -> (n_x, d).
    """
    if len(coefficients) == 1:
        return xp.zeros_like(x)
    blocks = blocks_for(coefficients, xp, x, left, y, right, gradient=True)
    if not causal:
        return read_gradient(blocks, x, left, state_of(blocks, y, right))
    m = right.shape[1]
    of_x, of_y, carry = blocks.columns(x), blocks.columns(y), blocks.no_state(m)

    def one(run: Run) -> Array:
        nonlocal carry
        a, b, c, e = (blocks_of(array, run, xp) for array in (x, left, y, right))
        carry, before = _add(blocks, carry, of_y, run, e, prefixes=True)
        own = dense_gradient(a, b, c, e, coefficients, True, xp)
        return flat_blocks(own, xp) + blocks.back(of_x, run, before, b)

    return each(blocks.key_runs(x.shape[0], m, causal=True, back=True), xp, one)


def blocks_for(
    coefficients: tuple[float, ...], xp: Namespace, *arrays: Array, gradient: bool = False
) -> Blocks:
    """Return who makes the features: our kernels where they take these arrays and settings."""
    d, degree = int(arrays[0].shape[-1]), len(coefficients) - 1
    ours = kernels.serves_gradient if gradient else kernels.serves
    makes = Kernels if ours(d, degree, *arrays) else Library
    return makes(arrays[0], coefficients, xp)


def state_of(blocks: Blocks, y: Array, values: Array) -> Array:
    """Return S = sum_j w phi(y_j) values_j^T, shape (r, m)."""
    return blocks.weighted(_total(blocks, y, values))


def widened(blocks: Blocks, state: Array, asked: tuple[int, ...]) -> Array:
    """Return the state, shape (..., r, m), with one more column for each degree asked for: the last
    one, 0 but for the monomials of that degree.
    """
    if not asked:
        return state
    own = degrees(blocks.d, blocks.degree)[:, None] == np.asarray(asked)
    of_degree = _arrays.from_host(own.astype(_arrays.dtype_name(state)), state)
    return blocks.xp.concat([state, state[..., -1:] * of_degree], axis=-1)


def read(blocks: Blocks, x: Array, state: Array) -> Array:
    """Return phi(x_i)^T S, shapes (n, d), (r, m) -> (n, m)."""
    columns, xp = blocks.columns(x), blocks.xp

    def one(run: Run) -> Array:
        phi = blocks.features(columns, run)[0, ...]
        return xp.matmul(xp.matrix_transpose(phi), state)

    return each(blocks.query_runs(x.shape[0], state.shape[1]), xp, one)


def read_gradient(blocks: Blocks, x: Array, left: Array, state: Array) -> Array:
    """Return the gradient of left_i . (phi(x_i)^T S) with respect to x, shapes (n, d), (n, m), (r,
    m) -> (n, d).
    """
    columns, xp = blocks.columns(x), blocks.xp

    def one(run: Run) -> Array:
        return blocks.back(columns, run, state[None, ...], blocks_of(left, run, xp))

    return each(blocks.query_runs(x.shape[0], state.shape[1], back=True), xp, one)


def _total(blocks: Blocks, y: Array, values: Array) -> Array:
    """Return the unweighted state of these keys, shape (r, m)."""
    carry, columns = blocks.no_state(values.shape[1]), blocks.columns(y)
    for run in blocks.key_runs(y.shape[0], values.shape[1]):
        right = blocks_of(values, run, blocks.xp)
        carry, _ = _add(blocks, carry, columns, run, right, prefixes=False)
    return carry


def _add(
    blocks: Blocks, carry: Array, columns: Array, run: Run, right: Array, *, prefixes: bool
) -> tuple[Array, Array]:
    parts = blocks.xp.matmul(blocks.features(columns, run), right)
    return blocks.add(carry, parts, prefixes=prefixes)
