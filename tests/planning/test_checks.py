"""The running check: what drifts is found, mended and told; and `Auto`."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from known_errors import relative, smooth

import approxattn as aa

WINDOW = aa.SelectedSummaries(heavy=0, recent=16, summaries=0)
WIDE = aa.SelectedSummaries(heavy=64, recent=16, summaries=0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def made(*, wide: object = WIDE) -> aa.Plan:
    """Return a plan of three heads that have the window, made on a text that it suits."""
    q, k, v = level(3, 400, 8)
    return aa.plan(
        *(q, k, v),
        relative_error=0.2,
        rng=rng(),
        causal=True,
        candidates=[WINDOW, wide],
        order="cost",
    )


def level(*shape: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return smooth heads whose values are about 8: a window knows them."""
    q, k, v = smooth(*shape, seed=seed)
    return q, k, v + 7


def drifted() -> tuple[np.ndarray, ...]:
    """Return heads of which number 1 asks for 50 far keys with other values."""
    q, k, v = level(3, 400, 8)
    q[1], k[1], k[1, 50:100], v[1, 50:100] = 1, 0, 6, -5
    return q, k, v


@pytest.fixture(scope="module")
def plan() -> aa.Plan:
    found = made()
    assert [head.method for head in found.heads] == [WINDOW] * 3
    return found


def test_heads_that_hold_are_left_alone(plan) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = plan.attention(*level(3, 400, 8), audit=40, rng=rng(3))
    assert [check.head for check in out.checks] == [(0,), (1,), (2,)]
    assert not out.changed
    assert out.plan == plan
    check = out.checks[0]
    assert check.rows == 40
    assert check.exceeding == pytest.approx(1 - 0.05 ** (1 / 40), rel=1e-9)
    assert check.error <= check.largest


def test_the_error_of_all_rows_is_the_true_one(plan) -> None:
    q, k, v = level(2, 3, 400, 8, seed=4)
    out = plan.attention(q, k, v, audit=10**6, rng=rng(), certify=False)
    exact = aa.attention(q, k, v, aa.Exact(), causal=True).value
    gaps, norms = (np.sqrt(np.sum(x**2, axis=(0, 2, 3))) for x in (out.value - exact, exact))
    truth = gaps / norms
    np.testing.assert_allclose([c.error for c in out.checks], truth, rtol=1e-9)
    assert {check.rows for check in out.checks} == {800}
    assert {check.exceeding for check in out.checks} == {0}


def test_a_head_that_drifts_is_mended_and_told(plan) -> None:
    q, k, v = drifted()
    exact = aa.attention(q, k, v, aa.Exact(), causal=True).value
    assert relative(plan.attention(q, k, v).value, exact)[1] > 0.2
    with pytest.warns(aa.PlanWarning, match=r"1 of 3 heads left the relative error 0.2.*\(1,\)"):
        out = plan.attention(q, k, v, audit=64, rng=rng(1))
    (check,) = out.changed
    assert (check.head, check.before) == (
        (1,),
        "SelectedSummaries(heavy=0, recent=16, summaries=0)",
    )
    assert check.error <= 0.2 < check.error_before
    assert relative(out.value, exact)[1] < 0.2
    assert out.plan.heads[1].reason == "a running check found the error too large"
    assert out.plan.heads[0] == plan.heads[0]
    assert plan.heads[1].method == WINDOW  # the plan itself is as it was
    rows = abs(out.value - exact).max(-1)
    assert (rows <= out.certificate.rows + 1e-12).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = out.plan.attention(q, k, v, audit=64, rng=rng(2))
    np.testing.assert_array_equal(again.value, out.value)
    assert out.to_dict()["checks"][1]["changed"] is True
    assert "heads that left their error" in out._repr_html_()


def test_exact_attention_where_the_next_candidate_fails_too(plan) -> None:
    no_better = replace(WINDOW, recent=17)
    narrow = replace(
        plan, candidates=(plan.candidates[0], replace(plan.candidates[1], method=no_better))
    )
    q, k, v = drifted()
    with pytest.warns(aa.PlanWarning, match=r"by Exact\(\)"):
        out = narrow.attention(q, k, v, audit=64, rng=rng(1))
    assert out.plan.heads[1].method == aa.Exact()
    exact = aa.attention(q, k, v, aa.Exact(), causal=True).value
    np.testing.assert_allclose(out.value[1], exact[1], rtol=1e-12)


def test_a_check_needs_rows_and_a_generator(plan) -> None:
    q, k, v = level(3, 400, 8)
    with pytest.raises(TypeError, match="rng"):
        plan.attention(q, k, v, audit=3)
    with pytest.raises(ValueError, match="rows"):
        plan.attention(q, k, v, audit=0, rng=rng())


# --- Auto -----------------------------------------------------------------------------------------


def test_auto_plans_once_and_checks_always() -> None:
    q, k, v = level(2, 3, 400, 8)
    attend = aa.Auto(relative_error=0.2, candidates=[WINDOW, WIDE], order="cost")
    assert "not planned yet" in repr(attend)
    out = attend(q, k, v, rng=rng(), causal=True)
    assert out.value.shape == q.shape
    first = attend.plan
    assert first.lengths == (400, 400)  # two items, two texts
    assert len(out.checks) == 3
    exact = aa.attention(q, k, v, aa.Exact(), causal=True).value
    assert relative(out.value, exact).max() < 0.2
    attend(q[:, :, :100], k[:, :, :100], v[:, :, :100], rng=rng(), causal=True)
    assert attend.plan == first
    with pytest.warns(aa.PlanWarning):
        attend(*drifted(), rng=rng(), causal=True)
    assert attend.plan != first
    attend(q, k, v, rng=rng())
    assert not attend.plan.causal


def test_auto_with_masks_and_shared_keys() -> None:
    q, k, v = level(2, 3, 300, 8)
    mask = np.ones((2, 1, 300), bool)
    mask[1, :, 200:] = False
    attend = aa.Auto(relative_error=0.2, candidates=[WINDOW], order="cost", audit=1000)
    out = attend(q, k[:, :1], v[:, :1], rng=rng(), causal=True, key_mask=mask)
    exact = aa.attention(q, k[:, :1], v[:, :1], aa.Exact(), causal=True, key_mask=mask).value
    assert relative(out.value, exact).max() < 0.4
    assert relative(np.moveaxis(out.value, 1, 0), np.moveaxis(exact, 1, 0)).shape == (3, 2)


@pytest.mark.parametrize("lead", [(), (1,), (2, 1)])
def test_auto_on_tokens_without_neighbours(lead: tuple[int, ...]) -> None:
    attend = aa.Auto(relative_error=0.2)
    x = np.ones((*lead, 1, 2))
    assert (attend(x, x, x, rng=rng()).value == 1).all()


def test_auto_refuses() -> None:
    with pytest.raises(ValueError, match="axes"):
        aa.Auto(relative_error=0.1, axes=-1)
    with pytest.raises(ValueError, match="relative_error"):
        aa.Auto(relative_error=-1)(*smooth(4, 2), rng=rng())
    with pytest.raises(TypeError, match="method is"):
        aa.attention(*smooth(4, 2), aa.Auto(relative_error=0.1))
