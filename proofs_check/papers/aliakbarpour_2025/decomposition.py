"""Scores split into a sparse large part and a dense small part (Aliakbarpour et al. 2025).

Read: the abstract, and the README of the authors' code (yinj66/support_basis).

1. Where the supports of A and B do not meet, e^(a + b) = e^a + e^b - 1, since e^0 = 1.
2. Where both are not 0, e^(a + b) - (e^a + e^b - 1) = (e^a - 1)(e^b - 1).
3. Split entries of Q and K by a threshold: Q = Q_L + Q_s, K = K_L + K_s. The rest of Q K^T beside
   Q_s K_s^T meets the support of Q_s K_s^T as soon as one row of Q has entries of both kinds.
4. exp(Q K^T) = exp(Q_s K_s^T) + exp(Q_s K_s^T) o (exp(R) - 1), R the rest: the correction is 0
   outside the support of R, which takes a large entry in row i of Q or row j of K.
5. If r rows of Q and c rows of K have one, at most r n + c n - r c of the n^2 scores are corrected.
6. Error: weights exact on the corrected keys, of mass p, and off by a relative error of at most
   eps elsewhere. With t = 1 - p the mass of the others and m = sum_j f_j r_j:
   |m - 1| <= eps t, so TV = sum_j f_j |r_j / m - 1| / 2 <= (eps t + |m - 1|) / (2m)
   <= eps t / (1 - eps t).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.aliakbarpour_2025.source import CITATION
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import (
    Assumption,
    Count,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)


def _source(place: str) -> Source:
    return Source(citation=CITATION, place=place, fidelity="constants made explicit")


def _disjoint(*, overlap: bool = False) -> Iterator[Identity]:
    """3 x 3 with the large part on the diagonal; x stands for e^a, y for e^b."""
    from sympy import QQ, ring

    _, *free = ring([f"{z}{i}{j}" for z in "xy" for i in range(3) for j in range(3)], QQ)
    x, y = free[:9], free[9:]
    for place in range(9):
        large = place % 4 == 0
        a = x[place] if large else x[place] ** 0
        b = y[place] if not large or overlap else y[place] ** 0
        yield Identity(a * b, a + b - 1, f"entry {place // 3}, {place % 3}")


def _overlap(sign: int = 1) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, x, y = ring("x, y", QQ)
    yield Identity(x * y - (x + y - 1), (x - 1) * (y - sign), "the price of an overlap")


# --- how many scores are corrected ----------------------------------------------------------------


def _corrected(n: int) -> int:
    """Support of the rest, counted entry by entry: n/4 rows of Q and n/8 of K have a large entry.

    Width 2; the large entry is 5, the others 1, so that nothing cancels.
    """
    q = [[5 if i % 4 == 0 else 1, 1] for i in range(n)]
    k = [[1, 5 if i % 8 == 0 else 1] for i in range(n)]

    def small(row: list[int]) -> list[int]:
        return [x if x < 3 else 0 for x in row]

    def dot(a: list[int], b: list[int]) -> int:
        return sum(x * y for x, y in zip(a, b, strict=True))

    pairs = itertools.product(q, k)
    return sum(dot(a, b) != dot(small(a), small(b)) for a, b in pairs)


def _support(n: int, both: int = 1) -> int:
    rows, columns = n // 4, n // 8
    return rows * n + columns * n - both * rows * columns


# --- the error ------------------------------------------------------------------------------------


def _rows() -> Any:
    from hypothesis import strategies as st

    def of_size(n: int) -> Any:
        weights = st.lists(st.integers(1, 20), min_size=n, max_size=n)
        signs = st.lists(st.sampled_from((-1, 0, 1)), min_size=n, max_size=n)
        return st.fixed_dictionaries({"weights": weights, "signs": signs, "eps": st.integers(1, 9)})

    return st.integers(2, 5).flatmap(of_size)


def _same_length(instance: Instance) -> bool:
    return len(instance["weights"]) == len(instance["signs"]) and 0 < instance["eps"] < 10


_ROWS = Assumption(text="0 < ε < 1 and positive weights", predicate=_same_length)


def _variation(instance: Instance, part: Fraction = ONE) -> tuple[Fraction, Fraction]:
    """TV and its bound; sign 0 marks a corrected key, and eps counts tenths."""
    eps = Fraction(instance["eps"], 10)
    total = sum(instance["weights"])
    f = [Fraction(w, total) for w in instance["weights"]]
    r = [1 + s * eps for s in instance["signs"]]
    m = sum((a * b for a, b in zip(f, r, strict=True)), Fraction(0))
    tv = sum((abs(a * b / m - a) for a, b in zip(f, r, strict=True)), Fraction(0)) / 2
    t = sum((a for a, s in zip(f, instance["signs"], strict=True) if s), Fraction(0))
    return tv, part * eps * t / (1 - eps * t)


def _error(part: Fraction = ONE, scope: str = "") -> Falsify:
    return search_by(
        partial(_variation, part=part),
        instances=_rows,
        assumptions=(_ROWS,),
        examples=({"weights": [20, 1], "signs": [0, -1], "eps": 9},),
        tries=150,
        scope=scope or "2 to 5 keys, whole weights up to 20, ε up to 9/10, errors at the ends",
    )


def _two_signs() -> Iterator[Identity]:
    """Step 6 for masses p, a, b with factors 1, 1 + eps, 1 - eps, where m >= 1 and where m <= 1.

    The gap to the bound is a quotient with visibly non-negative parts once m's side is known.
    """
    from sympy import QQ, field

    _, a, b, eps = field("a, b, eps", QQ)
    p, t = 1 - a - b, a + b
    m = p + a * (1 + eps) + b * (1 - eps)
    bound = eps * t / (1 - eps * t)
    above = a * ((1 + eps) / m - 1)
    part = t * (m - 1 + eps * t) / (m * (1 - eps * t))
    rest = (eps * t - a * (1 + eps - m)) / m
    yield Identity(bound - above, eps * part + rest, "m >= 1: only the keys raised gain")
    yield Identity(eps * t - a * (1 + eps - m), eps * (b + a * (a - b)), "its second part, a >= b")
    below = b * (1 - (1 - eps) / m)
    rest = (eps * t - b * (m - 1 + eps)) / m
    yield Identity(bound - below, eps * part + rest, "m <= 1: only the keys lowered lose")
    yield Identity(eps * t - b * (m - 1 + eps), eps * (a + b * (b - a)), "its second part, b >= a")


THEOREMS = (
    Theorem(
        key="support-basis.disjoint",
        title="exp of scores with disjoint supports",
        statement="exp(A + B) = exp(A) + exp(B) - 11ᵀ entry by entry where A ∘ B = 0.",
        source=_source("the decomposition of the scores by their supports"),
        experiments=(
            Symbolic(
                identities=_disjoint, covers="statement", scope="3 x 3, A diagonal, B the rest"
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_disjoint, overlap=True),
            covers="statement",
            scope="B on the diagonal, too",
        ),
        bookkeeping=True,
    ),
    Theorem(
        key="support-basis.overlap",
        title="what an overlap of the supports costs",
        statement="e^(a + b) - (e^a + e^b - 1) = (e^a - 1)(e^b - 1).",
        source=_source("the decomposition of queries and keys by a threshold of their entries"),
        reading="splitting the entries of Q and K, not the scores, makes the supports overlap",
        experiments=(Symbolic(identities=_overlap, covers="statement", scope="all a, b"),),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_overlap, -1), covers="statement", scope="(e^a - 1)(e^b + 1)"
        ),
        bookkeeping=True,
        uses=("support-basis.disjoint",),
        remarks=(
            "The correction that is always right is exp(A) ∘ (exp(B) - 1), on the support of B.",
        ),
    ),
    Theorem(
        key="support-basis.support",
        title="how many scores large entries touch",
        statement=(
            "If r rows of Q and c rows of K have a large entry, the scores that differ from Q_s "
            "K_sᵀ are at most rn + cn - rc; all of them where nothing cancels."
        ),
        source=_source("the sparsity of the exact part"),
        experiments=(
            Count(
                measured=_corrected,
                formula=_support,
                sizes=(8, 16, 32, 64),
                covers="statement",
                scope="width 2, r = n/4, c = n/8, entries 1 and 5",
            ),
        ),
        expected=Status.PROVED,
        mutant=Count(
            measured=_corrected,
            formula=partial(_support, both=2),
            sizes=(8, 64),
            covers="statement",
            scope="the overlap taken off twice",
        ),
    ),
    Theorem(
        key="support-basis.error",
        title="exact large scores and a polynomial for the others",
        statement=(
            "If weights of total mass t have a relative error of at most ε < 1 and the others "
            "none, TV <= εt/(1 - εt)."
        ),
        source=_source("the error of the polynomial part"),
        reading="ours.hilbert bounds the same by ε alone; the mass of the exact part helps",
        assumptions=(_ROWS,),
        experiments=(
            Symbolic(
                identities=_two_signs,
                covers="statement",
                scope="errors of ε, -ε and 0 on masses that sum to 1, all masses and ε",
            ),
            _error(),
        ),
        expected=Status.PROVED,
        mutant=_error(Fraction(19, 20), "19/20 of the bound"),
        uses=("ours.hilbert",),
        remarks=("Errors between the ends by step 6 of the comment, by hand.",),
    ),
)
