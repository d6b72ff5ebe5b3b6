"""Fewer queries than keys in causal order, for methods that know squares only: copies of the first
query stand in for those of the tokens before, and their rows are dropped.

Rows may depend on other queries, through a mean of them: by the chain rule the gradients of the
copies belong to the first query, and their errors add up to its own. Adding p + 1 numbers rounds by
at most gamma_p times the sum of their sizes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.bounds.rounding import gamma, up
from approxattn.certificate import Approximation, Gradients


def needs_padding(method: Any, problem: Problem) -> bool:
    """Return whether the problem has earlier keys that the method cannot take by themselves."""
    return problem.earlier > 0 and not getattr(method, "sees_earlier_keys", False)


def with_earlier_queries(problem: Problem) -> Problem:
    """Return the square problem."""
    xp, first = problem.xp, problem.q[..., :1, :]
    copies = xp.broadcast_to(first, (*first.shape[:-2], problem.earlier, problem.d))
    return replace(problem, q=xp.concat([copies, problem.q], axis=-2))


def earlier_cotangent(dout: Array, problem: Problem) -> Array:
    """Return the cotangent of the square problem's output: 0 for the rows that are dropped."""
    xp = problem.xp
    shape = (*dout.shape[:-2], problem.earlier, dout.shape[-1])
    zeros = xp.zeros(shape, dtype=dout.dtype, device=_arrays.device(dout))
    return xp.concat([zeros, dout], axis=-2)


def last_rows(result: Approximation, problem: Problem) -> Approximation:
    """Return the result for the queries of `problem`, from that of the square one."""
    skip, certificate = problem.earlier, result.certificate
    return replace(
        result,
        value=result.value[..., skip:, :],
        certificate=replace(certificate, rows=certificate.rows[..., skip:]),
    )


def last_gradients(result: Gradients, problem: Problem) -> Gradients:
    """Return the gradient for the queries of `problem`, from that of the square one."""
    skip, certificate, xp = problem.earlier, result.certificate, problem.xp
    upto = result.dq[..., : skip + 1, :]
    first = xp.sum(upto, axis=-2, keepdims=True)
    sizes = _arrays.to_float64(xp.max(xp.sum(xp.abs(upto), axis=-2), axis=-1))[..., None]
    rounded = gamma(skip, problem.u) * sizes
    bound = up(np.sum(certificate.dq[..., : skip + 1], axis=-1, keepdims=True) + rounded)
    rows = np.concatenate([bound, certificate.dq[..., skip + 1 :]], axis=-1)
    return replace(
        result,
        dq=xp.concat([first, result.dq[..., skip + 1 :, :]], axis=-2),
        certificate=replace(certificate, dq=rows),
    )
