"""Softmax attention estimated from colliding pairs, each divided by its probability to collide
(Horvitz & Thompson 1952, wording unverified).

Symbols. U_ij = 1 where the codes of q_i and k_j differ in at most `radius` (0 or 1) bits in some
table. In one table this has the probability p_ij = (1 - theta_ij/pi)^bits for radius 0, and that of
`ball_probability` for radius 1; in some table pi_ij = 1 - (1 - p_ij)^tables. Then

    out_i = sum_j e^{s_ij} (U_ij/pi_ij) v_j / sum_j e^{s_ij} (U_ij/pi_ij).

Numerator and denominator are unbiased, with a known variance (`ours.horvitz-thompson`). Their ratio
is biased by the variance of the denominator to first order. YOSO estimates another kernel, BERT-LSH
leaves the division out; neither estimates the softmax.

First-order error (proved here). f are the softmax weights, y_i = sum_j f_ij v_j.

1. D_i = sum_j f_ij U_ij/pi_ij has mean 1; R_i = sum_j f_ij (v_j - y_i) U_ij/pi_ij has mean 0.
2. out_i - y_i = R_i / D_i.
3. The facts hold, for small problems, sqrt(E|R_i|^2) and sqrt(Var D_i), exactly up to rounding.

Certificate: `output.py`, for the pairs kept.

Gradient (proved here). z_ij = G_i . v_j, kappa_i = G_i . out_i, a_ij = e^{s_ij}.

1. The softmax gradient of a query is dq_i = beta sum_j f_ij (z_ij - kappa_i) k_j, and alike for dk
   and dv: sums over the same weights.
2. `vjp` estimates each from the same pairs and the same 1/pi_ij. So it is the derivative of the
   output with both held fixed.
3. It leaves out the derivative of 1/pi_ij on purpose. E[U a'/pi] = a', whereas the derivative of
   the output for the drawn codes has E[U (a/pi)'] = a' - a pi'/pi, off by what moves the codes
   themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_integer, check_memory, keep
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn._problem.time_needed import SCORE, STEP, check_setting
from approxattn.bounds.perturbation import output_bound
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import score_bound, value_spread
from approxattn.bounds.softmax import softmax_rounding
from approxattn.certificate import (
    SOFTMAX,
    Approximation,
    Certificate,
    Gradients,
)
from approxattn.hashing.collision import (
    ball_pair_and_triple,
    ball_probability,
    cosines,
    union_joint,
    union_probability,
)
from approxattn.hashing.hyperplanes import codes, draw_hyperplanes
from approxattn.methods.colliding_pairs.expected import PADDED, expected_pairs, pair_bytes
from approxattn.methods.colliding_pairs.gradient import pair_gradient
from approxattn.methods.colliding_pairs.output import (
    FIRST,
    PairSoftmax,
    foresee_collisions,
    found_pairs,
    pair_softmax,
)
from approxattn.methods.costs import Costed, Size
from approxattn.softmax.scores import masked_scores, row_softmax

SMALL = 2**18
"""Largest n_q n_k^2 for which the exact variances are among the facts. *Chosen*: they cost less
than a tenth of a second.
"""

LEAST = 2.0**-100
"""Least probability divided by: a pair that is opposite but for rounding has none. *Chosen*."""


@dataclass(frozen=True, kw_only=True)
class LSHSoftmax(Costed):
    """Softmax attention over the pairs that collide, weighted by the inverse of their probability
    to.

    Parameters
    ----------
    bits : int
        Hyperplanes per table. More bits leave fewer pairs, those of small angle.
    tables : int
        Tables, joined by OR.
    radius : {0, 1}
        Bits of a code in which a pair may differ and still collide. With 1, each table is looked up
        bits + 1 times (multi-probe), and bits should be larger: at equal numbers of tables and
        pairs the error was half as large on clustered data, and the same on Gaussian data
        (docs/lsh.md).
    max_pairs : int
        The most collisions to take on; more are refused, with an estimate, before they are formed.

    Notes
    -----
    Cost and memory are in proportion to the colliding pairs. A row without any attends uniformly
    over the keys it sees (counted in the facts). The same hashes serve all leading batch indices.
    The gradient is the estimate of the softmax gradient from the same pairs, with the codes and
    their probabilities held fixed; its certificate bounds rounding. A zero row has all bits 0, and
    meets a nonzero row with the probability of a right angle.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.LSHSoftmax(tables=4), rng=np.random.default_rng(1))
    >>> exact = aa.attention(q, k, v, aa.Exact()).value
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
    True
    """

    bits: int = 4
    tables: int = 4
    radius: int = 0
    max_pairs: int = 2**26

    randomised: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True
    _backward: ClassVar[tuple[float, float]] = (2.2, 1.1)

    def __post_init__(self) -> None:
        whys = {
            "bits": (1, 62, "a code is a 64-bit integer"),
            "tables": (1, 2**16, "each table hashes all tokens"),
            "radius": (
                0,
                1,
                "codes two bits away would take bits (bits - 1) / 2 more look-ups a table",
            ),
            "max_pairs": (1, 2**40, "pairs are counted in 64-bit integers"),
        }
        for name, limits in whys.items():
            keep(self, **{name: check_integer(name, getattr(self, name), *limits)})

    def _multiply_adds(self, size: Size) -> float:
        """Return 2 d + dv a pair that collides, and the codes."""
        codes = 2 * size.tokens * size.d * self.bits * self.tables
        found = expected_pairs(size, 2.0**-self.bits, self._looked_up)
        return codes + PADDED * found * (2 * size.d + size.dv)

    def _bytes(self, size: Size) -> float:
        return size.held(1, 2, double=8) + pair_bytes(size, 2.0**-self.bits, self._looked_up)

    @property
    def _looked_up(self) -> int:
        """How many buckets each query looks into."""
        return self.tables * (1 + self.radius * self.bits)

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate.

        Raises
        ------
        MemoryError
            More collisions than `max_pairs`, before they are formed.
        ValueError
            Tables or collisions that would take minutes.
        """
        pairs = found_pairs(problem, self._codes(problem, rng), self.max_pairs)
        result = pair_softmax(problem, pairs, lambda q, k: self._log_weights(q, k, problem))
        bound = score_bound(problem)
        largest = self._largest_logit(bound)
        rows = output_bound(result.tv, value_spread(problem).osc) + softmax_rounding(
            problem, largest, problem.n_k
        )
        certificate = Certificate(
            rows=up(rows),
            target=SOFTMAX,
            theorem="ours.reweighted-keys",
            facts=self._facts(problem, result, bound),
        )
        return Approximation(value=result.value, certificate=certificate)

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return the estimates of dq, dk, dv from the pairs drawn, and bounds on their rounding
        errors.

        Raises
        ------
        MemoryError, ValueError
            As `compute`.
        """
        drawn, bound = self._codes(problem, rng), score_bound(problem)
        result = pair_gradient(
            problem,
            dout,
            drawn,
            self.max_pairs,
            self._largest_logit(bound),
            lambda q, k: self._log_weights(q, k, problem),
        )
        certificate = result.bounds.certificate(
            target="the gradient of LSHSoftmax for the pairs drawn, their weights held fixed",
            facts={
                "bits": self.bits,
                "tables": self.tables,
                "radius": self.radius,
                "unit roundoff": problem.u,
            },
        )
        return Gradients(dq=result.dq, dk=result.dk, dv=result.dv, certificate=certificate)

    def _codes(self, problem: Problem, rng: np.random.Generator | None) -> tuple[Array, Array]:
        assert rng is not None  # noqa: S101 - `attention` asks for it
        looked_up = (1 + self.radius * self.bits) * math.prod(problem.batch)
        numbers = self.bits * problem.d + looked_up * (problem.n_q + problem.n_k)
        check_memory("tables", self.tables, self.tables * numbers, "hyperplanes and codes")
        lookup = 2 * STEP + 40 * SCORE * (problem.n_q + problem.n_k)
        seconds = self.tables * looked_up * lookup
        check_setting(problem, "tables", self.tables, seconds, "looking up codes in all tables")
        normals = draw_hyperplanes(self.tables, self.bits, problem.q, rng)
        if self.tables > FIRST:
            first = self._hashed(problem, normals[:FIRST, ...])
            foresee_collisions(problem, first, FIRST / self.tables, self.max_pairs)
        return self._hashed(problem, normals)

    def _hashed(self, problem: Problem, normals: Array) -> tuple[Array, Array]:
        q_codes, k_codes = (codes(x, normals, problem.xp) for x in (problem.q, problem.k))
        if self.radius == 0:
            return q_codes, k_codes
        return _probes(q_codes, k_codes, self.bits, problem)

    def _largest_logit(self, bound: HostArray) -> HostArray:
        """Bound |s - ln pi|: pi >= LEAST."""
        return bound + math.log(1 / LEAST) + 1

    def _log_weights(self, q: Array, k: Array, problem: Problem) -> Array:
        """Return -ln pi, queries (rows, 1, d) and keys (rows, width, d) -> (rows, width), in the
        dtype computed in.
        """
        xp = problem.xp
        one = ball_probability(xp.acos(cosines(q, k, xp)[..., 0, :]), self.bits, self.radius)
        one = xp.maximum(one, xp.full_like(one, LEAST))
        # ln (1 - (1 - p)^L) without cancellation for small p
        kept = -xp.expm1(self.tables * xp.log1p(-xp.minimum(one, xp.full_like(one, 1 - 2.0**-50))))
        return _arrays.cast(-xp.log(kept), problem.dtype, xp)

    def _facts(self, problem: Problem, result: PairSoftmax, bound: HostArray) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "bits": self.bits,
            "tables": self.tables,
            "radius": self.radius,
            "collided fraction": result.pairs / float(np.sum(problem.visible_keys)),
            "rows without collision": result.empty_rows,
            "score bound": bound,
            "change of the weights in total variation": result.tv,
        }
        if problem.n_q * problem.n_k**2 * math.prod(problem.batch) <= SMALL:
            error, spread = self._deviations(problem)
            facts["root mean square of the first-order error of a row"] = error
            facts["relative standard deviation of the denominator"] = spread
        return facts

    def _deviations(self, problem: Problem) -> tuple[HostArray, HostArray]:
        """Return sqrt(E|R_i|^2) and sqrt(Var D_i), shape (..., n_q); inf where a key of some weight
        cannot collide.
        """
        xp = problem.xp
        scores = _arrays.cast(
            masked_scores(problem, problem.q * problem.scale, 0, 0, problem.n_k), "float64", xp
        )
        f = row_softmax(scores, xp)  # (..., n_q, n_k)
        p, triple = ball_pair_and_triple(problem.q, problem.k, self.bits, self.radius, xp)
        inclusion = union_probability(p, self.tables)
        joint = union_joint(p[..., :, None], p[..., None, :], triple, self.tables)
        never = inclusion <= LEAST
        safe = xp.where(never, xp.ones_like(inclusion), inclusion)
        f_over = xp.where(never, xp.zeros_like(f), f / safe)
        # (..., n_q, n_k, n_k)
        covariance = joint - inclusion[..., :, None] * inclusion[..., None, :]
        v = _arrays.cast(problem.v, "float64", xp)
        top = xp.max(xp.abs(v), axis=(-2, -1), keepdims=True)
        v = v / xp.where(top > 0, top, xp.ones_like(top))
        residual = v[..., None, :, :] - xp.matmul(f, v)[..., :, None, :]  # (..., n_q, n_k, dv)
        weighted = f_over[..., None] * residual
        square = xp.sum(xp.matmul(covariance, weighted) * weighted, axis=(-2, -1))
        spread = xp.sum(xp.matmul(covariance, f_over[..., None])[..., 0] * f_over, axis=-1)
        lost = _arrays.to_host(xp.any(never & (f > 0), axis=-1))
        error, deviation = (np.sqrt(np.maximum(_arrays.to_host(x), 0.0)) for x in (square, spread))
        return np.where(lost, np.inf, error * _arrays.to_host(top[..., 0])), np.where(
            lost, np.inf, deviation
        )


def _probes(q_codes: Array, k_codes: Array, bits: int, problem: Problem) -> tuple[Array, Array]:
    """Return codes for bits + 1 tables in the place of each: those of the queries as they are, and
    with one bit flipped; those of the keys repeated.
    """
    xp = problem.xp
    flips = [xp.bitwise_xor(q_codes, xp.full_like(q_codes, 2**b)) for b in range(bits)]
    return xp.concat([q_codes, *flips], axis=0), xp.concat([k_codes] * (bits + 1), axis=0)
