"""HyperAttention (Han et al. 2023): its criterion, its parameter, and sampling by row norms.

Read: the abstract. As the rest is usually quoted: with P = D^-1 A, A = exp(Q K^T), an output Z is
accepted when |Z - P V| <= eps |P| |V| in spectral norms. Columns of P are sampled with q_j
proportional to |v_j|^2. The parameter is alpha = n max_j |P e_j|^2.

1. m draws give Z = (1/m) sum P e_j v_j^T / q_j. E Z = P V, and m E |Z - P V|_F^2 is
   sum_j |P e_j|^2 |v_j|^2 / q_j - |P V|_F^2.
2. For q_j = |v_j|^2 / |V|_F^2 the sum is |P|_F^2 |V|_F^2.
3. The zero output is accepted exactly when |P V| <= eps |P| |V|, which holds for eps = 1 always.
4. If the normaliser of each row is off by at most eps/3 of itself, each row of P is off by at most
   (eps/3) / (1 - eps/3) <= eps/2 of itself, for eps <= 1: the gap is eps (1 - eps) / (2 (3 - eps)).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.han_2023.source import CITATION
from proofs_check.papers.shared.shipped_heads import heads, largest_singular_value, stretch
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)

ACCEPTED = (*(Fraction(x, 100) for x in (44, 71, 12, 18, 13, 13, 17, 29)),)
"""An eps that accepts the zero output, head by head."""

ALPHA = (27, 424, 4135, 2116, 5431, 6497, 1736, 2800)
"""A number below alpha, head by head; n = 256 and n^2 = 65536."""


def _source(place: str) -> Source:
    return Source(citation=CITATION, place=place, fidelity="constants made explicit")


def _zero_output(_bits: int, part: Fraction = ONE) -> list[Comparison]:
    from flint import arb_mat

    found = []
    for head, epsilon in zip(heads(), ACCEPTED, strict=True):
        rows = (head.matrix * head.values).tolist()
        outputs = [[x / s for x in row] for row, s in zip(rows, head.sums, strict=True)]
        output = arb_mat(len(outputs), len(outputs[0]), [x for row in outputs for x in row])
        above = largest_singular_value(output)[1]
        below = stretch(head) * largest_singular_value(head.values)[0]
        found.append(Comparison(above / below, part * epsilon, head.name))
    return found


def _columns(_bits: int, part: Fraction = ONE) -> list[Comparison]:
    """n times the squared norm of the column that is longest in floats: a lower bound of alpha."""
    found = []
    for head, alpha in zip(heads(), ALPHA, strict=True):
        p = np.array([[float(w) for w in row] for row in head.weights])
        p /= p.sum(axis=1, keepdims=True)
        j = int(np.argmax((p * p).sum(axis=0)))
        rows = zip(head.weights, head.sums, strict=True)
        squares: Any = sum((row[j] / s) ** 2 for row, s in rows)
        found.append(Comparison(part * alpha, len(p) * squares, head.name))
    return found


# --- sampling -------------------------------------------------------------------------------------


def _sampling(part: Fraction = ONE) -> Iterator[Identity]:
    """m = 1, 2 draws of n = 3 columns, every outcome with its probability; d = 1, two rows of P.

    The values are free, so that a row of V is one number v_j.
    """
    from sympy import QQ, field

    n, rows = 3, 2
    _, *free = field([*(f"p{i}{j}" for i in range(rows) for j in range(n)), "v0", "v1", "v2"], QQ)
    p, v = [free[:n], free[n : 2 * n]], free[2 * n :]
    zero = 0 * free[0]
    total = sum((x * x for x in v), zero)
    q = [x * x / total for x in v]
    exact = [sum((a * b for a, b in zip(row, v, strict=True)), zero) for row in p]
    frobenius = sum((x * x for row in p for x in row), zero)
    for m in (1, 2):
        mean, square = [zero] * rows, zero
        for draws in itertools.product(range(n), repeat=m):
            chance = zero + 1
            for j in draws:
                chance *= q[j]
            for i in range(rows):
                z = sum((p[i][j] * v[j] / q[j] for j in draws), zero) / m
                mean[i] += chance * z
                square += chance * (z - exact[i]) ** 2
        for i in range(rows):
            yield Identity(mean[i], exact[i], f"m = {m}: mean of row {i}")
        share = QQ(part.numerator, part.denominator)
        claimed = share * frobenius * total - sum((x * x for x in exact), zero)
        yield Identity(m * square, claimed, f"m = {m}: m times the squared error")


def _normaliser(most: Fraction = ONE) -> Enclose:
    return Enclose(
        lhs=_relative,
        rhs=_half,
        box=((Fraction(1, 1000), most),),
        covers="statement",
        scope="every eps in [1/1000, 99/100]",
    )


def _relative(epsilon: Any) -> Any:
    return (epsilon / 3) / (1 - epsilon / 3)


def _half(epsilon: Any) -> Any:
    return epsilon / 2


THEOREMS = (
    Theorem(
        key="hyper.null-baseline",
        title="the zero output passes HyperAttention's criterion on real heads",
        statement=(
            "‖0 - PV‖ <= ε ‖P‖ ‖V‖ in spectral norms with ε = 0.44, 0.71, 0.12, 0.18, 0.13, 0.13, "
            "0.17, 0.29 on the 8 shipped MiniLM heads: with ε = 1/2 on 7 of 8."
        ),
        source=_source("the spectral criterion, eq. (1)"),
        reading="the criterion says nothing at these ε: an output that ignores its input meets it",
        experiments=(
            Enclose(
                certify=_zero_output,
                covers="statement",
                scope="8 heads of all-MiniLM-L6-v2, n = 256, d = 32",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_zero_output, part=Fraction(49, 50)),
            covers="statement",
            scope="49/50 of each ε",
        ),
        remarks=(
            "KDEformer asks the same; SubGen the same row by row (subgen.null-baseline); Linformer "
            "with the Frobenius norm of V (linformer.null-baseline).",
        ),
    ),
    Theorem(
        key="hyper.row-norms",
        title="exact error of sampling by the norms of the values",
        statement=(
            "m E ‖Z - PV‖_F² = ‖P‖_F² ‖V‖_F² - ‖PV‖_F² for m independent draws with q_j = "
            "‖v_j‖²/‖V‖_F², and E Z = PV."
        ),
        source=_source("sampling by row norms"),
        experiments=(
            Symbolic(
                identities=_sampling,
                covers="statement",
                scope="3 keys, one column of V, two rows of P, m = 1, 2, all P and V",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_sampling, Fraction(21, 20)),
            covers="statement",
            scope="21/20 of the first term",
        ),
    ),
    Theorem(
        key="hyper.alpha-on-heads",
        title="the parameter of HyperAttention on real heads",
        statement=(
            "α = n max_j ‖P e_j‖² is at least 27, 424, 4135, 2116, 5431, 6497, 1736, 2800 on the 8 "
            "shipped heads, n = 256."
        ),
        source=Source(
            citation=CITATION,
            place="abstract, parameter (1): the max column norm in the normalised matrix",
            fidelity="constants made explicit",
            wording_verified=True,
        ),
        reading="times n, so that 1 is the least value and n² = 65536 the largest",
        experiments=(
            Enclose(
                certify=_columns,
                covers="statement",
                scope="8 heads of all-MiniLM-L6-v2, n = 256",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_columns, part=Fraction(51, 50)),
            covers="statement",
            scope="51/50 of each number",
        ),
        remarks=(
            "On 7 of 8 heads α exceeds n: some key draws attention from most queries, the case the "
            "parameter is to exclude.",
        ),
    ),
    Theorem(
        key="hyper.normaliser",
        title="how exact the normaliser has to be",
        statement=(
            "Row sums known to a relative error of ε/3 change each row of P by at most ε/2 of "
            "itself, for ε < 1."
        ),
        source=_source("the step from the row sums to the criterion"),
        reading="(ε/3)/(1 - ε/3) <= ε/2; equality at ε = 1, so 1/3 cannot be enlarged",
        experiments=(_normaliser(Fraction(99, 100)),),
        expected=Status.PROVED,
        mutant=_normaliser(Fraction(21, 20)),
        bookkeeping=True,
    ),
)
