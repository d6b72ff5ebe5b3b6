"""What every public call does about the state that its array library is in.

PyTorch and JAX keep switches beside their arrays: autocast, the graph of gradients, a compiler,
64-bit numbers, the precision of products. A certificate speaks of the arithmetic that was analysed,
so a call sets for itself what it can set for its own thread:

- autocast is off inside, on every kind of device;
- JAX has 64-bit numbers inside, and full float32 products where nobody chose another precision;
- the call is outside torch's graph of gradients (`approxattn._arrays.autograd`) and outside
  `torch.compile`, whose graph breaks there.

Settings of a whole process are left alone; `approxattn._arrays.precision` reads them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, ParamSpec, TypeVar

import array_api_compat as compat
import numpy as np

from approxattn._arrays import autograd

P = ParamSpec("P")
R = TypeVar("R")

AUTOCAST_DEVICES = ("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "xla", "maia", "privateuseone")
"""Kinds of devices that PyTorch can autocast on."""


def public(*, vjp: Callable[..., Any] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function see arrays and libraries in the state that its analysis assumes.

    Parameters
    ----------
    vjp : callable, optional
        For `attention`: what computes the gradient of its output.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            torch: Any = sys.modules.get("torch")
            if torch is not None and _compiling(torch):
                outside: Callable[P, R] = torch.compiler.disable(call)
                return outside(*args, **kwargs)
            if args and isinstance(args[0], np.ndarray):
                return function(*args, **kwargs)  # all arrays are of one library, without modes
            with ExitStack() as stack:
                _enter_torch(torch, stack)
                if any(compat.is_jax_array(x) for x in (*args, *kwargs.values())):
                    _enter_jax(sys.modules["jax"], stack)
                return _outside_graph(function, vjp, args, kwargs)

        return call

    return decorate


def _outside_graph(
    function: Callable[..., R], vjp: Callable[..., Any] | None, args: Any, kwargs: Any
) -> R:
    plan = autograd.plan(function, vjp, args, kwargs)
    if plan is None:
        return function(*args, **kwargs)
    with sys.modules["torch"].no_grad():
        result = function(*args, **kwargs)
    joined: R = autograd.attached(result, plan)
    return joined


def _compiling(torch: Any) -> bool:
    return hasattr(torch, "compiler") and bool(torch.compiler.is_compiling())


def _enter_torch(torch: Any, stack: ExitStack) -> None:
    """Switch autocast off, where it is on."""
    if not hasattr(torch, "autocast"):  # not loaded, or being loaded by another thread
        return
    for kind in AUTOCAST_DEVICES:
        if _autocast(torch, kind):
            stack.enter_context(torch.autocast(kind, enabled=False))


def _autocast(torch: Any, kind: str) -> bool:
    try:
        return bool(torch.is_autocast_enabled(kind))
    except TypeError:  # before 2.4
        on = {"cpu": torch.is_autocast_cpu_enabled, "cuda": torch.is_autocast_enabled}
        return bool(on[kind]()) if kind in on else False
    except RuntimeError:  # a kind that this build does not know
        return False


def _enter_jax(jax: Any, stack: ExitStack) -> None:
    config = jax.config
    if not config.jax_enable_x64:
        # a global name since 0.8
        enable = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
        stack.enter_context(enable(True))
    if config.jax_default_matmul_precision is None:
        stack.enter_context(jax.default_matmul_precision("highest"))
