"""The estimators: one family a folder. A method is a frozen record with `compute(problem, rng)`.

There is no list of them to keep: `all_methods` walks the folders.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

from approxattn.methods.protocol import Method


def all_methods() -> tuple[type[Any], ...]:
    """Return every method class in the folders of the families, in the order of their modules.

    A method is a public dataclass with what `Method` asks for, in the module that defines it.
    """
    found: list[type[Any]] = []
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        names = vars(importlib.import_module(module.name))
        own = [x for x in names.values() if inspect.isclass(x) and x.__module__ == module.name]
        found += [x for x in own if is_method(x)]
    return tuple(found)


def is_method(x: type[Any]) -> bool:
    """Return whether a class is a method that a caller may use."""
    wanted = [name for name in vars(Method) if not name.startswith("_")]
    wanted += list(Method.__annotations__)
    public = dataclasses.is_dataclass(x) and not x.__name__.startswith("_")
    return public and all(hasattr(x, name) for name in wanted)
