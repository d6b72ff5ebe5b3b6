"""The measurement on real heads: figures that can be recomputed, certificates that hold, and
reasons where there is nothing.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import approxattn as aa
from approxattn.data import minilm_heads
from proofs_check import catalogue
from proofs_check.papers.our_code import certificates as code_certificates
from proofs_check.report import real_heads
from proofs_check.report.head_methods import methods
from proofs_check.report.real_heads import DTYPES, Line, Measurement, Run


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    return real_heads.measure()


def line(measurement: Measurement, label: str, dtype: str = "float64") -> Line:
    return next(x for x in measurement.lines if x.label == label and x.dtype == dtype)


def test_every_method_in_both_dtypes_on_every_head(measurement: Measurement) -> None:
    assert [(x.label, x.dtype) for x in measurement.lines] == [
        (label, t) for _, label, _, _ in methods(256) for t in DTYPES
    ]
    assert all(len(x.runs) == len(measurement.heads) == 8 for x in measurement.lines)


def test_every_certificate_holds(measurement: Measurement) -> None:
    ratios = {(x.label, x.dtype): x.ratio for x in measurement.lines if x.ratio is not None}
    assert len(ratios) == 46  # all but the Gaussian sketches, which have no bound
    assert {key: r for key, r in ratios.items() if not r <= 1} == {}


def test_what_is_missing_has_its_reason(measurement: Measurement) -> None:
    for x in measurement.lines:
        for run in x.runs:
            assert run.reason or not run.refused
            assert run.reason or math.isfinite(run.bound)
            assert (run.ratio is None) == (run.refused or math.isinf(run.bound))


def test_errors_are_relative_frobenius_errors(measurement: Measurement) -> None:
    heads = minilm_heads()
    q, k, v = (x[2, 0].astype(float) for x in (heads.q, heads.k, heads.v))
    scores = q @ k.T / math.sqrt(32)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    exact = weights @ v / weights.sum(axis=1, keepdims=True)
    i = measurement.heads.index("3.0")
    value = aa.attention(q, k, v, aa.Polynomial(degree=4, basis="taylor")).value
    expected = np.linalg.norm(value - exact) / np.linalg.norm(exact)
    assert line(measurement, "Taylor, degree 4").runs[i].error == pytest.approx(expected, rel=1e-9)
    assert measurement.mean_of_v[i] == pytest.approx(
        np.linalg.norm(v.mean(axis=0) - exact) / np.linalg.norm(exact)
    )
    assert line(measurement, "Exact").runs[i].error < 1e-14


def test_rescaling_never_makes_an_output_worse(measurement: Measurement) -> None:
    for x in measurement.lines:
        for run in x.runs:
            assert run.refused or run.rescaled <= min(1, run.error) * (1 + 1e-9) + 1e-15


def test_degree_helps(measurement: Measurement) -> None:
    worst = [max(line(measurement, f"Taylor, degree {g}").errors()) for g in (2, 4, 8)]
    assert worst == sorted(worst, reverse=True)


def test_the_example_names_its_head_and_method(measurement: Measurement) -> None:
    assert measurement.example == "3.0"
    assert "n_q 256" in measurement.diagnosis
    assert "Polynomial(degree=8" in measurement.audit


def test_same_seed_same_figures(measurement: Measurement) -> None:
    head = real_heads._head(minilm_heads(), 2, 0)
    again, _ = real_heads._run(
        head, aa.Yoso(bits=8, hashes=32), "float64", [0, measurement.heads.index("3.0")]
    )
    assert again == line(measurement, "8 bits, 32 hashes").runs[measurement.heads.index("3.0")]


def test_summaries_leave_refusals_out() -> None:
    runs = (
        Run(reason="no"),
        Run(error=0.5, rescaled=0.25, bound=2.0, trivial=4.0, ratio=0.1),
        Run(error=0.25, bound=1.0, trivial=4.0, ratio=0.2),
    )
    x = Line(
        family="",
        label="",
        claim="",
        method="",
        dtype="",
        target="",
        kind="",
        theorem="",
        runs=runs,
    )
    assert x.errors() == [0.5, 0.25]
    assert x.summary("error") == (0.375, 0.5)
    assert x.summary("share") == (0.375, 0.5)
    assert x.ratio == 0.2
    assert x.reasons == ("no",)
    nothing = Line(
        family="",
        label="",
        claim="",
        method="",
        dtype="",
        target="",
        kind="",
        theorem="",
        runs=runs[:1],
    )
    assert nothing.summary("error") is None
    assert nothing.ratio is None


def test_claims_named_are_in_the_catalogue(measurement: Measurement) -> None:
    claimed = {x.claim for x in measurement.lines if x.ratio is not None}
    assert (
        claimed
        == {theorem.key for theorem in code_certificates.THEOREMS}
        <= set(catalogue.theorems())
    )
