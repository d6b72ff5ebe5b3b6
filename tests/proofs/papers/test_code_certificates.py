"""The claims about the float code: what they run, what they hold it against, and that a smaller
certificate is refuted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from proofs_check.checkers import check
from proofs_check.papers.our_code import calls as problems
from proofs_check.papers.our_code import certificates as code
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

NEEDED: dict[str, dict[str, Any]] = {
    "Polynomial": {"degree": 2},
    "Linformer": {"rank": 1, "sketch": "mean-pool"},
    "FittedLinformer": {"rank": 1},
    "FittedPolynomial": {"degree": 2},
    "Nystrom": {"landmarks": 1},
    "Performer": {"features": 8},
}
"""Arguments without a default."""


def instance(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    base = {
        "q": rng.normal(size=(3, 2)),
        "k": rng.normal(size=(3, 2)),
        "v": rng.normal(size=(3, 1)),
        "key_mask": np.ones(3, bool),
        "causal": False,
        "scaled_by": 0,
        "method": {"name": "Exact"},
        "seed": 0,
        "divisor": 1,
    }
    return base | changes


@pytest.mark.parametrize("theorem", code.THEOREMS, ids=lambda t: t.key)
def test_nothing_is_refuted_in_a_few_tries(theorem: Theorem) -> None:
    for experiment, dtype in zip(theorem.experiments, code.DTYPES, strict=True):
        verdict = check(replace(experiment, tries=40), rng_seed=11)
        assert verdict.status is Status.INCONCLUSIVE
        assert verdict.tightness is not None, verdict.note
        assert 0 < verdict.tightness <= 1
        assert verdict.facts["tried"] >= 40
        assert dtype in experiment.scope


def test_a_witness_of_a_smaller_certificate_carries_all_it_needs() -> None:
    claim = next(claim for claim in code.CLAIMS if claim.name == "bert-lsh")
    # the other mutants are refuted where all mutants are
    verdict = check(claim.theorem().mutant, rng_seed=0)
    assert verdict.status is Status.REFUTED, verdict.note
    assert verdict.grade == "ball"
    assert verdict.witness is not None
    assert verdict.witness["divisor"] == claim.divisor > 1
    assert code.measured(verdict.witness) == pytest.approx(verdict.tightness)
    assert code.measured({**verdict.witness, "divisor": 1}) <= 1


@pytest.mark.parametrize("claim", code.CLAIMS, ids=lambda c: c.name)
def test_the_theorem_named_is_the_one_of_the_certificates(claim: code.Claim) -> None:
    options = {"scaled_by": 0, "causal": False}
    assert {
        problems.run(instance(method=m, **options)).certificate.theorem for m in claim.methods
    } <= set(claim.uses)


def test_every_method_with_a_finite_certificate_has_its_claim() -> None:
    finite = set()
    for name in aa.__all__:
        settings = NEEDED.get(name, {})
        if not hasattr(getattr(aa, name), "compute"):
            continue
        bound = problems.run(instance(method={"name": name, **settings})).certificate.bound
        if np.isfinite(bound):
            finite.add(name)
    assert finite == {m["name"] for claim in code.CLAIMS for m in claim.methods}


@pytest.mark.parametrize("dtype", code.DTYPES)
def test_problems_are_of_the_dtype_and_every_query_sees_a_key(dtype: str) -> None:
    import hypothesis

    @hypothesis.settings(max_examples=40, database=None)
    @hypothesis.given(problems.problems(({"name": "Exact"},), dtype, square=True))
    def holds(found: dict[str, Any]) -> None:
        assert {str(found[name].dtype) for name in "qkv"} == {dtype}
        assert found["key_mask"][0]
        assert found["q"].shape[0] == found["k"].shape[0]

    holds()


def test_the_target_is_causal_and_masked_as_the_code_is() -> None:
    for method in (
        {"name": "Exact"},
        {"name": "YosoExpectation", "bits": 3, "zero_rows": "orthogonal"},
    ):
        for changes in (
            {"causal": True},
            {"key_mask": np.array([True, False, True])},
            {"k": np.zeros((3, 2))},
        ):
            assert 0 < problems.worst(instance(method=method, **changes)) < 1


def test_an_output_that_is_no_number_violates_any_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    case = instance()
    out = problems.run(case)
    bad = aa.Approximation(
        value=np.where(np.arange(3)[:, None] == 1, np.nan, out.value), certificate=out.certificate
    )
    monkeypatch.setattr(problems, "run", lambda _: bad)
    measured, bound = code.confirm(case)
    assert measured > bound


def test_a_row_without_a_bound_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = instance()
    out = problems.run(case)
    unbounded = replace(out.certificate, rows=np.full(3, np.inf))
    monkeypatch.setattr(
        problems, "run", lambda _: aa.Approximation(value=out.value + 1, certificate=unbounded)
    )
    assert code.measured(case) == 0


def test_a_refusal_is_no_instance() -> None:
    huge = instance(
        q=np.full((3, 2), 1e30),
        k=np.eye(3, 2) * 1e30,
        method={"name": "Polynomial", "degree": 8, "basis": "taylor"},
    )
    assert not problems.accepted(huge)
    assert problems.accepted(instance())
