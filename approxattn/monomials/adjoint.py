"""Reverse mode through the features: what the gradient of a feature sum is with respect to its
tokens.

With S = sum_j w phi(y_j) right_j^T (r x m),  sum_j P(x_i . y_j) (left_i . right_j) = phi(x_i)^T S
    left_i, so its gradient with respect to x_i,

    sum_j P'(x_i . y_j) (left_i . right_j) y_j = J_phi(x_i)^T S left_i,

costs one product with S and one backward pass through the recursion of `contraction.features`: O(r)
a token, no array of size r d.
"""

from __future__ import annotations

from approxattn._arrays import Array, Namespace
from approxattn.monomials.contraction import chunk_length, chunks, feature_blocks, state_of
from approxattn.monomials.dense import dense_gradient
from approxattn.monomials.index import rank, suffix_length


def pull_back(x: Array, cotangent: Array, degree: int, xp: Namespace) -> Array:
    """Return J_phi(x_i)^T cotangent_i for every token, shapes (tokens, d), (r, tokens) -> (tokens,
    d).
    """
    columns, d = xp.matrix_transpose(x), x.shape[1]
    blocks = feature_blocks(x, degree, xp)
    gradient = [xp.zeros_like(columns[:1, :]) for _ in range(d)]
    # cotangent of the degree-t block; what the block above sent down included
    carry: Array | None = None
    for t in range(degree, 0, -1):
        own = cotangent[rank(d, t - 1) : rank(d, t), :]
        above = own if carry is None else own + carry
        carry, stop = None, above.shape[0]
        for i in range(d - 1, -1, -1):  # the suffixes are nested, the shortest one last
            length = suffix_length(d, i, t - 1)
            part = above[stop - length : stop, :]
            stop -= length
            tail = blocks[t - 1][blocks[t - 1].shape[0] - length :, :]
            gradient[i] = gradient[i] + xp.sum(part * tail, axis=0, keepdims=True)
            sent = part * columns[i : i + 1, :]
            if carry is None:
                carry = sent
            else:
                fresh = length - carry.shape[0]
                carry = xp.concat([sent[:fresh, :], sent[fresh:, :] + carry], axis=0)
    return xp.matrix_transpose(xp.concat(gradient, axis=0))


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
    degree = len(coefficients) - 1
    step = chunk_length(x.shape[1], degree)
    state: Array | None = None
    if not causal:
        for chunk in chunks(y.shape[0], step):
            state = state_of(y[chunk, :], right[chunk, :], coefficients, xp, state)
    out = []
    for chunk in chunks(x.shape[0], step):
        pieces = []
        if state is not None:
            cotangent = xp.matmul(state, xp.matrix_transpose(left[chunk, :]))  # (r, tokens)
            pieces.append(pull_back(x[chunk, :], cotangent, degree, xp))
        if causal:
            own = (x[chunk, :], left[chunk, :], y[chunk, :], right[chunk, :])
            pieces.append(dense_gradient(*own, coefficients, True, xp))
            state = state_of(own[2], own[3], coefficients, xp, state)
        out.append(pieces[0] if len(pieces) == 1 else pieces[0] + pieces[1])
    return xp.concat(out, axis=0)
