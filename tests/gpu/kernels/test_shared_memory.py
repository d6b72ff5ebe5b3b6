"""Devices differ in the shared memory that a block may have: each is asked, and gets a kernel that
fits.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from fake_cupy import TRAFFIC
from fake_cupy.arrays import Device

import approxattn as aa
from approxattn._arrays import cuda
from approxattn.methods.yoso import device_tables
from approxattn.monomials.device import tensor_cores
from approxattn.monomials.kernel import Kernel

KIB = 1024
OPTIN = {"sm_70": 96, "sm_75": 64, "sm_80": 163, "sm_86": 99, "sm_90": 227}
"""What a block may ask for, in KiB (CUDA C++ Programming Guide, technical specifications)."""


def give(monkeypatch: pytest.MonkeyPatch, kib: int) -> None:
    """Make the fake a device whose blocks may have so much; kernels that ask for more fail."""
    own = Device.attributes | {"MaxSharedMemoryPerBlockOptin": kib * KIB}
    monkeypatch.setattr(Device, "attributes", own)


@pytest.mark.parametrize(
    ("d", "m", "kib", "served"),
    [(128, 136, 99, False), (128, 136, 227, True), (80, 88, 99, True), (128, 65, 64, False)],
)
def test_sums_take_a_kernel_that_fits(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, d: int, m: int, kib: int, served: bool
) -> None:
    import array_api_compat

    give(monkeypatch, kib)
    x, y, v = (np.random.default_rng(0).uniform(-0.1, 0.1, (3, c)).astype("f4") for c in (d, d, m))
    there = [kernels.asarray(a) for a in (x, y, v)]
    xp = array_api_compat.array_namespace(there[0])
    kernel = Kernel(coefficients=(1.0, 1.0, 0.5), causal=False, kind="features", xp=xp)
    TRAFFIC.clear()
    found = kernel.sums(*there).get()
    used = [place.split(":")[0] for place in TRAFFIC.launches]
    assert any("device/tensor_cores" in place for place in used) == served
    assert any("monomials/device/" in place for place in used)
    scores = x.astype("f8") @ y.T
    np.testing.assert_allclose(found, (1 + scores + scores**2 / 2) @ v, rtol=1e-4, atol=1e-6)


def test_reading_takes_fewer_tokens_where_more_do_not_fit(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = kernels.asarray(np.ones(1, "f4"))
    found = {}
    for name, kib in OPTIN.items():
        give(monkeypatch, kib)
        found[name] = tensor_cores.token_tiles(80, 88, 3, cuda.shared_memory(like))
    assert found == {"sm_70": 1, "sm_75": 1, "sm_80": 2, "sm_86": 1, "sm_90": 2}


def test_what_is_asked_for_is_what_is_reserved(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a byte less than `shared_bytes` says no tensor core is used; with as many, one is."""
    like = kernels.asarray(np.ones((1, 128), "f4"))
    need = tensor_cores.shared_bytes(128, 136, 1)
    for less in (0, 1):
        own = Device.attributes | {"MaxSharedMemoryPerBlockOptin": need - less}
        monkeypatch.setattr(Device, "attributes", own)
        assert tensor_cores.serves(128, 2, 136, 1, 10**9, like) == (less == 0)
    assert need == 4 * (129 * 136 + 4 * 16 * 136)


@pytest.mark.parametrize(("kib", "bits", "served"), [(48, 8, False), (48, 7, True), (64, 8, True)])
def test_hash_tables(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, kib: int, bits: int, served: bool
) -> None:
    give(monkeypatch, kib)
    like = kernels.asarray(np.ones(1, "f4"))
    assert device_tables.serves(bits, like) == served
    q, k, v = (kernels.asarray(a) for a in np.ones((3, 2, 3), "f4"))
    TRAFFIC.clear()
    aa.attention(q, k, v, aa.Yoso(bits=bits, hashes=1), rng=np.random.default_rng(0))
    assert any("device_tables" in place for place in TRAFFIC.launches) == served


def test_a_driver_that_does_not_know_gives_what_all_have(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = kernels.asarray(np.ones(1, "f4"))
    monkeypatch.setattr(Device, "attributes", {})
    assert cuda.shared_memory(like) == 48 * KIB
