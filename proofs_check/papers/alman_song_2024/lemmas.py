"""Lemmas behind the almost-linear gradient of Alman & Song 2024.

Citation and letters: `gradient`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.alman_song_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- the product of two low-rank matrices ---------------------------------------------------------
# Entry (i, j) on either side is sum_ab U1_ia V1_ja U2_ib V2_jb: degree 4, 4 / p < 2^-58.


def _khatri_rao(a: Any, b: Any) -> Any:
    return np.concatenate([a[:, i : i + 1] * b for i in range(a.shape[1])], axis=1)


def _hadamard(
    source: layer.Source, n: int, r: int, s: int, *, mixed: bool = False
) -> Iterator[Identity]:
    u1, v1, u2, v2 = source("u1", n, r), source("v1", n, r), source("u2", n, s), source("v2", n, s)
    left, right = _khatri_rao(u1, u2), _khatri_rao(v2, v1) if mixed else _khatri_rao(v1, v2)
    product, claimed = (u1 @ v1.T) * (u2 @ v2.T), left @ right.T
    yield Identity(left.shape[1], r * s, "width")
    for i, j in itertools.product(range(n), repeat=2):
        yield Identity(product[i, j], claimed[i, j], f"entry {i}, {j}")


def _hadamard_symbolic(n: int, r: int, s: int, *, mixed: bool = False) -> Iterator[Identity]:
    shapes = {"u1": (n, r), "v1": (n, r), "u2": (n, s), "v2": (n, s)}
    return _hadamard(layer.indeterminates(shapes), n, r, s, mixed=mixed)


HADAMARD = Theorem(
    key="as24.khatri-rao",
    title="entrywise product of two low-rank matrices",
    statement=(
        "(U₁V₁ᵀ) ∘ (U₂V₂ᵀ) = (U₁ ⊘ U₂)(V₁ ⊘ V₂)ᵀ, of rank at most the product of the widths. (⊘: "
        "row-wise Khatri-Rao product.)"
    ),
    source=Source(
        citation=CITATION,
        place="Fact A.2, used in Lemma D.4",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    experiments=(
        Symbolic(
            identities=partial(_hadamard_symbolic, 3, 2, 3),
            covers="statement",
            scope="n = 3, widths 2 and 3, all inputs",
        ),
        Symbolic(
            identities=partial(layer.tested, _hadamard, 16, 4, 5),
            grade="pit(2^-58)",
            covers="statement",
            scope="n = 16, widths 4 and 5, all inputs",
        ),
    ),
    expected=Status.PROVED,
    bookkeeping=True,
    mutant=Symbolic(
        identities=partial(_hadamard_symbolic, 2, 2, 2, mixed=True),
        covers="statement",
        scope="V₂ ⊘ V₁ in place of V₁ ⊘ V₂",
    ),
)

# --- p2 with the rows scaled ----------------------------------------------------------------------
# r_i = <f_i, q_i> = (U1)_i (V1^T V2) (U2)_i^T, and p2 = diag(r) f scales rows. Degree: r has 4, f
# two more; 6 / p < 2^-58.


def _second_part(
    source: layer.Source, n: int, k: int, d: int, *, columns: bool = False
) -> Iterator[Identity]:
    u1, v1, u2, v2 = source("u1", n, k), source("v1", n, k), source("u2", n, d), source("v2", n, d)
    f, q = u1 @ v1.T, u2 @ v2.T
    r = np.sum((u1 @ (v1.T @ v2)) * u2, axis=1)[:, None]
    claimed = u1 @ (r * v1).T if columns else (r * u1) @ v1.T
    for i in range(n):
        total = np.sum(f[i] * q[i])
        yield Identity(r[i, 0], total, f"r_{i} in O(n k d)")
        for j in range(n):
            yield Identity(claimed[i, j], total * f[i, j], f"entry {i}, {j} of p2")


def _second_part_symbolic(n: int, k: int, d: int, *, columns: bool = False) -> Iterator[Identity]:
    shapes = {"u1": (n, k), "v1": (n, k), "u2": (n, d), "v2": (n, d)}
    return _second_part(layer.indeterminates(shapes), n, k, d, columns=columns)


SECOND_PART = Theorem(
    key="as24.p2-corrected",
    title="second part of p, scaled by rows",
    statement=(
        "For f = U₁V₁ᵀ and q = U₂V₂ᵀ: r_i = <f_i, q_i> = (U₁)_i (V₁ᵀV₂) (U₂)_iᵀ, and p2 = diag(r) "
        "f = (diag(r) U₁) V₁ᵀ, of the width of f."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma D.5, the diagonal on the side of the rows",
        fidelity="corrected",
        wording_verified=True,
    ),
    experiments=(
        Symbolic(
            identities=partial(_second_part_symbolic, 3, 2, 2),
            covers="statement",
            scope="n = 3, widths 2 and 2, all inputs",
        ),
        Symbolic(
            identities=partial(layer.tested, _second_part, 16, 5, 4),
            grade="pit(2^-58)",
            covers="statement",
            scope="n = 16, widths 5 and 4, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_second_part_symbolic, 2, 1, 1, columns=True),
        covers="statement",
        scope="U₁ (diag(r) V₁)ᵀ, as printed",
    ),
    uses=("as24.khatri-rao",),
)

# --- from the error of p to the error of the gradient ---------------------------------------------
# 1. Let |x| <= X, |y| <= Y, |z| <= Z. Then
#        4 (X Y Z - x y z) = (X-x)(Y-y)(Z-z) + (X-x)(Y+y)(Z+z) + (X+x)(Y-y)(Z+z) + (X+x)(Y+y)(Z-z).
# 2. Every factor is at least 0, so x y z <= X Y Z; likewise with -x.
# 3. An entry of A1^T P A2 is a sum of n^2 such products.


def _error_bound(n: int, count: int | None = None) -> Iterator[Identity]:
    from sympy import QQ, ring

    pairs = list(itertools.product(range(n), repeat=2))
    names = [
        *(f"a{i}" for i in range(n)),
        *(f"b{j}" for j in range(n)),
        *(f"p{i}{j}" for i, j in pairs),
        "A",
        "B",
        "P",
    ]
    _, *symbols = ring(names, QQ)
    a, b, (top_a, top_b, top_p) = symbols[:n], symbols[n : 2 * n], symbols[-3:]
    p = dict(zip(pairs, symbols[2 * n : -3], strict=True))
    entry = sum((a[i] * p[i, j] * b[j] for i, j in pairs), 0 * top_a)
    for sign in (1, -1):
        parts = 0 * top_a
        for i, j in pairs:
            x = sign * a[i]
            for s, t in itertools.product((1, -1), repeat=2):
                parts += (top_a - s * t * x) * (top_b - s * b[j]) * (top_p - t * p[i, j])
        whole = 4 * ((n**2 if count is None else count) * top_a * top_b * top_p - sign * entry)
        yield Identity(whole, parts, f"n^2 |A1||P||A2| - ({sign}) entry, n = {n}")


PROPAGATION = Theorem(
    key="as24.error-propagation",
    title="from the error of p to the error of the gradient",
    statement=(
        "Every entry of A₁ᵀ (p̃ - p) A₂ is at most n² ‖A₁‖∞ ‖A₂‖∞ ‖p̃ - p‖∞ in size, with equality "
        "for constant matrices."
    ),
    source=Source(
        citation=CITATION,
        place="proof of Theorem D.6",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "largest entries; p̃ - p split into p1 and p2 by the triangle inequality; the factor 1/d "
        "of the gradient left out"
    ),
    experiments=(
        Symbolic(
            identities=partial(_error_bound, 2),
            covers="statement",
            scope="n = 2, one column of A₁ and of A₂, all entries",
        ),
        Symbolic(
            identities=partial(_error_bound, 4),
            covers="statement",
            scope="n = 4, one column of A₁ and of A₂, all entries",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_error_bound, 2, 2), covers="statement", scope="n in place of n²"
    ),
    remarks=(
        "n² is worst case: the rows of p sum to 0 and its entries are weighted by f, which "
        "ours.gradient uses.",
    ),
)

THEOREMS = (HADAMARD, SECOND_PART, PROPAGATION)
