"""How near each mutant is, and what becomes of the repaired forms of what is refuted: one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from proofs_check import catalogue
from proofs_check.checkers import check
from proofs_check.checkers.nearness import nearness
from proofs_check.report.records import number
from proofs_check.report.wrapping import flowing, page_of, row
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

__all__ = ["Mutant", "lines", "markdown", "mutants"]

_OPENING = """\
# Mutants

Every statement has a mutant, a false variant that the same checker must refute; this page says how
near it is. *Exceeded* is measured / bound of the mutant at its witness. *Claims more by* is the
factor by which it claims more there than the statement does: near 1, the checker tells the two
apart on a small difference. Identities have no such factor. Nor have statements that are refuted
themselves; there the repaired statement goes through the same search and must not be refuted.

This page is written by `python -m proofs_check pages`.
"""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One line of the page. All fields are text.

    Parameters
    ----------
    key, expected
        The statement, and the verdict expected of it.
    what
        The mutant in words.
    verdict
        Of the mutant; refuted, or the catalogue is at fault.
    exceeded, factor
        How far it fails, and how many times more it claims than the statement.
    repaired
        What the same search says of the repaired statement; empty where there is none.
    """

    key: str
    expected: str
    what: str
    verdict: str
    exceeded: str
    factor: str
    repaired: str


def mutants(theorems: Mapping[str, Theorem]) -> Iterator[Mutant]:
    """Carry every mutant out, and every repaired search; a minute or more for all of them."""
    for theorem in theorems.values():
        found = nearness(theorem)
        yield Mutant(
            key=theorem.key,
            expected=str(theorem.expected),
            what=f"{type(theorem.mutant).__name__}: {theorem.mutant.scope}",
            verdict=str(found.verdict.status),
            exceeded=number(found.exceeded) or "–",
            factor=number(found.factor) or "–",
            repaired=_repaired(theorem),
        )


def _repaired(theorem: Theorem) -> str:
    if theorem.repaired is None:
        return ""
    verdict = check(theorem.repaired, rng_seed=1)
    if verdict.status is Status.REFUTED:
        return "refuted"
    tightness = number(verdict.tightness)
    return f"not refuted in {verdict.facts.get('tried', 0)} tries" + (
        f", nearest {tightness}" if tightness else ""
    )


def lines(found: list[Mutant]) -> Iterator[str]:
    """The tables as Markdown: true statements, then those that are refuted themselves."""
    true = [m for m in found if m.expected != Status.REFUTED]
    yield "| statement | mutant | exceeded | claims more by |"
    yield "|---|---|--:|--:|"
    for m in true:
        yield row((f"`{m.key}`", _named(m), m.exceeded, m.factor))
    yield ""
    yield "## Refuted statements"
    yield ""
    yield "| statement | mutant | repaired |"
    yield "|---|---|---|"
    for m in found:
        if m.expected == Status.REFUTED:
            yield row((f"`{m.key}`", _named(m), m.repaired or "–"))


def _named(mutant: Mutant) -> str:
    return mutant.what if mutant.verdict == Status.REFUTED else f"{mutant.what} ({mutant.verdict})"


def markdown(theorems: Mapping[str, Theorem] | None = None) -> str:
    """The page, controls left out."""
    every = catalogue.theorems() if theorems is None else theorems
    claims = {key: t for key, t in every.items() if not catalogue.is_control(key)}
    return page_of([flowing(_OPENING), *lines(list(mutants(claims)))])
