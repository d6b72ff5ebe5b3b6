"""The cotangent of an output, checked once like the other inputs."""

from __future__ import annotations

import math

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn._problem.input import check_finite, max_abs
from approxattn._problem.overflow import refuse_overflow


def check_cotangent(dout: Array, problem: Problem, q: Array, top: float | None = None) -> Array:
    """Check dout against the output's shape and dtype and return it in the dtype computed in;
    `top` is its largest entry where that is known.

    A gradient forms z_ij = G_i . v_j and differences of such, and adds up G over the queries: what
    could overflow there is refused.
    """
    xp = _arrays.namespace(q=q, dout=dout)
    shape = (*problem.batch, problem.n_q, problem.dv)
    if tuple(dout.shape) != shape:
        msg = f"dout has shape {tuple(dout.shape)}: it must be that of the output, {shape}"
        raise ValueError(msg)
    if _arrays.dtype_name(dout) != problem.out_dtype:
        msg = f"dout has dtype {dout.dtype}: it must be that of the output, {problem.out_dtype}"
        raise TypeError(msg)
    cotangent = _arrays.contiguous(_arrays.cast(dout, problem.dtype, xp))
    top = max_abs(cotangent, xp) if top is None else top
    top_v = float(np.max(np.abs(problem.value_range), initial=1.0))
    if not math.isfinite(top):
        check_finite("dout", cotangent, xp, "mend the loss that it is the gradient of")
    refuse_overflow("dv max|dout| max|v|", 4 * problem.dv * top * top_v, problem.dtype)
    refuse_overflow("n max|dout|", 2 * problem.n_q * top, problem.dtype)
    return cotangent
