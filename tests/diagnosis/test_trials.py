"""Every method tried on heads at equal cost: what is measured, what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

import approxattn as aa
from approxattn.diagnosis.trials import Head, Trials

NEVER = math.inf


def head(seed: int = 0, n: int = 60, **masks) -> Head:
    q, k, v = np.random.default_rng(seed).normal(size=(3, n, 8))
    plain: dict = {"causal": False, "query_offset": None, "window": None, "segments": None}
    plain |= {"key_mask": None, "empty_rows": "zero"}
    return Head(q=q, k=k, v=v, scale=8**-0.5, masks={**plain, **masks})


def tried(*heads: Head, cost: float = 0.25) -> Trials:
    trials = Trials(len(heads))
    for number, each in enumerate(heads):
        trials.add(each, cost, 60, np.random.default_rng(number), NEVER)
    return trials


def test_errors_are_those_of_the_methods() -> None:
    heads = [head(0), head(1)]
    found = tried(*heads).report(3, "somewhere")
    assert (found.layer, found.module, found.heads, found.seen) == (3, "somewhere", 2, 2)
    name = next(name for name in found.errors if "mean-pool" in name)
    for each, error in zip(heads, found.errors[name], strict=True):
        value, exact = (
            aa.attention(each.q, each.k, each.v, method).value
            for method in (found.methods[name], aa.Exact())
        )
        wanted = np.linalg.norm(value - exact) / np.linalg.norm(exact)
        assert error == pytest.approx(wanted, rel=1e-9)
    assert found.error == min(np.median(errors) for errors in found.errors.values())
    assert found.worst == max(found.errors[found.best])
    scores = [np.abs(each.q @ each.k.T).max() * each.scale for each in heads]
    assert found.largest_score == pytest.approx(np.median(scores), rel=1e-6)


def test_causal_heads_are_left_to_methods_with_a_causal_form() -> None:
    names = " ".join(tried(head(causal=True), cost=0.9).errors)
    assert "Performer" in names
    assert "Clustered" not in names


def test_packed_sequences_and_rows_without_keys() -> None:
    segments = np.repeat([0, 1, 2], 20)
    masked = head(segments=(segments, segments), key_mask=segments > 0)
    found = tried(masked).report(0, "")
    assert all(np.isfinite(found.errors[found.best]))


def test_windows_are_for_exact_attention_only() -> None:
    found = tried(head(window=(4, 0), query_offset=0)).report(5, "")
    assert "for Exact() only" in found.refused
    assert found.best == ""
    assert "for Exact() only" in str(found)


def test_a_method_that_refuses_a_head_does_not_win() -> None:
    large = head()
    found = tried(Head(**{**vars(large), "q": large.q * 1e150})).report(0, "")
    refused = [name for name, errors in found.errors.items() if errors == (math.inf,)]
    assert found.best not in refused


def test_a_head_that_the_time_cuts_short_does_not_count() -> None:
    trials = tried(head())
    trials.add(head(1), 0.25, 60, np.random.default_rng(0), -NEVER)
    assert trials.report(0, "").seen == 1
    none = Trials(1)
    none.add(head(), 0.25, 60, np.random.default_rng(0), -NEVER)
    assert math.isnan(none.report(0, "").error)
