"""Structured hyperplanes: rows of H D3 H D2 H D1, H the Walsh-Hadamard matrix, D1, D2, D3 random
diagonals of signs (Andoni et al. 2015; wording unverified).

One block has D rows, D the power of two at least max(d, bits). It gives floor(D / bits) codes from
3 D random signs. Blocks are independent.

Single bits agree with probability 1 - theta/pi nearly. But the rows of a block are orthogonal, so
the bits of a code depend on each other, and so do the codes of a block. Codes of far pairs agree 5
to 35 % less often than (1 - theta/pi)^bits (`yoso.hadamard-bias`; 35 % at d = 32, a right angle and
8 bits).

The rows are formed once, by 3 log2 D passes over an identity matrix. They then multiply q and k
like any other hyperplanes: at the widths of heads one matrix product with all codes is faster on a
CPU than the passes over every token. Their entries are integers of at most D^3.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray


def block_width(d: int, bits: int) -> int:
    """Return D, the power of two that holds a row of width d (padded by zeros) and at least one
    code.
    """
    return 1 << (max(d, bits) - 1).bit_length()


def block_sizes(hashes: int, bits: int, d: int) -> list[int]:
    """Return how many of the hashes come from each block."""
    each = block_width(d, bits) // bits
    return [min(each, hashes - first) for first in range(0, hashes, each)]


def walsh_hadamard(x: HostArray) -> HostArray:
    """Return x H, x of shape (..., D), H the symmetric Walsh-Hadamard matrix with entries +-1: log2
    D butterfly passes.
    """
    width = x.shape[-1]
    half = 1
    while half < width:
        pairs = x.reshape(*x.shape[:-1], width // (2 * half), 2, half)
        x = np.stack(
            [pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], axis=-2
        )
        x = x.reshape(*x.shape[:-3], width)
        half *= 2
    return x


def hadamard_rows(signs: HostArray) -> HostArray:
    """Return the matrix H D3 H D2 H D1, shape (D, D), for the signs of D1, D2, D3, shape (3, D)."""
    # e_i, taken through x -> x D1 H D2 H D3 H as rows: the transpose
    rows = np.eye(signs.shape[-1])
    for diagonal in signs:
        rows = walsh_hadamard(rows * diagonal)
    return rows.T


def draw_hadamard(hashes: int, bits: int, like: Array, rng: np.random.Generator) -> Array:
    """Return normals, shape (hashes, bits, d), drawn on the host, in the dtype and on the device of
    `like`, shape (..., n, d).
    """
    d = int(like.shape[-1])
    width = block_width(d, bits)
    codes = []
    for size in block_sizes(hashes, bits, d):
        rows = hadamard_rows(rng.choice([-1.0, 1.0], (3, width)))[: size * bits, :d]
        codes.append(rows.reshape(size, bits, d))
    return _arrays.from_host(np.concatenate(codes).astype(_arrays.dtype_name(like)), like)
