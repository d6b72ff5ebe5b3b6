"""What `tolerance=t` promises, on random and degenerate problems with score bounds up to 8: kept,
or the certificate says that it cannot be.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import approxattn as aa

PROBLEMS = 300
EXTENDED = np.longdouble


def problem(rng: np.random.Generator):
    """q, k, v with centred score bound B in 1/8 ... 8: normal numbers or small integers, sometimes
    all keys equal.
    """
    n, d = int(rng.integers(1, 40)), int(rng.integers(1, 4))
    q, k, v = (
        rng.standard_normal((n, d)) if rng.random() < 0.6 else rng.integers(-2, 3, (n, d)) * 1.0
        for _ in range(3)
    )
    if rng.random() < 0.2:
        k[:] = k[0]
    widest = (
        np.linalg.norm(q, axis=1).max() * np.linalg.norm(k - k.mean(0), axis=1).max() / np.sqrt(d)
    )
    if widest > 1e-9:
        q = q * 2.0 ** rng.integers(-3, 4) / widest
    dtype = np.float64 if rng.random() < 0.6 else np.float32
    return [x.astype(dtype) for x in (q, k, v)], bool(rng.random() < 0.4)


def exact(q, k, v, causal: bool):
    s = q.astype(EXTENDED) @ k.astype(EXTENDED).T * EXTENDED(1 / np.sqrt(q.shape[1]))
    s = np.where(np.tril(np.ones(s.shape, bool)), s, -np.inf) if causal else s
    w = np.exp(s - s.max(-1, keepdims=True))
    return w @ v.astype(EXTENDED) / w.sum(-1, keepdims=True)


@pytest.mark.parametrize("basis", ["minimax", "taylor", "chebyshev"])
def test_the_promise_is_kept_or_withdrawn(basis: str) -> None:
    rng = np.random.default_rng(7)
    seen: Counter[str] = Counter()
    for _ in range(PROBLEMS // 3):
        (q, k, v), causal = problem(rng)
        tolerance = 10.0 ** -int(rng.integers(1, 7))
        method = aa.Polynomial(tolerance=tolerance, basis=basis, fallback=bool(rng.random() < 0.5))
        try:
            out = aa.attention(q, k, v, method, causal=causal)
        except ValueError:
            assert not method.fallback, "with the fallback there is nothing to refuse"
            seen["refused"] += 1
            continue
        error = np.abs(out.value.astype(EXTENDED) - exact(q, k, v, causal)).max(-1)
        rows = out.certificate.rows
        assert np.all(np.isinf(rows) | (error <= rows)), "an error above its certificate"
        if out.certificate.unmet:
            seen["withdrawn"] += 1
            continue
        assert error.max() <= tolerance * np.ptp(v.astype(np.float64), axis=0).max() * (1 + 1e-9)
        seen["kept"] += 1
    assert seen["kept"] > 0.6 * PROBLEMS / 3, seen
    assert seen["withdrawn"] > 0, "float32 cannot keep 1e-6: some promise must be withdrawn"
