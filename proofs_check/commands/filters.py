"""Which theorems a command lists: by verdict, by paper, by kind."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from proofs_check.catalogue import sort_of
from proofs_check.statements.theorem import Theorem


def filtered(
    every: Mapping[str, Theorem], *, status: Container[str], paper: Iterable[str], kind: str
) -> dict[str, Theorem]:
    """Return the theorems of which a verdict among `status` is expected, whose key begins with a
    word of `paper` or whose citation has it, and which are of a kind; empty: any.
    """
    words = [word.lower() for word in paper]

    def taken(theorem: Theorem) -> bool:
        source = theorem.source.citation.lower()
        of_paper = any(theorem.key.startswith(w) or w in source for w in words)
        return (
            (not status or str(theorem.expected) in status)
            and (not words or of_paper)
            and (not kind or sort_of(theorem) == kind)
        )

    return {key: theorem for key, theorem in every.items() if taken(theorem)}
