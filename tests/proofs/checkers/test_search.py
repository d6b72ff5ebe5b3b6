"""The search: a block eliminated in closed form, and CMA-ES where it is installed."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from proofs_check import Continuous, Falsify, Status
from proofs_check.checkers import check
from proofs_check.papers.alman_song_2023.halved_constant import HALVED
from proofs_check.statements.experiment import Instance

# max over |v| <= 1 of |x v - 1/3| is x + 1/3 at v = -1 for x in [0, 1], so 4/3 at x = 1. The
# strategy offers v = 0 only.


def cases() -> Any:
    return st.fixed_dictionaries({"x": st.sampled_from([0.25, 0.5]), "v": st.just(0)})


def best_value(instance: Instance) -> Instance:
    return {**instance, "v": -1}


def confirm(instance: Instance) -> tuple[Fraction, Fraction]:
    return abs(Fraction(instance["x"]) * instance["v"] - Fraction(1, 3)), Fraction(6, 5)


def measured(instance: Instance) -> float:
    return float(confirm(instance)[0])


def bound(_: Instance) -> float:
    return 1.2


def in_range(x: np.ndarray, instance: Instance) -> Instance:
    return {**instance, "x": float(np.clip(x[0], 0, 1))}


PLAIN = Falsify(
    instances=cases,
    measured=measured,
    bound=bound,
    confirm=confirm,
    covers="statement",
    scope="x in [0, 1], |v| <= 1",
    tries=20,
)
ELIMINATED = replace(PLAIN, eliminate=best_value)
MOVED = Continuous(to_vector=lambda i: np.array([i["x"]]), from_vector=in_range)


def test_elimination_finds_what_the_examples_leave_out() -> None:
    plain, eliminated = check(PLAIN), check(ELIMINATED)
    assert plain.status is eliminated.status is Status.INCONCLUSIVE
    assert plain.tightness == pytest.approx((1 / 3) / 1.2)
    assert eliminated.tightness == pytest.approx((0.5 + 1 / 3) / 1.2)


def test_elimination_and_the_optimiser_together_refute() -> None:
    assert check(replace(PLAIN, continuous=MOVED)).status is Status.INCONCLUSIVE
    found = check(replace(ELIMINATED, continuous=MOVED))
    assert found.status is Status.REFUTED
    assert found.witness is not None
    assert found.witness["v"] == -1
    assert found.witness["x"] > 0.86


def test_the_optimiser_comes_near_the_sharp_constant() -> None:
    """sup of |out~ - out| / max|V| at eps = 1/2 is 2 tau(1/2) = 2 (2 - sqrt 3); searched against a
    bound that nothing exceeds.
    """
    experiment = HALVED.experiments[0]
    assert isinstance(experiment, Falsify)
    twice = functools.partial(experiment.confirm, share=Fraction(2))
    verdict = check(replace(experiment, bound=_loose, confirm=twice))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.tightness == pytest.approx(2 * (2 - 3**0.5), rel=1e-4)


def _loose(_: Instance) -> float:
    return 1.0


# --- CMA-ES ---------------------------------------------------------------------------------------


def hidden(instance: Instance) -> tuple[Fraction, Fraction]:
    """A spike that gradients do not see: 2 within 1/8 of (3, 3), else far below 1."""
    x, y = Fraction(instance["x"]), Fraction(instance["y"])
    near = abs(x - 3) <= Fraction(1, 8) and abs(y - 3) <= Fraction(1, 8)
    return (Fraction(2), Fraction(1)) if near else (Fraction(0), Fraction(1))


def hidden_measured(instance: Instance) -> float:
    return float(hidden(instance)[0])


def one(_: Instance) -> float:
    return 1.0


def origin() -> Any:
    return st.just({"x": 0.0, "y": 0.0})


SPIKE = Falsify(
    instances=origin,
    measured=hidden_measured,
    bound=one,
    confirm=hidden,
    covers="statement",
    scope="the plane",
    tries=2,
    continuous=Continuous(
        to_vector=lambda i: np.array([i["x"], i["y"]]),
        from_vector=lambda x, _: {"x": float(x[0]), "y": float(x[1])},
    ),
)


def test_cma_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fmin(
        descent: Callable[[np.ndarray], float],
        _x: np.ndarray,
        sigma: float,
        options: dict[str, Any],
    ) -> tuple[np.ndarray, float]:
        calls.append((sigma, options["maxfevals"], options["seed"]))
        there = np.array([3.0, 3.0])
        return there, descent(there)

    monkeypatch.setitem(sys.modules, "cma", types.SimpleNamespace(fmin=fmin))
    assert check(SPIKE, rng_seed=2**127).status is Status.REFUTED
    assert calls
    assert 0 < calls[0][2] < 2**32


def test_without_cma_the_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cma", None)  # importing it raises ImportError
    assert check(SPIKE).status is Status.INCONCLUSIVE


def test_the_real_package() -> None:
    pytest.importorskip("cma")
    bowl = replace(SPIKE, measured=_bowl_measured, confirm=_bowl)
    found = check(bowl)
    assert found.status is Status.INCONCLUSIVE
    assert found.tightness == pytest.approx(0.5, rel=1e-6)


def _bowl(instance: Instance) -> tuple[Fraction, Fraction]:
    x, y = Fraction(instance["x"]), Fraction(instance["y"])
    return Fraction(1, 2) / (1 + (x - 3) ** 2 + (y - 3) ** 2), Fraction(1)


def _bowl_measured(instance: Instance) -> float:
    return float(_bowl(instance)[0])
