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
from approxattn._arrays.crossing import at_hand
from approxattn._problem import Problem
from approxattn.bounds.rounding import gamma, up
from approxattn.certificate import Approximation, Certificate, GradientCertificate, Gradients


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
    skip = problem.earlier
    return replace(
        result,
        value=result.value[..., skip:, :],
        certificate=result.certificate.then(_rows_from, skip),
    )


def _rows_from(certificate: Certificate, first: int) -> Certificate:
    return replace(certificate, rows=certificate.rows[..., first:])


def last_gradients(result: Gradients, problem: Problem) -> Gradients:
    """Return the gradient for the queries of `problem`, from that of the square one."""
    skip, xp = problem.earlier, problem.xp
    upto = result.dq[..., : skip + 1, :]
    first = xp.sum(upto, axis=-2, keepdims=True)
    sizes = at_hand(xp.max(xp.sum(xp.abs(upto), axis=-2), axis=-1))
    rounding = gamma(skip, problem.u)
    return replace(
        result,
        dq=xp.concat([first, result.dq[..., skip + 1 :, :]], axis=-2),
        certificate=result.certificate.then(_with_copies, skip, rounding, sizes),
    )


def _with_copies(
    certificate: GradientCertificate, skip: int, rounding: float, sizes: Array
) -> GradientCertificate:
    """Return the certificate for the queries that were not copied so often."""
    dq, rounded = certificate.dq, rounding * _arrays.to_host(sizes)[..., None]
    bound = up(np.sum(dq[..., : skip + 1], axis=-1, keepdims=True) + rounded)
    return replace(certificate, dq=np.concatenate([bound, dq[..., skip + 1 :]], axis=-1))
