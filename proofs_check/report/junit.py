"""The report in the form that continuous integration reads: one test case a theorem."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from proofs_check.catalogue import is_control
from proofs_check.running.campaign import Outcome, Result
from proofs_check.statements.verdict import Status, Verdict

__all__ = ["junit"]

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold."""


def junit(outcome: Outcome) -> str:
    """JUnit's XML: a failure is a verdict that is not the expected one; an error is a control that
    came out wrong, or a contradiction; what waits is skipped.
    """
    cases = [_case(result) for result in outcome.results]
    for contradiction in outcome.contradictions:
        case = ET.Element(
            "testcase",
            classname="contradictions",
            name=_text(contradiction.partition(":")[0]),
            time="0",
        )
        ET.SubElement(case, "error", message=_text(contradiction), type="contradiction")
        cases.append(case)
    suite = ET.Element(
        "testsuite",
        name="proofs_check",
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        time=f"{sum(result.verdict.seconds for result in outcome.results):.3f}",
    )
    suite.extend(cases)
    ET.indent(suite)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"
    )


def _case(result: Result) -> ET.Element:
    theorem, verdict = result.theorem, result.verdict
    paper, name = theorem.key.split(".")
    case = ET.Element("testcase", classname=paper, name=name, time=f"{verdict.seconds:.3f}")
    if result.waiting:
        ET.SubElement(case, "skipped", message=f"{result.waiting} experiments not carried out yet")
    elif not result.as_expected:
        kind = "error" if is_control(theorem.key) else "failure"
        message = f"{verdict.status} instead of {theorem.expected}"
        ET.SubElement(case, kind, message=message, type=str(verdict.status)).text = _text(
            verdict.note or verdict.scope
        )
    lines = [
        f"{verdict.status} {verdict.grade}".strip(),
        f"{_scope_of(verdict)}: {verdict.scope}" if verdict.scope else "",
        verdict.note,
    ]
    ET.SubElement(case, "system-out").text = _text("\n".join(filter(None, lines)))
    return case


def _scope_of(verdict: Verdict) -> str:
    return "steps decided" if verdict.status is Status.ARGUED else "scope"


def _text(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
