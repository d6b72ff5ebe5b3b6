"""Plans of models of transformers: made from what was captured, computed head by head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hugging_face_models import VOCABULARY, make

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import approxattn as aa  # noqa: E402 - after the skips
from approxattn.planning.record import HeadPlan  # noqa: E402
from approxattn.torch import (  # noqa: E402
    ModelPlan,
    capture,
    fidelity,
    plan,
    record_calls,
    register,
)

TOKENS = 48
NARROW = aa.SelectedSummaries(heavy=0, recent=4, summaries=2, sinks=1, block=8)
MEETS_ALL = aa.SelectedSummaries(recent=1000)
CANDIDATES = [NARROW, aa.SelectedSummaries(heavy=4, recent=4, summaries=4, sinks=1, block=8)]


@pytest.fixture(scope="module")
def models():
    found: dict = {}
    return lambda kind: found.setdefault(kind, make(kind))


def inputs(padding: str = "none", seed: int = 0) -> dict:
    ids = torch.randint(1, VOCABULARY, (2, TOKENS), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(2, TOKENS, dtype=torch.long)
    if padding == "right":
        mask[1, 30:] = 0
    elif padding == "left":
        mask[1, :18] = 0
    return {"input_ids": ids, "attention_mask": mask}


def captured(model, given: dict | None = None):
    with torch.no_grad(), capture(model) as heads:
        model(**(inputs() if given is None else given))
    return heads


def planned(model, given: dict | None = None, **options) -> ModelPlan:
    settings = {"relative_error": 0.3, "order": "cost", "block": 8, "candidates": CANDIDATES}
    rng = np.random.default_rng(0)
    return plan(captured(model, given), rng=rng, **(settings | options))


def run(model, name: str, given: dict):
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        with torch.no_grad(), record_calls() as calls:
            found = model(**given)
    finally:
        model.set_attn_implementation(before)
    out = found.logits if hasattr(found, "logits") else found.last_hidden_state
    return out, calls


def mixed(found: ModelPlan, exactly: dict[int, list[int]], method=None) -> ModelPlan:
    """Return the plan with these heads exact, and another method in the others."""
    layers = {}
    for number, old in found.items():
        own = HeadPlan(method=method or MEETS_ALL, candidate=0)
        heads = [HeadPlan.exact("") if h in exactly[number] else own for h in range(4)]
        layers[number] = replace(old, heads=tuple(heads))
    return ModelPlan(layers=layers)


@pytest.fixture(scope="module")
def llama_plan(models) -> ModelPlan:
    return planned(models("llama"))


def test_a_plan_of_each_layer(llama_plan) -> None:
    assert list(llama_plan) == [0, 1]
    assert llama_plan[0].shape == (4,)
    assert llama_plan[0].lengths == (TOKENS, TOKENS)
    assert llama_plan[0].transfer.texts == 2
    assert llama_plan.left_exact < 8
    lines = str(llama_plan).splitlines()
    assert len(lines) == 1 + 8 + 2
    assert lines[-1].startswith("2 layers, 8 heads")
    assert "layer 1" in llama_plan._repr_html_()


@pytest.mark.parametrize("padding", ["none", "right", "left"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_heads_in_any_grouping_give_the_model_as_it_is(kind, padding, models) -> None:
    """Masks and shared keys go to the right heads: methods that meet all keys change nothing."""
    model, given = models(kind), inputs(padding)
    wanted, _ = run(model, "sdpa", given)
    for exactly in ({0: [], 1: [1]}, {0: [0, 3], 1: [0, 1]}, {0: [2, 1, 0], 1: [0, 1, 2, 3]}):
        register("mixed", mixed(planned(model, given), exactly))
        found, calls = run(model, "mixed", given)
        kept = given["attention_mask"].bool()
        torch.testing.assert_close(found[kept], wanted[kept], rtol=0, atol=1e-5)
        assert len(calls) == sum(len(heads) < 4 for heads in exactly.values())
    assert "heads 3" in calls[-1].label


def test_heads_have_their_own_methods(models, llama_plan) -> None:
    """Head by head the output of a layer is that of the method alone."""
    model, given = models("llama"), inputs()
    layer = captured(model)[0]
    seen = []
    hook = model.model.layers[0].self_attn.o_proj.register_forward_pre_hook(
        lambda _, x: seen.append(x[0])
    )
    register("heads", mixed(llama_plan, {0: [1, 2], 1: [0, 1, 2, 3]}, NARROW))
    run(model, "heads", given)
    hook.remove()
    for number in range(4):
        head = layer.head(1, number)
        method = aa.Exact() if number in (1, 2) else NARROW
        out = aa.attention(head.q, head.k, head.v, method, scale=head.scale, causal=True)
        own = seen[0][1, :, 8 * number : 8 * number + 8]
        np.testing.assert_allclose(out.value, own.numpy(), atol=1e-5)


@pytest.mark.parametrize("padding", ["none", "left"])
def test_generate_with_a_cache(padding: str, models, llama_plan) -> None:
    model, given = models("llama"), inputs(padding)
    tokens = []
    register("cache", mixed(llama_plan, {0: [0, 2], 1: [1]}))
    for name in ("sdpa", "cache"):
        model.set_attn_implementation(name)
        tokens.append(model.generate(**given, max_new_tokens=6, do_sample=False))
    model.set_attn_implementation("sdpa")
    assert torch.equal(*tokens)
    register("planned", llama_plan)
    model.set_attn_implementation("planned")
    model.generate(**given, max_new_tokens=3, do_sample=False)
    model.set_attn_implementation("sdpa")


def test_gradients_pass(models, llama_plan) -> None:
    model, given = models("llama"), inputs()
    register("trained", mixed(llama_plan, {0: [3], 1: []}))
    found = []
    for name in ("sdpa", "trained"):
        model.set_attn_implementation(name)
        model.zero_grad()
        model(**given, labels=given["input_ids"]).loss.backward()
        found.append(model.model.layers[0].self_attn.k_proj.weight.grad.clone())
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-6)


def test_fidelity_and_the_errors_on_another_text(models, llama_plan) -> None:
    model, other = models("llama"), inputs(seed=1)
    found = fidelity(model, other | {"labels": other["input_ids"]}, llama_plan)
    assert abs(found.loss - found.loss_before) < 0.05
    assert found.cosine > 0.95
    report = llama_plan.audit(captured(model, other), rows=1000, rng=np.random.default_rng(0))
    assert [len(checks) for checks in report.checks.values()] == [8, 8]
    by_head = {c.head[0]: c for c in report.checks[0][:4]}
    layer = captured(model, other)[0]
    for number, head in enumerate(llama_plan[0].heads):
        own = layer.head(0, number)
        given = {"scale": own.scale, "causal": True}
        out = aa.attention(own.q, own.k, own.v, head.method, **given).value
        exact = aa.attention(own.q, own.k, own.v, aa.Exact(), **given).value
        truth = np.linalg.norm(out - exact) / np.linalg.norm(exact)
        assert by_head[number].error == pytest.approx(truth, rel=1e-3, abs=1e-6)
    assert "worst" in str(report)
    assert 0 <= report.above <= 1


def test_files(llama_plan, tmp_path: Path) -> None:
    path = tmp_path / "plans.json"
    llama_plan.save(path)
    assert ModelPlan.load(path) == llama_plan
    with pytest.raises(aa.PlanFileError, match="no 'plan' but model plan"):
        aa.Plan.load(path)
    llama_plan[1].save(path)
    register("one for all", aa.Plan.load(path))
    with pytest.raises(aa.PlanFileError, match="no 'model plan'"):
        ModelPlan.load(path)


def test_layers_that_cannot_be_planned_say_why(models) -> None:
    found = planned(models("mistral"))
    assert list(found) == []
    assert "window, which is for Exact() only" in found.left_out[0]
    assert "exact: " in str(found)
    register("none", found)
    wanted, _ = run(models("mistral"), "sdpa", inputs())
    torch.testing.assert_close(run(models("mistral"), "none", inputs())[0], wanted)
    t5 = models("t5")
    with torch.no_grad(), capture(t5) as heads:
        t5(**inputs(), decoder_input_ids=inputs()["input_ids"])
    encoder = plan(heads, relative_error=0.1, rng=np.random.default_rng(0))
    assert set(encoder.left_out) == {0, 1}


def test_decoding_steps_are_no_texts(models) -> None:
    model = models("llama")
    with capture(model) as heads:
        model.generate(**inputs(), max_new_tokens=4, do_sample=False)
    assert len(heads) > 2
    found = plan(heads, relative_error=0.3, rng=np.random.default_rng(0), candidates=CANDIDATES)
    assert found[0].lengths == (TOKENS, TOKENS)


def test_time_and_texts(models) -> None:
    found = planned(models("llama"), items=1, budget=1e-6)
    assert found[0].lengths == (TOKENS,)
    assert found.left_exact == 8


def test_what_is_refused(models, llama_plan) -> None:
    rng = np.random.default_rng(0)
    with torch.no_grad(), capture(models("llama")) as none:
        pass
    with pytest.raises(ValueError, match="heads is empty"):
        plan(none, relative_error=0.1, rng=rng)
    with pytest.raises(ValueError, match="relative_error"):
        planned(models("llama"), relative_error=0)
    with pytest.raises(TypeError, match="unexpected keyword"):
        planned(models("llama"), tolerance=0.1)
    with pytest.raises(TypeError, match="rng"):
        llama_plan.audit(captured(models("llama")), rows=3, rng=0)
    narrow = {0: replace(llama_plan[0], shape=(2,), heads=llama_plan[0].heads[:2])}
    register("narrow", narrow)
    with pytest.raises(ValueError, match=r"layer 0 has 4 heads, and its plan is for \(2,\)"):
        run(models("llama"), "narrow", inputs())
    drawn = replace(
        llama_plan[0], heads=(HeadPlan(method=aa.Performer(features=4), candidate=0),) * 4
    )
    with pytest.raises(ValueError, match="draws random numbers"):
        register("drawn", drawn)
