"""Bad calls are refused before any work, in words whose remedy can be taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from methods import TABLE

import approxattn as aa
from approxattn._arrays import HostArray


def problem(*batch: int, n: int = 4) -> tuple[HostArray, HostArray, HostArray]:
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, *batch, n, 2))
    return q, k, v


def vjp(q: Any, k: Any, v: Any, **options: Any) -> aa.Gradients:
    dout = options.pop("dout", None)
    shape = (
        *np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2]),
        q.shape[-2],
        v.shape[-1],
    )
    return aa.attention_vjp(
        q, k, v, np.ones(shape) if dout is None else dout, aa.Exact(), **options
    )


VERBS: dict[str, Callable[..., Any]] = {
    "attention": lambda *a, **o: aa.attention(*a, aa.Exact(), **o),
    "attention_vjp": vjp,
    "audit": lambda q, k, v, **o: aa.audit(
        np.zeros((*q.shape[:-1], v.shape[-1])), q, k, v, rows=2, rng=np.random.default_rng(0), **o
    ),
    "diagnose": aa.diagnose,
}
each_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


# --- remedies that exist --------------------------------------------------------------------------


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("bad", ["q", "k", "v"])
def test_only_attention_speaks_of_its_nan_policy(name: str, bad: str) -> None:
    arrays = dict(zip("qkv", problem(), strict=True))
    arrays[bad][1, 1] = np.nan
    with pytest.raises(ValueError, match=rf"{bad}\[1, 1\] is nan") as caught:
        VERBS[name](*arrays.values())
    told = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert ("nan_policy='propagate'" in told) == (name == "attention")
    assert ("key_mask" in told) == (bad != "q")


def test_the_remedies_for_nan_can_be_taken() -> None:
    q, k, v = problem()
    k[1] = np.nan
    mask = np.array([True, False, True, True])
    for verb in VERBS.values():
        verb(q, k, v, key_mask=mask)
    out = aa.attention(q, k, v, aa.Exact(), nan_policy="propagate")
    assert np.isnan(out.value).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_cotangent_has_its_own_remedy(bad: float) -> None:
    dout = np.ones((4, 2))
    dout[2, 1] = bad
    with pytest.raises(
        ValueError, match=r"^dout\[2, 1\] is (nan|inf): dout must be finite; mend"
    ) as e:
        vjp(*problem(), dout=dout)
    assert "nan_policy" not in str(e.value)
    assert "mask" not in str(e.value)


def test_a_cotangent_too_large_can_be_divided() -> None:
    q, k, v = (x.astype(np.float32) for x in problem())
    dout = np.full((4, 2), 1e25, np.float32)
    with pytest.raises(ValueError, match=r"dv max\|dout\| max\|v\|.*rescale.*float64"):
        vjp(q, k, v * np.float32(1e15), dout=dout)
    vjp(q, k, v * np.float32(1e15), dout=dout / np.float32(1e15))
    vjp(*(x.astype(np.float64) for x in (q, k, v * 1e15)), dout=dout.astype(np.float64))


# --- masks that mean two things -------------------------------------------------------------------


@each_verb
def test_a_mask_for_items_or_for_heads_is_refused(verb: Callable[..., Any]) -> None:
    q, k, v = problem(3, 3)
    mask = np.ones((3, 4), bool)
    mask[0, 1] = False
    with pytest.raises(ValueError, match=r"could be the first of them or the last") as caught:
        verb(q, k, v, key_mask=mask)
    for spelling in ("key_mask[:, None, :]", "key_mask[None, :, :]"):
        assert spelling in str(caught.value)
        verb(q, k, v, key_mask=eval(spelling, {"key_mask": mask}))  # noqa: S307 - our own words


def test_masks_of_more_axes_are_spelled_out_too() -> None:
    q, k, v = problem(2, 2, 2)
    mask = np.ones((2, 2, 4), bool)
    mask[0, 1, 2] = False
    with pytest.raises(ValueError, match="could be the first of them or the last") as caught:
        aa.attention(q, k, v, aa.Exact(), key_mask=mask)
    for spelling in ("key_mask[:, :, None, :]", "key_mask[None, :, :, :]"):
        assert spelling in str(caught.value)
        aa.attention(q, k, v, aa.Exact(), key_mask=eval(spelling, {"key_mask": mask}))  # noqa: S307


def test_masks_that_mean_one_thing_are_taken() -> None:
    exact = lambda arrays, mask: aa.attention(*arrays, aa.Exact(), key_mask=mask).value
    per_head = np.array([[True, False, True, True], [True, True, True, False]])
    q, k, v = problem(3, 2)
    np.testing.assert_array_equal(exact((q, k, v), per_head), exact((q, k, v), per_head[None]))
    one = problem(1, 1)
    assert exact(one, per_head[:1]).shape == (1, 1, 4, 2)
    same = problem(3, 3)
    assert exact(same, per_head[:1]).shape == (3, 3, 4, 2)  # one mask for all
    with pytest.raises(ValueError, match=r"key_mask\[:, None, :\] gives one mask to each batch"):
        exact(problem(2, 3), per_head)


# --- settings -------------------------------------------------------------------------------------


@each_verb
@pytest.mark.parametrize("flag", ["no", 1, None, "False", np.array([True, False])])
def test_a_flag_is_true_or_false(flag: object, verb: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"causal\(=.*\) must be True or False"):
        verb(*problem(), causal=flag)


@each_verb
@pytest.mark.parametrize(
    "scale", ["a", np.array([1.0, 2.0]), np.array([1.0]), [0.5], True, 1j], ids=repr
)
def test_a_scale_is_one_number(scale: object, verb: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"scale\(=.*\) must be (a|one) "):
        verb(*problem(), scale=scale)


@each_verb
def test_numpy_numbers_are_numbers(verb: Callable[..., Any]) -> None:
    verb(*problem(), scale=np.float32(0.5), causal=np.True_)
    verb(*problem(), scale=np.array(0.5))


@pytest.mark.parametrize("confidence", ["a", None, np.array([0.5]), True])
def test_a_confidence_is_a_number(confidence: object) -> None:
    with pytest.raises(TypeError, match="confidence"):
        aa.audit(
            np.zeros((4, 2)),
            *problem(),
            rows=2,
            rng=np.random.default_rng(0),
            confidence=confidence,
        )


def test_the_plan_of_a_diagnosis() -> None:
    with pytest.raises(TypeError, match=r"rows\(=2.5\) must be an int"):
        aa.diagnose(*problem(), rows=2.5)
    with pytest.raises(ValueError, match=r"rows\(=0\) must be at least 1"):
        aa.diagnose(*problem(), rows=0)
    with pytest.raises(TypeError, match=r"rng\(=3\) must be a generator.*evenly spaced"):
        aa.diagnose(*problem(), rng=3)
    with pytest.raises(TypeError, match=r"compare_methods\(='yes'\)"):
        aa.diagnose(*problem(), compare_methods="yes")


# --- nothing to do --------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE, ids=str)
@pytest.mark.parametrize("shape", ["no columns", "no queries", "no items", "no items, one key set"])
def test_nothing_gives_nothing(row: Any, shape: str) -> None:
    q, k, v = problem(2)
    if shape == "no columns":
        v = v[..., :0]
    elif shape == "no queries":
        q = q[:, :0]
    elif shape == "no items":
        q, k, v = q[:0], k[:0], v[:0]
    else:
        q, k, v = q[:0], k[:1], v[0]
    if row.needs_square and shape == "no queries":
        return
    rng = np.random.default_rng(0)
    out = aa.attention(q, k, v, row.method, rng=rng)
    assert out.value.shape == (*q.shape[:-1], v.shape[-1])
    assert out.certificate.rows.shape == q.shape[:-1]
    assert (out.certificate.rows == 0).all()
    if hasattr(row.method, "vjp"):
        grads = aa.attention_vjp(q, k, v, np.zeros(out.value.shape), row.method, rng=rng)
        for x, name in ((q, "dq"), (k, "dk"), (v, "dv")):
            assert getattr(grads, name).shape == x.shape
            assert not getattr(grads, name).any()


@pytest.mark.parametrize("shape", [(0, 2), (2, 0)])
def test_an_audit_of_nothing(shape: tuple[int, int]) -> None:
    q, k, v = problem()
    report = aa.audit(
        np.zeros(shape),
        q[: shape[0]] if shape[0] == 0 else q[:2],
        k,
        v[:, : shape[1]],
        rows=3,
        rng=np.random.default_rng(0),
    )
    assert report.largest < 1e-300
    assert str(report)
