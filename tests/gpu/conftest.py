"""The fake CuPy in the place of the real one; our kernels run by g++ where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import cuda_shim
import pytest
from fake_cupy import installed
from fake_cupy.raw import SETTINGS

NO_COMPILER = cuda_shim.why_not()


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    if NO_COMPILER:
        monkeypatch.setenv("APPROXATTN_KERNELS", "off")
    with installed() as module:
        yield module


@pytest.fixture
def kernels(cupy: ModuleType) -> ModuleType:
    """The fake CuPy, where our kernels surely run."""
    if NO_COMPILER:
        pytest.skip(NO_COMPILER)
    return cupy


@pytest.fixture(params=cuda_shim.ORDERS)
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which threads of a kernel go first."""
    monkeypatch.setitem(SETTINGS, "order", request.param)
    return str(request.param)
