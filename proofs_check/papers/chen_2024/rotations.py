"""Attention with rotary positions (Chen et al. 2024): scores, gradient, size of entries.

Read: the abstract. Position i turns each pair of coordinates by an angle i theta of its own; R_i is
the whole rotation.

1. <R_i q, R_j k> = q^T R_(j-i) k, since R_i^T R_j = R_(j-i).
2. With any matrices A_i, B_j in place of R_i, R_j the scores are S_ij = q_i^T A_i^T B_j k_j. The
   loss has the slope sum_ij g_ij dS_ij, where g = p o (u - (p.u)) by the quotient rule and
   u_ij = <v_j, t_i>, t the gradient at the output.
3. So dL/dq_i = A_i^T sum_j g_ij B_j k_j and dL/dk_j = B_j^T sum_i g_ij A_i q_i: the gradients of
   the turned queries and keys, turned back.
4. A rotation of (x, y) with |x|, |y| <= B has entries at most sqrt(x^2 + y^2) <= sqrt 2 B, attained
   at 45 degrees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.chen_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def _source(place: str) -> Source:
    return Source(citation=CITATION, place=place, fidelity="constants made explicit")


def _rotation(cosine: Any, sine: Any, times: int) -> Any:
    """The 2 x 2 rotation by `times` the angle; negative times turn back."""
    turn = np.array([[cosine, -sine], [sine, cosine]], dtype=object)
    if times < 0:
        turn = turn.T
    result = np.array([[1, 0], [0, 1]], dtype=object)
    for _ in range(abs(times)):
        result = result @ turn
    return result


def _relative(sign: int = 1) -> Iterator[Identity]:
    """One pair of coordinates, any angle: cosine and sine are rational functions of t."""
    from sympy import QQ, field

    _, t, *free = field("t, q0, q1, k0, k1", QQ)
    cosine, sine = (1 - t**2) / (1 + t**2), 2 * t / (1 + t**2)
    q, k = np.array(free[:2], dtype=object), np.array(free[2:], dtype=object)
    for i, j in itertools.product(range(4), repeat=2):
        turned = (_rotation(cosine, sine, i) @ q) @ (_rotation(cosine, sine, j) @ k)
        relative = q @ (_rotation(cosine, sine, sign * (j - i)) @ k)
        yield Identity(turned, relative, f"positions {i}, {j}")


def _gradient(source: layer.Source, n: int, d: int, *, back: bool = True) -> Iterator[Identity]:
    """Slopes of the loss along free directions, by the quotient rule and by step 3."""
    f = layer.weights(source("f", n, n - 1))
    q, k, zq, zk, v, t = (source(name, n, d) for name in ("q", "k", "zq", "zk", "v", "t"))
    a = [source(f"a{i}", d, d) for i in range(n)]
    b = [source(f"b{i}", d, d) for i in range(n)]

    def turn(by: list[Any], rows: Any) -> Any:
        return np.array([m @ row for m, row in zip(by, rows, strict=True)], dtype=object)

    u = t @ v.T
    g = f * (u - np.sum(f * u, axis=1)[:, None])
    turned_q, turned_k = turn(a, q), turn(b, k)
    to_q, to_k = g @ turned_k, g.T @ turned_q
    if back:
        to_q, to_k = turn([m.T for m in a], to_q), turn([m.T for m in b], to_k)
    for name, gradient, direction, slope in (
        ("Q", to_q, zq, turn(a, zq) @ turned_k.T),
        ("K", to_k, zk, turned_q @ turn(b, zk).T),
    ):
        found = layer.attention_loss_slope(f, slope, u, 0 * u)
        yield Identity(found, np.sum(gradient * direction), f"dL/d{name}, n = {n}")


def _tested(n: int, d: int, *, back: bool = True) -> Symbolic:
    """Degree at most 9 on either side: 9 / p < 2^-57."""
    return Symbolic(
        identities=partial(layer.tested, partial(_gradient, back=back), n, d),
        grade="pit(2^-57)",
        covers="statement",
        scope=f"n = {n}, d = {d}, all inputs and any matrices for the rotations",
    )


def _entries(_bits: int, most: Fraction = Fraction(2)) -> list[Comparison]:
    """Squares of the entries of turned vectors with entries +-1, over many rational angles."""
    found = []
    for m in range(1, 60):
        cosine, sine = Fraction(60**2 - m**2, 60**2 + m**2), Fraction(120 * m, 60**2 + m**2)
        for x, y in itertools.product((-1, 0, 1), repeat=2):
            for turned in (cosine * x - sine * y, sine * x + cosine * y):
                found.append(Comparison(turned**2, most, f"t = {m}/60, ({x}, {y})"))
    return found


def _length() -> Iterator[Identity]:
    from sympy import QQ, field

    _, t, x, y = field("t, x, y", QQ)
    cosine, sine = (1 - t**2) / (1 + t**2), 2 * t / (1 + t**2)
    first, second = cosine * x - sine * y, sine * x + cosine * y
    yield Identity(first**2 + second**2, x**2 + y**2, "a rotation keeps the length")


THEOREMS = (
    Theorem(
        key="rope.relative",
        title="rotated queries and keys see relative positions only",
        statement="⟨R_i q, R_j k⟩ = qᵀ R_(j - i) k.",
        source=_source("the score with rotary positions"),
        experiments=(
            Symbolic(
                identities=_relative,
                covers="statement",
                scope="one pair of coordinates, positions 0 to 3, any angle, q and k",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_relative, -1), covers="statement", scope="R_(i - j) in its place"
        ),
    ),
    Theorem(
        key="rope.gradient",
        title="the gradient of rotary attention",
        statement=(
            "dL/dq_i = R_iᵀ Σ_j g_ij R_j k_j and dL/dk_j = R_jᵀ Σ_i g_ij R_i q_i, g = P ∘ (T Vᵀ - "
            "rowsum(P ∘ T Vᵀ)): the gradients of attention at the rotated inputs, rotated back."
        ),
        source=_source("the gradient with rotary positions"),
        reading="ours: an exact identity, which any fast way to compute it must approximate",
        experiments=(_tested(3, 2), _tested(4, 2)),
        expected=Status.PROVED,
        mutant=_tested(3, 2, back=False),
        uses=("rope.relative",),
    ),
    Theorem(
        key="rope.entries",
        title="rotations enlarge entries by at most the root of 2",
        statement=(
            "If all entries of q are at most B in size, those of R_i q are at most √2 B; nothing "
            "smaller will do."
        ),
        source=_source("the hypothesis of bounded entries, after the rotation"),
        experiments=(
            Symbolic(
                identities=_length, covers="statement", scope="any angle: x² + y² <= 2B², step 4"
            ),
            Enclose(
                certify=_entries,
                covers="statement",
                scope="59 rational angles, entries -1, 0, 1, squares at most 2",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_entries, most=Fraction(99, 50)),
            covers="statement",
            scope="√1.98 in place of √2",
        ),
        remarks=("B = o(√log n) stays o(√log n), so the threshold of Alman & Song is not moved.",),
    ),
)
