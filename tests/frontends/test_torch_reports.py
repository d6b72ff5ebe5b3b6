"""`capture`, `report` and `fidelity` on models of transformers."""

from __future__ import annotations

import importlib
import math
import types

import numpy as np
import pytest
from hugging_face_models import VOCABULARY, make

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import approxattn as aa  # noqa: E402 - after the skips
from approxattn.__main__ import main  # noqa: E402
from approxattn.torch import capture, fidelity, report  # noqa: E402

TOKENS = 40


@pytest.fixture(scope="module")
def bert():
    return make("bert")


@pytest.fixture(scope="module")
def llama():
    return make("llama")


def inputs(padding: int = 0, tokens: int = TOKENS) -> dict:
    ids = torch.randint(1, VOCABULARY, (2, tokens), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, tokens, dtype=torch.long)
    mask[1, tokens - padding :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def test_what_is_captured_is_what_the_model_attends_with(llama) -> None:
    given = inputs()
    wanted, name = llama(**given).logits, llama.config._attn_implementation
    with torch.no_grad(), capture(llama) as heads:
        found = llama(**given).logits
    torch.testing.assert_close(found, wanted)
    assert llama.config._attn_implementation == name
    assert [(x.layer, x.module) for x in heads] == [
        (0, "model.layers.0.self_attn"),
        (1, "model.layers.1.self_attn"),
    ]
    layer = heads[1]
    assert layer.q.shape == (2, 4, TOKENS, 8)
    assert layer.k.shape == layer.v.shape == (2, 2, TOKENS, 8)
    # the module's own output, from what was captured
    seen = []
    hook = llama.model.layers[1].self_attn.o_proj.register_forward_pre_hook(
        lambda _, x: seen.append(x[0])
    )
    llama(**given)
    hook.remove()
    head = layer.head(1, 3)
    assert head.masks["causal"]
    out = aa.attention(head.q, head.k, head.v, aa.Exact(), scale=head.scale, causal=True)
    np.testing.assert_allclose(out.value, seen[0][1, :, 24:].detach(), atol=1e-5)


def test_only_the_layers_asked_for(llama) -> None:
    with torch.no_grad(), capture(llama, layers=[1]) as heads:
        llama(**inputs())
    assert [x.layer for x in heads] == [1]


def test_the_model_is_set_back_after_an_error(llama) -> None:
    name = llama.config._attn_implementation
    with pytest.raises(KeyError), capture(llama):
        raise KeyError
    assert llama.config._attn_implementation == name


def test_padding_is_cut_off(bert) -> None:
    with torch.no_grad(), capture(bert) as heads:
        bert(**inputs(padding=7))
    assert [heads[0].head(item, 0).q.shape[0] for item in (0, 1)] == [TOKENS, TOKENS - 7]


def test_a_saved_file_is_diagnosed(llama, tmp_path, capsys) -> None:
    with torch.no_grad(), capture(llama) as heads:
        llama(**inputs())
    command = heads.save(tmp_path / "heads.npz", item=1).split()
    assert command[:2] == ["approxattn", "diagnose"]
    assert command[-1] == "--causal"
    assert main([*command[1:], "--quick"]) == 0
    assert f"items 8, n_q {TOKENS}, n_k {TOKENS}, d 8" in capsys.readouterr().out
    with np.load(tmp_path / "heads.npz") as stored:
        q, k = stored["q"], stored["k"]
    assert q.shape == (2, 2, 2, TOKENS, 8)
    assert k.shape == (2, 2, 1, TOKENS, 8)
    head = heads[1].head(1, 3)
    factor = head.scale * math.sqrt(8)
    np.testing.assert_allclose(q[1, 1, 1], head.q * factor, rtol=1e-6)
    np.testing.assert_array_equal(k[1, 1, 0], head.k)


def test_what_cannot_be_saved(llama, tmp_path) -> None:
    with torch.no_grad(), capture(llama) as heads:
        llama(**inputs())
        llama(**inputs(tokens=20))
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        heads.save(tmp_path / "heads.npy")
    with pytest.raises(ValueError, match="save them one by one"):
        heads.save(tmp_path / "heads.npz")
    heads.save(tmp_path / "heads.npz", layers=[2, 3])


def test_capture_refuses_what_is_no_model() -> None:
    with pytest.raises(TypeError, match="no model of transformers"), capture(torch.nn.Linear(2, 2)):
        pass


def test_windows_are_captured(tmp_path) -> None:
    model = make("mistral")
    with torch.no_grad(), capture(model) as heads:
        model(**inputs())
    head = heads[0].head(0, 0)
    assert head.masks["window"] == (7, 0)
    assert not head.plain
    with pytest.raises(ValueError, match="other than padding and causal order"):
        heads.save(tmp_path / "heads.npz")
    found = report(heads)
    assert "for Exact() only" in str(found)
    assert found.recommended == {}


def test_report_measures_every_head(bert) -> None:
    with torch.no_grad(), capture(bert) as heads:
        bert(**inputs())
    found = report(heads, budget=600, cost=0.5, tolerance=0.5, rows=TOKENS)
    assert [(x.layer, x.seen, x.heads) for x in found.layers] == [(0, 4, 4), (1, 4, 4)]
    layer = found.layers[0]
    # every error is that of the method, over all rows
    name = next(name for name in layer.errors if "mean-pool" in name)
    for number, error in enumerate(layer.errors[name]):
        head = heads[0].head(0, number)
        keywords = {"scale": head.scale}
        method = layer.methods[name]
        a, b = (
            aa.attention(head.q, head.k, head.v, m, **keywords).value for m in (method, aa.Exact())
        )
        assert error == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b), rel=1e-3)
    assert layer.error == min(np.median(e) for e in layer.errors.values())
    # random weights give flat attention, so every layer has a good method
    assert sorted(found.recommended) == [0, 1]
    assert "Within 0.5: 0: " in str(found)
    assert max(map(len, str(found).splitlines()[2 + len(found.layers) :])) <= 100
    assert str(found).count("4/4") == 2


def test_report_keeps_to_its_time(bert, monkeypatch) -> None:
    modules = [
        importlib.import_module(f"approxattn.{x}") for x in ("torch.report", "diagnosis.trials")
    ]
    with torch.no_grad(), capture(bert) as heads:
        bert(**inputs())
    clock = [0.0]

    def tick() -> float:
        clock[0] += 1.0
        return clock[0]

    for module in modules:
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=tick))
    found = report(heads, budget=40)
    # one head of each layer comes first
    seen = [x.seen for x in found.layers]
    assert 1 <= seen[0] < 4
    assert seen[0] - seen[1] in (0, 1)
    assert "were not looked at: the time was up" in str(found)
    none = report(heads, budget=0.5)
    assert [x.seen for x in none.layers] == [0, 0]
    assert none.recommended == {}
    assert "keep exact attention" in str(none)


@pytest.mark.parametrize(
    "keywords", [{"budget": 0}, {"cost": 1.0}, {"tolerance": 0.0}, {"rows": 0}]
)
def test_report_refuses(keywords, bert) -> None:
    with torch.no_grad(), capture(bert) as heads:
        bert(**inputs())
    with pytest.raises(ValueError, match=next(iter(keywords))):
        report(heads, **keywords)


def test_report_without_heads(bert) -> None:
    with capture(bert) as heads:
        pass
    with pytest.raises(ValueError, match="heads is empty"):
        report(heads)


def test_fidelity_of_exact_attention(llama) -> None:
    given = inputs()
    found = fidelity(llama, {**given, "labels": given["input_ids"]}, aa.Exact())
    assert found.tokens == 2 * TOKENS
    assert found.least_cosine > 1 - 1e-6
    assert found.largest_divergence < 1e-6
    assert found.agreement == 1
    assert found.loss == pytest.approx(found.loss_before, rel=1e-6)
    assert len(found.calls) == 2


def test_fidelity_sees_a_bad_method(bert) -> None:
    given = inputs(padding=5)
    good = fidelity(bert, given, "Polynomial(degree=8)")
    bad = fidelity(bert, given, aa.Linformer(rank=2), seed=0)
    assert good.tokens == bad.tokens == 2 * TOKENS - 5
    assert bad.least_cosine < good.least_cosine
    assert bad.least_pooled_cosine < good.least_pooled_cosine
    assert "cosine of the outputs" in str(good)


def test_fidelity_is_what_the_definitions_say() -> None:
    llama, given, method = make("llama"), inputs(), "Polynomial(degree=0)"
    with torch.no_grad():
        llama.lm_head.weight *= 100  # so that the two divergences differ
    found = fidelity(llama, given, method, layers=[1])
    from approxattn.torch import register

    with torch.no_grad():
        p = torch.log_softmax(llama(**given).logits.double(), -1)
        before = llama.config._attn_implementation
        register("mean", {1: method})
        llama.set_attn_implementation("mean")
        q = torch.log_softmax(llama(**given).logits.double(), -1)
        llama.set_attn_implementation(before)
    divergence = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    assert found.divergence == pytest.approx(float(divergence.mean()), rel=1e-6)
    assert found.divergence > 0
    assert [call.label for call in found.calls] == ["layer 1"]


def test_fidelity_refuses_training_mode() -> None:
    with pytest.raises(ValueError, match=r"call model\.eval"):
        fidelity(make("bert").train(), inputs(), aa.Exact())
