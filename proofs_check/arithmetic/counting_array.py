"""The array that `counting.Tally` hands out: NumPy inside, every operation passed on to
the tally.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np


class UnpricedOperation(AttributeError):
    """An operation without a price was asked for: its cost would be missing from the count."""


def bare(x: Any) -> Any:
    """NumPy array of a counting array, also inside lists and tuples; anything else as it is."""
    if isinstance(x, CountingArray):
        return x.data
    if isinstance(x, list | tuple):
        return type(x)(bare(item) for item in x)
    return x


class CountingArray:
    """A NumPy array whose operations are counted by the `counting.Tally` that made it; see
    `Tally.array`.
    """

    __array_priority__ = 1000.0
    __array_ufunc__ = None  # NumPy must not compute behind the tally's back
    __hash__ = None  # type: ignore[assignment]  # as every array: == is element-wise

    def __init__(self, data: np.ndarray[Any, Any], tally: Any) -> None:
        self.data = data
        self.tally = tally

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self.data.size)

    @property
    def dtype(self) -> Any:
        """NumPy dtype."""
        return self.data.dtype

    @property
    def device(self) -> str:
        """There is one device."""
        return "cpu"

    @property
    def T(self) -> CountingArray:
        """Transpose of a matrix."""
        return CountingArray(self.data.T, self.tally)

    @property
    def mT(self) -> CountingArray:
        """Transpose of the last two axes."""
        return CountingArray(self.data.mT, self.tally)

    # There is one device.
    def to_device(self, device: Any, /, *, stream: Any = None) -> CountingArray:
        """Return the array itself."""
        del device, stream
        return self

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return self.tally

    def __getitem__(self, index: Any) -> CountingArray:
        return CountingArray(np.asarray(self.data[bare(index)]), self.tally)

    def __setitem__(self, index: Any, value: Any) -> None:
        msg = "in-place writes have no price: build the result with concat, stack or where"
        raise UnpricedOperation(msg)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        self.tally.counts["transfer"] += self.size
        return np.array(self.data, dtype=dtype, copy=copy)

    def _scalar(self) -> Any:
        self.tally.counts["transfer"] += 1
        return self.data.item()

    def __bool__(self) -> bool:
        return bool(self._scalar())

    def __float__(self) -> float:
        return float(self._scalar())

    def __int__(self) -> int:
        return int(self._scalar())

    def __index__(self) -> int:
        return operator.index(self._scalar())

    def __len__(self) -> int:
        return len(self.data)


_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "pow",
    "matmul": "matmul",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}
_COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
_UNARY = {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}


def _operator(name: str, *, reflected: bool = False) -> Callable[..., Any]:
    def run(self: CountingArray, *others: Any) -> Any:
        args = (*others, self) if reflected else (self, *others)
        return getattr(self.tally, name)(*args)

    return run


for _dunder, _name in {**_OPERATORS, **_COMPARISONS, **_UNARY}.items():
    setattr(CountingArray, f"__{_dunder}__", _operator(_name))
for _dunder, _name in _OPERATORS.items():
    setattr(CountingArray, f"__r{_dunder}__", _operator(_name, reflected=True))
