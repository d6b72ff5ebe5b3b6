"""Counted cost of every method; timed scaling stays out of quick campaigns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from methods import TABLE, Row

import approxattn as aa
from approxattn.methods.protocol import Method
from proofs_check import catalogue
from proofs_check.arithmetic.counting import Tally
from proofs_check.checkers import check
from proofs_check.papers.our_code import cost as code_cost
from proofs_check.papers.our_code import cost_hashing as code_cost_hashing
from proofs_check.papers.our_code import cost_layers as code_cost_layers
from proofs_check.papers.our_code import cost_low_rank as code_cost_low_rank
from proofs_check.papers.our_code import cost_selected as code_cost_selected
from proofs_check.papers.our_code.counted import Cost, on_uniform_tokens
from proofs_check.papers.our_code_campaigns import running_time as code_scaling
from proofs_check.running.campaign import Campaign
from proofs_check.statements.experiment import Scale
from proofs_check.statements.verdict import Status, combine

MODULES = (
    code_cost,
    code_cost_hashing,
    code_cost_layers,
    code_cost_low_rank,
    code_cost_selected,
)
COSTS: list[Cost] = [cost for module in MODULES for cost in module.COSTS]


def face(method: Method) -> tuple[object, ...]:
    """What decides which code of a method runs, as far as its cost goes."""
    names = ("sketch", "kind", "fidelity", "sparse", "normalize", "hashing", "bound", "basis")
    cut, filled = getattr(method, "rcond", None) is None, getattr(method, "fill", 0.0) == 0
    return type(method), cut, filled, *(getattr(method, name, None) for name in names)


def counted_methods() -> Iterator[tuple[Method, Cost]]:
    for cost in COSTS:
        for settings in cost.settings:
            options = {name: value for name, value in settings.items() if name != "parallel"}
            if cost.run is on_uniform_tokens:
                yield getattr(aa, cost.method)(**options), cost


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_every_method_has_a_counted_cost(row: Row) -> None:
    found = [cost for method, cost in counted_methods() if face(method) == face(row.method)]
    assert found, f"no counted cost of {row.method}: add one to proofs_check/papers/code_cost*.py"
    assert any(cost.gradient for cost in found)


def test_a_method_without_its_cost_would_be_noticed() -> None:
    faces = {face(method) for method, _ in counted_methods()}
    assert face(aa.Yoso(bits=4, hashes=4)) in faces
    assert face(aa.Yoso(bits=4, hashes=4, bound="bernstein", normalize=True)) not in faces


@pytest.mark.parametrize("key", [t.key for module in MODULES for t in module.THEOREMS])
def test_counted_cost_is_the_stated_one(key: str) -> None:
    theorem = catalogue.theorem(key)
    verdicts = [check(experiment) for experiment in theorem.experiments]
    assert combine(verdicts, theorem.covers).status is Status.PROVED, [v.note for v in verdicts]
    assert {v.status for v in verdicts} == {Status.PROVED}


def test_products_are_the_multiplications_of_contractions() -> None:
    tally = Tally()
    a = tally.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    _ = (a @ a.T) * 2
    tally.vecdot(a, a)
    assert tally.products == 2 * 3 * 2
    assert tally.counts["multiply"] == tally.products + 4 + 2 * 3


def test_timed_entries_belong_to_full_campaigns_only() -> None:
    timed = {t.key for t in code_scaling.THEOREMS}
    assert timed
    assert all(
        isinstance(e, Scale) for t in code_scaling.THEOREMS for e in (*t.experiments, t.mutant)
    )
    assert not timed & set(Campaign(budget="quick").theorems)
    assert timed <= set(Campaign(budget="full").theorems)
    assert not timed & set(catalogue.theorems())
    assert catalogue.theorem("code.scaling-exact").expected is Status.SUPPORTED


@pytest.mark.parametrize("theorem", code_scaling.THEOREMS, ids=lambda t: t.key)
def test_workloads_run(theorem: object) -> None:
    experiment = theorem.experiments[0]  # type: ignore[attr-defined]
    out = experiment.workload(256)()
    assert out.value.shape == (256, 16)
