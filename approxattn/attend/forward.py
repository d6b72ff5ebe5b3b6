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
    """Columns of a group, each of shape (..., n_q, m), and the certificates behind them, with how
    often each counts for one leading index.
    """

    columns: dict[str, Array]
    certificates: list[Certificate]
    failure: float


def in_pieces(problem: Problem, compute: Compute) -> Approximation:
    """Return the output of a problem with `visibility` by `compute`, which takes plain problems.

    A query that sees no key has the output 0, surely, and the log-sum-exp -inf. `problem` has one
    leading index and one query at least.
    """
    groups = split(problem)
    parts = [_of_group(of_group(problem, group), group, compute) for group in groups]
    whole = {
        name: regrouped([part.columns[name] for part in parts], groups, problem.batch, xp)
        for name, xp in _columns_of(problem).items()
    }
    certificates = [certificate for part in parts for certificate in part.certificates]
    empty = problem.visible_keys == 0
    lse, of_lse = whole.get("lse"), whole.get("lse bound")
    certificate = Certificate(
        rows=np.where(empty, 0.0, whole["bound"][..., 0]),
        target=common((c.target for c in certificates), SOFTMAX),
        theorem=common((c.theorem for c in certificates), "ours.tanh"),
        failure=min(1.0, max(part.failure for part in parts)),
        facts=shared_facts([c.facts for c in certificates]),
        unmet=reasons(certificates),
        lse=None if of_lse is None else np.where(empty, 0.0, of_lse[..., 0]),
    )
    return Approximation(
        value=_without(empty, whole["value"], 0.0, problem.xp),
        certificate=certificate,
        lse=None if lse is None else _without(empty, lse, -np.inf, problem.xp)[..., 0],
    )


def _columns_of(problem: Problem) -> dict[str, Namespace]:
    """Return what is joined from pieces, with the namespace of each."""
    lse = {"lse": problem.xp, "lse bound": np} if problem.wants_lse else {}
    return {"value": problem.xp, "bound": np, **lse}


def _without(empty: HostArray, x: Array, instead: float, xp: Namespace) -> Array:
    """Return x, shape (..., n_q, m), with `instead` in the rows of queries that see no key."""
    if not np.any(empty):
        return x
    gone = _arrays.from_host(np.array(empty[..., None]), x)
    return xp.where(gone, xp.full_like(x, instead), x)


def _of_group(problem: Problem, group: Group, compute: Compute) -> _Output:
    names = _columns_of(problem)
    columns: dict[str, list[tuple[int, Array]]] = {name: [] for name in names}
    found = []
    for pieces in group.bundles:
        result = compute(of_bundle(problem, pieces))
        found.append((result.certificate, len(pieces)))
        starts = [piece.rows[0] for piece in pieces]
        given = {"value": result.value, "bound": result.certificate.rows[..., None]}
        if result.lse is not None and result.certificate.lse is not None:
            given |= {"lse": result.lse[..., None], "lse bound": result.certificate.lse[..., None]}
        for name in names:
            columns[name] += zip(starts, unstacked(given[name], pieces), strict=True)
    whole = {
        name: joined(
            parts, problem.n_q, parts[0][1] if parts else _empty(problem, name), names[name]
        )
        for name, parts in columns.items()
    }
    return _Output(
        columns=whole,
        certificates=[certificate for certificate, _ in found],
        failure=joint_failure(found),
    )


def _empty(problem: Problem, name: str) -> Array:
    """Return an array with the leading axes, the width and the dtype of a column."""
    if name == "value":
        return _arrays.cast(problem.v[..., :1, :] * 0, problem.out_dtype, problem.xp)
    return problem.v[..., :1, :1] * 0 if name == "lse" else np.zeros((*problem.batch, 1, 1))
