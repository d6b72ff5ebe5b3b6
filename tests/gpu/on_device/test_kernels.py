"""Our kernels on a GPU: right, the same bits every time, inside their certificates."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

import array_api_compat
import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.monomials.kernel import Kernel

pytestmark = pytest.mark.gpu

NS, WIDTHS = (1, 31, 33, 1025), (1, 7, 16, 33, 64, 128)


def problem(n: int, d: int, dtype: str = "f4", heads: int = 2) -> list[HostArray]:
    rng = np.random.default_rng(n + d)
    return [rng.uniform(-0.5, 0.5, (heads, n, d)).astype(dtype) for _ in range(4)]


def error(found: Any, wanted: HostArray) -> HostArray:
    return np.asarray(np.max(np.abs(found.get().astype(np.float64) - wanted), axis=-1))


@pytest.mark.parametrize(("dtype", "kernels"), [("f4", "on"), ("f4", "scalar"), ("f8", "on")])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("n", NS)
def test_sums_and_gradients(
    gpu: Any,
    monkeypatch: pytest.MonkeyPatch,
    n: int,
    d: int,
    causal: bool,
    dtype: str,
    kernels: str,
) -> None:
    monkeypatch.setenv("APPROXATTN_KERNELS", kernels)
    x, y, v, left = problem(n, d, dtype)
    there = [gpu.asarray(a) for a in (x, y, v, left)]
    xp = array_api_compat.array_namespace(there[0])
    kernel = Kernel(coefficients=(1, 1, 0.5), causal=causal, kind="features", xp=xp)
    wide = [a.astype(np.float64) for a in (x, y, v, left)]
    scores = wide[0] @ wide[1].swapaxes(-1, -2)
    pairs = wide[3] @ wide[2].swapaxes(-1, -2)
    weight, slope = 1 + scores + scores**2 / 2, (1 + scores) * pairs
    if causal:
        weight, slope = np.tril(weight), np.tril(slope)
    unit = 64 * float(np.finfo(dtype).eps)
    size = np.max(np.abs(weight) @ np.abs(wide[2]))
    assert np.all(error(kernel.sums(*there[:3]), weight @ wide[2]) <= unit * size)
    size = np.max(np.abs(slope) @ np.abs(wide[1])) + np.max(np.abs(pairs)) * n
    found = kernel.gradient_x(there[0], there[3], there[1], there[2])
    assert np.all(error(found, slope @ wide[1]) <= unit * size)


@pytest.mark.parametrize("method", [aa.Polynomial(degree=2), aa.Polynomial(degree=4)], ids=str)
@pytest.mark.parametrize("d", [4, 16])
def test_certificates_hold(gpu: Any, method: Any, d: int) -> None:
    q, k, v, g = problem(3000, d)
    wide = [a.astype(np.float64) for a in (q, k, v, g)]
    there = [gpu.asarray(a) for a in (q, k, v, g)]
    own = aa.attention(*there[:3], method)
    exact = aa.attention(*wide[:3], aa.Exact()).value
    assert np.all(error(own.value, exact) <= own.certificate.rows)
    for host, array in zip((q, k, v, g), there, strict=True):
        np.testing.assert_array_equal(array.get(), host)  # inputs are never written to


@pytest.mark.parametrize("name", ["polynomial", "causal", "gradient", "yoso"])
def test_twenty_repeats_have_the_same_bits(gpu: Any, name: str) -> None:
    q, k, v, g = (gpu.asarray(a) for a in problem(4096, 16))

    def once() -> Any:
        if name == "gradient":
            return aa.attention_vjp(q, k, v, g, aa.Polynomial(degree=2)).dq.get()
        if name == "yoso":
            return aa.attention(
                q, k, v, aa.Yoso(hashes=8), rng=np.random.default_rng(0)
            ).value.get()
        return aa.attention(q, k, v, aa.Polynomial(degree=2), causal=name == "causal").value.get()

    first = once()
    assert all(np.array_equal(once(), first) for _ in range(19))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bits", [1, 6, 8, 9])
def test_yoso_is_that_of_the_general_way(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, bits: int, dtype: str
) -> None:
    q, k, v, _ = (gpu.asarray(a) for a in problem(2000, 33, dtype))
    found = []
    for switch in ("on", "off"):
        monkeypatch.setenv("APPROXATTN_KERNELS", switch)
        result = aa.attention(q, k, v, aa.Yoso(bits=bits, hashes=8), rng=np.random.default_rng(1))
        found.append((result.value.get(), np.asarray(result.certificate.rows)))
    # a bit may differ where a product is near 0, and moves few rows
    rows = np.max(np.abs(found[0][0] - found[1][0]), axis=-1)
    assert np.mean(rows > 1e-4) < 0.02
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=0.05)


def test_any_stream(gpu: Any) -> None:
    q, k, v, _ = (gpu.asarray(a) for a in problem(3000, 8))
    wanted = aa.attention(q, k, v, aa.Polynomial(degree=2)).value.get()
    stream = gpu.cuda.Stream(non_blocking=True)
    with stream:
        found = aa.attention(q, k, v, aa.Polynomial(degree=2)).value.get()
    stream.synchronize()
    np.testing.assert_array_equal(found, wanted)


def test_torch_and_cupy_share_the_kernels(gpu: Any) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    arrays = [gpu.asarray(a) for a in problem(3000, 8)[:3]]
    tensors = [torch.from_dlpack(a) for a in arrays]
    method = aa.Polynomial(degree=2)
    wanted = aa.attention(*arrays, method)
    with torch.cuda.stream(torch.cuda.Stream()):
        found = aa.attention(*tensors, method)
        torch.cuda.current_stream().synchronize()
    value = found.value.cpu().numpy()
    np.testing.assert_allclose(value, wanted.value.get(), atol=1e-5)
    rows = np.max(np.abs(value - wanted.value.get()), axis=-1)
    assert np.all(rows <= found.certificate.rows + wanted.certificate.rows)


def test_past_two_to_the_thirty_first_entries(gpu: Any) -> None:
    n, d = 2**25 + 3, 64
    if gpu.cuda.Device().mem_info[0] < 60 * 2**30:
        pytest.skip("needs 60 GiB of free memory")
    x, v = gpu.zeros((n, d), dtype="f4"), gpu.ones((n, 1), dtype="f4")
    x[-1, 5] = 0.5
    xp = array_api_compat.array_namespace(x)
    kernel = Kernel(coefficients=(1.0, 1.0), causal=False, kind="features", xp=xp)
    found = kernel.sums(x, x, v)
    assert float(found[0, 0]) == n or abs(float(found[0, 0]) / n - 1) < 1e-6
    assert abs(float(found[-1, 0]) - (n + 0.25)) < 1e-5 * n


CHECKED = """
import cupy, numpy as np, approxattn as aa
arrays = np.random.default_rng(0).uniform(-1, 1, (4, 2, 1000, 7)).astype("f4")
q, k, v, g = (cupy.asarray(a) for a in arrays)
for causal in (False, True):
    aa.attention(q, k, v, aa.Polynomial(degree=2), causal=causal)
    aa.attention_vjp(q, k, v, g, aa.Polynomial(degree=2), causal=causal)
aa.attention(q, k, v, aa.Yoso(bits=5, hashes=4), rng=np.random.default_rng(0))
"""


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_the_sanitizer_finds_nothing(gpu: Any, tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer")
    if not sanitizer:
        pytest.skip("there is no compute-sanitizer")
    assert gpu.is_available()
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", "--kernel-regex", "kns=aa_"]
    done = subprocess.run(
        [*command, sys.executable, "-c", CHECKED], capture_output=True, text=True, check=False
    )
    if done.returncode and "not supported" in done.stdout + done.stderr:
        pytest.skip("the sanitizer does not run here")
    assert done.returncode == 0, done.stdout[-2000:]
