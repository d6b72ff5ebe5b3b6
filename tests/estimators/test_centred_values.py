"""Values far from 0 are centred for methods whose weights sum to 1, and for no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn._problem import pose
from proofs_check.hunt.methods import TABLE

AVERAGING = [
    (row.name, row.method) for row in TABLE if getattr(row.method, "averages_values", False)
]
FAR = [
    ("bert-lsh, nothing collides", aa.BertLSH(bits=12, tables=1, fill=-np.inf)),
    ("bert-lsh, sparse, nothing collides", aa.BertLSH(bits=12, tables=1, sparse=True)),
    ("lsh-softmax, nothing collides", aa.LSHSoftmax(bits=12, tables=1)),
]


def outputs(method: Any, seed: int, offset: float) -> np.ndarray[Any, Any] | None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 16))
    q, k, v = rng.normal(size=(3, n, 3)) * rng.choice([0.1, 1.0])
    k = k[:1] + 0 * k if seed % 4 == 3 else k
    mask = (rng.random(n) < 0.6) | (np.arange(n) == 0)
    square = getattr(method, "fidelity", "") == "paper-code"
    problem = pose(q, k, v + offset, key_mask=None if square or seed % 2 else mask)
    with np.errstate(all="ignore"):
        try:
            return np.asarray(method.compute(problem, np.random.default_rng(1)).value)
        except ValueError:  # no polynomial for these scores
            return None


@pytest.mark.parametrize(("name", "method"), [*AVERAGING, *FAR], ids=lambda x: str(x)[:30])
def test_an_offset_of_the_values_is_one_of_the_output(name: str, method: Any) -> None:
    seen = 0
    for seed in range(8):
        plain, moved = (outputs(method, seed, offset) for offset in (0.0, 8.0))
        if plain is None or moved is None:
            continue
        seen += 1
        assert np.abs(moved - plain - 8).max() <= 1e-11, (name, seed)
    assert seen >= 3


def test_nystrom_without_centring_is_no_mean_before_its_iteration_converges() -> None:
    method = aa.Nystrom(landmarks=4, iterations=2, centred=False)
    assert not getattr(method, "averages_values", False)
    q, k, v = np.random.default_rng(0).normal(size=(3, 40, 3))
    plain, moved = (
        np.asarray(method.compute(pose(q, k, v + offset), None).value) for offset in (0.0, 8.0)
    )
    assert np.abs(moved - plain - 8).max() > 1e-3


@pytest.mark.parametrize("method", [aa.Exact(), aa.Polynomial(degree=8, basis="taylor")])
def test_error_and_bound_scale_with_the_oscillation(method: Any) -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.uniform(-1, 1, (3, 600, 8)).astype(np.float32)
    exact = aa.attention(*(x.astype(float) for x in (q, k, v + 100)), aa.Exact())
    near, far = (aa.attention(q, k, v + c, method) for c in (np.float32(0), np.float32(100)))
    error = np.abs(far.value - exact.value).max(axis=-1)
    assert (error <= far.certificate.rows + exact.certificate.rows).all()
    rounded = 600 * 2.0**-24  # of 100 itself, in and out, and some room
    assert far.certificate.bound <= 1.1 * near.certificate.bound + rounded


def test_gradients_with_far_values() -> None:
    rng = np.random.default_rng(1)
    q, k, v, dout = rng.uniform(-1, 1, (4, 200, 4)).astype(np.float32)
    for method in (aa.Exact(), aa.Polynomial(degree=6, basis="taylor")):
        moved = v + np.float32(1000)
        found = aa.attention_vjp(q, k, moved, dout, method)
        exact = aa.attention_vjp(*(x.astype(float) for x in (q, k, moved, dout)), aa.Exact())
        for name in ("dq", "dk", "dv"):
            error = np.abs(getattr(found, name) - getattr(exact, name)).max(axis=-1)
            assert (error <= getattr(found.certificate, name) * (1 + 1e-9)).all(), name
