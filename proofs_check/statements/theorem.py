"""A statement of the literature, or of ours, as one object.

It holds source, reading, assumptions, experiments, mutant and, where it is refuted, a witness in
words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from proofs_check.statements.experiment import Assumption, Experiment, Falsify
from proofs_check.statements.verdict import Status

__all__ = ["Assumption", "ByHand", "Source", "Theorem"]

Fidelity = Literal["verbatim", "constants made explicit", "corrected", "ours"]
_FIDELITIES = ("verbatim", "constants made explicit", "corrected", "ours")


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
        A deliberately false variant that the same checker must refute.
    uses : tuple of str
        Keys of theorems this one rests on.
    repaired_by : str or None
        Key of the true theorem that replaces a refuted one.
    by_hand : ByHand or None
        For a refuted statement, a witness in words.
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
    by_hand: ByHand | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*\.[a-z0-9][a-z0-9-]*", self.key):
            msg = (
                f"key(={self.key!r}) must read paper.name in lower case letters, digits and hyphens"
            )
            raise ValueError(msg)
        if not (self.title and self.statement and self.experiments):
            msg = f"theorem {self.key}: title, statement and experiments must not be empty"
            raise ValueError(msg)
        object.__setattr__(self, "expected", Status(self.expected))
        for name in ("repaired_by", "by_hand"):
            value = getattr(self, name)
            if value is not None and self.expected is not Status.REFUTED:
                msg = (
                    f"theorem {self.key}: {name}(={value!r}) makes sense only for a statement that "
                    f"is expected to be refuted: leave it out, or say expected={Status.REFUTED!r}"
                )
                raise ValueError(msg)
        for experiment in self.experiments:
            if isinstance(experiment, Falsify) and not set(experiment.assumptions) <= set(
                self.assumptions
            ):
                msg = (
                    f"theorem {self.key}: a Falsify experiment assumes what the theorem does not; "
                    "list it in assumptions"
                )
                raise ValueError(msg)
