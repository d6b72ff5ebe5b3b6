"""The real CuPy: `pytest -m gpu tests/gpu/on_device` on a machine with a GPU."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest


def _why_not() -> str:
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    import cupy

    return "" if cupy.is_available() else "CuPy finds no GPU"


WHY_NOT = _why_not()


@pytest.fixture(scope="session")
def gpu() -> Any:
    """CuPy with a GPU behind it."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    import cupy

    return cupy
