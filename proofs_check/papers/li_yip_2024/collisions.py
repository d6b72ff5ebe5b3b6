"""Z. Li and K. Yip, "BERT-LSH": the hash, the symmetric scores, and the scores left out.

"BERT-LSH: Reducing Absolute Compute For Attention", arXiv 2404.08836 (2024). BERT-LSH computes the
score of a query and a key only when their sign hashes collide in one of L tables, and leaves the
logit 0 elsewhere. The hash is a random subset sum of K sign bits modulo the table size T. The paper
reports KFLOPs per layer and accuracies of a small BERT trained with it. The counts are in
`reported_cost`.

Read: the text on arXiv, its figures excepted, and the authors' code (modeling_lsh_bert.py, the
tables of reported counts lsh-params.txt).

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

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.li_yip_2024.source import CITATION
from proofs_check.papers.shared import planar_hashing as planar
from proofs_check.papers.shared import softmax_shift as shift
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Assumption,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
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


def table(turn: int, bits: int, size: int) -> list[bool]:
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


def _collisions(weight: Fraction = Fraction(1)) -> Iterator[Identity]:
    yield from _accidental()
    for turn, bits, size in itertools.product(range(7), (1, 2), (2, 3)):
        p = planar.pair(0, turn, bits)
        yield Identity(
            planar.mean(table(turn, bits, size)),
            p + (weight - p) / size,
            f"angle {turn} pi/6, K = {bits}, T = {size}",
        )
    for turn, tables in itertools.product(range(7), (2, 3)):
        one = planar.pair(0, turn, 1)
        union = planar.mean(
            [any(several) for several in itertools.product(table(turn, 1, 2), repeat=tables)]
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
        place="modeling_lsh_bert.py, class LSH",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "a pair is kept when it collides in any of the L tables, as the code does; the "
        "introduction says in all of them: bert-lsh.all-tables"
    ),
    experiments=(
        Symbolic(
            identities=_collisions,
            grade="exact-rational",
            covers="statement",
            scope=(
                "all patterns for K <= 3, T <= 5; angles at multiples of π/6 for K <= 2, T <= 3; L "
                "= 2, 3 at K = 1, T = 2; everything enumerated"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_collisions, weight=Fraction(101, 100)),
        grade="exact-rational",
        covers="statement",
        scope="(1.01 - p^K)/T in place of (1 - p^K)/T",
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


def _asymmetry(instance: Instance) -> tuple[Fraction, Fraction]:
    """What the code writes at (i, j) less what it writes at (j, i): what is true of it."""
    q, k = instance["q"], instance["k"]
    written = [[q[min(i, j)] * k[max(i, j)] for j in range(2)] for i in range(2)]
    return Fraction(abs(written[0][1] - written[1][0])), Fraction(0)


_EXAMPLES: tuple[Instance, ...] = ({"q": (1, 1), "k": (1, 2)},)


def _of_pairs(confirm: Any) -> Falsify:
    return search_by(
        confirm,
        instances=_positive_pairs,
        assumptions=(_SAME_SIDE,),
        examples=_EXAMPLES,
        tries=150,
        scope="two tokens, d = 1, positive integers",
    )


DISTINCT = Theorem(
    key="bert-lsh.distinct-qk",
    title="scores of colliding pairs",
    statement="Queries and keys stay distinct: where q_i and k_j collide the logit is q_i·k_j.",
    source=Source(
        citation=CITATION,
        place='"retaining the distinct Q and K matrices", against modeling_lsh_bert.py',
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="the code inspects i <= j only and writes q_i·k_j at (i, j) and at (j, i)",
    assumptions=(_SAME_SIDE,),
    experiments=(_of_pairs(_score_gap),),
    expected=Status.REFUTED,
    mutant=_of_pairs(partial(_score_gap, allowed=Fraction(19, 20))),
    kind="code",
    repaired=_of_pairs(_asymmetry),
    defence=(
        '"Retaining the distinct Q and K matrices" is true of the projections, which are two; '
        "the code then inspects pairs i <= j only and writes one number at both places. If queries "
        "and keys were shared that would be right. Models trained with the code have learnt its "
        "symmetric scores."
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


def _oscillation(instance: Instance, divisor: Fraction = Fraction(1)) -> tuple[Any, Any]:
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
    return distance, 2 * (osc / 4).tanh() / ball(divisor)


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
            covers="statement",
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
        partial(_oscillation, divisor=Fraction(101, 100)),
        instances=_dropped_rows,
        measured=_distance,
        examples=({"scores": (0.125, 0.0), "kept": (False, True)},),
        scope="the bound divided by 1.01",
    ),
    uses=("ours.oscillation",),
)

THEOREMS = (COLLISION, DISTINCT, OSCILLATION)
