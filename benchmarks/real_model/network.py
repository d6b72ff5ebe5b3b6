"""A decoder of the Llama kind in NumPy: forward pass and loss, attention left to the caller.

1. Every layer adds A(RMS(x)) and then F(RMS(x)) to the residual stream x. RMS(x) is
   w x / sqrt(mean x^2 + epsilon).
2. Queries and keys are turned by their position: pair (2i, 2i + 1) by position base^(-2i/d). The
   pairs are neighbours, as in the layout of GGUF files.
3. Query head h reads key head h // (heads / key_heads).
4. F(x) = W_down (silu(W_gate x) * W_up x); the output layer is the transposed embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Array = npt.NDArray[np.float32]
Attend = Callable[[int, Array, Array, Array], Array]
"""Layer, queries (heads, n, d), keys and values (key_heads, n, d) -> outputs (heads, n, d)."""

LOGITS_AT_ONCE = 2**25


@dataclass(frozen=True, kw_only=True)
class Network:
    """Sizes and weights.

    Attributes
    ----------
    layers, heads, key_heads, width : int
        Number of layers, of query heads, of key and value heads, and width of a head.
    base, epsilon : float
        Of the rotary embedding and of the RMS norm.
    weights : mapping of str to array
        By their names in GGUF files; matrices have the shape (out, in).
    """

    layers: int
    heads: int
    key_heads: int
    width: int
    base: float
    epsilon: float
    weights: Mapping[str, Array]

    @property
    def group(self) -> int:
        """Query heads of one key head."""
        return self.heads // self.key_heads


def forward(network: Network, tokens: npt.NDArray[np.int64], attend: Attend) -> Array:
    """Return the last hidden states, normed, shape (n, channels)."""
    x = network.weights["token_embd.weight"][tokens]
    turn = rotation(network, len(tokens))
    for layer in range(network.layers):
        _attention(network, layer, x, turn, attend)
        _perceptron(network, layer, x)
    return _norm(network, x, "output_norm.weight")


def _attention(
    network: Network, layer: int, x: Array, turn: tuple[Array, Array], attend: Attend
) -> None:
    """Add the attention of a layer to x."""
    h = _norm(network, x, f"blk.{layer}.attn_norm.weight")
    q, k, v = (_heads(network, h, f"blk.{layer}.attn_{name}.weight") for name in "qkv")
    out = attend(layer, rotate(q, turn), rotate(k, turn), v)
    flat = np.swapaxes(out, 0, 1).reshape(len(x), -1)
    x += flat @ network.weights[f"blk.{layer}.attn_output.weight"].T


def _perceptron(network: Network, layer: int, x: Array) -> None:
    """Add the perceptron of a layer to x."""
    h = _norm(network, x, f"blk.{layer}.ffn_norm.weight")
    names = (f"blk.{layer}.ffn_{name}.weight" for name in ("gate", "up", "down"))
    gate, up, down = (network.weights[name] for name in names)
    inner = h @ gate.T
    inner *= expit(inner)
    inner *= h @ up.T
    x += inner @ down.T


def _norm(network: Network, x: Array, name: str) -> Array:
    square = np.mean(x * x, axis=1, keepdims=True, dtype=np.float64)
    factor = 1 / np.sqrt(square + network.epsilon)
    return x * factor.astype(np.float32) * network.weights[name]


def _heads(network: Network, h: Array, name: str) -> Array:
    """Return the projection of h, shape (heads, n, d)."""
    out = (h @ network.weights[name].T).reshape(len(h), -1, network.width)
    return np.ascontiguousarray(np.swapaxes(out, 0, 1))


def rotation(network: Network, n: int) -> tuple[Array, Array]:
    """Return cosines and sines of all positions and pairs, shape (n, d/2)."""
    speeds = network.base ** (-np.arange(0, network.width, 2) / network.width)
    angles = np.arange(n)[:, None] * speeds
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: Array, turn: tuple[Array, Array]) -> Array:
    """Return x, shape (heads, n, d), with its pairs turned."""
    (cos, sin), out = turn, np.empty_like(x)
    even, odd = x[..., 0::2], x[..., 1::2]
    out[..., 0::2] = even * cos - odd * sin
    out[..., 1::2] = even * sin + odd * cos
    return out


def losses(
    network: Network, hidden: Array, tokens: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return -ln p(token i + 1) for i = 0..n-2, in nats."""
    out = np.empty(len(tokens) - 1)
    embedding = network.weights["token_embd.weight"]
    step = max(1, LOGITS_AT_ONCE // len(embedding))
    for a in range(0, len(out), step):
        b = min(a + step, len(out))
        logits = hidden[a:b] @ embedding.T
        wanted = logits[np.arange(b - a), tokens[a + 1 : b + 1]].astype(np.float64)
        top = logits.max(axis=1, keepdims=True)
        total = np.exp(logits - top).sum(axis=1, dtype=np.float64)
        out[a:b] = np.log(total) + top[:, 0] - wanted
    return out


def random_network(
    rng: np.random.Generator, *, layers: int = 2, vocabulary: int = 97, gain: float = 2.0
) -> Network:
    """Return a small network of random weights, for tests: six heads of width 8, two key heads."""
    heads, key_heads, width, inner = 6, 2, 8, 40
    channels = heads * width
    shapes = {
        "attn_q": (channels, channels),
        "attn_k": (key_heads * width, channels),
        "attn_v": (key_heads * width, channels),
        "attn_output": (channels, channels),
        "ffn_gate": (inner, channels),
        "ffn_up": (inner, channels),
        "ffn_down": (channels, inner),
    }
    weights = {
        f"blk.{layer}.{name}.weight": gain * rng.standard_normal(shape) / np.sqrt(shape[1])
        for layer in range(layers)
        for name, shape in shapes.items()
    }
    norms = ["output_norm", *(f"blk.{i}.{s}_norm" for i in range(layers) for s in ("attn", "ffn"))]
    weights |= {f"{name}.weight": rng.uniform(0.5, 1.5, channels) for name in norms}
    weights["token_embd.weight"] = rng.standard_normal((vocabulary, channels))
    return Network(
        layers=layers,
        heads=heads,
        key_heads=key_heads,
        width=width,
        base=1e4,
        epsilon=1e-5,
        weights={name: w.astype(np.float32) for name, w in weights.items()},
    )
