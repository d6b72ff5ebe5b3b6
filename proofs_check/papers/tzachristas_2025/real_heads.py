"""How many keys a row of the shipped heads needs, before a tenth of its mass is cut off at most.

The mass of a set of keys is a sum of weights over the sum of all. Which keys are heaviest is found
in floats: any k keys prove that k are enough, but that k - 1 are too few needs the heaviest. So the
others are checked to weigh no more than the lightest of those kept.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np

from proofs_check.papers.shared.shipped_heads import heads
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

ENOUGH = (199, 107, 113, 167, 70, 167, 178, 141)
"""Least k that serves every row, head by head; 256 keys."""


def _kept(_bits: int, fewer: int = 0) -> list[Comparison]:
    from flint import arb

    found = []
    for head, k in zip(heads(), ENOUGH, strict=True):
        tails = []
        for row, total in zip(head.weights, head.sums, strict=True):
            order = np.argsort([-float(w) for w in row], kind="stable")
            light = sum((row[j] for j in order[k - fewer :]), arb(0))
            tails.append((light / total, row, order, total))
        worst = max(tails, key=lambda t: float(t[0]))
        for light, *_ in tails:
            found.append(Comparison(light, Fraction(1, 10), f"{head.name}: {k} keys are enough"))
        _, row, order, total = worst
        light = sum((row[j] for j in order[k - 1 :]), arb(0)) / total
        found.append(Comparison(Fraction(1, 10), light, f"{head.name}: {k - 1} keys are too few"))
        lightest = row[order[k - 2]]
        for j in order[k - 1 :]:
            found.append(Comparison(row[j], lightest, f"{head.name}: {k - 1} heaviest keys"))
    return found


THEOREMS = (
    Theorem(
        key="top-k.real-heads",
        title="how many keys real heads need",
        statement=(
            "To cut off at most a tenth of the mass in every row, the 8 shipped MiniLM heads need "
            "199, 107, 113, 167, 70, 167, 178 and 141 of 256 keys, and one fewer will not do."
        ),
        source=here(__name__, how="the shipped heads, by top-k.tail-mass"),
        reading="the same k for all rows of a head; short texts, no causal mask",
        experiments=(
            Enclose(
                certify=_kept,
                covers="statement",
                scope="every row of 8 heads of all-MiniLM-L6-v2, n = 256",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_kept, fewer=1), covers="statement", scope="one key fewer is enough"
        ),
        uses=("top-k.tail-mass",),
    ),
)
