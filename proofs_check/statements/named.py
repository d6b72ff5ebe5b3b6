"""Functions as text: what a fresh process needs in order to call the very same one.

A function of a module is known by the two names. A `functools.partial` of one carries arguments
besides; they are written down exactly, by `serial`.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from proofs_check.statements import serial

__all__ = ["find", "label", "python", "written"]


def label(function: Callable[..., Any]) -> str:
    """Return the function's name, for messages; a partial has that of the function it calls."""
    return str(getattr(_base(function), "__qualname__", repr(function)))


def written(function: Callable[..., Any], role: str = "function") -> dict[str, Any]:
    """Return module, name and fixed arguments, in types that `serial` can write.

    Parameters
    ----------
    function : callable
        A function at the top of a module, or a `functools.partial` of one.
    role : str
        What the message calls the function.

    Raises
    ------
    ValueError
        When the function is not one of a module, or a fixed argument cannot be written down. The
        message says what to do.
    """
    base = _base(function)
    module, name = getattr(base, "__module__", None), label(function)
    if getattr(sys.modules.get(str(module)), name, None) is not base:
        msg = (
            f"{role}(={name}) cannot be found from a fresh process: define it with `def` at the "
            "top of a module, under a name of its own, or hand over a functools.partial of such a "
            "function (no lambda, no closure, no method)"
        )
        raise ValueError(msg)
    positional, keywords = _fixed(function)
    for argument, value in (*enumerate(positional), *keywords):
        try:
            serial.dumps(value)
        except TypeError as error:
            msg = (
                f"{role}(={name}) has the argument {argument!r} fixed, which cannot be written "
                f"down for a fresh process: {error}; or pass a string, and let {name} look up "
                "what it names"
            )
            raise ValueError(msg) from error
    return {"module": module, "name": name, "positional": positional, "keywords": keywords}


def find(data: Mapping[str, Any]) -> Callable[..., Any]:
    """Undo `written`, importing the module where necessary."""
    function: Callable[..., Any] = getattr(importlib.import_module(data["module"]), data["name"])
    if not data["positional"] and not data["keywords"]:
        return function
    return functools.partial(function, *data["positional"], **dict(data["keywords"]))


def python(function: Callable[..., Any], variable: str) -> list[str]:
    """Return lines of Python that bind the function to a variable.

    They need `functools`, ``np`` and ``Fraction`` where arguments are fixed.
    """
    data = written(function)
    fixed = [serial.to_python(value) for value in data["positional"]]
    fixed += [f"{name}={serial.to_python(value)}" for name, value in data["keywords"]]
    lines = [f"from {data['module']} import {data['name']} as {variable}"]
    if fixed:
        lines.append(f"{variable} = functools.partial({', '.join([variable, *fixed])})")
    return lines


def _base(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a partial calls; Python itself flattens a partial of a partial."""
    return function.func if isinstance(function, functools.partial) else function


def _fixed(function: Callable[..., Any]) -> tuple[tuple[Any, ...], tuple[tuple[str, Any], ...]]:
    """The positional arguments and the keywords, as pairs, since a keyword may have any name."""
    if isinstance(function, functools.partial):
        return function.args, tuple(function.keywords.items())
    return (), ()
