"""One check carried out on all problems, and told as one finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from approxattn.testing.calls import Left, told_error
from approxattn.testing.conduct import CHECKS as CONDUCT
from approxattn.testing.findings import Finding
from approxattn.testing.laws import LAWS
from approxattn.testing.laws.shared import softmax
from approxattn.testing.problem import Problem
from approxattn.testing.subject import Subject

NEARER = "nearer than the mean of the values"
"""What is asked of an approximation in the place of agreement."""

NAMES = (NEARER, *LAWS, *CONDUCT)
"""Of all checks, in the order of the table."""

_MOST = 300
"""Tokens of a problem that an approximation is compared on, at most. *Chosen*."""


def law_finding(subject: Subject, posed: Sequence[Problem], name: str) -> Finding:
    """One law on all problems; the first failure is shown, with the number of problems
    that fail.
    """
    asked, failed, first, raised = 0, 0, "", None
    for problem in posed:
        try:
            complaint = LAWS[name](subject, problem)
        except Exception as error:  # noqa: BLE001 - numbers of any kind may upset the comparison
            complaint, raised = told_error(error) or type(error).__name__, raised or error
        if complaint is NotImplemented:
            continue
        asked += 1
        if complaint:
            failed += 1
            first = first or f"{complaint} ({problem.name}"
        if isinstance(raised, Left):  # it would do so again, and every new process takes its time
            break
    if not asked:
        return Finding(name=name, held=None, detail="the function has no such form")
    detail = f"{first}; {failed} of {asked} problems)" if failed else ""
    return Finding(name=name, held=not failed, detail=detail, error=raised)


def nearer_finding(subject: Subject, posed: Sequence[Problem]) -> Finding:
    """Median relative error, beside those of the zero output (1) and of the mean of V; it must be
    smaller than both.
    """
    if subject.exact:
        return Finding(name=NEARER, held=None, detail="asked of approximations only")
    errors, means = [], []
    try:
        for p in posed:
            if "large" in p.name or not 1 < p.k.shape[0] <= _MOST:
                continue
            true, out = softmax(subject, p), subject(p.q, p.k, p.v)
            size = float(np.linalg.norm(true))
            errors.append(float(np.linalg.norm(out - true)) / size)
            means.append(float(np.linalg.norm(np.mean(p.v, axis=0) - true)) / size)
    except Exception as error:  # noqa: BLE001 - numbers of any kind may upset the comparison
        return Finding(name=NEARER, held=False, detail=told_error(error), error=error)
    if not errors:
        return Finding(name=NEARER, held=None, detail=f"no problem of 2 to {_MOST} tokens")
    own, mean = float(np.median(errors)), float(np.median(means))
    detail = f"median relative error {own:.3g}; mean of V {mean:.3g}, zero output 1"
    return Finding(name=NEARER, held=own < min(1.0, mean), detail=detail)


def conduct_finding(subject: Subject, posed: Sequence[Problem], name: str) -> Finding:
    """One check of what the function does beside computing, by calls of every form that it has."""
    raised: BaseException | None = None
    for p in posed:
        for form in _forms(subject, p):
            try:
                subject(p.q, p.k, p.v, **form)
            except Exception as error:  # noqa: BLE001 - what it raises is the business of the laws
                raised = error
        if isinstance(raised, Left):
            break
    found = next(f for f in subject.record.findings() if f.name == name)
    if found.held is None and raised is not None:
        detail = f"no call gave numbers: {told_error(raised)}"
        return Finding(name=name, held=False, detail=detail, error=raised)
    return found


def _forms(subject: Subject, p: Problem) -> list[dict[str, Any]]:
    """Return the options of a call of every form that the function has."""
    n = p.k.shape[0]
    named = {
        subject.mask_name: np.ones(n, bool),
        subject.window_name: (1, 1),
        subject.segments_name: np.zeros(n, int),
    }
    forms: list[dict[str, Any]] = [{}, *({name: x} for name, x in named.items() if name)]
    if subject.causal_name is not None:
        at = {} if subject.offset_name is None else {subject.offset_name: n - p.q.shape[0]}
        forms += [{subject.causal_name: True}, {subject.causal_name: True, **at}]
    return forms


def finding(subject: Subject, posed: Sequence[Problem], name: str) -> Finding:
    """One check, of any kind, carried out by itself."""
    if name in CONDUCT:
        return conduct_finding(subject, posed, name)
    return nearer_finding(subject, posed) if name == NEARER else law_finding(subject, posed, name)
