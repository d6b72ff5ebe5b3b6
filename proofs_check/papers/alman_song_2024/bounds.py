"""Sizes and widths in the low-rank steps of Alman & Song 2024; sizes of tensor scores.

Citation and letters: `gradient`; of the tensor scores, `tensor`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.alman_song_2024.source import CITATION, TENSOR
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.papers.shared.certificates import Product, bounded_sum
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- the hypothesis of the low-rank step ----------------------------------------------------------
# The scores are A1 X A2^T / d; |A1 X| and |A2| bound them, |A1^T X| does not see them.


def _squares() -> Any:
    return layer.integer_matrices({"a1": "dd", "x": "dd", "a2": "dd"}, max_tokens=1, max_width=3)


def _largest_score(
    instance: Instance, *, turned: bool = True, share: Fraction = Fraction(1)
) -> tuple[Fraction, Fraction]:
    """The largest score against B^2, B the largest entry of A1^T X (or of A1 X) and of A2."""
    a1, x, a2 = (np.asarray(instance[name], dtype=int) for name in ("a1", "x", "a2"))
    b = max(int(np.max(np.abs((a1.T if turned else a1) @ x))), int(np.max(np.abs(a2))))
    score = int(np.max(np.abs(a1 @ x @ a2.T)))
    return Fraction(score, len(x)), share * b * b


_HIDDEN: tuple[Instance, ...] = (
    {
        "a1": np.array([[0.0, 1.0], [0.0, 0.0]]),
        "x": np.array([[0.0, 0.0], [4.0, 0.0]]),
        "a2": np.array([[1.0, 0.0], [0.0, 0.0]]),
    },
    {"a1": np.eye(2), "x": np.ones((2, 2)), "a2": np.ones((2, 2))},
)


def _scores(scope: str, **variant: Any) -> Falsify:
    return search_by(
        partial(_largest_score, **variant),
        instances=_squares,
        examples=_HIDDEN,
        tries=100,
        scope=scope,
    )


HYPOTHESIS = Theorem(
    key="as24.hypothesis-printed",
    title="the hypothesis of the low-rank step, transposed",
    statement="‖A₁ᵀ X‖∞ <= B and ‖A₂‖∞ <= B imply |A₁ X A₂ᵀ| / d <= B², entry by entry.",
    source=Source(
        citation=CITATION,
        place="Lemma D.1, hypothesis ‖A₁ᵀ X‖",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "what the (ε, r)-approximation of exp needs of its scores; n = d, so that the product "
        "exists"
    ),
    alternative_readings=(
        "‖A₁ X‖∞ <= B, as in Definition 1.4: true, as23.score-bound with q = A₁ X.",
    ),
    experiments=(_scores("n = d <= 3, whole matrices: the largest score against B²"),),
    expected=Status.REFUTED,
    mutant=_scores("‖A₁ X‖ in place of ‖A₁ᵀ X‖, and 0.95 B²", turned=False, share=Fraction(19, 20)),
    repaired_by="as23.score-bound",
    repaired=_scores("‖A₁ X‖ in place of ‖A₁ᵀ X‖", turned=False),
    kind="printed",
    defence=(
        "Definition 1.4 has ‖A₁ X‖∞, and the lemma is meant for the problem defined there; A₁ᵀ X "
        "does not even exist unless n = d. It is a misprint without consequence, but with n = d it "
        "does say something, and that is false."
    ),
    by_hand=ByHand(
        instance=(
            "n = d = 2, B = 1: A₁ has a 1 at (1, 2), X a 4 at (2, 1), A₂ a 1 at (1, 1), all else 0."
        ),
        shows=(
            "A₁ᵀ X = 0 and |A₂| <= 1, but A₁ X has a 4 at (1, 1), and the score there is 4/2 = 2, "
            "above B² = 1."
        ),
    ),
)

# --- the width of q -------------------------------------------------------------------------------
# q = c h^T with c and h of d columns: U2 = c, V2 = h, whatever the rank of f. So all minors of size
# d + 1 vanish. They are polynomials of degree 2 (d + 1) in c and h, at most 10: 10/p < 2^-57.


def _minor(source: layer.Source, d: int, size: int) -> Iterator[Identity]:
    """One minor of c h^T with c = f h - E for as many rows as the minor has; f is free."""
    f, h, e = source("f", size, size), source("h", size, d), source("e", size, d)
    q = (f @ h - e) @ h.T
    yield Identity(_determinant(q), 0, f"d = {d}: a minor of size {size}")


def _determinant(matrix: Any) -> Any:
    """By expansion over permutations, without division."""
    n, total = len(matrix), 0 * matrix[0, 0]
    for order in itertools.permutations(range(n)):
        crossed = sum(order[i] > order[j] for i in range(n) for j in range(i + 1, n))
        term = 1 + 0 * matrix[0, 0]
        for i, j in enumerate(order):
            term = term * matrix[i, j]
        total = total + (-term if crossed % 2 else term)
    return total


def _minors(sizes: tuple[tuple[int, int], ...]) -> Iterator[Identity]:
    for d, size in sizes:
        shapes = {"f": (size, size), "h": (size, d), "e": (size, d)}
        yield from _minor(layer.indeterminates(shapes), d, size)


def _larger_minors(rng: np.random.Generator) -> Iterator[Identity]:
    for d in (2, 3, 4):
        yield from _minor(layer.residues(rng), d, d + 1)


WIDTH = Theorem(
    key="as24.q-width",
    title="width of the low-rank form of q",
    statement=(
        "q = c hᵀ with c = f h - E has rank at most d, the width of h, whatever the rank of f; so "
        "U₂ = c̃, V₂ = h and k₂ = d. No smaller width serves all inputs."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma D.3, which has k₂ = max{d, k} + d",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading="rank by minors: every minor of size d + 1 vanishes, and one of size d does not",
    experiments=(
        Symbolic(
            identities=partial(_minors, ((1, 2),)),
            covers="statement",
            scope="d = 1, all 2 x 2 minors, all f, h and E",
        ),
        Symbolic(
            identities=_larger_minors,
            grade="pit(2^-57)",
            covers="statement",
            scope="d = 2, 3, 4, all minors of size d + 1, all f, h and E",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_minors, ((1, 1), (2, 2))),
        covers="statement",
        scope="rank at most d - 1",
    ),
    uses=("as24.khatri-rao",),
    remarks=(
        "The printed width is an upper bound too; with k₂ = d the product of Lemma D.4 has k₁ d "
        "columns.",
    ),
)

# --- tensor scores --------------------------------------------------------------------------------
# d B^3 - s sum_c q_c k_c l_c: a sum of d products of three factors, each of size at most B.


def _cubes(d: int) -> Iterator[Identity]:
    source = layer.indeterminates({"q": (1, d), "a": (1, d), "b": (1, d), "B": (1, 1)})
    q, a, b, top = source("q", 1, d)[0], source("a", 1, d)[0], source("b", 1, d)[0], "B"
    bound = source(top, 1, 1)[0, 0]
    products: list[Product] = [((q[c], bound), (a[c], bound), (b[c], bound)) for c in range(d)]
    yield from bounded_sum(np.sum(q * a * b), d * bound**3, products, f"d = {d}")


def _triples() -> Any:
    from hypothesis import strategies as st

    def of_width(d: int) -> Any:
        row = st.lists(st.integers(-3, 3), min_size=d, max_size=d)
        return st.fixed_dictionaries({"q": row, "a": row, "b": row})

    return st.integers(1, 4).flatmap(of_width)


def _tensor_score(instance: Instance, share: Fraction = Fraction(1)) -> tuple[Fraction, Fraction]:
    rows = [instance[name] for name in ("q", "a", "b")]
    score = sum(x * y * z for x, y, z in zip(*rows, strict=True))
    largest = max(abs(x) for row in rows for x in row)
    return Fraction(abs(score), len(rows[0])), share * largest**3


_EQUAL: tuple[Instance, ...] = ({"q": [2, 2], "a": [2, 2], "b": [2, 2]},)


def _tensor_search(scope: str, share: Fraction = Fraction(1)) -> Falsify:
    return search_by(
        partial(_tensor_score, share=share),
        instances=_triples,
        examples=_EQUAL,
        tries=100,
        scope=scope,
    )


TENSOR_SCORE = Theorem(
    key="as24b.score-bound",
    title="size of a score of tensor attention",
    statement=(
        "|Σ_c q_c a_c b_c| / d <= B³ when all entries lie in [-B, B]; attained by entries B. Hence "
        "the threshold (log n)^{1/3}."
    ),
    source=Source(citation=TENSOR, place="bounded entries", fidelity="constants made explicit"),
    experiments=(
        Symbolic(identities=partial(_cubes, 1), covers="statement", scope="d = 1, all entries"),
        Symbolic(identities=partial(_cubes, 6), covers="statement", scope="d = 6, all entries"),
        _tensor_search("d <= 4, whole entries up to 3"),
    ),
    expected=Status.PROVED,
    mutant=_tensor_search("0.95 B³", Fraction(19, 20)),
)

THEOREMS = (HYPOTHESIS, WIDTH, TENSOR_SCORE)
