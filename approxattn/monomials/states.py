"""States that outlive a call: S = sum_j w phi(y_j) values_j^T, made once, read by any number of
queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.monomials.contraction import weights
from approxattn.monomials.device import contraction
from approxattn.monomials.device.blocks import Blocks
from approxattn.monomials.index import rank
from approxattn.monomials.numpy_adjoint import PullBack
from approxattn.monomials.numpy_contraction import flat, total_state
from approxattn.monomials.numpy_features import plan
from approxattn.monomials.numpy_state import Summation, canonical, within
from approxattn.monomials.parts.cuts import check_degrees
from approxattn.monomials.parts.few import are_few, few_readings, few_states


def states(y: Array, values: Array, coefficients: tuple[float, ...], xp: Namespace) -> Array:
    """Return the weighted states, shapes (..., n, d), (..., n, m) -> (..., r, m), in the order of
    `index`.
    """
    if _arrays.on_host(y, values):
        return _numpy_states(y, values, coefficients)
    blocks = contraction.blocks_for(coefficients, xp, y, values)

    def one(tokens: Array, right: Array) -> Array:
        return contraction.state_of(blocks, tokens, right)

    shape = rank(y.shape[-1], len(coefficients) - 1), values.shape[-1]
    return _items(one, xp, y, values, shape)


def read_states(x: Array, state: Array, degree: int, xp: Namespace) -> Array:
    """Return phi(x)^T S, shapes (..., n, d), (..., r, m) -> (..., n, m)."""
    if _arrays.on_host(x, state):
        return _numpy_read(x, state, degree)[0]
    blocks, shape = _unweighted(degree, xp, x, state), (x.shape[-2], state.shape[-1])
    return _items(lambda a, b: contraction.read(blocks, a, b), xp, x, state, shape)


def read_states_with_parts(
    x: Array, state: Array, degree: int, xp: Namespace, degrees: tuple[int, ...]
) -> tuple[Array, Array]:
    """Return phi(x)^T S, and the parts of its last column that belong to those degrees, shape (...,
    n, number of degrees).
    """
    m = state.shape[-1]
    check_degrees(degrees, degree, m)
    if _arrays.on_host(x, state):
        return _numpy_read(x, state, degree, degrees)
    wide, blocks = (x.shape[-2], m + len(degrees)), _unweighted(degree, xp, x, state)

    def one(tokens: Array, own: Array) -> Array:
        return contraction.read(blocks, tokens, contraction.widened(blocks, own, degrees))

    both = _items(one, xp, x, state, wide)
    return both[..., :m], both[..., m:]


def read_gradients(x: Array, left: Array, state: Array, degree: int, xp: Namespace) -> Array:
    """Return the gradient of left_i . (phi(x_i)^T S) with respect to x, shapes (..., n, d),
    (..., n, m), (..., r, m) -> (..., n, d).
    """
    if _arrays.on_host(x, left, state):
        return _numpy_read_gradients(x, left, state, degree)
    if degree == 0:
        return xp.zeros_like(x)
    d, blocks = x.shape[-1], _unweighted(degree, xp, x, left, state, gradient=True)

    def one(both: Array, own: Array) -> Array:
        return contraction.read_gradient(blocks, both[:, :d], both[:, d:], own)

    return _items(one, xp, xp.concat([x, left], axis=-1), state, tuple(x.shape[-2:]))


def no_states(y: Array, values: Array, degree: int, xp: Namespace) -> Array:
    """Return the states of no tokens, for tokens and values like these."""
    shape = (*y.shape[:-2], rank(y.shape[-1], degree), values.shape[-1])
    return xp.zeros(shape, dtype=y.dtype, device=_arrays.device(y))


def _unweighted(degree: int, xp: Namespace, *arrays: Array, gradient: bool = False) -> Blocks:
    """Return what reads a state, which has the weights already."""
    return contraction.blocks_for((1.0,) * (degree + 1), xp, *arrays, gradient=gradient)


def _items(
    f: Callable[[Array, Array], Array], xp: Namespace, a: Array, b: Array, shape: tuple[int, int]
) -> Array:
    """Apply f, whose results have that shape, to each item of the leading axes."""
    batch = a.shape[:-2]
    count = math.prod(batch)
    if not count:
        return xp.zeros((*batch, *shape), dtype=a.dtype, device=_arrays.device(a))
    flat_a, flat_b = (xp.reshape(array, (count, *array.shape[-2:])) for array in (a, b))
    out = xp.stack([f(flat_a[i, ...], flat_b[i, ...]) for i in range(count)])
    return xp.reshape(out, (*batch, *out.shape[-2:]))


def _numpy_states(y: HostArray, values: HostArray, coefficients: tuple[float, ...]) -> HostArray:
    d, m = y.shape[-1], values.shape[-1]
    if are_few(y.shape[-2], m):
        return few_states(y, values, coefficients)
    p = plan(d, m, len(coefficients) - 1, y.shape[-2], False)
    worker, weight = Summation(p, y.dtype), weights(coefficients, d)[:, None].astype(y.dtype)
    out = np.empty((*y.shape[:-2], rank(d, p.degree), m), y.dtype)
    for tokens, right, target in zip(flat(y), flat(values), flat(out), strict=True):
        np.multiply(canonical(p, total_state([worker], tokens, right)), weight, out=target)
    return out


def _numpy_read(
    x: HostArray, state: HostArray, degree: int, degrees: tuple[int, ...] = ()
) -> tuple[HostArray, HostArray]:
    *batch, n, _ = x.shape
    m = state.shape[-1]
    if are_few(n, m):
        return few_readings(x, state, degree, degrees)
    p = plan(x.shape[-1], m, degree, n, False)
    # "top" would first have to lay out every state anew
    p = replace(p, scheme="tiled") if p.scheme == "top" else p
    worker = Summation(p, x.dtype, degrees)
    out = np.empty((*batch, n, m), x.dtype)
    parts = np.empty((*batch, len(degrees), n), x.dtype)
    for tokens, own, target, split in zip(*map(flat, (x, state, out, parts)), strict=True):
        for chunk in within(slice(0, n), p.chunk):
            worker.read([own], tokens[chunk], target[chunk], split[:, chunk])
    return out, np.swapaxes(parts, -1, -2)


def _numpy_read_gradients(
    x: HostArray, left: HostArray, state: HostArray, degree: int
) -> HostArray:
    p = plan(x.shape[-1], state.shape[-1], degree, x.shape[-2], False)
    p = replace(p, scheme="tiled") if p.scheme == "top" else p
    worker = Summation(p, x.dtype)
    back, out = PullBack(worker, x.dtype), np.empty_like(x, shape=x.shape)
    for tokens, own, whole, target in zip(*map(flat, (x, left, state, out)), strict=True):
        for chunk in within(slice(0, x.shape[-2]), p.chunk):
            worker.held.load(tokens[chunk])
            back.into(target[chunk], whole, own[chunk])
    return out
