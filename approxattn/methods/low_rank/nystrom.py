"""Nystrom attention: queries and keys meet through a few landmarks (Xiong et al. 2021,
Nystromformer, arXiv 2102.03902; wording unverified).

With landmark queries q~ and keys k~, means of blocks of neighbours, and all softmaxes by rows,

    out = F Z B V,   F = softmax(beta Q K~^T),   A = softmax(beta Q~ K~^T),   B = softmax(beta Q~
        K^T),   Z close to the inverse of A.

If A is invertible and Z its inverse, every row of F Z B sums to 1 (A 1 = 1 gives Z 1 = 1; proved
here), but its entries may be negative. With few iterations the sums differ from 1; then centring
the values, out = c + F Z B (V - c) with c the mean of the visible values, puts what is missing on
the mean of V instead of on 0, at no cost.

F and B are plain attention to and from the landmarks, so forward and gradient are those of
`approxattn.softmax.streaming`; X = Z (B V) are the values of the landmarks:

    dZ = dX Y^T,  dY = Z^T dX  with  Y = B V,  and each block shares the gradient of its mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from approxattn import _arrays, sketching
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.values import range_bound
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
)
from approxattn.methods.low_rank.combinations import visible
from approxattn.methods.low_rank.pseudo_inverse import (
    newton_schulz,
    newton_schulz_gradient,
    truncated_inverse,
    truncated_inverse_gradient,
)
from approxattn.softmax.streaming import query_blocks, stream, stream_gradient


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
class Nystrom:
    """Attention through landmarks.

    Parameters
    ----------
    landmarks : int
        Number of landmark queries and keys, means of contiguous blocks; never more than there are
        queries, or visible keys.
    iterations : int
        Newton-Schulz iterations for the inverse, 6 in the paper. More are not better: few damp the
        small singular values.
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
        If `landmarks` or `iterations` is not an int.
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    No theorem bounds the error; the certificate is what the range of v alone implies, and `audit`
    measures. There is no causal form: each landmark holds later tokens. The gradient is that of the
    output itself.
    """

    landmarks: int
    iterations: int = 6
    rcond: float | None = None
    centred: bool = True
    mask_queries: bool = False

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = (
        "its landmarks mix earlier tokens with later ones; use Exact(), Performer(...) or "
        "Polynomial(...)"
    )
    why_no_scale: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, least in (("landmarks", 1), ("iterations", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                msg = f"{name}(={value!r}) must be an int"
                raise TypeError(msg)
            if value < least:
                msg = f"{name}(={value}) must be at least {least}"
                raise ValueError(msg)
        if self.rcond is not None and not 0 <= self.rcond < 1:
            msg = (
                f"rcond(={self.rcond}) must lie in [0, 1): it is a fraction of the largest "
                "singular value; None iterates"
            )
            raise ValueError(msg)

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and the bound that the range of v implies."""
        del rng
        marks, xp = self._landmarks(problem), problem.xp
        values = xp.matmul(marks.z, _attend(marks.from_landmarks))
        value = _attend(replace(marks.to_landmarks, v=values)) + marks.centre
        certificate = Certificate(
            rows=range_bound(value, problem),
            target=SOFTMAX,
            theorem="ours.value-range",
            facts=self._facts(marks),
            unmet=(
                "no theorem bounds the error of landmarks: the bound is what the range of v alone "
                "implies",
            ),
        )
        return Approximation(value=value, certificate=certificate)

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv of the output for the cotangent dout, shape (..., n_q, dv)."""
        del rng
        marks, xp = self._landmarks(problem), problem.xp
        t = xp.matrix_transpose
        y = _attend(marks.from_landmarks)
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
        bounds = no_gradient_bounds(problem)
        certificate = GradientCertificate(
            dq=bounds.dq,
            dk=bounds.dk,
            dv=bounds.dv,
            target=SOFTMAX_GRADIENT,
            theorem="ours.gradient",
            facts=self._facts(marks),
            unmet=("no bound is known for the gradient through landmarks",),
        )
        dq, dk = dq + marks.queries.adjoint(dq_marks), dk + marks.keys.adjoint(dk_marks)
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    def _landmarks(self, problem: Problem) -> _Landmarks:
        xp = problem.xp
        queries = sketching.mean_pool(self._query_mask(problem), self.landmarks)
        keys = sketching.mean_pool(visible(problem), self.landmarks)
        q, k = queries.apply(problem.q), keys.apply(problem.k)
        centre = _mean_value(problem) if self.centred else xp.zeros_like(problem.v[..., :1, :])
        there = _full(keys.counts, problem)
        to_landmarks = replace(problem, k=k, key_mask=there)
        scores = xp.matmul(q * problem.scale, xp.matrix_transpose(k))
        scores = xp.where(there[..., None, :], scores, xp.full_like(scores, -xp.inf))
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        a = weights / xp.sum(weights, axis=-1, keepdims=True)
        a = xp.where(_full(queries.counts, problem)[..., :, None], a, xp.zeros_like(a))
        z = (
            newton_schulz(a, self.iterations, xp)
            if self.rcond is None
            else truncated_inverse(a, self.rcond, xp)
        )
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

    def _facts(self, marks: _Landmarks) -> dict[str, object]:
        how = {"iterations": self.iterations} if self.rcond is None else {"rcond": self.rcond}
        return {"landmark queries": marks.a.shape[-2], "landmark keys": marks.a.shape[-1], **how}


def _attend(problem: Problem) -> Array:
    return problem.xp.concat(
        [stream(problem, *block).value for block in query_blocks(problem)], axis=-2
    )


def _full(counts: HostArray, problem: Problem) -> Array:
    """Return which blocks hold tokens, bool, shape (..., blocks)."""
    there = _arrays.from_host(counts > 0, problem.q)
    return problem.xp.broadcast_to(there, (*problem.batch, counts.shape[-1]))


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
    kept = xp.where(problem.key_mask[..., None], problem.v, xp.zeros_like(problem.v))
    return xp.sum(kept * _shares(problem), axis=-2, keepdims=True)
