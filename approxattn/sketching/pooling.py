"""Pooled blocks of neighbouring tokens: means, largest entries, convolutions whose kernel is as
long as their stride.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.sketching.blocks import block_of_each, real_slots, tokens_of_blocks
from approxattn.sketching.rows import gather, scatter, visible_first


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanPool:
    """Means over contiguous blocks of the visible tokens; the blocks of one leading index differ by
    at most one token.

    Attributes
    ----------
    members : ndarray of int, shape (..., k, largest block)
        The tokens of each block; entries from `counts` on are padding.
    counts : ndarray of int, shape (..., k)
        Tokens of each block; 0 where an index has fewer visible tokens than blocks.
    length : int
        Number of tokens, n.
    runs : bool
        Whether every token is in a block, in order. A device then numbers the tokens itself.
    """

    members: HostArray
    counts: HostArray
    length: int
    runs: bool = False

    def apply(self, x: Array) -> Array:
        """Return the means of the blocks, shape (..., n, m) -> (..., k, m); 0 for an empty
        block.
        """
        xp = _arrays.namespace(x=x)
        size = _arrays.from_host(
            np.maximum(self.counts, 1)[..., None].astype(_arrays.dtype_name(x)), x
        )
        return xp.sum(self._blocks(x, 0.0), axis=-2) / size

    def adjoint(self, y: Array) -> Array:
        """Return each visible token's share of its block, y_b / m_b, shape (..., k, m) -> (..., n,
        m); 0 for hidden tokens.
        """
        xp = _arrays.namespace(y=y)
        if self.runs:
            each = _arrays.from_host((1 / self.counts[:, None]).astype(_arrays.dtype_name(y)), y)
            return xp.take(y * each, block_of_each(self.counts, y), axis=y.ndim - 2)
        block, shown = self.block_of_token()
        share = (shown / np.take_along_axis(np.maximum(self.counts, 1), block, axis=-1))[..., None]
        rows = gather(y, block)
        factor = _arrays.from_host(share.astype(_arrays.dtype_name(y)), y)
        return xp.where(factor > 0, rows * factor, xp.zeros_like(rows))

    def block_of_token(self) -> tuple[HostArray, HostArray]:
        """Return the block of each token (0 for hidden ones) and which are visible, shapes (...,
        n).
        """
        batch, (k, largest) = self.counts.shape[:-1], self.members.shape[-2:]
        real = np.reshape(np.arange(largest) < self.counts[..., None], (*batch, -1))
        owner = np.broadcast_to(np.repeat(np.arange(k), largest), real.shape)
        # padding goes to an extra place at the end, which is cut off: members of padding are other
        # blocks' tokens
        place = np.where(real, np.reshape(self.members, real.shape), self.length)
        block, shown = (
            np.zeros((*batch, self.length + 1), int),
            np.zeros((*batch, self.length + 1), bool),
        )
        np.put_along_axis(block, place, owner, axis=-1)
        np.put_along_axis(shown, place, real, axis=-1)
        return block[..., :-1], shown[..., :-1]

    def tokens_in_block(self) -> HostArray:
        """Return, for each token, how many share its block, itself included; 1 for hidden tokens;
        shape (..., n).
        """
        block, shown = self.block_of_token()
        return np.where(shown, np.take_along_axis(np.maximum(self.counts, 1), block, axis=-1), 1)

    def deviations(self, x: Array, means: Array) -> Array:
        """Return x_j - means_b(j) in the order of the blocks, shapes (..., n, m), (..., k, m) ->
        (..., k * largest block, m); padding gives 0.
        """
        xp = _arrays.namespace(x=x)
        blocks = self._blocks(x, means[..., None, :])
        return xp.reshape(blocks, (*blocks.shape[:-3], -1, blocks.shape[-1]))

    def _blocks(self, x: Array, less: Array | float) -> Array:
        """Return x minus `less`, laid out in blocks, shape (..., k, largest block, m), with 0 for
        padding.
        """
        return _in_blocks(x, self, less, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool:
    """The largest entry of each column over contiguous blocks of the visible tokens; not linear, so
    its adjoint is that of the derivative.

    Attributes
    ----------
    blocks : MeanPool
        The blocks; 0 stands for the maximum of an empty one.
    """

    blocks: MeanPool

    def apply(self, x: Array) -> Array:
        """Return the maxima, shape (..., n, m) -> (..., k, m)."""
        xp = _arrays.namespace(x=x)
        top = xp.max(self._filled(x), axis=-2)
        return xp.where(xp.isfinite(top), top, xp.zeros_like(top))

    def adjoint(self, y: Array, x: Array) -> Array:
        """Return the derivative at x applied to y: each y_b to the first token that attains the
        maximum, shape (..., k, m) -> (..., n, m).
        """
        xp = _arrays.namespace(x=x, y=y)
        members = self.blocks.members
        filled = self._filled(x)  # (..., k, largest, m)
        first = xp.argmax(filled, axis=-2, keepdims=True)
        slots = _arrays.from_host(np.arange(members.shape[-1])[:, None], x)
        chosen = (slots == first) & xp.isfinite(filled)
        spread = xp.where(chosen, y[..., None, :], xp.zeros_like(filled))
        rows = xp.reshape(spread, (*spread.shape[:-3], -1, spread.shape[-1]))
        return scatter(rows, np.reshape(members, (*members.shape[:-2], -1)), self.blocks.length)

    def _filled(self, x: Array) -> Array:
        return _in_blocks(x, self.blocks, 0.0, -np.inf)


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """Weighted sums over contiguous blocks of as many tokens as the kernel is long; a last, shorter
    block meets the front of the kernel.

    Attributes
    ----------
    kernel : ndarray, shape (length,) or (length, m)
        One weight for each place in a block, for all columns or for each.
    length : int
        Number of tokens, n.
    """

    kernel: HostArray
    length: int

    def apply(self, x: Array) -> Array:
        """Return the sums, shape (..., n, m) -> (..., ceil(n / length), m)."""
        xp = _arrays.namespace(x=x)
        stride, blocks = self._sizes()
        *batch, n, m = x.shape
        padding = xp.zeros(
            (*batch, stride * blocks - n, m), dtype=x.dtype, device=_arrays.device(x)
        )
        laid_out = xp.reshape(xp.concat([x, padding], axis=-2), (*batch, blocks, stride, m))
        return xp.sum(laid_out * self._weights(x), axis=-2)

    def adjoint(self, y: Array) -> Array:
        """Return each block's y times the kernel, shape (..., k, m) -> (..., n, m)."""
        xp = _arrays.namespace(y=y)
        stride, blocks = self._sizes()
        spread = y[..., None, :] * self._weights(y)
        return xp.reshape(spread, (*y.shape[:-2], stride * blocks, y.shape[-1]))[
            ..., : self.length, :
        ]

    def gradient(self, y: Array, x: Array) -> HostArray:
        """Return the gradient with respect to a kernel shared by all columns, sum over blocks of
        y_b . x_{b, place}, shape (length,), on the host.
        """
        xp = _arrays.namespace(x=x, y=y)
        stride, blocks = self._sizes()
        *batch, n, m = x.shape
        padding = xp.zeros(
            (*batch, stride * blocks - n, m), dtype=x.dtype, device=_arrays.device(x)
        )
        laid_out = xp.reshape(xp.concat([x, padding], axis=-2), (-1, blocks, stride, m))
        products = laid_out * xp.reshape(y, (-1, blocks, 1, m))
        return _arrays.to_float64(xp.sum(products, axis=(0, 1, 3)))

    def _sizes(self) -> tuple[int, int]:
        return self.kernel.shape[0], -(-self.length // self.kernel.shape[0])

    def _weights(self, x: Array) -> Array:
        kernel = self.kernel if self.kernel.ndim == 2 else self.kernel[:, None]
        return _arrays.from_host(kernel.astype(_arrays.dtype_name(x)), x)


def mean_pool(visible: HostArray, k: int) -> MeanPool:
    """Split the m visible tokens of each leading index into blocks of neighbours.

    Block i holds those of rank floor(i m / K) to floor((i + 1) m / K) - 1, where K is k, or the
    largest m where that is smaller.

    Parameters
    ----------
    visible : ndarray of bool, shape (..., n)
        With a token in every row.
    k : int
        Number of blocks.

    Returns
    -------
    MeanPool
        The operator.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import mean_pool
    >>> mean_pool(np.ones(5, bool), 2).apply(np.array([[1.0], [3], [4], [6], [8]]))
    array([[2.],
           [6.]])
    """
    order, count = visible_first(visible)
    blocks = min(k, int(np.max(count)))
    edges = np.arange(blocks + 1) * count[..., None] // blocks  # (..., K + 1)
    counts = np.diff(edges, axis=-1)
    ranks = edges[..., :-1, None] + np.arange(int(np.max(counts)))  # (..., K, largest)
    ranks = np.minimum(ranks, order.shape[-1] - 1)
    members = np.take_along_axis(order, np.reshape(ranks, (*count.shape, -1)), axis=-1)
    return MeanPool(
        members=np.reshape(members, ranks.shape),
        counts=counts,
        length=visible.shape[-1],
        runs=visible.ndim == 1 and bool(visible.all()),
    )


def max_pool(visible: HostArray, k: int) -> MaxPool:
    """Split the visible tokens as `mean_pool` does, to take the largest entries of each block.

    Parameters
    ----------
    visible : ndarray of bool, shape (..., n)
        With a token in every row.
    k : int
        Number of blocks.

    Returns
    -------
    MaxPool
        The operator.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import max_pool
    >>> max_pool(np.ones(5, bool), 2).apply(np.array([[1.0], [3], [4], [6], [8]]))
    array([[3.],
           [8.]])
    """
    return MaxPool(blocks=mean_pool(visible, k))


def _in_blocks(x: Array, pool: MeanPool, less: Array | float, fill: float) -> Array:
    """Return x minus `less`, laid out in blocks, shape (..., k, largest block, m), with `fill` for
    padding.
    """
    xp = _arrays.namespace(x=x)
    k, largest = pool.members.shape[-2:]
    places = np.reshape(pool.members, (*pool.members.shape[:-2], -1))
    alike = bool(np.all(pool.counts == largest))
    numbered = pool.runs and not (alike or _arrays.on_host(x))
    if pool.runs and alike:
        rows = x
    elif numbered:
        rows = xp.take(x, tokens_of_blocks(pool.counts, pool.length, x), axis=x.ndim - 2)
    else:
        rows = gather(x, places)
    blocks = xp.reshape(rows, (*rows.shape[:-2], k, largest, rows.shape[-1]))
    blocks = blocks if isinstance(less, float) and less == 0 else blocks - less
    if alike:
        return blocks
    empty = xp.full((), fill, dtype=x.dtype, device=_arrays.device(x))
    if numbered:
        real = real_slots(pool.counts, x)
    else:
        real = _arrays.from_host(np.arange(largest) < pool.counts[..., None], x)
    return xp.where(real[..., None], blocks, empty)
