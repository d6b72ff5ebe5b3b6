"""A statement of the literature, or of ours, as one object.

It holds source, reading, assumptions, experiments, mutant and, where it is refuted, a witness in
words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from proofs_check.statements.experiment import Assumption, Experiment, Falsify
from proofs_check.statements.verdict import Covers, Status

__all__ = ["KINDS", "Assumption", "ByHand", "Kind", "Source", "Theorem"]

Fidelity = Literal["verbatim", "constants made explicit", "corrected", "ours"]
_FIDELITIES = ("verbatim", "constants made explicit", "corrected", "ours")
Kind = Literal["printed", "code", "implied", "sharpness"]
"""What sort of statement is refuted. Only the first two are errata.

* *printed*: the paper says it in these words, and we read them;
* *code*: the published code does it, and we read the code;
* *implied*: a reader may well take it from the source, which does not say it;
* *sharpness*: nobody claims it; it shows that a true bound cannot be better by much.
"""
KINDS: tuple[Kind, ...] = ("printed", "code", "implied", "sharpness")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a statement comes from.

    Parameters
    ----------
    citation : str
        Authors, title, venue and year (or an arXiv number); "proved here" for ours.
    place : str
        Theorem, equation, section or page.
    fidelity : str
        ``verbatim``, ``constants made explicit``, ``corrected`` or ``ours``.
    wording_verified : bool
        Whether the wording was read in the paper's own text. Only then can the fidelity be
        ``verbatim``.
    """

    citation: str
    place: str
    fidelity: Fidelity
    wording_verified: bool = False

    def __post_init__(self) -> None:
        if not self.citation or not self.place:
            msg = f"citation(={self.citation!r}) and place(={self.place!r}) must both be given"
            raise ValueError(msg)
        if self.fidelity not in _FIDELITIES:
            msg = f"fidelity(={self.fidelity!r}) is none of {_FIDELITIES}"
            raise ValueError(msg)
        if self.fidelity == "verbatim" and not self.wording_verified:
            msg = (
                "fidelity(='verbatim') needs wording_verified=True: nobody can vouch for words not "
                "read"
            )
            raise ValueError(msg)

    def __str__(self) -> str:
        unverified = (
            "" if self.wording_verified or self.fidelity == "ours" else ", wording unverified"
        )
        return f"{self.citation}, {self.place} ({self.fidelity}{unverified})"


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """A witness in words, two lines that a reader can follow with pencil and paper.

    No verdict rests on these lines; the tests compute every number in them anew.

    Parameters
    ----------
    instance : str
        The input, small enough to be written down.
    shows : str
        The two sides there.
    instead : str
        What is true instead, where no `repaired_by` says it in full.
    """

    instance: str
    shows: str
    instead: str = ""

    def __post_init__(self) -> None:
        if not self.instance or not self.shows:
            msg = (
                f"instance(={self.instance!r}) and shows(={self.shows!r}) must both be given: a "
                "witness in words names the input and what happens there"
            )
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Theorem:
    """One statement, fixed in one reading, with the experiments that decide it.

    Parameters
    ----------
    key : str
        ``paper.name`` in lower case, for example ``linformer.theorem-1``.
    title : str
        A few words for tables.
    statement : str
        The statement in the project's notation.
    source : Source
        Where it comes from.
    reading : str
        Quantifiers, norm, constants and domain, where the source leaves them open.
    alternative_readings : tuple of str
        Readings not tested here, and what is known of them.
    assumptions : tuple of Assumption
        The hypotheses.
    experiments : tuple of Experiment
        What is carried out.
    expected : Status
        The verdict the catalogue vouches for; any other one is a failure of the run.
    mutant : Experiment
        A deliberately false variant that the same checker must refute. Its `covers` says nothing.
    uses : tuple of str
        Keys of theorems this one rests on.
    repaired_by : str or None
        Key of the true theorem that replaces a refuted one.
    repaired : Falsify or None
        For a statement that a search refutes, the same search of the true statement in its place:
        instances, examples and assumptions are the same, and it must not be refuted.
    kind : {"printed", "code", "implied", "sharpness"} or None
        For a refuted statement, what sort it is: see `Kind`.
    by_hand : ByHand or None
        For a refuted statement, a witness in words.
    defence : str
        For a refuted statement, the strongest defence of the source's text that we know, and why
        it does not help.
    bookkeeping : bool
        Whether the statement is true of anything: arithmetic of a paper's constants, or an
        identity that tests no idea of its source. Such statements are counted apart.
    remarks : tuple of str
        Every departure from the source.
    """

    key: str
    title: str
    statement: str
    source: Source
    reading: str = ""
    alternative_readings: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    experiments: tuple[Experiment, ...]
    expected: Status
    mutant: Experiment
    uses: tuple[str, ...] = ()
    repaired_by: str | None = None
    repaired: Falsify | None = None
    kind: Kind | None = None
    by_hand: ByHand | None = None
    defence: str = ""
    bookkeeping: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def covers(self) -> tuple[Covers, ...]:
        """What each experiment is about, for `proofs_check.statements.verdict.combine`."""
        return tuple(experiment.covers for experiment in self.experiments)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*\.[a-z0-9][a-z0-9-]*", self.key):
            msg = (
                f"key(={self.key!r}) must read paper.name in lower case letters, digits and hyphens"
            )
            raise ValueError(msg)
        object.__setattr__(self, "expected", Status(self.expected))
        for problem in (
            self._incomplete(),
            self._not_of_its_verdict(),
            self._wrong_kind(),
            self._wrong_repair(),
            self._wrong_search(),
        ):
            if problem:
                msg = f"theorem {self.key}: {problem}"
                raise ValueError(msg)

    def _incomplete(self) -> str:
        if self.title and self.statement and self.experiments:
            return ""
        return "title, statement and experiments must not be empty"

    def _not_of_its_verdict(self) -> str:
        refuted = self.expected is Status.REFUTED
        for name in ("repaired_by", "repaired", "kind", "by_hand", "defence"):
            value = getattr(self, name)
            if value and not refuted:
                return (
                    f"{name}(={value!r}) makes sense only for a statement that is expected to be "
                    f"refuted: leave it out, or say expected={Status.REFUTED!r}"
                )
        if self.bookkeeping and refuted:
            return "bookkeeping(=True) is for true statements: leave it out of a refuted one"
        if self.expected is Status.ARGUED and "step" not in self.covers:
            return "expected('argued') needs an experiment with covers='step': none has it"
        return ""

    def _wrong_kind(self) -> str:
        if self.kind is None:
            return ""
        if self.kind not in KINDS:
            return f"kind(={self.kind!r}) is none of {KINDS}"
        if self.kind in ("printed", "code") and not self.source.wording_verified:
            return (
                f"kind(={self.kind!r}) needs wording_verified=True: read the source's own text or "
                "code, or say 'implied'"
            )
        return ""

    def _wrong_repair(self) -> str:
        if self.repaired is None:
            return ""
        if any(_same_search(self.repaired, experiment) for experiment in self.experiments):
            return ""
        return (
            "repaired is no search over the same instances as one of the experiments: change only "
            "measured, bound, confirm and scope"
        )

    def _wrong_search(self) -> str:
        assumed = {a for e in self.experiments if isinstance(e, Falsify) for a in e.assumptions}
        if assumed <= set(self.assumptions):
            return ""
        return "a Falsify experiment assumes what the theorem does not; list it in assumptions"


def _same_search(one: Experiment, other: Experiment) -> bool:
    """Whether two searches go over the same instances, by the same way, as long."""
    fields = ("instances", "assumptions", "examples", "eliminate", "continuous", "tries")
    both = isinstance(one, Falsify) and isinstance(other, Falsify)
    # examples hold arrays, for which == is no yes or no
    return both and all(
        getattr(one, f) is getattr(other, f)
        or (f != "examples" and getattr(one, f) == getattr(other, f))
        for f in fields
    )
