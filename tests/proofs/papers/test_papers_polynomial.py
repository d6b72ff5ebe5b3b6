"""Statements about polynomial attention, its gradients and errors of weights come out as the
catalogue vouches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from verdicts import as_expected, theorems_of

from proofs_check.papers.aggarwal_alman_2022 import minimal_degree as aggarwal_alman_2022
from proofs_check.papers.alman_song_2023 import attention_error as alman_song_2023
from proofs_check.papers.alman_song_2023 import degree as alman_song_2023_degree
from proofs_check.papers.alman_song_2024 import gradient as alman_song_2024
from proofs_check.papers.liang_2024 import gradient as liang_2024
from proofs_check.papers.liang_2024 import hypotheses as liang_2024_hypotheses
from proofs_check.papers.liang_2024 import printed_formulas as liang_2024_printed
from proofs_check.papers.ours import even_taylor as ours_even_taylor
from proofs_check.papers.ours import scores as ours_scores
from proofs_check.papers.ours import weights as ours_weights
from proofs_check.papers.shared import softmax_gradient as _softmax_gradient
from proofs_check.statements.verdict import Status

PAPERS = (
    aggarwal_alman_2022,
    alman_song_2023,
    alman_song_2023_degree,
    alman_song_2024,
    liang_2024,
    liang_2024_printed,
    liang_2024_hypotheses,
    ours_weights,
    ours_scores,
    ours_even_taylor,
)
THEOREMS = theorems_of(PAPERS)


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    """And every experiment of a proved or refuted statement decides, except a search that finds
    nothing.
    """
    theorem = THEOREMS[key]
    verdicts = as_expected(theorem)
    idle = [
        e
        for e, v in zip(theorem.experiments, verdicts, strict=True)
        if v.status is Status.INCONCLUSIVE
    ]
    assert all(type(e).__name__ == "Falsify" for e in idle)


def _layer(seed: int, n: int = 5, d: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {
        "x": (n, d),
        "w": (d, d),
        "v": (d, d),
        "g": (n, d),
        "zx": (n, d),
        "zw": (d, d),
        "zv": (d, d),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()} | {
        "beta": np.array([[1 / d]])
    }


def _with_weights(m: dict[str, Any]) -> dict[str, Any]:
    return m | {"f": _softmax_gradient.softmax(m["beta"] * (m["x"] @ m["w"] @ m["x"].T))}


def _loss(m: dict[str, Any]) -> float:
    return float(np.sum(m["g"] * (_with_weights(m)["f"] @ m["x"] @ m["v"])))


@pytest.mark.parametrize(("name", "letter"), [("X", "x"), ("W", "w"), ("W_V", "v")])
def test_the_slopes_are_those_of_the_loss(name: str, letter: str) -> None:
    """The quotient rule on which the proofs rest agrees with a difference quotient of true softmax
    attention.
    """
    m, h = _layer(1), 1e-6
    moved = [_loss(m | {letter: m[letter] + s * h * m["z" + letter]}) for s in (1, -1)]
    assert liang_2024.slopes(_with_weights(m))[name] == pytest.approx(
        (moved[0] - moved[1]) / (2 * h), rel=1e-6
    )


def test_the_five_terms_of_both_kinds() -> None:
    m = _with_weights(_layer(2))
    slope = liang_2024.slopes(m)["X"]
    assert np.sum(liang_2024.five_terms(m) * m["zx"]) == pytest.approx(slope, rel=1e-12)
    assert np.sum(liang_2024.five_printed_terms(m) * m["zx"]) != pytest.approx(slope, rel=1e-2)
