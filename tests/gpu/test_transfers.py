"""How often each method makes the host wait for the device, and what crosses for every row.

The counts are fixed here, so that no change adds one unseen; `WHY` says what stands behind them.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_cupy import TRAFFIC

import approxattn as aa

WHY = """Syncs: checks of the ranges of q, k, v and of a cotangent, all at once; of a polynomial
what decides how queries are centred and balanced, and what its half range is; what may overflow, or
has no direction. Bytes of rows, for methods whose certificate is computed at the call: down,
lengths of queries and keys (4 + 4 in float32), denominators and parts of sums (4 each); up, weights
of keys."""

# method: (syncs, bytes down, bytes up) of a call, then of its gradient; bytes are those of a row
ALLOWED: dict[str, tuple[Any, tuple[int, int, int], tuple[int, int, int]]] = {
    "exact": (aa.Exact(), (1, 0, 0), (1, 0, 0)),
    "polynomial": (aa.Polynomial(degree=2), (3, 0, 0), (3, 0, 0)),
    "polynomial-taylor": (aa.Polynomial(degree=2, basis="taylor"), (3, 0, 0), (3, 0, 0)),
    "polynomial-chebyshev": (aa.Polynomial(degree=2, basis="chebyshev"), (3, 0, 0), (3, 0, 0)),
    "polynomial-one-sided": (aa.Polynomial(degree=2, basis="one-sided"), (3, 0, 0), (3, 0, 0)),
    "polynomial-given": (aa.Polynomial(coefficients=(1, 1, 0.5)), (3, 0, 0), (3, 0, 0)),
    "polynomial-plug-in": (aa.Polynomial(degree=2, gradient="plug-in"), (3, 0, 0), (3, 0, 0)),
    "linformer": (aa.Linformer(rank=16), (2, 0, 0), (2, 0, 0)),
    "count-sketch": (aa.Linformer(rank=16, sketch="count-sketch"), (2, 0, 0), (2, 0, 0)),
    "nystrom": (aa.Nystrom(landmarks=8), (1, 0, 0), (1, 0, 0)),
    "performer": (aa.Performer(features=16), (2, 0, 0), (2, 0, 0)),
    "yoso": (aa.Yoso(bits=6, hashes=4), (2, 0, 0), (2, 0, 0)),
    "clustered": (aa.Clustered(heavy=4, key_blocks=8, query_blocks=8), (17, 88, 48), (7, 64, 67)),
    "bert-lsh": (aa.BertLSH(bits=4, tables=2), (9, 16, 0), (5, 24, 0)),
}
NS = 256, 512


def traffic(module: ModuleType, method: Any, gradient: bool) -> tuple[int, float, float]:
    """Return the syncs of the larger call, and bytes a row from the difference of the two."""
    found = []
    for n in NS:
        arrays = np.random.default_rng(1).uniform(-0.3, 0.3, (4, 2, n, 8)).astype("f4")
        q, k, v, g = (module.asarray(a) for a in arrays)
        rng = np.random.default_rng(0) if method.randomised else None
        TRAFFIC.clear()
        if gradient:
            aa.attention_vjp(q, k, v, g, method, rng=rng)
        else:
            aa.attention(q, k, v, method, rng=rng)
        found.append((TRAFFIC.syncs.total(), TRAFFIC.down, TRAFFIC.up))
    rows = 2 * (NS[1] - NS[0])
    (_, *less), (syncs, *more) = found
    down, up = ((b - a) / rows for a, b in zip(less, more, strict=True))
    return syncs, down, up


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("name", ALLOWED)
def test_transfers(cupy: ModuleType, name: str, gradient: bool) -> None:
    method, *allowed = ALLOWED[name]
    found = traffic(cupy, method, gradient)
    limit = allowed[gradient]
    over = [f"{x:.0f} > {y}" for x, y in zip(found, limit, strict=True) if x > y + 0.5]
    assert not over, f"{name}: {over} of (syncs, down, up); {dict(TRAFFIC.syncs.most_common(12))}"
    idle = [y for x, y in zip(found, limit, strict=True) if x < 0.6 * y]
    assert not idle, f"{name}: {found} is far below {limit}: lower the table"
