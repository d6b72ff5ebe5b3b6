"""Public calls compute without floating-point warnings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

Given = ParamSpec("Given")
Result = TypeVar("Result")


def quietly(call: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a public function compute without floating-point warnings or errors.

    Whatever the caller's `numpy.seterr` says: what overflows or underflows is bounded, or looked
    at in the result.
    """

    @functools.wraps(call)
    def quiet(*args: Given.args, **options: Given.kwargs) -> Result:
        with np.errstate(all="ignore"):
            return call(*args, **options)

    return quiet
