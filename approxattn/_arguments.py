"""Checks of the settings that methods and calls are made with: one way to refuse each kind."""

from __future__ import annotations

import math

import numpy as np

MOST = 2**62
"""Stands for "no upper limit" of an integer. *Chosen*: it fits an int64."""


def check_integer(name: str, value: object, low: int, high: int = MOST, why: str = "") -> None:
    """Raise TypeError unless `value` is an integer, ValueError unless it lies in [low, high].

    NumPy's integers count, bool does not; `why` says what sets the limits.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        msg = f"{name}(={value!r}) must be an int, not {type(value).__name__}"
        raise TypeError(msg)
    if not low <= value <= high:
        limits = f"be at least {low}" if high == MOST else f"lie in [{low}, {high}]"
        msg = f"{name}(={value}) must {limits}" + (f": {why}" if why else "")
        raise ValueError(msg)


def check_number(name: str, value: object, rule: str, *, low: float, high: float) -> float:
    """Return `value` as a float.

    Raises TypeError unless it is a real number, ValueError unless low < value < high; `rule` says
    so in words. NaN is in no interval.
    """
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        msg = f"{name}(={value!r}) must be a number, not {type(value).__name__}"
        raise TypeError(msg)
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        msg = f"{name}(={value!r}) must be one real number"
        raise TypeError(msg) from error
    if not low < number < high:
        msg = f"{name}(={value!r}) must {rule}"
        raise ValueError(msg)
    return number


def check_fraction(name: str, value: object) -> float:
    """Return `value` as a float that lies in (0, 1), or raise as `check_number` does."""
    return check_number(name, value, "lie strictly between 0 and 1", low=0.0, high=1.0)


def check_positive(name: str, value: object) -> float:
    """Return `value` as a finite float above 0, or raise as `check_number` does."""
    return check_number(name, value, "be a finite positive number", low=0.0, high=math.inf)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        msg = f"{name}(={value!r}) must be one of {', '.join(map(repr, choices))}"
        raise ValueError(msg)


def check_flag(name: str, value: object) -> None:
    """Raise TypeError unless `value` is True or False."""
    if not isinstance(value, bool | np.bool):
        msg = f"{name}(={value!r}) must be True or False"
        raise TypeError(msg)
