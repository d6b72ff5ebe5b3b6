"""Causal attention in almost linear time by prefix sums and, in the gradient, suffix sums.

Citation and letters: `gradient`.

M_ij = 1 for j <= i, else 0. Everything here is an identity of polynomials in the entries of the
factors, and a count of operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.counting import Tally
from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Count, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- prefix and suffix sums -----------------------------------------------------------------------
# 1. Row i of (M * U V^T) H is U_i sum_{j <= i} V_j^T H_j: a prefix sum.
# 2. Row j of its transpose against H is V_j sum_{i >= j} U_i^T H_i: a suffix sum.
# 3. Degree 3 on either side: identity testing errs with probability at most 3 / p < 2^-59.


def running_sums(u: Any, v: Any, h: Any) -> Any:
    """Algorithm 2 with a matrix H: c_i = c_{i-1} + V_i^T H_i, Y_i = U_i c_i."""
    c, rows = 0 * (v[:1].T @ h[:1]), []
    for i in range(len(u)):
        c = c + v[i : i + 1].T @ h[i : i + 1]
        rows.append(u[i : i + 1] @ c)
    return np.concatenate(rows)


def _sums(
    source: layer.Source, n: int, k: int, m: int, *, forwards: bool = False
) -> Iterator[Identity]:
    u, v, h = source("u", n, k), source("v", n, k), source("h", n, m)
    masked = np.tril(np.ones((n, n), int)) * (u @ v.T)
    suffix = running_sums(v, u, h) if forwards else running_sums(v[::-1], u[::-1], h[::-1])[::-1]
    both = (("prefix", masked @ h, running_sums(u, v, h)), ("suffix", masked.T @ h, suffix))
    for name, product, found in both:
        for i in range(n):
            for c in range(m):
                yield Identity(product[i, c], found[i, c], f"{name} sums, entry {i}, {c}")


def _sums_symbolic(n: int, k: int, m: int, *, forwards: bool = False) -> Iterator[Identity]:
    shapes = {"u": (n, k), "v": (n, k), "h": (n, m)}
    return _sums(layer.indeterminates(shapes), n, k, m, forwards=forwards)


PREFIX = Theorem(
    key="lss24.causal-prefix",
    title="causal products by prefix and suffix sums",
    statement=(
        "Row i of (M ∘ U Vᵀ) H is U_i c_i with c_i = c_{i-1} + V_iᵀ H_i; row j of (M ∘ U Vᵀ)ᵀ H is "
        "V_j e_j with e_j = e_{j+1} + U_jᵀ H_j."
    ),
    source=Source(
        citation=CITATION,
        place="Algorithm 2 and I.4; the second half is not in the paper",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading=(
        "any U, V, H; the gradients in X (key side) and in W_V multiply by the transpose of the "
        "masked matrix, hence the suffix sums"
    ),
    experiments=(
        Symbolic(
            identities=partial(_sums_symbolic, 6, 3, 2),
            covers="statement",
            scope="n = 6, k = 3, two columns, all inputs",
        ),
        Symbolic(
            identities=partial(layer.tested, _sums, 32, 8, 5),
            grade="pit(2^-59)",
            covers="statement",
            scope="n = 32, k = 8, five columns, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_sums_symbolic, 3, 1, 1, forwards=True),
        covers="statement",
        scope="prefix sums for the transpose as well",
    ),
)

# --- their cost -----------------------------------------------------------------------------------

_WIDTH = 3
"""Columns of H."""


def _operations(size: int) -> int:
    """Flops of `running_sums` for n = size tokens, k = size + 1."""
    tally, n, k = Tally(), size, size + 1
    u, v, h = (tally.array(np.ones(shape)) for shape in ((n, k), (n, k), (n, _WIDTH)))
    c: Any = tally.array(np.zeros((k, _WIDTH)))
    for i in range(n):
        c = c + tally.matmul(v[i : i + 1, :].T, h[i : i + 1, :])
        tally.matmul(u[i : i + 1, :], c)
    return tally.flops


def _cost(size: int, less: int = 1) -> int:
    return size * _WIDTH * (4 * (size + 1) - less)


CAUSAL_COST = Theorem(
    key="lss24.causal-cost",
    title="cost of a causal product",
    statement=(
        "Algorithm 2 with H of k_H columns takes n k_H (4k - 1) operations: 2k for the state and "
        "2k - 1 for the row, per token and column."
    ),
    source=Source(
        citation=CITATION,
        place="I.4: O(n k k_H)",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="additions and multiplications, each counted as one",
    experiments=(
        Count(
            measured=_operations,
            formula=_cost,
            sizes=(1, 2, 5, 16, 40),
            covers="statement",
            scope="n = size, k = size + 1, k_H = 3",
        ),
    ),
    expected=Status.PROVED,
    mutant=Count(
        measured=_operations,
        formula=partial(_cost, less=2),
        sizes=(5, 16),
        covers="statement",
        scope="one operation a token and column less",
    ),
    uses=("lss24.causal-prefix",),
)

# --- entrywise products under the mask ------------------------------------------------------------
# Entry (i, j) for j <= i on either side: d_i (U0_i . V0_j)(U_i . V_j). With H: degree 6; 6 / p <
# 2^-58.


def _khatri_rao(a: Any, b: Any) -> Any:
    return np.concatenate([a[:, i : i + 1] * b for i in range(a.shape[1])], axis=1)


def _masked_product(
    source: layer.Source, n: int, k: int, r: int, *, early: bool = False
) -> Iterator[Identity]:
    u0, v0, u, v = source("u0", n, k), source("v0", n, k), source("u", n, r), source("v", n, r)
    d, h, mask = source("d", n, 1), source("h", n, 1), np.tril(np.ones((n, n), int))
    product = ((d * (mask * (u0 @ v0.T))) * (u @ v.T)) @ h
    left, right = _khatri_rao(u0 if early else d * u0, u), _khatri_rao(v0, v)
    found = running_sums(left, d * right if early else right, h)
    for i in range(n):
        yield Identity(product[i, 0], found[i, 0], f"row {i}")


def _masked_symbolic(n: int, k: int, r: int, *, early: bool = False) -> Iterator[Identity]:
    shapes = {"u0": (n, k), "v0": (n, k), "u": (n, r), "v": (n, r), "d": (n, 1), "h": (n, 1)}
    return _masked_product(layer.indeterminates(shapes), n, k, r, early=early)


MASKED_PRODUCT = Theorem(
    key="lss24.causal-hadamard",
    title="entrywise products under a causal mask",
    statement=(
        "((D⁻¹(M ∘ U₀V₀ᵀ)) ∘ U Vᵀ) H = (M ∘ ((D⁻¹U₀) ⊘ U)(V₀ ⊘ V)ᵀ) H, by one run of prefix sums."
    ),
    source=Source(
        citation=CITATION, place="I.6", fidelity="constants made explicit", wording_verified=True
    ),
    reading="D⁻¹ any diagonal matrix; one column of H stands for all",
    experiments=(
        Symbolic(
            identities=partial(_masked_symbolic, 6, 3, 2),
            covers="statement",
            scope="n = 6, widths 3 and 2, all inputs",
        ),
        Symbolic(
            identities=partial(layer.tested, _masked_product, 32, 8, 4),
            grade="pit(2^-58)",
            covers="statement",
            scope="n = 32, widths 8 and 4, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_masked_symbolic, 2, 1, 1, early=True),
        covers="statement",
        scope="D⁻¹ on the side of the keys",
    ),
    uses=("as24.khatri-rao", "lss24.causal-prefix"),
)

THEOREMS = (PREFIX, CAUSAL_COST, MASKED_PRODUCT)
