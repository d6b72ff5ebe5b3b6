"""The unit roundoff of what a library really computes with: its products may be less exact than its
dtype.

Symbols. u' is the error of one addition in the accumulator of a product, relative to its terms; v
bounds the relative error of one rounded factor; w that of one rounded product; gamma'_k = k u' / (1
- k u'); U is the single number that stands for all of them.

Products of rounded factors (proved here), s = sum_{i=1}^k a_i b_i:

1. Every factor is rounded first: |a~_i - a_i| <= v |a_i|, and b~_i likewise.
2. So a~_i b~_i = a_i b_i (1 + e_i) with |e_i| <= w, w = (1 + v)^2 - 1.
3. Adding k of them errs by at most gamma'_k sum |a~_i b~_i|, in any order.
4. By 2 and 3 the computed sum is off by at most ((1 + w)(1 + gamma'_k) - 1) sum |a_i b_i|.
5. A chain of k roundings with p products among them has p factors 1 + e and k factors 1 + delta,
   |delta| <= u': it is off by at most (1 + w)^p (1 + gamma'_k) - 1, relatively. p <= k, because
   each product is counted by at least one rounding.
6. (1 + w)^k <= 1 / (1 - k w), by 1 + w <= 1 / (1 - w) and Bernoulli's inequality.
7. (1 - k w)(1 - k u') >= 1 - k (w + u'), so by 5 and 6 the chain is off by at most gamma_k(U) for
   any U >= w + u'. U = w + (1 + w) u' also covers step 4 with k = 1. Code that takes u for the
   unit roundoff stays right with U; `Roundoff.chain` is step 5, which is smaller.

v of a format with t explicit bits is 2^-t: half of that if the device rounds to nearest, all of it
if it cuts off, and NVIDIA does not say which of the two its tensor cores do. u' for a tensor core
is *chosen*: 20 u of float32, since the addition inside is not documented.

Three-way splits into bfloat16 ("bfloat16x6", proved here): a = a_1 + a_2 + a_3 exactly, 3 times 8
bits, |a_2| <= 2^-7 |a|, |a_3| <= 2^-15 |a|, cut off or not. The six largest products leave out a_2
b_3, a_3 b_2 and a_3 b_3: at most (2 * 2^-22 + 2^-30) |a b| < 2^-20 |a b|.

Two-way splits into TF32 ("tf32x3", proved here): a = a_1 + a_2 exactly, a_1 of 11 bits, |a_2| <=
2^-10 |a|, cut off or not. The device rounds a_2 by 2^-10 |a_2| at most. The three largest products
leave out that of a_2 times b_1, and the like, at most 2^-20 (1 + 2^-10) |a b| each, and a_2 b_2, at
most 2^-20 |a b|: less than 3.01 * 2^-20 |a b| together.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import array_api_compat as compat
import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array

TENSOR_CORE = 20 * 2.0**-24
"""u' of a product on a matrix unit. *Chosen*; see above."""


def _rounded_factors(bits: int) -> float:
    v = 2.0**-bits
    return (1 + v) ** 2 - 1


FORMATS: dict[str, tuple[float, float]] = {
    "float32": (0.0, 2.0**-24),
    "bfloat16x6": (2.0**-20, TENSOR_CORE),
    "tf32x3": (3.01 * 2.0**-20, TENSOR_CORE),
    "tf32": (_rounded_factors(10), TENSOR_CORE),
    "bfloat16": (_rounded_factors(7), TENSOR_CORE),
}
"""w and u' of the ways to multiply float32 arrays, the most exact first."""


class Roundoff(float):
    """U, with the two numbers that it is made of.

    Parameters
    ----------
    product : float
        w, relative error of one product of rounded factors.
    step : float
        u', relative error of any other operation.
    """

    product: float
    step: float

    def __new__(cls, product: float, step: float) -> Roundoff:
        self = super().__new__(cls, (product + (1 + product) * step) * (1 + 2.0**-50))
        self.product, self.step = product, step
        return self

    def __getnewargs__(self) -> tuple[float, float]:  # type: ignore[override]
        return (self.product, self.step)

    def chain(self, k: float, products: float | None = None) -> float:
        """Return (1 + w)^p (1 + gamma'_k) - 1; p = k unless the products are counted."""
        own = k * self.step
        if own >= 1:
            return math.inf
        p = k if products is None else min(products, k)
        grown = p * math.log1p(self.product)
        if grown > 700:  # exp would overflow
            return math.inf
        return (math.expm1(grown) + math.exp(grown) * own / (1 - own)) * (1 + 2.0**-48)


def plain(u: float) -> float:
    """Return the unit roundoff of operations that are no products of arrays."""
    return u.step if isinstance(u, Roundoff) else u


def unit_roundoff(array: Array) -> float:
    """Return u of the dtype that `array` really has; U where products are less exact."""
    name = _arrays.dtype_name(array)
    if name != "float32":
        return _arrays.unit_roundoff(name)
    product, step = FORMATS[float32_products(array)]
    return Roundoff(product, step) if product else step


def refuse_inexact(array: Array, what: str) -> None:
    """Raise ValueError where products are less exact than the dtype, for `what` would forget it."""
    if isinstance(unit_roundoff(array), Roundoff):
        msg = (
            f"{what} outlives the setting that float32 products are made in "
            f"{float32_products(array)}, and later bounds would not know of it: set the precision "
            "of products to 'highest' for this call, or use float64"
        )
        raise ValueError(msg)


def float32_products(array: Array) -> str:
    """Return the key of `FORMATS` in which the library of `array` multiplies float32 arrays now.

    NumPy multiplies in float32; so do libraries that are not named here.

    Raises
    ------
    ValueError
        If the library is set to a format that no bound is known for.
    """
    if isinstance(array, np.ndarray | np.generic):
        return "float32"
    if compat.is_torch_array(array):
        found = list(_torch(array.device.type))
    elif compat.is_jax_array(array):
        found = list(_jax(_platform(array)))
    elif compat.is_cupy_array(array):
        found = list(_cupy())
    else:
        found = []
    return max(found, key=list(FORMATS).index, default="float32")


# --- PyTorch --------------------------------------------------------------------------------------

_TORCH = {
    "none": "float32",
    "ieee": "float32",
    "highest": "float32",
    "tf32": "tf32",
    "high": "tf32",  # or sums of two bfloat16, which are more exact: 16 bits
    "bf16": "bfloat16",
    "medium": "bfloat16",
}


def _torch(kind: str) -> Iterator[str]:
    """Yield what each setting of PyTorch that speaks of this kind of device says.

    Settings of half precision sums concern half precision products, and there are none here.
    """
    torch = sys.modules["torch"]
    groups = {"cpu": ("mkldnn",), "cuda": ("cuda",)}.get(kind, ("mkldnn", "cuda"))
    for group in groups:
        matmul: Any = getattr(getattr(torch.backends, group, None), "matmul", None)
        precision = _read(lambda matmul=matmul: matmul.fp32_precision)
        if precision is not None:
            yield _known("torch.backends." + group + ".matmul.fp32_precision", precision, _TORCH)
        elif _read(lambda matmul=matmul: matmul.allow_tf32):
            yield "tf32"
    # refuses to answer where the newer settings above are in use
    precision = _read(torch.get_float32_matmul_precision)
    if precision is not None:
        yield _known("torch.set_float32_matmul_precision", precision, _TORCH)
    yield from _onednn() if kind in ("cpu", "xpu") else _nvidia()


def _read(setting: Any) -> Any:
    try:
        return setting()
    except (AttributeError, RuntimeError):
        return None


# --- JAX ------------------------------------------------------------------------------------------

_JAX = {
    "highest": "float32",
    "float32": "float32",
    "F32_F32_F32": "float32",
    "F64_F64_F64": "float32",
    "BF16_BF16_F32_X6": "bfloat16x6",
    "BF16_BF16_F32_X9": "bfloat16x6",
    "high": "tf32",  # on a TPU three products of bfloat16, which are more exact: 14 bits
    "tensorfloat32": "tf32",
    "TF32_TF32_F32": "tf32",
    "TF32_TF32_F32_X3": "tf32",
    "BF16_BF16_F32_X3": "tf32",
    "bfloat16": "bfloat16",
    "BF16_BF16_F32": "bfloat16",
}


def _jax(platform: str) -> Iterator[str]:
    """Yield what JAX is set to; its default is float32 on a CPU only."""
    setting = sys.modules["jax"].config.jax_default_matmul_precision
    if setting in (None, "default"):
        yield {"cpu": "float32", "tpu": "bfloat16"}.get(platform, "tf32")
    else:
        found = _known("jax_default_matmul_precision", str(setting), _JAX)
        # "highest" on a TPU is six products of bfloat16
        yield "bfloat16x6" if (platform, found) == ("tpu", "float32") else found
    yield from _onednn() if platform == "cpu" else _nvidia()


def _platform(array: Array) -> str:
    return str(next(iter(array.devices())).platform)


# --- CuPy and the libraries below -----------------------------------------------------------------

_CUBLAS = {3: "float16", 6: "bfloat16", 7: "tf32"}
"""CuPy's numbers of the compute types that are no float32."""


def _cupy() -> Iterator[str]:
    """Yield the compute type of CuPy's float32 products, which CUPY_TF32 sets."""
    linalg: Any = sys.modules.get("cupy._core._routines_linalg")
    if hasattr(linalg, "get_compute_type"):
        found = _CUBLAS.get(int(linalg.get_compute_type("float32")), "float32")
        yield _known("the compute type of CuPy", found, {name: name for name in FORMATS})
    elif os.environ.get("CUPY_TF32", "0") not in ("", "0"):
        yield "tf32"
    yield from _nvidia()


def _nvidia() -> Iterator[str]:
    # 0 forbids TF32 everywhere; other values are not documented, so they are not trusted
    if os.environ.get("NVIDIA_TF32_OVERRIDE", "0") not in ("", "0"):
        yield "tf32"


def _onednn() -> Iterator[str]:
    """Yield what the environment tells oneDNN, which multiplies on CPUs, where it says anything."""
    known = {"": "float32", "STRICT": "float32", "TF32": "tf32", "BF16": "bfloat16"}
    for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        yield _known(name, os.environ.get(name, "").upper(), known)


def _known(name: str, value: str, known: dict[str, str]) -> str:
    if value not in known:
        msg = (
            f"{name}(={value!r}) rounds products of float32 arrays in a way that no bound is known "
            f"for: set it to one of {', '.join(repr(key) for key in known)}"
        )
        raise ValueError(msg)
    return known[value]
