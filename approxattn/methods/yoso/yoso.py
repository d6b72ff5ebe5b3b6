"""YOSO-m: attention by hash tables, O(n) in the number of tokens (Zeng et al. 2021, "You Only
Sample (Almost) Once").

With m independent hashes h of `bits` random hyperplanes, out_i = (1/m) sum_h sum_j 1[h(q_i) =
h(k_j)] v_j, read from tables of bucket sums. There is no softmax denominator. The expectation of
the output is YOSO-E (`YosoExpectation`), and how far the output can be from it is in
`hash_error.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arguments import (
    check_choice,
    check_flag,
    check_fraction,
    check_generator,
    check_integer,
    check_memory,
    keep,
)
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import at_hand
from approxattn._arrays.entry import public
from approxattn._problem import Problem, quietly
from approxattn._problem.outline import outline
from approxattn.bounds.gradients import GradientBounds
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import column_sums, column_widths, row_lengths
from approxattn.certificate import Approximation, Certificate, Gradients
from approxattn.hashing.collision import root_mean_square_error
from approxattn.hashing.directions import ZERO_ROWS, check_zero_rows, unit_rows
from approxattn.methods.costs import Costed, Size
from approxattn.methods.sharded import Call
from approxattn.methods.states.posing import pose_keys
from approxattn.methods.yoso.certificate import Seen, hash_certificate, row_sums, size_of
from approxattn.methods.yoso.hash_error import (
    Hashes,
    bernstein_error,
    hashes_within,
    small,
)
from approxattn.methods.yoso.numpy_tables import TOKENS, code_width, fits, key_block
from approxattn.methods.yoso.sampled_gradient import sampled_gradient
from approxattn.methods.yoso.sampling import Sample, group_sizes, power_of_two, sample
from approxattn.methods.yoso.shards import YosoShards
from approxattn.methods.yoso.state import YosoState, made, refuse_what_no_state_has
from approxattn.methods.yoso.yoso_expectation import (
    Claim,
    YosoExpectation,
    certified_gradients,
    euclidean_norm,
)

SQUARES = 64
"""Least number of squares that the standard error of a row is made of, if there are enough hashes.
*Chosen*.
"""


@dataclass(frozen=True, kw_only=True)
class Yoso(Costed):
    """YOSO attention by sampled hashes.

    Parameters
    ----------
    bits : int
        Hyperplanes of one hash, tau in the paper; a table has 2^bits buckets. The authors' code
        takes ceil(log2 n).
    hashes : int
        Number m of hashes averaged: the error falls as 1/sqrt(m).
    hashing : {"gaussian", "hadamard"}
        Independent normal hyperplanes, for which the collision probability is exact. Or rows of a
        randomised Hadamard transform, as in the authors' fast hash. Their codes collide 5 to 35 %
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
        What `attention_vjp` returns. The exact or the paper's surrogate gradient of YOSO-E are
        dense, O(n^2), as in `YosoExpectation`. "sampled" is the hash estimate of the surrogate,
        O(n m d dv), from the same tables as the forward pass of the same generator.

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
        keep(
            self,
            bits=check_integer("bits", self.bits, 1, 20, "a table has 2^bits rows"),
            hashes=check_integer(
                "hashes", self.hashes, 1, 2**20, "each hash takes a pass over all tokens"
            ),
            confidence=check_fraction("confidence", self.confidence),
        )
        check_choice("hashing", self.hashing, ("gaussian", "hadamard"))
        check_flag("normalize", self.normalize)
        check_choice("zero_rows", self.zero_rows, ZERO_ROWS)
        check_choice("bound", self.bound, ("hoeffding", "bernstein"))
        check_choice("gradient", self.gradient, ("exact", "surrogate", "sampled"))
        if self.bound == "bernstein" and self.hashing == "hadamard":
            msg = (
                "bound(='bernstein') needs independent hashes, and those of one Hadamard block are "
                "not: use hashing='gaussian' or bound='hoeffding'"
            )
            raise ValueError(msg)

    @property
    def why_not_linear(self) -> str:
        """Why the output is not linear in v; empty where it is."""
        return "normalize=True divides rows by their length; use False" if self.normalize else ""

    def _multiply_adds(self, size: Size) -> float:
        """Return d tau + dv for each hash of a query and of a key: a code, and one row of a
        table.
        """
        return 2 * size.tokens * self.hashes * (size.d * self.bits + size.dv)

    def _bytes(self, size: Size) -> float:
        width, rows = size.width, min(max(size.n_q, size.n_k), TOKENS)
        codes = 4 * self.hashes * (size.n_q + size.n_k)  # of one leading index
        table = 2 * width * self.hashes * (1 << self.bits) * size.dv
        phases = (
            rows * self.hashes * code_width(self.bits) * (width + 1),  # signs, one a bit
            table + min(size.n_k, key_block(self.bits)) * self.hashes * (width + 4),  # sums
            table + rows * (self.hashes if self.bound == "bernstein" else 1) * width * size.dv,
        )
        return size.held(0.2, 1.5, double=3) + codes + max(phases)

    def _backward_cost(self, size: Size) -> tuple[float, float]:
        """Return those of the expectation, but for what is sampled: 4 d dv a hash and token."""
        if self.gradient != "sampled":
            return self._expectation()._backward_cost(size)
        work = 2 * size.tokens * (self.hashes + 1) * (self.bits * size.d + 2 * size.d * size.dv)
        return work, 3 * self._bytes(size)

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
            The least m with W sqrt(ln(2 n_q dv / delta) / (2 m)) <= tolerance, W the largest width;
            1 where there is nothing to be wrong.

        Raises
        ------
        TypeError
            If `queries` is not an int, `tolerance` or `delta` no number, `v` no array.
        ValueError
            If one of them is out of its range, `v` is not finite, or no number of hashes that a
            float can hold will do.
        """
        return hashes_within(tolerance, delta, v, queries)

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate.

        Raises
        ------
        ValueError
            A zero row, unless zero_rows="orthogonal"; hashes that would take minutes.
        MemoryError
            More hashes than this machine can hold.
        """
        check_zero_rows(problem, self.zero_rows)
        # NumPy arrays pass item by item, where all tables fit
        one_by_one = _arrays.on_host(problem.q) and fits(self.hashes, self.bits, problem.dv)
        normals = self._draw(problem, rng, whole_batch=not one_by_one)
        run = self._sample(problem, normals)
        return self.certified(problem, run, 1 - self.confidence)

    def certified(
        self, problem: Problem, run: Sample, failure: float, widths: HostArray | None = None
    ) -> Approximation:
        """Return the output with its certificate, which fails with that probability, from the means
        over hashes and the l1 widths of the columns of v: those of the problem, if not given.
        """
        xp, value, lengths = problem.xp, run.mean, None
        if self.normalize:
            sums = _arrays.cast(run.mean, "float64", xp)
            value, lengths = unit_rows(sums, xp), row_lengths(sums, xp)
        size = None
        if self.bound == "bernstein":  # the variance of every entry is as wide as a value
            known = column_widths(problem) if widths is None else widths
            entry = bernstein_error(problem, self.drawn, run, known, failure)
            size = size_of(self, entry)
        facts = () if widths is not None else (column_sums,)
        seen = Seen(
            counts=at_hand(run.counts),
            squares=None if run.squares is None else row_sums(run.squares),
            factor=run.factor,
            error=self._spread(problem),
            lengths=lengths,
            size=size,
        )
        kept = self, outline(problem, *facts, counts=True), seen, failure, widths
        return Approximation(
            value=_arrays.cast(value, problem.dtype, xp),
            certificate=Certificate.later(hash_certificate, *kept, target=self.target),
        )

    # Protocol.
    def shards(self, call: Call) -> YosoShards:
        """Return it as it works on blocks of tokens."""
        return YosoShards(method=self, call=call)

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return dq, dk, dv of the kind asked for, and their certificate.

        Raises
        ------
        ValueError
            A zero row, unless zero_rows="orthogonal".
        MemoryError
            As `compute`.
        """
        if self.gradient != "sampled":
            return self._expectation().vjp(problem, dout)
        check_zero_rows(problem, self.zero_rows)
        # a table for the values, and one for each column of q and k
        normals = self._draw(problem, rng, whole_batch=True, passes=1 + problem.d)
        off = self.drawn.frequency_error(problem, 1 - self.confidence)
        output = None
        if self.normalize:
            mean = self._sample(problem, normals).mean
            error = column_widths(problem)[..., None, :] * (off + self.drawn.rounding(problem))
            output = mean, up(euclidean_norm(error))
        terms, *found = sampled_gradient(problem, dout, normals, off, output)
        claim = Claim(self.target, "sampled surrogate", 1 - self.confidence)
        return certified_gradients(problem, terms, claim, _as_found, *found)

    @public()
    @quietly
    def state(
        self, k: Array, v: Array, *, rng: np.random.Generator, key_mask: Array | None = None
    ) -> YosoState:
        """Fold keys and values into hash tables, for queries to come; on the host, in NumPy.

        Parameters
        ----------
        k, v : array, shapes (..., n, d), (..., n, dv)
            Keys and values.
        rng : numpy.random.Generator
            Draws the hashes, once: all that joins the state has the same.
        key_mask : array of bool, shape (..., n), optional
            True where a key takes part.

        Returns
        -------
        YosoState
            With `query(q)`, `attend(q, k, v)`, which is causal, `extend(k, v)`, `merge(other)`,
            `save(path)`.

        Raises
        ------
        TypeError, ValueError, MemoryError
            What `attention` refuses; normalize=True and bound="bernstein", which need more than the
            tables.

        Examples
        --------
        >>> import numpy as np, approxattn as aa
        >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 100, 8))
        >>> method = aa.Yoso(bits=4, hashes=8)
        >>> state = method.state(k[:60], v[:60], rng=np.random.default_rng(1))
        >>> out = state.extend(k[60:], v[60:]).query(q)
        >>> whole = aa.attention(q, k, v, method, rng=np.random.default_rng(1))
        >>> bool(abs(out.value - whole.value).max() < 1e-13)
        True
        """
        check_generator(rng)
        refuse_what_no_state_has(self)
        problem = pose_keys(k, v, None, key_mask)
        numbers = math.prod(problem.batch) * (problem.dv + 1) * float(self.hashes << self.bits)
        check_memory("hashes", self.hashes, 2 * numbers, "tables of all hashes")
        normals = self._draw(problem, rng, whole_batch=True)
        return made(self, problem, _arrays.to_host(normals))

    @property
    def target(self) -> str:
        """What the error is measured against."""
        if self.hashing == "gaussian":
            return "YOSO-E"
        return "the expectation of YOSO under Hadamard hashing"

    @property
    def drawn(self) -> Hashes:
        """The hashes of a call."""
        return Hashes(bits=self.bits, count=self.hashes, kind=self.hashing)

    def _expectation(self) -> YosoExpectation:
        """Return the method that has the dense gradients."""
        return YosoExpectation(
            bits=self.bits,
            normalize=self.normalize,
            zero_rows=self.zero_rows,
            gradient=self.gradient,
        )

    def _draw(
        self,
        problem: Problem,
        rng: np.random.Generator | None,
        *,
        whole_batch: bool,
        passes: int = 1,
    ) -> Array:
        assert rng is not None  # noqa: S101 - `attention` asks for it
        return self.drawn.draw(problem, rng, whole_batch=whole_batch, passes=passes)

    def groups(self, d: int, dv: int) -> list[int]:
        """Return the sizes of the groups of hashes whose means are compared."""
        groups = self.hashes if self.bound == "bernstein" else 1 + -(-SQUARES // dv)
        return group_sizes(self.drawn.blocks(d), groups)

    def _sample(self, problem: Problem, normals: Array) -> Sample:
        xp, mask, values = problem.xp, problem.key_mask, problem.v
        top = float(np.max(np.abs(problem.value_range)))  # hidden values are 0
        factor = power_of_two(top, problem.dtype)
        run = sample(
            values / factor if factor != 1.0 else values,
            problem.k,
            problem.q,
            normals,
            self.groups(problem.d, problem.dv),
            entrywise=self.bound == "bernstein",
            weights=None if mask is None else xp.astype(mask, values.dtype),
            xp=xp,
        )
        if factor == 1.0:
            return run
        return Sample(mean=run.mean * factor, squares=run.squares, counts=run.counts, factor=factor)

    def _spread(self, problem: Problem) -> Array | None:
        """Return the exact root mean square errors of the rows, at hand, where they are
        affordable.
        """
        if not small(problem) or self.hashing != "gaussian":
            return None
        error = root_mean_square_error(
            problem.q, problem.k, problem.v, self.bits, self.hashes, problem.xp
        )
        return at_hand(error)


def _as_found(bounds: GradientBounds, noise: HostArray) -> tuple[GradientBounds, HostArray]:
    return bounds, noise
