"""How far a mean over hashes can be from its expectation: sampling, wrong bits, rounding.

Symbols. There are m hashes of b = `bits` random hyperplanes. B_ij = 1 where query i and key j
collide in one hash. X_ic = sum_j B_ij v_jc is what that hash gives to entry (i, c) of the output,
and W_c = sum_j |v_jc|. pi_f bounds the probability of one wrong bit (`hashing/hyperplanes.py`). e'
is the error of any computed angle (`hashing/collision.py`).

Certificate (proved here).

1. The keys of a row share the hash, so their collisions are dependent. A bound in the l2 norm of V,
   as for independent keys, is false.
2. The hashes are independent, and X_ic lies in an interval of length W_c. Hence all n_q dv entries
   are within t_c of their expectations, t_c by Hoeffding's inequality, or by Bernstein's with the
   variance of shared hashes (`bounds/concentration.py`).
3. The computed code of q_i or k_j is wrong with probability at most 2 b pi_f. Computed hashes are
   still independent. Their expectation is within 2 b pi_f W_c of YOSO-E.
4. Their variance is within 4 b pi_f W_c^2 of the exact one.
5. A computed variance is off by at most (3.5 b/pi) e' W_c^2: p_ijl has the slope b/(2 pi) in each
   of three angles, p_ij p_il has b/pi in two.
6. The sums round as `numpy_tables.py` says. In other libraries (`_arrays.segments`) the float64
   mean is off by (2 gamma_n + gamma_{m+4}) W_c.

Hadamard hashing draws dependent hyperplanes, whose collision probability has no closed form, and
its signs may tie. What is certified then is the distance to the expectation of the method itself,
over its draws, as computed: steps 3 to 5 fall away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_fraction, check_integer, check_memory, check_positive
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn._problem.time_needed import PRODUCT, SCORE, STEP, check_setting
from approxattn.bounds.concentration import (
    bernstein,
    empirical_bernstein,
    hashes_needed,
    hoeffding,
)
from approxattn.bounds.elsewhere import Elsewhere
from approxattn.bounds.rounding import U64, gamma, up
from approxattn.hashing.collision import angle_errors, column_variance
from approxattn.hashing.hadamard import block_sizes, draw_hadamard
from approxattn.hashing.hyperplanes import draw_hyperplanes, wrong_bit_probability
from approxattn.methods.yoso.numpy_tables import sum_error
from approxattn.methods.yoso.sampling import Sample

SMALL = 2**18
"""Largest n_q n_k^2 for which the exact variance is computed. *Chosen*: it costs less than a tenth
of a second.
"""


@dataclass(frozen=True, kw_only=True)
class Hashes:
    """The hashes of one call.

    Attributes
    ----------
    bits, count : int
        Hyperplanes of one hash, and number of hashes.
    kind : {"gaussian", "hadamard"}
        How they are drawn.
    """

    bits: int
    count: int
    kind: str

    def draw(
        self, problem: Problem, rng: np.random.Generator, *, whole_batch: bool, passes: int = 1
    ) -> Array:
        """Return the hyperplanes, shape (count, bits, d).

        `whole_batch` says whether the codes of all batch items are held at once, `passes` how often
        a table is filled and read for each hash.

        Raises
        ------
        MemoryError
            Where they and the codes cannot fit into this machine.
        ValueError
            Where the tables would take minutes.
        """
        # codes of one item are 32 bits wide, those of the whole batch 64
        items = math.prod(problem.batch) if whole_batch else 0.5
        numbers = self.count * (self.bits * problem.d + items * (problem.n_q + problem.n_k))
        check_memory("hashes", self.count, numbers, "hyperplanes and codes")
        seconds = self.count * self._seconds(problem) * passes
        check_setting(problem, "hashes", self.count, seconds, "tables of all hashes")
        draw = draw_hyperplanes if self.kind == "gaussian" else draw_hadamard
        return draw(self.count, self.bits, problem.q, rng)

    def _seconds(self, problem: Problem) -> float:
        """Return about the seconds for one hash: tokens coded and moved, and its table."""
        tokens = (problem.n_q + problem.n_k) * (16 * SCORE + PRODUCT * self.bits * problem.d)
        table = SCORE / 5 * 2**self.bits * (problem.dv + 1)
        return 2 * STEP + math.prod(problem.batch) * float(tokens + table)

    def blocks(self, d: int) -> list[int]:
        """Return the sizes of the independent blocks that the hashes come in."""
        if self.kind == "gaussian":
            return [1] * self.count
        return block_sizes(self.count, self.bits, d)

    def wrong_codes(self, problem: Problem) -> float:
        """Bound the probability that the code of a query or of a key is wrong: step 3."""
        if self.kind != "gaussian":
            return 0.0
        return 2 * self.bits * wrong_bit_probability(problem.d, problem.dtype, problem.u)

    def rounding(self, problem: Problem) -> float:
        """Bound the rounding of a mean over the hashes in units of W_c, in any library: step 6."""
        here = sum_error(problem.n_k, self.count, self.bits, problem.u)
        return here + gamma(2 * problem.n_k + self.count + 4, U64)

    def frequency_error(self, problem: Problem, delta: float) -> float:
        """Bound |frequency of collisions - p_ij| for all pairs together, with probability
        1 - delta: it serves every sum of them, also when what is summed depends on the hashes.
        """
        pairs = problem.n_q * problem.n_k
        return hoeffding(self.blocks(problem.d), pairs, delta) + self.wrong_codes(problem)


def hoeffding_error(
    problem: Problem, hashes: Hashes, factor: float, widths: HostArray, delta: float
) -> HostArray:
    """Return t_c by Hoeffding's inequality and the rounding, shape (..., 1, dv), for the l1 widths
    (..., dv): what every entry of column c is within, with probability 1 - delta.
    """
    widths = widths[..., None, :] / factor  # everything in units of it: no square overflows
    entries = problem.n_q * problem.dv
    sampling = widths * hoeffding(hashes.blocks(problem.d), entries, delta)
    return _with_rounding(problem, hashes, factor, widths, sampling)


def bernstein_error(
    problem: Problem, hashes: Hashes, run: Sample, widths: HostArray, delta: float
) -> HostArray:
    """Return the same by Bernstein's, shape (..., 1 or n_q, dv)."""
    widths = widths[..., None, :] / run.factor
    sampling = _bernstein(problem, hashes, run, widths, delta)
    return _with_rounding(problem, hashes, run.factor, widths, sampling)


def _with_rounding(
    problem: Problem, hashes: Hashes, factor: float, widths: HostArray, sampling: HostArray
) -> HostArray:
    tiny = problem.n_k * _arrays.smallest_normal(problem.dtype)
    inexact = hashes.wrong_codes(problem) + hashes.rounding(problem)
    return up(factor * (sampling + widths * inexact + tiny))


def _bernstein(
    problem: Problem, hashes: Hashes, run: Sample, widths: HostArray, delta: float
) -> HostArray:
    """Return t_c with the exact variance for small problems, with the sample variance otherwise."""
    count, entries = hashes.count, problem.n_q * problem.dv
    if not small(problem):
        squares = widths**2
        if run.squares is not None:
            squares = _arrays.to_host(run.squares) * count
        noisy = up(squares + 64 * hashes.rounding(problem) * widths**2)
        return empirical_bernstein(noisy, widths, count, entries, delta)
    values = problem.v / run.factor
    variance = column_variance(problem.q, problem.k, values, hashes.bits, problem.xp)
    slack = (
        3.5 * hashes.bits / math.pi * angle_errors(problem.d)[1]
        + 2 * hashes.wrong_codes(problem)
        + gamma(problem.n_k**2 + 64, U64)
    )
    noisy = up(_arrays.to_host(variance) + slack * widths**2)
    return bernstein(noisy, widths, count, entries, delta)


def small(problem: Problem) -> bool:
    """Return whether exact variances are affordable: not where the keys are elsewhere."""
    if isinstance(problem, Elsewhere):
        return False
    return problem.n_q * problem.n_k**2 * math.prod(problem.batch) <= SMALL


def hashes_within(tolerance: float, delta: float, v: Array, queries: int | None) -> int:
    """Return the number of hashes of `Yoso.hashes_for`."""
    tolerance = check_positive("tolerance", tolerance)
    delta = check_fraction("delta", delta)
    xp = _arrays.namespace(v=v)
    if v.ndim < 2:
        msg = f"v has shape {tuple(v.shape)}: it needs (..., tokens, features)"
        raise ValueError(msg)
    tokens = int(v.shape[-2]) if queries is None else check_integer("queries", queries, 1)
    if 0 in v.shape:
        return 1
    width = float(xp.max(xp.sum(xp.abs(_arrays.cast(v, "float64", xp)), axis=-2)))
    if not math.isfinite(width):
        msg = "v is not finite, or its sums are not: mend the input, or rescale it"
        raise ValueError(msg)
    if width > 0 and tolerance / width < 2.0**-500:
        msg = (
            f"tolerance(={tolerance}) is below 2^-500 of the width {width:.3g} of the values: "
            "no number of hashes will do; use YosoExpectation"
        )
        raise ValueError(msg)
    entries = tokens * int(v.shape[-1])
    return hashes_needed(tolerance / width, entries, delta) if width > 0 else 1
