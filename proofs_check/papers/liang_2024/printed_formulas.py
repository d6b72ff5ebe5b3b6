"""Formulas of Liang, Sha, Shi, Song & Zhou (2024) that are false as printed.

Citation, letters and the corrected formulas: `gradient`.

Witnesses are whole matrices; both sides are computed in balls with the true softmax of the scores,
the derivative by the quotient rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.liang_2024.gradient import five_printed_terms, five_terms, slopes
from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Falsify, Instance
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

_SHAPES = {"x": "nd", "w": "dd", "v": "dd", "g": "nd", "zx": "nd", "zw": "dd", "zv": "dd"}


def _layer(m: Mapping[str, Any]) -> dict[str, Any]:
    return {**m, "f": layer.softmax(m["x"] @ m["w"] @ m["x"].T), "beta": 1}


def _values_error(m: Mapping[str, Any], *, repaired: bool = False, percent: int = 100) -> Any:
    """|D_Z L - <X^T f G, Z>| for a direction Z of W_V, with f^T for f when repaired."""
    full = _layer(m)
    f = full["f"].T if repaired else full["f"]
    claimed = percent * np.sum((full["x"].T @ f @ full["g"]) * full["zv"]) / 100
    return abs(slopes(full)["W_V"] - claimed)


def _inputs_error(m: Mapping[str, Any], *, repaired: bool = False, percent: int = 100) -> Any:
    """|D_Z L - <the five terms, Z>| for a direction Z of X, as printed or as they must be."""
    full = _layer(m)
    terms = five_terms(full) if repaired else five_printed_terms(full)
    return abs(slopes(full)["X"] - percent * np.sum(terms * full["zx"]) / 100)


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


_WITNESS: tuple[Instance, ...] = (_witness(1),)


def _search(scope: str, **variant: Any) -> Falsify:
    """Search for an error of one of `_ERRORS`, starting from the witness."""
    return search_by(
        partial(_in_balls, **variant),
        instances=_matrices,
        measured=partial(_in_floats, **variant),
        tries=100,
        examples=_WITNESS,
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
    experiments=(_search(_SMALL, of="values"),),
    expected=Status.REFUTED,
    mutant=_search("1.05 Xᵀ fᵀ G", of="values", repaired=True, percent=105),
    repaired_by="lss24.gradient",
    repaired=_search("Xᵀ fᵀ G", of="values", repaired=True),
    kind="printed",
    defence=(
        "The derivation of G.2 is right, and its row f_{i,*} is a column vector by Definition C.8; "
        "so one may say that f in G.3 stands for the matrix with these columns, fᵀ. But C.8 "
        "defines f(X) as the matrix with softmax rows, and Algorithm 1 computes Xᵀ U₁V₁ᵀ G with "
        "U₁V₁ᵀ close to that f."
    ),
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
        "f_{*,i0} read as row i0 of f written as a column, hence fᵀ for f in D6, D7 and D8, and W "
        "as Wᵀ: true, lss24.gradient-t-reading.",
        "With 1/d in the scores and in D2, D4, D6, D7 it fails as well.",
    ),
    experiments=(_search(_SMALL, of="inputs"),),
    expected=Status.REFUTED,
    mutant=_search("1.05 times the gradient", of="inputs", repaired=True, percent=105),
    repaired_by="lss24.gradient",
    repaired=_search("with fᵀ and W where they belong", of="inputs", repaired=True),
    kind="printed",
    defence=(
        "The slip is one of notation at the start: Lemma D.1 writes f_{i1,i0} and W_{j1,*} where "
        "f_{i0,i1} and W_{*,j1} are meant, and every later lemma is right for what it is given "
        "(lss24.double-sum-6 and its sisters). It does not help the closed form: Definition C.5 "
        "fixes that f_{*,i0} is a column of f, and Lemmas E.2 to E.10 and Algorithm 1 build their "
        "factors from U₁ and V₁ accordingly."
    ),
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
