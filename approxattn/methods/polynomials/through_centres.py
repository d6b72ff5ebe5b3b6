"""How a gradient passes through the means that queries and keys are shifted by.

Symbols. k'_j = k_j - c and q'_i = q_i - m are the centred keys and queries, of which n_q are
queries and n_k visible keys; w_j = exp(beta m . k'_j) the weights; right_j = w_j [v_j, 1]. The sums
of a kernel give dq', dk' and dright_j = dL/dright_j.

1. dv_j = w_j dright_j without its last entry.
2. b_j = w_j dL/dw_j = right_j . dright_j, because right_j is proportional to w_j.
3. ln w_j = beta m . k'_j, so the weights pass beta b_j m on to k'_j and beta sum_j b_j k'_j to m.
4. Plug-in gradients stand for the exact gradient, in which q_i = q'_i + m: dq = dq', and dk_j is
   dk'_j + beta b_j m.
5. The consistent gradient also passes through the means. c = mean of k: subtract from dk_j the mean
   of dk. m = mean of q: subtract from dq_i the mean of dq' and add (1/n_q) beta sum_j b_j k'_j.

beta b_j by itself could underflow. So beta is multiplied to m, and the sum over j is taken of keys
as the kernel has them, and turned into a gradient of q as the sums of a kernel are (`balance`).
"""

from __future__ import annotations

from typing import Protocol

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.methods.polynomials.balance import Balance, scaled
from approxattn.methods.polynomials.centring import CentredScores


class CentredRun(Protocol):
    """A forward pass with centred scores; `values` are right_j, shape (..., n_k, dv + 1)."""

    @property
    def problem(self) -> Problem:
        """What was asked."""
        ...

    @property
    def scores(self) -> CentredScores:
        """The centred queries and keys."""
        ...

    @property
    def balance(self) -> Balance:
        """How beta is shared among queries and keys."""
        ...

    @property
    def values(self) -> Array:
        """right_j, 0 for keys that take no part."""
        ...


def through_centres(
    dq: Array, dk: Array, dright: Array, run: CentredRun, kind: str
) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv from the gradients with respect to centred queries and keys and to right_j,
    shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv + 1 or dv).
    """
    problem, scores, xp = run.problem, run.scores, run.problem.xp
    dv = dright[..., : problem.dv]
    if scores.weights is not None:
        pull = xp.sum(run.values * dright, axis=-1, keepdims=True)  # b_j
        dk, dv = dk + pull * scaled(scores.middle, problem.scale, xp), dv * scores.weights
        dq = _through_mean_query(dq, pull, run) if kind == "consistent" else dq
    if kind == "consistent" and scores.keys_centred:
        dk = dk - mean_over_visible(dk, problem)
    return dq, problem.shown(dk), problem.shown(dv)


def _through_mean_query(dq: Array, pull: Array, run: CentredRun) -> Array:
    """Return dq of step 5 for the leading indices with centred queries, in float64; `pull` is b_j,
    shape (..., n_k, 1).
    """
    problem, scores, xp = run.problem, run.scores, run.problem.xp
    pull, keys, of_queries = (_arrays.cast(x, "float64", xp) for x in (pull, scores.keys, dq))
    sums = xp.matmul(xp.matrix_transpose(pull), run.balance.keys(keys)) / problem.n_q
    of_weights = run.balance.query_gradient(sums)  # (..., 1, d)
    shift = of_weights - xp.mean(of_queries, axis=-2, keepdims=True)
    shift = _arrays.cast(shift, problem.dtype, xp)
    on = _arrays.from_host(scores.centred[..., None, None], dq)
    return dq + xp.where(on, shift, xp.zeros_like(shift))


def mean_over_visible(x: Array, problem: Problem) -> Array:
    """Return the mean of x, shape (..., n_k, d), over the keys that take part; x is 0 for the
    others.
    """
    xp = problem.xp
    if problem.key_mask is None:
        return xp.mean(x, axis=-2, keepdims=True)
    count = xp.sum(xp.astype(problem.key_mask, x.dtype), axis=-1)[..., None, None]
    return xp.sum(x, axis=-2, keepdims=True) / count
