"""YOSO-E: attention by collision probabilities, out = P V with P_ij = (1 - theta_ij/pi)^bits (Zeng
et al. 2021, "You Only Sample (Almost) Once").

theta_ij is the angle between q_i and k_j. There is no softmax denominator: the rows of P do not sum
to one. Dense, taken in blocks of queries.

Everything is computed in float64 whatever the dtype, because arccos loses half the digits of a
cosine near 1; a library that cannot is refused (`_arrays.cast`).

Rounding (proved here). u is the unit roundoff of float64, W_c the l1 width of column c of V, and
near_i the sum of max_c |v_jc| over the keys nearly parallel to q_i. An angle is off by at most e,
or by e' where the pair is nearly parallel (`angle_errors`: apart, anywhere).

1. p lies in [0, 1] and has a slope of at most bits/pi in theta, so the angles move entry (i, c) by
   at most (bits/pi) (e W_c + e' near_i).
2. The power rounds by bits EXP_ULPS u, the sum over n keys by gamma_{n+2}, both in units of W_c.
3. Underflow of products loses at most n tiny, tiny the smallest normal number.
4. Rounding to the dtype adds its unit roundoff times the computed entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_choice, check_flag, check_integer, keep
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import at_hand
from approxattn._problem import Problem
from approxattn._problem.outline import outline
from approxattn.bounds.gradients import GradientBounds
from approxattn.bounds.rounding import EXP_ULPS, U64, gamma, up
from approxattn.bounds.scores import column_sums, column_widths, row_lengths
from approxattn.certificate import Approximation, Certificate, GradientCertificate, Gradients
from approxattn.hashing.collision import NEAR, angle_errors, cosines, pair_probability
from approxattn.hashing.directions import (
    ZERO_ROWS,
    Divided,
    check_zero_rows,
    length_noise,
    through_length,
    turn_of_length,
    unit_rows,
)
from approxattn.methods.costs import Costed, Size
from approxattn.methods.yoso.angular_gradient import (
    KINDS,
    Kept,
    Terms,
    expectation_bounds,
    expectation_gradient,
)
from approxattn.softmax.scores import rows_at_once, visible_block

_THEOREMS = {
    "exact": "yoso.exact-gradient",
    "surrogate": "yoso.surrogate-gradient",
    "sampled surrogate": "ours.l1-hoeffding",
}


@dataclass(frozen=True, kw_only=True)
class YosoExpectation(Costed):
    """The expectation of YOSO attention, computed exactly; its certificate bounds the rounding.

    Parameters
    ----------
    bits : int
        Hyperplanes of one hash, tau in the paper.
    normalize : bool
        Divide every output row by its l2 norm (a zero row stays zero), as the paper's models do.
    zero_rows : {"raise", "orthogonal"}
        A zero query or key has no direction. "orthogonal": it collides with probability 2^-bits
        with every nonzero row and surely with another zero row, as it does under sign hashing.
    gradient : {"exact", "surrogate"}
        What `attention_vjp` returns: the derivative of the output through ``q/|q|`` and ``k/|k|``,
        or the paper's, with (bits/2) p <= p' in its place, through the same division. The exact one
        is bounded: parallel pairs, at a cone point of the angle, count 0.

    Notes
    -----
    Computed in float64 whatever the dtype. The target of the certificate, YOSO-E, is this function
    in exact arithmetic, not softmax attention.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.YosoExpectation(bits=4))
    >>> sampled = aa.attention(q, k, v, aa.Yoso(bits=4, hashes=64), rng=np.random.default_rng(1))
    >>> bool((abs(sampled.value - out.value).max(axis=-1) <= sampled.certificate.rows).all())
    True
    """

    bits: int = 8
    normalize: bool = False
    zero_rows: str = "raise"
    gradient: str = "exact"

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = (
        "YOSO compares directions only, so a factor of the scores means nothing to it"
    )

    def __post_init__(self) -> None:
        why = "2^-bits, the weight of an orthogonal key, must be a float64"
        keep(self, bits=check_integer("bits", self.bits, 1, 1024, why))
        check_flag("normalize", self.normalize)
        check_choice("zero_rows", self.zero_rows, ZERO_ROWS)
        check_choice("gradient", self.gradient, KINDS)

    @property
    def why_not_linear(self) -> str:
        """Why the output is not linear in v; empty where it is."""
        return "normalize=True divides rows by their length; use False" if self.normalize else ""

    def _multiply_adds(self, size: Size) -> float:
        """Return d + dv + 1 a pair."""
        return size.pairs * (size.d + size.dv + 1)

    def _bytes(self, size: Size) -> float:
        return size.held(1, 2, double=3) + size.scores(size.n_k, 4, width=8)

    def _backward_cost(self, size: Size) -> tuple[float, float]:
        """Return 3 d + 2 dv + 1 a pair, and a dozen blocks of scores in float64."""
        again = size.d + size.dv + 1 if self.normalize else 0
        held = size.held(2, 3, double=3) + size.scores(size.n_k, 11, width=8)
        return size.pairs * (3 * size.d + 2 * size.dv + 1 + again), held

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and the bound on its rounding error.

        Raises
        ------
        ValueError
            A zero row, unless zero_rows="orthogonal".
        """
        del rng
        check_zero_rows(problem, self.zero_rows)
        return self._result(problem, *self._sums(problem))

    @property
    def gradient_of_output(self) -> bool:
        """Whether `vjp` differentiates the output: the paper's surrogate does not."""
        return self.gradient == "exact"

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv and the bounds on their rounding errors; 0 for zero rows.

        Raises
        ------
        ValueError
            A zero row, unless zero_rows="orthogonal".
        """
        del rng
        xp = problem.xp
        check_zero_rows(problem, self.zero_rows)
        cotangent, through = _arrays.cast(dout, "float64", xp), None
        if self.normalize:
            sums, near = self._sums(problem)
            cotangent, divided = through_length(cotangent, sums, xp)
            through = divided, near
        terms, kept = expectation_gradient(problem, cotangent, self.bits, self.gradient)
        known = outline(problem, column_sums), self, kept, through
        claim = Claim("YOSO-E", self.gradient)
        return certified_gradients(problem, terms, claim, _bounds_and_noise, *known)

    def noise(self, problem: Problem, through: tuple[Divided, Array] | None) -> HostArray:
        """Return the errors of the rows of a cotangent, shape (..., n_q), from what is known of its
        way through the lengths of the output, and near_i.
        """
        if through is None:
            return np.zeros((*problem.batch, problem.n_q))
        divided, near = through
        return length_noise(divided, self._euclidean_error(problem, _arrays.to_host(near)))

    def _sums(self, problem: Problem) -> tuple[Array, Array]:
        """Return P V, float64, shape (..., n_q, dv), and near_i, shape (..., n_q), at hand."""
        xp = problem.xp
        values = _arrays.cast(problem.v, "float64", xp)
        size = xp.max(xp.abs(values), axis=-1, keepdims=True)  # (..., n_k, 1)
        columns = xp.concat([values, size], axis=-1)  # (..., n_k, dv + 1)
        step = rows_at_once(problem, problem.n_k)
        blocks = [
            self._block(problem, columns, i, min(i + step, problem.n_q))
            for i in range(0, problem.n_q, step)
        ]
        sums, near = (xp.concat(parts, axis=-2) for parts in zip(*blocks, strict=True))
        return sums, at_hand(near[..., 0])

    def _block(
        self, problem: Problem, columns: Array, first: int, last: int
    ) -> tuple[Array, Array]:
        """Return P V for queries first..last-1, shape (..., rows, dv), and near_i, shape (...,
        rows, 1).
        """
        xp = problem.xp
        stop = last if problem.causal else problem.n_k
        # (..., rows, keys)
        cosine = cosines(problem.q[..., first:last, :], problem.k[..., :stop, :], xp)
        p = pair_probability(xp.acos(cosine), self.bits)
        near = xp.astype(xp.abs(cosine) > NEAR, xp.float64)
        keep = visible_block(problem, p, first, 0, stop)
        if keep is not None:
            p, near = (xp.where(keep, x, xp.zeros_like(x)) for x in (p, near))
        columns = columns[..., :stop, :]
        return xp.matmul(p, columns[..., :-1]), xp.matmul(near, columns[..., -1:])

    def _per_width(self, problem: Problem) -> float:
        """Return the bound on the error of P V in units of the l1 widths, nearly parallel pairs
        apart.
        """
        per_angle = self.bits / math.pi * angle_errors(problem.d)[0]
        return per_angle + self.bits * EXP_ULPS * U64 + gamma(problem.n_k + 2, U64)

    def _near(self, problem: Problem, near: HostArray) -> HostArray:
        """Return what nearly parallel pairs and underflow add to that, shape (..., n_q)."""
        per_angle = self.bits / math.pi * angle_errors(problem.d)[1]
        return per_angle * near * (
            1 + gamma(problem.n_k + 2, U64)
        ) + problem.n_k * _arrays.smallest_normal("float64")

    def _euclidean_error(self, problem: Problem, near: HostArray) -> HostArray:
        """Bound the Euclidean norm of the error of a row of P V, shape (..., n_q)."""
        width = euclidean_norm(column_widths(problem))[..., None]
        return up(
            self._per_width(problem) * width + self._near(problem, near) * math.sqrt(problem.dv)
        )

    def _result(self, problem: Problem, sums: Array, near: Array) -> Approximation:
        xp = problem.xp
        known = self, outline(problem, column_sums), near, row_lengths(sums, xp)
        certificate = Certificate.later(_certificate, *known, target="YOSO-E")
        sums = unit_rows(sums, xp) if self.normalize else sums
        return Approximation(value=_arrays.cast(sums, problem.dtype, xp), certificate=certificate)

    def rows(self, problem: Problem, near: HostArray, lengths: HostArray) -> HostArray:
        """Return the bounds of the rows, shape (..., n_q), from near_i and the lengths of P V."""
        u, widths = problem.u, column_widths(problem)
        if self.normalize:
            rows = turn_of_length(lengths, problem.dv, self._euclidean_error(problem, near)) + u
        else:
            rows = self._per_width(problem) * np.max(widths, axis=-1)[..., None] + self._near(
                problem, near
            )
            rows = rows + u * lengths
        return up(rows + _arrays.smallest_normal(problem.dtype))


def _certificate(
    method: YosoExpectation, problem: Problem, near: Array, lengths: Array
) -> Certificate:
    rows = method.rows(problem, _arrays.to_host(near), _arrays.to_host(lengths))
    widest = np.max(column_widths(problem), axis=-1)
    return Certificate(
        rows=np.broadcast_to(rows, (*problem.batch, problem.n_q)),
        target="YOSO-E",
        theorem="yoso.collision",
        facts={"bits": method.bits, "l1 width of a value column": widest},
    )


def _bounds_and_noise(
    problem: Problem,
    method: YosoExpectation,
    kept: Kept,
    through: tuple[Divided, Array] | None,
) -> tuple[GradientBounds, HostArray]:
    noise = method.noise(problem, through)
    return expectation_bounds(problem, kept, noise, method.bits, method.gradient), noise


def euclidean_norm(widths: HostArray) -> HostArray:
    """Return the l2 norm over the last axis, safe from overflow."""
    top = np.max(widths, axis=-1, keepdims=True)
    return np.asarray(
        top[..., 0] * np.sqrt(np.sum((widths / np.where(top > 0, top, 1.0)) ** 2, axis=-1))
    )


class Claim(NamedTuple):
    """What a certificate of gradients says: of which target, of which kind, and how often it
    fails.
    """

    target: str
    kind: str
    failure: float = 0.0


def certified_gradients(
    problem: Problem,
    terms: Terms,
    claim: Claim,
    find: Callable[..., tuple[GradientBounds, HostArray]],
    *kept: Any,
) -> Gradients:
    """Return float64 gradients in the dtype computed in, with their certificate from the bounds and
    the errors of the cotangent that ``find(*kept)`` will give; the rounding of a narrower dtype
    joins the bounds. `attention_vjp` looks for rows that overflow it.
    """
    xp = problem.xp
    sizes = tuple(at_hand(xp.max(xp.abs(value), axis=-1)) for value in terms)
    values = (_arrays.cast(value, problem.dtype, xp) for value in terms)
    known = claim, problem.dtype, problem.u, sizes, find, kept
    target = f"the {claim.kind} gradient of {claim.target}"
    certificate = GradientCertificate.later(_gradient_certificate, *known, target=target)
    return Gradients(**dict(zip(("dq", "dk", "dv"), values, strict=True)), certificate=certificate)


def _gradient_certificate(
    claim: Claim,
    dtype: str,
    u: float,
    sizes: tuple[Array, ...],
    find: Callable[..., tuple[GradientBounds, HostArray]],
    kept: tuple[Any, ...],
) -> GradientCertificate:
    found, noise = find(*kept)
    tiny = _arrays.smallest_normal(dtype)
    bounds = [
        up(error + 2 * u * _arrays.to_host(size) + tiny)
        for error, size in zip(found, sizes, strict=True)
    ]
    lost = int(np.sum(np.isinf(noise)))
    reason = (
        f"{lost} output row(s) cannot be told from zero, where division by the length has no "
        "derivative"
    )
    return GradientBounds(*bounds).certificate(
        target=f"the {claim.kind} gradient of {claim.target}",
        theorem=_THEOREMS[claim.kind],
        failure=claim.failure,
        facts={"gradient": claim.kind, "unit roundoff": u},
        unmet=(reason,) if lost else (),
    )
