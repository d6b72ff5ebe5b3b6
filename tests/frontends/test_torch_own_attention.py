"""2,000 problems against torch's own attention, forward and backward, under any masks, scales and
sinks together, by `attention` or torch's front end, in float64 or float32.

Torch knows no sinks: it gets one more key, of score 0 and value 0, whose bias is the sink.

In float64 both agree within 1e-12 of the largest number that is summed. A float32 result may err by
twice as much as torch's own, measured against extended precision, plus a floor: a score of size B
rounds by u B at least, which moves an output by u B osc(v), and n terms are added; in the few
numbers of a problem either library may be lucky.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_attention import Masked, gradient, masked_problems, output, weights

torch = pytest.importorskip("torch")
F = torch.nn.functional

import approxattn as aa  # noqa: E402 - after the skip
from approxattn.torch import scaled_dot_product_attention  # noqa: E402

NAMES = "output", "dq", "dk", "dv", "dsinks"
WAYS = "core", "front end in words", "front end by a mask of all pairs"


@st.composite
def cases(draw):
    """Return a masked problem, whose heads may share keys, a cotangent, and whose turn it is."""
    dtype = np.dtype(draw(st.sampled_from([np.float64, np.float32])))
    found = draw(masked_problems(longest=9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    heads = draw(st.sampled_from([0, 0, 2, 3]))
    found = _shared(found, heads, rng) if heads else found
    g = rng.normal(size=(*found.batch, found.q.shape[-2], found.v.shape[-1]))
    q, k, v, g = (x.astype(dtype) for x in (found.q, found.k, found.v, g))
    options = {**found.options, "scale": draw(st.sampled_from([None, 0.3]))}
    if draw(st.booleans()):
        lead = draw(st.sampled_from([(), found.batch[-1:], found.batch]))
        options["sinks"] = (rng.normal(size=lead) * draw(st.sampled_from([1, 9]))).astype(dtype)
    return Masked(q=q, k=k, v=v, options=options), g, draw(st.sampled_from(WAYS))


def _shared(problem: Masked, heads: int, rng: np.random.Generator) -> Masked:
    """Return the problem with so many heads of queries for each of the keys, on axis -3."""
    options, n_and_d = dict(problem.options), problem.q.shape[-2:]
    if "key_mask" in options:
        options["key_mask"] = options["key_mask"][..., None, :]
    if "segments" in options:
        pair = options["segments"]
        options["segments"] = tuple(x[..., None, :] if x.ndim > 1 else x for x in pair)
    if np.ndim(options.get("bias", 0.0)) > 2:
        options["bias"] = options["bias"][..., None, :, :]
    k, v = (x[..., None, :, :] for x in (problem.k, problem.v))
    q = 2 * rng.normal(size=(*problem.batch, heads, *n_and_d))
    return Masked(q=q, k=k, v=v, options=options)


@settings(max_examples=2000)
@given(cases())
def test_two_thousand_problems(case) -> None:
    problem, g, way = case
    exact, theirs = by_oracle(problem, g), by_torch(problem, g)
    if way == "core":
        ours, bounds = by_core(problem, g)
        for name, a, x, bound in zip(NAMES, ours, exact, bounds, strict=False):
            assert np.all(np.abs(a - x).max(-1) <= bound), name
    else:
        ours = by_front_end(problem, g, in_words=way == WAYS[1])
    assert len(ours) == len(theirs) == len(exact) == 5 if "sinks" in problem.options else 4
    floor, sizes = floor_of(problem), sizes_of(problem, g)
    for name, a, b, x, size in zip(NAMES, ours, theirs, exact, sizes, strict=False):
        if g.dtype == np.float64:
            assert np.all(np.abs(a - b) <= 1e-12 * size), name
        error, own = (np.abs(found - x).max() for found in (a, b))
        assert error <= 2 * own + floor * size, name


def sizes_of(problem: Masked, g) -> tuple[float, ...]:
    """Return the size of what is summed in the output, dq, dk, dv and the gradient of a sink."""
    q, k, v = (float(np.abs(x).max()) for x in (problem.q, problem.k, problem.v))
    g = float(np.abs(g).sum(-1).max())
    rows = int(np.prod(problem.q.shape[:-1]))
    return v, g * v * k, rows * g * v * q, rows * g, rows * g * v


def floor_of(problem: Masked) -> float:
    """Return u (B + n_q + n_k), B the largest visible score."""
    scores = problem.scale * problem.q @ np.swapaxes(problem.k, -1, -2) + problem.bias
    top = float(np.abs(scores[problem.see]).max(initial=0.0))
    u = float(np.finfo(problem.q.dtype).eps) / 2
    return u * (top + problem.q.shape[-2] + problem.k.shape[-2])


def by_oracle(problem: Masked, g) -> list[Any]:
    given = problem.q, problem.k, problem.v
    rest = problem.see, problem.scale, problem.bias
    sinks = problem.options.get("sinks")
    kind = {} if sinks is None else {"sinks": sinks}
    value, grads = output(*given, *rest, **kind), gradient(*given, g, *rest, **kind)
    summed = (
        x if x.shape == like.shape else x.sum(-3, keepdims=True)
        for x, like in zip(grads, given, strict=True)
    )
    if sinks is None:
        return [value, *summed]
    f = weights(*given[:2], *rest, **kind)
    of_sinks = -((1 - f.sum(-1)) * (g * value).sum(-1)).sum(-1)
    return [value, *summed, of_sinks.sum(tuple(range(of_sinks.ndim - sinks.ndim)))]


def by_core(problem: Masked, g) -> tuple[list[Any], list[Any]]:
    """Return our output and gradients, and the certified bounds on their rows."""
    given = problem.q, problem.k, problem.v
    out = aa.attention(*given, aa.Exact(), **problem.options)
    grads = aa.attention_vjp(*given, g, aa.Exact(), **problem.options)
    certified = grads.certificate
    bounds = [out.certificate.rows, certified.dq, certified.dk, certified.dv]
    return [out.value, grads.dq, grads.dk, grads.dv, *grads.parameters.values()], bounds


def by_torch(problem: Masked, g) -> list[Any]:
    """Return torch's output and gradients, with a mask of all pairs."""
    leaves = _leaves(problem)
    q, k, v, *sinks = leaves
    k, v = (x.expand(*problem.batch, *x.shape[-2:]) for x in (k, v))
    mask = torch.from_numpy(_all_pairs(problem))
    if sinks:
        k, v = (torch.cat([x, torch.zeros_like(x[..., :1, :])], -2) for x in (k, v))
        shape = *problem.batch, problem.q.shape[-2]
        column = sinks[0].expand(problem.batch)[..., None].expand(shape)[..., None]
        mask = torch.cat([mask.expand(*shape, mask.shape[-1]), column], -1)
    found = F.scaled_dot_product_attention(q, k, v, mask, scale=problem.options["scale"])
    return _pulled(found, leaves, g)


def by_front_end(problem: Masked, g, *, in_words: bool) -> list[Any]:
    """Return what torch's front end gives, all heads on one axis."""
    shared = problem.q.shape[:-2] != problem.k.shape[:-2]
    lead = (*problem.batch[:-2], -1) if shared else problem.batch

    def flat(x, own: int):
        full = np.broadcast_to(x, (*problem.batch, *x.shape[x.ndim - own :]))
        return torch.from_numpy(np.array(full).reshape(*lead, *full.shape[full.ndim - own :]))

    leaves = _leaves(problem)
    q, k, v = (x.reshape(*lead, *x.shape[-2:]) for x in leaves[:3])
    given = problem.options
    if "bias" in given or not in_words:
        said = {"attn_mask": flat(_all_pairs(problem), 2)}
    else:
        said = {"is_causal": given.get("causal", False), "window": given.get("window")}
        said["query_offset"] = given.get("query_offset", 0)
        said |= {"key_mask": flat(given["key_mask"], 1)} if "key_mask" in given else {}
        if "segments" in given:
            said["segments"] = tuple(flat(x, 1) for x in given["segments"])
    if "sinks" in given:
        said["sinks"] = leaves[3].expand(problem.batch).reshape(lead)
    said |= {"scale": given["scale"], "enable_gqa": True}
    out = scaled_dot_product_attention(q, k, v, method="Exact()", **said)
    return _pulled(out.reshape(*problem.batch, *out.shape[-2:]), leaves, g)


def _all_pairs(problem: Masked):
    return np.where(problem.see, problem.bias, -np.inf).astype(problem.q.dtype)


def _leaves(problem: Masked) -> list[Any]:
    given = [problem.q, problem.k, problem.v]
    given += [problem.options["sinks"]] if "sinks" in problem.options else []
    return [torch.from_numpy(np.asarray(x)).requires_grad_() for x in given]


def _pulled(out, leaves: list[Any], g) -> list[Any]:
    """Return an output and the gradients of its leaves as arrays."""
    grads = torch.autograd.grad(out, leaves, torch.from_numpy(g))
    return [x.detach().numpy() for x in (out, *grads)]
