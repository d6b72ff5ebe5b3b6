"""Every method on a GPU: the numbers of the host, forward and gradient, with and without masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from methods import TABLE, Row

import approxattn as aa

pytestmark = pytest.mark.gpu


def arrays(n: int = 200, d: int = 5) -> list[Any]:
    return list(np.random.default_rng(2).uniform(-1, 1, (4, 2, n, d)).astype("f4"))


def draw(method: Any) -> np.random.Generator | None:
    return np.random.default_rng(0) if method.randomised else None


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_forward_and_gradient(gpu: Any, row: Row, masked: bool) -> None:
    host = arrays()
    there = [gpu.asarray(a) for a in host]
    mask = np.arange(200) < 190
    options: list[dict[str, Any]] = [{}, {}]
    if masked:
        options = [{"key_mask": mask}, {"key_mask": gpu.asarray(mask)}]
    method = row.method
    wanted = aa.attention(*host[:3], method, rng=draw(method), **options[0])
    found = aa.attention(*there[:3], method, rng=draw(method), **options[1])
    close(found.value.get(), wanted.value)
    bound = np.broadcast_to(wanted.certificate.rows, (2, 200))
    np.testing.assert_allclose(np.broadcast_to(found.certificate.rows, (2, 200)), bound, rtol=0.1)
    if hasattr(method, "vjp"):
        one = aa.attention_vjp(*host, method, rng=draw(method), **options[0])
        other = aa.attention_vjp(*there, method, rng=draw(method), **options[1])
        for part in ("dq", "dk", "dv"):
            close(getattr(other, part).get(), getattr(one, part))


def close(found: Any, wanted: Any) -> None:
    """Nearly all rows agree; a hash bit that rounding turns moves a few."""
    far = np.max(np.abs(found - wanted), axis=-1) > 1e-3 * max(1.0, float(np.max(np.abs(wanted))))
    assert np.mean(far) < 0.02
