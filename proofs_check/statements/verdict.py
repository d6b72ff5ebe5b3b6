"""What an experiment concluded, and how the conclusions about one theorem are put together.

Five words, and no more is ever said than was shown:

* *proved*: holds on the whole of the stated scope, by a method that cannot be wrong about it (the
  grade says which);
* *argued*: proved on paper, here or in the source, with the named steps decided by machine; never
  said of one experiment, only of a theorem;
* *refuted*: false, with a witness that exact or ball arithmetic confirms, or at a stated
  statistical level;
* *supported*: a plan fixed beforehand came out in favour, at its stated level; never "for all";
* *inconclusive*: everything else, among it every crash, time-out and loss of precision.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from proofs_check.statements import serial

__all__ = ["Contradiction", "Covers", "Status", "Verdict", "combine", "inconclusive"]

Covers: TypeAlias = Literal["statement", "step"]
"""What a verdict is about: the statement, on the scope it names, or a step towards it."""

_PIT = re.compile(r"pit\(2\^-[0-9]+\)")
_GRADES = {
    "proved": {"symbolic", "exact-rational", "ball", "counted"},  # and pit(2^-k)
    "argued": {"symbolic", "exact-rational", "ball", "counted"},  # and pit(2^-k)
    # and pit(2^-k)
    "refuted": {"symbolic", "exact-rational", "ball", "counted", "statistical", "timed"},
    "supported": {"statistical", "timed"},
    "inconclusive": {""},
}


class Status(StrEnum):
    """The five verdicts."""

    PROVED = "proved"
    """Decided by exact algebra or ball arithmetic on the whole of the stated scope."""
    ARGUED = "argued"
    """Proved on paper; the named steps are decided by machine. Of a theorem only."""
    REFUTED = "refuted"
    """False: a confirmed witness, or a stated statistical level."""
    SUPPORTED = "supported"
    """A plan fixed beforehand came out in favour; never a proof."""
    INCONCLUSIVE = "inconclusive"
    """Everything else."""


class Contradiction(Exception):
    """One experiment proved what another refuted: the checker itself is at fault, and the run
    fails.
    """


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The conclusion of one experiment, or of all experiments on one theorem.

    Parameters
    ----------
    status : Status
        One of the five verdicts; *argued* only of all experiments together.
    grade : str
        How it was shown: ``symbolic``, ``exact-rational``, ``ball``, ``counted`` or ``pit(2^-k)``
        (a proof by identity testing, wrong with probability at most 2^-k); ``statistical`` and
        ``timed`` never prove. Of what is argued, how its steps were shown.
    scope : str
        What it was shown for, for example "n = 6, d = 3". Mandatory unless inconclusive.
    tightness : float or None
        The largest measured / bound seen; 1 means that the bound is attained.
    witness : mapping or None
        An instance on which the statement fails, in the types of `proofs_check.statements.serial`.
        Mandatory when refuted.
    facts : mapping
        Figures worth keeping (numbers tried, intervals, p-values), in the types of
        `proofs_check.statements.serial`.
    seconds : float
        Wall time spent.
    note : str
        One sentence for the reader. Mandatory when inconclusive: it says why.

    Raises
    ------
    ValueError
        When the verdict claims more than it carries, for example "proved" without a scope.
    """

    status: Status
    grade: str = ""
    scope: str = ""
    tightness: float | None = None
    witness: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))
        by_identity_testing = _PIT.fullmatch(self.grade) and self.status in (
            Status.PROVED,
            Status.ARGUED,
            Status.REFUTED,
        )
        if self.grade not in _GRADES[self.status] and not by_identity_testing:
            msg = (
                f"grade(={self.grade!r}) cannot carry {self.status}: it must be one of "
                f"{sorted(_GRADES[self.status])}"
            )
            raise ValueError(msg)
        if self.status is not Status.INCONCLUSIVE and not self.scope:
            msg = f"scope(='') is empty: a verdict {self.status} must say what it was shown for"
            raise ValueError(msg)
        if self.status is Status.REFUTED and not self.witness:
            msg = "witness(=None) is missing: a refutation must carry what refutes the statement"
            raise ValueError(msg)
        if self.status is Status.INCONCLUSIVE and not self.note:
            msg = "note(='') is empty: an inconclusive verdict must say why"
            raise ValueError(msg)
        if self.tightness is not None and math.isnan(self.tightness):
            msg = "tightness(=nan) is not a ratio: pass None when none was measured"
            raise ValueError(msg)

    def to_json(self) -> str:
        """Canonical text of the verdict, exact to the last bit."""
        return serial.dumps(
            {f.name: getattr(self, f.name) for f in fields(self)} | {"status": str(self.status)}
        )

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Undo `to_json`."""
        return cls(**serial.loads(text))


def inconclusive(note: str, **details: Any) -> Verdict:
    """Shorthand for the verdict that says nothing but why."""
    return Verdict(status=Status.INCONCLUSIVE, note=note, **details)


def combine(verdicts: Sequence[Verdict], covers: Sequence[Covers]) -> Verdict:
    """Put the verdicts of a theorem's experiments together.

    Strength is an order, not a vote. A refutation of the statement outweighs all. A proof of it
    outweighs an argument, an argument outweighs support, and an experiment that finds nothing
    takes nothing away. An argument outweighs support since it speaks of the whole statement and
    its steps are exact; support speaks of what was sampled.

    Verdicts about steps never prove a statement and never refute it. With every step proved the
    theorem is argued. A refuted step refutes the derivation: the theorem is inconclusive, a proof
    by another experiment notwithstanding, until the entry is put right.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per experiment.
    covers : sequence of {"statement", "step"}
        What each of them is about.

    Raises
    ------
    Contradiction
        When one experiment proved the statement and another refuted it. A statement true in part
        is two statements.
    ValueError
        When there is no verdict, or not one word a verdict in `covers`.
    """
    if not verdicts:
        msg = "verdicts(=[]) is empty: a theorem needs at least one experiment"
        raise ValueError(msg)
    if len(covers) != len(verdicts):
        msg = f"covers(={tuple(covers)}) is not one word for each of {len(verdicts)} verdicts"
        raise ValueError(msg)
    pairs = list(zip(verdicts, covers, strict=True))
    whole = [v for v, about in pairs if about == "statement"]
    steps = [v for v, about in pairs if about == "step"]
    status, carrying, note = _decide(whole, steps)
    ratios = [v.tightness for v in whole if v.tightness is not None]
    return Verdict(
        status=status,
        grade=_weakest_grade(carrying) if status is not Status.INCONCLUSIVE else "",
        scope="; ".join(dict.fromkeys(v.scope for v in carrying if v.scope)),
        tightness=max(ratios) if ratios else None,
        witness=next((v.witness for v in carrying if v.witness), None),
        facts={str(i): dict(v.facts) for i, v in enumerate(verdicts)},
        seconds=math.fsum(v.seconds for v in verdicts),
        note=note or "; ".join(dict.fromkeys(v.note for v in carrying if v.note)),
    )


def _decide(
    whole: Sequence[Verdict], steps: Sequence[Verdict]
) -> tuple[Status, Sequence[Verdict], str]:
    """The status, the verdicts that carry it, and a note of its own where one is due."""
    found = {v.status for v in whole}
    if {Status.PROVED, Status.REFUTED} <= found:
        scopes = "; ".join(f"{v.status} ({v.grade}) for {v.scope}" for v in whole if v.scope)
        msg = f"proved and refuted at once: {scopes}"
        raise Contradiction(msg)
    false = [v for v in steps if v.status is Status.REFUTED]
    if Status.REFUTED not in found and false:
        note = f"a step of the derivation is refuted: {'; '.join(v.scope for v in false)}"
        return Status.INCONCLUSIVE, [], note
    argued = bool(steps) and all(v.status is Status.PROVED for v in steps)
    for status in (Status.REFUTED, Status.PROVED, Status.SUPPORTED):
        if status is Status.SUPPORTED and argued:
            break
        if status in found:
            return status, [v for v in whole if v.status is status], ""
    if argued:
        supported = [v.scope for v in whole if v.status is Status.SUPPORTED]
        note = f"supported besides, for {'; '.join(supported)}" if supported else ""
        return Status.ARGUED, steps, note
    undecided = [*whole, *(v for v in steps if v.status is not Status.PROVED)]
    note = "" if any(v.note for v in undecided) else "no step of the derivation is proved"
    return Status.INCONCLUSIVE, undecided, note


def _weakest_grade(carrying: Sequence[Verdict]) -> str:
    """Grade of a conjunction of proofs is that of its weakest part; of refutations, that of the
    strongest.
    """
    strength = ["exact-rational", "counted", "symbolic", "ball", "pit", "statistical", "timed", ""]

    def rank(verdict: Verdict) -> int:
        return strength.index("pit" if verdict.grade.startswith("pit") else verdict.grade)

    pick = min if carrying[0].status is Status.REFUTED else max
    return pick(carrying, key=rank).grade
