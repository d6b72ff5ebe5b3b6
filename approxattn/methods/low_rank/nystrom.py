"""Nystrom attention: queries and keys meet through a few landmarks (Xiong et al. 2021,
Nystromformer, arXiv 2102.03902; wording unverified).

Landmark queries Q~ and keys K~ are means of blocks of neighbours. With all softmaxes by rows,

    out = F Z B V,   Z close to the inverse of A,
    F = softmax(beta Q K~^T),   A = softmax(beta Q~ K~^T),   B = softmax(beta Q~ K^T).

1. If A is invertible and Z its inverse, every row of F Z B sums to 1, since A 1 = 1 gives Z 1 = 1
   (proved here). But its entries may be negative.
2. With few iterations for Z the sums differ from 1. Centring the values, out = c + F Z B (V - c)
   with c the mean of the visible values, puts what is missing on the mean of V instead of on 0, at
   no cost.

Gradient. F and B are plain attention to and from the landmarks, so their gradients are those of
`approxattn.softmax.streaming`. X = Z (B V) are the values of the landmarks, and with Y = B V

    dZ = dX Y^T,   dY = Z^T dX.

Each block shares the gradient of its mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from approxattn import _arrays, sketching
from approxattn._arguments import check_flag, check_integer, check_memory, check_number, keep
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn._problem.outline import outline
from approxattn._problem.time_needed import PRODUCT, STEP, check_setting
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.values import bound_from_reach, known_ends, value_reach
from approxattn.certificate import (
    SOFTMAX,
    Approximation,
    Certificate,
    Gradients,
)
from approxattn.methods.costs import Costed, Size
from approxattn.methods.low_rank.blocks.nystrom import NO_THEOREM, NystromShards
from approxattn.methods.low_rank.combinations import visible
from approxattn.methods.low_rank.pseudo_inverse import (
    newton_schulz,
    newton_schulz_gradient,
    truncated_inverse,
    truncated_inverse_gradient,
)
from approxattn.methods.protocol import Sizes
from approxattn.methods.sharded import Call
from approxattn.softmax.scores import row_softmax
from approxattn.softmax.streaming import attend, stream_gradient


class _Landmarks(NamedTuple):
    """Landmarks and what lies between them: the two problems of plain attention, A, Z, and the
    centre of the values.
    """

    from_landmarks: Problem  # queries q~, all keys and centred values
    to_landmarks: Problem  # all queries, keys k~; its values are set when they are known
    queries: Any
    keys: Any
    a: Array
    z: Array
    centre: Array


@dataclass(frozen=True, kw_only=True)
class Nystrom(Costed):
    """Attention through landmarks.

    Parameters
    ----------
    landmarks : int
        Number of landmark queries and keys, means of contiguous blocks; never more than there are
        queries, or visible keys.
    iterations : int
        Newton-Schulz iterations for the inverse, 6 in the paper, at most 1000. More are not better:
        few damp the small singular values.
    rcond : float, optional
        Instead of iterating, invert the singular values above rcond times the largest one and drop
        the others; in [0, 1).
    centred : bool
        Whether the mean of v is taken out before and put back after; False is the paper's form.
    mask_queries : bool
        Whether `key_mask` also says which queries make landmarks: for self-attention with padded
        tokens, n_q = n_k.

    Raises
    ------
    TypeError
        If `landmarks` or `iterations` is not an int, or another parameter of the wrong type.
    ValueError
        If a parameter is out of its range.
    MemoryError
        From a call, where the matrices between landmarks cannot fit into this machine.

    Notes
    -----
    No theorem bounds the error; the certificate is what the range of v alone implies, and `audit`
    measures. There is no causal form: each landmark holds later tokens. The gradient is that of the
    output itself.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.Nystrom(landmarks=20))
    >>> exact = aa.attention(q, k, v, aa.Exact()).value
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
    True
    """

    landmarks: int
    iterations: int = 6
    rcond: float | None = None
    centred: bool = True
    mask_queries: bool = False

    randomised: ClassVar[bool] = False
    gradient_of_output: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = (
        "its landmarks mix earlier tokens with later ones; use Exact(), Performer(...) or "
        "Polynomial(...)"
    )
    why_no_scale: ClassVar[str] = ""

    @property
    def averages_values(self) -> bool:
        """Whether an offset of the values is one of the output: so where they are centred."""
        return self.centred

    def __post_init__(self) -> None:
        keep(
            self,
            landmarks=check_integer("landmarks", self.landmarks, 1),
            iterations=check_integer(
                "iterations", self.iterations, 0, 1000, "each doubles the digits, once it converges"
            ),
        )
        check_flag("centred", self.centred)
        check_flag("mask_queries", self.mask_queries)
        if self.rcond is not None:
            rule = "lie in [0, 1): it is a fraction of the largest singular value; None iterates"
            below_zero = -math.ulp(0.0)
            keep(self, rcond=check_number("rcond", self.rcond, rule, low=below_zero, high=1.0))

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings that are compared at equal cost."""
        return (Sizes(make=lambda count: cls(landmarks=count)),)

    def _multiply_adds(self, size: Size) -> float:
        """Return L (d + dv) for each query and each key, and once L^2 d + 4 t L^3 for the inverse:
        t iterations of four products.
        """
        count, width = self.landmarks, size.d + size.dv
        once = count**2 * size.d + 4 * self.iterations * count**3
        return size.items * ((size.n_q + size.n_k) * count * width + once)

    def _bytes(self, size: Size) -> float:
        inverse = 8 * size.items * self.landmarks**2 * size.width
        return size.held(1, 3, double=2) + size.scores(self.landmarks, 3) + inverse

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and the bound that the range of v implies."""
        del rng
        marks, xp = self._landmarks(problem), problem.xp
        values = xp.matmul(marks.z, attend(marks.from_landmarks))
        value = attend(replace(marks.to_landmarks, v=values)) + marks.centre
        reach = value_reach(value, *known_ends(problem), problem)
        known = reach, outline(problem), self.facts_of(marks.a)
        certificate = Certificate.later(_certificate, *known, target=SOFTMAX)
        return Approximation(value=value, certificate=certificate)

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv of the output for the cotangent dout, shape (..., n_q, dv)."""
        del rng
        marks, xp = self._landmarks(problem), problem.xp
        t = xp.matrix_transpose
        y = attend(marks.from_landmarks)
        dq, dk_marks, dx = stream_gradient(
            replace(marks.to_landmarks, v=xp.matmul(marks.z, y)), dout
        )
        dq_marks, dk, dv = stream_gradient(marks.from_landmarks, xp.matmul(t(marks.z), dx))
        da = self._inverse_gradient(marks.a, xp.matmul(dx, t(y)), problem)
        ds = marks.a * (da - xp.sum(marks.a * da, axis=-1, keepdims=True)) * problem.scale
        dq_marks = dq_marks + xp.matmul(ds, marks.to_landmarks.k)
        dk_marks = dk_marks + xp.matmul(t(ds), marks.from_landmarks.q)
        if self.centred:
            rest = xp.sum(dout, axis=-2, keepdims=True) - xp.sum(dv, axis=-2, keepdims=True)
            dv = dv + rest * _shares(problem)
        certificate = no_gradient_bounds(problem).certificate(
            facts=self.facts_of(marks.a),
            unmet=("no bound is known for the gradient through landmarks",),
        )
        dq, dk = dq + marks.queries.adjoint(dq_marks), dk + marks.keys.adjoint(dk_marks)
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    def _landmarks(self, problem: Problem) -> _Landmarks:
        """Return the landmarks.

        Raises
        ------
        MemoryError, ValueError
            Where the matrices between them cannot fit into this machine, or would take minutes.
        """
        xp = problem.xp
        square = min(self.landmarks, problem.n_q) * min(self.landmarks, problem.n_k)
        numbers = math.prod(problem.batch) * square * (self.iterations + 6)
        check_memory("landmarks", self.landmarks, numbers, "matrices between landmarks")
        side = min(self.landmarks, max(problem.n_q, problem.n_k))
        rounds = self.iterations + 1 if self.rcond is None else 10
        seconds = rounds * (4 * STEP + math.prod(problem.batch) * 4 * side**3 * PRODUCT)
        check_setting(problem, "landmarks", self.landmarks, seconds, "inverting their matrix")
        queries = sketching.mean_pool(self._query_mask(problem), self.landmarks)
        keys = sketching.mean_pool(visible(problem), self.landmarks)
        q, k = queries.apply(problem.q), keys.apply(problem.k)
        centre = _mean_value(problem) if self.centred else xp.zeros_like(problem.v[..., :1, :])
        real = _full(keys.counts, problem)
        to_landmarks = replace(problem, k=k, key_mask=real)
        scores = xp.matmul(q * problem.scale, xp.matrix_transpose(k))
        scores = xp.where(real[..., None, :], scores, xp.full_like(scores, -xp.inf))
        a = row_softmax(scores, xp)
        a = xp.where(_full(queries.counts, problem)[..., :, None], a, xp.zeros_like(a))
        z = self.inverse(a, xp)
        from_landmarks = replace(problem, q=q, v=problem.v - centre)
        return _Landmarks(from_landmarks, to_landmarks, queries, keys, a, z, centre)

    def _query_mask(self, problem: Problem) -> HostArray:
        if not self.mask_queries:
            return np.ones(problem.n_q, bool)
        if problem.n_q != problem.n_k:
            msg = (
                f"mask_queries=True with {problem.n_q} queries and {problem.n_k} keys: it is for "
                "self-attention, where both are the same tokens"
            )
            raise ValueError(msg)
        return visible(problem)

    def _inverse_gradient(self, a: Array, dz: Array, problem: Problem) -> Array:
        if self.rcond is None:
            return newton_schulz_gradient(a, self.iterations, dz, problem.xp)
        return truncated_inverse_gradient(a, self.rcond, dz, problem.xp)

    def facts_of(self, a: Array) -> dict[str, object]:
        """Return what certificates tell, for A."""
        how = {"iterations": self.iterations} if self.rcond is None else {"rcond": self.rcond}
        return {"landmark queries": a.shape[-2], "landmark keys": a.shape[-1], **how}

    # Protocol.
    def shards(self, call: Call) -> NystromShards:
        """Return it as it works on blocks of tokens."""
        return NystromShards(method=self, call=call)

    def inverse(self, a: Array, xp: Namespace) -> Array:
        """Return Z for A, shape (..., L, L)."""
        if self.rcond is None:
            return newton_schulz(a, self.iterations, xp)
        return truncated_inverse(a, self.rcond, xp)


def _certificate(reach: Array, problem: Problem, facts: dict[str, object]) -> Certificate:
    return Certificate(
        rows=bound_from_reach(reach, *problem.value_range, problem),
        target=SOFTMAX,
        theorem="ours.value-range",
        facts=facts,
        unmet=(NO_THEOREM,),
    )


def _full(counts: HostArray, problem: Problem) -> Array:
    """Return which blocks hold tokens, bool, shape (..., blocks)."""
    real = _arrays.from_host(counts > 0, problem.q)
    return problem.xp.broadcast_to(real, (*problem.batch, counts.shape[-1]))


def _shares(problem: Problem) -> Array:
    """Return one over the number of visible keys for these, 0 for the others, shape (...,
    n_k, 1).
    """
    xp = problem.xp
    if problem.key_mask is None:
        return xp.full_like(problem.v[..., :1], 1 / problem.n_k)
    seen = xp.astype(problem.key_mask, problem.v.dtype)[..., None]
    return seen / xp.sum(seen, axis=-2, keepdims=True)


def _mean_value(problem: Problem) -> Array:
    xp = problem.xp
    if problem.key_mask is None:
        return xp.mean(problem.v, axis=-2, keepdims=True)
    return xp.sum(problem.v * _shares(problem), axis=-2, keepdims=True)
