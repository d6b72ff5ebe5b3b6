"""The exact network written in PyTorch's own functions, for its automatic differentiation."""

from __future__ import annotations

from typing import Any

import pytest

from approxattn.transformer import LayerNorm, Linear, Mlp, Residual, Transformer

torch = pytest.importorskip("torch")
functional = torch.nn.functional

PHI = {"gelu": functional.gelu, "silu": functional.silu, "tanh": torch.tanh}


def _token_map(g: Any, x: Any, p: dict[str, Any], path: str) -> Any:
    def of(name: str) -> Any:
        return p.get(f"{path}.{name}")

    match g:
        case Linear():
            return functional.linear(x, of("w").T, of("b"))
        case Mlp():
            return functional.linear(
                PHI[g.activation](functional.linear(x, of("w1").T, of("b1"))), of("w2").T, of("b2")
            )
        case LayerNorm():
            return functional.layer_norm(x, x.shape[-1:], of("gain"), of("shift"), g.epsilon)
        case Residual():
            y = x
            for i, inner in enumerate(g.maps):
                y = _token_map(inner, y, p, f"{path}.maps.{i}")
            return x + y
    raise TypeError(g)


def run_in_torch(model: Transformer, p: dict[str, Any], x: Any) -> Any:
    """Return F(x) for parameters p."""
    for i, g in enumerate(model.first):
        x = _token_map(g, x, p, f"first.{i}")
    for i, layer in enumerate(model.layers):
        path = f"layers.{i}"
        u = x if layer.norm is None else _token_map(layer.norm, x, p, f"{path}.norm")
        a = {
            name: p.get(f"{path}.attention.{name}")
            for name in ("wq", "wk", "wv", "wo", "bq", "bk", "bv", "bo")
        }
        q, k, v = (u[..., None, :, :] @ a[f"w{s}"] + a[f"b{s}"][:, None, :] for s in "qkv")
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=layer.attention.causal)
        y = functional.linear(torch.cat(torch.unbind(heads, -3), dim=-1), a["wo"].T, a["bo"])
        x = x + y if layer.residual else y
        for j, g in enumerate(layer.then):
            x = _token_map(g, x, p, f"{path}.then.{j}")
    return x
