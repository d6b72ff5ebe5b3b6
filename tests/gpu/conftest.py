"""The fake CuPy in the place of the real one."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from fake_cupy import installed


@pytest.fixture
def cupy() -> Iterator[ModuleType]:
    with installed() as module:
        yield module
