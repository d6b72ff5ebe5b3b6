"""J. Alman and Z. Song on the complexity of gradients: the formula, and where it is misprinted.

"The Fine-Grained Complexity of Gradient Computation for Training Large Language Models", NeurIPS
2024, arXiv 2402.04497. The gradient of one attention layer's quadratic loss with respect to its
score matrix is computed in almost linear time when the entries are bounded. Under SETH it is not
computed in subquadratic time when they are not. The gradient is A1^T p A2 with p built from the
attention matrix; each factor is replaced by a low-rank one.

Here: the formula itself, and three places where the printed one does not agree with the
definitions.

Read: the paper's text.

    paper                          here
    f(x)_{j0}, u, alpha            f_i = softmax of row i of A1 X A2^T / d
    h(y) = A3 Y, c = f h - E       the same
    q(x)_{j0} = (c h^T)_{j0}       q = c h^T (Definition C.3)
    p(x)_{j0}                      p_i = (diag(f_i) - f_i f_i^T) q_i = f_i * (q_i - r_i),
                                   r_i = <f_i, q_i>; p = p1 - p2
    L(X)                           |f h - E|_F^2 / 2
    D_Z                            derivative in the direction Z of X: S' = A1 Z A2^T / d
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.alman_song_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Assumption, Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# 1. D_Z L = sum_ic c_ic ((f h)_ic)', since c is a factor of a square. So c is held fixed inside the
#    derivative of <c, f h>.
# 2. Total degree of c h^T: 1 + 1 + 1 (f h, times h). f * (q - <f, q>) has two more, A1 . A2 and Z
#    three more: 8 on either side.
# 3. Identity testing errs with probability at most 8 / p < 2^-57.


def _loss_slope(f: Any, a1: Any, a2: Any, h: Any, e: Any, z: Any) -> Any:
    """d times D_Z L."""
    c = f @ h - e
    u = c @ h.T
    return layer.attention_loss_slope(f, a1 @ z @ a2.T, u, 0 * u)


def _printed(f: Any, a1: Any, a2: Any, h: Any, e: Any, *, variant: str) -> Any:
    c = f @ h - e
    q = h @ c.T if variant == "q transposed" else c @ h.T
    r = np.sum(f * q, axis=1)[:, None]  # (n, 1)
    p = f * q if variant == "p1 alone" else f * q - r * f
    return a1.T @ p @ a2


def _gradient(source: layer.Source, n: int, d: int, variant: str = "") -> Iterator[Identity]:
    f, a1, a2 = layer.weights(source("f", n, n - 1)), source("a", n, d), source("b", n, d)
    h, e, z = source("h", n, d), source("e", n, d), source("z", d, d)
    claimed = np.sum(_printed(f, a1, a2, h, e, variant=variant) * z)
    slope = _loss_slope(f, a1, a2, h, e, z)
    yield Identity(slope, claimed, f"d D_Z L, n = {n}, d = {d}")


def _symbolic(n: int, d: int, variant: str = "") -> Iterator[Identity]:
    shapes = {"f": (n, n - 1), "a": (n, d), "b": (n, d), "h": (n, d), "e": (n, d), "z": (d, d)}
    return _gradient(layer.indeterminates(shapes), n, d, variant)


# For refutations: whole A1, A2, X, h, E and a direction Z; |d D_Z L - d <claimed, Z>| in balls
# against 0.

_SHAPES = {"a1": "nd", "a2": "nd", "x": "dd", "h": "nd", "e": "nd", "z": "dd"}


def _error(m: Mapping[str, Any], variant: str = "", factor: int = 1) -> Any:
    d = m["x"].shape[0]
    f = layer.softmax(m["a1"] @ m["x"] @ m["a2"].T / d)
    claimed = _printed(f, m["a1"], m["a2"], m["h"], m["e"], variant=variant)
    slope = _loss_slope(f, m["a1"], m["a2"], m["h"], m["e"], m["z"])
    return abs(slope - (d if variant == "no 1/d" else 1) * factor * np.sum(claimed * m["z"]))


def _matrices() -> Any:
    return layer.integer_matrices(_SHAPES)


def _float_error(instance: Instance, variant: str, factor: int = 1) -> float:
    return max(float(_error(instance, variant, factor)) - 1e-9, 0.0)


def _ball_error(instance: Instance, variant: str, factor: int = 1) -> tuple[Any, int]:
    return _error(layer.ball_matrices(instance), variant, factor), 0


def _nothing(_instance: Instance) -> float:
    return 0.0


def _witness(d: int) -> dict[str, Any]:
    """Two tokens, equal weights, first columns only: A1 = (1, 0), A2 = h = (0, 1), X = E = 0, Z the
    first unit matrix.
    """
    first = np.eye(1, d)
    token = {"a1": np.vstack([first, 0 * first]), "a2": np.vstack([0 * first, first])}
    zero, unit = np.zeros((d, d)), first.T @ first
    return {**token, "x": zero, "h": token["a2"], "e": 0 * token["a1"], "z": unit}


_SEARCH: dict[str, Any] = {
    "instances": _matrices,
    "bound": _nothing,
    "tries": 100,
    "examples": (_witness(2),),
}
_SMALL = "n <= 3, d <= 2, whole inputs and directions in [-2, 2]; error of d D_Z L against 0"

GRADIENT = Theorem(
    key="as24.gradient",
    title="gradient of one attention layer's quadratic loss",
    statement=(
        "dL/dX = (1/d) A1ᵀ p A2 for L(X) = |D⁻¹ exp(A1 X A2ᵀ / d) h - E|² / 2, p_i = f_i ∘ (q_i - "
        "<f_i, q_i>), q = (f h - E) hᵀ."
    ),
    source=Source(
        citation=CITATION,
        place="Definition 1.2 and Lemma C.7, the factor 1/d of the former kept",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading=(
        "every direction Z of X at once; exp(S_ij) as free indeterminates; h = A3 Y of any value"
    ),
    experiments=(
        Symbolic(identities=partial(_symbolic, 2, 2), scope="n = 2, d = 2, all inputs"),
        Symbolic(identities=partial(_symbolic, 3, 2), scope="n = 3, d = 2, all inputs"),
        Symbolic(
            identities=partial(layer.tested, _gradient, 16, 8),
            grade="pit(2^-57)",
            scope="n = 16, d = 8, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_symbolic, 2, 1, "p1 alone"), scope="p1 in place of p1 - p2"
    ),
)

PRINTED = Theorem(
    key="as24.gradient-printed",
    title="gradient formula without the factor 1/d",
    statement="dL/dX = A1ᵀ p A2 for L(X) = |D⁻¹ exp(A1 X A2ᵀ / d) h - E|² / 2.",
    source=Source(
        citation=CITATION,
        place="Lemma C.7 for the loss of Definition 1.2",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "both definitions taken literally together; the appendix announces that it drops 1/d, and "
        "Lemma D.6 has it again inside f"
    ),
    alternative_readings=(
        "With exp(A1 X A2ᵀ) in the loss the formula is right: as24.gradient at d replaced by 1 in "
        "the scores.",
    ),
    experiments=(
        Falsify(
            measured=partial(_float_error, variant="no 1/d"),
            confirm=partial(_ball_error, variant="no 1/d"),
            scope=_SMALL,
            **_SEARCH,
        ),
    ),
    expected=Status.REFUTED,
    mutant=Falsify(
        measured=partial(_float_error, variant="", factor=2),
        confirm=partial(_ball_error, variant="", factor=2),
        scope="a factor 2 in place of d",
        **_SEARCH,
    ),
    uses=("as24.gradient",),
    repaired_by="as24.gradient",
    by_hand=ByHand(
        instance=(
            "n = d = 2, all entries 0 but (A1)_11 = (A2)_21 = h_21 = 1; the slope in x = X_11 at X "
            "= 0."
        ),
        shows=(
            "L = f²/2 + 1/8 with f = 1/(1 + e^(-x/2)), so dL/dx = (1/2)(1/4)(1/2) = 1/16. Printed: "
            "1/8."
        ),
    ),
    remarks=(
        "Off by exactly d, which no bound on running time notices; code that follows it does.",
    ),
)

Q_PRINTED = Theorem(
    key="as24.q-printed",
    title="q with its factors exchanged",
    statement="dL/dX = (1/d) A1ᵀ p A2 with p_i = f_i ∘ (q_i - <f_i, q_i>) and q = h cᵀ.",
    source=Source(
        citation=CITATION,
        place="Lemma D.3 prints q = h cᵀ where Definition C.3 has q = c hᵀ",
        fidelity="verbatim",
        wording_verified=True,
    ),
    reading="the q of Lemma D.3 used in the gradient",
    experiments=(
        Falsify(
            measured=partial(_float_error, variant="q transposed"),
            confirm=partial(_ball_error, variant="q transposed"),
            scope=_SMALL,
            **_SEARCH,
        ),
    ),
    expected=Status.REFUTED,
    mutant=Falsify(
        measured=partial(_float_error, variant="q transposed", factor=2),
        confirm=partial(_ball_error, variant="q transposed", factor=2),
        scope="twice that q",
        **_SEARCH,
    ),
    repaired_by="as24.gradient",
    by_hand=ByHand(
        instance=(
            "n = d = 2, all entries 0 but (A1)_11 = (A2)_21 = h_21 = 1; the slope in x = X_11 at X "
            "= 0."
        ),
        shows=(
            "c = f h has the rows (1/2, 0), so h cᵀ has the rows (0, 0) and (1/2, 1/2): p = 0, and "
            "the printed slope is 0. The true one is 1/16."
        ),
    ),
)

# --- the second part of p -------------------------------------------------------------------------


def _pairs() -> Any:
    from hypothesis import strategies as st

    def matrices(n: int) -> Any:
        def square(entries: Any) -> Any:
            return st.lists(st.lists(entries, min_size=n, max_size=n), min_size=n, max_size=n)

        return st.fixed_dictionaries(
            {"weights": square(st.integers(1, 9)), "q": square(st.integers(-3, 3))}
        )

    return st.integers(1, 3).flatmap(matrices)


def _is_pair(instance: Instance) -> bool:
    rows, q = instance["weights"], instance["q"]
    return len(rows) == len(q) > 0 and all(x > 0 for row in rows for x in row)


_POSITIVE = Assumption(
    text="f is a matrix of positive weights whose rows sum to one; q any matrix",
    predicate=_is_pair,
    generator=_pairs,
)


def _second_part(instance: Instance, divisor: int = 1) -> tuple[Fraction, int]:
    """Largest entry of |diag(r) f - f diag(r) / divisor|, r_i = <f_i, q_i>, against 0."""
    f = [[Fraction(x, sum(row)) for x in row] for row in instance["weights"]]
    r = [
        sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))
        for a, b in zip(f, instance["q"], strict=True)
    ]
    n = range(len(f))
    errors: list[Fraction] = [abs(r[i] * f[i][j] - f[i][j] * r[j] / divisor) for i in n for j in n]
    return max(errors), 0


P2_PRINTED = Theorem(
    key="as24.p2-printed",
    title="second part of p, scaled by columns",
    statement="p2 = f diag(r), r_i = <f_i, q_i>, equals the matrix with rows f_i f_iᵀ q_i.",
    source=Source(
        citation=CITATION,
        place="Lemma D.5 (p̃2 = f̃ diag(r̃), V4 = diag(r̃) V1)",
        fidelity="verbatim",
        wording_verified=True,
    ),
    reading=(
        "an identity of matrices; row i of p2 is f_i <f_i, q_i> by Definition C.5, so it must be "
        "diag(r) f, U4 = diag(r̃) U1, V4 = V1"
    ),
    assumptions=(_POSITIVE,),
    experiments=(
        search_by(
            _second_part,
            instances=_pairs,
            assumptions=(_POSITIVE,),
            examples=({"weights": [[9, 1], [5, 5]], "q": [[1, 0], [0, 0]]},),
            scope="up to 3 tokens, whole weights, error of p2 against 0",
        ),
    ),
    expected=Status.REFUTED,
    mutant=search_by(
        partial(_second_part, divisor=2),
        instances=_pairs,
        assumptions=(_POSITIVE,),
        examples=({"weights": [[9, 1], [5, 5]], "q": [[1, 0], [0, 0]]},),
        scope="f diag(r) / 2",
    ),
    repaired_by="as24.p2-corrected",
    by_hand=ByHand(
        instance="f = [[0.9, 0.1], [0.5, 0.5]], q = [[1, 0], [0, 0]], so r = (0.9, 0).",
        shows=(
            "f diag(r) = [[0.81, 0], [0.45, 0]], but the rows r_i f_i are (0.81, 0.09) and (0, 0)."
        ),
    ),
    remarks=(
        "Rank and running time are those of diag(r) f, so the theorem that uses the lemma "
        "survives.",
    ),
)

THEOREMS = (GRADIENT, PRINTED, Q_PRINTED, P2_PRINTED)
