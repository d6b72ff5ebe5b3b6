"""BERT-LSH with several tables: in all of them, as the text says, or in any, as the code has it.

Citation and letters: `collisions`.

The introduction reads "only the rows that hash into common buckets across all hash functions are
considered". `do_lsh` of the code writes a 1 for every pair in a common bucket of any table.

1. One table keeps a pair with p' = p^K + (1 - p^K)/T.
2. Tables are independent: all L of them agree with probability p'^L, any with 1 - (1 - p')^L.
3. The two are equal for L = 1, and for no other L unless p' is 0 or 1.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.li_yip_2024.collisions import table
from proofs_check.papers.li_yip_2024.source import CITATION
from proofs_check.papers.shared import planar_hashing as planar
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Falsify, Instance
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status


def _settings() -> Any:
    from hypothesis import strategies as st

    return st.fixed_dictionaries({"turn": st.integers(0, 6), "tables": st.integers(1, 2)})


def _kept(turn: int, tables: int) -> Fraction:
    """Share of the draws in which the code keeps the pair; K = 1, T = 2, everything enumerated."""
    one = table(turn, 1, 2)
    return planar.mean([any(several) for several in itertools.product(one, repeat=tables)])


def _single(turn: int) -> Fraction:
    """p' of step 1."""
    p = planar.pair(0, turn, 1)
    return p + (1 - p) / 2


def _in_all(instance: Instance, factor: Fraction = Fraction(1)) -> tuple[Fraction, Fraction]:
    """What the code keeps, against a multiple of p'^L."""
    turn, tables = instance["turn"], instance["tables"]
    return _kept(turn, tables), factor * _single(turn) ** tables


def _in_any(instance: Instance) -> tuple[Fraction, Fraction]:
    """What the code keeps, against 1 - (1 - p')^L."""
    turn, tables = instance["turn"], instance["tables"]
    return _kept(turn, tables), 1 - (1 - _single(turn)) ** tables


_EXAMPLES: tuple[Instance, ...] = ({"turn": 3, "tables": 2},)


def _search(confirm: Any) -> Falsify:
    return search_by(
        confirm,
        instances=_settings,
        examples=_EXAMPLES,
        tries=60,
        scope="angles turn π/6, K = 1, T = 2, L = 1 and 2, every draw enumerated",
    )


ALL_TABLES = Theorem(
    key="bert-lsh.all-tables",
    title="pairs in common buckets of all tables",
    statement=(
        "The code considers a pair only if it falls into a common bucket in all L tables: it keeps "
        "at most the share p'^L."
    ),
    source=Source(
        citation=CITATION,
        place='introduction, "common buckets across all hash functions", against do_lsh',
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="independent tables; what the code keeps, as its matrix of collisions has it",
    alternative_readings=("For L = 1, which the published models use, both are the same.",),
    experiments=(_search(_in_all),),
    expected=Status.REFUTED,
    mutant=_search(partial(_in_all, factor=Fraction(8, 5))),
    repaired_by="bert-lsh.collision",
    repaired=_search(_in_any),
    kind="code",
    by_hand=ByHand(
        instance="K = 1, T = 2, L = 2, a right angle: p' = 1/2 + 1/4 = 3/4 in each table.",
        shows=(
            "In both tables: (3/4)² = 9/16. The code sets the entry of a pair for every table in "
            "which it collides, so it keeps 1 - (1/4)² = 15/16."
        ),
    ),
    defence=(
        'With K sign bits in a table "all hash functions" may mean those bits, and a bucket does '
        "need all of them (up to the modulus). But bits are called bands in the code, num_hashes "
        "counts tables, and the reported settings go up to L = 4."
    ),
    remarks=("The published models have L = 1, so no reported accuracy depends on it.",),
)

THEOREMS = (ALL_TABLES,)
