"""The two operators: attention by a method, and its gradient, as torch's compiler sees them.

Everything that looks at numbers happens inside: masks are read, inputs checked, certificates made.
So a graph that holds these operators compiles whole, and is exported whole. A method crosses as its
name, randomness as a seed, which backward uses again.

Saved for backward are the inputs alone; nothing grows with n_q n_k unless the caller's mask does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from approxattn.methods.naming import method_of
from approxattn.torch.batching import mapped
from approxattn.torch.calls import Setting, compute, pull
from approxattn.torch.exact import exact_gradient
from approxattn.torch.masks import Structure, Tensor, Window, dense, structure_of
from approxattn.torch.records import Call, note

_SHARED = (
    "Tensor? attn_mask, Tensor? key_mask, Tensor? query_segments, Tensor? key_segments, "
    "Tensor? sinks, float? softcap, bool causal, SymInt query_offset, SymInt? before, "
    "SymInt? after, float? scale, str method, int? seed, str unsupported, str label, bool certify"
)
BY_METHOD, BY_TORCH = 0, 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What both operators are given beside the tensors that have gradients, in their order."""

    attn_mask: Tensor | None = None
    key_mask: Tensor | None = None
    query_segments: Tensor | None = None
    key_segments: Tensor | None = None
    sinks: Tensor | None = None
    softcap: float | None = None
    causal: bool = False
    query_offset: int = 0
    before: int | None = None
    after: int | None = None
    scale: float | None = None
    method: str = ""
    seed: int | None = None
    unsupported: str = "raise"
    label: str = ""
    certify: bool = True

    @property
    def plain_softmax(self) -> bool:
        """Whether torch's own attention knows this softmax."""
        return self.sinks is None and self.softcap is None

    def exactly(self) -> Request:
        """Return the same of `Exact()`."""
        return replace(self, method="Exact()", seed=None, unsupported="raise")

    @property
    def window(self) -> Window | None:
        """The window; None where neither side has a limit."""
        both = self.before, self.after
        return None if both == (None, None) else both

    def own_structure(self) -> Structure:
        """Return the structure that the arguments other than attn_mask describe."""
        segments = None
        if self.query_segments is not None:
            segments = self.query_segments, self.key_segments
        return Structure(
            key_mask=self.key_mask,
            causal=self.causal,
            query_offset=self.query_offset,
            window=self.window,
            segments=segments,
        )

    def structure(self, n_q: int, n_k: int) -> Structure:
        """Return which keys each query sees, in the plainest words.

        A query at or behind the last key sees all keys in causal order too, so methods without a
        causal form can decode.
        """
        found = self.own_structure()
        if self.attn_mask is not None:
            found = structure_of(self.attn_mask, n_q, n_k)
        if found.key_mask is not None and bool(found.key_mask.all()):
            found = replace(found, key_mask=None)
        if found.window is None and (not found.causal or found.query_offset >= n_k - 1):
            found = replace(found, causal=False, query_offset=0)
        return found

    def setting(self, n_q: int, n_k: int) -> Setting:
        """Return what the core is asked for."""
        return Setting(
            method=method_of(self.method),
            scale=self.scale,
            seed=self.seed,
            structure=self.structure(n_q, n_k),
            softcap=self.softcap,
            sinks=self.sinks,
            certify=self.certify,
        )


def mask_of(request: Request, q: Tensor, k: Tensor) -> Tensor | None:
    """Return the mask that torch's own attention takes."""
    plain = request.own_structure()
    if request.attn_mask is not None or plain == Structure():
        return request.attn_mask
    return dense(plain, q.shape[-2], k.shape[-2], q.device)


def by_torch(q: Tensor, k: Tensor, v: Tensor, request: Request, dropout: float = 0.0) -> Tensor:
    """Return torch's own attention for a request, differentiable by torch; that of `Exact()` for
    soft caps and sinks, which torch's does not know.
    """
    if not request.plain_softmax:
        if dropout:
            msg = f"dropout_p(={dropout}) with a soft cap or sinks: nothing here drops weights"
            raise ValueError(msg)
        return attended(q, k, v, request.exactly())
    shared = q.ndim > 2 and q.shape[-3] != k.shape[-3]
    mask = mask_of(request, q, k)
    return F.scaled_dot_product_attention(
        q, k, v, mask, dropout, scale=request.scale, enable_gqa=shared
    )


def _attend(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    request = _request(rest)
    try:
        value, certificate = compute(q, k, v, request.setting(q.shape[-2], k.shape[-2]))
        way, reason = BY_METHOD, ""
    except (ValueError, TypeError, MemoryError) as error:
        if request.unsupported == "raise":
            raise
        way, reason, certificate = BY_TORCH, str(error), None
        value = by_torch(q.detach(), k.detach(), v.detach(), request).contiguous()
    call = Call(label=request.label, method=request.method, certificate=certificate, reason=reason)
    note(call)
    return value, torch.tensor(way, dtype=torch.uint8, device=q.device)


def _attend_fake(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    del rest
    batch = _batch(q, k, v)
    value = q.new_empty((*batch, q.shape[-2], v.shape[-1]))
    return value, q.new_empty((), dtype=torch.uint8)


def _batch(q: Tensor, k: Tensor, v: Tensor) -> tuple[int, ...]:
    """Return the leading axes of the output: those of q where heads share keys."""
    leads = [tuple(x.shape[:-2]) for x in (q, k, v)]
    if min(map(len, leads)) and leads[1][-1] != 1 != leads[0][-1] != leads[1][-1]:
        leads = [leads[0], (*leads[1][:-1], 1), (*leads[2][:-1], 1)]
    return tuple(torch.broadcast_shapes(*leads))


def _gradient(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, way: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return dq, dk, dv and the gradient of the sinks, of size 0 where there are none."""
    request = _request(rest)
    if int(way) == BY_TORCH and request.plain_softmax:
        grads = exact_gradient(q, k, v, dout, mask_of(request, q, k), request.scale)
        return (*grads, q.new_empty(0))
    asked = request if int(way) == BY_METHOD else request.exactly()
    return pull(q, k, v, dout, asked.setting(q.shape[-2], k.shape[-2]))


def _gradient_fake(
    q: Tensor, k: Tensor, v: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    sinks = _request(rest[2:]).sinks
    return dq, dk, dv, q.new_empty(0) if sinks is None else sinks.new_empty(sinks.shape)


def _request(rest: tuple[Any, ...]) -> Request:
    return Request(**dict(zip(Request.__dataclass_fields__, rest, strict=True)))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, *rest = inputs
    tensors, ctx.settings = rest[:5], rest[5:]
    ctx.save_for_backward(q, k, v, output[1], *tensors)
    ctx.method = method_of(_request(tuple(rest)).method)  # keeps it alive, and with it its name


def _backward(ctx: Any, dout: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    q, k, v, way, *tensors = ctx.saved_tensors
    given = q, k, v, dout, way, *tensors, *ctx.settings
    dq, dk, dv, dsinks = _called(attend_gradient, _TransformedGradient, given)
    of_sinks = None if tensors[-1] is None else dsinks
    return (dq, dk, dv, None, None, None, None, of_sinks, *(None for _ in ctx.settings))


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    del ctx, inputs, output


def _no_second(ctx: Any, *douts: Tensor) -> None:
    del ctx, douts
    msg = "backward through the gradient of attention: there are no second derivatives"
    raise RuntimeError(msg)


attend: Any = torch.library.custom_op(
    "approxattn::attend",
    _attend,
    mutates_args=(),
    schema=f"(Tensor q, Tensor k, Tensor v, {_SHARED}) -> (Tensor, Tensor)",
)
attend_gradient: Any = torch.library.custom_op(
    "approxattn::attend_gradient",
    _gradient,
    mutates_args=(),
    schema=(
        f"(Tensor q, Tensor k, Tensor v, Tensor dout, Tensor way, {_SHARED}) "
        "-> (Tensor, Tensor, Tensor, Tensor)"
    ),
)
attend.register_fake(_attend_fake)
attend_gradient.register_fake(_gradient_fake)
attend.register_autograd(_backward, setup_context=_save)
attend_gradient.register_autograd(_no_second, setup_context=_save_nothing)
attend.register_vmap(mapped(attend))
attend_gradient.register_vmap(mapped(attend_gradient))


# --- torch.func: operators with a backward of their own do not pass through its transforms --------


def _function(name: str, operator: Any, save: Any, backward: Any) -> Any:
    """Return the same operator as an `autograd.Function`."""
    methods = {"forward": operator, "setup_context": save, "backward": backward}
    body = {key: staticmethod(method) for key, method in methods.items()}
    return type(name, (torch.autograd.Function,), {"generate_vmap_rule": True, **body})


_Transformed = _function("Attention", attend, _save, _backward)
_TransformedGradient = _function("AttentionGradient", attend_gradient, _save_nothing, _no_second)


def attended(q: Tensor, k: Tensor, v: Tensor, request: Request) -> Tensor:
    """Return the output of the operator, in any of torch's ways to differentiate."""
    return _called(attend, _Transformed, (q, k, v, *vars(request).values()))[0]


def _called(operator: Any, function: Any, given: tuple[Any, ...]) -> Any:
    inside = not torch.compiler.is_compiling() and any(map(_inside_transform, given[:4]))
    return function.apply(*given) if inside else operator(*given)


def _inside_transform(x: Any) -> bool:
    functorch = getattr(torch._C, "_functorch", None)
    wrapped = getattr(functorch, "is_functorch_wrapped_tensor", None)
    return wrapped is not None and isinstance(x, torch.Tensor) and bool(wrapped(x))
