"""YOSO-m: attention by hash tables, O(n) in the number of tokens (Zeng et al. 2021, "You Only
Sample (Almost) Once").

With m independent hashes h of `bits` random hyperplanes, out_i = (1/m) sum_h sum_j 1[h(q_i) =
h(k_j)] v_j, read from tables of bucket sums. Its expectation is YOSO-E (`YosoExpectation`). There
is no softmax denominator.

Certificate (proved here). The keys of a row share the hash, so their collisions are dependent, and
a bound in the l2 norm of V, as for independent keys, is false. The hashes are independent, and in
one of them column c of out_i lies in an interval of length W_c = sum_j |v_jc|: all n_q dv entries
are within t_c of their expectations by Hoeffding's inequality, or by Bernstein's with the variance
of shared hashes (`hashing/concentration.py`). The computed hash differs from the exact one in some
bit of q_i or k_j with probability at most 2 bits pi_f, pi_f the bound of `hyperplanes.py`; computed
hashes are still independent, and their expectation is within 2 bits pi_f W_c of YOSO-E, their
variance within 4 bits pi_f W_c^2 of the exact one. A computed variance is off by at most (3.5
bits/pi) e' W_c^2, e' the error of any angle: p_jl has slope bits/(2 pi) in each of three angles,
p_j p_l has bits/pi in two. Rounding of the sums: `numpy_tables.py`, and `_arrays.segment_sum` for
other libraries, whose float64 mean is off by (2 gamma_n + gamma_{m+4}) W_c.

Hadamard hashing draws dependent hyperplanes, whose collision probability has no closed form, and
its signs may tie. What is certified then is the distance to the expectation of the method itself,
over its draws, as computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_choice, check_flag, check_integer
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.concentration import bernstein, empirical_bernstein, hashes_needed, hoeffding
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import column_widths
from approxattn.certificate import Approximation, Certificate, Gradients
from approxattn.hashing.collision import angle_errors, column_variance, root_mean_square_error
from approxattn.hashing.directions import ZERO_ROWS, check_zero_rows, normalised_error, unit_rows
from approxattn.hashing.hadamard import block_sizes, draw_hadamard
from approxattn.hashing.hyperplanes import draw_hyperplanes, wrong_bit_probability
from approxattn.methods.yoso.numpy_tables import sum_error
from approxattn.methods.yoso.sampled_gradient import sampled_gradient
from approxattn.methods.yoso.sampling import Sample, group_sizes, power_of_two, sample
from approxattn.methods.yoso.yoso_expectation import (
    YosoExpectation,
    certified_gradients,
    euclidean_norm,
)

SMALL = 2**18
"""Largest n_q n_k^2 for which the exact variance is computed. *Chosen*: it costs less than a tenth
of a second.
"""

SQUARES = 64
"""Least number of squares that the standard error of a row is made of, if there are enough hashes.
*Chosen*.
"""

_U = 2.0**-53


@dataclass(frozen=True, kw_only=True)
class Yoso:
    """YOSO attention by sampled hashes.

    Parameters
    ----------
    bits : int
        Hyperplanes of one hash, tau in the paper; a table has 2^bits buckets. The authors' code
        takes ceil(log2 n).
    hashes : int
        Number m of hashes averaged: the error falls as 1/sqrt(m).
    hashing : {"gaussian", "hadamard"}
        Independent normal hyperplanes, for which the collision probability is exact; or rows of a
        randomised Hadamard transform, as in the authors' fast hash, whose codes collide 5 to 35 %
        less often for far pairs: the certificate then speaks about the expectation of the method
        itself.
    normalize : bool
        Divide every output row by its l2 norm (a zero row stays zero), as the paper's models do.
        The result is then biased, by O(1/m).
    zero_rows : {"raise", "orthogonal"}
        A zero query or key has no direction. "orthogonal": all its bits are 0, so it collides with
        probability 2^-bits with every nonzero row and surely with another zero row.
    confidence : float
        Probability with which the certificate holds, for each leading batch index.
    bound : {"hoeffding", "bernstein"}
        Hoeffding's bound needs no variance. Bernstein's is the sharper one for hundreds of hashes:
        with the exact variance of shared hashes for small problems, with the sample variance over
        the hashes otherwise.
    gradient : {"exact", "surrogate", "sampled"}
        What `attention_vjp` returns: the exact or the paper's surrogate gradient of YOSO-E, both
        dense, O(n^2), as in `YosoExpectation`; or the hash estimate of the surrogate, from the same
        tables as the forward pass of the same generator, O(n m d dv).

    Notes
    -----
    The target of the certificate is YOSO-E, not softmax attention. The same hyperplanes serve all
    leading batch indices. The certificate's facts hold the standard error of every row (l2 norm,
    before normalising), estimated from the spread over the hashes.
    """

    bits: int = 8
    hashes: int = 32
    hashing: str = "gaussian"
    normalize: bool = False
    zero_rows: str = "raise"
    confidence: float = 0.99
    bound: str = "hoeffding"
    gradient: str = "exact"

    randomised: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = (
        "its tables hold the sum over all keys, so a query cannot leave out later ones; "
        "YosoExpectation is causal"
    )
    why_no_scale: ClassVar[str] = (
        "YOSO compares directions only, so a factor of the scores means nothing to it"
    )

    def __post_init__(self) -> None:
        check_integer("bits", self.bits, 1, 20, "a table has 2^bits rows")
        check_integer("hashes", self.hashes, 1, 2**20, "each hash takes a pass over all tokens")
        check_choice("hashing", self.hashing, ("gaussian", "hadamard"))
        check_flag("normalize", self.normalize)
        check_choice("zero_rows", self.zero_rows, ZERO_ROWS)
        check_choice("bound", self.bound, ("hoeffding", "bernstein"))
        check_choice("gradient", self.gradient, ("exact", "surrogate", "sampled"))
        if not 0 < self.confidence < 1:
            msg = (
                f"confidence(={self.confidence}) must lie in (0, 1): certainty would make the "
                "bound the trivial one"
            )
            raise ValueError(msg)
        if self.bound == "bernstein" and self.hashing == "hadamard":
            msg = (
                "bound(='bernstein') needs independent hashes, and those of one Hadamard block are "
                "not: use hashing='gaussian' or bound='hoeffding'"
            )
            raise ValueError(msg)

    @staticmethod
    def hashes_for(tolerance: float, delta: float, v: Array, *, queries: int | None = None) -> int:
        """Return the number of hashes for which Hoeffding's bound puts every entry within
        `tolerance` of YOSO-E with probability 1 - delta.

        Parameters
        ----------
        tolerance : float
            Absolute error allowed in every entry, rounding apart.
        delta : float
            Probability of failure, in (0, 1), for each leading batch index.
        v : array, shape (..., n_k, dv)
            Values; their l1 widths over the keys set the scale.
        queries : int, optional
            Number of queries; n_k if not given.

        Returns
        -------
        int
            The least m with W sqrt(ln(2 n_q dv / delta) / (2 m)) <= tolerance, W the largest width.

        Raises
        ------
        ValueError
            If `tolerance` or `delta` is out of range.
        """
        if not tolerance > 0:
            msg = (
                f"tolerance(={tolerance}) must be positive: no number of hashes gives the "
                "expectation itself; use YosoExpectation"
            )
            raise ValueError(msg)
        if not 0 < delta < 1:
            msg = f"delta(={delta}) must lie in (0, 1), e.g. 0.01"
            raise ValueError(msg)
        xp = _arrays.namespace(v=v)
        width = float(xp.max(xp.sum(xp.abs(_arrays.cast(v, "float64", xp)), axis=-2)))
        entries = (int(v.shape[-2]) if queries is None else queries) * int(v.shape[-1])
        return hashes_needed(tolerance / width, entries, delta) if width > 0 else 1

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate.

        Raises
        ------
        ValueError
            A zero row, unless zero_rows="orthogonal".
        """
        check_zero_rows(problem, self.zero_rows)
        run, widths = self._sample(problem, self._draw(problem, rng)), column_widths(problem)
        rows, value = self._bound(problem, run, widths)
        certificate = Certificate(
            rows=rows,
            target=self._target,
            theorem="ours.l1-hoeffding" if self.bound == "hoeffding" else "ours.shared-bernstein",
            failure=1 - self.confidence,
            facts=self._facts(problem, run, widths),
        )
        return Approximation(
            value=_arrays.cast(value, problem.dtype, problem.xp), certificate=certificate
        )

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return dq, dk, dv of the kind asked for, and their certificate.

        Raises
        ------
        ValueError
            A zero row, unless zero_rows="orthogonal".
        """
        if self.gradient != "sampled":
            method = YosoExpectation(
                bits=self.bits,
                normalize=self.normalize,
                zero_rows=self.zero_rows,
                gradient=self.gradient,
            )
            return method.vjp(problem, dout)
        check_zero_rows(problem, self.zero_rows)
        normals = self._draw(problem, rng)
        # The bound on all n_q n_k collision frequencies together serves every sum of them, also
        # when the cotangent depends on the same hashes.
        off = hoeffding(
            self._blocks(problem), problem.n_q * problem.n_k, 1 - self.confidence
        ) + self._flips(problem)
        output = None
        if self.normalize:
            run = self._sample(problem, normals)
            output = (
                run.mean,
                up(
                    euclidean_norm(
                        column_widths(problem)[..., None, :] * (off + self._sums(problem))
                    )
                ),
            )
        terms, noise = sampled_gradient(problem, dout, normals, off, output)
        return certified_gradients(
            problem, terms, self._target, "sampled surrogate", noise, failure=1 - self.confidence
        )

    @property
    def _target(self) -> str:
        return (
            "YOSO-E"
            if self.hashing == "gaussian"
            else "the expectation of YOSO under Hadamard hashing"
        )

    def _draw(self, problem: Problem, rng: np.random.Generator | None) -> Array:
        if rng is None:
            msg = "rng(=None): Yoso draws hyperplanes; pass rng=numpy.random.default_rng(seed)"
            raise TypeError(msg)
        draw = draw_hyperplanes if self.hashing == "gaussian" else draw_hadamard
        return draw(self.hashes, self.bits, problem.q, rng)

    def _blocks(self, problem: Problem) -> list[int]:
        """Return the sizes of the independent blocks that the hashes come in."""
        return (
            [1] * self.hashes
            if self.hashing == "gaussian"
            else block_sizes(self.hashes, self.bits, problem.d)
        )

    def _sample(self, problem: Problem, normals: Array) -> Sample:
        xp, mask = problem.xp, problem.key_mask
        values, weights = problem.v, None
        if mask is not None:
            weights = xp.astype(mask, values.dtype)
            values = xp.where(mask[..., None], values, xp.zeros_like(values))
        entrywise = self.bound == "bernstein"
        groups = self.hashes if entrywise else 1 + -(-SQUARES // problem.dv)
        sizes = group_sizes(self._blocks(problem), groups)
        factor = power_of_two(values, xp)
        run = sample(
            values / factor if factor != 1.0 else values,
            problem.k,
            problem.q,
            normals,
            sizes,
            entrywise=entrywise,
            weights=weights,
            xp=xp,
        )
        if factor == 1.0:
            return run
        return Sample(mean=run.mean * factor, squares=run.squares, counts=run.counts, factor=factor)

    def _flips(self, problem: Problem) -> float:
        return (
            2 * self.bits * wrong_bit_probability(problem.d, problem.dtype)
            if self.hashing == "gaussian"
            else 0.0
        )

    def _sums(self, problem: Problem) -> float:
        """Bound the rounding of a mean over the hashes in units of W_c, in any library."""
        here = sum_error(problem.n_k, self.hashes, self.bits, problem.u)
        return here + gamma(2 * problem.n_k + self.hashes + 4, _U)

    def entry_error(self, problem: Problem, run: Sample, widths: HostArray) -> HostArray:
        """Return t_c and the rounding, shape (..., 1 or n_q, dv), for the l1 widths (..., dv): what
        every entry of column c is within, with the confidence.
        """
        unit = run.factor  # everything in units of it, so that no square overflows
        widths, delta = widths[..., None, :] / unit, 1 - self.confidence
        entries, flips = problem.n_q * problem.dv, self._flips(problem)
        if self.bound == "hoeffding":
            sampling = widths * hoeffding(self._blocks(problem), entries, delta)
        elif _small(problem):
            variance = _host(
                column_variance(problem.q, problem.k, _shown(problem) / unit, self.bits, problem.xp)
            )
            slack = (
                3.5 * self.bits / math.pi * angle_errors(problem.d)[1]
                + 2 * flips
                + gamma(problem.n_k**2 + 64, _U)
            )
            sampling = bernstein(
                up(variance + slack * widths**2), widths, self.hashes, entries, delta
            )
        else:
            squares = _host(run.squares) * self.hashes if run.squares is not None else widths**2
            noisy = up(squares + 64 * self._sums(problem) * widths**2)
            sampling = empirical_bernstein(noisy, widths, self.hashes, entries, delta)
        tiny = problem.n_k * _arrays.smallest_normal(problem.dtype)
        return up(unit * (sampling + widths * (flips + self._sums(problem)) + tiny))

    def _bound(self, problem: Problem, run: Sample, widths: HostArray) -> tuple[HostArray, Array]:
        """Return the row bounds, shape (..., n_q), and the output, normalised if asked for."""
        xp, u, entry = problem.xp, problem.u, self.entry_error(problem, run, widths)
        tiny = _arrays.smallest_normal(problem.dtype)
        if not self.normalize:
            size = np.max(widths, axis=-1)[..., None]  # no mean of collided sums is larger
            rows = up(np.max(entry, axis=-1) + 2 * u * size + tiny)
            return np.broadcast_to(rows, (*problem.batch, problem.n_q)), run.mean
        sums = _arrays.cast(run.mean, "float64", xp)
        norm = np.broadcast_to(euclidean_norm(entry), (*problem.batch, problem.n_q))
        return up(normalised_error(sums, up(norm), xp) + u + tiny), unit_rows(sums, xp)

    def _facts(self, problem: Problem, run: Sample, widths: HostArray) -> dict[str, Any]:
        counts = _host(run.counts)
        facts: dict[str, Any] = {
            "bits": self.bits,
            "hashes": self.hashes,
            "hashing": self.hashing,
            "l1 width of a value column": np.max(widths, axis=-1),
            "collided fraction": float(np.mean(counts / problem.visible_keys)),
            "rows without collision": int(np.sum(counts == 0)),
        }
        if run.squares is not None:
            facts["standard error of a row"] = run.factor * np.sqrt(
                np.sum(_host(run.squares), axis=-1, dtype=np.float64)
            )
        if _small(problem) and self.hashing == "gaussian":
            rms = root_mean_square_error(
                problem.q, problem.k, _shown(problem), self.bits, self.hashes, problem.xp
            )
            facts["root mean square error of a row before normalising"] = _host(rms)
        return facts


def _small(problem: Problem) -> bool:
    return problem.n_q * problem.n_k**2 * math.prod(problem.batch) <= SMALL


def _host(x: Array) -> HostArray:
    return _arrays.to_host(x)


def _shown(problem: Problem) -> Array:
    """Return the values, zero for masked keys."""
    xp, v = problem.xp, problem.v
    return (
        v
        if problem.key_mask is None
        else xp.where(problem.key_mask[..., None], v, xp.zeros_like(v))
    )
