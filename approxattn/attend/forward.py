"""The output of a problem from those of its pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.attend.pieces import Group, Piece, split
from approxattn.attend.problems import joined, of_bundle, of_group, regrouped, unstacked
from approxattn.attend.reasons import common, joint_failure, reasons, shared_facts
from approxattn.certificate import SOFTMAX, Approximation, Certificate

Compute = Callable[[Problem], Approximation]


class _Told(NamedTuple):
    """The certificate of pieces of one form, and where they stand."""

    certificate: Certificate
    pieces: list[Piece]


class _Output(NamedTuple):
    """Columns of a group, each of shape (..., n_q, m), and the certificates of its pieces."""

    columns: dict[str, Array]
    told: list[_Told]


def in_pieces(problem: Problem, compute: Compute) -> Approximation:
    """Return the output of a problem with `visibility` by `compute`, which takes plain problems.

    A query that sees no key has the output 0, surely, and the log-sum-exp -inf. `problem` has one
    leading index and one query at least.
    """
    groups = split(problem)
    parts = [_of_group(of_group(problem, group), group, compute) for group in groups]
    whole = {
        name: regrouped([part.columns[name] for part in parts], groups, problem.batch, problem.xp)
        for name in parts[0].columns
    }
    empty, lse = problem.visible_keys == 0, whole.get("lse")
    told = [part.told for part in parts]
    certificate = Certificate.later(_together, told, groups, empty, problem.wants_lse)
    return Approximation(
        value=_without(empty, whole["value"], 0.0, problem.xp),
        certificate=certificate,
        lse=None if lse is None else _without(empty, lse, -np.inf, problem.xp)[..., 0],
    )


def _without(empty: HostArray, x: Array, instead: float, xp: Namespace) -> Array:
    """Return x, shape (..., n_q, m), with `instead` in the rows of queries that see no key."""
    if not np.any(empty):
        return x
    gone = _arrays.from_host(np.array(empty[..., None]), x)
    return xp.where(gone, xp.full_like(x, instead), x)


def _of_group(problem: Problem, group: Group, compute: Compute) -> _Output:
    names = ("value", "lse") if problem.wants_lse else ("value",)
    columns: dict[str, list[tuple[int, Array]]] = {name: [] for name in names}
    told = []
    for pieces in group.bundles:
        result = compute(of_bundle(problem, pieces))
        told.append(_Told(result.certificate, pieces))
        given = {"value": result.value}
        if result.lse is not None:
            given["lse"] = result.lse[..., None]
        for name in names:
            columns[name] += _placed(given[name], pieces)
    whole = {
        name: joined(
            parts, problem.n_q, parts[0][1] if parts else _empty(problem, name), problem.xp
        )
        for name, parts in columns.items()
    }
    return _Output(whole, told)


def _placed(x: Array, pieces: list[Piece]) -> Iterable[tuple[int, Array]]:
    """Return the first row of each piece, and its part of an array of all."""
    return zip((piece.rows[0] for piece in pieces), unstacked(x, pieces), strict=True)


def _empty(problem: Problem, name: str) -> Array:
    """Return an array with the leading axes, the width and the dtype of a column."""
    if name == "value":
        return _arrays.cast(problem.v[..., :1, :] * 0, problem.out_dtype, problem.xp)
    return problem.v[..., :1, :1] * 0


def _together(
    told: list[list[_Told]], groups: list[Group], empty: HostArray, wants_lse: bool
) -> Certificate:
    """Return the certificate of the whole from those of the pieces of each group; `empty`, shape
    (..., n_q), says which queries see no key.
    """
    certificates = [x.certificate for of_group in told for x in of_group]

    def bounds(name: str) -> HostArray:
        parts = [
            _rows(name, of_group, group, empty)
            for of_group, group in zip(told, groups, strict=True)
        ]
        whole = regrouped(parts, groups, empty.shape[:-1], np)
        return np.where(empty, 0.0, whole[..., 0])

    # a bound of one leading index fails where one of its pieces does
    failures = (joint_failure([(c, len(p)) for c, p in of_group]) for of_group in told)
    return Certificate(
        rows=bounds("rows"),
        target=common((c.target for c in certificates), SOFTMAX),
        theorem=common((c.theorem for c in certificates), "ours.tanh"),
        failure=min(1.0, max(failures)),
        facts=shared_facts([c.facts for c in certificates]),
        unmet=reasons(certificates),
        lse=bounds("lse") if wants_lse else None,
    )


def _rows(name: str, told: list[_Told], group: Group, empty: HostArray) -> HostArray:
    """Return the bounds of one name of all rows of a group, shape (..., n_q, 1), 0 in between."""
    parts: list[tuple[int, HostArray]] = []
    for certificate, pieces in told:
        parts += _placed(getattr(certificate, name)[..., None], pieces)
    lead = empty.shape[:-1] if group.items is None else (group.items.size,)
    return np.asarray(joined(parts, empty.shape[-1], np.zeros((*lead, 1, 1)), np))
