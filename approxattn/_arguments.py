"""Checks of the settings that methods and calls are made with: one way to refuse each kind."""

from __future__ import annotations

import math
import os

import numpy as np

MOST = 2**62
"""Stands for "no upper limit" of an integer. *Chosen*: it fits an int64."""


def check_integer(name: str, value: object, low: int, high: int = MOST, why: str = "") -> int:
    """Return `value` as an int: NumPy's small integers overflow where Python's do not.

    Raises TypeError unless it is an integer, NumPy's included and bool not; ValueError unless it
    lies in [low, high]. `why` says what sets the limits.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        msg = f"{name}(={value!r}) must be an int, not {type(value).__name__}"
        raise TypeError(msg)
    if not low <= value <= high:
        limits = f"be at least {low}" if high == MOST else f"lie in [{low}, {high}]"
        msg = f"{name}(={value}) must {limits}" + (f": {why}" if why else "")
        raise ValueError(msg)
    return int(value)


def check_number(name: str, value: object, rule: str, *, low: float, high: float) -> float:
    """Return `value` as a float.

    Raises TypeError unless it is a real number, ValueError unless low < value < high; `rule` says
    so in words. NaN is in no interval.
    """
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        msg = f"{name}(={value!r}) must be a number, not {type(value).__name__}"
        raise TypeError(msg)
    if getattr(value, "ndim", 0):
        msg = f"{name}(={value!r}) must be one number, not an array of them"
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


def keep(record: object, **settings: object) -> None:
    """Store checked settings in a frozen record, as the checks returned them."""
    for name, value in settings.items():
        object.__setattr__(record, name, value)


def check_memory(name: str, value: object, numbers: float, what: str, remedy: str = "") -> None:
    """Raise MemoryError, before anything is made, where `what` cannot fit into this machine.

    `numbers` counts its float64 or int64 entries; `name` is the setting to lower, unless `remedy`
    says something else, and `value` what it is.
    """
    needed, have = 8 * numbers / 2**30, memory() / 2**30
    if needed > have:
        msg = (
            f"{name}(={value}): {what} would take {needed:.3g} GiB, and this machine has "
            f"{have:.3g} GiB; {remedy or f'lower {name}'}"
        )
        raise MemoryError(msg)


def memory() -> float:
    """Return the bytes of memory of this machine; inf where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def check_generator(rng: object, *, without: str = "there is no hidden default") -> None:
    """Raise TypeError unless `rng` is a NumPy generator; `without` says what None would mean."""
    if not isinstance(rng, np.random.Generator):
        msg = (
            f"rng(={rng!r}) must be a generator: pass rng=numpy.random.default_rng(seed); {without}"
        )
        raise TypeError(msg)


def check_rows(rows: object) -> int:
    """Return the number of rows to recompute, at least 1, as an int."""
    return check_integer("rows", rows, 1, why="no rows say nothing of the others")
