"""Softmax attention and its gradient under any mask, pair by pair, in extended precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

EXTENDED = np.longdouble


def visible(n_q, n_k, batch, options: Mapping[str, Any]):
    """Return which query sees which key, shape (*batch, n_q, n_k), straight from the words of
    `attention`.
    """
    i, j = np.arange(n_q)[:, None] + (options.get("query_offset") or 0), np.arange(n_k)[None, :]
    see = np.ones((*batch, n_q, n_k), bool)
    if options.get("causal"):
        see = see & (j <= i)
    before, after = options.get("window") or (None, None)
    see = see if before is None else see & (j >= i - before)
    see = see if after is None else see & (j <= i + after)
    segments = options.get("segments")
    if segments is not None:
        queries, keys = segments if isinstance(segments, tuple) else (segments, segments)
        see = see & (queries[..., :, None] == keys[..., None, :])
    mask = options.get("key_mask")
    return see if mask is None else see & mask[..., None, :]


def capped(q, k, scale, softcap):
    """Return the scores and their slopes under a soft cap."""
    scores = EXTENDED(scale) * q.astype(EXTENDED) @ np.swapaxes(k.astype(EXTENDED), -1, -2)
    if softcap is None:
        return scores, EXTENDED(1)
    part = np.tanh(scores / EXTENDED(softcap))
    return EXTENDED(softcap) * part, 1 - part**2


def weights(q, k, see, scale, bias=0.0, softcap=None, sinks=-np.inf):
    """Return the softmax weights of the keys; 0 for a query that sees none."""
    scores = np.where(see, capped(q, k, scale, softcap)[0] + bias, -np.inf)
    sinks = np.asarray(sinks, EXTENDED)[..., None, None]
    top = np.maximum(scores.max(-1, keepdims=True), sinks)
    top = np.where(np.isfinite(top), top, 0)
    found = np.exp(scores - top)
    total = found.sum(-1, keepdims=True) + np.exp(sinks - top)
    return found / np.where(total > 0, total, 1)


def output(q, k, v, see, scale, bias=0.0, **kind):
    """Return the exact output."""
    return weights(q, k, see, scale, bias, **kind) @ v.astype(EXTENDED)


def gradient(q, k, v, g, see, scale, bias=0.0, **kind):
    """Return exact dq, dk, dv."""
    f = weights(q, k, see, scale, bias, **kind)
    slopes = capped(q, k, scale, kind.get("softcap"))[1]
    q, k, v, g = (x.astype(EXTENDED) for x in (q, k, v, g))
    z = g @ np.swapaxes(v, -1, -2)
    p = EXTENDED(scale) * f * (z - (f * z).sum(-1, keepdims=True)) * slopes
    return p @ k, np.swapaxes(p, -1, -2) @ q, np.swapaxes(f, -1, -2) @ g


@dataclass(frozen=True, kw_only=True, eq=False)
class Masked:
    """A problem with masks, and who sees whom in it."""

    q: Any
    k: Any
    v: Any
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def batch(self):
        return self.q.shape[:-2]

    @property
    def see(self):
        seen = visible(self.q.shape[-2], self.k.shape[-2], self.batch, self.options)
        return seen & (self.bias > -np.inf)

    @property
    def bias(self):
        return np.asarray(self.options.get("bias", 0.0))

    @property
    def scale(self):
        return self.options.get("scale") or self.q.shape[-1] ** -0.5

    def __repr__(self):
        return f"Masked(q{self.q.shape}, k{self.k.shape}, {self.options})"


@st.composite
def masked_problems(draw, *, alone=False, causal=None, longest=12, dtype=np.float64):
    """Problems of up to `longest` tokens with any masks at all; rows may see no key. `alone`: with
    those that every method takes.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_q, n_k = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    batch = draw(st.sampled_from([(), (2,), (2, 3)]))
    size = draw(st.sampled_from([0.0, 1.0, 4.0]))
    q, k, v = (
        (size * rng.normal(size=(*batch, n, width))).astype(dtype)
        for n, width in ((n_q, 3), (n_k, 3), (n_k, 2))
    )
    options: dict[str, Any] = {"empty_rows": "zero"}
    if draw(st.booleans()) if causal is None else causal:
        options["causal"] = True
    sides = st.none() | st.integers(0, 5)
    if not alone and draw(st.booleans()):
        shape = draw(st.sampled_from([(n_k,), (n_q, 1), (n_q, n_k), (*batch, n_q, n_k)]))
        bias = rng.normal(size=shape) * draw(st.sampled_from([1.0, 20.0]))
        gone = rng.random(shape) < draw(st.sampled_from([0, 0.4]))
        options["bias"] = np.where(gone, -np.inf, bias)
    if not alone and draw(st.booleans()):
        options["window"] = (draw(sides), draw(sides))
    if "causal" in options or options.get("window", (None, None)) != (None, None):
        anywhere = st.integers(-4, longest)
        options["query_offset"] = draw(st.sampled_from([0, n_k - n_q]) | anywhere)
    if draw(st.booleans()):
        lead = draw(st.sampled_from([(), batch]))
        options["segments"] = tuple(
            np.sort(rng.integers(0, 4, (*lead, n)), axis=-1) for n in (n_q, n_k)
        )
    if draw(st.booleans()):
        options["key_mask"] = rng.random((*batch, n_k)) < draw(st.sampled_from([0.3, 0.8]))
    return Masked(q=q, k=k, v=v, options=options)
