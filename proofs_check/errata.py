"""The errata as a page: every refuted statement of a paper, where it stands, a witness, and what is true instead."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from proofs_check.campaign import Outcome, Result
from proofs_check.catalogue import is_control
from proofs_check.experiment import Count, Falsify
from proofs_check.theorem import Theorem
from proofs_check.unchecked import UNCHECKED
from proofs_check.verdict import Status, Verdict

__all__ = ["markdown"]

_OPENING = """\
# Errata

Statements that are false as they are printed, or as the published code computes them, one section a paper. Each entry gives the exact place, what is printed,
the reading that was tested, a witness, and what is true instead. Every witness was confirmed by exact or ball arithmetic in a fresh process;
`proofs_check replay KEY` prints the Python that does it again. Where we know that a slip is harmless to the theorem it stands in, the entry says so.

This page is written by `python -m proofs_check errata`.
"""

_UNCHECKED = """\
## What cannot be checked

Statements of the papers that no finite computation decides, with the reason, and the finite statements of the catalogue that stand in for them.
"""

_WIDEST = 200
"""Longest witness shown, in characters; `replay` prints it whole."""


def markdown(outcome: Outcome) -> str:
    """The page for a campaign.

    Parameters
    ----------
    outcome : Outcome
        What the campaign says; refuted statements of the catalogue appear, controls do not.
    """
    by_key = {result.theorem.key: result for result in outcome.results}
    papers: dict[str, list[Result]] = {}
    assumed = []
    for result in outcome.results:
        if result.verdict.status is not Status.REFUTED or is_control(result.theorem.key):
            continue
        if result.theorem.source.place.startswith("not a quotation"):
            assumed.append(result)
        else:
            papers.setdefault(result.theorem.source.citation, []).append(result)
    if assumed:
        papers["Not printed, but easily assumed"] = assumed
    lines = [_OPENING]
    for citation, results in papers.items():
        lines += [f"## {citation}", ""]
        for result in results:
            lines += [*_entry(result, by_key), ""]
    lines += [_UNCHECKED]
    for item in UNCHECKED:
        lines += [f"- **{item.source}**: {item.statement} {item.reason}"]
        if item.instead:
            lines += [f"  Instead: {', '.join(f'`{key}`' for key in item.instead)}." + f" {item.remark}".rstrip()]
    return re.sub(r"<(?=[A-Za-z/!?])", r"\<", "\n".join(lines)) + "\n"  # an inner product is no HTML


def _entry(result: Result, by_key: Mapping[str, Result]) -> Iterator[str]:
    theorem = result.theorem
    yield f"### `{theorem.key}`: {theorem.title}"
    yield ""
    unverified = "" if theorem.source.wording_verified else " (wording unverified)"
    yield f"*{theorem.source.place}*{unverified}"
    yield ""
    yield f"> {theorem.statement}"
    yield ""
    yield f"- Read as: {theorem.reading}." if theorem.reading else "- Read literally."
    for line in _witness(result):
        yield f"- {line}"
    yield f"- {_instead(theorem, by_key)}"
    for remark in theorem.remarks:
        yield f"- {remark}"


def _witness(result: Result) -> Iterator[str]:
    """Two lines: the instance, and what it shows."""
    refuting = [
        (e, v) for e, v in zip(result.theorem.experiments, result.verdicts, strict=True) if v.status is Status.REFUTED
    ]
    exact = [pair for pair in refuting if pair[1].grade != "statistical"]
    experiment, verdict = (exact or refuting)[0]
    yield f"Witness: {_instance(experiment, verdict)}."
    yield f"There: {verdict.note or 'the two sides differ'} [{verdict.grade}]."


def _instance(experiment: Any, verdict: Verdict) -> str:
    witness = dict(verdict.witness or {})
    if isinstance(experiment, Falsify | Count):
        witness.pop("formula", None)
    text = ", ".join(f"{name} = {_short(value)}" for name, value in witness.items())
    return text if len(text) <= _WIDEST else textwrap.shorten(text, _WIDEST, placeholder=" ...")


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_short, value)) + "]"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.6g}"
    return str(value)


def _instead(theorem: Theorem, by_key: Mapping[str, Result]) -> str:
    if theorem.repaired_by is not None:
        repair = by_key.get(theorem.repaired_by)
        status = f" ({repair.verdict.status})" if repair is not None else ""
        statement = f": {repair.theorem.statement}" if repair is not None else "."
        return f"True instead, `{theorem.repaired_by}`{status}{statement}"
    if theorem.alternative_readings:
        return f"Other readings: {' '.join(theorem.alternative_readings)}"
    return "No repair of this form is known to us."
