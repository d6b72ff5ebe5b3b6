"""Linear maps and embeddings of tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.segments import segment_sum
from approxattn.transformer.affine import (
    adding_rounding,
    affine,
    affine_rounding,
    bounded,
    norms,
    outer_error,
    outer_total,
    spectral,
    total_error,
    total_over_tokens,
)
from approxattn.transformer.shapes import check_parameters, check_width
from approxattn.transformer.token_map import PulledError


@dataclass(frozen=True, kw_only=True)
class Linear:
    """x W + b for every token.

    Parameters
    ----------
    w : array, shape (d, d')
        The matrix W.
    b : array, shape (d',), optional
        The shift b; None: 0.
    """

    w: Array
    b: Array | None = None

    def __post_init__(self) -> None:
        check_parameters("Linear", {"w": (self.w, ("d", "d'")), "b": (self.b, ("d'",))})

    def __call__(self, x: Array) -> Array:
        """Return x W + b."""
        check_width("Linear", x, self.w.shape[0], self.w)
        return affine(x, self.w, self.b, _arrays.namespace(x=x, w=self.w))

    def vjp(self, x: Array, dout: Array) -> tuple[Array, Self]:
        """Return dout W^T, and the gradients x^T dout and sum dout."""
        xp = _arrays.namespace(x=x, dout=dout)
        db = None if self.b is None else total_over_tokens(dout, xp)
        return xp.matmul(dout, xp.matrix_transpose(self.w)), replace(
            self, w=outer_total(x, dout, xp), b=db
        )

    def error(self, x: Array, delta: HostArray) -> HostArray:
        """Return |W| delta and the rounding."""
        xp = _arrays.namespace(x=x)
        return bounded(spectral(self.w) * delta + affine_rounding(norms(x, xp), self.w, self.b))

    def vjp_error(self, x: Array, delta: HostArray, dout: Array, total: HostArray) -> PulledError:
        """Return |W| total, the errors of x^T dout and of sum dout."""
        xp = _arrays.namespace(x=x)
        g, back = norms(dout, xp), xp.matrix_transpose(self.w)
        parameters = {"w": outer_error(norms(x, xp), delta, g, total, self.w)}
        if self.b is not None:
            parameters["b"] = total_error(total, g, self.b)
        rounding = np.sum(affine_rounding(g, back, None), axis=-1)
        return PulledError(bounded(spectral(self.w) * total + rounding), parameters)


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Row `token` of a table, plus row i of another for position i: a first map g_0, from integers.

    Parameters
    ----------
    tokens : array, shape (vocabulary, d)
        One row a token.
    positions : array, shape (longest, d), optional
        One row a position; None: positions are not told apart.
    """

    tokens: Array
    positions: Array | None = None

    def __post_init__(self) -> None:
        check_parameters(
            "Embedding",
            {
                "tokens": (self.tokens, ("vocabulary", "d")),
                "positions": (self.positions, ("longest", "d")),
            },
        )

    def __call__(self, x: Array) -> Array:
        """Return the embedded tokens, shape (..., n) of integers -> (..., n, d)."""
        xp = self._check(x)
        rows = xp.reshape(
            xp.take(self.tokens, xp.reshape(x, (-1,)), axis=0), (*x.shape, self.tokens.shape[1])
        )
        return rows if self.positions is None else rows + self.positions[: x.shape[-1], :]

    def vjp(self, x: Array, dout: Array) -> tuple[None, Self]:
        """Return None, for integers have no gradient, and the gradients of both tables."""
        xp = _arrays.namespace(x=x, dout=dout)
        ids = xp.reshape(x, (-1,))
        # In float64: its error, gamma of the number of tokens, is that of any order of summation.
        flat = xp.astype(xp.reshape(dout, (-1, dout.shape[-1])), _arrays.dtype_of("float64", xp))
        tokens = _arrays.cast(
            segment_sum(flat, ids, self.tokens.shape[0]),
            _arrays.dtype_name(self.tokens),
            xp,
        )
        if self.positions is None:
            return None, replace(self, tokens=tokens)
        n, longest = x.shape[-1], self.positions.shape[0]
        used = xp.sum(xp.reshape(dout, (-1, n, dout.shape[-1])), axis=0)
        unused = xp.zeros_like(self.positions[n:, :])
        return None, replace(
            self,
            tokens=tokens,
            positions=xp.concat([used, unused], axis=0) if n < longest else used,
        )

    # Integers have no error.
    def error(self, x: Array, delta: HostArray) -> HostArray:
        """Return one rounding, of the sum of both rows."""
        del delta
        return adding_rounding(self(x))

    # Integers have no error.
    def vjp_error(self, x: Array, delta: HostArray, dout: Array, total: HostArray) -> PulledError:
        """Return the error of sums of cotangents. That of the input is 0: it has no gradient."""
        del x, delta
        g = norms(dout, _arrays.namespace(dout=dout))
        # Each table's gradient is a sum of rows of dout, every row once; a prefix-sum
        # implementation doubles gamma (`_arrays.segments`).
        bound = float(bounded(2 * total_error(total, g, self.tokens)))
        names = ["tokens"] if self.positions is None else ["tokens", "positions"]
        return PulledError(np.zeros_like(total), dict.fromkeys(names, bound))

    def _check(self, x: Array) -> _arrays.Namespace:
        xp = _arrays.namespace(x=x, tokens=self.tokens)
        if not xp.isdtype(x.dtype, "integral"):
            msg = f"tokens have dtype {x.dtype}: an Embedding needs integers, its row numbers"
            raise TypeError(msg)
        vocabulary = self.tokens.shape[0]
        if bool(xp.any((x < 0) | (x >= vocabulary))):
            msg = (
                f"tokens lie in [{int(xp.min(x))}, {int(xp.max(x))}]: an Embedding of {vocabulary} "
                f"rows needs [0, {vocabulary - 1}]"
            )
            raise ValueError(msg)
        if self.positions is not None and x.shape[-1] > self.positions.shape[0]:
            msg = (
                f"{x.shape[-1]} tokens in a row: the Embedding has {self.positions.shape[0]} "
                "positions; shorten the input"
            )
            raise ValueError(msg)
        return xp
