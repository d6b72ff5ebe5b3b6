"""The combinations of keys and values that Linformer attends to, and the way back for its gradient.

With K' = E K, V' = F V and gradients dK', dV' of the attention to them, dK = E^T dK', dV = F^T dV',
dE = dK' K^T, dF = dV' V^T. Keys that the mask hides are 0, and get no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from approxattn import _arrays, sketching
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import fetched
from approxattn._problem import Problem, refuse_overflow
from approxattn._problem.input import largest_entry
from approxattn.sketching import MaxPool, MeanPool
from approxattn.softmax.biased import Reduced

DRAWS: dict[str, Callable[[int, int, np.random.Generator], Any]] = {
    "gaussian": sketching.gaussian,
    "rademacher": sketching.rademacher,
    "sparse": sketching.sparse_signs,
    "count-sketch": sketching.count_sketch,
    "srht": sketching.srht,
}
"""Random linear combinations, by name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """Combinations that the user gives.

    Attributes
    ----------
    matrix : array, shape (k, n) or (..., k, n)
        One for all leading indices, or some for each, such as one a head.
    """

    matrix: Array

    def apply(self, x: Array) -> Array:
        """Return E x, shape (..., n, m) -> (..., k, m)."""
        return _arrays.namespace(x=x).matmul(self.matrix, x)

    def adjoint(self, y: Array) -> Array:
        """Return E^T y, shape (..., k, m) -> (..., n, m)."""
        xp = _arrays.namespace(y=y)
        return xp.matmul(xp.matrix_transpose(self.matrix), y)

    def gradient(self, y: Array, x: Array) -> Array:
        """Return the gradient with respect to E, y x^T summed over the leading axes that share it,
        in its shape.
        """
        xp = _arrays.namespace(y=y)
        full = xp.matmul(y, xp.matrix_transpose(x))  # (..., k, n)
        leading = tuple(self.matrix.shape[:-2])
        padded = (1,) * (full.ndim - 2 - len(leading)) + leading
        axes = tuple(
            i
            for i, (have, want) in enumerate(zip(full.shape[:-2], padded, strict=True))
            if have != want
        )
        full = xp.sum(full, axis=axes, keepdims=True) if axes else full
        return xp.reshape(full, self.matrix.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Combined:
    """A reduced problem and where its keys and values come from.

    Attributes
    ----------
    reduced : Reduced
        Attention to the combinations.
    keys, values : sketching operator
        What was applied to the keys and the values.
    original : Problem
        The problem itself.
    factors : tuple of float
        What keys and values were multiplied by afterwards.
    """

    reduced: Reduced
    keys: Any
    values: Any
    original: Problem
    factors: tuple[float, float] = (1.0, 1.0)

    def gradients(self, dkeys: Array, dvalues: Array) -> tuple[Array, Array]:
        """Return dk, dv from the gradients with respect to the combinations; 0 for hidden keys."""
        problem = self.original
        dk = _adjoint(self.keys, dkeys * self.factors[0], problem.k)
        dv = _adjoint(self.values, dvalues * self.factors[1], problem.v)
        return problem.shown(dk), problem.shown(dv)


def _adjoint(operator: Any, y: Array, x: Array) -> Array:
    return operator.adjoint(y, x) if isinstance(operator, MaxPool) else operator.adjoint(y)


def mean_pooled(problem: Problem, rank: int) -> Combined:
    """Return means of blocks, with the logarithms of the sizes as bias."""
    return _pooled(problem, sketching.mean_pool(visible(problem), rank))


def max_pooled(problem: Problem, rank: int) -> Combined:
    """Return the largest entries of blocks, all blocks alike."""
    return _pooled(problem, sketching.max_pool(visible(problem), rank))


def _pooled(problem: Problem, pool: MeanPool | MaxPool) -> Combined:
    xp = problem.xp
    counts = pool.counts if isinstance(pool, MeanPool) else pool.blocks.counts
    full = _arrays.from_host(counts > 0, problem.q)
    mask = xp.broadcast_to(full, (*problem.batch, full.shape[-1]))
    part = replace(problem, k=pool.apply(problem.k), v=pool.apply(problem.v), key_mask=mask)
    bias = None
    if isinstance(pool, MeanPool):
        logs = np.log(np.maximum(counts, 1)).astype(problem.dtype)
        bias = _arrays.from_host(logs[..., None, :], problem.q)
    return Combined(
        reduced=Reduced(problem=part, bias=bias), keys=pool, values=pool, original=problem
    )


def row_sampled(problem: Problem, rank: int, rng: np.random.Generator) -> Combined:
    """Return visible keys drawn uniformly with replacement."""
    sample = sketching.row_sample(visible(problem), rank, rng)
    part = replace(problem, k=sample.apply(problem.k), v=sample.apply(problem.v), key_mask=None)
    return Combined(reduced=Reduced(problem=part), keys=sample, values=sample, original=problem)


def randomly_combined(
    problem: Problem, kind: str, rank: int, delta: float | None, rng: np.random.Generator
) -> Combined:
    """Return E K, F V for E = F drawn by kind, or E = delta R, F = e^-delta R."""
    operator = DRAWS[kind](problem.n_k, rank, rng)
    factors = (1.0, 1.0) if delta is None else (delta, math.exp(-delta))
    return _combined(problem, operator, operator, factors)


def projected(problem: Problem, key_projection: Array, value_projection: Array | None) -> Combined:
    """Return E K, F V for given E, F (F = E if None)."""
    e = _checked("key_projection", key_projection, problem)
    f = e if value_projection is None else _checked("value_projection", value_projection, problem)
    if e.shape[-2] != f.shape[-2]:
        msg = (
            f"key_projection{tuple(e.shape)} and value_projection{tuple(f.shape)} differ in rows: "
            "every combined key needs one combined value"
        )
        raise ValueError(msg)
    return _combined(problem, Projection(matrix=e), Projection(matrix=f), (1.0, 1.0))


def convolved(problem: Problem, kernel: tuple[float, ...]) -> Combined:
    """Return weighted sums of blocks as long as the kernel, the same weights for keys and
    values.
    """
    operator = sketching.Convolution(kernel=np.asarray(kernel), length=problem.n_k)
    return _combined(problem, operator, operator, (1.0, 1.0))


def _checked(name: str, matrix: Array, problem: Problem) -> Array:
    xp = _arrays.namespace(q=problem.q, **{name: matrix})
    if _arrays.dtype_name(matrix) != problem.out_dtype:
        msg = (
            f"{name} has dtype {matrix.dtype}: it must be that of q, {problem.out_dtype}; cast it, "
            "so that no precision is lost unseen"
        )
        raise TypeError(msg)
    shape = tuple(matrix.shape)
    if matrix.ndim < 2 or shape[-1] != problem.n_k or shape[-2] == 0:
        msg = (
            f"{name} has shape {shape}: it must be (..., rank, {problem.n_k}), a column for every "
            f"key; for fewer keys take {name}[..., :{problem.n_k}]"
        )
        raise ValueError(msg)
    try:
        fits = np.broadcast_shapes(shape[:-2], problem.batch) == problem.batch
    except ValueError:
        fits = False
    if not fits:
        msg = (
            f"{name} has leading axes {shape[:-2]}: they must broadcast to those of the problem, "
            f"{problem.batch}"
        )
        raise ValueError(msg)
    if not bool(xp.all(xp.isfinite(matrix))):
        msg = f"{name} holds NaN or infinity: a projection must be finite"
        raise ValueError(msg)
    return _arrays.cast(matrix, problem.dtype, xp)


def _combined(problem: Problem, e: Any, f: Any, factors: tuple[float, float]) -> Combined:
    keys, values = e.apply(problem.k) * factors[0], f.apply(problem.v) * factors[1]
    check_overflow(problem, keys, values)
    reduced = Reduced(problem=replace(problem, k=keys, v=values, key_mask=None))
    return Combined(reduced=reduced, keys=e, values=f, original=problem, factors=factors)


def check_overflow(problem: Problem, keys: Array, values: Array) -> None:
    """Refuse combinations whose scores or sums could overflow."""
    tops = (largest_entry(x, problem.xp) for x in (problem.q, keys, values))
    top_q, top_k, top_v = (float(top) for top in fetched(*tops))
    score = 2 * problem.scale * problem.d * max(top_q, 1.0) * max(top_k, 1.0)
    refuse_overflow("the size of sketched scores", score, problem.dtype)
    refuse_overflow("the size of sums of sketched values", keys.shape[-2] * top_v, problem.dtype)


def visible(problem: Problem) -> HostArray:
    """Return which keys take part, bool, shape (..., n_k), or (n_k,) when all do."""
    return (
        np.ones(problem.n_k, bool)
        if problem.key_mask is None
        else _arrays.to_host(problem.key_mask)
    )
