"""What the catalogue does with one numbered statement of a paper: a line of a coverage table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proofs_check.statements.rules import require

__all__ = ["ABSENCES", "Absence", "Place"]

Absence = Literal["", "definition", "not checkable", "unread"]
ABSENCES: tuple[Absence, ...] = ("definition", "not checkable", "unread")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One theorem, lemma, equation or claim of a paper.

    Parameters
    ----------
    place : str
        Where it stands, for example "Lemma D.5".
    says : str
        What it says, in a few words.
    entries : tuple of str
        Keys of the theorems that check it.
    absence : {"", "definition", "not checkable", "unread"}
        Why no entry checks it; empty when one does.
    why : str
        The reason in words, for what is not checkable.
    """

    place: str
    says: str
    entries: tuple[str, ...] = ()
    absence: Absence = ""
    why: str = ""

    def __post_init__(self) -> None:
        rule = f"place(={self.place!r}) and says(={self.says!r}) must both be given"
        require(self.place and self.says, rule)
        rule = f"absence(={self.absence!r}) at {self.place!r} is none of {ABSENCES}"
        require(self.absence in ("", *ABSENCES), rule)
        rule = (
            f"place(={self.place!r}) has entries(={self.entries}) and absence(={self.absence!r}): "
            "give exactly one of them"
        )
        require(bool(self.entries) != bool(self.absence), rule)
        rule = f"why(='') is missing at {self.place!r}: say why it cannot be checked"
        require(self.absence != "not checkable" or self.why, rule)
