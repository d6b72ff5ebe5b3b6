"""The multi-layer transformer of Liang et al. (2024), Definition 1.3: its weights, as plain arrays
in frozen records.

F_m = g_m o Attn_m o ... o g_1 o Attn_1 o g_0, where T_0 = g_0(X) and T_i = g_i(Attn_i(T_{i-1})). A
layer here may also normalise before its attention and add its input to what the attention gives
(their Appendix J):

    u = norm(T_{i-1}),   Z = Attn_i(u) [+ T_{i-1}],   T_i = g_i(Z),   g_i a chain of functions of
        one token.
"""

from __future__ import annotations

from dataclasses import dataclass

from approxattn.transformer.self_attention import SelfAttention
from approxattn.transformer.token_map import TokenMap


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: attention, then a chain of functions of one token.

    Parameters
    ----------
    attention : SelfAttention
        Attn_i.
    norm : token map, optional
        Applied to the attention's input, inside the residual branch.
    residual : bool
        Whether the layer's input is added to the attention's output.
    then : tuple of token maps
        g_i, one after the other; `Residual(maps=(LayerNorm(...), Mlp(...)))` is the usual one.
    """

    attention: SelfAttention
    norm: TokenMap | None = None
    residual: bool = False
    then: tuple[TokenMap, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """Layers, one after the other: F_m = g_m o Attn_m o ... o g_1 o Attn_1 o g_0.

    A gradient with respect to all parameters is a Transformer too.

    Parameters
    ----------
    layers : tuple of Layer
        Any number of them.
    first : tuple of token maps
        g_0, one after the other; an `Embedding` in the first place takes integers.
    """

    layers: tuple[Layer, ...]
    first: tuple[TokenMap, ...] = ()
