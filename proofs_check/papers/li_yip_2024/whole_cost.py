"""What BERT-LSH saves when all of its work is counted.

Citation and letters: `collisions`.

P      expected share of colliding pairs; for one table of K bits and T cells, at right angles,
       P = 2^-K + (1 - 2^-K)/T
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.li_yip_2024.source import CITATION
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def _share(k: int, t: int) -> Fraction:
    return Fraction(1, 2**k) + (1 - Fraction(1, 2**k)) / t


def _ratios(n: int, k: int = 2, tables: int = 1, cells: int = 256) -> dict[str, Fraction]:
    """Multiply-adds over those of Q K^T (n^2 d), and with the product by V on both sides."""
    p, hashing = _share(k, cells), Fraction(2 * k * tables, n)
    return {"reported": hashing, "all pairs": hashing + p, "with P V": (hashing + p + 1) / 2}


_TABLE = {10: (400, 653, 826), 32: (125, 378, 689), 128: (31, 284, 642), 512: (8, 261, 630)}
"""Thousandths, rounded to the nearest."""


def _table(off: int = 0) -> Iterator[Identity]:
    for n, expected in _TABLE.items():
        for (name, ratio), thousandths in zip(_ratios(n).items(), expected, strict=True):
            yield Identity(
                round(1000 * ratio), thousandths + off, f"n = {n}, {name}: {float(ratio):.4f}"
            )


def _limits(factor: Fraction = Fraction(1)) -> Iterator[Identity]:
    """The ratio at n minus its limit is 2 K L/n: nothing but the hashing fades, so the work grows
    as P n^2 d.
    """
    for k, tables, cells in ((2, 1, 256), (4, 2, 64), (8, 4, 256)):
        for n in (10**3, 10**6, 10**9):
            p = factor * _share(k, cells)
            yield Identity(
                _ratios(n, k, tables, cells)["all pairs"] - p,
                Fraction(2 * k * tables, n),
                f"K = {k}, L = {tables}, n = {n}",
            )


_CODE = "modeling_lsh_bert.py and its configuration: K = 2, L = 1, T = 256, width 64"

THEOREMS: tuple[Any, ...] = (
    Theorem(
        key="bert-lsh.honest-flops",
        title="the work of attention with hashing, scores and values counted",
        statement=(
            "At right angles, K = 2, L = 1, T = 256: the hashing alone is 0.4 of Q Kᵀ at n = 10 "
            "and 0.008 at n = 512, hashing and colliding scores are 0.653 and 0.261, and with the "
            "product by V on both sides 0.826 and 0.630."
        ),
        source=Source(citation=CITATION, place=_CODE, fidelity="corrected"),
        reading=(
            "multiply-adds; the expected share of colliding pairs, 0.2529; softmax on neither side"
        ),
        experiments=(
            Symbolic(
                identities=_table,
                grade="exact-rational",
                covers="statement",
                scope="n = 10, 32, 128, 512",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_table, off=1),
            grade="exact-rational",
            covers="statement",
            scope="a thousandth more",
        ),
        uses=("bert-lsh.collision", "bert-lsh.flops-hash-only"),
    ),
    Theorem(
        key="bert-lsh.not-subquadratic",
        title="a constant factor, at fixed bits and tables",
        statement=(
            "Hashing and colliding scores take (2 K L/n + P) n² d multiply-adds with P >= 2⁻ᴷ "
            "fixed: P n² d in the limit, quadratic in n."
        ),
        source=Source(citation=CITATION, place=_CODE, fidelity="ours"),
        reading=(
            "queries and keys at right angles, one table; other angles below a right one collide "
            "more"
        ),
        experiments=(
            Symbolic(
                identities=_limits,
                grade="exact-rational",
                covers="statement",
                scope="three settings, n = 10³, 10⁶, 10⁹",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_limits, factor=Fraction(99, 100)),
            grade="exact-rational",
            covers="statement",
            scope="0.99 P in place of P",
        ),
        uses=("bert-lsh.honest-flops",),
        remarks=("Subquadratic only if K grows with log n, when fewer pairs are seen.",),
    ),
)
