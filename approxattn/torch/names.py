"""What torch's graph must know of a method before it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from approxattn.methods.naming import method_of, name_of
from approxattn.methods.protocol import Method


@dataclass(frozen=True, kw_only=True)
class Named:
    """What must be known of a method before it computes.

    Attributes
    ----------
    name : str
        What `method_of` finds it by.
    randomised : bool
        Whether it needs a seed.
    gradient_of_output : bool
        Whether its gradient is that of its output.
    parameter : str
        A tensor of its own that requires a gradient, or empty.
    """

    name: str
    randomised: bool
    gradient_of_output: bool
    parameter: str


def named(method: Method | str) -> Named:
    """Return what is known of a method, given itself or by name.

    Raises
    ------
    TypeError
        For a class, or an object that does not compute.
    ValueError
        For a name that is no method, or settings that it refuses.
    """
    name, randomised, gradient_of_output, parameter = _facts(method)
    return Named(
        name=name,
        randomised=randomised,
        gradient_of_output=gradient_of_output,
        parameter=parameter,
    )


def _read_facts(given: Method | str) -> tuple[str, bool, bool, str]:
    name = name_of(given)
    method = method_of(name)
    own = [n for n, x in vars(method).items() if getattr(x, "requires_grad", False)]
    of_output = bool(getattr(method, "gradient_of_output", False))
    return name, bool(method.randomised), of_output, own[0] if own else ""


# the compiler does not look inside; it compiles anew for another method
_facts: Any = torch.compiler.assume_constant_result(_read_facts)
