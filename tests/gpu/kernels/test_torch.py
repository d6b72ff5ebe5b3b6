"""PyTorch's tensors reach the kernels as addresses, on PyTorch's device and stream. The tensors of
this test lie on the CPU, where the shim follows the addresses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays.cuda import launch

pytestmark = pytest.mark.long  # PyTorch is slow to import

STREAM = 1234


@pytest.fixture
def streams(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The streams and devices on which kernels were launched."""
    torch = pytest.importorskip("torch")
    used: list[tuple[int, int]] = []

    @contextlib.contextmanager
    def external(stream: int, device: int) -> Iterator[None]:
        used.append((stream, device))
        yield

    own = SimpleNamespace(cuda_stream=STREAM)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: own)
    monkeypatch.setattr(kernels.cuda, "ExternalStream", external, raising=False)
    monkeypatch.setattr(launch, "_is_cuda", lambda _: True)
    return used


def tensors(count: int, n: int = 700, d: int = 3) -> list[Any]:
    import torch

    arrays = np.random.default_rng(0).uniform(-1, 1, (count, 2, n, d)).astype("f4")
    return [torch.asarray(a) for a in arrays]


@pytest.mark.parametrize("causal", [False, True])
def test_polynomials(streams: Any, monkeypatch: pytest.MonkeyPatch, causal: bool) -> None:
    q, k, v, g = tensors(4)
    found = []
    for switch in ("on", "off"):
        monkeypatch.setenv("APPROXATTN_KERNELS", switch)
        streams.clear()
        result = aa.attention(q, k, v, aa.Polynomial(degree=2), causal=causal)
        back = aa.attention_vjp(q, k, v, g, aa.Polynomial(degree=2), causal=causal)
        assert bool(streams) == (switch == "on")
        assert set(streams) <= {(STREAM, 0)}
        found.append([result.value, back.dq, back.dk, back.dv])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5, rtol=1e-4)


def test_yoso(streams: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for switch in ("on", "off"):
        monkeypatch.setenv("APPROXATTN_KERNELS", switch)
        rng, (q, k, v) = np.random.default_rng(0), tensors(3, 50)
        found.append(aa.attention(q, k, v, aa.Yoso(bits=4, hashes=4), rng=rng).value.numpy())
    assert streams
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_tensor_cores(streams: Any) -> None:
    import torch

    q, k, v = (x * 0.2 for x in tensors(3, 100))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        own = aa.attention(q, k, v, aa.Polynomial(degree=2))
    finally:
        torch.set_float32_matmul_precision(before)
    # sums of blocks, their total, reading them; and the probe, if nobody asked before
    assert len(streams) - 3 * len(q) in (0, 1)
    wide = [x.numpy().astype("f8") for x in (q, k, v)]
    error = np.max(np.abs(own.value.numpy() - aa.attention(*wide, aa.Exact()).value), axis=-1)
    assert np.all(error <= own.certificate.rows)
