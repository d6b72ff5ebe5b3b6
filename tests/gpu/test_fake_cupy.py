"""The fake refuses what CuPy refuses, and counts what crosses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType

import array_api_compat
import numpy as np
import pytest
from fake_cupy import TRAFFIC
from fake_cupy.record_names import NAMES

FAULTS: dict[str, tuple[Callable, type[Exception], str]] = {
    "implicit conversion": (lambda _, x: np.asarray(x), TypeError, "Implicit conversion"),
    "NumPy's function": (lambda _, x: np.sum(x), TypeError, "no implementation"),
    "a host array in an operator": (lambda _, x: x * np.ones(3), TypeError, "Unsupported type"),
    "a host array in a function": (lambda c, _: c.exp(np.ones(3)), TypeError, "Unsupported type"),
    "a name that CuPy lacks": (lambda c, x: c.take_along_dim(x, x), AttributeError, "take_along"),
    "vecdot, which it lacks too": (lambda c, x: c.vecdot(x, x), AttributeError, "vecdot"),
    "a method that it lacks": (lambda _, x: x.newbyteorder(), AttributeError, "has no"),
    "a keyword that it lacks": (lambda c, x: c.sum(x, where=True), TypeError, "cupy.sum"),
    "an index out of range": (lambda c, x: c.take(x, c.asarray([9])), IndexError, "bounds"),
    "a host array put into it": (lambda _, x: x.__setitem__(0, np.ones(1)), ValueError, "fill"),
    "an object": (lambda c, _: c.asarray([None]), ValueError, "Unsupported dtype"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_refuses(cupy: ModuleType, name: str) -> None:
    run, kind, text = FAULTS[name]
    with pytest.raises(kind, match=text):
        run(cupy, cupy.asarray(np.ones(3)))


def test_counts_what_crosses(cupy: ModuleType) -> None:
    TRAFFIC.clear()
    x = cupy.asarray(np.ones((4, 2)))
    assert (TRAFFIC.up, TRAFFIC.syncs.total(), TRAFFIC.launches.total()) == (64, 0, 0)
    y = x[1:, :].T @ x[1:, :]
    assert isinstance(y, cupy.ndarray)
    assert (TRAFFIC.down, TRAFFIC.launches.total()) == (0, 1)
    float(cupy.sum(y))
    y.get()
    assert (TRAFFIC.down, TRAFFIC.syncs.total(), TRAFFIC.launches.total()) == (8 + 32, 2, 2)


def test_reductions_stay_on_the_device(cupy: ModuleType) -> None:
    total = cupy.sum(cupy.asarray(np.ones(3)))
    assert isinstance(total, cupy.ndarray)
    assert total.shape == ()


def test_is_taken_for_cupy_and_leaves_nothing(cupy: ModuleType) -> None:
    x = cupy.asarray(np.ones(3))
    assert array_api_compat.is_cupy_array(x)
    assert array_api_compat.array_namespace(x).__name__ == "array_api_compat.cupy"
    assert sys.modules["cupy"] is cupy


def test_names_are_those_of_a_release() -> None:
    names = json.loads(NAMES.read_text(encoding="utf-8"))
    assert names["version"] == "14.2.0"
    assert len(names["cupy"]) > 400
    assert names["cupy"]["concatenate"].startswith("(tup, axis=None")
