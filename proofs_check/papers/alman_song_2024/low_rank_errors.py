"""Errors of the low-rank steps D.2 to D.5 of Alman & Song 2024, with constants.

Citation and letters: `gradient`. Where the paper has epsilon/poly(n), here is the polynomial.

    F = 1          bound of the entries of f; its rows are weights
    H, C, Q        bounds of the entries of h, c = f h - E and q = c h^T
    e_f            |f~ - f| entry by entry, for f~ = U1 V1^T; likewise e_c and e_q
    r_i            <f_i, q_i>, and p1 = f * q, p2 = diag(r) f

Every bound is attained by constant matrices of equal signs, up to the weights f.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from proofs_check.papers.alman_song_2024.source import CITATION
from proofs_check.papers.shared.certificates import Product, bounded_sum, change_of_product
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def _source(place: str) -> Source:
    return Source(
        citation=CITATION, place=place, fidelity="constants made explicit", wording_verified=True
    )


def _symbols(names: str) -> list[Any]:
    from sympy import QQ, ring

    return list(ring(names, QQ)[1:])


def _numbered(*names: str, count: int) -> str:
    return " ".join(f"{name}{i}" for name in names for i in range(count))


# --- c --------------------------------------------------------------------------------------------
# c~ - c = (f~ - f) h: the E cancels, and an entry is a sum of n products e_j h_j.


def _output(n: int, keys: int | None = None) -> Iterator[Identity]:
    *free, target, big_e, big_h = _symbols(f"{_numbered('e', 'f', 'h', count=n)} E0 e_f H")
    e, f, h = (free[i * n : (i + 1) * n] for i in range(3))
    new = sum(((x + y) * z for x, y, z in zip(f, e, h, strict=True)), -target)
    old = sum((x * z for x, z in zip(f, h, strict=True)), -target)
    products: list[Product] = [((x, big_e), (z, big_h)) for x, z in zip(e, h, strict=True)]
    bound = (n if keys is None else keys) * big_e * big_h
    yield from bounded_sum(new - old, bound, products, f"c~ - c, {n} keys")


ERROR_C = Theorem(
    key="as24.error-c",
    title="from the error of f to the error of c",
    statement="|c̃ - c| <= n e_f H for c̃ = f̃ h - E, c = f h - E, when |f̃ - f| <= e_f, |h| <= H.",
    source=_source("Lemma D.2"),
    reading="largest entries; any E",
    experiments=(
        Symbolic(
            identities=partial(_output, 2),
            covers="statement",
            scope="n = 2, one entry of c, all inputs",
        ),
        Symbolic(
            identities=partial(_output, 6),
            covers="statement",
            scope="n = 6, one entry of c, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_output, 6, 5), covers="statement", scope="5 in place of n = 6"
    ),
    remarks=(
        "The signs of f̃ - f may be those of h, so n is attained; for f̃ of row sums 1 "
        "ours.hilbert has no n.",
    ),
)

# --- q --------------------------------------------------------------------------------------------
# An entry of q~ - q = (c~ - c) h^T is a sum of d products.


def _gradient_factor(d: int, width: int | None = None) -> Iterator[Identity]:
    *free, top, big_h = _symbols(f"{_numbered('c', 'e', 'h', count=d)} e_c H")
    c, e, h = free[:d], free[d : 2 * d], free[2 * d :]
    new = sum(((x + y) * z for x, y, z in zip(c, e, h, strict=True)), 0 * top)
    old = sum((x * z for x, z in zip(c, h, strict=True)), 0 * top)
    products: list[Product] = [((y, top), (z, big_h)) for y, z in zip(e, h, strict=True)]
    bound = (d if width is None else width) * top * big_h
    yield from bounded_sum(new - old, bound, products, f"q~ - q, width {d}")


ERROR_Q = Theorem(
    key="as24.error-q",
    title="from the error of c to the error of q",
    statement="|q̃ - q| <= d e_c H for q̃ = c̃ hᵀ and q = c hᵀ, when |c̃ - c| <= e_c, |h| <= H.",
    source=_source("Lemma D.3, its last display"),
    reading="largest entries; q = h cᵀ has the same bound, as its transpose",
    experiments=(
        Symbolic(
            identities=partial(_gradient_factor, 2),
            covers="statement",
            scope="d = 2, one entry, all inputs",
        ),
        Symbolic(
            identities=partial(_gradient_factor, 6),
            covers="statement",
            scope="d = 6, one entry, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_gradient_factor, 6, 5), covers="statement", scope="5 in place of d = 6"
    ),
)

# --- p1 -------------------------------------------------------------------------------------------
# f~ q~ - f q = f e_q + e_f q + e_f e_q, with |f| <= 1.


def _first_part(*, dropped: bool = False) -> Iterator[Identity]:
    f, q, e, g, top_f, big_q, big_e, big_g = _symbols("f q e g F Q e_f e_q")
    products = change_of_product(((f, top_f), (q, big_q)), ((e, big_e), (g, big_g)))
    bound = top_f * big_g + big_e * big_q + (0 if dropped else 1) * big_e * big_g
    yield from bounded_sum((f + e) * (q + g) - f * q, bound, products, "p1~ - p1")


ERROR_P1 = Theorem(
    key="as24.error-p1",
    title="from the errors of f and q to the error of p1",
    statement=(
        "|f̃ ∘ q̃ - f ∘ q| <= F e_q + e_f Q + e_f e_q, when |f| <= F, |q| <= Q, |f̃ - f| <= e_f, "
        "|q̃ - q| <= e_q; for weights F = 1."
    ),
    source=_source("Lemma D.4, its error"),
    reading="largest entries, hence every n",
    experiments=(
        Symbolic(identities=_first_part, covers="statement", scope="one entry, all inputs"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_first_part, dropped=True), covers="statement", scope="without e_f e_q"
    ),
    uses=("as24.khatri-rao",),
)

# --- p2 -------------------------------------------------------------------------------------------
# 1. (p2)_ij = sum_k f_ik q_ik f_ij, a sum of n products of three factors.
# 2. With errors each product changes by seven products, of which every one is bounded.
# 3. Their bounds add up to (1 + e_f)^2 (Q + e_q) - Q for F = 1.


def _second_part(n: int, keys: int | None = None) -> Iterator[Identity]:
    *free, big_q, big_e, big_g = _symbols(f"{_numbered('f', 'q', 'e', 'g', count=n)} Q e_f e_q")
    f, q, e, g = (free[i * n : (i + 1) * n] for i in range(4))
    one = 0 * big_q + 1
    new = sum(((f[k] + e[k]) * (q[k] + g[k]) for k in range(n)), 0 * one) * (f[0] + e[0])
    old = sum((f[k] * q[k] for k in range(n)), 0 * one) * f[0]
    products: list[Product] = []
    for k in range(n):
        before = ((f[k], one), (q[k], big_q), (f[0], one))
        products += change_of_product(before, ((e[k], big_e), (g[k], big_g), (e[0], big_e)))
    bound = (n if keys is None else keys) * ((1 + big_e) ** 2 * (big_q + big_g) - big_q)
    yield from bounded_sum(new - old, bound, products, f"p2~ - p2, {n} keys")


ERROR_P2 = Theorem(
    key="as24.error-p2",
    title="from the errors of f and q to the error of p2",
    statement=(
        "|p̃₂ - p₂| <= n ((1 + e_f)² (Q + e_q) - Q) for p₂ = diag(r) f, r_i = <f_i, q_i>, when |f| "
        "<= 1, |q| <= Q, |f̃ - f| <= e_f, |q̃ - q| <= e_q."
    ),
    source=_source("Lemma D.5, its error; the diagonal on the side of the rows"),
    reading="largest entries; f any matrix of entries at most 1, weights among them",
    experiments=(
        Symbolic(
            identities=partial(_second_part, 2),
            covers="statement",
            scope="n = 2, one entry, all inputs",
        ),
        Symbolic(
            identities=partial(_second_part, 4),
            covers="statement",
            scope="n = 4, one entry, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_second_part, 4, 3), covers="statement", scope="3 in place of n = 4"
    ),
    uses=("as24.p2-corrected",),
    remarks=(
        "To first order n (2 Q e_f + e_q). With the row sums of f known to be 1, the n in front "
        "of e_q falls away; the paper does not use it.",
    ),
)

THEOREMS = (ERROR_C, ERROR_Q, ERROR_P1, ERROR_P2)
