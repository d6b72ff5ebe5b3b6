"""Can the constant 2 of Alman & Song's error bound be halved?

Citation and letters: `attention_error`.

1. The bound 2 eps max|V| is too large by a factor that tends to 2 as eps falls.
2. So eps max|V| looks like the truth. It is not: the sharp constant is 2 tau(eps), which is
       eps + eps^3/4 + ...
3. A search finds the difference once the values are eliminated.
4. For given weights the worst values of size at most 1 are the signs of the change.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball, precision
from proofs_check.papers.alman_song_2023.source import CITATION
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Assumption, Continuous, Instance
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

_EPS = Fraction(1, 2)


def _rows() -> Any:
    """Rows of positive weights and of signs: a~_j = a_j (1 + s_j / 2)."""
    from hypothesis import strategies as st

    def of_length(n: int) -> Any:
        weights = st.lists(st.integers(1, 8).map(float), min_size=n, max_size=n)
        signs = st.lists(st.sampled_from((-1, 1)), min_size=n, max_size=n)
        return st.fixed_dictionaries({"a": weights, "signs": signs, "v": st.just([1] * n)})

    return st.integers(2, 4).flatmap(of_length)


def _is_row(instance: Instance) -> bool:
    lengths = {len(instance[name]) for name in ("a", "signs", "v")}
    return (
        len(lengths) == 1
        and all(x > 0 for x in instance["a"])
        and all(abs(v) <= 1 for v in instance["v"])
    )


_ROW = Assumption(
    text="a_j > 0, ã_j = a_j (1 ± 1/2), |v_j| <= 1", predicate=_is_row, generator=_rows
)


def _changes(instance: Instance) -> list[Fraction]:
    """f~_j - f_j, exactly."""
    a = [Fraction(x) for x in instance["a"]]
    moved = [x * (1 + s * _EPS) for x, s in zip(a, instance["signs"], strict=True)]
    return [y / sum(moved) - x / sum(a) for x, y in zip(a, moved, strict=True)]


def _with_worst_values(instance: Instance) -> Instance:
    """Values eliminated: |sum_j c_j v_j| over |v_j| <= 1 is largest at v_j = sign c_j."""
    if any(not np.isfinite(x) or x <= 0 for x in instance["a"]):
        return instance
    return {**instance, "v": [1 if c > 0 else -1 for c in _changes(instance)]}


def _confirm(instance: Instance, share: Fraction = Fraction(1)) -> tuple[Fraction, Fraction]:
    error = sum(
        (c * v for c, v in zip(_changes(instance), instance["v"], strict=True)), Fraction(0)
    )
    return abs(error), share * _EPS * max(map(abs, instance["v"]))


def _sharp(instance: Instance, share: Fraction = Fraction(1)) -> tuple[Fraction, Any]:
    """The error against a share of 2 tau(1/2) max|v|, tau(1/2) = (1/2)/(1 + sqrt(3)/2)."""
    error, claimed = _confirm(instance)
    with precision(128):
        return error, ball(share * claimed) * 4 / (2 + ball(3).sqrt())


def _to_vector(instance: Instance) -> np.ndarray:
    return np.log(np.asarray(instance["a"], dtype=np.float64))


def _from_vector(x: np.ndarray, instance: Instance) -> Instance:
    return {**instance, "a": [float(w) for w in np.exp(np.clip(x, -20, 20))]}


_NONE: tuple[Instance, ...] = ()
_SEARCH: dict[str, Any] = {
    "instances": _rows,
    "examples": _NONE,
    "assumptions": (_ROW,),
    "eliminate": _with_worst_values,
    "tries": 60,
    "continuous": Continuous(to_vector=_to_vector, from_vector=_from_vector),
}

HALVED = Theorem(
    key="as23.halved-constant",
    title="the error bound with half its constant",
    statement="|ã_ij - a_ij| <= ε a_ij and D̃ = diag(Ã 1) give |D̃⁻¹ Ã V - D⁻¹ A V| <= ε max |V|.",
    source=Source(
        citation=CITATION,
        place="not a quotation: the attention-error lemma with its factor 2 left out",
        fidelity="ours",
    ),
    reading="ε = 1/2, where the sharp factor is 2 τ(ε)/ε = 1.0718",
    assumptions=(_ROW,),
    experiments=(
        search_by(
            _confirm,
            scope="ε = 1/2, up to 4 keys, ã_j = a_j (1 ± ε), values eliminated",
            **_SEARCH,
        ),
    ),
    expected=Status.REFUTED,
    mutant=search_by(
        partial(_sharp, share=Fraction(199, 200)), scope="99.5 % of the sharp bound", **_SEARCH
    ),
    uses=("ours.hilbert",),
    repaired_by="ours.hilbert",
    repaired=search_by(_sharp, scope="the sharp bound 2 τ(1/2) max |V|", **_SEARCH),
    kind="sharpness",
    by_hand=ByHand(
        instance="ε = 1/2, a = (1, 2), ã = (3/2, 1), v = (1, -1).",
        shows="Outputs -1/3 and 1/5: they differ by 8/15 = 0.533, more than ε max |v| = 0.5.",
    ),
    remarks=(
        "The sharp bound is 2 τ(ε) min_c max|V - c|, τ(ε) = ε/(1 + sqrt(1 - ε²)): as ε falls it is "
        "ε, but it never is at most ε.",
    ),
)

THEOREMS = (HALVED,)
