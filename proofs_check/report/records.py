"""What the page says, as plain records of text: all wording and rounding happens here, none in the
template.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proofs_check import catalogue
from proofs_check.report import mathml
from proofs_check.report.headings import GROUPS
from proofs_check.running.campaign import Result
from proofs_check.running.replay import source
from proofs_check.statements.experiment import Experiment
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status, Verdict

_WITNESS_LENGTH = 2000


@dataclass(frozen=True, kw_only=True)
class Part:
    """One experiment of a statement."""

    kind: str
    covers: str
    status: str
    grade: str
    scope: str
    tightness: str
    seconds: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the verdict table, with what unfolds below it."""

    key: str
    title: str
    counts: bool
    kind: str
    statement: str
    typeset: str
    citation: str
    place: str
    fidelity: str
    status: str
    expected: str
    as_expected: bool
    waiting: int
    grade: str
    scope: str
    tightness: str
    seconds: str
    note: str
    lists: tuple[tuple[str, tuple[str, ...]], ...]
    links: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    parts: tuple[Part, ...]
    witness: str
    replay: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """The lines of one paper."""

    name: str
    heading: str
    rows: tuple[Row, ...]


def groups(results: Sequence[Result]) -> list[Group]:
    """All lines, by paper."""
    run = _Run.of(results)
    names = list(dict.fromkeys([*GROUPS, *(_paper(r.theorem.key) for r in results)]))
    order = [name for name in names if name not in ("ours", "code", "controls")] + [
        "ours",
        "code",
        "controls",
    ]
    filled = []
    for name in order:
        rows = tuple(_row(r, run) for r in results if _paper(r.theorem.key) == name)
        if rows:
            heading = GROUPS.get(name, rows[0].citation)
            filled.append(Group(name=name, heading=heading, rows=rows))
    return filled


def _paper(key: str) -> str:
    return key.split(".")[0]


def _row(result: Result, run: _Run) -> Row:
    theorem, verdict = result.theorem, result.verdict
    return Row(
        key=theorem.key,
        title=theorem.title,
        counts=catalogue.is_statement(theorem),
        kind=theorem.kind or ("bookkeeping" if theorem.bookkeeping else ""),
        statement=theorem.statement,
        typeset=mathml.html(theorem.statement),
        citation=theorem.source.citation,
        place=theorem.source.place,
        fidelity=_fidelity(theorem),
        status=str(verdict.status),
        expected=str(theorem.expected),
        as_expected=result.as_expected,
        waiting=result.waiting,
        grade=verdict.grade,
        scope=verdict.scope or "; ".join(dict.fromkeys(e.scope for e in theorem.experiments)),
        tightness=number(verdict.tightness),
        seconds=f"{verdict.seconds:.1f}",
        note=verdict.note,
        lists=_lists(theorem),
        links=_links(theorem, run),
        parts=tuple(_part(e, v) for e, v in zip(theorem.experiments, result.verdicts, strict=True)),
        witness=_witness(result),
        replay=_replay(result),
    )


def _fidelity(theorem: Theorem) -> str:
    unread = theorem.source.fidelity not in ("ours",) and not theorem.source.wording_verified
    return theorem.source.fidelity + (", wording unverified" if unread else "")


def _lists(theorem: Theorem) -> tuple[tuple[str, tuple[str, ...]], ...]:
    named = (
        ("Reading", (theorem.reading,) if theorem.reading else ()),
        ("Other readings", theorem.alternative_readings),
        ("Assumptions", tuple(a.text for a in theorem.assumptions)),
        ("In its defence", (theorem.defence,) if theorem.defence else ()),
        ("Remarks", theorem.remarks),
    )
    return tuple((name, tuple(map(mathml.html, lines))) for name, lines in named if lines)


def _links(theorem: Theorem, run: _Run) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Other statements, each with its verdict in this run; "not in this run" where it was
    left out.
    """
    named = (
        ("Rests on", theorem.uses),
        ("What rests on it", run.users.get(theorem.key, ())),
        ("Repaired by", (theorem.repaired_by,) if theorem.repaired_by else ()),
        ("Repairs", run.repaired.get(theorem.key, ())),
    )
    return tuple(
        (name, tuple((key, run.status.get(key, "not in this run")) for key in keys))
        for name, keys in named
        if keys
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Verdicts by key, and the links read backwards."""

    status: dict[str, str]
    users: dict[str, tuple[str, ...]]
    repaired: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, results: Sequence[Result]) -> _Run:
        users: dict[str, tuple[str, ...]] = {}
        repaired: dict[str, tuple[str, ...]] = {}
        for theorem in (r.theorem for r in results):
            for key in theorem.uses:
                users[key] = (*users.get(key, ()), theorem.key)
            if theorem.repaired_by:
                repaired[theorem.repaired_by] = (
                    *repaired.get(theorem.repaired_by, ()),
                    theorem.key,
                )
        return cls(
            status={r.theorem.key: str(r.verdict.status) for r in results},
            users=users,
            repaired=repaired,
        )


def _part(experiment: Experiment, verdict: Verdict) -> Part:
    return Part(
        kind=type(experiment).__name__,
        covers=experiment.covers,
        status=str(verdict.status),
        grade=verdict.grade,
        scope=verdict.scope or experiment.scope,
        tightness=number(verdict.tightness),
        seconds=f"{verdict.seconds:.1f}",
        note=verdict.note,
    )


def _witness(result: Result) -> str:
    """Python source that checks the refutation again."""
    for unit, verdict in zip(result.units, result.verdicts, strict=True):
        if verdict.status is Status.REFUTED:
            text = source(result.theorem, unit, verdict)
            return (
                text
                if len(text) <= _WITNESS_LENGTH
                else text[:_WITNESS_LENGTH] + "\n# ... cut here; replay prints all of it"
            )
    return ""


def _replay(result: Result) -> str:
    options = "".join(f" --seed {u.seed} --budget {u.budget}" for u in result.units[:1])
    return f"python -m proofs_check replay {result.theorem.key}{options}"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The counts on top of the page; controls and bookkeeping are counted apart."""

    statements: int
    counts: tuple[tuple[str, int], ...]
    controls: int
    bookkeeping: int
    missing: int
    wrong_controls: tuple[str, ...]
    unexpected: tuple[Row, ...]


def summary(all_groups: Iterable[Group]) -> Summary:
    """Count verdicts, and collect what did not come out as expected; what has not been carried out
    yet is not amiss.
    """
    rows = [row for group in all_groups for row in group.rows]
    controls = [row for row in rows if catalogue.is_control(row.key)]
    claims = [row for row in rows if row.counts]
    unexpected = tuple(row for row in rows if not row.as_expected and not row.waiting)
    return Summary(
        statements=len(claims),
        counts=tuple((str(s), sum(row.status == s for row in claims)) for s in Status),
        controls=len(controls),
        bookkeeping=len(rows) - len(controls) - len(claims),
        missing=sum(row.waiting > 0 for row in rows),
        wrong_controls=tuple(row.key for row in unexpected if catalogue.is_control(row.key)),
        unexpected=unexpected,
    )


def number(x: float | None, *, near_one: str = "") -> str:
    """Three digits, in the typography of a table; nothing for None.

    Rounding must not say that a bound is attained, or not exceeded, when it is not: what three
    digits would round to 1 is written as 1 minus or plus its distance, or as `near_one` where that
    does not matter.
    """
    if x is None:
        return ""
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    if x == round(x) and abs(x) < 1000:
        return str(round(x)).replace("-", "−")
    text = f"{x:#.3g}".rstrip(".")
    if float(text) == 1:
        return near_one or f"1 {'+' if x > 1 else '−'} {_power(f'{abs(x - 1):.0e}')}"
    return _power(text)


def _power(text: str) -> str:
    """Replace the e of a float's text by a power of ten."""
    if "e" not in text:
        return text.replace("-", "−")
    mantissa, exponent = text.split("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}".replace("-", "−")


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
