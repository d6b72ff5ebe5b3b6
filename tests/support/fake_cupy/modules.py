"""The modules of the fake, made from the names that were recorded."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from fake_cupy.arrays import TRAFFIC, Device, Event, ndarray, unwrapped, wrapped
from fake_cupy.raw import RawKernel, RawModule
from fake_cupy.record_names import NAMES

_VIEWS = frozenset(
    [
        "reshape",
        "transpose",
        "swapaxes",
        "moveaxis",
        "broadcast_to",
        "broadcast_arrays",
        "expand_dims",
        "squeeze",
        "flip",
        "matrix_transpose",
        "permute_dims",
        "atleast_1d",
        "atleast_2d",
        "shape",
        "ndim",
        "diagonal",
        "rollaxis",
        "issubdtype",
        "can_cast",
        "astype",
        "result_type",
    ]
)
_MAKE = frozenset(["asarray", "array", "ascontiguousarray", "asfortranarray", "asanyarray"])
_WAIT = frozenset(
    ["nonzero", "unique", "argwhere", "flatnonzero", "compress", "extract", "allclose"]
)
"""Functions whose result has a shape that the host must know."""


def _solve(a: Any, b: Any) -> Any:
    """CuPy's raises nothing where a matrix is singular: it divides by 0."""
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return np.full((*batch, *b.shape[-2:]), np.nan, b.dtype)


def _svd(a: Any, **options: Any) -> Any:
    """Nor does this one where the iteration does not end."""
    try:
        return np.linalg.svd(a, **options)
    except np.linalg.LinAlgError:
        found = np.linalg.svd(np.zeros_like(a), **options)
        return type(found)(*(np.full_like(x, np.nan) for x in found))


QUIET: dict[str, Callable[..., Any]] = {"solve": _solve, "svd": _svd}

_UFUNC = "(*x, out=None, dtype=None, casting=None)"


@contextlib.contextmanager
def installed() -> Iterator[ModuleType]:
    """Let `import cupy` give the fake; what was imported before comes back."""
    before = {name: module for name, module in sys.modules.items() if _concerns_cupy(name)}
    made = modules()
    try:
        for name in before:
            del sys.modules[name]
        sys.modules.update(made)
        yield made["cupy"]
    finally:
        for name in [name for name in sys.modules if _concerns_cupy(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _concerns_cupy(name: str) -> bool:
    return name.split(".")[0] == "cupy" or name.startswith("array_api_compat.cupy")


def modules() -> dict[str, ModuleType]:
    """Return cupy and the modules inside it that are used."""
    names = json.loads(NAMES.read_text(encoding="utf-8"))
    top, linalg, fft, cuda, device = (
        ModuleType(f"cupy{name}") for name in ("", ".linalg", ".fft", ".cuda", ".cuda.device")
    )
    fill(top, names["cupy"], np)
    fill(linalg, names["cupy.linalg"], np.linalg)
    own: dict[str, Any] = {"ndarray": ndarray, "dtype": np.dtype, "newaxis": None, "intp": np.intp}
    own |= {"is_available": lambda: True, "asnumpy": lambda a: a.get(), "bool_": np.bool_}
    own |= {"inf": np.inf, "nan": np.nan, "pi": np.pi, "e": np.e}
    own |= {"__version__": names["version"], "linalg": linalg, "fft": fft, "cuda": cuda}
    own |= {"RawModule": RawModule, "RawKernel": RawKernel, "empty": empty}
    for name, value in own.items():
        setattr(top, name, value)
    vars(device)["Device"] = Device
    vars(cuda).update(Device=Device, Event=Event, device=device, __path__=[])
    for module, recorded in ((top, names["cupy"]), (linalg, names["cupy.linalg"]), (fft, {})):
        public = [name for name in vars(module) if not name.startswith("_") and name in recorded]
        vars(module)["__all__"] = public
    return {module.__name__: module for module in (top, linalg, fft, cuda, device)}


def fill(module: ModuleType, names: dict[str, str], real: ModuleType) -> None:
    for name, kind in names.items():
        found = QUIET.get(name) if real is np.linalg else None
        found = found or getattr(real, name, None)
        if kind == "numpy" and found is not None:
            setattr(module, name, found)
        elif isinstance(found, np.ufunc):
            setattr(module, name, function(name, _UFUNC, found))
        elif kind.startswith("(") and callable(found):
            setattr(module, name, function(name, kind, found))


def function(name: str, text: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a device function that takes exactly the arguments recorded."""
    signature = inspect.signature(eval(f"lambda {text[1:-1]}: None"))  # noqa: S307 - our own file

    def call(*arguments: Any, **options: Any) -> Any:
        try:
            signature.bind(*arguments, **options)
        except TypeError as error:
            msg = f"cupy.{name}: {error}"
            raise TypeError(msg) from None
        if name in _MAKE and not isinstance(arguments[0], ndarray):
            return put(real, *arguments, **options)
        if name == "asarray" and options.get("dtype") in (None, arguments[0].dtype):
            return arguments[0]
        if name not in _VIEWS:
            TRAFFIC.launch()
        if name in _WAIT:
            TRAFFIC.to_host(8)
        options = {key: unwrapped(x) for key, x in options.items() if key != "blocking"}
        return wrapped(real(*map(unwrapped, arguments), **options))

    call.__name__ = name
    if name == "add":
        vars(call)["at"] = _add_at
    return call


def _add_at(a: ndarray, indices: ndarray, b: ndarray) -> None:
    """Add without an order, as atomics do; indices are not checked there."""
    TRAFFIC.launch()
    np.add.at(a.host, unwrapped(indices), unwrapped(b))


def empty(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    """An array in which nothing that is read by mistake looks like a number."""
    made = np.empty(shape, dtype, order)
    made.fill(np.nan if made.dtype.kind == "f" else np.iinfo(made.dtype).min // 2)
    return ndarray(made)


def put(real: Callable[..., Any], source: Any, *arguments: Any, **options: Any) -> ndarray:
    """Copy numbers of the host to the device; lists of device arrays are stacked there."""
    host = np.asarray(unwrapped(source) if isinstance(source, list | tuple) else source)
    if host.dtype.kind not in "biufc":
        msg = f"Unsupported dtype {host.dtype}"
        raise ValueError(msg)
    TRAFFIC.to_device(host.nbytes)
    options.pop("blocking", None)
    return ndarray(np.array(real(host, *arguments, **options)))
