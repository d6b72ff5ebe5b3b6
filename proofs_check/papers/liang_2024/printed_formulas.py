"""Formulas of Liang, Sha, Shi, Song & Zhou (2024) that are false as printed.

Citation, letters and the corrected formulas: `gradient`.

Witnesses are whole matrices; both sides are computed in balls with the true softmax of the scores,
the derivative by the quotient rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.liang_2024.gradient import five_printed_terms, slopes
from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Falsify, Instance
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

_SHAPES = {"x": "nd", "w": "dd", "v": "dd", "g": "nd", "zx": "nd", "zw": "dd", "zv": "dd"}


def _layer(m: Mapping[str, Any], *, over_d: bool = False) -> dict[str, Any]:
    d = m["x"].shape[1]
    one = m["x"].dtype.type(1) if m["x"].dtype != object else m["x"][0, 0] * 0 + 1
    beta = one / d if over_d else one
    return {**m, "f": layer.softmax(beta * (m["x"] @ m["w"] @ m["x"].T)), "beta": beta}


def _values_error(m: Mapping[str, Any], factor: int = 1) -> Any:
    """|D_Z L - <factor X^T f G, Z>| for a direction Z of W_V."""
    full = _layer(m)
    return abs(
        slopes(full)["W_V"] - factor * np.sum((full["x"].T @ full["f"] @ full["g"]) * full["zv"])
    )


def _inputs_error(m: Mapping[str, Any], *, over_d: bool = False) -> Any:
    """|D_Z L - <printed, Z>| for a direction Z of X."""
    full = _layer(m, over_d=over_d)
    return abs(slopes(full)["X"] - np.sum(five_printed_terms(full) * full["zx"]))


_ERRORS: dict[str, Callable[..., Any]] = {"values": _values_error, "inputs": _inputs_error}


def _in_floats(instance: Instance, of: str, **variant: Any) -> float:
    return max(float(_ERRORS[of](instance, **variant)) - 1e-9, 0.0)


def _in_balls(instance: Instance, of: str, **variant: Any) -> tuple[Any, int]:
    return _ERRORS[of](layer.ball_matrices(instance), **variant), 0


def _matrices() -> Any:
    return layer.integer_matrices(_SHAPES)


def _witness(d: int) -> dict[str, Any]:
    """Two tokens, first columns only: X = (1, 0), G = (0, 1), W = W_V = 1; all directions the first
    unit vectors.
    """
    first = np.eye(1, d)
    x, g, unit = np.vstack([first, 0 * first]), np.vstack([0 * first, first]), first.T @ first
    return {"x": x, "g": g, "w": unit, "v": unit, "zx": x, "zw": unit, "zv": unit}


# 1. With d = 1, whole X and W = ln b the weights b^{x_i x_j} are rational.
# 2. L(W_V) = W_V sum_ij G_i f_ij x_j is linear, so dL/dW_V = L(1) - L(0).


def _rational_layers() -> Any:
    from hypothesis import strategies as st

    def of_length(n: int) -> Any:
        numbers = st.lists(st.integers(-2, 2), min_size=n, max_size=n)
        return st.fixed_dictionaries({"b": st.integers(2, 5), "x": numbers, "g": numbers})

    return st.integers(1, 3).flatmap(of_length)


def _rational_error(instance: Instance) -> tuple[Fraction, int]:
    x, g, b = instance["x"], instance["g"], Fraction(instance["b"])
    e = [[b ** (y * z) for z in x] for y in x]
    f = [[entry / sum(row) for entry in row] for row in e]
    n = range(len(x))
    at_zero, at_one = (
        sum((g[i] * f[i][j] * x[j] * v for i in n for j in n), Fraction(0)) for v in (0, 1)
    )
    printed = sum((x[i] * f[i][j] * g[j] for i in n for j in n), Fraction(0))
    return abs(printed - (at_one - at_zero)), 0


def _search(scope: str, width: int, **variant: Any) -> Falsify:
    """Search for an error of one of `_ERRORS`, starting from the witness of a width."""
    return search_by(
        partial(_in_balls, **variant),
        instances=_matrices,
        measured=partial(_in_floats, **variant),
        tries=100,
        examples=(_witness(width),),
        scope=scope,
    )


_SMALL = (
    "n <= 3, d <= 2, whole inputs and directions in [-2, 2], scores X W Xᵀ; error of D_Z L against "
    "0"
)

VALUES_PRINTED = Theorem(
    key="lss24.gradient-wv-printed",
    title="gradient in W_V with f for its transpose",
    statement="dL/dW_V = Xᵀ f G.",
    source=Source(
        citation=CITATION,
        place="G.3 and Algorithm 1, line 22",
        fidelity="verbatim",
        wording_verified=True,
    ),
    reading="f = softmax(X W Xᵀ) without 1/d (C.6); the scale is immaterial",
    experiments=(
        search_by(
            _rational_error,
            instances=_rational_layers,
            tries=100,
            examples=({"b": 3, "x": [1, 0], "g": [0, 1]},),
            scope="n <= 3, d = 1, whole X and G, W = ln b, W_V = 1; |Xᵀ f G - dL/dW_V| against 0",
        ),
        _search(_SMALL, 1, of="values"),
    ),
    expected=Status.REFUTED,
    mutant=_search("twice that", 2, of="values", factor=2),
    repaired_by="lss24.gradient",
    by_hand=ByHand(
        instance=(
            "n = 2, d = 1, X = (1, 0)ᵀ, W = ln 3, W_V = 1, G = (0, 1)ᵀ, so f = [[3/4, 1/4], [1/2, "
            "1/2]]."
        ),
        shows="L = s_2 = W_V/2, slope 1/2 = Xᵀ fᵀ G. Printed: Xᵀ f G = 1/4.",
    ),
    remarks=(
        "With X = (1, 0), W = ln 3, W_V = 1, G = (0, 1): printed 1/4, true 1/2.",
        "The proof turns Σ_i f_i G_iᵀ, which is fᵀ G, into f G.",
    ),
)

INPUTS_PRINTED = Theorem(
    key="lss24.gradient-t-printed",
    title="gradient in the layer's input with f and W for their transposes",
    statement=(
        "dL/dX = D2 + D4 + D6 + D7 + D8 with D2 = -diag(K) f X W, D4 = (f ∘ (G hᵀ)) X W, D6 = -f "
        "diag(K) X Wᵀ, D7 = (f ∘ (h Gᵀ)) X Wᵀ, D8 = f G W_Vᵀ."
    ),
    source=Source(
        citation=CITATION, place="D.17 and E.11", fidelity="verbatim", wording_verified=True
    ),
    reading="f = softmax(X W Xᵀ) as in C.6, so that the missing 1/d is not what fails",
    alternative_readings=(
        "With 1/d in the scores and in D2, D4, D6, D7 it fails as well: that is the mutant.",
    ),
    experiments=(_search(_SMALL, 1, of="inputs"),),
    expected=Status.REFUTED,
    mutant=_search("the same with 1/d", 2, of="inputs", over_d=True),
    repaired_by="lss24.gradient",
    by_hand=ByHand(
        instance=(
            "n = 2, d = 1, X = (1, 0)ᵀ, W = W_V = 1, G = (0, 1)ᵀ, so f_12 = 1/(1 + e) and f_21 = "
            "f_22 = 1/2; the slope in X_1."
        ),
        shows=(
            "L = s_2 = f_21 X_1 + f_22 X_2, and f_21 does not move with X_1 at X_2 = 0: slope 1/2. "
            "The printed terms add up to f_12 = 0.269."
        ),
    ),
    remarks=(
        "Rank and running time are unchanged by the correction, as the factors of f change places.",
    ),
)

THEOREMS = (VALUES_PRINTED, INPUTS_PRINTED)
