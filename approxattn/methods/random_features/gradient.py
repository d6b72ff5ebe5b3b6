"""The gradient of attention whose weights are sums of exponentials of features.

Symbols. D_i is the denominator, z_ij = G_i . v_j, kappa_i = G_i . out_i. left_i = [G_i, -kappa_i]
and right_j = [v_j, 1], so that left_i . right_j = z_ij - kappa_i. Over visible pairs

    dL/dg_ir = sum_j e^{g_ir + h_jr} / D_i (left_i . right_j),
    dL/dh_jr = sum_i e^{g_ir + h_jr} / D_i (left_i . right_j),
    dv_j = sum_ir e^{g_ir + h_jr} / D_i G_i.

1. All go through sums over one side: T_r = sum_j e^{h_jr} right_j as in the forward pass, and A_r =
   sum_i (e^{g_ir} / D_i) left_i, with its own largest exponent taken out.
2. For visible pairs e^{g_ir + h_jr} / D_i <= 1, so nothing overflows.
3. Causal: T runs forwards and A backwards over the steps, keys before the first query's own being
   steps without queries. A chunk meets itself through its scores,
   in halves where e^{c_r} is far above what a query sees.
4. Then dx_i = sum_r dg_ir w_r and dy_j = sum_r dh_jr (w_r - y_j).
"""

from __future__ import annotations

from typing import NamedTuple

from approxattn._arrays import Array, Namespace
from approxattn._arrays.crossing import far, fetched
from approxattn._problem import Problem
from approxattn.methods.random_features.features import log_key_features, log_query_features
from approxattn.methods.random_features.sums import (
    Seen,
    State,
    Step,
    add_keys,
    chunks,
    finite,
    steps,
    with_ones,
)

LARGEST_EXPONENT = 30.0
"""Up to which a term may exceed the mass that its query sees. *Chosen*: far from overflow in
float32, where e^88 is the end.
"""


class _Side(NamedTuple):
    """Gradients of one chunk's logarithms and values: shapes (..., rows, m), (..., keys, m), (...,
    keys, dv).
    """

    g: Array
    h: Array
    v: Array


def gradient(problem: Problem, w: Array, seen: Seen, dout: Array) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv for the cotangent dout, given the output."""
    xp, m, right = problem.xp, w.shape[-2], with_ones(problem)
    left = xp.concat([dout, -xp.sum(dout * seen.mean, axis=-1, keepdims=True)], axis=-1)
    walk = list(steps(problem, m))
    states = _forward_states(problem, w, right, walk)
    rows = [(i, step.queries) for i, step in enumerate(walk) if step.queries is not None]
    if not problem.causal:
        rows = [(-1, c) for c in chunks(problem, m, problem.n_q)]
    dq, inside = [], dict[int, _Side]()
    if problem.causal and far(right):
        inside = _together(problem, w, seen, left, right, walk)
    for number, (first, last) in rows:
        g = log_query_features(problem, w, first, last) - seen.log_mass[..., first:last, :]
        own, state = left[..., first:last, :], states[number]
        dg = None
        if state is not None:
            dg = xp.exp(g + state.top) * xp.matmul(own, xp.matrix_transpose(state.sums))
        if problem.causal:
            if number not in inside:
                start, end = walk[number].keys
                h = log_key_features(problem, w, start, end)
                inside[number] = _own(g, h, own, right[..., start:end, :], xp)
            dg = inside[number].g if dg is None else dg + inside[number].g
        dq.append(xp.matmul(dg, w) * problem.scale**0.5)
    dk, dv = _keys(problem, w, seen, left, right, walk, inside)
    return xp.concat(dq, axis=-2), dk, dv


def _forward_states(
    problem: Problem, w: Array, right: Array, walk: list[Step]
) -> list[State | None]:
    """Return the state before each step, and after all; for a problem that is not causal only the
    last is kept.
    """
    states: list[State | None] = [None]
    for (start, end), _ in walk:
        h = log_key_features(problem, w, start, end)
        state = add_keys(states[-1], h, right[..., start:end, :], problem.xp)
        states = [*states, state] if problem.causal else [state]
    return states


def _keys(
    problem: Problem,
    w: Array,
    seen: Seen,
    left: Array,
    right: Array,
    walk: list[Step],
    inside: dict[int, _Side],
) -> tuple[Array, Array]:
    """Return dk and dv: the sums A over queries, backwards over the steps. Every key is seen."""
    xp, m = problem.xp, w.shape[-2]
    later: State | None = None
    if not problem.causal:
        for first, last in chunks(problem, m, problem.n_q):
            later = _add_queries(problem, w, seen, left, later, first, last)
    dk, dv = [], []
    for number, ((start, end), queries) in reversed(list(enumerate(walk))):
        h = log_key_features(problem, w, start, end)
        dh = dvalues = None
        if later is not None:
            share = xp.exp(h + later.top)
            dh = share * xp.matmul(right[..., start:end, :], xp.matrix_transpose(later.sums))
            dvalues = xp.matmul(share, later.sums[..., :-1])
        if queries is not None:
            dh = inside[number].h if dh is None else dh + inside[number].h
            dvalues = inside[number].v if dvalues is None else dvalues + inside[number].v
            later = _add_queries(problem, w, seen, left, later, *queries)
        y = problem.k[..., start:end, :] * problem.scale**0.5
        dy = xp.matmul(dh, w) - xp.sum(dh, axis=-1, keepdims=True) * y
        dk.append(dy * problem.scale**0.5)
        dv.append(dvalues)
    dk, dv = dk[::-1], dv[::-1]
    return problem.shown(xp.concat(dk, axis=-2)), problem.shown(xp.concat(dv, axis=-2))


def _add_queries(
    problem: Problem, w: Array, seen: Seen, left: Array, later: State | None, first: int, last: int
) -> State:
    g = log_query_features(problem, w, first, last) - seen.log_mass[..., first:last, :]
    return add_keys(later, g, left[..., first:last, :], problem.xp)


def _together(
    problem: Problem, w: Array, seen: Seen, left: Array, right: Array, walk: list[Step]
) -> dict[int, _Side]:
    """Return `_own` of every chunk: all are formed whole, and those that must not be so are formed
    anew after one look at all.
    """

    def given(step: Step) -> tuple[Array, Array, Array, Array]:
        assert step.queries is not None  # noqa: S101 - as asked below
        (start, end), (first, last) = step.keys, step.queries
        g = log_query_features(problem, w, first, last) - seen.log_mass[..., first:last, :]
        h = log_key_features(problem, w, start, end)
        return g, h, left[..., first:last, :], right[..., start:end, :]

    numbers = [i for i, step in enumerate(walk) if step.queries is not None]
    shifts, sides = [], []
    for i in numbers:
        g, h, own, values = given(walk[i])
        shifts.append(_shifted(g, h, problem.xp))
        sides.append(_whole(shifts[-1], h, own, values, problem.xp))
    fine = fetched(*(shift.fine for shift in shifts))
    return {
        i: side if good else _own(*given(walk[i]), problem.xp)
        for i, side, good in zip(numbers, sides, fine, strict=True)
    }


class _Shift(NamedTuple):
    """The largest logarithm of each feature of the keys of a chunk, shape (..., 1, m), those of the
    queries with it added, shape (..., rows, m), and whether none of these must be cut.
    """

    top: Array
    exponents: Array
    fine: Array


def _shifted(g: Array, h: Array, xp: Namespace) -> _Shift:
    top = finite(xp.max(h, axis=-2, keepdims=True), xp)
    exponents = g + top
    return _Shift(top, exponents, xp.all(exponents <= LARGEST_EXPONENT))


def _whole(shift: _Shift, h: Array, left: Array, right: Array, xp: Namespace) -> _Side:
    """Return the gradients of the pairs within a chunk with one shift for all."""
    t, exponents = xp.matrix_transpose, shift.exponents
    # a single pair is at most 1, or hidden: then its key's share is 0 and the query's must not
    # overflow either
    e, f = (
        xp.exp(xp.minimum(exponents, xp.full_like(exponents, LARGEST_EXPONENT))),
        xp.exp(h - shift.top),
    )
    pairs = xp.tril(xp.matmul(left, t(right)))
    dv = xp.matmul(t(xp.tril(xp.matmul(e, t(f)))), left[..., :-1])
    return _Side(e * xp.matmul(pairs, f), f * xp.matmul(t(pairs), e), dv)


def _own(g: Array, h: Array, left: Array, right: Array, xp: Namespace) -> _Side:
    """Return the gradients of the pairs within a chunk; g is already less the logarithm of the
    denominator.
    """
    length, t = g.shape[-2], xp.matrix_transpose
    shift = _shifted(g, h, xp)
    if length == 1 or bool(shift.fine):
        return _whole(shift, h, left, right, xp)
    half = length // 2
    first = _own(g[..., :half, :], h[..., :half, :], left[..., :half, :], right[..., :half, :], xp)
    second = _own(g[..., half:, :], h[..., half:, :], left[..., half:, :], right[..., half:, :], xp)
    state = add_keys(None, h[..., :half, :], right[..., :half, :], xp)
    dg = xp.exp(g[..., half:, :] + state.top) * xp.matmul(left[..., half:, :], t(state.sums))
    later = add_keys(None, g[..., half:, :], left[..., half:, :], xp)
    share = xp.exp(h[..., :half, :] + later.top)
    dh, dv = (
        share * xp.matmul(right[..., :half, :], t(later.sums)),
        xp.matmul(share, later.sums[..., :-1]),
    )
    return _Side(
        xp.concat([first.g, second.g + dg], axis=-2),
        xp.concat([first.h + dh, second.h], axis=-2),
        xp.concat([first.v + dv, second.v], axis=-2),
    )
