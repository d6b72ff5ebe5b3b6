"""The gradient of a problem from those of its pieces.

Keys may stand in two pieces of their run, one in causal order and one in full. So dk and dv are
sums of one or two parts: adding two numbers x and y rounds by at most u (|x| + |y|).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.crossing import at_hand
from approxattn._problem import Problem
from approxattn.attend.pieces import Group, Piece, split
from approxattn.attend.problems import (
    joined,
    of_bundle,
    of_group,
    regrouped,
    rows_of_queries,
    taken,
    unstacked,
)
from approxattn.attend.reasons import common, joint_failure, reasons, shared_facts
from approxattn.bounds.rounding import up
from approxattn.certificate import SOFTMAX_GRADIENT, GradientCertificate, Gradients

Differentiate = Callable[[Problem, Array], Gradients]


class _Own(NamedTuple):
    """The bounds of one piece: those that a certificate names, or, where several pieces are
    stacked, those of one of them.
    """

    certificate: GradientCertificate
    name: str
    place: int | None

    def rows(self) -> HostArray:
        """Return them, shape (..., rows)."""
        found: HostArray = getattr(self.certificate, self.name)
        return found if self.place is None else found[self.place, ...]


class _Both(NamedTuple):
    """The bounds of two parts that were added, in n rows of which the second has those from `shift`
    on; `rounded` bounds the rounding of each row, at hand.
    """

    one: _Own | _Both
    other: _Own | _Both
    shift: int
    rounded: Array

    def rows(self) -> HostArray:
        """Return them, shape (..., n)."""
        rounded, found = _arrays.to_host(self.rounded), []
        for at, part in ((0, self.one), (self.shift, self.other)):
            rows = part.rows()[..., None]
            found.append(joined([(at, rows)], rounded.shape[-1], rows, np)[..., 0])
        return up(found[0] + found[1] + rounded)


class _Part(NamedTuple):
    """Rows of an array from `first` on, and the bounds on their errors."""

    first: int
    value: Array
    told: _Own | _Both


Told = list[tuple[int, _Own | _Both]]
"""First row of each part, and its bounds."""


class _Gradient(NamedTuple):
    """dq, dk, dv of a group with what is told of their errors, the results of its bundles with the
    number of pieces in each, and the gradient of its sinks.
    """

    values: tuple[Array, Array, Array]
    told: tuple[Told, Told, Told]
    results: list[Gradients]
    counts: list[int]
    sinks: Array | None


def gradient_in_pieces(problem: Problem, dout: Array, vjp: Differentiate) -> Gradients:
    """Return the gradient of a problem with `visibility` by `vjp`, which takes plain problems.

    A query that sees no key has the gradient 0, surely, and a key that no query sees.
    """
    groups = split(problem)
    parts = []
    for group in groups:
        cotangent = dout if group.items is None else taken(dout, problem, group.items, 2)
        parts.append(_of_group(of_group(problem, group), cotangent, group, vjp))
    batch, xp = problem.batch, problem.xp
    dq, dk, dv = (
        regrouped([part.values[i] for part in parts], groups, batch, xp) for i in range(3)
    )
    told = [part.told for part in parts]
    found = [
        [(r.certificate, count) for r, count in zip(part.results, part.counts, strict=True)]
        for part in parts
    ]
    empty = problem.visible_keys == 0
    certificate = GradientCertificate.later(_together, told, found, groups, empty, problem.n_k)
    own = _parameters([result for part in parts for result in part.results])
    if problem.sinks is not None:
        own["sinks"] = regrouped([part.sinks for part in parts], groups, batch, xp)
    return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate, parameters=own)


def _together(
    told: list[tuple[Told, Told, Told]],
    found: list[list[tuple[GradientCertificate, int]]],
    groups: list[Group],
    empty: HostArray,
    n_k: int,
) -> GradientCertificate:
    """Return the certificate of the whole from those of the pieces of each group, and how often
    each counts for one leading index; `empty`, shape (..., n_q), says which queries see no key.
    """
    certificates = [certificate for of_group in found for certificate, _ in of_group]
    *batch, n_q = empty.shape
    rows = [
        regrouped(
            [_rows(x[i], n, batch, g) for x, g in zip(told, groups, strict=True)],
            groups,
            tuple(batch),
            np,
        )[..., 0]
        for i, n in enumerate((n_q, n_k, n_k))
    ]
    return GradientCertificate(
        dq=np.where(empty, 0.0, rows[0]),
        dk=rows[1],
        dv=rows[2],
        target=common((c.target for c in certificates), SOFTMAX_GRADIENT),
        theorem=common((c.theorem for c in certificates), "ours.gradient"),
        failure=min(1.0, max(map(joint_failure, found))),
        facts=shared_facts([c.facts for c in certificates]),
        unmet=reasons(certificates),
    )


def _rows(told: Told, n: int, batch: list[int], group: Group) -> HostArray:
    """Return the bounds of n rows of a group, shape (..., n, 1), 0 in between."""
    lead = batch if group.items is None else (group.items.size,)
    parts = [(first, part.rows()[..., None]) for first, part in told]
    return np.asarray(joined(parts, n, np.zeros((*lead, 1, 1)), np))


def _of_group(problem: Problem, dout: Array, group: Group, vjp: Differentiate) -> _Gradient:
    parts: dict[str, list[_Part]] = {"dq": [], "dk": [], "dv": []}
    results = []
    for pieces in group.bundles:
        result = vjp(of_bundle(problem, pieces), rows_of_queries(dout, pieces, problem.xp))
        results.append(result)
        for name in parts:
            parts[name] += _cut(name, result, pieces)
    sizes = {"dq": (problem.n_q, problem.q), "dk": (problem.n_k, problem.k)}
    sizes["dv"] = (problem.n_k, problem.v)
    (dq, of_q), (dk, of_k), (dv, of_v) = (
        _joined(parts[name], *sizes[name], problem) for name in parts
    )
    return _Gradient(
        values=(dq, dk, dv),
        told=(of_q, of_k, of_v),
        results=results,
        counts=[len(pieces) for pieces in group.bundles],
        sinks=_of_sinks(problem, group, results),
    )


def _of_sinks(problem: Problem, group: Group, results: list[Gradients]) -> Array | None:
    """Return the gradient with respect to the sinks of a group, in the shape of its leading
    axes.
    """
    if problem.sinks is None:
        return None
    total = problem.sinks[..., 0, 0] * 0
    for pieces, result in zip(group.bundles, results, strict=True):
        part = result.parameters["sinks"]
        total = total + (part if len(pieces) == 1 else problem.xp.sum(part, axis=0))
    return total


def with_own_sinks(result: Gradients, sinks: Array, problem: Problem) -> Gradients:
    """Return the gradient with that of the sinks in their own shape and dtype."""
    xp, shape = problem.xp, tuple(sinks.shape)
    found = result.parameters.get("sinks")
    found = xp.sum(problem.q[..., :0, 0], axis=-1) if found is None else found  # nothing to pull
    lead = (1,) * (found.ndim - len(shape)) + shape
    axes = tuple(i for i, (a, b) in enumerate(zip(found.shape, lead, strict=True)) if a != b)
    found = xp.sum(found, axis=axes, keepdims=True) if axes else found
    own = _arrays.cast(xp.reshape(found, shape), _arrays.dtype_name(sinks), xp)
    own = xp.asarray(own)  # NumPy makes a scalar of an array without axes
    return replace(result, parameters={**result.parameters, "sinks": own})


def _cut(name: str, result: Gradients, pieces: list[Piece]) -> list[_Part]:
    values = unstacked(getattr(result, name), pieces)
    starts = [(p.rows if name == "dq" else p.keys)[0] for p in pieces]
    places = [None] if len(pieces) == 1 else range(len(pieces))
    return [
        _Part(first, value, _Own(result.certificate, name, place))
        for first, value, place in zip(starts, values, places, strict=True)
    ]


def _joined(parts: list[_Part], n: int, like: Array, problem: Problem) -> tuple[Array, Told]:
    """Return all rows in one array; parts that meet in some rows are added there."""
    xp = problem.xp
    apart: list[_Part] = []
    for part in sorted(parts, key=lambda part: part.first):
        if apart and part.first < apart[-1].first + apart[-1].value.shape[-2]:
            apart.append(_sum(apart.pop(), part, problem))
        else:
            apart.append(part)
    values = joined([(p.first, p.value) for p in apart], n, xp.zeros_like(like), xp)
    return values, [(p.first, p.told) for p in apart]


def _sum(one: _Part, other: _Part, problem: Problem) -> _Part:
    """Return two parts added; the second does not begin before the first."""
    first = one.first
    stop = max(part.first + part.value.shape[-2] for part in (one, other))
    n, shift, xp = stop - first, other.first - first, problem.xp
    a, b = (
        joined([(at, part.value)], n, part.value, xp) for at, part in ((0, one), (shift, other))
    )
    size = sum(_largest(value, xp) for value in (a, b))
    rounded = _arrays.unit_roundoff(problem.dtype) * size
    return _Part(first, a + b, _Both(one.told, other.told, shift, rounded))


def _largest(value: Array, xp: Namespace) -> Array:
    if value.shape[-1] == 0:
        return np.zeros(value.shape[:-1])
    return at_hand(xp.max(xp.abs(value), axis=-1))


def _parameters(results: list[Gradients]) -> dict[str, Array]:
    """Return the sums of the gradients with respect to the method's own arrays."""
    sums: dict[str, Array] = {}
    for result in results:
        for name, value in result.parameters.items():
            if name == "sinks":
                continue  # not of the method, and one for each leading index
            sums[name] = value if name not in sums else sums[name] + value
    return sums
