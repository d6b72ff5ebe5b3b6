"""Attention whose weights are sums of exponentials of features, a_ij = sum_r e^{g_ir + h_jr}, in
O(n m): forward, in log space.

State of some keys: c_r = max_j h_jr and T_r = sum_j e^{h_jr - c_r} [v_j, 1].

1. A query meets it with the weights e^{g_ir + c_r - t_i}, t_i = max_r (g_ir + c_r). So its
   denominator is at least 1 and nothing overflows, whatever the size of the scores.
2. Two sets of keys, each with the logarithm of its mass and the mean of its values, merge like a
   streaming softmax.

Causal. Keys before that of the first query are a state from the start. Chunks of queries meet the
state of all earlier keys, and their own chunk through its scores, formed from e^{g + c - t} and
e^{h - c} with the chunk's c. A query whose visible keys are far below later ones of its chunk would
lose its denominator to underflow. The chunk is then halved, and the second half meets the first
through its state. On a device all chunks are formed whole before the host looks at any.

Rounding (proved here). R_i bounds the exponents that the logarithm of a term is computed from.

1. The features move that logarithm by gamma_{d+4} R_i.
2. Each of the steps + 3 times that the term is rescaled moves it by (EXP_ULPS + 6 + 4 R_i) u.
3. With eta_i the sum of both, the output moves by at most tanh(eta_i / 2) osc(V).
4. Sums of positive terms, of a chunk of keys and of m features, and 6 roundings a merge, add
   gamma_K max|V|, K their number.
5. What underflows is below u relative to a denominator that was kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace, portions
from approxattn._arrays.crossing import far, fetched
from approxattn._problem import Problem
from approxattn.bounds.perturbation import output_bound, tv_from_score_error
from approxattn.bounds.rounding import EXP_ULPS, gamma, up
from approxattn.bounds.scores import query_norms, spread_of
from approxattn.methods.random_features.features import log_key_features, log_query_features

FEATURES_AT_ONCE = 2**20
"""Feature values held at one time, over all batch items. *Chosen*: 8 MiB in float64."""

CAUSAL_CHUNK = 128
"""Tokens of a causal chunk. *Chosen*: its scores cost about as much as its features."""

DEVICE_CHUNKS = 8
"""How many of them are one on a device. *Chosen*: a chunk is some eighty launches."""


class State(NamedTuple):
    """Some keys as queries see them: c, shape (..., 1, m), -inf where there is no key yet, and T,
    shape (..., m, dv + 1).
    """

    top: Array
    sums: Array


class Seen(NamedTuple):
    """What queries saw of some keys: logarithm of the mass, shape (..., rows, 1), -inf for none,
    and mean value, shape (..., rows, dv).
    """

    log_mass: Array
    mean: Array


def chunks(problem: Problem, features: int, n: int) -> Iterator[tuple[int, int]]:
    """Yield first and last of the tokens that are taken at a time."""
    row = max(1, math.prod(problem.batch)) * features
    step = portions.at_once(problem.q, max(1, FEATURES_AT_ONCE // row), 6 * row)
    step = min(step, _causal_chunk(problem)) if problem.causal else step
    return ((first, min(first + step, n)) for first in range(0, n, step))


def _causal_chunk(problem: Problem) -> int:
    return CAUSAL_CHUNK * (DEVICE_CHUNKS if portions.on_device(problem.q) else 1)


class Step(NamedTuple):
    """First and one past the last of the keys that a state takes up, and, under causal order, of
    the queries that see part of them; None: no query stands at them.
    """

    keys: tuple[int, int]
    queries: tuple[int, int] | None


def steps(problem: Problem, features: int) -> Iterator[Step]:
    """Yield all keys, in their order."""
    earlier = problem.earlier if problem.causal else problem.n_k
    for keys in chunks(problem, features, earlier):
        yield Step(keys, None)
    if problem.causal:
        for first, last in chunks(problem, features, problem.n_q):
            yield Step((earlier + first, earlier + last), (first, last))


def finite(x: Array, xp: Namespace) -> Array:
    """Return x with 0 for -inf: what an exponent may be shifted by."""
    return xp.where(xp.isfinite(x), x, xp.zeros_like(x))


def add_keys(state: State | None, h: Array, values: Array, xp: Namespace) -> State:
    """Return the state with more keys: logarithms h, shape (..., keys, m), and [v, 1], shape (...,
    keys, dv + 1).
    """
    top = xp.max(h, axis=-2, keepdims=True)
    if state is not None:
        top = xp.maximum(top, state.top)
    shift = finite(top, xp)
    sums = xp.matmul(xp.matrix_transpose(xp.exp(h - shift)), values)
    if state is not None:
        sums = sums + state.sums * xp.matrix_transpose(xp.exp(state.top - shift))
    return State(top, sums)


def look(g: Array, state: State, xp: Namespace) -> Seen:
    """Return what queries with logarithms g, shape (..., rows, m), see of a state."""
    exponents = g + state.top
    top = finite(xp.max(exponents, axis=-1, keepdims=True), xp)
    sums = xp.matmul(xp.exp(exponents - top), state.sums)
    return _seen(sums[..., :-1], sums[..., -1:], top, xp)


def _seen(numerator: Array, mass: Array, top: Array, xp: Namespace) -> Seen:
    there = mass > 0
    safe = xp.where(there, mass, xp.ones_like(mass))
    return Seen(xp.where(there, top + xp.log(safe), xp.full_like(mass, -xp.inf)), numerator / safe)


def merge(a: Seen, b: Seen, xp: Namespace) -> Seen:
    """Return what the queries saw of both sets of keys."""
    top = finite(xp.maximum(a.log_mass, b.log_mass), xp)
    left, right = xp.exp(a.log_mass - top), xp.exp(b.log_mass - top)
    return _seen(left * a.mean + right * b.mean, left + right, top, xp)


def own_chunk(g: Array, h: Array, values: Array, xp: Namespace, tiny: float, u: float) -> Seen:
    """Return what queries see of keys up to their own place in the chunk; `values` are [v, 1]."""
    length = g.shape[-2]
    seen, fine = whole_chunk(g, h, values, xp, tiny, u)
    if length == 1 or bool(fine):
        return seen
    half = length // 2
    first = own_chunk(g[..., :half, :], h[..., :half, :], values[..., :half, :], xp, tiny, u)
    second = own_chunk(g[..., half:, :], h[..., half:, :], values[..., half:, :], xp, tiny, u)
    earlier = add_keys(None, h[..., :half, :], values[..., :half, :], xp)
    second = merge(second, look(g[..., half:, :], earlier, xp), xp)
    return Seen(*(xp.concat([a, b], axis=-2) for a, b in zip(first, second, strict=True)))


def whole_chunk(
    g: Array, h: Array, values: Array, xp: Namespace, tiny: float, u: float
) -> tuple[Seen, Array]:
    """Return the same with one shift for all, and whether no query lost its denominator so."""
    length, m = g.shape[-2], g.shape[-1]
    top = finite(xp.max(h, axis=-2, keepdims=True), xp)
    exponents = g + top
    row_top = xp.max(exponents, axis=-1, keepdims=True)
    scores = xp.matmul(xp.exp(exponents - row_top), xp.matrix_transpose(xp.exp(h - top)))
    sums = xp.matmul(xp.tril(scores), values)
    mass = sums[..., -1:]
    none = xp.cumulative_sum(xp.astype(xp.isfinite(h[..., :1]), g.dtype), axis=-2) == 0
    fine = xp.all((mass >= 4 * length * m * tiny / u) | none)
    return _seen(sums[..., :-1], mass, row_top, xp), fine


def with_ones(problem: Problem) -> Array:
    """Return [V, 1], shape (..., n_k, dv + 1)."""
    return problem.xp.concat([problem.v, problem.xp.ones_like(problem.v[..., :1])], axis=-1)


def fold(problem: Problem, w: Array) -> State:
    """Return the state of all keys."""
    state, values = None, with_ones(problem)
    for start, end in chunks(problem, w.shape[-2], problem.n_k):
        h = log_key_features(problem, w, start, end)
        state = add_keys(state, h, values[..., start:end, :], problem.xp)
    assert state is not None  # noqa: S101 - there is a key
    return state


def joined(a: State, b: State, xp: Namespace) -> State:
    """Return the state of the keys of both."""
    top = xp.maximum(a.top, b.top)
    shift = finite(top, xp)
    first, second = (s.sums * xp.matrix_transpose(xp.exp(s.top - shift)) for s in (a, b))
    return State(top, first + second)


def read(problem: Problem, w: Array, state: State) -> Seen:
    """Return what the queries see of a state."""
    rows = chunks(problem, w.shape[-2], problem.n_q)
    seen = [look(log_query_features(problem, w, *c), state, problem.xp) for c in rows]
    return Seen(*(problem.xp.concat(list(parts), axis=-2) for parts in zip(*seen, strict=True)))


def attend(problem: Problem, w: Array) -> Seen:
    """Return output and logarithms of the denominators."""
    return advance(problem, w, None)[0]


def advance(problem: Problem, w: Array, state: State | None) -> tuple[Seen, State]:
    """Return output and logarithms of the denominators, and the state after all keys; `state` is
    that of keys before the first, which every query sees.
    """
    xp, m, values = problem.xp, w.shape[-2], with_ones(problem)
    limits = _arrays.smallest_normal(problem.dtype), problem.u
    chunk = whole_chunk if far(values) else own_chunk
    own: list[Any] = []
    earlier: list[Seen | None] = []
    walk = list(steps(problem, m))
    for keys, queries in walk:
        h, part = log_key_features(problem, w, *keys), values[..., keys[0] : keys[1], :]
        if queries is not None:
            g = log_query_features(problem, w, *queries)
            own.append(chunk(g, h, part, xp, *limits))
            earlier.append(None if state is None else look(g, state, xp))
            if chunk is own_chunk:
                own[-1], earlier[-1] = _both(own[-1], earlier[-1], xp), None
        state = add_keys(state, h, part, xp)
    assert state is not None  # noqa: S101 - there is a key
    if not problem.causal:
        return read(problem, w, state), state
    if chunk is whole_chunk:
        own = _mended(problem, w, values, walk, own)
    seen = [_both(*pair, xp) for pair in zip(own, earlier, strict=True)]
    return Seen(*(xp.concat(list(parts), axis=-2) for parts in zip(*seen, strict=True))), state


def _both(own: Seen, earlier: Seen | None, xp: Namespace) -> Seen:
    return own if earlier is None else merge(own, earlier, xp)


def _mended(
    problem: Problem, w: Array, values: Array, walk: list[Step], own: list[tuple[Seen, Array]]
) -> list[Seen]:
    """Return what the queries see of their own chunks, given `whole_chunk` of all: those that lost
    a denominator are formed anew, after one look at all.
    """
    limits = _arrays.smallest_normal(problem.dtype), problem.u
    found = [seen for seen, _ in own]
    places = [(keys, queries) for keys, queries in walk if queries is not None]
    for i, fine in enumerate(fetched(*(fine for _, fine in own))):
        if not fine:
            (start, end), queries = places[i]
            g, h = (
                log_query_features(problem, w, *queries),
                log_key_features(problem, w, start, end),
            )
            found[i] = own_chunk(g, h, values[..., start:end, :], problem.xp, *limits)
    return found


def step_count(problem: Problem, features: int) -> int:
    """Return how often the keys of a problem can rescale a term: once a step, and once a time that
    a causal chunk is halved.
    """
    halvings = _causal_chunk(problem).bit_length() if problem.causal else 0
    return sum(1 for _ in steps(problem, features)) + halvings


class Keys(NamedTuple):
    """What the bounds of some queries need of the keys that they see: largest length, shape (...),
    ends of the range of each column of values, shapes (..., dv), their number at most, and how
    often a term can be rescaled.
    """

    radius: HostArray
    high: HostArray
    low: HostArray
    most: int
    steps: int


def feature_rounding(problem: Problem, features: int, longest: float, keys: Keys) -> HostArray:
    """Return the bound on the rounding error of each row of the output, shape (..., n_q), for the
    queries of a problem and so many directions, the longest of this length.
    """
    u, m, count = problem.u, features, keys.steps
    longest *= 1 + 2 * u
    root = math.sqrt(problem.scale)
    x, y = root * query_norms(problem), root * keys.radius[..., None]
    size = up(2 * (longest * (x + y) + y * y))
    underflow = (
        8 * problem.d * _arrays.smallest_normal(problem.dtype) * (longest + 1) * (1 + np.max(y))
    )
    eta = up(
        gamma(problem.d + 4, u) * size + u * (EXP_ULPS + 6 + 4 * size) * (count + 3) + underflow
    )
    spread = spread_of(keys.high, keys.low)
    sums = gamma(2 * (keys.most + m + 6 * count) + 8, u) + 4 * u
    return up(
        output_bound(tv_from_score_error(eta), spread.osc)
        + sums * spread.top[..., None]
        + keys.most * m * _arrays.smallest_normal(problem.dtype)
    )
