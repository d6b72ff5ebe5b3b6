"""The gradient of attention with fitted coefficients, for the coefficients held fixed.

Symbols, for one leading index. k' = k - mean of the visible keys, m = mean of q, w_j = exp(beta m .
k'_j), u = w / sum w, c = sum_j u_j k'_j; x_i = beta (q_i - m), y_j = k'_j - c, s_ij = x_i . y_j.
Under a causal mask m = 0, c = 0, w = 1. The output is N_i / D_i as in `fit`; left_i = [G_i, -G_i .
out_i] / D_i and right_j = w_j [v_j, 1] as in `gradient`.

1. dx_i = sum_j P'(s_ij) (left_i . right_j) y_j, and dy_j likewise.
2. dright_j = sum_i P(s_ij) left_i, and b_j = w_j dL/dw_j = right_j . dright_j.
3. Through c: dc = -sum_j dy_j reaches k'_j as u_j dc, and w_j as b_j += u_j (k'_j - c) . dc.
4. Through w: k'_j gets beta b_j m, and m gets beta sum_j b_j k'_j.
5. dq_i = beta dx_i + (1/n) (sum_j beta b_j k'_j - sum_i beta dx_i).
6. dk_j = dk'_j - mean of dk'.

A mended row is the w-weighted mean of the values: its left_i is [G_i, -G_i . out_i] over the sum of
the weights it sees, with P = 1 and no dx. An entry brought into the range of its column is the
largest or smallest visible value of it. So its G_ic goes to that v_jc, in equal parts to equal ones
(*chosen*: the gradient does not exist there).
"""

from __future__ import annotations

from dataclasses import dataclass

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._arrays.segments import running_sum
from approxattn._problem import Problem
from approxattn.methods.polynomials.balance import Balance
from approxattn.methods.polynomials.fitting.reduction import ReducedScores
from approxattn.monomials.kernel import Kernel


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What the gradient of one leading index needs.

    Attributes
    ----------
    balance : Balance
        How `queries` and `keys` are made of q - m and y; beta is in it.
    queries, keys, values : array, shapes (n_q, d), (n_k, d), (n_k, dv + 1)
        beta (q - m) and y, equally large, and w [v, 1].
    sums, seen : array, shapes (n_q, dv + 1), (n_q or 1, dv + 1)
        sum_j P(s_ij) right_j and sum_j right_j over the keys that row i sees.
    fine : array of bool, shape (n_q, 1)
        Which rows needed no mending.
    high, low : array, shape (1, dv)
        The range of each column.
    """

    balance: Balance
    queries: Array
    keys: Array
    values: Array
    sums: Array
    seen: Array
    fine: Array
    high: Array
    low: Array
    kernel: Kernel


def fitted_gradient(
    run: Evaluated, item: Problem, reduced: ReducedScores, dout: Array
) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv of one leading index for dout, shape (n_q, dv)."""
    xp = item.xp
    zero, one = xp.zeros_like(dout), xp.ones_like(run.sums[:, -1:])
    quotient = run.sums[:, :-1] / xp.where(run.fine, run.sums[:, -1:], one)
    above, below = (run.fine & (quotient > run.high), run.fine & (quotient < run.low))
    inside = xp.where(above | below, zero, dout)
    denominator = xp.where(run.fine, run.sums[:, -1:], one)
    left = _left(xp.where(run.fine, inside, zero), quotient, denominator, item)
    dx, dy, dright = run.kernel.gradients(run.queries, left, run.keys, run.values)
    mean = run.seen[:, :-1] / run.seen[:, -1:]
    dright = dright + _over_seen(
        _left(xp.where(run.fine, zero, dout), mean, run.seen[:, -1:], item), item
    )
    dtype = _arrays.dtype_name(reduced.weights)
    dx, dy, b = (
        _arrays.cast(a, dtype, xp)
        for a in (dx, dy, xp.sum(run.values * dright, axis=-1, keepdims=True))
    )
    dx, dy = run.balance.query_gradient(dx), run.balance.key_gradient(dy)
    dq, dk = _through_reduction(dx, dy, b, item, reduced)
    weight = run.values[:, -1:]
    dv = (
        weight * dright[:, :-1]
        + _to_ends(dout, above, run.high, weight, item)
        + _to_ends(dout, below, run.low, weight, item)
    )
    dq, dk = (_arrays.cast(a, item.dtype, xp) for a in (dq, dk))
    shown = weight > 0
    return dq, xp.where(shown, dk, xp.zeros_like(dk)), xp.where(shown, dv, xp.zeros_like(dv))


def _left(cotangent: Array, output: Array, denominator: Array, item: Problem) -> Array:
    """Return [G, -G . out] / D."""
    xp = item.xp
    kappa = xp.sum(cotangent * output, axis=-1, keepdims=True)
    return xp.concat([cotangent, -kappa], axis=-1) / denominator


def _over_seen(left: Array, item: Problem) -> Array:
    """Return the sum of left_i over the rows that see key j, shape (n_k or 1, dv + 1)."""
    if not item.causal:
        return item.xp.sum(left, axis=0, keepdims=True)
    return item.xp.flip(running_sum(item.xp.flip(left, axis=0), item.xp), axis=0)


def _through_reduction(
    dx: Array, dy: Array, b: Array, item: Problem, reduced: ReducedScores
) -> tuple[Array, Array]:
    """Return dq and dk from beta dx, dy and b_j, shapes (n_q, d), (n_k, d), (n_k, 1), in the dtype
    of the reduction.
    """
    xp, beta = item.xp, item.scale
    seen, keys = xp.astype(reduced.weights > 0, dy.dtype), reduced.keys
    dkeys, dq = dy * seen, dx
    if not item.causal:
        share = reduced.weights / xp.sum(reduced.weights)
        dc = -xp.sum(dkeys, axis=0, keepdims=True)
        b = b + share * xp.sum(keys * dc, axis=-1, keepdims=True)
        middle = xp.mean(_arrays.cast(item.q, _arrays.dtype_name(dy), xp), axis=0, keepdims=True)
        dkeys = dkeys + share * dc + beta * b * middle
        dmiddle = beta * xp.sum(b * keys, axis=0, keepdims=True) - xp.sum(dq, axis=0, keepdims=True)
        dq = dq + dmiddle / item.n_q
    return dq, dkeys - seen * (xp.sum(dkeys, axis=0, keepdims=True) / xp.sum(seen))


def _to_ends(dout: Array, moved: Array, end: Array, weight: Array, item: Problem) -> Array:
    """Return what the entries `moved` to an end of their column give to the values that are this
    end, shape (n_k, dv).
    """
    xp = item.xp
    total = xp.sum(xp.where(moved, dout, xp.zeros_like(dout)), axis=0, keepdims=True)
    there = xp.astype((item.v == end) & (weight > 0), dout.dtype)
    return there * total / xp.maximum(xp.sum(there, axis=0, keepdims=True), xp.ones_like(total))
