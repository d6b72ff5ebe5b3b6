"""The array library: which one it is, which dtypes it has, how to cross between host and device.

Only this room knows array libraries by name.
Everything else asks `namespace` once and then speaks the array API standard. Detection never
imports a library: an array of a library exists only if the library is already loaded.
"""

from __future__ import annotations

import functools
from typing import Any

import array_api_compat as compat
import numpy as np

from approxattn._arrays.tracing import refuse_unreadable

Array = Any
Namespace = Any
HostArray = np.ndarray[Any, Any]

ROW_ENTRIES = 1024
"""Entries of neighbouring rows reduced together. *Chosen*: long enough for vector instructions, a
few KiB.
"""

# The dtype computed in, for each dtype accepted. Half precisions are widened: a score of 16 already
# has an absolute error of 2^-7 in float16.
_COMPUTE_DTYPE = {
    "float64": "float64",
    "float32": "float32",
    "float16": "float32",
    "bfloat16": "float32",
    "bool": "float64",
    **{f"{sign}int{bits}": "float64" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def namespace(**arrays: Array) -> Namespace:
    """Return the one array-API namespace that all `arrays` (named as the caller named them) share.

    Raises
    ------
    TypeError
        If one of them is no array, is a masked array or a matrix, has no numbers to read (a tracer,
        a lazy array), or if they come from different libraries or devices.
    """
    for name, array in arrays.items():
        if not compat.is_array_api_obj(array):
            remedy = f"wrap it, e.g. numpy.asarray({name})"
            if hasattr(array, "certificate"):  # one of our own results
                remedy = f"pass its array, e.g. {name}.value"
            msg = f"{name} is a {type(array).__name__}, not an array: {remedy}"
            raise TypeError(msg)
        if isinstance(array, np.ma.MaskedArray | np.matrix):
            msg = (
                f"{name} is a {type(array).__name__}, whose mask or 2-D rules would be lost: pass "
                "a plain array and key_mask"
            )
            raise TypeError(msg)
        refuse_unreadable(name, array)
    names = ", ".join(arrays)
    try:
        xp = compat.array_namespace(*arrays.values())
    except TypeError as error:
        kinds = ", ".join(f"{name}: {type(array).__module__}" for name, array in arrays.items())
        msg = f"{names} come from different array libraries ({kinds}): convert them to one"
        raise TypeError(msg) from error
    devices = {str(compat.device(array)) for array in arrays.values()}
    if len(devices) > 1:
        msg = (
            f"{names} lie on different devices ({', '.join(sorted(devices))}): move them to one; "
            "no silent copies are made"
        )
        raise TypeError(msg)
    return xp


def dtype_name(array: Array) -> str:
    """Return the dtype's plain name, e.g. 'float32', in any library."""
    return _plain_name(id(type(array.dtype)), array.dtype)


@functools.lru_cache(maxsize=256)
# Dtypes of two libraries must not be compared.
def _plain_name(library: int, dtype: Any) -> str:
    del library
    return str(dtype).rpartition(".")[2]  # NumPy takes microseconds to make the name


def compute_dtype_name(array: Array, name: str) -> str:
    """Return the name of the dtype that `array` is computed in; TypeError for complex, strings,
    objects.
    """
    try:
        return _COMPUTE_DTYPE[dtype_name(array)]
    except KeyError:
        if not getattr(array.dtype, "isnative", True):
            msg = (
                f"{name} has dtype {array.dtype}, whose bytes are in the other order: pass "
                f'{name}.astype({name}.dtype.newbyteorder("="))'
            )
            raise TypeError(msg) from None
        msg = (
            f"{name} has dtype {array.dtype}: only real numbers (float64, float32, float16, "
            "bfloat16, integers, bool) have an attention"
        )
        raise TypeError(msg) from None


def unit_roundoff(name: str) -> float:
    """Return u, half the spacing of floats at 1, for a floating dtype name."""
    return {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}[
        name
    ]


def smallest_normal(name: str) -> float:
    """Return the smallest positive normal number of a floating dtype name."""
    return {
        "float64": 2.0**-1022,
        "float32": 2.0**-126,
        "float16": 2.0**-14,
        "bfloat16": 2.0**-126,
    }[name]


def largest(name: str) -> float:
    """Return the largest finite number of a floating dtype name."""
    return {
        "float64": float(np.finfo(np.float64).max),
        "float32": float(np.finfo(np.float32).max),
        "float16": 65504.0,
        "bfloat16": 3.3895313892515355e38,
    }[name]


def to_host(array: Array) -> HostArray:
    """Copy a device array to a NumPy array: the one place where data leaves the device, always on
    purpose.
    """
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if compat.is_array_api_strict_namespace(compat.array_namespace(array)):
        xp = compat.array_namespace(array)
        return np.asarray(array.to_device(xp.Device("CPU_DEVICE")))
    if compat.is_cupy_array(array):
        return np.asarray(array.get())
    if compat.is_torch_array(array):
        # NumPy has no bfloat16
        wide = array.float() if dtype_name(array) == "bfloat16" else array
        return np.asarray(wide.detach().cpu().numpy())
    return np.asarray(array)


def to_float64(array: Array) -> HostArray:
    """Copy an array to the host, in float64: what bounds are computed from."""
    return to_host(array).astype(np.float64)


def on_host(*arrays: Array) -> bool:
    """Return whether all arrays are NumPy arrays, for which there are faster ways than the
    standard's.
    """
    return all(isinstance(array, np.ndarray) for array in arrays)


def from_host(host: HostArray, like: Array) -> Array:
    """Copy a NumPy array to the library and device of `like`, keeping the dtype of `host`."""
    if isinstance(like, np.ndarray):
        return np.asarray(host)  # finding the namespace takes microseconds
    xp = compat.array_namespace(like)
    return _got(xp.asarray(host, device=compat.device(like)), str(host.dtype))


def cast(array: Array, name: str, xp: Namespace) -> Array:
    """Return `array` in the dtype named; the array itself when it already has it."""
    return array if dtype_name(array) == name else _got(xp.astype(array, dtype_of(name, xp)), name)


def _got(array: Array, name: str) -> Array:
    """Return `array` if its dtype is the one asked for: not every library says when it is not."""
    if dtype_name(array) != name:
        msg = (
            f"{type(array).__module__} made {dtype_name(array)} of an array wanted in {name}, and "
            "bounds would be too small: allow it (jax.config.update('jax_enable_x64', True)), or "
            "use a device that has it"
        )
        raise TypeError(msg)
    return array


def is_floating(array: Array) -> bool:
    """Return whether the dtype is one of the floating ones accepted, bfloat16 in NumPy included."""
    return dtype_name(array) in ("float64", "float32", "float16", "bfloat16")


def contiguous(array: Array) -> Array:
    """Return `array`, copied when it is strided or unaligned: kernels sum in an order that depends
    on the layout, results must not.
    """
    if isinstance(array, np.ndarray):
        return np.require(array, requirements=["C", "A"])
    if compat.is_cupy_array(array):
        return compat.array_namespace(array).ascontiguousarray(array)
    return array.contiguous() if compat.is_torch_array(array) else array


def dtype_of(name: str, xp: Namespace) -> Any:
    """Return the library's dtype object of a plain name; NumPy's extension types (bfloat16) by
    NumPy's registry.
    """
    return getattr(xp, name) if hasattr(xp, name) else np.dtype(name)


def device(array: Array) -> Any:
    """Return the device an array lies on."""
    return compat.device(array)


def largest_size(x: Array, xp: Namespace) -> Array:
    """Return the largest absolute entry of each item, shape (..., n, d) -> (...); NaN where an item
    has one.

    No temporary of the size of x.
    """
    return xp.maximum(xp.max(x, axis=(-2, -1)), -xp.min(x, axis=(-2, -1)))


def largest_of_rows(x: Array, xp: Namespace) -> Array:
    """Return the largest entry of each column, shape (..., n, d) -> (..., d); NaN where a column
    has one.
    """
    return _along_rows(np.maximum, x) if on_host(x) else xp.max(x, axis=-2)


def smallest_of_rows(x: Array, xp: Namespace) -> Array:
    """Return the smallest entry of each column, shape (..., n, d) -> (..., d); NaN where a column
    has one.
    """
    return _along_rows(np.minimum, x) if on_host(x) else xp.min(x, axis=-2)


def mean_of_rows(x: Array, xp: Namespace) -> Array:
    """Return the mean of each column, shape (..., n, d) -> (..., 1, d)."""
    if not on_host(x):
        return xp.mean(x, axis=-2, keepdims=True)
    return np.asarray(_along_rows(np.add, x)[..., None, :] / np.asarray(x.shape[-2], dtype=x.dtype))


def _along_rows(ufunc: np.ufunc, x: HostArray) -> HostArray:
    """Reduce along axis -2, some hundred entries of several rows at a time: NumPy takes one short
    row after the other, up to 20 times as slowly.
    """
    *batch, n, d = x.shape
    together = max(1, ROW_ENTRIES // max(d, 1))
    whole = n - n % together
    if not whole or together == 1:
        return np.asarray(ufunc.reduce(x, axis=-2))
    wide = x[..., :whole, :].reshape(*batch, whole // together, together * d)
    total = ufunc.reduce(ufunc.reduce(wide, axis=-2).reshape(*batch, together, d), axis=-2)
    return np.asarray(
        ufunc(total, ufunc.reduce(x[..., whole:, :], axis=-2)) if whole < n else total
    )
