"""What PyTorch's automatic differentiation gets of our results: the right gradient, or an error.

A method may pass through the host or hold something fixed, and torch's graph would end there
without a word. So nothing is computed inside the graph. What a call returns is joined to its inputs
by one node: its backward is `attention_vjp` where that is the derivative of the output, and an
error that says what to call everywhere else.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from approxattn._arrays import Array

Pull = Callable[..., tuple[Array | None, ...]]
"""From the cotangent and the inputs to one gradient for each input."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the results of one call are joined to torch's graph.

    Attributes
    ----------
    inputs : list of tensor
        All that the results depend on.
    pull : callable or None
        The derivative of `value`; None where there is none.
    message : str
        What a backward without a derivative raises.
    """

    inputs: list[Array]
    pull: Pull | None
    message: str


def plan(
    function: Callable[..., Any], vjp: Callable[..., Any] | None, args: Any, kwargs: Any
) -> Plan | None:
    """Return the plan for one call; None unless torch would differentiate through it."""
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "is_grad_enabled") or not torch.is_grad_enabled():
        return None
    tensors = [x for x in _leaves((args, kwargs), torch) if x.requires_grad]
    if not tensors:
        return None
    if vjp is None:
        return Plan(tensors, None, _message(function, "its results are"))
    call = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    method = call.pop("method")
    if not getattr(method, "gradient_of_output", False):
        return Plan(tensors, None, _message(function, f"the output of {method!r} is"))
    for name in ("nan_policy", "return_lse"):
        call.pop(name, None)
    call["rng"] = copy.deepcopy(call.get("rng"))  # the state that it has before the call
    names = [n for n, x in vars(method).items() if isinstance(x, torch.Tensor) and x.requires_grad]
    inputs = [call.pop("q"), call.pop("k"), call.pop("v"), *(getattr(method, n) for n in names)]
    if any(x.requires_grad for x in _leaves(call.get("bias"), torch)):
        return Plan(tensors, None, _message(function, "its output, with a bias to learn, is"))
    if call.get("sinks") is not None and call["sinks"].requires_grad:
        names, inputs = [*names, "sinks"], [*inputs, call["sinks"]]

    def pull(dout: Array, q: Array, k: Array, v: Array, *own: Array) -> tuple[Array | None, ...]:
        del own  # the method holds them
        options = {**call, "rng": copy.deepcopy(call["rng"])}
        grads = vjp(q, k, v, dout, method, **options)
        return (grads.dq, grads.dk, grads.dv, *(grads.parameters[n] for n in names))

    return Plan(inputs, pull, _message(function, "other results are"))


_REMEDIES = {
    "attention": "call approxattn.attention_vjp(q, k, v, dout, method) for the gradient",
    "attention_vjp": "there are no second derivatives",
    "forward": "call approxattn.transformer.gradient for the gradients",
    "gradient": "there are no second derivatives",
}


def _message(function: Callable[..., Any], what: str) -> str:
    remedy = _REMEDIES.get(
        function.__name__, "approxattn.attention_vjp has the gradient of attention, this has none"
    )
    return (
        f"backward through {function.__qualname__} of approxattn: {what} not differentiable by "
        f"torch; {remedy}; detach() the inputs if none is wanted"
    )


def attached(result: Any, found: Plan) -> Any:
    """Return the result with every float tensor in it joined to the inputs of the plan."""
    torch = sys.modules["torch"]
    refuse, follow = _nodes(torch)

    def refusing(x: Array) -> Array:
        floats = x.is_floating_point() and not x.requires_grad
        return refuse.apply(found.message, x, *found.inputs) if floats else x

    value = getattr(result, "value", None)
    if found.pull is None or not isinstance(value, torch.Tensor):
        return _mapped(result, refusing, torch)
    joined = follow.apply(found.pull, value, *found.inputs)
    others = {} if getattr(result, "lse", None) is None else {"lse": refusing(result.lse)}
    return dataclasses.replace(result, value=joined, **others)


@functools.cache
def _nodes(torch: Any) -> tuple[Any, Any]:
    """Return the two nodes of the graph, made when torch is first met."""

    def joined(ctx: Any, what: Any, value: Array, *inputs: Array) -> Array:
        ctx.what = what
        ctx.save_for_backward(*inputs)  # torch then notices writes to them
        return value.view_as(value)

    def refuse(ctx: Any, *_douts: Array) -> None:
        raise RuntimeError(ctx.what)

    def follow(ctx: Any, dout: Array) -> tuple[Array | None, ...]:
        grads = ctx.what(dout, *ctx.saved_tensors)
        wanted = ctx.needs_input_grad[2:]
        return (None, None, *(g if w else None for g, w in zip(grads, wanted, strict=True)))

    functions = (("NotDifferentiable", refuse), ("AttentionGradient", follow))
    made = [
        type(name, (torch.autograd.Function,), {k: staticmethod(f) for k, f in methods.items()})
        for name, backward in functions
        for methods in [{"forward": joined, "backward": backward}]
    ]
    return made[0], made[1]


def _leaves(x: Any, torch: Any) -> Iterator[Array]:
    """Yield the tensors inside containers and dataclasses."""
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, Mapping):
        for inner in x.values():
            yield from _leaves(inner, torch)
    elif isinstance(x, tuple | list):
        for inner in x:
            yield from _leaves(inner, torch)
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        yield from _leaves([getattr(x, f.name) for f in dataclasses.fields(x)], torch)


def _mapped(x: Any, change: Callable[[Array], Array], torch: Any) -> Any:
    """Return x with its tensors changed; what holds none is returned as it is."""
    if isinstance(x, torch.Tensor):
        return change(x)
    if not any(True for _ in _leaves(x, torch)):
        return x
    if isinstance(x, Mapping):
        return {name: _mapped(inner, change, torch) for name, inner in x.items()}
    if isinstance(x, tuple | list):
        return type(x)(_mapped(inner, change, torch) for inner in x)
    clone = copy.copy(x)  # checked when it was built, so not built again
    for field in dataclasses.fields(x):
        object.__setattr__(clone, field.name, _mapped(getattr(x, field.name), change, torch))
    return clone
