"""The checkers are honest: they refute what is false, prove what is true, and say nothing when they
know nothing.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import strategies as st

from proofs_check import (
    Assumption,
    Comparison,
    Continuous,
    Count,
    Enclose,
    Falsify,
    Identity,
    Plan,
    Sample,
    Scale,
    Status,
    Symbolic,
)
from proofs_check.arithmetic.statistics import binomial_bounds
from proofs_check.checkers import _falsify as _falsify_checker
from proofs_check.checkers import check
from proofs_check.checkers.fresh import confirm_in_fresh_process

# --- Symbolic -------------------------------------------------------------------------------------


def _square_of_sum(wrong: int = 0) -> list[Identity]:
    from sympy import QQ, ring, symbols

    _, x, y = ring("x, y", QQ)
    s, t = symbols("s t")
    return [
        Identity((x + y) ** 2, x**2 + 2 * x * y + y**2 + wrong * x, "polynomials"),
        Identity((s**2 - t**2) / (s - t), s + t, "rational functions"),
        Identity(Fraction(1, 3) + Fraction(1, 6), Fraction(1, 2), "rationals"),
    ]


def test_symbolic_proves_and_refutes() -> None:
    assert check(Symbolic(identities=_square_of_sum, scope="two variables")).status is Status.PROVED
    verdict = check(Symbolic(identities=lambda: _square_of_sum(1), scope="two variables"))
    assert verdict.status is Status.REFUTED
    assert verdict.witness is not None
    assert verdict.witness["identity"] == "polynomials"
    assert verdict.witness["value"] == -verdict.witness["point"]["x"]


def test_symbolic_does_not_guess() -> None:
    from sympy import exp, symbols

    x = symbols("x")
    verdict = check(Symbolic(identities=lambda: [exp(x) - 1 - x], scope="all x"))
    assert verdict.status is Status.INCONCLUSIVE  # false, but no normal form says so


def test_symbolic_decides_no_floats() -> None:
    verdict = check(Symbolic(identities=lambda: [(0.1 + 0.2, 0.3)], scope="decimals"))
    assert verdict.status is Status.INCONCLUSIVE
    assert "exact" in verdict.note


def test_no_identity_is_no_proof() -> None:
    assert check(Symbolic(identities=list, scope="nothing")).status is Status.INCONCLUSIVE


def test_identity_testing_finds_the_false_and_reports_its_grade() -> None:
    p = 2**61 - 1

    def residues(rng: np.random.Generator, wrong: int = 0) -> list[int]:
        x, y = (int(z) for z in rng.integers(0, p, size=2))
        return [((x + y) ** 2 - x * x - 2 * x * y - y * y - wrong * x) % p]

    true = check(
        Symbolic(identities=residues, grade="pit(2^-59)", scope="two variables"), rng_seed=3
    )
    assert (true.status, true.grade) == (Status.PROVED, "pit(2^-59)")
    full = check(
        Symbolic(identities=residues, grade="pit(2^-59)", scope="two variables"),
        rng_seed=3,
        budget="full",
    )
    assert (full.status, full.grade) == (Status.PROVED, "pit(2^-236)")
    assert full.facts["identities"] == 4 * true.facts["identities"]
    false = check(
        Symbolic(
            identities=lambda rng: residues(rng, 1), grade="pit(2^-59)", scope="two variables"
        ),
        rng_seed=3,
    )
    assert false.status is Status.REFUTED


# --- Enclose --------------------------------------------------------------------------------------


def _bernoulli(constant: int) -> Enclose:
    """1 + x + x^2/constant <= e^x on [1/16, 2]: true for 2, false for 1."""
    return Enclose(
        lhs=lambda x: 1 + x + x * x / constant,
        rhs=lambda x: x.exp(),
        box=((Fraction(1, 16), 2),),
        scope="x in [1/16, 2]",
    )


def test_enclose_covers_a_box() -> None:
    verdict = check(_bernoulli(2))
    assert (verdict.status, verdict.grade) == (Status.PROVED, "ball")
    assert verdict.tightness is not None
    assert 0.5 < verdict.tightness <= 1


def test_enclose_refutes_at_an_exact_point() -> None:
    verdict = check(_bernoulli(1))
    assert verdict.status is Status.REFUTED
    assert verdict.witness is not None
    (x,) = verdict.witness["point"]
    assert isinstance(x, Fraction)
    assert 1 + x + x * x > float(
        arb(x.numerator).exp() if x.denominator == 1 else (arb(x.numerator) / x.denominator).exp()
    )


def test_enclose_leaves_a_touching_bound_open() -> None:
    touching = Enclose(
        lhs=lambda x: 1 + x,
        rhs=lambda x: x.exp(),
        box=((-1, Fraction(2, 3)),),
        scope="around 0",
        depth=12,
    )
    assert check(touching).status is Status.INCONCLUSIVE


def test_enclose_equality_up_to_a_radius() -> None:
    def compare(_bits: int) -> list[Comparison]:
        return [Comparison(arb(2).sqrt() ** 2, 2)]

    within = Enclose(certify=compare, relation="=", radius=Fraction(1, 10**9), scope="one number")
    assert check(within).status is Status.PROVED
    assert "up to 1/1000000000" in check(within).scope
    assert (
        check(Enclose(certify=compare, relation="=", scope="one number")).status
        is Status.INCONCLUSIVE
    )
    third = Enclose(
        certify=lambda _: [Comparison(Fraction(1, 3), Fraction(1, 3))],
        relation="=",
        scope="one number",
    )
    assert (check(third).status, check(third).grade) == (Status.PROVED, "exact-rational")


def test_lost_precision_is_inconclusive() -> None:
    hopeless = Enclose(certify=lambda _: [Comparison(arb("nan"), arb(1))], scope="nothing is known")
    assert check(hopeless).status is Status.INCONCLUSIVE
    wide = Enclose(certify=lambda _: [Comparison(arb(0, 1), arb(0, 1))], scope="wide balls")
    assert check(wide).status is Status.INCONCLUSIVE


def test_a_float_is_no_enclosure() -> None:
    verdict = check(Enclose(certify=lambda _: [Comparison(0.5, 1)], scope="a float"))
    assert verdict.status is Status.INCONCLUSIVE
    assert "decides nothing" in verdict.note


# --- Falsify --------------------------------------------------------------------------------------


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
    monkeypatch.setitem(_falsify_checker._CONFIRMATIONS, "quick", 3)
    verdict = check(_falsify(), rng_seed=1)
    assert verdict.status is Status.REFUTED
    assert verdict.witness is not None
    measured, bound = confirm_small_product(verdict.witness)
    assert measured > bound


def test_zero_against_zero_says_nothing_about_tightness() -> None:
    zeros = _falsify(confirm=confirm_product, measured=lambda _: 0.0, bound=lambda _: 0.0)
    assert check(zeros).tightness == 0
    below = _falsify(confirm=confirm_product, measured=lambda _: -4.0, bound=lambda _: -2.0)
    assert check(below).tightness == 0.5


def test_falsify_is_reproducible() -> None:
    assert check(_falsify(), rng_seed=5).witness == check(_falsify(), rng_seed=5).witness


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


# --- Sample ---------------------------------------------------------------------------------------


def _coin(p: float, *, n: int = 400, alpha: float = 0.05, target: float = 0.1) -> Sample:
    return Sample(
        draw=lambda rng, m: rng.random(m) < p,
        claim="probability <=",
        target=target,
        chunk=300,
        plan=Plan(n=n, alpha=alpha, sampler="coins"),
        scope="coins",
    )


def test_sample_supports_refutes_and_abstains() -> None:
    assert check(_coin(0.01)).status is Status.SUPPORTED
    assert check(_coin(0.3)).status is Status.REFUTED
    assert check(_coin(0.1)).status is Status.INCONCLUSIVE


@pytest.mark.parametrize("wrong", [Status.SUPPORTED, Status.REFUTED])
def test_error_rates_at_the_boundary(wrong: Status) -> None:
    """At p exactly the target the claim is true and barely so: either decision is wrong or lucky,
    each at rate <= alpha.
    """
    repeats, alpha = 300, 0.05
    mistakes = sum(
        check(_coin(0.1, n=200, alpha=alpha), rng_seed=i).status is wrong for i in range(repeats)
    )
    at_least, _ = binomial_bounds(mistakes, repeats, 1e-6)
    assert at_least <= alpha, f"{mistakes} of {repeats} wrongly {wrong}"


def _heavy(mean: float, *, claim: Any = "mean =") -> Sample:
    margin = 0.2 if claim == "mean =" else 0.0
    return Sample(
        draw=lambda rng, m: rng.exponential(mean, m),
        claim=claim,
        target=1.0,
        plan=Plan(n=4000, alpha=0.01, margin=margin, sampler="exponential"),
        scope="heavy right tail",
    )


def test_means_are_supported_by_equivalence_only() -> None:
    assert check(_heavy(1.0)).status is Status.SUPPORTED
    assert check(_heavy(1.5)).status is Status.REFUTED
    assert check(_heavy(1.2)).status is Status.INCONCLUSIVE
    assert check(_heavy(0.8, claim="mean <=")).status is Status.SUPPORTED
    assert check(_heavy(0.8, claim="mean >=")).status is Status.REFUTED


def test_false_support_of_a_mean_at_the_margin() -> None:
    repeats = 200
    mistakes = sum(
        check(_heavy(1.2), rng_seed=i).status is Status.SUPPORTED for i in range(repeats)
    )
    assert binomial_bounds(mistakes, repeats, 1e-6)[0] <= 0.01


def test_constant_draws_decide_nothing() -> None:
    constant = Sample(
        draw=lambda _, m: np.zeros(m),
        claim="mean =",
        target=0.0,
        plan=Plan(n=100, margin=0.1, sampler="zeros"),
        scope="zeros",
    )
    assert check(constant).status is Status.INCONCLUSIVE


def test_a_draw_of_the_wrong_kind_is_inconclusive() -> None:
    wrong = Sample(
        draw=lambda rng, m: rng.random(m),
        claim="probability <=",
        target=0.5,
        plan=Plan(n=10, sampler="x"),
        scope="x",
    )
    assert "booleans" in check(wrong).note


# --- Count and Scale ------------------------------------------------------------------------------


def test_count_needs_every_size() -> None:
    true = Count(measured=lambda n: n * n, formula=lambda n: n**2, sizes=(1, 2, 3), scope="squares")
    assert (check(true).status, check(true).grade, check(true).tightness) == (
        Status.PROVED,
        "counted",
        1.0,
    )
    false = Count(
        measured=lambda n: n * n + (n == 3),
        formula=lambda n: n**2,
        sizes=(1, 2, 3),
        scope="squares",
    )
    assert check(false).witness == {"size": 3, "counted": 10, "formula": Fraction(9)}
    below = Count(
        measured=lambda n: n, formula=lambda n: n**2, sizes=(2, 3), relation="<=", scope="squares"
    )
    assert check(below).tightness == 0.5


def test_an_unpriced_operation_is_inconclusive() -> None:
    from proofs_check.arithmetic.counting import Tally

    def unique(n: int) -> int:
        tally = Tally()
        tally.unique_values(tally.array(np.arange(n)))
        return tally.flops

    verdict = check(
        Count(measured=unique, formula=lambda n: n, sizes=(4,), scope="distinct values")
    )
    assert verdict.status is Status.INCONCLUSIVE
    assert "no price" in verdict.note


def _workload(power: float) -> Scale:
    """A clock that advances by n^power during the work: nothing is really timed."""
    now = itertools.accumulate(itertools.repeat(0.0))
    state = {"t": next(now)}

    def prepare(n: int) -> Any:
        def work() -> None:
            state["t"] += float(n) ** power

        return work

    return Scale(
        workload=prepare,
        sizes=(10, 20, 40, 80),
        slope=(0.9, 1.2),
        clock=lambda: state["t"],
        scope="an artificial clock",
    )


def test_scale() -> None:
    assert check(_workload(1.0)).status is Status.SUPPORTED
    assert check(_workload(2.0)).status is Status.REFUTED
    assert "did not advance" in check(_workload(-np.inf)).note


# --- all kinds ------------------------------------------------------------------------------------


def test_a_crash_is_inconclusive() -> None:
    def explode(*_: object) -> Any:
        msg = "out of cheese"
        raise ZeroDivisionError(msg)

    experiments = (
        Symbolic(identities=explode, scope="x"),
        Enclose(certify=explode, scope="x"),
        Enclose(lhs=explode, rhs=explode, box=((0, 1),), scope="x"),
        _falsify(measured=explode),
        _falsify(instances=explode),
        Sample(
            draw=explode, claim="probability <=", target=0.5, plan=Plan(n=9, sampler="x"), scope="x"
        ),
        Count(measured=explode, formula=explode, sizes=(1,), scope="x"),
        Scale(workload=explode, sizes=(1, 2, 3, 4), slope=(0, 1), scope="x"),
    )
    for experiment in experiments:
        verdict = check(experiment)
        assert verdict.status is Status.INCONCLUSIVE
        assert "out of cheese" in verdict.note


def test_precision_never_leaks() -> None:
    before = ctx.prec
    check(_bernoulli(2))
    check(_bernoulli(1))
    check(_falsify(confirm=confirm_crash))
    check(Enclose(certify=lambda _: 1 / 0, scope="x"))  # type: ignore[arg-type, return-value]
    assert ctx.prec == before


def test_misuse_is_an_error() -> None:
    with pytest.raises(TypeError, match="no known kind"):
        check(object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="budget"):
        check(_bernoulli(2), budget="huge")  # type: ignore[arg-type]
