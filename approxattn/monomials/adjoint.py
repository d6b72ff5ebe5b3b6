"""Reverse mode through the recursion of `contraction.features`: O(r) a token, no array of size r
d.
"""

from __future__ import annotations

from approxattn._arrays import Array, Namespace
from approxattn.monomials.contraction import feature_blocks
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
