"""The array of the fake: a NumPy array that nobody can reach by accident."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from fake_cupy.traffic import Traffic

TRAFFIC = Traffic()

_REFUSED = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy "
    "array explicitly."
)
_METHODS = frozenset(
    [
        "all",
        "any",
        "argmax",
        "argmin",
        "argsort",
        "clip",
        "conj",
        "cumprod",
        "cumsum",
        "diagonal",
        "dot",
        "fill",
        "max",
        "mean",
        "min",
        "nonzero",
        "prod",
        "ravel",
        "repeat",
        "round",
        "searchsorted",
        "sort",
        "squeeze",
        "std",
        "sum",
        "swapaxes",
        "take",
        "trace",
        "transpose",
        "var",
        "view",
    ]
)
"""Methods of CuPy's array that are NumPy's too, besides those written out below."""

_SCALARS = (bool, int, float, complex, np.generic)


class Device:
    """A device that is always the first one: an H100."""

    id = 0
    compute_capability = "90"
    attributes: ClassVar = {
        "MaxSharedMemoryPerBlock": 48 * 1024,
        "MaxSharedMemoryPerBlockOptin": 227 * 1024,
    }

    mem_info = 80 * 2**30, 80 * 2**30

    def __init__(self, device: Any = None) -> None:
        del device

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "<CUDA Device 0>"

    def synchronize(self) -> None:
        TRAFFIC.to_host(0)


class Event:
    """A mark on the stream."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ) -> None:
        del block, disable_timing, interprocess
        self.recorded = False

    def record(self, stream: Any = None) -> None:
        del stream
        self.recorded = True

    def synchronize(self) -> None:
        assert self.recorded
        TRAFFIC.to_host(0)


def unwrapped(x: Any, *, index: bool = False) -> Any:
    """Return NumPy's view of an argument of a device function; host arrays are refused."""
    if isinstance(x, ndarray):
        return x.host
    if isinstance(x, np.ndarray):
        if not index:
            msg = f"Unsupported type {type(x)}"
            raise TypeError(msg)
        TRAFFIC.to_device(x.nbytes)
    if isinstance(x, list | tuple):
        return type(x)(unwrapped(item, index=index) for item in x)
    return x


def wrapped(x: Any) -> Any:
    """Return a result as the device's: reductions too are arrays there."""
    if isinstance(x, np.ndarray | np.generic):
        return ndarray(np.asarray(x))
    if isinstance(x, tuple):
        return type(x)(*map(wrapped, x)) if hasattr(x, "_fields") else tuple(map(wrapped, x))
    return [wrapped(item) for item in x] if isinstance(x, list) else x


class ndarray:
    """An array of the device; `host` is what only the fake may touch."""

    __hash__ = None  # type: ignore[assignment]
    __array_priority__ = 100

    def __init__(self, host: Any) -> None:
        self.host = host

    dtype = property(lambda self: self.host.dtype)
    shape = property(lambda self: self.host.shape)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    itemsize = property(lambda self: self.host.itemsize)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: self.host.flags)
    device = property(lambda _: Device())
    T = property(lambda self: ndarray(self.host.T))
    mT = property(lambda self: ndarray(self.host.mT))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(_REFUSED)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        own = getattr(sys.modules["cupy"], ufunc.__name__, None)
        if method != "__call__" or own is None:
            return NotImplemented
        return own(*inputs, **options)

    def __array_function__(self, function: Any, *_: Any) -> Any:
        del function
        return NotImplemented

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        del api_version
        return sys.modules["cupy"]

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"device {self.host!r}"

    # --- the host waits ---------------------------------------------------------------------------

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> Any:
        del stream, order, out, blocking
        TRAFFIC.to_host(self.nbytes)
        return np.array(self.host)

    def _scalar(self, read: Callable[[Any], Any]) -> Any:
        TRAFFIC.to_host(self.itemsize)
        return read(self.host)

    def __float__(self) -> float:
        return float(self._scalar(float))

    def __int__(self) -> int:
        return int(self._scalar(int))

    def __bool__(self) -> bool:
        return bool(self._scalar(bool))

    def __index__(self) -> int:
        return int(self._scalar(operator.index))

    def item(self) -> Any:
        return self._scalar(lambda host: host.item())

    def tolist(self) -> Any:
        return self._scalar(lambda host: host.tolist())

    # --- reading and writing parts ----------------------------------------------------------------

    def _key(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        arrays = [k for k in keys if isinstance(k, ndarray | np.ndarray | list)]
        if any(getattr(k, "dtype", None) == np.dtype(bool) for k in arrays):
            TRAFFIC.to_host(8)  # how many there are
        if arrays:
            TRAFFIC.launch()
        return unwrapped(key, index=True)

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(np.asarray(self.host[self._key(key)]))

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            msg = "non-scalar numpy.ndarray cannot be used for fill"
            raise ValueError(msg)
        TRAFFIC.launch()
        self.host[self._key(key)] = value if isinstance(value, np.ndarray) else unwrapped(value)

    # --- other shapes and dtypes ------------------------------------------------------------------

    def astype(
        self,
        dtype: Any,
        order: str = "K",
        casting: Any = None,
        subok: Any = None,
        copy: bool = True,
    ) -> ndarray:
        del order, casting, subok
        if not copy and self.dtype == np.dtype(dtype):
            return self
        TRAFFIC.launch()
        return ndarray(self.host.astype(dtype))

    def reshape(self, *shape: Any, order: Any = "C", copy: bool | None = None) -> ndarray:
        del copy
        shaped = self.host.reshape(*shape, order=order)
        if shaped.size and not np.shares_memory(shaped, self.host):
            TRAFFIC.launch()
        return ndarray(shaped)

    def copy(self, order: Any = "C") -> ndarray:
        TRAFFIC.launch()
        return ndarray(self.host.copy(order))

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            msg = f"cupy.ndarray has no {name}"
            raise AttributeError(msg)

        def method(*arguments: Any, **options: Any) -> Any:
            TRAFFIC.launch()
            options = {key: unwrapped(x) for key, x in options.items()}
            return wrapped(getattr(self.host, name)(*map(unwrapped, arguments), **options))

        return method


def _binary(operation: Callable[[Any, Any], Any], swapped: bool) -> Any:
    def apply(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (ndarray, np.ndarray, *_SCALARS)):
            return NotImplemented
        TRAFFIC.launch()
        pair = self.host, unwrapped(other)
        return wrapped(operation(*(pair[::-1] if swapped else pair)))

    return apply


def _unary(operation: Callable[[Any], Any]) -> Any:
    def apply(self: ndarray) -> Any:
        TRAFFIC.launch()
        return wrapped(operation(self.host))

    return apply


def _in_place(operation: Callable[[Any, Any], Any]) -> Any:
    def apply(self: ndarray, other: Any) -> ndarray:
        TRAFFIC.launch()
        self.host = operation(self.host, unwrapped(other))
        return self

    return apply


for _name in [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
]:
    _operation = getattr(operator, f"__{_name}__")
    setattr(ndarray, f"__{_name}__", _binary(_operation, False))
    setattr(ndarray, f"__r{_name}__", _binary(_operation, True))
    setattr(ndarray, f"__i{_name}__", _in_place(getattr(operator, f"__i{_name}__")))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _binary(getattr(operator, _name), False))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", _unary(getattr(operator, _name)))
ndarray.__module__ = "cupy"
