"""Names of methods: what crosses into a compiled graph, and what a configuration can hold.

A name is what a user would write, `Polynomial(degree=4, basis='taylor')`; it is read back without
running code. A method that cannot be written so, because it holds arrays or is the user's own, gets
a number, good for this process.
"""

from __future__ import annotations

import ast
import functools
import itertools
import math
import weakref
from typing import Any

from approxattn.methods import all_methods
from approxattn.methods.protocol import Method, described

_NUMBERS = itertools.count(1)
_NUMBERED: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_GIVEN: dict[str, Any] = {}


def give_name(name: str, method: Method) -> None:
    """Let a name stand for a method in this process, such as one that no text describes.

    Parameters
    ----------
    name : str
        Not the text of a method.
    method : Method
        What it stands for from now on.

    Returns
    -------
    None

    Raises
    ------
    TypeError
        For a class, or an object that does not compute.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> from approxattn.methods.naming import give_name, method_of
    >>> give_name("learned", aa.Linformer(key_projection=np.ones((2, 6))))
    >>> type(method_of("learned")).__name__
    'Linformer'
    """
    name_of(method)
    _GIVEN[name] = method


def method_of(name: str) -> Any:
    """Return the method of a name.

    Raises
    ------
    ValueError
        For a name that is no method, or settings that it refuses.
    """
    if name in _GIVEN:
        return _GIVEN[name]
    numbered = _NUMBERED.get(name)
    return _read(name) if numbered is None else numbered


def name_of(method: Method | str) -> str:
    """Return a name that `method_of` reads.

    Raises
    ------
    TypeError
        For a class, or an object that does not compute.
    ValueError
        For a name that is no method, or settings that it refuses.
    """
    if isinstance(method, str):
        method_of(method)
        return method
    if isinstance(method, type) or not hasattr(method, "compute"):
        msg = (
            f"method is {method!r}: it must be an instance such as Exact() or Polynomial(degree=4),"
            " or the text of one"
        )
        raise TypeError(msg)
    text = described(method)
    try:
        again = _read(text)
    except ValueError:
        again = None
    if type(again) is type(method) and again == method:
        return text
    for name, known in _NUMBERED.items():
        if known is method:
            return name
    name = f"{type(method).__name__} number {next(_NUMBERS)}"
    _NUMBERED[name] = method
    return name


@functools.lru_cache(maxsize=256)
def _read(text: str) -> Any:
    """Build the method that a text names."""
    classes = {kind.__name__: kind for kind in all_methods()}
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        msg = f"{text!r} names no method: write one such as 'Polynomial(degree=4)'"
        raise ValueError(msg)
    if call.func.id not in classes:
        msg = f"{text!r} names no method: known are {', '.join(sorted(classes))}"
        raise ValueError(msg)
    settings = {str(word.arg): _value(word.value, text) for word in call.keywords}
    try:
        return classes[call.func.id](**settings)
    except TypeError as error:
        msg = f"{text!r} is no method: {error}"
        raise ValueError(msg) from error


def _value(node: ast.expr, text: str) -> Any:
    """Return a number, text, truth value, None, infinity, or a tuple of such."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id="inf"):
            return math.inf
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _value(operand, text)
            if isinstance(inner, int | float):
                return -inner
        case ast.Tuple(elts=parts):
            return tuple(_value(part, text) for part in parts)
    msg = f"{text!r} holds {ast.unparse(node)!r}: settings are numbers, texts, truth values, tuples"
    raise ValueError(msg)
