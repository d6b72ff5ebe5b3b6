"""`audit` and `diagnose` know every mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_attention import Masked, capped, masked_problems, output, weights

import approxattn as aa

NONE = (None, None)


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


@settings(max_examples=40)
@given(masked_problems(), st.sampled_from([None, 0.5, 20.0]), st.sampled_from([None, -3.0, 4.0]))
def test_diagnose_measures_scores_as_the_softmax_takes_them(problem: Masked, cap, sink) -> None:
    """With bias, soft cap and sinks."""
    if not problem.see.any():
        return
    q, k, v, see = problem.q, problem.k, problem.v, problem.see
    kind = {"softcap": cap, "sinks": None if sink is None else np.asarray(sink)}
    regime = aa.diagnose(q, k, v, **problem.options, **kind)
    scores = np.where(see, capped(q, k, problem.scale, cap)[0] + problem.bias, 0).astype(float)
    assert regime.largest_score == pytest.approx(np.abs(scores).max(), abs=1e-12)
    assert regime.largest_score <= regime.score_bound
    some = see.any(-1)
    real = {} if sink is None else {"sinks": np.asarray(sink)}
    p = weights(q, k, see, problem.scale, problem.bias, softcap=cap, **real)[some]
    share = p.sum(-1, keepdims=True)
    effective = 1 / ((p / share) ** 2).sum(-1)
    assert regime.effective_keys == pytest.approx(float(np.median(effective)))
    taken = 0.0 if sink is None else float(np.median(1 - share))
    assert regime.sink_weight == pytest.approx(taken, abs=1e-12)
    only_exact = "bias" in problem.options or problem.options.get("window", NONE) != NONE
    assert bool(regime.no_polynomial) == bool(only_exact or cap or sink)
    assert bool(regime.needs) != bool(regime.no_polynomial)
    if cap:
        assert np.isnan([regime.largest_centred_score, regime.both_centred_score_bound]).all()
        return
    centred = [
        (regime.largest_centred_score, regime.centred_score_bound),
        (regime.largest_score_both_centred, regime.both_centred_score_bound),
    ]
    assert all(found <= bound for found, bound in centred)


def test_diagnose_judges_against_outputs_with_bias_and_sinks() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 40, 4))
    bias, kind = rng.normal(size=(40, 40)), {"softcap": 3.0, "sinks": np.asarray(1.0)}
    regime = aa.diagnose(q, k, v, compare_methods=True, bias=bias, **kind)
    exact = output(q, k, v, np.True_, 0.5, bias, **kind)
    error = np.linalg.norm(v.mean(0) - exact) / np.linalg.norm(exact)
    assert {t.name: t.error for t in regime.trials}["mean of v"] == pytest.approx(float(error))
    assert "No other method takes this problem" in regime.advice
    assert "has no meaning under a soft cap" in str(regime)
    assert "weight of the sink" in str(regime)


def test_diagnose_of_a_window_counts_no_polynomial() -> None:
    q, k, v = np.random.default_rng(0).normal(size=(3, 40, 4))
    regime = aa.diagnose(q, k, v, window=(3, 3))
    assert regime.advice.startswith("Use Exact(): window(=(3, 3)) with Polynomial")
    assert "no polynomial, no hashes" in str(regime)


def test_diagnose_compares_the_methods_that_take_the_mask() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 64, 4))
    by_window = aa.diagnose(q, k, v, window=(7, 0), compare_methods=True)
    named = {trial.name.partition("(")[0] for trial in by_window.trials if trial.method is not None}
    assert named <= {"Exact"}
    packed = aa.diagnose(q, k, v, segments=np.repeat([0, 1], 32), compare_methods=True)
    errors = {t.name: t.error for t in packed.trials if t.method is not None}
    assert any(name.startswith("Polynomial") and error < 1 for name, error in errors.items())
