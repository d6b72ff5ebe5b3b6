"""The plain problem of pieces of one form, and arrays cut and joined along tokens and items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.attend.pieces import Group, Piece


def of_group(problem: Problem, group: Group) -> Problem:
    """Return the problem of the items of a group, on one leading axis unless they are all."""
    if group.items is None:
        return problem
    q, k, v = (taken(x, problem, group.items, 2) for x in (problem.q, problem.k, problem.v))
    mask = problem.key_mask
    mask = None if mask is None else taken(mask, problem, group.items, 1)
    bias = None if problem.bias is None else problem.bias.items(group.items, problem.batch)
    sinks = problem.sinks
    sinks = None if sinks is None else taken(sinks, problem, group.items, 2)
    return replace(problem, q=q, k=k, v=v, key_mask=mask, bias=bias, sinks=sinks)


def taken(x: Array, problem: Problem, items: HostArray, axes: int) -> Array:
    """Return the items of an array whose own axes are the last `axes`."""
    flat = problem.xp.reshape(x, (math.prod(problem.batch), *x.shape[x.ndim - axes :]))
    return problem.xp.take(flat, _arrays.from_host(items, x), axis=0)


def of_bundle(problem: Problem, pieces: Sequence[Piece]) -> Problem:
    """Return pieces of one form as one plain problem: several stand on a new first axis."""
    xp, form = problem.xp, pieces[0]
    q = rows_of_queries(problem.q, pieces, xp)
    k, v = (
        stacked([x[..., p.keys[0] : p.keys[1], :] for p in pieces], xp)
        for x in (problem.k, problem.v)
    )
    mask = problem.key_mask
    if mask is not None:
        mask = stacked([mask[..., p.keys[0] : p.keys[1]] for p in pieces], xp)
        mask = None if bool(xp.all(mask)) else _arrays.contiguous(mask)
    bias = problem.bias
    if bias is not None:
        bias = bias.pieces([(p.rows, p.keys) for p in pieces], problem.batch)
    sinks = problem.sinks
    return replace(
        problem,
        q=q,
        k=k,
        v=v,
        key_mask=mask,
        bias=bias,
        sinks=None if sinks is None else stacked([sinks] * len(pieces), xp),
        causal=form.causal,
        band=form.band,
        visibility=None,
    )


def rows_of_queries(x: Array, pieces: Sequence[Piece], xp: Namespace) -> Array:
    """Return the rows of pieces of one form from an array laid out like q."""
    return stacked([x[..., p.rows[0] : p.rows[1], :] for p in pieces], xp)


def stacked(parts: list[Array], xp: Namespace) -> Array:
    """Return the only part, or all of them on a new first axis; contiguous, so that no sum depends
    on where a piece was cut.
    """
    joined = parts[0] if len(parts) == 1 else xp.stack(parts, axis=0)
    return _arrays.contiguous(joined)


def unstacked(x: Array, pieces: Sequence[Piece]) -> list[Array]:
    """Return the part of each piece."""
    return [x] if len(pieces) == 1 else [x[i, ...] for i in range(len(pieces))]


def joined(parts: list[tuple[int, Array]], n: int, like: Array, xp: Namespace) -> Array:
    """Return parts (first row, array of shape (..., rows, m)) in one array of n rows, 0 between
    them; `like` has the leading axes, the dtype and m.
    """
    pieces, at = [], 0
    for first, part in sorted(parts, key=lambda item: item[0]):
        if first > at:
            pieces.append(_zeros(like, first - at, xp))
        pieces.append(part)
        at = first + part.shape[-2]
    if n > at or not pieces:
        pieces.append(_zeros(like, n - at, xp))
    return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=-2)


def _zeros(like: Array, rows: int, xp: Namespace) -> Array:
    shape = (*like.shape[:-2], rows, like.shape[-1])
    return xp.zeros(shape, dtype=like.dtype, device=_arrays.device(like))


def regrouped(
    parts: list[Array], groups: Sequence[Group], batch: tuple[int, ...], xp: Namespace
) -> Array:
    """Return the arrays of all groups in one, in the order and shape of the leading axes."""
    if groups[0].items is None:
        return parts[0]
    order = np.concatenate([group.items for group in groups if group.items is not None])
    whole = xp.concat(parts, axis=0)
    back = _arrays.from_host(np.argsort(order, kind="stable"), whole)
    whole = xp.take(whole, back, axis=0)
    return xp.reshape(whole, (*batch, *whole.shape[1:]))
