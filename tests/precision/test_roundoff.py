"""The unit roundoff of products: its algebra, and what it is read from in each library."""

from __future__ import annotations

import copy
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from namespaces import rounded

from approxattn._arrays import precision
from approxattn._arrays.precision import FORMATS, Roundoff, plain, unit_roundoff
from approxattn.bounds.rounding import gamma

BITS = {"tf32": 10, "bfloat16": 7}
INEXACT = [name for name, (product, _) in FORMATS.items() if product]
FULL = 2.0**-24


def roundoff(name: str) -> Roundoff:
    return Roundoff(*FORMATS[name])


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("k", [1, 2, 30, 1000])
def test_a_sum_of_rounded_products_is_within_its_chain(name: str, k: int, cut: bool) -> None:
    rng, worst = np.random.default_rng(k), 0.0
    for _ in range(200):
        a, b = (x.astype(np.float32) for x in rng.uniform(1, 1.01, (2, k)))
        inexact = [rounded(x, BITS[name], cut=cut) for x in (a, b)]
        exact = a.astype(np.float64) @ b.astype(np.float64)
        worst = max(worst, abs(float(inexact[0] @ inexact[1]) - exact) / exact)
    assert worst <= roundoff(name).chain(k, 1)
    if cut:
        assert worst > roundoff(name).chain(k, 1) / 4, "the bound is idle"


@pytest.mark.parametrize("name", INEXACT)
def test_one_number_stands_for_every_chain(name: str) -> None:
    u = roundoff(name)
    for k in (1, 2, 3, 10, 100, 1000, 10**6):
        whole = k * float(u) / (1 - k * float(u)) if k * float(u) < 1 else np.inf
        assert u.chain(k) <= whole
        assert u.chain(k, 1) <= u.chain(k, 2) <= u.chain(k, k + 5) == u.chain(k)
        assert gamma(k, u) == u.chain(k)
        assert gamma(k, u, 1) == u.chain(k, 1)
        assert u.chain(k, 0) >= gamma(k, plain(u))


def test_a_chain_too_long_has_no_bound() -> None:
    assert roundoff("bfloat16").chain(10**5) == np.inf
    assert roundoff("tf32").chain(2**24, 1) == np.inf


def test_formats_stand_from_exact_to_inexact() -> None:
    sizes = [float(Roundoff(*pair)) for pair in FORMATS.values()]
    assert sizes == sorted(sizes)


def test_six_products_of_three_pieces_leave_out_what_the_proof_says() -> None:
    def pieces(x: np.ndarray) -> list[np.ndarray]:
        first = rounded(x, 7, cut=True)
        second = rounded(x - first, 7, cut=True)
        return [y.astype(np.float64) for y in (first, second, x - first - second)]

    a, b = np.random.default_rng(0).standard_normal((2, 10**4)).astype(np.float32)
    p, q = pieces(a), pieces(b)
    np.testing.assert_array_equal(sum(p), a.astype(np.float64))
    six = sum(p[i] * q[j] for i in range(3) for j in range(3) if i + j < 3)
    exact = a.astype(np.float64) * b.astype(np.float64)
    lost = np.max(np.abs(six - exact) / np.abs(exact))
    assert 2.0**-24 < lost <= FORMATS["bfloat16x6"][0]


def test_a_roundoff_survives_copies() -> None:
    u = roundoff("tf32")
    unpickled = pickle.loads(pickle.dumps(u))  # noqa: S301  # our own bytes
    for other in (copy.copy(u), copy.deepcopy(u), unpickled):
        assert (other, other.product, other.step) == (u, u.product, u.step)


def test_numpy_has_the_roundoff_of_its_dtypes() -> None:
    assert unit_roundoff(np.zeros(1)) == 2.0**-53
    u = unit_roundoff(np.zeros(1, np.float32))
    assert u == plain(u) == FULL
    assert not isinstance(u, Roundoff)


# --- what is read, from stand-ins for libraries and machines that are not here --------------------


def fake_torch(legacy: Any, mkldnn: Any, cuda: Any) -> SimpleNamespace:
    """Return the part of PyTorch that is read; an exception in place of a setting is raised."""

    def matmul(setting: Any) -> Any:
        if isinstance(setting, bool):  # before there was fp32_precision
            return SimpleNamespace(matmul=SimpleNamespace(allow_tf32=setting))
        return SimpleNamespace(matmul=SimpleNamespace(fp32_precision=setting))

    def precision() -> str:
        if isinstance(legacy, Exception):
            raise legacy
        return str(legacy)

    backends = SimpleNamespace(mkldnn=matmul(mkldnn), cuda=matmul(cuda))
    return SimpleNamespace(backends=backends, get_float32_matmul_precision=precision)


@pytest.mark.parametrize(
    ("kind", "legacy", "mkldnn", "cuda", "expected"),
    [
        ("cpu", "highest", "none", "none", {"float32"}),
        ("cuda", "highest", "ieee", "ieee", {"float32"}),
        ("cpu", "medium", "bf16", "tf32", {"bfloat16"}),
        ("cuda", "high", "tf32", "tf32", {"tf32"}),
        ("cuda", RuntimeError("mixed"), "ieee", "tf32", {"tf32"}),
        ("cpu", RuntimeError("mixed"), "bf16", "ieee", {"bfloat16"}),
        ("cuda", RuntimeError("mixed"), "bf16", "ieee", {"float32"}),
        ("mps", RuntimeError("mixed"), "bf16", "ieee", {"bfloat16"}),
        ("cuda", "highest", "none", True, {"tf32"}),  # torch 2.8 and earlier
        ("cuda", "highest", "none", False, {"float32"}),
    ],
)
def test_torch_settings(
    kind: str,
    legacy: Any,
    mkldnn: Any,
    cuda: Any,
    expected: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clear(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch", fake_torch(legacy, mkldnn, cuda))
    assert worst(precision._torch(kind)) in expected


def test_the_least_exact_of_several_settings_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)
    monkeypatch.setattr("array_api_compat.is_torch_array", lambda _: True)
    array: Any = SimpleNamespace(device=SimpleNamespace(type="mps"))
    for mkldnn, cuda, expected in (
        ("ieee", "ieee", "float32"),
        ("ieee", "tf32", "tf32"),
        ("bf16", "tf32", "bfloat16"),
        ("tf32", "bf16", "bfloat16"),
    ):
        monkeypatch.setitem(sys.modules, "torch", fake_torch("highest", mkldnn, cuda))
        assert precision.float32_products(array) == expected


@pytest.mark.parametrize(
    ("platform", "setting", "expected"),
    [
        ("cpu", None, "float32"),
        ("gpu", None, "tf32"),
        ("cuda", "default", "tf32"),
        ("tpu", None, "bfloat16"),
        ("tpu", "highest", "bfloat16x6"),
        ("gpu", "highest", "float32"),
        ("cpu", "bfloat16", "bfloat16"),
        ("cpu", "tensorfloat32", "tf32"),
        ("tpu", "high", "tf32"),
        ("gpu", "BF16_BF16_F32_X3", "tf32"),
    ],
)
def test_jax_settings(
    platform: str, setting: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear(monkeypatch)
    config = SimpleNamespace(jax_default_matmul_precision=setting)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(config=config))
    assert worst(precision._jax(platform)) == expected


@pytest.mark.parametrize(("number", "expected"), [(1, "float32"), (6, "bfloat16"), (7, "tf32")])
def test_cupy_compute_types(number: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)
    linalg = SimpleNamespace(get_compute_type=lambda _dtype: number)
    monkeypatch.setitem(sys.modules, "cupy._core._routines_linalg", linalg)
    assert worst(precision._cupy()) == expected


def test_cupy_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy._core._routines_linalg", None)
    assert worst(precision._cupy()) == "float32"
    monkeypatch.setenv("CUPY_TF32", "1")
    assert worst(precision._cupy()) == "tf32"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ONEDNN_DEFAULT_FPMATH_MODE", "bf16", "bfloat16"),
        ("DNNL_DEFAULT_FPMATH_MODE", "TF32", "tf32"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "STRICT", "float32"),
        ("NVIDIA_TF32_OVERRIDE", "1", "float32"),  # that is for another device
    ],
)
def test_environment_of_a_cpu(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear(monkeypatch)
    monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "torch", fake_torch("highest", "none", "none"))
    assert worst(precision._torch("cpu")) == expected


def test_environment_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch", fake_torch("highest", "none", "none"))
    for value, expected in (("0", "float32"), ("1", "tf32")):
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", value)
        assert worst(precision._torch("cuda")) == expected


def test_a_format_without_a_bound_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "F16")
    with pytest.raises(ValueError, match=r"ONEDNN_DEFAULT_FPMATH_MODE\(='F16'\).*'STRICT'"):
        list(precision._onednn())
    linalg = SimpleNamespace(get_compute_type=lambda _dtype: 3)
    monkeypatch.setitem(sys.modules, "cupy._core._routines_linalg", linalg)
    with pytest.raises(ValueError, match="compute type of CuPy"):
        list(precision._cupy())


def worst(found: Any) -> str:
    return max(found, key=list(FORMATS).index, default="float32")


def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what the environment of the tests says."""
    for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NVIDIA_TF32_OVERRIDE", "CUPY_TF32"):
        monkeypatch.delenv(name, raising=False)
