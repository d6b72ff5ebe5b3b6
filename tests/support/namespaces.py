"""Array libraries under test: how to make an array there, and how to read one back without the
package's help.

The cruel ones find the bugs of a GPU without one: `NUMPY_READONLY` refuses in-place writes to its
input, `STRICT` refuses everything outside the array API standard, `FORBIDDING` refuses conversion
to NumPy, as CuPy does.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import array_api_strict
import numpy as np

from approxattn._arrays import Array, HostArray


@dataclass(frozen=True, kw_only=True)
class Library:
    """One array library, or one way of using it.

    Attributes
    ----------
    name : str
        Identifier of the test.
    put : callable
        Host array -> array of the library; never shares memory with its argument.
    get : callable
        Array of the library -> host array.
    device : object
        What `device_of` returns for every array that `put` makes.
    """

    name: str
    put: Callable[[HostArray], Array]
    get: Callable[[Array], HostArray]
    kind: type
    device: Any = "cpu"

    def __str__(self) -> str:
        return self.name

    def owns(self, array: Array) -> bool:
        """Tell whether `array` is of this library and lies where `put` puts things."""
        return isinstance(array, self.kind) and str(getattr(array, "device", "cpu")) == str(
            self.device
        )


def _read_only(host: HostArray) -> HostArray:
    copy = np.array(host)
    copy.flags.writeable = False
    return copy


_CPU, _FAR = array_api_strict.Device("CPU_DEVICE"), array_api_strict.Device("device1")
_STRICT_ARRAY = type(array_api_strict.asarray(0.0))


def _from_strict(array: Array) -> HostArray:
    return np.asarray(array.to_device(_CPU))


NUMPY = Library(name="numpy", put=np.array, get=np.asarray, kind=np.ndarray)
NUMPY_READONLY = Library(name="numpy-readonly", put=_read_only, get=np.asarray, kind=np.ndarray)
STRICT = Library(
    name="strict",
    put=lambda host: array_api_strict.asarray(np.array(host)),
    get=_from_strict,
    kind=_STRICT_ARRAY,
    device=_CPU,
)
FORBIDDING = Library(
    name="forbidding",
    put=lambda host: array_api_strict.asarray(np.array(host), device=_FAR),
    get=_from_strict,
    kind=_STRICT_ARRAY,
    device=_FAR,
)


def _installed() -> list[Library]:
    """Return the libraries that are not dependencies but happen to be here: PyTorch, JAX in 64
    bits, CuPy with a GPU.
    """
    found = []
    if importlib.util.find_spec("torch"):
        torch = importlib.import_module("torch")
        found.append(
            Library(
                name="torch",
                put=lambda host: torch.tensor(np.array(host)),
                get=lambda array: array.numpy(),
                kind=torch.Tensor,
            )
        )
    if importlib.util.find_spec("jax"):
        jax = importlib.import_module("jax")
        jax.config.update("jax_enable_x64", True)
        put = jax.numpy.array
        found.append(
            Library(
                name="jax", put=put, get=np.asarray, kind=jax.Array, device=str(put(0.0).device)
            )
        )
    if importlib.util.find_spec("cupy"):
        cupy = importlib.import_module("cupy")
        if cupy.is_available():
            found.append(
                Library(
                    name="cupy",
                    put=cupy.array,
                    get=cupy.asnumpy,
                    kind=cupy.ndarray,
                    device=str(cupy.zeros(1).device),
                )
            )
    return found


LIBRARIES = (NUMPY, NUMPY_READONLY, STRICT, FORBIDDING, *_installed())


# --- products whose factors are rounded first, as tensor cores do ---------------------------------


def rounded(host: HostArray, bits: int, *, cut: bool = False) -> HostArray:
    """Return float32 numbers with so many explicit bits, rounded to nearest or cut off."""
    if host.dtype != np.float32:
        return host
    dropped = np.uint32(23 - bits)
    half = np.uint32(0 if cut else 1 << (22 - bits))
    words = np.array(host).view(np.uint32) + half
    return np.asarray((words >> dropped << dropped).view(np.float32))


@contextlib.contextmanager
def rounded_products(bits: int, *, cut: bool = False) -> Iterator[None]:
    """Let `STRICT` and `FORBIDDING` round the factors of every float32 product; nobody is told."""

    def of(product: Callable[..., Array]) -> Callable[..., Array]:
        def inexact(a: Array, b: Array, /, **options: Any) -> Array:
            return product(*(_rounded_array(x, bits, cut) for x in (a, b)), **options)

        return inexact

    names = ("matmul", "vecdot", "tensordot")
    patches = [
        mock.patch.object(array_api_strict, n, of(getattr(array_api_strict, n))) for n in names
    ]
    operator = mock.patch.object(_STRICT_ARRAY, "__matmul__", of(_STRICT_ARRAY.__matmul__))
    with contextlib.ExitStack() as stack:
        for patch in (*patches, operator):
            stack.enter_context(patch)
        yield


def _rounded_array(x: Array, bits: int, cut: bool) -> Array:
    host = _from_strict(x)
    return array_api_strict.asarray(rounded(host, bits, cut=cut), device=x.device)
