"""What the code published for Liang et al. 2024 computes and reports.

Citation of the paper and letters: `gradient`.

The repository compares a degree-2 polynomial attention with what it calls exact attention. Here:
its normaliser, and its measure of the error, both by exact rationals.

Read: the code.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.liang_2024.source import CODE
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Assumption, Instance
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- the normaliser -------------------------------------------------------------------------------


def _matrices() -> Any:
    from hypothesis import strategies as st

    row = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
    return st.fixed_dictionaries({"exponents": st.lists(row, min_size=2, max_size=2), "v": row})


def _outputs(instance: Instance) -> tuple[list[Fraction], list[Fraction]]:
    """A D^-1 v and D^-1 A v for A_ij = 2^e_ij, D = diag(A 1)."""
    a = [[Fraction(2) ** e for e in row] for row in instance["exponents"]]
    d, v = [sum(row, Fraction(0)) for row in a], instance["v"]
    columns = [sum((x * v[j] / d[j] for j, x in enumerate(row)), Fraction(0)) for row in a]
    rows = [
        sum((x * v[j] for j, x in enumerate(row)), Fraction(0)) / d[i] for i, row in enumerate(a)
    ]
    return columns, rows


def _difference(instance: Instance, share: Fraction = Fraction(0)) -> tuple[Fraction, Fraction]:
    """Difference of the two outputs, against a share of the largest value."""
    difference = max(abs(x - y) for x, y in zip(*_outputs(instance), strict=True))
    return difference, share * max(map(abs, instance["v"]))


_WITNESS = {"exponents": [[2, 2], [0, 0]], "v": [1, 1]}
"""A = [[4, 4], [1, 1]], V = 1: D^-1 A V = 1, but A D^-1 V = (5/2, 5/8)."""

NORMALISATION = Theorem(
    key="lss24.code-normaliser",
    title="the normaliser of the published code",
    statement=(
        "What the code calls exact attention, A D⁻¹ V with D = diag(A 1), is softmax attention D⁻¹ "
        "A V."
    ),
    source=Source(
        citation=CODE,
        place="forward pass, exact and approximate",
        fidelity="constants made explicit",
    ),
    reading=(
        "A D⁻¹ divides column j by the sum of row j; two tokens, A_ij = 2^e_ij, one column of V"
    ),
    alternative_readings=(
        "With D⁻¹ on the other side it is softmax attention; both sides agree when all row sums "
        "are equal.",
    ),
    experiments=(
        search_by(
            _difference,
            instances=_matrices,
            examples=(_WITNESS,),
            scope="2 x 2, A = 2^e, |e| <= 2",
        ),
    ),
    expected=Status.REFUTED,
    mutant=search_by(
        partial(_difference, share=Fraction(1, 2)),
        instances=_matrices,
        examples=(_WITNESS,),
        scope="off by at most half the largest value",
    ),
    repaired_by="lss24.output-range",
    by_hand=ByHand(
        instance="A = [[4, 4], [1, 1]], V = (1, 1)ᵀ, D = diag(8, 2).",
        shows=(
            "Row 1 of A D⁻¹ V is 4/8 + 4/2 = 2.5. Softmax attention averages the values, so it is "
            "1."
        ),
        instead=(
            "Row i is divided by its own sum, D⁻¹ A V. Its outputs lie in the range of the values "
            "(lss24.output-range)."
        ),
    ),
    remarks=(
        "The same slip is in eqs. (4) and (15) of Linformer: linformer.column-normalisation.",
    ),
)

# --- the measure of the error ---------------------------------------------------------------------


def _pairs() -> Any:
    from hypothesis import strategies as st

    return st.fixed_dictionaries({"x": st.integers(-9, 9), "y": st.integers(-9, 9)})


def _defined(instance: Instance) -> bool:
    return bool(instance["y"] != 0 and instance["x"] + instance["y"] != 0)


_DEFINED = Assumption(text="y and x + y are not 0", predicate=_defined)


def _error(instance: Instance, factor: Fraction = Fraction(1)) -> tuple[Fraction, Fraction]:
    """Relative error of x against y, and a multiple of what is reported."""
    x, y = instance["x"], instance["y"]
    return Fraction(abs(x - y), abs(y)), factor * Fraction(abs(x - y), abs(x + y))


_SEARCH: dict[str, Any] = {
    "instances": _pairs,
    "assumptions": (_DEFINED,),
    "examples": ({"x": 9, "y": 8},),
}

ERROR_METRIC = Theorem(
    key="lss24.code-error-metric",
    title="the error that the published code reports",
    statement="The relative error ‖x - y‖/‖y‖ is at most the reported ‖x - y‖/‖x + y‖.",
    source=Source(citation=CODE, place="evaluation script", fidelity="constants made explicit"),
    reading="x approximate, y exact; scalars suffice",
    assumptions=(_DEFINED,),
    experiments=(search_by(_error, scope="whole numbers up to 9", **_SEARCH),),
    expected=Status.REFUTED,
    mutant=search_by(partial(_error, factor=Fraction(3, 2)), scope="with a factor 3/2", **_SEARCH),
    by_hand=ByHand(
        instance="x = 9, y = 8.",
        shows="The relative error is 1/8, reported is 1/17.",
        instead=(
            "If ‖x - y‖ = t ‖y‖ with t < 2, the reported figure lies between t/(2 + t) and t/(2 - "
            "t): about half of t."
        ),
    ),
    remarks=("For x close to y the reported figure is half the relative error.",),
)

THEOREMS = (NORMALISATION, ERROR_METRIC)
