"""Checks of the numbers that hashing methods are built from."""

from __future__ import annotations

import numpy as np


def check_integer(name: str, value: object, low: int, high: int, why: str) -> None:
    """Raise TypeError unless `value` is an int, ValueError unless it lies in [low, high]; `why`
    says what sets the limits.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        msg = f"{name}(={value!r}) must be an int, not {type(value).__name__}"
        raise TypeError(msg)
    if not low <= value <= high:
        msg = f"{name}(={value}) must lie in [{low}, {high}]: {why}"
        raise ValueError(msg)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of the choices."""
    if value not in choices:
        msg = f"{name}(={value!r}) must be one of {', '.join(map(repr, choices))}"
        raise ValueError(msg)


def check_flag(name: str, value: object) -> None:
    """Raise TypeError unless `value` is True or False."""
    if not isinstance(value, bool):
        msg = f"{name}(={value!r}) must be True or False"
        raise TypeError(msg)
