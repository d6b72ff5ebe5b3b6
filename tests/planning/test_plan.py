"""Plans: what is chosen, computed by them, printed, kept in files, and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_errors import BLOCK, Known, relative, smooth

import approxattn as aa

WINDOW, FEW = aa.SelectedSummaries(heavy=0, recent=64), aa.SelectedSummaries(heavy=64, recent=64)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plan(*arrays: object, **options: object) -> aa.Plan:
    settings = {"relative_error": 0.1, "order": "cost", "rng": rng(), "causal": True}
    return aa.plan(*arrays, **(settings | options))


@pytest.fixture(scope="module")
def heads() -> tuple[np.ndarray, ...]:
    """One easy head, and one whose keys say nothing about where its weight is."""
    easy = smooth(512, 8)
    hard = rng(1).normal(size=(3, 512, 8)) * np.array([4, 4, 1])[:, None, None]
    q, k, v = (np.stack(pair) for pair in zip(easy, hard, strict=True))
    for x in (q, k, v):
        x.setflags(write=False)
    return q, k, v


@pytest.fixture(scope="module")
def found(heads) -> aa.Plan:
    return plan(*heads)


def test_the_easy_head_has_a_method_and_the_hard_one_is_exact(found, heads) -> None:
    assert found.shape == (2,)
    assert found.heads[0].candidate is not None
    assert found.heads[1].reason == "no candidate passed"
    assert found.left_exact == 1
    assert found.head(0) is found.heads[0]
    assert 0.5 < found.relative_cost < 1
    out = found.attention(*heads)
    exact = aa.attention(*heads, aa.Exact(), causal=True)
    errors = relative(out.value, exact.value)
    # all blocks were drawn: the error is the true one
    assert errors[0] == pytest.approx(found.heads[0].error, rel=1e-6)
    assert errors[1] == 0
    assert (abs(out.value - exact.value).max(-1) <= out.certificate.rows + 1e-12).all()


def test_what_was_measured_serves_other_plans(heads) -> None:
    """Plans that share what was measured are those made alone, in any company of texts."""
    q, k, v = heads
    one: dict[int, Any] = {}
    two: dict[int, Any] = {}
    for error in (0.3, 0.1):
        assert plan(*heads, relative_error=error, measured=one).heads == (
            plan(*heads, relative_error=error).heads
        )
    texts = [q, q[:, ::-1]], [k, k], [v, v]
    shared = plan(*texts, measured=[one, two])
    assert shared.heads == plan(*texts).heads
    assert set(one) == set(two) == {0, 1}
    for given, options in ((q[:, ::-1], {}), (q, {"block": 32}), (q, {"scale": 1.0})):
        with pytest.raises(ValueError, match="measured holds another text at head 0"):
            plan(given, k, v, measured=one, **options)
    with pytest.raises(ValueError, match=r"measured is a list of 1 for 2 text\(s\)"):
        plan(*texts, measured=[one])
    with pytest.raises(TypeError, match="measured is 3: give a dict"):
        plan(*heads, measured=3)


def test_processor_times_can_decide(heads) -> None:
    easy = [x[:1] for x in heads]
    found = plan(*easy, candidates=[WINDOW, FEW], order="processor")
    seconds = [candidate.seconds for candidate in found.candidates]
    assert seconds == sorted(seconds)
    assert all(0 < x < found.exact_seconds for x in seconds)


def test_the_certificates_of_all_heads_are_kept(found, heads) -> None:
    out = found.attention(*heads)
    q, k, v = heads
    for number, head in enumerate(found.heads):
        alone = aa.attention(q[number], k[number], v[number], head.method, causal=True)
        np.testing.assert_array_equal(out.value[number], alone.value)
        np.testing.assert_allclose(
            out.certificate.rows[number], alone.certificate.rows, rtol=1e-6, atol=0
        )
        for fact in alone.certificate.facts:
            assert any(
                name.startswith(head.name) and fact in name for name in out.certificate.facts
            )
    assert out.certificate.facts["heads by Exact()"] == 1
    assert "ours.tanh" in out.certificate.theorem
    assert out.plan is found
    assert out.checks == ()


def test_items_before_the_heads_and_shared_keys(found) -> None:
    q, k, v = smooth(3, 2, 1, 300, 8)
    made = replace(found, shape=(2, 1))
    out = made.attention(q, k[:, :1], v[:1, :1])
    wanted = [
        aa.attention(q[:, i], k[:, 0], v[:1, 0], head.method, causal=True).value
        for i, head in enumerate(made.heads)
    ]
    np.testing.assert_array_equal(out.value, np.stack(wanted, axis=1))
    assert out.certificate.rows.shape == (3, 2, 1, 300)


@pytest.mark.parametrize("mask_axes", [1, 2, 3])
def test_masks(found, mask_axes: int) -> None:
    q, k, v = smooth(3, 2, 200, 8)
    mask = rng(3).random((3, 2, 200)) < 0.8
    mask[..., 0] = True
    given = {1: mask[0, 0], 2: mask[:, :1], 3: mask}[mask_axes]
    out = found.attention(q, k, v, key_mask=given)
    for i, head in enumerate(found.heads):
        own = given if given.ndim == 1 else given[:, min(i, given.shape[1] - 1)]
        alone = aa.attention(q[:, i], k[:, i], v[:, i], head.method, causal=True, key_mask=own)
        np.testing.assert_array_equal(out.value[:, i], alone.value)


def test_a_cache(found, heads) -> None:
    q, k, v = heads
    out = found.attention(q[:, -3:], k, v, query_offset=509)
    exact = aa.attention(q, k, v, aa.Exact(), causal=True)
    np.testing.assert_allclose(out.value, exact.value[:, -3:], rtol=0.1)


def test_seeds_reproduce_and_inputs_stay(heads) -> None:
    again, same = plan(*heads, blocks=4, rng=rng(5)), plan(*heads, blocks=4, rng=rng(5))
    assert again.heads == same.heads
    assert [h.errors for h in again.heads] == [h.errors for h in same.heads]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes(dtype: str) -> None:
    q, k, v = smooth(2, 512, 8, dtype=dtype)
    found = plan(q, k, v)
    out = found.attention(q, k, v, audit=16, rng=rng())
    assert found.left_exact == 0
    assert out.value.dtype == dtype
    assert out.changed == ()


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("lead", [(), (1,), (2, 3)])
def test_small_problems(n: int, lead: tuple[int, ...]) -> None:
    q, k, v = np.ones((*lead, n, 3)), np.ones((*lead, max(n, 1), 3)), np.ones((*lead, max(n, 1), 2))
    found = plan(q, k, v, causal=False)
    assert found.left_exact == len(found.heads) == int(np.prod(lead))
    assert str(found)
    out = found.attention(q, k, v, audit=3, rng=rng())
    assert out.value.shape == (*lead, n, 2)
    assert (out.value == 1).all()
    assert len(out.checks) == len(found.heads)


def test_no_heads() -> None:
    found = plan(np.ones((0, 3, 2)), np.ones((0, 3, 2)), np.ones((0, 3, 2)))
    assert (found.heads, found.left_exact, found.relative_cost) == ((), 0, 1.0)
    with pytest.raises(ValueError, match="no heads"):
        found.attention(*(np.ones((0, 3, 2)),) * 3)


def test_values_of_zero_and_of_no_width() -> None:
    q, k, v = smooth(512, 4)
    assert plan(q, k, v * 0).left_exact == 0  # nothing errs
    found = plan(q, k, v[:, :0])
    assert found.attention(q, k, v[:, :0]).value.shape == (512, 0)


def test_a_method_that_refuses_or_overflows_is_not_taken(heads) -> None:
    huge = Known(bad=(0,), size=np.inf)
    found = plan(*heads, candidates=[aa.Clustered(heavy=4), huge])
    assert found.left_exact == 2
    assert len(found.candidates) == 1
    assert "causal=True with Clustered" in found.refused[0]
    assert found.refused[0] in str(found)


def test_no_time(heads) -> None:
    found = plan(*heads, budget=1e-9)
    assert {head.reason for head in found.heads} <= {"the time was up", "no candidate passed"}
    assert found.left_exact == 2
    assert found.untimed > 0
    assert "the time was up" in str(found)


def test_margin(heads) -> None:
    q, k, v = (x[:1] for x in heads)
    error = plan(q, k, v).heads[0].error
    looser = plan(q, k, v, relative_error=2 * error, candidates=[WINDOW])
    tighter = plan(q, k, v, relative_error=2 * error, margin=0.4, candidates=[WINDOW])
    assert (looser.left_exact, tighter.left_exact) in {(0, 1), (1, 1)}
    assert tighter.relative_error == 2 * error


def test_texts_left_out() -> None:
    """A method that is wrong on long texts only is taken from the short one, and then found out."""
    tricky = Known(bad=tuple(range(30, 80)), size=5.0)
    short, long = smooth(100, 2), smooth(400, 2, seed=1)
    texts = [list(pair) for pair in zip(short, long, strict=True)]
    found = plan(*texts, candidates=[tricky], block=BLOCK, blocks=100)
    assert found.left_exact == 1
    assert found.transfer.heads == 1
    assert found.transfer.above == 0.5  # from the long text exact, from the short one not
    assert found.transfer.largest > 1
    assert "left out" in str(found)


# --- words and files ------------------------------------------------------------------------------


def test_printing(found) -> None:
    lines = str(found).splitlines()
    assert lines[0].split() == ["head", "error", "worst", "block", "above", "time", "method"]
    assert lines[1].endswith(found.heads[0].name)
    assert "no candidate passed" in lines[2]
    assert "with confidence 0.95" in lines[3]
    assert "2 heads, 1 left exact" in repr(found)
    page = found._repr_html_()
    assert "1 head" in page
    assert "<table" in page
    state = json.loads(json.dumps(found.to_dict()))
    assert state["left_exact"] == 1
    assert state["heads"][0]["name"] == found.heads[0].name


def test_files(found, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    found.save(path)
    again = aa.Plan.load(path)
    assert again == found
    assert json.loads(path.read_text())["version"] == 1
    two = plan(*([x, x[:, :300]] for x in smooth(1, 400, 4)))
    two.save(path)
    assert aa.Plan.load(path) == two
    none = plan(*(np.ones((1, 0, 2)), np.ones((1, 1, 2)), np.ones((1, 1, 2))), causal=False)
    none.save(path)  # with times that are not known
    assert aa.Plan.load(path).heads == none.heads


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "no JSON"),
        ("\xff\x00", "no JSON|holds no plan"),
        ("[1]", "holds no plan"),
        ('{"format": "other"}', "holds no plan"),
        ('{"format": "approxattn plan", "version": 99, "plan": {}}', "version 99"),
        ('{"format": "approxattn plan", "version": 1, "layers": {}}', "no 'plan' but layers"),
        ('{"format": "approxattn plan", "version": 1, "plan": {}}', "damaged plan"),
        ('{"format": "approxattn plan", "version": 1, "plan": 3}', "damaged plan"),
    ],
)
def test_foreign_files(content: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(aa.PlanFileError, match=why) as error:
        aa.Plan.load(path)
    assert str(path) in str(error.value)


def test_files_never_run_code(found, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    found.save(path)
    path.write_text(path.read_text().replace("Exact()", "__import__('os').getcwd()"))
    with pytest.raises(aa.PlanFileError, match="names no method"):
        aa.Plan.load(path)


@pytest.mark.parametrize(("name", "value"), [("shape", [3]), ("candidates", [])])
def test_damaged_plans(name: str, value: object, found, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    found.save(path)
    content = json.loads(path.read_text())
    content["plan"][name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(aa.PlanFileError, match="damaged plan"):
        aa.Plan.load(path)


def test_methods_without_text_are_not_saved(heads, tmp_path: Path) -> None:
    made = plan(*heads, candidates=[Known()])
    with pytest.raises(ValueError, match="Known cannot be saved"):
        made.save(tmp_path / "plan.json")
    assert not list(tmp_path.iterdir())


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"relative_error": 0}, ValueError, "relative_error"),
        ({"relative_error": "small"}, TypeError, "relative_error"),
        ({"confidence": 1}, ValueError, "confidence"),
        ({"budget": -1}, ValueError, "budget"),
        ({"exceeding": 0.0}, ValueError, "exceeding"),
        ({"margin": 1.5}, ValueError, "margin"),
        ({"order": "size"}, ValueError, "order"),
        ({"block": 0}, ValueError, "block"),
        ({"blocks": 1}, ValueError, "some choose"),
        ({"rng": 3}, TypeError, "rng"),
        ({"candidates": [aa.Exact]}, TypeError, "candidates hold"),
        ({"key_mask": [None, None]}, ValueError, "key_mask is a list of 2 for 1"),
        ({"key_mask": np.ones(512)}, TypeError, "key_mask"),
    ],
)
def test_wrong_settings(options: dict, error: type, why: str, heads) -> None:
    with pytest.raises(error, match=why):
        plan(*heads, **options)


def test_wrong_texts(heads) -> None:
    q, k, v = heads
    with pytest.raises(TypeError, match="three lists"):
        plan([q], k, v)
    with pytest.raises(ValueError, match="equally many"):
        plan([q, q], [k], [v])
    with pytest.raises(ValueError, match="equally many"):
        plan([], [], [])
    with pytest.raises(ValueError, match="text 1 has the leading axes"):
        plan([q, q[:1]], [k, k[:1]], [v, v[:1]])
    with pytest.raises(ValueError, match="q must be finite"):
        plan(q * np.nan, k, v)


def test_wrong_heads(found, heads) -> None:
    q, k, v = heads
    with pytest.raises(ValueError, match=r"plan is for heads of shape \(2,\)"):
        found.attention(q[:1], k, v)
    with pytest.raises(ValueError, match=r"plan is for heads of shape \(2,\)"):
        found.attention(q[0], k[0], v[0])
    with pytest.raises(ValueError, match="v has the head axes"):
        found.attention(q, k, np.ones((3, 512, 8)))
    with pytest.raises(ValueError, match="more leading axes"):
        found.attention(q, k[None], v)
    with pytest.raises(ValueError, match="key_mask has shape"):
        found.attention(q[None], k, v, key_mask=np.ones((2, 512), bool))
    with pytest.raises(ValueError, match="causal=True with 3 queries"):
        found.attention(q[:, :3], k, v)
