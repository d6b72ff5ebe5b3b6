"""Functions that never fall, looked up by half range: never below, and hardly above."""

from __future__ import annotations

import numpy as np
import pytest

from approxattn.exponential.running import CELLS, OCTAVES, Running


@pytest.mark.parametrize("half_range", [1e-9, 0.7, 32.0])
def test_no_value_is_below_that_of_the_next_end(half_range: float) -> None:
    rng = np.random.default_rng(0)
    ends = half_range * np.sort(np.append(rng.uniform(0.01, 1, 60), 1.0))
    values = np.sort(rng.uniform(0, 1, ends.size)) ** 3
    found = Running.of(ends, values, beyond=np.inf)
    nudges = [ends * (1 + step * 2.0**-52) for step in (-2, -1, 0, 1, 2)]
    b = np.concatenate([half_range * rng.uniform(0, 1, 500), *nudges, [0.0, 1e-320]])
    place = np.searchsorted(ends, b)
    want = np.append(values, np.inf)[place]
    assert np.all(found.at(b) >= want)
    # no more than the value one cell further
    wider = np.append(values, np.inf)[np.searchsorted(ends, b * 2 ** (1.01 / CELLS))]
    least = half_range * 2.0 ** (-OCTAVES)
    assert np.all(found.at(b) <= np.maximum(wider, found.at(np.array([least]))[0]))


def test_what_lies_beyond_has_the_value_asked_for() -> None:
    ends, values = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    b = np.array([2.0, 2.5, np.inf, np.nan])
    np.testing.assert_array_equal(Running.of(ends, values).at(b), [4.0, 4.0, 4.0, 4.0])
    inf = np.inf
    np.testing.assert_array_equal(Running.of(ends, values, beyond=inf).at(b), [4.0, inf, inf, inf])
    np.testing.assert_array_equal(Running.of(ends, values[::-1]).at(np.array([0.5, 2.0])), [4, 4])
