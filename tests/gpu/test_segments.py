"""Sums of rows that share a number, on the fake CuPy: some rows at a time, nothing sorted."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from fake_cupy import TRAFFIC

from approxattn._arrays import portions
from approxattn._arrays.segments import segment_sum


@pytest.mark.parametrize("room", [1, 2**12, 2**40])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [0, 1, 50])
def test_sums_are_the_loop(
    cupy: ModuleType, monkeypatch: pytest.MonkeyPatch, room: int, dtype: str, n: int
) -> None:
    monkeypatch.setattr(portions, "room", lambda _: room)
    rng = np.random.default_rng(n)
    values, ids = rng.integers(-9, 9, (2, n, 3)).astype(dtype), rng.integers(0, 5, (2, n))
    expected = np.zeros((2, 7, 3))
    for item in range(2):
        np.add.at(expected[item], ids[item], values[item].astype("f8"))
    found = segment_sum(cupy.asarray(values), cupy.asarray(ids), 7)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found.get(), expected)


def test_launches_do_not_grow_with_the_rows(cupy: ModuleType) -> None:
    counts = []
    for n in (100, 1000):
        values, ids = cupy.asarray(np.ones((n, 3))), cupy.asarray(np.arange(n) % 5)
        TRAFFIC.clear()
        segment_sum(values, ids, 5)
        counts.append(TRAFFIC.launches.total())
    assert counts[0] == counts[1] <= 12
