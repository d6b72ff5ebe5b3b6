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


class _Part(NamedTuple):
    """Rows of an array from `first` on, and the bounds on their errors."""

    first: int
    value: Array
    rows: HostArray


class _Gradient(NamedTuple):
    """dq, dk, dv of a group, the bounds, shapes without the last axis, and the certificates."""

    values: tuple[Array, Array, Array]
    rows: tuple[HostArray, HostArray, HostArray]
    results: list[Gradients]
    failure: float
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
    results = [result for part in parts for result in part.results]
    certificates = [result.certificate for result in results]
    batch, xp = problem.batch, problem.xp
    dq, dk, dv = (
        regrouped([part.values[i] for part in parts], groups, batch, xp) for i in range(3)
    )
    rows = [
        regrouped([part.rows[i][..., None] for part in parts], groups, batch, np)[..., 0]
        for i in range(3)
    ]
    certificate = GradientCertificate(
        dq=np.where(problem.visible_keys == 0, 0.0, rows[0]),
        dk=rows[1],
        dv=rows[2],
        target=common((c.target for c in certificates), SOFTMAX_GRADIENT),
        theorem=common((c.theorem for c in certificates), "ours.gradient"),
        failure=min(1.0, max(part.failure for part in parts)),
        facts=shared_facts([c.facts for c in certificates]),
        unmet=reasons(certificates),
    )
    own = _parameters(results)
    if problem.sinks is not None:
        own["sinks"] = regrouped([part.sinks for part in parts], groups, batch, xp)
    return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate, parameters=own)


def _of_group(problem: Problem, dout: Array, group: Group, vjp: Differentiate) -> _Gradient:
    parts: dict[str, list[_Part]] = {"dq": [], "dk": [], "dv": []}
    found, results = [], []
    for pieces in group.bundles:
        result = vjp(of_bundle(problem, pieces), rows_of_queries(dout, pieces, problem.xp))
        results.append(result)
        found.append((result.certificate, len(pieces)))
        for name in parts:
            parts[name] += _cut(name, result, pieces)
    sizes = {"dq": (problem.n_q, problem.q), "dk": (problem.n_k, problem.k)}
    sizes["dv"] = (problem.n_k, problem.v)
    whole = {name: _joined(parts[name], *sizes[name], problem) for name in parts}
    return _Gradient(
        values=(whole["dq"][0], whole["dk"][0], whole["dv"][0]),
        rows=(whole["dq"][1], whole["dk"][1], whole["dv"][1]),
        results=results,
        failure=joint_failure(found),
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
    rows = unstacked(getattr(result.certificate, name)[..., None], pieces)
    starts = [(p.rows if name == "dq" else p.keys)[0] for p in pieces]
    return [
        _Part(first, value, bound[..., 0])
        for first, value, bound in zip(starts, values, rows, strict=True)
    ]


def _joined(parts: list[_Part], n: int, like: Array, problem: Problem) -> tuple[Array, HostArray]:
    """Return all rows in one array; parts that meet in some rows are added there."""
    xp = problem.xp
    apart: list[_Part] = []
    for part in sorted(parts, key=lambda part: part.first):
        if apart and part.first < apart[-1].first + apart[-1].value.shape[-2]:
            apart.append(_sum(apart.pop(), part, problem))
        else:
            apart.append(part)
    values = joined([(p.first, p.value) for p in apart], n, xp.zeros_like(like), xp)
    nothing = np.zeros((*like.shape[:-2], 1, 1))
    rows = joined([(p.first, p.rows[..., None]) for p in apart], n, nothing, np)
    return values, rows[..., 0]


def _sum(one: _Part, other: _Part, problem: Problem) -> _Part:
    """Return two parts added; the second does not begin before the first."""
    first = one.first
    stop = max(part.first + part.value.shape[-2] for part in (one, other))
    n, shift, xp = stop - first, other.first - first, problem.xp
    a, b = (
        joined([(at, part.value)], n, part.value, xp) for at, part in ((0, one), (shift, other))
    )
    x, y = (
        joined([(at, part.rows[..., None])], n, part.rows[..., None], np)[..., 0]
        for at, part in ((0, one), (shift, other))
    )
    size = sum(_largest(value, xp) for value in (a, b))
    return _Part(first, a + b, up(x + y + _arrays.unit_roundoff(problem.dtype) * size))


def _largest(value: Array, xp: Namespace) -> HostArray:
    if value.shape[-1] == 0:
        return np.zeros(value.shape[:-1])
    return _arrays.to_float64(xp.max(xp.abs(value), axis=-1))


def _parameters(results: list[Gradients]) -> dict[str, Array]:
    """Return the sums of the gradients with respect to the method's own arrays."""
    sums: dict[str, Array] = {}
    for result in results:
        for name, value in result.parameters.items():
            if name == "sinks":
                continue  # not of the method, and one for each leading index
            sums[name] = value if name not in sums else sums[name] + value
    return sums
