"""The output of a problem from those of its pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.attend.pieces import Group, split
from approxattn.attend.problems import joined, of_bundle, of_group, regrouped, unstacked
from approxattn.attend.reasons import common, joint_failure, reasons, shared_facts
from approxattn.certificate import SOFTMAX, Approximation, Certificate

Compute = Callable[[Problem], Approximation]


class _Output(NamedTuple):
    """Output and bounds of a group, and the certificates behind them, with how often each counts
    for one leading index.
    """

    value: Array
    rows: HostArray
    certificates: list[Certificate]
    failure: float


def in_pieces(problem: Problem, compute: Compute) -> Approximation:
    """Return the output of a problem with `visibility` by `compute`, which takes plain problems.

    A query that sees no key has the output 0, surely. `problem` has one leading index and one
    query at least.
    """
    groups = split(problem)
    parts = [_of_group(of_group(problem, group), group, compute) for group in groups]
    rows = regrouped([part.rows[..., None] for part in parts], groups, problem.batch, np)[..., 0]
    certificates = [certificate for part in parts for certificate in part.certificates]
    empty = problem.visible_keys == 0
    value = regrouped([part.value for part in parts], groups, problem.batch, problem.xp)
    return Approximation(
        value=_without(empty, value, problem.xp),
        certificate=Certificate(
            rows=np.where(empty, 0.0, rows),
            target=common((c.target for c in certificates), SOFTMAX),
            theorem=common((c.theorem for c in certificates), "ours.tanh"),
            failure=min(1.0, max(part.failure for part in parts)),
            facts=shared_facts([c.facts for c in certificates]),
            unmet=reasons(certificates),
        ),
    )


def _without(empty: HostArray, value: Array, xp: Namespace) -> Array:
    """Return the output with 0 in the rows of queries that see no key."""
    if not np.any(empty):
        return value
    gone = _arrays.from_host(np.array(empty[..., None]), value)
    return xp.where(gone, xp.zeros_like(value), value)


def _of_group(problem: Problem, group: Group, compute: Compute) -> _Output:
    values: list[tuple[int, Array]] = []
    rows: list[tuple[int, HostArray]] = []
    found = []
    for pieces in group.bundles:
        result = compute(of_bundle(problem, pieces))
        found.append((result.certificate, len(pieces)))
        starts = [piece.rows[0] for piece in pieces]
        bounds = unstacked(result.certificate.rows[..., None], pieces)
        values += zip(starts, unstacked(result.value, pieces), strict=True)
        rows += zip(starts, bounds, strict=True)
    like = values[0][1] if values else _empty(problem)
    batch = problem.q.shape[:-2]
    return _Output(
        value=joined(values, problem.n_q, like, problem.xp),
        rows=joined(rows, problem.n_q, np.zeros((*batch, 1, 1)), np)[..., 0],
        certificates=[certificate for certificate, _ in found],
        failure=joint_failure(found),
    )


def _empty(problem: Problem) -> Array:
    """Return an array with the leading axes, the width and the dtype of the output."""
    return _arrays.cast(problem.v[..., :1, :] * 0, problem.out_dtype, problem.xp)
