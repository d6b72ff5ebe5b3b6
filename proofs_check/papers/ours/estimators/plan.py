"""Our own statements about plans: which of several methods is taken, by rows that are sampled.

A text has N blocks of rows. Block B is *above* for a method if its error there exceeds eps of the
norm of the block. The method is *bad* if on some text more than K blocks are above. First a blocks
are drawn, of which A_i are above for method i; they, and whatever else, fix the order of the
methods i = 1, 2, ... . Then s of the other M = N - a blocks are drawn, of which C_i are above.

    delta_i      delta / (i (i + 1))
    b(c, p)      the largest number m of marked ones among M with Pr[H(m) <= c] > p, H(m) being how
                 many of the m are among s drawn without repetition

Method i passes if A_i + b(C_i, delta_i) <= K on every text. The first one that passes is taken, or
exact attention.

1. Let m of the M blocks be above for a bad method, on a text with A_i + m > K. If it passes, then
   b(C_i, delta_i) < m, so Pr[H(m) <= C_i] <= delta_i, C_i being the outcome.
2. The distribution function of H at its own outcome is at most p with probability p at most. So a
   bad method passes with probability delta_i at most, whatever the first blocks were. Other texts
   can only hinder it.
3. Some bad method passes with probability at most sum_i delta / (i (i + 1)) <= delta, since
   1 / (i (i + 1)) = 1/i - 1/(i + 1). Only then can one be taken.
4. The order must not depend on the blocks that decide: step 2 is about a method with its place
   given beforehand.

`approxattn.planning.evidence` proves the same beside the code; nothing of it is used here.

Texts, m + 1 of them, are exchangeable if no order of them is likelier than another. Let L(T, t) be
the share of heads that are above on the text t when the plan was made from the set T.

5. The mean over the m given texts t of L(given texts but t, t), and L(m - 1 of the given texts, new
   text), have the same expectation: over all orders, each is the mean of L over all (T, t).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from math import comb
from typing import Any, Literal, NamedTuple

from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

__all__ = ["Rule", "Text", "most_above", "taken_bad"]

_HERE = here(__name__)

Rule = Literal["as stated", "one level", "chosen by the same blocks", "point estimate"]
"""How methods pass: as stated, or one of three ways that go wrong."""


class Text(NamedTuple):
    """M blocks that are not drawn first, s draws, and how many may be above in all."""

    blocks: int
    draws: int
    most: int


_TEXTS = (Text(5, 3, 2), Text(6, 3, 2), Text(6, 4, 1))


def _tail(text: Text, marked: int, found: int) -> Fraction:
    """Pr[H(marked) <= found]."""
    ways = sum(
        comb(marked, h) * comb(text.blocks - marked, text.draws - h) for h in range(found + 1)
    )
    return Fraction(ways, comb(text.blocks, text.draws))


def _levels(text: Text) -> list[Fraction]:
    """1/20, and levels δ whose half or sixth, δ/2 and δ/6, a bad method just attains."""
    tails = {_tail(text, text.most + 1, found) for found in range(text.draws)}
    attained = {i * (i + 1) * tail for i in (1, 2) for tail in tails}
    return sorted({Fraction(1, 20), *(x for x in attained if 0 < x < 1)})


@functools.cache
def most_above(text: Text, found: int, level: Fraction) -> int:
    """b(found, level)."""
    return max(m for m in range(text.blocks + 1) if _tail(text, m, found) > level)


def _passes(text: Text, found: int, level: Fraction, rule: Rule) -> bool:
    """Whether a method passes with so many deciding blocks above; `text.most` is K - A_i."""
    if rule == "point estimate":
        return Fraction(found * text.blocks, text.draws) <= text.most
    return most_above(text, found, level) <= text.most


def taken_bad(
    text: Text, methods: Sequence[frozenset[int]], delta: Fraction, rule: Rule
) -> Fraction:
    """Probability that a bad method is taken; a method is the set of blocks that it is above on."""
    draws = list(itertools.combinations(range(text.blocks), text.draws))
    bad = 0
    for drawn in draws:
        order = [len(above.intersection(drawn)) for above in methods]
        places = list(range(len(methods)))
        if rule == "chosen by the same blocks":
            places = sorted(places, key=lambda i: order[i])[:1]
        for place, i in enumerate(places, start=1):
            level = delta if rule == "one level" else delta / (place * (place + 1))
            if _passes(text, order[i], level, rule):
                bad += len(methods[i]) > text.most
                break
    return Fraction(bad, len(draws))


def _families(text: Text, count: int) -> Iterator[tuple[frozenset[int], ...]]:
    """Bad methods, each above on one block more than it may be, and one good method among them."""
    worst = [frozenset(x) for x in itertools.combinations(range(text.blocks), text.most + 1)]
    yield from itertools.combinations(worst, count)
    good = frozenset(range(text.most))
    yield from ((x, good, y) for x, y in itertools.combinations(worst, 2))
    yield (frozenset(range(text.blocks)),) * count


def _plans(_bits: int, rule: Rule = "as stated") -> Iterator[Comparison]:
    for text in _TEXTS:
        every = [frozenset(x) for x in itertools.combinations(range(text.blocks), text.most + 1)]
        families = [*_families(text, 1), *_families(text, 2), tuple(every)]
        for delta, methods in itertools.product(_levels(text), families):
            label = f"{text}, delta = {delta}, {[sorted(m) for m in methods]}"
            yield Comparison(taken_bad(text, methods, delta, rule), delta, label)


def _series() -> Iterator[Identity]:
    from sympy import Rational

    total = Rational(0)
    for i in range(1, 33):
        total += Rational(1, i * (i + 1))
        yield Identity(total, 1 - Rational(1, i + 1), f"{i} methods")


PLAN = Theorem(
    key="ours.plan-confidence",
    title="how likely a plan takes a method that is not good enough",
    statement=(
        "If methods are tried in an order fixed before the deciding blocks are drawn, and the i-th "
        "passes when A_i + b(C_i, δ/(i(i + 1))) <= K on every text, a method that is above on more "
        "than K blocks of some text is taken with probability δ at most."
    ),
    source=here(__name__, "approxattn.planning.evidence"),
    reading=(
        "per head, any number of methods; over the deciding blocks, whatever the blocks were by "
        "which the order was chosen; blocks drawn without repetition"
    ),
    experiments=(
        Symbolic(
            identities=_series,
            covers="step",
            scope="the levels of up to 32 methods sum to 1 - 1/(i + 1) of δ",
        ),
        Enclose(
            certify=_plans,
            covers="statement",
            scope=(
                "5 or 6 blocks, 3 or 4 draws, δ = 0.05 and each at which a tail is attained: one, "
                "two and all bad methods, a good one between two, all placements, all samples"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_plans, rule="one level"),
        covers="statement",
        scope="the level δ for each method",
    ),
    remarks=(
        "Two other ways are refuted as well: to choose by the blocks that decide, and to compare "
        "the estimate C M/s with K.",
        "A further test that only rejects leaves the statement true.",
    ),
)

# --- from texts to a new one ----------------------------------------------------------------------

_Pair = tuple[frozenset[int], int]
"""Texts that a plan is made from, and the one that it is judged on."""


def _orders(texts: int, share: Mapping[_Pair, Any], *, skip: int) -> tuple[Any, Any]:
    """Sums over all orders, the last text being the new one: of the mean over given texts, and of
    the share on the new text of the plan from all given ones but the first `skip`.
    """
    held, new = [], []
    for order in itertools.permutations(range(texts)):
        given, last = order[:-1], order[-1]
        held += [share[frozenset(given) - {t}, t] for t in given]
        new += [share[frozenset(given[skip:]), last]] * len(given)
    return sum(held[1:], held[0]), sum(new[1:], new[0])


def _transfer(skip: int = 1) -> Iterator[Identity]:
    from sympy import QQ, ring

    for texts in (3, 4):
        sizes = (texts - 2, texts - 1)
        pairs = [
            (frozenset(used), t)
            for size in sizes
            for used in itertools.combinations(range(texts), size)
            for t in range(texts)
            if t not in used
        ]
        _, *free = ring([f"L{i}" for i in range(len(pairs))], QQ)
        held, new = _orders(texts, dict(zip(pairs, free, strict=True)), skip=skip)
        yield Identity(held, new, f"{texts - 1} texts and a new one")


TRANSFER = Theorem(
    key="ours.plan-transfer",
    title="what held-out texts say of a new one",
    statement=(
        "For exchangeable texts, the mean over m given ones of the share of heads above ε on each, "
        "planned from the m - 1 others, has the expectation of the share on a new text, planned "
        "from m - 1 given ones."
    ),
    source=_HERE,
    reading=(
        "m >= 2; an expectation, no bound with a confidence; nothing is said of the plan from all m"
    ),
    experiments=(
        Symbolic(
            identities=_transfer,
            covers="statement",
            scope="2 and 3 given texts, all shares, every order of the texts",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_transfer, skip=0),
        covers="statement",
        scope="the plan from all m texts",
    ),
)

THEOREMS = (PLAN, TRANSFER)
