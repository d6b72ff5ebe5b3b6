"""Models of transformers with random weights: outputs, tokens and gradients against "sdpa"."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hugging_face_models import VOCABULARY, make

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import approxattn as aa  # noqa: E402 - after the skips
from approxattn.torch import (  # noqa: E402
    Call,
    ExactFallbackWarning,
    record_calls,
    register,
)

TOKENS = 24


@pytest.fixture(autouse=True)
def _registered():
    register("ours", aa.Exact())
    register("ours or torch", aa.Exact(), unsupported="exact")


@pytest.fixture(scope="module")
def models():
    found: dict = {}
    return lambda kind: found.setdefault(kind, make(kind))


def inputs(padding: str) -> dict:
    ids = torch.randint(1, VOCABULARY, (2, TOKENS), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, TOKENS, dtype=torch.long)
    if padding == "right":
        mask[1, 15:] = 0
    elif padding == "left":
        mask[1, :9] = 0
    return {"input_ids": ids, "attention_mask": mask}


def run(model, name: str, **given) -> tuple[Any, list[Call]]:
    model.set_attn_implementation(name)
    with torch.no_grad(), record_calls() as calls:
        found = model(**given)
    out = found.logits if hasattr(found, "logits") else found.last_hidden_state
    return out, calls


@pytest.mark.parametrize("padding", ["none", "right", "left"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "mistral"])
def test_outputs(kind: str, padding: str, models) -> None:
    model, given = models(kind), inputs(padding)
    wanted, _ = run(model, "sdpa", **given)
    found, calls = run(model, "ours", **given)
    kept = given["attention_mask"].bool()
    torch.testing.assert_close(found[kept], wanted[kept], rtol=0, atol=1e-5)
    assert [call.label for call in calls] == ["layer 0", "layer 1"]
    assert all(call.certificate is not None for call in calls)


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "t5"])
def test_generate_gives_the_same_tokens(kind: str, padding: str, models) -> None:
    model, given = models(kind), inputs(padding)
    found = []
    for name in ("sdpa", "ours"):
        model.set_attn_implementation(name)
        found.append(model.generate(**given, max_new_tokens=12, do_sample=False))
    assert torch.equal(*found)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_generate_with_a_static_cache(kind: str, models) -> None:
    model, given = models(kind), inputs("none")
    found = []
    for name in ("sdpa", "ours"):
        model.set_attn_implementation(name)
        options = {"max_new_tokens": 6, "do_sample": False, "cache_implementation": "static"}
        found.append(model.generate(**given, **options, disable_compile=True))
    assert torch.equal(*found)


def test_methods_without_causal_form_decode_but_do_not_prefill(models) -> None:
    model, given = models("llama"), inputs("none")
    register("clustered", "Clustered(heavy=100)", unsupported="exact")
    model.set_attn_implementation("clustered")
    with record_calls() as calls, pytest.warns(ExactFallbackWarning, match="causal=True"):
        model.generate(**given, max_new_tokens=3, do_sample=False)
    assert [bool(call.reason) for call in calls] == [True] * 2 + [False] * 4


@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
def test_chunked_prefill(kind: str, padding: str, models) -> None:
    model, given = models(kind), inputs(padding)
    ids, mask = given["input_ids"], given["attention_mask"]
    # what stands before the first token has the positions of no one
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    wanted, _ = run(model, "sdpa", **given, position_ids=places)
    model.set_attn_implementation("ours")
    cache, parts = None, []
    with torch.no_grad():
        for start, stop in ((0, 5), (5, 16), (16, TOKENS)):
            part = slice(start, stop)
            found = model(
                input_ids=ids[:, part],
                attention_mask=mask[:, :stop],
                position_ids=places[:, part],
                cache=cache,
                use_cache=True,
            )
            cache = found.past_key_values
            parts.append(found.logits)
    kept = mask.bool()
    torch.testing.assert_close(torch.cat(parts, 1)[kept], wanted[kept], rtol=0, atol=1e-5)


def test_position_bias_is_exact_or_refused(models) -> None:
    model, given = models("t5"), inputs("right")
    given["decoder_input_ids"] = given["input_ids"][:, :9]
    wanted, _ = run(model, "sdpa", **given)
    register("polynomial", "Polynomial(degree=2)")
    with pytest.raises(ValueError, match="attn_mask holds biases"):
        run(model, "polynomial", **given)
    register("polynomial or torch", "Polynomial(degree=2)", unsupported="exact")
    with pytest.warns(ExactFallbackWarning, match="bias"):
        _, calls = run(model, "polynomial or torch", **given)
    # encoder and decoder have biases, the attention from one to the other has none
    assert [bool(call.reason) for call in calls] == [True, True, True, False, True, False]
    found, calls = run(model, "ours", **given)
    assert len(calls) == 6
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_without_the_mask_interface_padding_would_be_wrong(models) -> None:
    # what registering the attention alone does, and why `register` does both
    from transformers import AttentionInterface

    model, given = models("bert"), inputs("right")
    wanted, _ = run(model, "sdpa", **given)
    forward = AttentionInterface._global_mapping["ours"]
    AttentionInterface.register("half", forward)
    half, _ = run(model, "half", **given)
    found, _ = run(model, "ours", **given)
    kept = given["attention_mask"].bool()
    assert (half - wanted)[kept].abs().max() > 1e-3
    assert (found - wanted)[kept].abs().max() < 1e-5


def test_gradients_of_all_weights(models) -> None:
    model, given = models("llama"), inputs("right")
    grads = []
    for name in ("sdpa", "ours"):
        model.set_attn_implementation(name)
        model.zero_grad()
        model(**given, labels=given["input_ids"]).loss.backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_some_layers_by_a_method_the_others_exactly(models) -> None:
    model, given = models("bert"), inputs("right")
    register("one layer", {1: "Polynomial(degree=2)"})
    _, calls = run(model, "one layer", **given)
    assert [(call.label, call.method) for call in calls] == [("layer 1", "Polynomial(degree=2)")]


def test_layers_draw_apart_and_repeat_their_draws(models) -> None:
    model, given = models("bert"), inputs("none")
    with pytest.raises(ValueError, match="pass seed"):
        register("random", aa.Performer(features=8))
    register("random", aa.Performer(features=8), seed=1)
    assert torch.equal(run(model, "random", **given)[0], run(model, "random", **given)[0])
    register("renewed", aa.Performer(features=8), seed=torch.Generator().manual_seed(0))
    assert not torch.equal(run(model, "renewed", **given)[0], run(model, "renewed", **given)[0])


def test_methods_without_scale_take_the_usual_one(models) -> None:
    # every model states a scale, and YOSO has none
    register("yoso", "YosoExpectation(bits=8)")
    _, calls = run(models("bert"), "yoso", **inputs("right"))
    assert [call.certificate.target for call in calls] == ["YOSO-E"] * 2


def test_training_with_dropout_says_so() -> None:
    model = make("bert").train()
    model.set_attn_implementation("ours")
    with pytest.raises(ValueError, match="dropout_p"):
        model(**inputs("none"))
    model.set_attn_implementation("ours or torch")
    with pytest.warns(ExactFallbackWarning, match="dropout_p"):
        model(**inputs("none"))


def test_compiles(models) -> None:
    model, given = models("llama"), inputs("right")
    wanted, _ = run(model, "ours", **given)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, on code of transformers
        found = compiled(**given).logits
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("padding", ["none", "right", "left"])
@pytest.mark.parametrize("kind", ["gemma2", "gpt-oss"])
def test_soft_caps_and_sinks(kind: str, padding: str, models) -> None:
    model, given = models(kind), inputs(padding)
    wanted, _ = run(model, "eager", **given)
    found, calls = run(model, "ours", **given)
    kept = given["attention_mask"].bool()
    torch.testing.assert_close(found[kept], wanted[kept], rtol=0, atol=1e-5)
    assert [call.certificate is not None for call in calls] == [True, True]
    if padding == "right":  # "eager" lets the last tokens, which see no key, see all
        return
    tokens = []
    for name in ("eager", "ours"):
        model.set_attn_implementation(name)
        tokens.append(model.generate(**given, max_new_tokens=6, do_sample=False))
    assert torch.equal(*tokens)


@pytest.mark.parametrize("kind", ["gemma2", "gpt-oss"])
def test_gradients_through_soft_caps_and_sinks(kind: str, models) -> None:
    model, given = models(kind), inputs("right")
    labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
    grads = []
    for name in ("eager", "ours"):
        model.set_attn_implementation(name)
        model.zero_grad()
        model(**given, labels=labels).loss.backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters()})
    if kind == "gpt-oss":
        assert any("sinks" in name and grad.abs().max() > 0 for name, grad in grads[1].items())
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", ["gemma2", "gpt-oss"])
def test_other_methods_refuse_them_or_let_exact_step_in(kind: str, models) -> None:
    from approxattn.torch import capture

    model, given = models(kind), inputs("none")
    word = "softcap" if kind == "gemma2" else "sinks"
    register("bert-lsh", "BertLSH(bits=2, tables=2)", seed=0)
    with pytest.raises(ValueError, match=rf"{word}.* with BertLSH|window"):
        run(model, "bert-lsh", **given)
    register("bert-lsh or exact", "BertLSH(bits=2, tables=2)", seed=0, unsupported="exact")
    wanted, _ = run(model, "eager", **given)
    with pytest.warns(ExactFallbackWarning):
        found, _ = run(model, "bert-lsh or exact", **given)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="plain softmax"), capture(model):
        model(**given)


def test_masks_of_models_that_make_their_own() -> None:
    from approxattn.torch.hugging_face import layer_of
    from approxattn.torch.masks import dense

    q = torch.zeros(2, 3, 4, 5)
    keys = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]])
    tri = torch.ones(4, 4, dtype=torch.bool).tril()
    pairs = (
        torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.8
    ) | tri.diag().diag()
    additive = torch.where(pairs, 0.0, -torch.inf)
    expected = {
        "keys": (keys, False, keys.bool()[:, None, None].expand(2, 1, 4, 4)),
        "keys, causal": (keys, True, keys.bool()[:, None, None] & tri),
        "keys as floats": (keys.float(), True, keys.bool()[:, None, None] & tri),
        "pairs": (pairs, True, pairs[:, None]),
        "additive pairs": (additive, True, pairs[:, None]),
        "additive, with heads": (additive[:, None], True, pairs[:, None]),
        "nothing": (None, False, torch.ones(1, 1, 4, 4, dtype=torch.bool)),
        "nothing, causal": (None, True, tri[None, None]),
    }
    for name, (mask, causal, wanted) in expected.items():
        layer = layer_of(torch.nn.Module(), q, q, q, mask, is_causal=causal)
        found = dense(layer.request.structure(4, 4), 4, 4, "cpu")
        assert torch.equal(found.broadcast_to(wanted.shape), wanted), name
    with pytest.raises(ValueError, match="below 0"):
        layer_of(torch.nn.Module(), q, q, q, -keys.float(), is_causal=False)
