"""Small models of transformers with random weights, of the kinds whose attention differs."""

from __future__ import annotations

from typing import Any

VOCABULARY = 100
_COMMON = {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "num_attention_heads": 4}
_SIZES = {**_COMMON, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 64}


def make(kind: str) -> Any:
    """Return a model in evaluation mode: of one of these kinds."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    ends = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
    small = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    grouped = {**_SIZES, "num_key_value_heads": 2, **ends}
    made = {
        "bert": lambda: hf.BertModel(hf.BertConfig(**_SIZES), add_pooling_layer=False),
        "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**small, **ends)),
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**grouped)),
        "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**grouped, sliding_window=8)),
        "gemma2": lambda: hf.Gemma2ForCausalLM(
            hf.Gemma2Config(
                **grouped,
                head_dim=8,
                sliding_window=8,
                query_pre_attn_scalar=2,
                attn_logit_softcapping=0.3,
            )
        ),
        "gpt-oss": lambda: hf.GptOssForCausalLM(
            hf.GptOssConfig(
                **grouped,
                head_dim=8,
                sliding_window=8,
                num_local_experts=2,
                num_experts_per_tok=1,
            )
        ),
        "t5": lambda: hf.T5ForConditionalGeneration(
            hf.T5Config(
                vocab_size=VOCABULARY,
                d_model=32,
                d_kv=8,
                d_ff=48,
                num_layers=2,
                num_heads=4,
                decoder_start_token_id=0,
                eos_token_id=None,
            )
        ),
    }[kind]()
    return made.eval()
