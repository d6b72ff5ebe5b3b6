"""YOSO-E: attention by collision probabilities, out = P V with P_ij = (1 - theta_ij/pi)^bits (Zeng et al. 2021, "You Only Sample (Almost) Once").

theta_ij is the angle between q_i and k_j. There is no softmax denominator: the rows of P do not sum to one. Dense, taken in blocks of queries.

Everything is computed in float64 whatever the dtype, because arccos loses half the digits of a cosine near 1.

Rounding (proved here). p has slope at most bits/pi in theta and lies in [0, 1], so with the two bounds e, e' on the error of an angle
(`angle_errors`: apart, anywhere) and l1 widths W_c of the columns of V, near_i = sum of max_c |v_jc| over the keys nearly parallel to q_i,

    |out~_ic - out_ic| <= (bits/pi) (e W_c + e' near_i) + (bits EXP_ULPS u + gamma_{n+2}) W_c,

the last bracket for the power, EXP_ULPS u a factor, and for the sum over n keys; underflow of products adds n tiny. Rounding to the dtype adds
u_dtype |out~_ic|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.certificate import Approximation, Certificate
from approxattn.hashing.arguments import check_choice, check_flag, check_integer
from approxattn.hashing.collision import NEAR, angle_errors, cosines, pair_probability
from approxattn.hashing.directions import ZERO_ROWS, check_zero_rows, normalised_error, unit_rows
from approxattn.rounding import EXP_ULPS, gamma, up
from approxattn.score_bounds import column_widths, row_norms
from approxattn.scores import rows_at_once, visible_block

_U = 2.0**-53


@dataclass(frozen=True, kw_only=True)
class YosoExpectation:
    """The expectation of YOSO attention, computed exactly; its certificate bounds the rounding.

    Parameters
    ----------
    bits : int
        Hyperplanes of one hash, tau in the paper.
    normalize : bool
        Divide every output row by its l2 norm (a zero row stays zero), as the paper's models do.
    zero_rows : {"raise", "orthogonal"}
        A zero query or key has no direction. "orthogonal": it collides with probability 2^-bits with every nonzero row and surely with
        another zero row, as it does under sign hashing.

    Notes
    -----
    Computed in float64 whatever the dtype. The target of the certificate, YOSO-E, is this function in exact arithmetic, not softmax attention.
    """

    bits: int = 8
    normalize: bool = False
    zero_rows: str = "raise"

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = "YOSO compares directions only, so a factor of the scores means nothing to it"

    def __post_init__(self) -> None:
        check_integer("bits", self.bits, 1, 1024, "2^-bits, the weight of an orthogonal key, must be a float64")
        check_flag("normalize", self.normalize)
        check_choice("zero_rows", self.zero_rows, ZERO_ROWS)

    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:  # noqa: ARG002 - protocol
        """Return the output, shape (..., n_q, dv), and the bound on its rounding error.

        Raises
        ------
        ValueError
            A zero row, unless zero_rows="orthogonal".
        """
        xp = problem.xp
        check_zero_rows(problem, self.zero_rows)
        values = _arrays.cast(problem.v, "float64", xp)
        size = xp.max(xp.abs(values), axis=-1, keepdims=True)  # (..., n_k, 1)
        columns = xp.concat([values, size], axis=-1)  # (..., n_k, dv + 1)
        step = rows_at_once(problem, problem.n_k)
        blocks = [self._block(problem, columns, i, min(i + step, problem.n_q)) for i in range(0, problem.n_q, step)]
        sums, near = (xp.concat(parts, axis=-2) for parts in zip(*blocks, strict=True))
        return self._result(problem, sums, _arrays.to_host(near[..., 0]))

    def _block(self, problem: Problem, columns: Array, first: int, last: int) -> tuple[Array, Array]:
        """Return P V for queries first..last-1, shape (..., rows, dv), and near_i, shape (..., rows, 1)."""
        xp = problem.xp
        stop = last if problem.causal else problem.n_k
        cosine = cosines(problem.q[..., first:last, :], problem.k[..., :stop, :], xp)  # (..., rows, keys)
        p = pair_probability(xp.acos(cosine), self.bits)
        near = xp.astype(xp.abs(cosine) > NEAR, xp.float64)
        keep = visible_block(problem, p, first, 0, stop)
        if keep is not None:
            p, near = (xp.where(keep, x, xp.zeros_like(x)) for x in (p, near))
        columns = columns[..., :stop, :]
        return xp.matmul(p, columns[..., :-1]), xp.matmul(near, columns[..., -1:])

    def _result(self, problem: Problem, sums: Array, near: HostArray) -> Approximation:
        xp, u, widths = problem.xp, problem.u, column_widths(problem)
        apart, anywhere = angle_errors(problem.d)
        slope = self.bits / math.pi
        near = near * (1 + gamma(problem.n_k + 2, _U))
        per_width = slope * apart + self.bits * EXP_ULPS * _U + gamma(problem.n_k + 2, _U)
        lost = problem.n_k * _arrays.smallest_normal("float64")
        if self.normalize:
            error = per_width * _norm(widths)[..., None] + slope * anywhere * near * math.sqrt(problem.dv)
            error = error + lost * math.sqrt(problem.dv)
            rows, sums = normalised_error(sums, up(error), xp) + u, unit_rows(sums, xp)
        else:
            rows = per_width * np.max(widths, axis=-1)[..., None] + slope * anywhere * near
            rows = rows + lost + u * row_norms(sums, xp)
        rows = up(rows + _arrays.smallest_normal(problem.dtype))
        certificate = Certificate(
            rows=np.broadcast_to(rows, (*problem.batch, problem.n_q)),
            target="YOSO-E",
            theorem="yoso.collision",
            facts={"bits": self.bits, "l1 width of a value column": np.max(widths, axis=-1)},
        )
        return Approximation(value=_arrays.cast(sums, problem.dtype, xp), certificate=certificate)


def _norm(widths: HostArray) -> HostArray:
    """Return the l2 norm over the last axis, safe from overflow."""
    top = np.max(widths, axis=-1)
    return np.asarray(top * np.sqrt(np.sum((widths / np.where(top > 0, top, 1.0)[..., None]) ** 2, axis=-1)))
