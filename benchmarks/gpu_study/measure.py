"""One function for each kind of item: arguments in, a result for the record out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import approxattn as aa
from gpu_study.items import HEADS, METHODS
from gpu_study.library import Library, copies_counted, in_tf32, times

SWITCH = "APPROXATTN_KERNELS"
NO_TORCH = "PyTorch sees no GPU"
Result = dict[str, Any]


def measure(name: str, arguments: dict[str, Any], library: Library, seconds: float) -> Result:
    """Return the result of one item, within about so many seconds."""
    try:
        return KINDS[name](library, seconds, **arguments)
    finally:
        library.free()


def ceiling(library: Library, seconds: float, what: str, side: int) -> Result:
    """Time a copy, or a square product in one precision."""
    dtype = what if what in ("float64", "bfloat16") else "float32"
    if what in ("tf32", "bfloat16"):
        return _tensor_product(library, seconds, what, side)
    a, b = library.uniform((2, side, side), 1.0, 0, dtype)
    if what == "copy":
        bytes_ = 2 * a.itemsize * side**2
        return times(library, lambda: b.copy(), seconds) | {"bytes": bytes_}
    return times(library, lambda: a @ b, seconds) | {"flop": 2 * side**3}


def _tensor_product(library: Library, seconds: float, what: str, side: int) -> Result:
    """Time PyTorch's product on tensor cores."""
    there = _torch(library)
    if there is None:
        return {"skipped": NO_TORCH}
    a, b = there.uniform((2, side, side), 1.0, 0, "bfloat16" if what == "bfloat16" else "float32")
    with in_tf32(there, True):
        found = times(there, lambda: a @ b, seconds)
    there.free()
    return found | {"flop": 2 * side**3}


def _torch(library: Library) -> Library | None:
    """Return PyTorch on the GPU that is measured, if it is there."""
    if library.name == "numpy":
        return None
    try:
        import torch
    except ImportError:
        return None
    return Library("torch") if torch.cuda.is_available() else None


@contextmanager
def switched(kernels: str) -> Iterator[None]:
    """Set which of our kernels take part inside: "on", "scalar" (none on tensor cores), "off"."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = kernels
    try:
        yield
    finally:
        os.environ.pop(SWITCH) if before is None else os.environ.update({SWITCH: before})


def accuracy(
    library: Library,
    seconds: float,
    dtype: str,
    n: int,
    kernels: str = "on",
    tf32: bool = False,
    **setting: Any,
) -> Result:
    """Compare with the same in float64 on the host, with the certificate, and with itself."""
    del seconds
    method, d = method_of(**setting), setting["d"]
    q, k, v = library.uniform((3, 2, n, d), 0.5, 1, dtype)
    with in_tf32(library, tf32), switched(kernels):
        runs = [aa.attention(q, k, v, method, rng=generator(method)) for _ in range(20)]
        rows = runs[0].certificate.rows
    value = library.host(runs[0].value)
    q, k, v = (library.host(x).astype(np.float64) for x in (q, k, v))
    same = aa.attention(q, k, v, method, rng=generator(method)).value
    target = aa.attention(q, k, v, _target(method)).value
    error = np.max(np.abs(value - target), axis=-1)
    return {
        "relative": float(np.linalg.norm(value - same) / np.linalg.norm(same)),
        "outside": int(np.sum(error > rows)),
        "rows": int(error.size),
        "bound": float(np.max(rows)),
        "identical": all(np.array_equal(library.host(run.value), value) for run in runs),
    }


def _target(method: Any) -> Any:
    """Return what the certificate of a method speaks of."""
    if isinstance(method, aa.Yoso):
        return aa.YosoExpectation(bits=method.bits, normalize=method.normalize)
    return aa.Exact()


def sums(
    library: Library,
    seconds: float,
    d: int,
    degree: int,
    n: int,
    kernels: str = "on",
    tf32: bool = False,
) -> Result:
    """Time the sums of a polynomial alone, for all heads."""
    from array_api_compat import array_namespace

    from approxattn.monomials.kernel import Kernel

    x, y, v = (
        library.uniform((HEADS, n, c), 0.3, i, "float32") for i, c in ((1, d), (2, d), (3, d + 1))
    )
    taylor = tuple(1 / math.factorial(t) for t in range(degree + 1))
    xp = array_namespace(x)
    kernel = Kernel(coefficients=taylor, causal=False, kind="features", xp=xp)
    with in_tf32(library, tf32), switched(kernels):
        found = times(library, lambda: kernel.sums(x, y, v), seconds)
    rank = math.comb(d + degree, degree)
    return found | {"flop": 4 * n * HEADS * rank * (d + 1), "bytes": 16 * HEADS * n * d}


def call(
    library: Library,
    seconds: float,
    n: int,
    gradient: bool = False,
    causal: bool = False,
    certify: bool = True,
    **setting: Any,
) -> Result:
    """Time a whole call, reading its certificate if it has one, and count what it copies to the
    host.
    """
    method = method_of(**setting, n=n)
    q, k, v, g = (library.uniform((HEADS, n, setting["d"]), 0.3, i, "float32") for i in range(4))

    def work() -> object:
        rng = generator(method)
        if gradient:
            return aa.attention_vjp(q, k, v, g, method, rng=rng, causal=causal).certificate
        found = aa.attention(q, k, v, method, rng=rng, causal=causal, certify=certify)
        return found.certificate.rows if certify else found.value

    found = times(library, work, seconds)
    with copies_counted() as count:
        work()
    return found | count


def sdpa(library: Library, seconds: float, d: int, n: int, dtype: str) -> Result:
    """Time PyTorch's exact attention: FlashAttention in bfloat16."""
    there = _torch(library)
    if there is None:
        return {"skipped": NO_TORCH}
    q, k, v = (there.uniform((HEADS, n, d), 0.3, i, dtype)[None] for i in range(3))
    f = there.xp.nn.functional.scaled_dot_product_attention
    flop = 4 * HEADS * n * n * d
    try:
        return times(there, lambda: f(q, k, v), seconds) | {"flop": flop}
    finally:
        there.free()


def method_of(method: str, degree: int = 0, n: int = 0, **_: Any) -> Any:
    """Return the method that the arguments of an item name."""
    if method == "polynomial":
        return aa.Polynomial(degree=degree)
    if method == "taylor":
        return aa.Polynomial(degree=degree, basis="taylor")
    names = {"yoso": aa.Yoso, "linformer": aa.Linformer, "performer": aa.Performer}
    names |= {"nystrom": aa.Nystrom, "exact": aa.Exact}
    settings: dict[str, Any] = dict(METHODS[method])
    if method in ("linformer", "nystrom") and n:  # no more than there are keys
        settings = {key: min(value, n // 2) for key, value in settings.items()}
    return names[method](**settings)


def generator(method: Any) -> np.random.Generator | None:
    """Return the same generator for every run of a method that draws."""
    return np.random.default_rng(0) if method.randomised else None


KINDS: dict[str, Callable[..., Result]] = {
    "ceiling": ceiling,
    "accuracy": accuracy,
    "sums": sums,
    "call": call,
    "sdpa": sdpa,
}
