"""Degrees chosen for a tolerance: met where the bound says so, and refused with the reason where
not.
"""

from __future__ import annotations

import numpy as np
import pytest
from dense_transformer import random_model

import approxattn as aa
from approxattn.transformer import DegreeChoice, Embedding, Transformer, choose_degrees, gradient


def relative_error(model: Transformer, x: np.ndarray, g: np.ndarray, choice: DegreeChoice) -> float:
    exact = gradient(model, x, g, aa.Exact()).tokens[0]
    assert choice.gradients is not None
    return float(
        np.sum(np.linalg.norm(choice.gradients.tokens[0] - exact, axis=-1))
        / np.sum(np.linalg.norm(exact, axis=-1))
    )


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("basis", ["minimax", "taylor"])
def test_the_tolerance_holds(layers: int, basis: str) -> None:
    rng = np.random.default_rng(1)
    model, (x, g) = (
        random_model(rng, layers=layers, size=0.4, norm="none"),
        rng.uniform(-1, 1, (2, 20, 4)),
    )
    loose, tight = (choose_degrees(model, x, g, tolerance=t, basis=basis) for t in (1e-2, 1e-8))
    for choice, t in ((loose, 1e-2), (tight, 1e-8)):
        assert choice.met
        assert len(choice.degrees) == layers
        assert relative_error(model, x, g, choice) <= choice.bound <= t
        assert "met" in str(choice)
        again = gradient(model, x, g, choice.methods)
        np.testing.assert_array_equal(again.dx, choice.gradients.dx)
    assert all(a < b for a, b in zip(loose.degrees, tight.degrees, strict=True))


def test_more_layers_need_higher_degrees() -> None:
    rng = np.random.default_rng(2)
    model, (x, g) = (
        random_model(rng, layers=4, size=0.7, norm="none"),
        rng.uniform(-1, 1, (2, 20, 4)),
    )
    first = [
        choose_degrees(
            Transformer(first=model.first, layers=model.layers[:m]), x, g, tolerance=1e-4
        ).degrees[0]
        for m in (1, 2, 4)
    ]
    assert first == sorted(first)
    assert first[0] < first[-1]


def test_where_it_cannot_be_met() -> None:
    rng = np.random.default_rng(3)
    model, (x, g) = (
        random_model(rng, layers=3, size=1.5, norm="none"),
        rng.uniform(-1, 1, (2, 20, 4)),
    )
    choice = choose_degrees(model, x, g, tolerance=1e-4)
    assert not choice.met
    assert choice.bound > 1e-4
    assert "in layer" in choice.reason
    assert "not met" in str(choice)


def test_rounding_is_the_floor() -> None:
    rng = np.random.default_rng(4)
    model = random_model(rng, layers=2, size=0.3, norm="none", dtype=np.float32)
    x, g = rng.uniform(-1, 1, (2, 20, 4)).astype(np.float32)
    assert choose_degrees(model, x, g, tolerance=1e-1).met
    choice = choose_degrees(model, x, g, tolerance=1e-7)
    assert not choice.met
    assert "rounding" in choice.reason
    assert choice.gradients is not None


def test_integers_are_judged_by_the_embedded_tokens() -> None:
    rng = np.random.default_rng(5)
    layers = random_model(rng, layers=1, size=0.3, norm="none").layers
    model = Transformer(first=(Embedding(tokens=rng.uniform(-1, 1, (5, 4))),), layers=layers)
    ids, g = rng.integers(0, 5, 12), rng.uniform(-1, 1, (12, 4))
    choice = choose_degrees(model, ids, g, tolerance=1e-3)
    assert choice.met
    assert relative_error(model, ids, g, choice) <= choice.bound


def test_bad_tolerance() -> None:
    with pytest.raises(ValueError, match=r"tolerance\(=1\) must lie strictly between 0 and 1"):
        choose_degrees(Transformer(layers=()), np.ones((2, 2)), np.ones((2, 2)), tolerance=1)
