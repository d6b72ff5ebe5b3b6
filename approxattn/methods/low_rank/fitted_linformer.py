"""Attention to block means of the keys with values fitted to exact rows: Linformer with a
data-dependent F.

W are the weights of all queries on k pooled keys, those of mean pooling. Its values, the block
means V', are replaced by those that fit best. S are evenly spaced queries, O_S their exact outputs,
in O(|S| n d), W_S their weights, and R = O_S - W_S V' is what pooling leaves. Then

    C = V' + (W_S^T W_S + lambda)^{-1} W_S^T R,   lambda = ridge |W_S|_F^2 / k,   out = W C.

Values that pooling already gets right (R = 0), such as constant ones, stay right.

Gradient (proved here). dC is that of the values, Y = (W_S^T W_S + lambda)^{-1} dC and D = C - V'.

    dR = W_S Y,   dO_S = dR,   dV' = dC - W_S^T dR,   dM = -Y D^T,
    dW_S = R Y^T - dR V'^T + W_S (dM + dM^T) + (2 ridge / k) tr(dM) W_S.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_integer, check_memory, check_number, keep
from approxattn._arrays import Array, HostArray
from approxattn._arrays.factorisations import solve
from approxattn._problem import Problem
from approxattn._problem.time_needed import PRODUCT, check_setting
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.values import range_bound
from approxattn.certificate import (
    SOFTMAX,
    Approximation,
    Certificate,
    Gradients,
)
from approxattn.methods.costs import Costed, Size
from approxattn.methods.low_rank.combinations import Combined, mean_pooled
from approxattn.methods.protocol import Sizes
from approxattn.sketching import RowSample
from approxattn.softmax.biased import Reduced, attend, attend_gradient, weights
from approxattn.softmax.rows import choose
from approxattn.softmax.streaming import attend as attend_exactly
from approxattn.softmax.streaming import stream_gradient


class _Fit(NamedTuple):
    """What the values were fitted to, and the result."""

    combined: Combined
    sample: RowSample
    exact: Problem  # the sampled queries with all keys
    near: Reduced  # the same with pooled keys
    weights: Array  # W_S
    residual: Array  # R
    system: Array  # W_S^T W_S + lambda
    correction: Array  # C - V'


@dataclass(frozen=True, kw_only=True)
class FittedLinformer(Costed):
    """Attention to block means of the keys with values fitted by least squares.

    Parameters
    ----------
    rank : int
        Number of blocks k, as for ``Linformer(rank, sketch="mean-pool")``.
    rows : int, optional
        Number of queries whose exact output is fitted, evenly spaced; 4 rank if None. All queries
        if there are no more.
    ridge : float
        Regularisation, as a fraction of the mean squared weight of a block; positive.

    Raises
    ------
    TypeError
        If `rank` or `rows` is not an int, or `ridge` no number.
    ValueError
        If a parameter is out of its range.
    MemoryError
        From a call, where weights and system of the fit cannot fit into this machine.

    Notes
    -----
    No theorem bounds the error; the certificate is what the range of v alone implies, and `audit`
    measures. There is no causal form. The gradient is that of the output itself, through the fit.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.FittedLinformer(rank=20))
    >>> exact = aa.attention(q, k, v, aa.Exact()).value
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
    True
    """

    rank: int
    rows: int | None = None
    ridge: float = 1e-4

    randomised: ClassVar[bool] = False
    gradient_of_output: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = (
        "its blocks mix earlier keys with later ones; use Exact(), Performer(...) or "
        "Polynomial(...)"
    )
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True
    _backward: ClassVar[tuple[float, float]] = (4.5, 2.2)

    def __post_init__(self) -> None:
        keep(self, rank=check_integer("rank", self.rank, 1))
        if self.rows is not None:
            keep(self, rows=check_integer("rows", self.rows, 1))
        rule = "be a finite positive number: without it the fit may have no unique solution"
        keep(self, ridge=check_number("ridge", self.ridge, rule, low=0.0, high=math.inf))

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings that are compared at equal cost."""
        return (Sizes(make=lambda k: cls(rank=k)),)

    def _multiply_adds(self, size: Size) -> float:
        """Return k (d + dv) a query, d + dv a key, and for each fitted row its exact output and its
        part of the fit, n_k (d + dv) + k (d + dv + k).
        """
        width, k = size.d + size.dv, self.rank
        rows = min(4 * k if self.rows is None else self.rows, size.n_q)
        fit = rows * (size.n_k * width + k * (width + k))
        return size.items * ((size.n_q * k + size.n_k) * width + fit)

    def _bytes(self, size: Size) -> float:
        return size.held(1.2, 2, double=2) + size.scores(self.rank, 3)

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and the bound that the range of v implies."""
        del rng
        fit = self._fit(problem)
        value = attend(_with_values(fit))
        certificate = Certificate(
            rows=range_bound(value, problem),
            target=SOFTMAX,
            theorem="ours.value-range",
            facts=_facts(fit),
            unmet=(
                "no theorem bounds the error of fitted values: the bound is what the range of v "
                "alone implies",
            ),
        )
        return Approximation(value=value, certificate=certificate)

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv of the output for the cotangent dout, shape (..., n_q, dv)."""
        del rng
        fit, xp = self._fit(problem), problem.xp
        t = xp.matrix_transpose
        dq, dkeys, dc = attend_gradient(_with_values(fit), dout)
        y = solve(fit.system, dc, xp)
        dr, dm = xp.matmul(fit.weights, y), -xp.matmul(y, t(fit.correction))
        blocks = fit.weights.shape[-1]
        trace = xp.sum(y * fit.correction, axis=(-2, -1), keepdims=True)  # of -dM
        dw = xp.matmul(fit.residual, t(y)) - xp.matmul(dr, t(fit.near.problem.v))
        dw = dw + xp.matmul(fit.weights, dm + t(dm)) - 2 * self.ridge / blocks * trace * fit.weights
        ds = fit.weights * (dw - xp.sum(fit.weights * dw, axis=-1, keepdims=True)) * problem.scale
        dq_exact, dk_exact, dv_exact = stream_gradient(fit.exact, dr)
        dq = dq + fit.sample.adjoint(dq_exact + xp.matmul(ds, fit.near.problem.k))
        dk, dv = fit.combined.gradients(
            dkeys + xp.matmul(t(ds), fit.exact.q), dc - xp.matmul(t(fit.weights), dr)
        )
        certificate = no_gradient_bounds(problem).certificate(
            facts=_facts(fit),
            unmet=("no bound is known for the gradient through fitted values",),
        )
        return Gradients(dq=dq, dk=dk + dk_exact, dv=dv + dv_exact, certificate=certificate)

    def _fit(self, problem: Problem) -> _Fit:
        xp = problem.xp
        rows = min(4 * self.rank if self.rows is None else self.rows, problem.n_q)
        blocks = min(self.rank, problem.n_k)
        numbers = math.prod(problem.batch) * blocks * (2 * blocks + rows)
        check_memory("rank", self.rank, numbers, "weights and system of the fit")
        products = math.prod(problem.batch) * blocks**2 * (rows + blocks)
        check_setting(problem, "rank", self.rank, products * PRODUCT, "solving for the values")
        combined = mean_pooled(problem, self.rank)
        index = choose(problem.n_q, rows, None)
        sample = RowSample(index=index, length=problem.n_q)
        q = sample.apply(problem.q)
        exact = replace(problem, q=q)
        near = replace(combined.reduced, problem=replace(combined.reduced.problem, q=q))
        w = weights(near)
        residual = attend_exactly(exact) - xp.matmul(w, near.problem.v)
        blocks = w.shape[-1]
        eye = xp.eye(blocks, dtype=w.dtype, device=_arrays.device(w))
        size = xp.sum(w * w, axis=(-2, -1), keepdims=True)
        system = xp.matmul(xp.matrix_transpose(w), w) + self.ridge / blocks * size * eye
        correction = solve(system, xp.matmul(xp.matrix_transpose(w), residual), xp)
        return _Fit(combined, sample, exact, near, w, residual, system, correction)


def _with_values(fit: _Fit) -> Reduced:
    reduced = fit.combined.reduced
    return replace(reduced, problem=replace(reduced.problem, v=reduced.problem.v + fit.correction))


def _facts(fit: _Fit) -> dict[str, object]:
    index: HostArray = fit.sample.index
    return {"rank": fit.weights.shape[-1], "rows fitted": index.size}
