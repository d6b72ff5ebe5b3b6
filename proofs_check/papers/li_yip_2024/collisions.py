"""Z. Li and K. Yip, "BERT-LSH": the hash, the symmetric scores, and the scores left out.

"BERT-LSH: Reducing Absolute Compute For Attention", arXiv 2404.08836 (2024). BERT-LSH computes the
score of a query and a key only when their sign hashes collide in one of L tables, and leaves the
logit 0 elsewhere. The hash is a random subset sum of K sign bits modulo the table size T. The paper
reports KFLOPs per layer and accuracies of a small BERT trained with it. The counts are in
`reported_cost`.

Read: the abstract and an excerpt of the introduction, and the authors' code (modeling_lsh_bert.py,
the tables of reported counts). The paper's own tables were not read, so wordings are not vouched
for.

    code                     here
    bands                    K, sign bits per table (not bands in the usual sense of LSH)
    num_hashes, table_size   L tables of T buckets
    c_b                      uniform on 0 .. T - 1, one per bit and table;
                             code = sum_b bit_b c_b mod T
    p                        1 - theta/pi, the probability that one sign bit agrees
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.li_yip_2024.source import CITATION
from proofs_check.papers.shared import planar_hashing as planar
from proofs_check.papers.shared import softmax_shift as shift
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Assumption, Identity, Instance, Symbolic
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- collisions of the subset-sum hash ------------------------------------------------------------
# 1. Two different patterns differ in some bit b, where the codes differ by +-c_b plus terms
#    independent of c_b.
# 2. c_b is uniform, so the codes agree modulo T with probability 1/T.
# 3. Tables are independent.


def _accidental() -> Iterator[Identity]:
    for bits, size in itertools.product((1, 2, 3), (2, 3, 4, 5)):
        coefficients = list(itertools.product(range(size), repeat=bits))
        for x, y in itertools.combinations(itertools.product((0, 1), repeat=bits), 2):
            equal = sum(
                sum((a - b) * c for a, b, c in zip(x, y, cs, strict=True)) % size == 0
                for cs in coefficients
            )
            yield Identity(
                Fraction(equal, len(coefficients)),
                Fraction(1, size),
                f"patterns {x}, {y}, T = {size}",
            )


def _table(turn: int, bits: int, size: int) -> list[bool]:
    """Whether vectors at angle turn * pi/6 share a bucket, for every equally likely choice of
    hyperplanes and coefficients.
    """
    found = []
    for arcs, cs in itertools.product(
        planar.hashes(bits), itertools.product(range(size), repeat=bits)
    ):
        own, other = planar.code(0, arcs), planar.code(turn, arcs)
        found.append(sum((a - b) * c for a, b, c in zip(own, other, cs, strict=True)) % size == 0)
    return found


def _collisions(weight: int = 1) -> Iterator[Identity]:
    yield from _accidental()
    for turn, bits, size in itertools.product(range(7), (1, 2), (2, 3)):
        p = planar.pair(0, turn, bits)
        yield Identity(
            planar.mean(_table(turn, bits, size)),
            p + (weight - p) / size,
            f"angle {turn} pi/6, K = {bits}, T = {size}",
        )
    for turn, tables in itertools.product(range(7), (2, 3)):
        one = planar.pair(0, turn, 1)
        union = planar.mean(
            [any(several) for several in itertools.product(_table(turn, 1, 2), repeat=tables)]
        )
        yield Identity(
            union,
            1 - (1 - (one + (weight - one) / 2)) ** tables,
            f"angle {turn} pi/6, K = 1, T = 2, L = {tables}",
        )


COLLISION = Theorem(
    key="bert-lsh.collision",
    title="collision probability of the subset-sum hash",
    statement=(
        "One table: p' = p^K + (1 - p^K)/T with p = 1 - θ/π; a pair is kept with probability 1 - "
        "(1 - p')^L."
    ),
    source=Source(
        citation=CITATION,
        place="the hash of the authors' code",
        fidelity="constants made explicit",
    ),
    reading=(
        "a pair is kept when it collides in any of the L tables, as the code does; the "
        "introduction says in all of them, which is the same for L = 1"
    ),
    experiments=(
        Symbolic(
            identities=_collisions,
            grade="exact-rational",
            scope=(
                "all patterns for K <= 3, T <= 5; angles at multiples of π/6 for K <= 2, T <= 3; L "
                "= 2, 3 at K = 1, T = 2; everything enumerated"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_collisions, weight=2),
        grade="exact-rational",
        scope="(2 - p^K)/T in place of (1 - p^K)/T",
    ),
    uses=("yoso.collision",),
    remarks=(
        "At K = 8, T = 64 most collisions of orthogonal vectors are accidents of the modulus, not "
        "agreements of the signs.",
    ),
)

# --- symmetric scores -----------------------------------------------------------------------------
# In dimension 1 all positive numbers have the same sign under every hyperplane, hence the same
# code: every pair collides surely.


def _positive_pairs() -> Any:
    from hypothesis import strategies as st

    vector = st.lists(st.integers(1, 3), min_size=2, max_size=2)
    return st.fixed_dictionaries({"q": vector, "k": vector})


def _positive(instance: Instance) -> bool:
    return all(x > 0 for x in (*instance["q"], *instance["k"]))


def _score_gap(instance: Instance, allowed: Fraction = Fraction(0)) -> tuple[Fraction, Fraction]:
    """Largest difference of q_min(i,j) k_max(i,j), which the code writes at (i, j), from
    q_i k_j, against what is allowed.
    """
    q, k = instance["q"], instance["k"]
    gaps = [abs(q[min(i, j)] * k[max(i, j)] - q[i] * k[j]) for i in range(2) for j in range(2)]
    return Fraction(max(gaps)), allowed


_SAME_SIDE = Assumption(
    text="d = 1 and all queries and keys are positive, so that every pair collides",
    predicate=_positive,
)

DISTINCT = Theorem(
    key="bert-lsh.distinct-qk",
    title="scores of colliding pairs",
    statement="Queries and keys stay distinct: where q_i and k_j collide the logit is q_i·k_j.",
    source=Source(
        citation=CITATION,
        place="description of the method, against the authors' code",
        fidelity="constants made explicit",
    ),
    reading="the code inspects i <= j only and writes q_i·k_j at (i, j) and at (j, i)",
    assumptions=(_SAME_SIDE,),
    experiments=(
        search_by(
            _score_gap,
            instances=_positive_pairs,
            assumptions=(_SAME_SIDE,),
            examples=({"q": (1, 1), "k": (1, 2)},),
            scope="two tokens, d = 1, positive integers",
        ),
    ),
    expected=Status.REFUTED,
    mutant=search_by(
        partial(_score_gap, allowed=Fraction(1, 2)),
        instances=_positive_pairs,
        assumptions=(_SAME_SIDE,),
        examples=({"q": (1, 1), "k": (1, 2)},),
        scope="scores right to within 1/2",
    ),
    by_hand=ByHand(
        instance="d = 1, q = (1, 1), k = (1, 2); all pairs collide.",
        shows="The code writes q_1 k_2 = 2 at (1, 2) and at (2, 1); there q_2 k_1 = 1 belongs.",
        instead=(
            "The code computes a symmetric matrix: q_min(i,j)·k_max(i,j) at (i, j), where that "
            "pair collides."
        ),
    ),
    remarks=(
        "The logits are a symmetric matrix, as if queries and keys were shared; collisions at i > "
        "j are ignored.",
    ),
)

# --- the error of dropped scores ------------------------------------------------------------------


def _dropped_rows() -> Any:
    from hypothesis import strategies as st

    from proofs_check.arithmetic.instances import numbers

    return st.integers(2, 5).flatmap(
        lambda n: st.fixed_dictionaries(
            {
                "scores": st.lists(numbers(), min_size=n, max_size=n),
                "kept": st.lists(st.booleans(), min_size=n, max_size=n),
            }
        )
    )


def _oscillation(instance: Instance, divisor: int = 1) -> tuple[Any, Any]:
    """Distance in the sum norm, against a part of its bound."""
    from flint import arb

    scores, kept = instance["scores"], instance["kept"]
    logits = [s if keep else 0.0 for s, keep in zip(scores, kept, strict=True)]
    unit = [[int(i == j) for j in range(len(scores))] for i in range(len(scores))]
    exact, approximate = (
        [shift.attend([arb(s) for s in row], e) for e in unit] for row in (scores, logits)
    )
    moved = [arb(a) - arb(s) for a, s in zip(logits, scores, strict=True)]
    osc = max(moved, key=float) - min(moved, key=float)
    distance = sum((abs(a - b) for a, b in zip(exact, approximate, strict=True)), arb(0))
    return distance, 2 * (osc / 4).tanh() / divisor


def _distance(instance: Instance) -> float:
    measured, bound = (float(x) for x in _oscillation(instance))
    # nothing dropped says nothing about tightness
    return measured if bound > 0 or measured > 1e-12 else float("nan")


OSCILLATION = Theorem(
    key="bert-lsh.oscillation",
    title="error of the softmax with dropped scores",
    statement=(
        "‖P~_i - P_i‖₁ <= 2 tanh(osc_j(t_ij)/4), t_ij = -s_ij where the pair was dropped (logit "
        "0), 0 where it was kept."
    ),
    source=here(__name__, how="the oscillation lemma applied to BERT-LSH's logits"),
    reading="one query; for the corrected scores, not the symmetric ones",
    experiments=(
        Symbolic(
            identities=shift.largest_shift,
            scope=(
                "all scores: the change of any log-odds by at most osc(t), and the largest change "
                "of probability"
            ),
        ),
        search_by(
            _oscillation,
            instances=_dropped_rows,
            measured=_distance,
            tries=200,
            scope="2 to 5 keys, any pattern dropped",
        ),
    ),
    expected=Status.PROVED,
    mutant=search_by(
        partial(_oscillation, divisor=2),
        instances=_dropped_rows,
        measured=_distance,
        examples=({"scores": (2.0, -2.0), "kept": (False, False)},),
        scope="half the bound",
    ),
    uses=("ours.oscillation",),
)

THEOREMS = (COLLISION, DISTINCT, OSCILLATION)
