"""What a certificate needs of a pass: a few numbers for each token, and none of its arrays.

A pass that is `kept` answers what bounds ask of it, now or when somebody reads the certificate. The
arrays that are as wide as a token, or that belong to the caller, are `Gone`; denominators and parts
stay where they are, the rest is at hand.
"""

from __future__ import annotations

from typing import Any, TypeVar

from approxattn._arrays import Array
from approxattn._arrays.crossing import far, space
from approxattn._problem import Problem
from approxattn._problem.outline import Gone, outline
from approxattn.bounds.scores import query_lengths, value_spread
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.forward import Forward

Record = TypeVar("Record", Forward, CentredScores)


def kept(run: Forward) -> Forward:
    """Return what bounds ask of a pass."""
    problem = outline(run.problem, value_spread, query_lengths, counts=True, reach=False)
    return _with(
        run,
        problem=problem,
        scores=_scores(run.scores, problem),
        queries=GONE,
        keys=GONE,
        values=GONE,
        numerator=GONE,
        states=None,
        parts=_own(run.parts),
    )


def _own(parts: Array | None) -> Array | None:
    """Return parts that are no view of the sums."""
    if parts is None or not far(parts):
        return parts
    return space(parts).astype(parts, parts.dtype)  # a copy


GONE = Gone((), None)


def _scores(scores: CentredScores, problem: Problem) -> CentredScores:
    return _with(
        scores,
        queries=GONE,
        keys=GONE,
        weights=None if scores.weights is None else GONE,
        key_shift=GONE,
        middle=GONE,
        problem=problem,
        crossed=None,
    )


def _with(record: Record, **changes: Any) -> Record:
    """Return a record with some fields changed, and what it has found so far of rows."""
    made = object.__new__(type(record))
    vars(made).update(vars(record), **changes)
    for name in _OF_ARRAYS & vars(made).keys():
        del vars(made)[name]
    return made


_OF_ARRAYS = {"value", "host_parts", "balanced"}
"""What a record has found that is as wide as a token, or holds on to what is."""
