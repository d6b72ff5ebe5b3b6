"""How host arrays become the arrays of another library and come back, and gradients by that
library's automatic differentiation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from approxattn.testing.calls import Host

Framework: TypeAlias = Literal["numpy", "torch"]


def conversions(framework: Framework) -> tuple[Callable[[Host], Any], Callable[[Any], Host]]:
    """Host array to array of the framework, and back; the first always copies.

    Raises
    ------
    ValueError
        When the framework is neither "numpy" nor "torch".
    ModuleNotFoundError
        When it is not installed.
    """
    if framework == "numpy":
        return np.array, np.asarray
    if framework == "torch":
        torch = importlib.import_module("torch")
        return torch.tensor, _from_torch
    msg = (
        f"framework(={framework!r}) is neither 'numpy' nor 'torch': give put and get for another "
        "library"
    )
    raise ValueError(msg)


def _from_torch(x: Any) -> Host:
    return np.asarray(x.detach().cpu().numpy())


def autograd(
    function: Callable[..., Any], options: Mapping[str, Any]
) -> Callable[..., tuple[Any, Any, Any]]:
    """Gradient of a function of torch tensors, (q, k, v, dout) -> (dq, dk, dv)."""
    torch = importlib.import_module("torch")

    def gradient(q: Any, k: Any, v: Any, dout: Any, **_: Any) -> tuple[Any, Any, Any]:
        leaves = [x.clone().requires_grad_(True) for x in (q, k, v)]
        output = function(*leaves, **options)
        gradients: tuple[Any, Any, Any] = torch.autograd.grad(output, leaves, dout)
        return gradients

    return gradient
