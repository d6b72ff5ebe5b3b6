"""Features of many blocks in one step, by the array library: the same sums, within what a step may
hold, and no more roundings than bounds count.
"""

from __future__ import annotations

from types import ModuleType

import array_api_compat
import numpy as np
import pytest
from fake_cupy.arrays import Device

import approxattn as aa
from approxattn._arrays import portions
from approxattn.monomials.contraction import chunk_length
from approxattn.monomials.dense import horner
from approxattn.monomials.device import blocks as of_blocks
from approxattn.monomials.device.library import Library
from approxattn.monomials.kernel import Kernel, key_sum_terms

N, MEMORY = 2**20, Device.mem_info[1]
ROOMS = {"one block": 1, "some": 40_000, "all": 2**40}


@pytest.fixture(autouse=True)
def by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPROXATTN_KERNELS", "off")


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("earlier", [0, 5])
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 5])
def test_sums_are_exact_on_integers(
    cupy: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    room: str,
    causal: bool,
    earlier: int,
    degree: int,
) -> None:
    monkeypatch.setattr(portions, "room", lambda _: ROOMS[room])
    monkeypatch.setattr(of_blocks, "chunk_length", lambda *_: 4)
    rng = np.random.default_rng(degree)
    (x, left), (y, right) = (
        [rng.integers(-2, 3, (2, n, c)).astype("f8") for c in (3, 2)] for n in (22, 22 + earlier)
    )
    there = [cupy.asarray(a) for a in (x, y, left, right)]
    coefficients = (3.0, 1.0, 2.0, 1.0, 1.0, 2.0)[: degree + 1]
    xp = array_api_compat.array_namespace(there[0])
    kernel = Kernel(coefficients=coefficients, causal=causal, kind="features", xp=xp)
    s, keep = x @ np.swapaxes(y, -1, -2), np.tri(22, 22 + earlier, earlier) if causal else 1.0
    p = keep * horner(s, coefficients)
    slopes = tuple(t * c for t, c in enumerate(coefficients))[1:] or (0.0,)
    ds = keep * horner(s, slopes) * (left @ np.swapaxes(right, -1, -2))
    asked = tuple(range(1, degree + 1))
    sums, parts, _ = kernel.sums_with_parts(there[0], there[1], there[3], asked)
    np.testing.assert_array_equal(sums.get(), p @ right)
    for place, t in enumerate(asked):
        own = (keep * coefficients[t] * s**t) @ right[..., -1:]
        np.testing.assert_array_equal(parts.get()[..., [place]], own)
    dx, dy, dright = kernel.gradients(there[0], there[2], there[1], there[3])
    np.testing.assert_array_equal(dx.get(), ds @ y)
    np.testing.assert_array_equal(dy.get(), np.swapaxes(ds, -1, -2) @ x)
    np.testing.assert_array_equal(dright.get(), np.swapaxes(p, -1, -2) @ left)


@pytest.mark.parametrize(("d", "degree"), [(64, 2), (16, 4), (32, 2), (3, 1)])
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_a_step_keeps_within_its_share(
    cupy: ModuleType, d: int, degree: int, back: bool, causal: bool
) -> None:
    like = cupy.asarray(np.zeros((1, d), "f4"))
    xp = array_api_compat.array_namespace(like)
    blocks = Library(like, (1.0,) * (degree + 1), xp)
    together = max(run.blocks for run in blocks.key_runs(N, d + 1, causal=causal, back=back))
    features = together * blocks.rank * blocks.length * 4 * blocks.copies
    assert features <= MEMORY // portions.SHARE
    assert together * blocks.length * 4 * 2**8 < 2**31 * 4  # no array of 2^31 entries


@pytest.mark.parametrize("n", [0, 1, 511, 512, 513, 40_000])
@pytest.mark.parametrize("earlier", [0, 1, 700])
@pytest.mark.parametrize("room", [1, 2**22, 2**40])
def test_roundings_counted_are_those_of_the_longest_path(
    cupy: ModuleType, monkeypatch: pytest.MonkeyPatch, n: int, earlier: int, room: int
) -> None:
    """Of a term: products of its block, then one addition for each block of its run, run by run."""
    monkeypatch.setattr(portions, "room", lambda _: room)
    like = cupy.asarray(np.zeros((1, 3), "f4"))
    blocks = Library(like, (1.0, 1.0, 0.5), array_api_compat.array_namespace(like))
    for causal in (False, True) if earlier else (False,):
        runs = blocks.key_runs(earlier, 4) + blocks.key_runs(n, 4, causal=causal)
        longest = max((run.length for run in runs), default=0) + sum(run.blocks for run in runs)
        slack = 2 if causal else 0  # one is spent on the own block
        assert longest <= key_sum_terms(n + earlier, 3, 2, causal) + max(slack - 1, bool(earlier))
    assert blocks.length == chunk_length(3, 2)


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_long_sums_keep_their_certificates(
    cupy: ModuleType, monkeypatch: pytest.MonkeyPatch, causal: bool
) -> None:
    monkeypatch.setenv("APPROXATTN_KERNELS", "off")
    monkeypatch.setattr(portions, "room", lambda _: 2**23)
    q, k, v = np.random.default_rng(0).uniform(0, 1, (3, 2**15, 2)).astype("f4")
    wide = [a.astype("f8") for a in (q, k, v)]
    method = aa.Polynomial(degree=3)
    own = aa.attention(*map(cupy.asarray, (q, k, v)), method, causal=causal)
    host = aa.attention(q, k, v, method, causal=causal)
    np.testing.assert_allclose(own.certificate.rows, host.certificate.rows, rtol=1e-3)
    exact = aa.attention(*wide, method, causal=causal).value
    rounding = np.max(np.abs(own.value.get() - exact), axis=-1)
    assert np.all(rounding <= own.certificate.rows)
    assert np.max(rounding) < 2e-6
