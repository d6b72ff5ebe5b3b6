"""What every kernel has in common: sums over keys give sums over queries, and one item gives many.

Under a causal mask j <= i + n_y - n_x: what there is more of y comes earlier, and every x sees it.
Sums may be taken of earlier and later keys apart. For n_x = n_y, with the roles of x and y swapped,
it would be i <= j; once both run backwards it is j <= i again, and the sums over queries are suffix
sums.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from approxattn._arrays import Array, Namespace


@dataclass(frozen=True, kw_only=True)
class BothWays(abc.ABC):
    """A kernel K(x_i, y_j) for i < n_x, j < n_y, with j <= i + n_y - n_x if causal.

    Attributes
    ----------
    kind : str
        "features" or "scores".
    heads : int
        Under a causal mask, x are so many runs of equal length, one after the other, each over all
        of y: n_x and i count in each run.
    """

    causal: bool
    kind: str
    xp: Namespace
    heads: int = 1

    @abc.abstractmethod
    def sums(self, x: Array, y: Array, values: Array) -> Array:
        """Return sum_j K(x_i, y_j) values_j, shapes (..., n_x, d), (..., n_y, d), (..., n_y, m) ->
        (..., n_x, m).
        """

    @abc.abstractmethod
    def gradient_x(self, x: Array, left: Array, y: Array, right: Array) -> Array:
        """Return the gradient of sum_ij K(x_i, y_j) (left_i . right_j) with respect to x, shape
        (..., n_x, d).
        """

    def transposed_sums(self, x: Array, y: Array, values: Array) -> Array:
        """Return sum_i K(x_i, y_j) values_i, shapes (..., n_x, d), (..., n_y, d), (..., n_x, m) ->
        (..., n_y, m).
        """
        if self.heads > 1:
            one, own, over = self._apart_heads(x)
            found = one.transposed_sums(own(x), over(y), own(values))
            return self.xp.sum(found, axis=-3)
        earlier = self._earlier(x, y)
        if earlier:
            parts = self._apart(earlier)
            return self._joined([k.transposed_sums(x, y[..., s, :], values) for k, s in parts])
        return self._flipped(self.sums, y, x, values)

    def gradient_y(self, x: Array, left: Array, y: Array, right: Array) -> Array:
        """Return the gradient with respect to y, shape (..., n_y, d)."""
        if self.heads > 1:
            one, own, over = self._apart_heads(x)
            found = one.gradient_y(own(x), own(left), over(y), over(right))
            return self.xp.sum(found, axis=-3)
        earlier = self._earlier(x, y)
        if earlier:
            parts = self._apart(earlier)
            found = [k.gradient_y(x, left, y[..., s, :], right[..., s, :]) for k, s in parts]
            return self._joined(found)
        return self._flipped(self.gradient_x, y, right, x, left)

    def _apart_heads(
        self, x: Array
    ) -> tuple[Self, Callable[[Array], Array], Callable[[Array], Array]]:
        """Return the kernel of one run of x, and what puts the runs, and copies of y for each, on
        an axis of their own: (..., G n_x, w) -> (..., G, n_x, w).
        """
        xp, heads, rows = self.xp, self.heads, int(x.shape[-2]) // self.heads

        def own(a: Array) -> Array:
            return xp.reshape(a, (*a.shape[:-2], heads, rows, a.shape[-1]))

        def over(a: Array) -> Array:
            spread = xp.broadcast_to(a[..., None, :, :], (*a.shape[:-2], heads, *a.shape[-2:]))
            return xp.asarray(spread)

        return replace(self, heads=1), own, over

    def _in_rows(self, a: Array) -> Array:
        """Return (..., G, n_x, w) as (..., G n_x, w)."""
        return self.xp.reshape(a, (*a.shape[:-3], a.shape[-3] * a.shape[-2], a.shape[-1]))

    def _earlier(self, x: Array, y: Array) -> int:
        """Return how many of y come before the first of x."""
        return int(y.shape[-2]) - int(x.shape[-2]) if self.causal else 0

    def _apart(self, earlier: int) -> list[tuple[Self, slice]]:
        """Return the kernels of earlier and later keys, and where these are."""
        return [(replace(self, causal=False), slice(0, earlier)), (self, slice(earlier, None))]

    def _joined(self, parts: list[Array]) -> Array:
        return self.xp.concat(parts, axis=-2)

    def _items(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """Apply f to each item of the leading axes: features of many items at a time would not fit
        the memory promised.
        """
        batch = arrays[0].shape[:-2]
        if not batch:
            return f(*arrays)
        count = math.prod(batch)
        flat = [self.xp.reshape(a, (count, *a.shape[-2:])) for a in arrays]
        out = self.xp.stack([f(*(a[i, ...] for a in flat)) for i in range(count)])
        return self.xp.reshape(out, (*batch, *out.shape[-2:]))

    def _flipped(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """Apply f with the roles of x and y swapped."""
        if not self.causal:
            return f(*arrays)
        return self.xp.flip(f(*(self.xp.flip(a, axis=-2) for a in arrays)), axis=-2)
