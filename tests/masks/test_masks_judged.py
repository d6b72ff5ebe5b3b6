"""`audit` and `diagnose` know every mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from masked_attention import Masked, masked_problems, output, weights

import approxattn as aa


@settings(max_examples=60)
@given(masked_problems())
def test_audit_recomputes_what_each_query_sees(problem: Masked) -> None:
    q, k, v = problem.q, problem.k, problem.v
    want = output(q, k, v, problem.see, problem.scale, problem.bias)
    value = want.astype(float) + 0.25
    report = aa.audit(value, q, k, v, rows=10**6, rng=np.random.default_rng(0), **problem.options)
    assert report.complete
    np.testing.assert_allclose(report.errors, 0.25, atol=1e-9)
    share = 1 / (weights(q, k, problem.see, problem.scale, problem.bias) ** 2).sum(-1).clip(1e-9)
    seen = problem.see.sum(-1)
    some = (seen > 0).ravel()
    np.testing.assert_allclose(
        report.concentration[some], (share / np.maximum(seen, 1)).ravel()[some].astype(float)
    )


@settings(max_examples=10)
@given(masked_problems(alone=True))
def test_diagnose_measures_what_each_query_sees(problem: Masked) -> None:
    if not problem.see.any():
        with pytest.raises(ValueError, match="sees a key"):
            aa.diagnose(problem.q, problem.k, problem.v, **problem.options)
        return
    regime = aa.diagnose(problem.q, problem.k, problem.v, **problem.options)
    scores = problem.scale * problem.q @ np.swapaxes(problem.k, -1, -2)
    assert regime.largest_score == pytest.approx(np.abs(scores[problem.see]).max())
    seen = problem.see.sum(-1)
    assert regime.median_visible_keys == np.median(seen[seen > 0])


def test_diagnose_compares_the_methods_that_take_the_mask() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 64, 4))
    by_window = aa.diagnose(q, k, v, window=(7, 0), compare_methods=True)
    named = {trial.name.partition("(")[0] for trial in by_window.trials if trial.method is not None}
    assert named <= {"Exact"}
    packed = aa.diagnose(q, k, v, segments=np.repeat([0, 1], 32), compare_methods=True)
    errors = {t.name: t.error for t in packed.trials if t.method is not None}
    assert any(name.startswith("Polynomial") and error < 1 for name, error in errors.items())
