"""The method of each head: the fastest that passes (`approxattn.planning.evidence`), and how plans
carry over to a text that they have not seen.

Carried over (*proved here*). Of m texts each is left out once; a plan is made on the others and
judged on it. Suppose that the m texts and a new one are exchangeable: no order of them is more
likely than another. Then (m - 1 others, the one left out) is distributed as (m - 1 of the texts,
the new one). So the mean share of heads above eps has the expectation of the same share for a plan
from m - 1 texts on a new one: it is unbiased. It is measured, not bounded, and it is not about the
plan from all m texts, which may do better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from approxattn.planning.blocks import Drawn, Errors
from approxattn.planning.candidates import Candidate
from approxattn.planning.evidence import allowed, level, most_above
from approxattn.planning.record import HeadPlan

NONE_PASSED, NO_TIME = "no candidate passed", "the time was up"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a method must do to be taken.

    Attributes
    ----------
    error : float
        Relative error eps of a block, and of all blocks drawn together.
    confidence : float
        1 - delta.
    share : float
        Share phi of the blocks that may be above eps.
    """

    error: float
    confidence: float
    share: float

    def chosen(self, drawn: Drawn, found: Errors) -> bool:
        """Return whether the blocks that choose speak for it."""
        count = drawn.choosing
        above = self.above(found, slice(count))
        return above <= allowed(count, self.share) and found.relative(slice(count)) <= self.error

    def above(self, found: Errors, blocks: slice) -> int:
        """Return how many of these blocks are above eps."""
        return int((found.blocks[blocks] > self.error).sum())

    def most(self, drawn: Drawn, found: Errors, place: int) -> int:
        """Return how many of all blocks are above eps at most, by step 2, as the candidate that is
        tested at this place.
        """
        count, total = drawn.choosing, len(drawn.numbers)
        before, after = self.above(found, slice(count)), self.above(found, slice(count, None))
        if total == count:
            return before
        chance = level(place, self.confidence)
        return before + most_above(drawn.population - count, total - count, after, chance)

    def decides(self, drawn: Drawn, found: Errors, place: int) -> bool:
        """Return whether it passes on this text."""
        within = self.most(drawn, found, place) <= allowed(drawn.population, self.share)
        return within and found.relative() <= self.error


def choose(
    texts: Sequence[Drawn],
    candidates: Sequence[Candidate],
    rule: Rule,
    in_time: Callable[[], bool],
) -> HeadPlan:
    """Return the fastest candidate that passes on all texts; exact attention where none does."""
    place = 0
    for number, candidate in enumerate(candidates):
        found = []
        for drawn in texts:
            if not in_time():
                return HeadPlan.exact(NO_TIME)
            found.append(drawn.errors(candidate.name, candidate.method))
            if not rule.chosen(drawn, found[-1]):
                break
        else:
            place += 1
            pairs = list(zip(texts, found, strict=True))
            if all(rule.decides(drawn, errors, place) for drawn, errors in pairs):
                return _taken(number, candidate, pairs, rule, place)
    return HeadPlan.exact(NONE_PASSED)


def _taken(
    number: int,
    candidate: Candidate,
    pairs: Sequence[tuple[Drawn, Errors]],
    rule: Rule,
    place: int,
) -> HeadPlan:
    shares = [rule.most(d, e, place) / max(1, d.population) for d, e in pairs]
    return HeadPlan(
        method=candidate.method,
        candidate=number,
        errors=tuple(e.relative() for _, e in pairs),
        largest=max((float(e.blocks.max(initial=0.0)) for _, e in pairs), default=0.0),
        exceeding=max(shares, default=0.0),
        tested=place,
    )


def carried_over(
    texts: Sequence[Drawn],
    candidates: Sequence[Candidate],
    rule: Rule,
    in_time: Callable[[], bool],
) -> list[float]:
    """Return the errors of a head on each text, planned on the others; empty where the time is up.

    The errors are those over the blocks drawn; 0 where the head stays exact.
    """
    found = []
    for left in range(len(texts)):
        others = [drawn for i, drawn in enumerate(texts) if i != left]
        plan = choose(others, candidates, rule, in_time)
        if plan.reason == NO_TIME or not in_time():
            return []
        if plan.candidate is None:
            found.append(0.0)
            continue
        taken = candidates[plan.candidate]
        found.append(texts[left].errors(taken.name, taken.method).relative())
    return [x if not math.isnan(x) else math.inf for x in found]
