"""A statement that no finite computation can check, with the reason and what stands in for it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ASYMPTOTIC", "SETH", "Unchecked"]

ASYMPTOTIC = "is asymptotic: no finite n can refute or support it"
SETH = "rests on the Strong Exponential Time Hypothesis, and on all algorithms"
"""Two reasons that recur, as the end of a sentence."""


@dataclass(frozen=True, kw_only=True)
class Unchecked:
    """One statement left out of the catalogue on purpose.

    Parameters
    ----------
    statement : str
        What is claimed.
    source : str
        Where.
    reason : str
        Why it cannot be checked, a whole sentence or more.
    instead : tuple of str
        Keys of the theorems that say something finite in its place; may be empty.
    remark : str
        What those say of it.
    """

    statement: str
    source: str
    reason: str
    instead: tuple[str, ...] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        if not (self.statement and self.source and self.reason.endswith(".")):
            msg = (
                f"statement(={self.statement!r}), source(={self.source!r}) and "
                f"reason(={self.reason!r}) must all be given, the reason as a sentence with its "
                "full stop"
            )
            raise ValueError(msg)
