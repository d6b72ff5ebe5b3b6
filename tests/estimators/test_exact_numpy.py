"""Exact attention of NumPy arrays: in blocks, shifted by the largest score or not, its rounding is
what the certificate says.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cases import Case
from hunting import Ledger, check, guilty, problems
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from methods import TABLE
from oracle import enclose, row_errors

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import Problem, pose
from approxattn.softmax import numpy_streaming, streaming

EXACT = [row for row in TABLE if row.name == "exact"]


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Blocks of a few queries, keys and items; which problems were shifted."""
    found: list[bool] = []
    stays = numpy_streaming._stays_in_range

    def noted(problem: Problem) -> bool:
        found.append(stays(problem))
        return found[-1]

    monkeypatch.setattr(numpy_streaming, "_stays_in_range", noted)
    monkeypatch.setattr(numpy_streaming, "ROWS", 2)
    monkeypatch.setattr(numpy_streaming, "SCORES", 12)
    monkeypatch.setattr(streaming, "KEY_BLOCK", 3)
    return found


def test_no_error_is_above_its_certificate_in_small_blocks(ways: list[bool]) -> None:
    ledger, numbers = Ledger(), itertools.count()

    @settings(max_examples=300, suppress_health_check=list(HealthCheck))
    @given(problems())
    def hold(case: Case) -> None:
        assert not check(EXACT, case, ledger, seed=next(numbers))

    hold()
    assert not guilty(EXACT, ledger)
    assert ways.count(True) > 50
    assert ways.count(False) > 50


def generic(q: HostArray, k: HostArray, v: HostArray, **options: Any) -> HostArray:
    """Return the output of the streaming that other libraries use."""
    problem = pose(q, k, v, **options)
    blocks = [
        streaming.stream(problem, first, last).value
        for first, last in streaming.query_blocks(problem)
    ]
    return np.concatenate(blocks, axis=-2)


@pytest.mark.usefixtures("ways")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**16),
    leading=st.sampled_from([(), (1,), (5,), (2, 3), (3, 1, 2)]),
    shared=st.booleans(),
    size=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
)
def test_it_is_the_streaming_of_other_libraries(
    seed: int, leading: tuple[int, ...], shared: bool, size: float, dtype: str
) -> None:
    """Leading axes, keys that heads share, strides, order with earlier keys, masks."""
    rng = np.random.default_rng(seed)
    n_q, n_k, d, dv = (int(x) for x in rng.integers(1, 9, 4))
    batch = (*leading[:-1], 1) if shared and leading else leading
    q = (size**0.5 * rng.standard_normal((*leading, d, n_q))).astype(dtype).swapaxes(-1, -2)
    k = (size**0.5 * rng.standard_normal((*batch, 2 * n_k, d))).astype(dtype)[..., ::2, :]
    v = rng.standard_normal((*batch, n_k, dv)).astype(dtype)
    mask = rng.random((*batch, n_k)) < 0.6
    mask[..., 0] = True
    options: dict[str, Any] = {"key_mask": mask} if rng.random() < 0.5 else {}
    if n_q <= n_k and rng.random() < 0.5:
        options |= {"causal": True, "query_offset": n_k - n_q}
    for x in (q, k, v, mask):
        x.setflags(write=False)
    out = aa.attention(q, k, v, aa.Exact(), **options)
    gap = np.abs(out.value - generic(q, k, v, **options)).max(-1)
    assert np.all(gap <= 2 * out.certificate.rows)


@pytest.mark.usefixtures("ways")
def test_causal_order_costs_what_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys after the last query of a block are never scored."""
    asked = []
    hide = numpy_streaming._hide_later

    def count(scores: HostArray, seen: int) -> None:
        asked.append(scores.size)
        hide(scores, seen)

    monkeypatch.setattr(numpy_streaming, "_hide_later", count)
    n = 60
    q, k, v = np.random.default_rng(0).standard_normal((3, n, 2))
    aa.attention(q, k, v, aa.Exact(), causal=True)
    assert sum(asked) == n * (n + 1) // 2 + n // 2  # blocks of two queries


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("power", [-126, -60, 0, 60])
def test_at_the_edge_of_what_needs_no_shift(ways: list[bool], dtype: str, power: int) -> None:
    """Scores grow until they are shifted; values of all sizes; the sums stay within their bounds
    on both sides of the edge, where one key hidden in the middle has all the mass too.
    """
    rng = np.random.default_rng(power % 7)
    n = 9
    v = (rng.standard_normal((n, 2)) * 2.0 ** min(power, 40)).astype(dtype)
    k = np.linspace(-1, 1, n)[:, None].astype(dtype)
    for size in (1, 10, 30, 50, 60, 70, 80, 85, 90, 200, 500, 600, 650, 700, 720, 1e4):
        q = np.array([[size], [-size], [size / 3]], dtype)
        case = Case(name="edge", q=q, k=k, v=v, options={"scale": 1.0})
        assert not check(EXACT, case, Ledger(), seed=0)
    assert set(ways) == ({True, False} if power > -126 or dtype == "float64" else {False})


def test_items_with_tiny_values_keep_their_own_bounds(ways: list[bool]) -> None:
    """What underflow takes is small beside the values of each item, not of the largest."""
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 2, 6, 2)).astype(np.float32)
    v[1] *= np.float32(2.0**-140)
    out = aa.attention(q, 6 * k, v, aa.Exact())
    for i in range(2):
        case = Case(name="item", q=q[i], k=6 * k[i], v=v[i])
        errors = row_errors(out.value[i], enclose(EXACT[0], case))
        assert np.all(errors <= out.certificate.rows[i])
    assert ways == [False]
