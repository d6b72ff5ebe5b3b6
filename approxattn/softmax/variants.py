"""Soft caps and sinks inside a streaming softmax; see `approxattn._problem.variants`.

Gradient (proved here). Symbols as in `streaming`; t_ij are the capped scores, f_ij their weights,
f_i0 that of the sink a, out_i = sum_j f_ij v_j, kappa_i = G_i . out_i and P_ij =
f_ij (z_ij - kappa_i).

1. The sink is one more key with the score a and the value 0, so z_i0 = 0, and P_i0 = -f_i0 kappa_i
   is the derivative with respect to a: da = -sum_i f_i0 kappa_i.
2. dL/dt_ij = P_ij with weights that have the sink in their denominator.
3. dt/ds = 1 - tanh^2(s / c), so dL/ds_ij = P_ij (1 - tanh^2(s_ij / c)).
"""

from __future__ import annotations

from approxattn._arrays import Array
from approxattn._problem import Problem


def capped(problem: Problem, scores: Array) -> Array:
    """Return c tanh(s / c); s itself where there is no cap."""
    cap = problem.softcap
    return scores if cap is None else cap * problem.xp.tanh(scores / cap)


def times_slopes(problem: Problem, p: Array, scaled_q: Array, start: int, end: int) -> Array:
    """Return P_ij dt/ds for keys start..end-1, given P."""
    cap, xp = problem.softcap, problem.xp
    if cap is None:
        return p
    scores = xp.matmul(scaled_q, xp.matrix_transpose(problem.k[..., start:end, :]))
    return p * (1 - xp.tanh(scores / cap) ** 2)


def with_sinks(
    problem: Problem, top: Array, numerator: Array, denominator: Array
) -> tuple[Array, Array, Array]:
    """Return largest score, numerator and denominator with the sinks among the keys."""
    sinks, xp = problem.sinks, problem.xp
    if sinks is None:
        return top, numerator, denominator
    new = xp.maximum(top, sinks)
    shrink = xp.exp(top - new)
    return new, numerator * shrink, denominator * shrink + xp.exp(sinks - new)


def sink_gradient(problem: Problem, dout: Array, value: Array, log_mass: Array) -> Array:
    """Return da, shape (...), from the output and the logarithm of its denominator."""
    xp, sinks = problem.xp, problem.sinks
    assert sinks is not None  # noqa: S101 - asked for sinks only
    weights = xp.exp(sinks[..., 0] - log_mass)  # (..., n_q)
    return -xp.sum(weights * xp.sum(dout * value, axis=-1), axis=-1)
