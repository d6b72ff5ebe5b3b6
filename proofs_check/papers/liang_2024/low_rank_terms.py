"""Low-rank forms of the five terms of dL/dX (Liang et al. 2024, appendix E), and their errors.

Citation and letters: `gradient`. Let f~ = U1 V1^T of width k, and |f~ - f| <= e_f entry by entry.
Where the paper has epsilon/poly(n), here is the polynomial.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.counting import Tally
from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.papers.shared.certificates import Product, bounded_sum
from proofs_check.statements.experiment import Count, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def _source(place: str, fidelity: Any = "constants made explicit") -> Source:
    return Source(citation=CITATION, place=place, fidelity=fidelity, wording_verified=True)


# --- z6, z7, z2, z4 -------------------------------------------------------------------------------
# 1. Write f = U1 V1^T - E with |E| <= e_f; E, U1, V1, K, G, h are free.
# 2. z6 = f diag(K), so U1 (diag(K) V1)^T - z6 = E diag(K): one product E_ij K_j an entry.
# 3. z2 = diag(K) f likewise: E_ij K_i.
# 4. z7 = f * (h G^T): (U1 kr h)(V1 kr G)^T - z7 = E * (h G^T), d products E_ij h_ic G_jc an entry.
# 5. z4 = f * (G h^T) likewise, with G and h exchanged.


def _khatri_rao(u: Any, a: Any) -> Any:
    return np.concatenate([u[:, i : i + 1] * a for i in range(u.shape[1])], axis=1)


def _scaled(k: int, *, near: bool) -> Iterator[Identity]:
    """z6 and z2 for n = 3 and width 2; the near miss scales the other side."""
    n, width = 3, 2
    shapes = {"u": (n, width), "v": (n, width), "e": (n, n), "k": (n, 1), "top": (1, 2)}
    source = layer.indeterminates(shapes)
    u, v, e, scale, top = (source(name, *shape) for name, shape in shapes.items())
    f, on_columns = u @ v.T - e, k == 6
    right = on_columns != near
    left_factor, right_factor = (u, scale * v) if right else (scale * u, v)
    z = f * scale.T if on_columns else scale * f
    yield Identity(left_factor.shape[1], width, "width")
    for i, j in itertools.product(range(n), repeat=2):
        value = (left_factor @ right_factor.T)[i, j] - z[i, j]
        factor = scale[j if on_columns else i, 0]
        products: list[Product] = [((e[i, j], top[0, 0]), (factor, top[0, 1]))]
        yield from bounded_sum(value, top[0, 0] * top[0, 1], products, f"entry {i}, {j}")


def _multiplied(k: int, *, near: bool) -> Iterator[Identity]:
    """z7 and z4 for n = 3, d = 2 and width 2; the near miss exchanges G and h on one side."""
    n, d, width = 3, 2, 2
    shapes = {"u": (n, width), "v": (n, width), "e": (n, n), "g": (n, d), "h": (n, d)}
    source = layer.indeterminates({**shapes, "top": (1, 3)})
    u, v, e, g, h = (source(name, *shape) for name, shape in shapes.items())
    top_e, top_g, top_h = source("top", 1, 3)[0]
    first, second = (h, g) if k == 7 else (g, h)
    left, right = _khatri_rao(u, first), _khatri_rao(v, first if near else second)
    z = (u @ v.T - e) * (first @ second.T)
    yield Identity(left.shape[1], width * d, "width")
    bounds = (top_h, top_g) if k == 7 else (top_g, top_h)
    for i, j in itertools.product(range(n), repeat=2):
        value = (left @ right.T)[i, j] - z[i, j]
        products: list[Product] = [
            ((e[i, j], top_e), (first[i, c], bounds[0]), (second[j, c], bounds[1]))
            for c in range(d)
        ]
        yield from bounded_sum(value, d * top_e * top_g * top_h, products, f"entry {i}, {j}")


def _form(k: int, *, near: bool = False) -> Iterator[Identity]:
    return _scaled(k, near=near) if k in (6, 2) else _multiplied(k, near=near)


_FORMS = (
    (6, "E.2", "U₆ = U₁, V₆ = diag(K) V₁: |U₆V₆ᵀ - f diag(K)| <= e_f max |K|, of width k", "U₁"),
    (7, "E.4", "U₇ = U₁ ⊘ h, V₇ = V₁ ⊘ G: |U₇V₇ᵀ - f ∘ (h Gᵀ)| <= d e_f max |h| max |G|", "h"),
    (2, "E.7", "U₉ = diag(K) U₁, V₉ = V₁: |U₉V₉ᵀ - diag(K) f| <= e_f max |K|, of width k", "V₁"),
    (4, "E.9", "U₁₀ = U₁ ⊘ G, V₁₀ = V₁ ⊘ h: |U₁₀V₁₀ᵀ - f ∘ (G hᵀ)| <= d e_f max |h| max |G|", "G"),
)


def _low_rank_form(k: int, lemma: str, statement: str, near: str) -> Theorem:
    scaled = k in (6, 2)
    note = "; the printed bound has a further factor n, which is not needed" if scaled else ""
    return Theorem(
        key=f"lss24.low-rank-z{k}",
        title=f"low-rank form of z{k} and its error",
        statement=f"{statement}{'' if scaled else ', of width k d'}, when |U₁V₁ᵀ - f| <= e_f.",
        source=_source(f"Lemma {lemma}", "corrected" if scaled else "constants made explicit"),
        reading=f"entry by entry, any K, G and h{note}; ⊘: row-wise Khatri-Rao product",
        experiments=(
            Symbolic(
                identities=partial(_form, k),
                covers="statement",
                scope="n = 3, width 2, d = 2: factors, width and bound of every entry, all inputs",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_form, k, near=True),
            covers="statement",
            scope=f"diag(K) at {near}" if scaled else f"{near} in both factors",
        ),
        uses=() if scaled else ("as24.khatri-rao",),
        remarks=("Attained by constant matrices of equal signs.",),
    )


# --- from z to D ----------------------------------------------------------------------------------
# An entry of E X W^T is a sum of n d products E_ij X_jb W_ab, each at most e X W.


def _term_error(n: int, d: int, count: int | None = None) -> Iterator[Identity]:
    shapes = {"e": (1, n), "x": (n, d), "w": (1, d), "top": (1, 3)}
    source = layer.indeterminates(shapes)
    e, x, w, top = (source(name, *shape) for name, shape in shapes.items())
    top_e, top_x, top_w = top[0]
    products: list[Product] = [
        ((e[0, j], top_e), (x[j, b], top_x), (w[0, b], top_w))
        for j, b in itertools.product(range(n), range(d))
    ]
    bound = (n * d if count is None else count) * top_e * top_x * top_w
    yield from bounded_sum((e @ x @ w.T)[0, 0], bound, products, f"n = {n}, d = {d}")


TERM_ERROR = Theorem(
    key="lss24.term-error",
    title="from the error of z to the error of a term of dL/dX",
    statement=(
        "|z̃ X Wᵀ - z X Wᵀ| <= n d max |z̃ - z| max |X| max |W|, entry by entry; likewise for z X "
        "W and f G W_Vᵀ."
    ),
    source=_source("error bounds of Lemmas E.3, E.5, E.6, E.8 and E.10"),
    reading="entry by entry; attained by constant matrices",
    experiments=(
        Symbolic(
            identities=partial(_term_error, 2, 2),
            covers="statement",
            scope="n = d = 2, one entry, all inputs",
        ),
        Symbolic(
            identities=partial(_term_error, 4, 3),
            covers="statement",
            scope="n = 4, d = 3, one entry, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_term_error, 4, 3, 11),
        covers="statement",
        scope="11 in place of n d = 12",
    ),
    uses=tuple(f"lss24.low-rank-z{k}" for k, *_ in _FORMS),
)

# --- the size of h --------------------------------------------------------------------------------


def _size_of_values(d: int, count: int | None = None) -> Iterator[Identity]:
    source = layer.indeterminates({"x": (1, d), "v": (d, 1), "top": (1, 2)})
    x, v, (top_x, top_v) = source("x", 1, d), source("v", d, 1), source("top", 1, 2)[0]
    products: list[Product] = [((x[0, b], top_x), (v[b, 0], top_v)) for b in range(d)]
    bound = (d if count is None else count) * top_x * top_v
    yield from bounded_sum((x @ v)[0, 0], bound, products, f"d = {d}")


VALUES_SIZE = Theorem(
    key="lss24.values-size",
    title="size of the values",
    statement="max |X W_V| <= d max |X| max |W_V|, with equality for constant matrices.",
    source=_source("Lemma C.18, which has n in place of d", "corrected"),
    reading="largest entries; n in place of d is true as well when d <= n",
    experiments=(
        Symbolic(
            identities=partial(_size_of_values, 2),
            covers="statement",
            scope="d = 2, one entry, all inputs",
        ),
        Symbolic(
            identities=partial(_size_of_values, 12),
            covers="statement",
            scope="d = 12, one entry, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_size_of_values, 12, 11), covers="statement", scope="11 for d = 12"
    ),
)

# --- the cost of K --------------------------------------------------------------------------------


def _operations(size: int) -> int:
    """Flops of K = (G * s) 1 for n = size tokens, d = size + 1."""
    tally = Tally()
    g, s = (tally.array(np.ones((size, size + 1))) for _ in range(2))
    tally.sum(tally.multiply(g, s), axis=1)
    return tally.flops


def _cost(size: int, less: int = 1) -> int:
    return size * (2 * (size + 1) - less)


K_COST = Theorem(
    key="lss24.k-cost",
    title="cost of the vector K",
    statement="K = (G ∘ s) 1 takes n (2 d - 1) operations once s is known.",
    source=_source("Lemma E.1: O(n d)"),
    reading="additions and multiplications, each counted as one; s itself is not counted",
    experiments=(
        Count(
            measured=_operations,
            formula=_cost,
            sizes=(1, 2, 7, 40),
            covers="statement",
            scope="n = size, d = size + 1",
        ),
    ),
    expected=Status.PROVED,
    mutant=Count(
        measured=_operations,
        formula=partial(_cost, less=2),
        sizes=(1, 2, 7, 40),
        covers="statement",
        scope="one operation a token less",
    ),
)

THEOREMS = (*(_low_rank_form(*form) for form in _FORMS), TERM_ERROR, VALUES_SIZE, K_COST)
