"""The claims about gradients: not refuted, measured against enclosed gradients, and able
to fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from proofs_check.checkers import check
from proofs_check.papers.our_code import gradients as code_gradients
from proofs_check.statements.experiment import Falsify
from proofs_check.statements.verdict import Status


def instance(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    q, k, v, dout = (rng.integers(-3, 4, (3, 2)).astype(float) for _ in range(4))
    base = {
        "q": q,
        "k": k,
        "v": v,
        "dout": dout,
        "key_mask": np.ones(3, bool),
        "causal": False,
        "scaled_by": 0,
    }
    return {**base, "method": {"name": "Exact"}, "seed": 0, "divisor": 1, **changes}


@pytest.mark.parametrize("theorem", code_gradients.THEOREMS, ids=lambda t: t.key)
def test_a_short_search_refutes_nothing(theorem: Any) -> None:
    for experiment in theorem.experiments:
        assert isinstance(experiment, Falsify)
        found = check(replace(experiment, tries=60), rng_seed=3)
        assert found.status is Status.INCONCLUSIVE
        assert found.tightness is not None
        assert 0 < found.tightness <= 1


def test_the_ratio_grows_with_the_divisor_and_sees_a_wrong_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, many = (float(code_gradients.worst(instance(divisor=d))) for d in (1, 1000))
    assert 0 < one < 1
    assert many == pytest.approx(1000 * one)
    import approxattn

    right = approxattn.attention_vjp

    def without_scale(*args: Any, **options: Any) -> Any:
        grads = right(*args, **options)
        return replace(grads, dq=grads.dq * 2**0.5)

    monkeypatch.setattr(approxattn, "attention_vjp", without_scale)
    assert float(code_gradients.worst(instance())) > 1e6


def test_a_gradient_that_vanishes_is_no_violation() -> None:
    same = instance(v=np.ones((3, 2)))
    assert float(code_gradients.worst(same)) <= 1
    single = {name: same[name][:1] for name in ("q", "k", "v", "dout", "key_mask")}
    assert float(code_gradients.worst({**same, **single})) <= 1
