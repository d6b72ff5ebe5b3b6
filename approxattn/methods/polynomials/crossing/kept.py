"""What a certificate needs of a pass: a few numbers for each token, and none of its arrays.

A pass that is `kept` answers what bounds ask of it, now or when somebody reads the certificate. The
arrays that are as wide as a token, or that belong to the caller, are `Gone`; the rest is at hand.
"""

from __future__ import annotations

import functools
from dataclasses import fields
from typing import Any, TypeVar

from approxattn._arrays.crossing import at_hand
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
        denominator=at_hand(run.denominator),
        states=None,
        parts=None if run.parts is None else at_hand(run.parts),
    )


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
        widest=scores.widest,
    )


def _with(record: Record, **changes: Any) -> Record:
    """Return a record with some fields changed, and none of what it has found: `replace` in a
    fraction of its time.
    """
    made = object.__new__(type(record))
    own = vars(record)
    vars(made).update({name: own[name] for name in _names(type(record))}, **changes)
    return made


@functools.cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
