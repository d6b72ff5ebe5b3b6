"""What a call finds out once it does not find out again."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn.bounds import scores

METHODS: dict[str, Any] = {
    "taylor": aa.Polynomial(degree=4, basis="taylor"),
    "plug-in": aa.Polynomial(degree=4, basis="taylor", gradient="plug-in"),
    "keys": aa.Polynomial(degree=3, centre="keys"),
    "tolerance": aa.Polynomial(tolerance=1e-2, fallback=False),
}


def modules() -> list[ModuleType]:
    return [m for name, m in list(sys.modules.items()) if name.startswith("approxattn")]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """Count, by their entries, the arrays whose rows are measured."""
    counts: Counter[bytes] = Counter()
    whole = scores.row_norms

    def counted(x: Any, xp: Any) -> Any:
        counts[str(x.shape).encode() + np.asarray(x).tobytes()] += 1
        return whole(x, xp)

    for module in modules():
        if getattr(module, "row_norms", None) is whole:
            monkeypatch.setattr(module, "row_norms", counted)
    return counts


@pytest.fixture
def spreads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hold one entry for each time that the spread of values is taken from their range."""
    taken: list[int] = []
    whole: Callable[..., Any] = scores.spread_of

    def counted(*ends: Any) -> Any:
        taken.append(1)
        return whole(*ends)

    monkeypatch.setattr(scores, "spread_of", counted)
    return taken


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n", [20, 400])  # by scores, by features
def test_rows_are_measured_once(
    name: str, n: int, measured: Counter[bytes], spreads: list[int]
) -> None:
    q, k, v, g = np.random.default_rng(2).uniform(-1, 1, (4, n, 3))
    aa.attention(q + 1, k, v, METHODS[name])
    assert max(measured.values()) == 1
    assert len(measured) <= 6  # q, centred q, its mean, centred k, both in balanced coordinates
    assert len(spreads) == 1
    measured.clear()
    spreads.clear()
    aa.attention_vjp(q + 1, k, v, g, METHODS[name])
    assert max(measured.values()) == 1
    assert len(measured) <= 6
    assert len(spreads) == 1
