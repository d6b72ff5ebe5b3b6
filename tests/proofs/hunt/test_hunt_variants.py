"""The hunt among biases, soft caps and sinks: its oracle against balls, and methods that leave one
of them out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hunt_oracles import check_item
from wrong_methods import Wrong, notices, scaled

from proofs_check.hunt import written
from proofs_check.hunt.chunk import posed_for
from proofs_check.hunt.methods import ROWS, Cell
from proofs_check.hunt.modes.variants import single
from proofs_check.hunt.oracles import softmax as oracle
from proofs_check.hunt.oracles import variant_balls, variants
from proofs_check.hunt.oracles.variants import Variant
from proofs_check.hunt.problems import Posed

extended = pytest.mark.skipif(not oracle.EXTENDED, reason="there is no 80-bit format here")
BITS = 2600


def drawn(index: int, dtype: str) -> Posed:
    return posed_for(Cell("exact", "variant", dtype), 7, index, ROWS["exact"])[0]


def variant(posed: Posed) -> Variant:
    a = posed.arrays
    return Variant(bias=a.get("bias"), softcap=posed.softcap, sinks=a.get("sinks"))


@extended
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("part", ["out", "lse", "dq", "dk", "dv"])
def test_the_oracle_is_as_near_to_the_balls_as_it_says(part: str, dtype: str) -> None:
    used = 0.0
    for index in range(8):
        posed = drawn(index, dtype)
        a, given = posed.cleaned(), {"scale": posed.scale, "visible": posed.visible()}
        if part == "out":
            exact = variants.attention(a["q"], a["k"], a["v"], variant(posed), **given)
        elif part == "lse":
            exact = variants.log_sum_exp(
                a["q"], a["k"], replace(variant(posed), sinks=None), **given
            )
        else:
            arrays = (a[n] for n in ("q", "k", "v", "g"))
            exact = getattr(variants.gradient(*arrays, variant(posed), **given), part)
        for item in range(0, posed.count, 13):
            rows = in_balls(posed, item, part)
            used = max(used, check_item(exact, item, rows, BITS))
    assert used > 1e-4  # the errors that are claimed are not idle


def in_balls(posed: Posed, item: int, part: str) -> Any:
    one = single(posed, item)
    if part == "out":
        return variant_balls.attention_rows(one, BITS)
    if part == "lse":
        one = replace(one, variant=replace(one.variant, sinks=None))
        return variant_balls.lse_rows(one, BITS)
    return variant_balls.gradient_rows(one, part, BITS)


def test_balls_of_a_bias_hold_attention_with_one_more_dimension() -> None:
    """Another way to the same numbers: a bias that is a product goes into queries and keys."""
    rng = np.random.default_rng(2)
    q, k, v, g = rng.normal(size=(4, 5, 3))
    row, key = rng.normal(size=(2, 5))
    plain = {"v": v, "g": g, "scale": 0.5, "visible": np.ones((5, 5), bool)}
    biased = variant_balls.Single(
        q=q, k=k, variant=Variant(bias=row[:, None] * key[None, :]), **plain
    )
    wide = variant_balls.Single(
        q=np.column_stack([q, 2 * row]), k=np.column_stack([k, key]), variant=Variant(), **plain
    )
    for one, other in zip(
        *(variant_balls.attention_rows(x, 200) for x in (biased, wide)), strict=True
    ):
        for x, y in zip(one, other, strict=True):
            assert abs(float((x - y).mid())) < 1e-15


def without(name: str) -> Callable[[Any], Wrong]:
    """Return what computes and certifies as if a problem had no such thing."""
    return lambda method: Wrong(
        method=method, pose=lambda problem: replace(problem, **{name: None})
    )


@pytest.mark.parametrize("name", ["bias", "softcap", "sinks"])
def test_what_was_left_out_is_noticed(name: str) -> None:
    found = notices("exact", without(name), mode="variant", chunks=12)
    assert found is not None
    assert found["kind"] == "violation"


def test_a_hundredth_of_a_bound_is_noticed() -> None:
    assert notices("exact", scaled(0.01), mode="variant", chunks=15) is not None


def test_a_bound_on_the_log_sum_exp_that_is_too_small_is_noticed() -> None:
    def change(_: Any, __: Any, result: Any) -> Any:
        told = getattr(result.certificate, "lse", None)
        if told is None:
            return result
        return replace(result, certificate=replace(result.certificate, lse=told * 0.01))

    found = notices("exact", lambda m: Wrong(method=m, change=change), mode="variant", chunks=15)
    assert found is not None
    assert found["part"] == "lse"


def test_a_problem_reads_back_from_json() -> None:
    caps = 0
    for index in range(8):
        one = drawn(index, "float32").take([0])
        text = written.as_json(one)
        assert text is not None
        back = written.from_json(json.loads(json.dumps(text, allow_nan=False)))
        assert back.softcap == one.softcap
        caps += one.softcap is not None
        for name, a in one.arrays.items():
            assert back.arrays[name].tobytes() == a.tobytes()
    assert caps
