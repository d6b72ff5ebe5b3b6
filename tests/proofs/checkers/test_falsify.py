"""A search refutes with a small, confirmed witness, or proves nothing."""

from __future__ import annotations

import importlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from proofs_check import (
    Assumption,
    Continuous,
    Falsify,
    Status,
)
from proofs_check.arithmetic.statistics import binomial_bounds
from proofs_check.checkers import check
from proofs_check.checkers import falsify as falsify_checker
from proofs_check.checkers.fresh import confirm_in_fresh_process
from proofs_check.checkers.reproducible import without_local_constants


def pairs() -> Any:
    return st.fixed_dictionaries({"x": st.floats(-4, 4), "y": st.floats(-4, 4)})


def confirm_product(case: Any) -> tuple[Fraction, Fraction]:
    """x y <= x^2 + y^2, which is true."""
    x, y = Fraction(case["x"]), Fraction(case["y"])
    return x * y, x * x + y * y


def confirm_small_product(case: Any) -> tuple[Fraction, Fraction]:
    """2 x y <= (x^2 + y^2) 9/10, which is false near x = y."""
    x, y = Fraction(case["x"]), Fraction(case["y"])
    return 2 * x * y, (x * x + y * y) * Fraction(9, 10)


def confirm_crash(case: Any) -> tuple[Fraction, Fraction]:
    raise RuntimeError(str(case))


def confirm_hidden_state(case: Any) -> tuple[Fraction, Fraction]:
    """Violated only where this module's search has left its mark: never in a fresh process."""
    return Fraction(MARK["violated"]), Fraction(case["x"]) * 0


MARK = {"violated": 0}


def confirm_floats(case: Any) -> tuple[float, float]:
    return case["x"], case["y"]


def apart(case: Any) -> bool:
    return abs(Fraction(case["x"]) - Fraction(case["y"])) >= 1


def _falsify(**changes: Any) -> Falsify:
    base: dict[str, Any] = {
        "instances": pairs,
        "measured": lambda c: 2 * c["x"] * c["y"],
        "bound": lambda c: 0.9 * (c["x"] ** 2 + c["y"] ** 2),
        "confirm": confirm_small_product,
        "covers": "statement",
        "scope": "|x|, |y| <= 4",
        "tries": 100,
    }
    return Falsify(**(base | changes))


def test_falsify_refutes_with_a_small_witness() -> None:
    verdict = check(_falsify(), rng_seed=1)
    assert (verdict.status, verdict.grade) == (Status.REFUTED, "exact-rational")
    assert verdict.witness is not None
    assert all(x == int(x) for x in verdict.witness.values())  # shrunk and rounded
    measured, bound = confirm_small_product(verdict.witness)
    assert measured > bound


def test_a_ration_of_confirmations_ends_the_shrinking_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(falsify_checker._CONFIRMATIONS, "quick", 3)
    verdict = check(_falsify(), rng_seed=1)
    assert verdict.status is Status.REFUTED
    assert verdict.witness is not None
    measured, bound = confirm_small_product(verdict.witness)
    assert measured > bound


def test_a_ration_of_tries_ends_the_shrinking_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {}
    for shrinks in (0, 5, 2000):
        monkeypatch.setitem(falsify_checker._SHRINKS, "quick", shrinks)
        verdict = check(_falsify(), rng_seed=1)
        assert verdict.status is Status.REFUTED
        assert verdict.witness is not None
        measured, bound = confirm_small_product(verdict.witness)
        assert measured > bound
        tried[shrinks] = verdict.facts["tried"]
    assert tried[5] <= tried[0] + 5 < tried[2000]


def test_zero_against_zero_says_nothing_about_tightness() -> None:
    zeros = _falsify(confirm=confirm_product, measured=lambda _: 0.0, bound=lambda _: 0.0)
    assert check(zeros).tightness == 0
    below = _falsify(confirm=confirm_product, measured=lambda _: -4.0, bound=lambda _: -2.0)
    assert check(below).tightness == 0.5


def test_falsify_is_reproducible() -> None:
    assert check(_falsify(), rng_seed=5).witness == check(_falsify(), rng_seed=5).witness


def test_a_search_does_not_depend_on_the_modules_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hypothesis takes constants from modules that are not installed, such as this one."""
    search = _falsify(
        confirm=confirm_product,
        measured=lambda c: abs(np.sin(1000 * c["x"]) * np.cos(777 * c["y"])),
        bound=lambda _: 1.0,
    )
    before = replace(check(search, rng_seed=5), seconds=0.0)
    constants = ", ".join(f"{x / 1000}" for x in range(-3999, 4000, 17))
    (tmp_path / "a_module_of_constants.py").write_text(f"MANY = [{constants}]\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("a_module_of_constants")
    assert replace(check(search, rng_seed=5), seconds=0.0) == before


def test_hypothesis_is_left_as_it_was() -> None:
    from hypothesis.internal.conjecture import providers

    usual = vars(providers.HypothesisProvider).get("_local_constants")
    with without_local_constants():
        assert usual is None or vars(providers.HypothesisProvider)["_local_constants"] is not usual
    assert vars(providers.HypothesisProvider).get("_local_constants") is usual


def test_falsify_never_proves() -> None:
    true = _falsify(
        confirm=confirm_product,
        measured=lambda c: c["x"] * c["y"],
        bound=lambda c: c["x"] ** 2 + c["y"] ** 2,
    )
    verdict = check(true)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.tightness is not None
    assert verdict.tightness <= 1


def confirm_square(case: Any) -> tuple[Fraction, Fraction]:
    """2 a x <= (a^2 + x^2) c: true for c = 1, with equality at x = a, and false for c < 1."""
    a, x, c = (Fraction(case[name]) for name in ("a", "x", "c"))
    return 2 * a * x, (a * a + x * x) * c


def _square(a: float, c: float) -> Falsify:
    """A claim that is attained, searched in single precision: rounding violates it in many
    places.
    """
    near = st.sampled_from((0.0, 2.0**-12, -(2.0**-13), 2.0**-3)).map(lambda e: a * (1 + e))
    return Falsify(
        instances=lambda: st.fixed_dictionaries({"a": st.just(a), "x": near, "c": st.just(c)}),
        measured=lambda case: float(
            np.float32(2) * np.float32(case["a"]) * np.float32(case["x"]) * np.float32(1 + 1e-6)
        ),
        bound=lambda case: float(
            (np.float32(case["a"]) ** 2 + np.float32(case["x"]) ** 2) * np.float32(case["c"])
        ),
        confirm=confirm_square,
        covers="statement",
        scope="x near a",
        tries=10,
    )


def test_rates_of_false_refutation_and_of_missed_counterexamples() -> None:
    """Attained inequalities, and some that fail by one part in a thousand."""
    values = np.random.default_rng(4).uniform(0.5, 4, size=24).tolist()
    on_true = [check(_square(a, 1.0), rng_seed=i) for i, a in enumerate(values)]
    # the floats of the search do go wrong
    assert sum(v.facts["violations not confirmed"] > 0 for v in on_true) > 12
    refuted = sum(v.status is Status.REFUTED for v in on_true)
    assert refuted == 0, f"rate at least {binomial_bounds(refuted, 24, 1e-3)[0]:.3g}"
    on_false = [check(_square(a, 0.999), rng_seed=i) for i, a in enumerate(values[:3])]
    assert all(v.status is Status.REFUTED for v in on_false)


def test_a_float_artefact_is_never_refuted() -> None:
    """The floats of the search violate the bound everywhere; exact arithmetic finds that
    it holds.
    """
    artefact = _falsify(confirm=confirm_product, measured=lambda _: 2.0, bound=lambda _: 1.0)
    verdict = check(artefact)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.facts["violations not confirmed"] > 0
    assert verdict.facts["largest ratio in floats"] == 2
    # a ratio known to be wrong is no tightness
    assert verdict.tightness is None or verdict.tightness <= 1


def test_what_a_fresh_process_does_not_confirm_is_never_refuted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MARK, "violated", 1)
    verdict = check(_falsify(confirm=confirm_hidden_state))
    assert verdict.status is Status.INCONCLUSIVE
    assert "fresh process" in verdict.note


@pytest.mark.parametrize("confirm", [confirm_crash, confirm_floats])
def test_a_confirmation_that_fails_is_inconclusive(confirm: Any) -> None:
    assert check(_falsify(confirm=confirm)).status is Status.INCONCLUSIVE
    confirmation = confirm_in_fresh_process(_falsify(confirm=confirm), {"x": 1.0, "y": 1.0})
    assert not confirmation.violated
    assert "fresh process failed" in confirmation.reason


def test_a_witness_must_meet_the_assumptions() -> None:
    assumption = Assumption(text="x and y differ by 1 at least", predicate=apart)
    verdict = check(_falsify(assumptions=(assumption,)), rng_seed=2)
    assert verdict.status is Status.REFUTED
    assert verdict.witness is not None
    assert apart(verdict.witness)
    confirmation = confirm_in_fresh_process(
        _falsify(assumptions=(assumption,)), {"x": 1.0, "y": 1.0}
    )
    assert not confirmation.violated
    assert "violates the assumption apart" in confirmation.reason


def test_the_optimiser_finds_what_the_examples_miss() -> None:
    only_far = st.fixed_dictionaries({"x": st.just(0.5), "y": st.integers(3, 4).map(float)})
    move = Continuous(
        to_vector=lambda c: np.array([c["x"], c["y"]]),
        from_vector=lambda x, _: {"x": float(x[0]), "y": float(x[1])},
    )
    far = _falsify(instances=lambda: only_far, tries=5)
    assert check(far).status is Status.INCONCLUSIVE
    assert (
        check(_falsify(instances=lambda: only_far, tries=5, continuous=move)).status
        is Status.REFUTED
    )


def test_confirm_must_be_importable() -> None:
    with pytest.raises(ValueError, match="fresh process"):
        _falsify(confirm=lambda case: (case["x"], case["y"]))
