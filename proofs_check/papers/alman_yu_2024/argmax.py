"""Attention that finds the most similar key (Alman & Yu 2024): how large the scores must be.

Let the best score lead every other one by at least g, and let scores be multiplied by beta.

1. In units of the best weight the others sum to t <= (n - 1) e^(-beta g).
2. beta >= ln(n) / g makes t <= (n - 1) / n, and the best weight is 1 / (1 + t).
3. 1 / (1 + t) - n / (2n - 1) = ((n - 1) / n - t) n / ((2n - 1)(1 + t)) >= 0.

Orthogonal vectors: a query a and keys b_1, ..., b_n in {0, 1}^d, scores -beta <a, b_j>, and one
more key of score -beta / 2 and value 0; the others have the value 1. Put e^(beta/2) = n.

4. If some b_j is orthogonal to a, the weights of the first kind sum to s >= 1, and the output is
   s / (s + 1/n) >= n / (n + 1).
5. Otherwise s <= n e^-beta = 1/n, and the output is at most (1/n) / (1/n + 1/n) = 1/2.
6. With e^(beta/2) = n^2 the second bound becomes n^-3 / (n^-3 + n^-2) = 1 / (n + 1), and the
   first n^2 / (n^2 + 1).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.alman_yu_2024.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def _best_weight() -> Iterator[Identity]:
    from sympy import QQ, field

    _, n, t = field("n, t", QQ)
    left = 1 / (1 + t) - n / (2 * n - 1)
    yield Identity(left, ((n - 1) / n - t) * n / ((2 * n - 1) * (1 + t)), "step 3")


def _all_others_equal(_bits: int, part: Fraction = Fraction(1)) -> list[Comparison]:
    """Every other score lies g below the best one; beta is `part` of ln(n) / g."""
    found = []
    for n in (2, 3, 8, 64, 1024, 2**20):
        other = Fraction(1, n) if part == 1 else ball(n) ** (-ball(part))
        best = 1 / (1 + (n - 1) * other)
        found.append(Comparison(Fraction(n, 2 * n - 1), best, f"n = {n}"))
    return found


def _orthogonal_pairs(_bits: int, power: int = 2) -> list[Comparison]:
    """Every query and every set of keys, all of them exact: e^(-beta/2) = n^-power."""
    found = []
    for n, d in ((2, 2), (2, 3), (3, 2), (3, 3)):
        vectors = list(itertools.product((0, 1), repeat=d))
        half = Fraction(1, n**power)
        for a in vectors:
            weight = [half ** (2 * sum(x * y for x, y in zip(a, b, strict=True))) for b in vectors]
            for keys in itertools.combinations_with_replacement(range(len(vectors)), n):
                s = sum((weight[j] for j in keys), Fraction(0))
                out = s / (s + half)
                label = f"n, d = {n, d}, query {a}, keys {keys}"
                if any(weight[j] == 1 for j in keys):
                    found.append(Comparison(Fraction(n * n, n * n + 1), out, label))
                else:
                    found.append(Comparison(out, Fraction(1, n + 1), label))
    return found


THEOREMS = (
    Theorem(
        key="alman-yu.argmax",
        title="a gap between the scores puts more than half of the weight on the best key",
        statement=(
            "If the best score leads by g and β >= ln(n)/g, the softmax of β times the scores puts "
            "at least n/(2n - 1) > 1/2 on it; equality when all others lie exactly g below."
        ),
        source=Source(
            citation=CITATION,
            place="a step of the representation of document similarity by one head",
            fidelity="constants made explicit",
        ),
        experiments=(
            Symbolic(
                identities=_best_weight, covers="statement", scope="all n and scores: steps 1 to 3"
            ),
            Enclose(
                certify=_all_others_equal,
                covers="statement",
                scope="equality at n = 2, 3, 8, 64, 1024, 2^20",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_all_others_equal, part=Fraction(19, 20)),
            covers="statement",
            scope="β = 19/20 of ln(n)/g",
        ),
    ),
    Theorem(
        key="alman-yu.orthogonal-vectors",
        title="one row of attention decides whether some key is orthogonal to the query",
        statement=(
            "With scores -β⟨a, b_j⟩, one more key of score -β/2, β = 4 ln n and values 1 and 0, "
            "the output is at least n²/(n² + 1) if some b_j is orthogonal to a, and at most "
            "1/(n + 1) if none is."
        ),
        source=Source(
            citation=CITATION,
            place="the reduction from orthogonal vectors",
            fidelity="ours",
        ),
        reading="binary vectors; the extra key is our way to write the threshold",
        experiments=(
            Enclose(
                certify=_orthogonal_pairs,
                covers="statement",
                scope=(
                    "every query in {0, 1}^d and every n keys, repetition allowed, (n, d) = (2, "
                    "2), (2, 3), (3, 2), (3, 3)"
                ),
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_orthogonal_pairs, power=1), covers="statement", scope="β = 2 ln n"
        ),
        remarks=("For all n by steps 4 to 6 of the comment. Scores grow like ln n.",),
    ),
)
