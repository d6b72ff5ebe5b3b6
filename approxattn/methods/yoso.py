"""YOSO-m: attention by hash tables, O(n) in the number of tokens (Zeng et al. 2021, "You Only Sample (Almost) Once").

With m independent hashes h of `bits` random hyperplanes, out_i = (1/m) sum_h sum_j 1[h(q_i) = h(k_j)] v_j, read from tables of bucket sums. Its
expectation is YOSO-E (`YosoExpectation`). There is no softmax denominator.

Certificate (proved here). The keys of a row share the hash, so their collisions are dependent, and a bound in the l2 norm of V, as for independent
keys, is false. The hashes are independent, and in one of them column c of out_i lies in an interval of length W_c = sum_j |v_jc|. So, by Hoeffding
(1963), with probability at least 1 - delta all n_q dv entries are within

    t_c = W_c min(1, sqrt(ln(2 n_q dv / delta) / (2 m)))

of their expectations. The computed hash differs from the exact one in some bit of q_i or k_j with probability at most 2 bits pi_f, pi_f the
bound of `hyperplanes.py`; computed hashes are still independent, and their expectation is within 2 bits pi_f W_c of YOSO-E. Sums are taken in
float64: a table is off by at most (2 gamma_n + u) W_c, the mean by gamma_{m+1} W_c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, visible_keys
from approxattn.certificate import Approximation, Certificate
from approxattn.hashing.arguments import check_choice, check_flag, check_integer
from approxattn.hashing.collision import root_mean_square_error
from approxattn.hashing.directions import ZERO_ROWS, check_zero_rows, normalised_error, unit_rows
from approxattn.hashing.hyperplanes import codes, draw_hyperplanes, wrong_bit_probability
from approxattn.hashing.tables import mean_of_collided_sums
from approxattn.rounding import gamma, up
from approxattn.score_bounds import column_widths, row_norms

SMALL = 2**18
"""Largest n_q n_k^2 for which the exact root mean square error is among the facts. *Chosen*: it costs less than a tenth of a second."""

_U = 2.0**-53


@dataclass(frozen=True, kw_only=True)
class Yoso:
    """YOSO attention by sampled hashes.

    Parameters
    ----------
    bits : int
        Hyperplanes of one hash, tau in the paper; a table has 2^bits buckets. The authors' code takes ceil(log2 n).
    hashes : int
        Number m of hashes averaged: the error falls as 1/sqrt(m).
    hashing : {"gaussian"}
        Independent normal hyperplanes, for which the collision probability is exact.
    normalize : bool
        Divide every output row by its l2 norm (a zero row stays zero), as the paper's models do. The result is then biased, by O(1/m).
    zero_rows : {"raise", "orthogonal"}
        A zero query or key has no direction. "orthogonal": all its bits are 0, so it collides with probability 2^-bits with every nonzero
        row and surely with another zero row.
    confidence : float
        Probability with which the certificate holds, for each leading batch index.

    Notes
    -----
    The target of the certificate is YOSO-E, not softmax attention. The same hyperplanes serve all leading batch indices.
    """

    bits: int = 8
    hashes: int = 32
    hashing: str = "gaussian"
    normalize: bool = False
    zero_rows: str = "raise"
    confidence: float = 0.99

    randomised: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = (
        "its tables hold the sum over all keys, so a query cannot leave out later ones; YosoExpectation is causal"
    )
    why_no_scale: ClassVar[str] = "YOSO compares directions only, so a factor of the scores means nothing to it"

    def __post_init__(self) -> None:
        check_integer("bits", self.bits, 1, 20, "a table has 2^bits rows")
        check_integer("hashes", self.hashes, 1, 2**20, "each hash takes a pass over all tokens")
        check_choice("hashing", self.hashing, ("gaussian",))
        check_flag("normalize", self.normalize)
        check_choice("zero_rows", self.zero_rows, ZERO_ROWS)
        if not 0 < self.confidence < 1:
            msg = f"confidence(={self.confidence}) must lie in (0, 1): certainty would make the bound the trivial one"
            raise ValueError(msg)

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate.

        Raises
        ------
        ValueError
            A zero row, unless zero_rows="orthogonal".
        """
        if rng is None:
            msg = "rng(=None): Yoso draws hyperplanes; pass rng=numpy.random.default_rng(seed)"
            raise TypeError(msg)
        xp = problem.xp
        check_zero_rows(problem, self.zero_rows)
        normals = draw_hyperplanes(self.hashes, self.bits, problem.q, rng)
        key_codes, query_codes = codes(problem.k, normals, xp), codes(problem.q, normals, xp)
        sums = mean_of_collided_sums(_counted_values(problem), key_codes, query_codes, 2**self.bits, xp)
        sums, counts = sums[..., :-1], _arrays.to_host(sums[..., -1])  # (..., n_q, dv), (..., n_q)
        rows, value = self._bound(problem, sums)
        certificate = Certificate(
            rows=rows,
            target="YOSO-E",
            theorem="ours.l1-hoeffding",
            failure=1 - self.confidence,
            facts=self._facts(problem, counts),
        )
        return Approximation(value=_arrays.cast(value, problem.dtype, xp), certificate=certificate)

    def entry_error(self, problem: Problem) -> HostArray:
        """Return t_c and the rounding, shape (..., dv): what every entry of column c is within, with the confidence."""
        widths = column_widths(problem)
        log = math.log(2 * problem.n_q * problem.dv / (1 - self.confidence))
        sampling = min(1.0, math.sqrt(log / (2 * self.hashes)))
        flips = 2 * self.bits * wrong_bit_probability(problem.d, problem.dtype)
        sums = gamma(2 * problem.n_k + self.hashes + 4, _U)
        return up(widths * (sampling + flips + sums))

    def _bound(self, problem: Problem, sums: Array) -> tuple[HostArray, Array]:
        """Return the row bounds, shape (..., n_q), and the output, normalised if asked for."""
        xp, u, entry = problem.xp, problem.u, self.entry_error(problem)
        tiny = _arrays.smallest_normal(problem.dtype)
        if not self.normalize:
            rows = np.max(entry, axis=-1)[..., None] + u * row_norms(sums, xp)
            return up(rows + tiny), sums
        top = np.max(entry, axis=-1, keepdims=True)
        norm = top[..., 0] * np.sqrt(np.sum((entry / np.where(top > 0, top, 1.0)) ** 2, axis=-1))
        return up(normalised_error(sums, up(norm)[..., None], xp) + u + tiny), unit_rows(sums, xp)

    def _facts(self, problem: Problem, counts: HostArray) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "bits": self.bits,
            "hashes": self.hashes,
            "l1 width of a value column": np.max(column_widths(problem), axis=-1),
            "collided fraction": float(np.mean(counts / visible_keys(problem))),
            "rows without collision": int(np.sum(counts == 0)),
        }
        if problem.n_q * problem.n_k**2 * math.prod(problem.batch) <= SMALL:
            v = _counted_values(problem)[..., :-1]
            rms = root_mean_square_error(problem.q, problem.k, v, self.bits, self.hashes, problem.xp)
            facts["root mean square error of a row before normalising"] = _arrays.to_host(rms)
        return facts


def _counted_values(problem: Problem) -> Array:
    """Return the values with a column of ones appended, all zero for masked keys, shape (..., n_k, dv + 1)."""
    xp, v = problem.xp, problem.v
    values = xp.concat([v, xp.ones_like(v[..., :1])], axis=-1)
    return values if problem.key_mask is None else xp.where(problem.key_mask[..., None], values, xp.zeros_like(values))
