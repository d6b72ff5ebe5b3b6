"""Exact operation counts: an array that prices every operation done on it and refuses any it has no price for.

``tally.array(x)`` wraps a NumPy array. The wrapper is an array of the array API standard, so real code runs on it unchanged, and
`Tally.counts` says afterwards how many additions, multiplications, exponentials ... were carried out. Prices:

* element-wise operations: one per element of the result, under their own name (``subtract`` counts as ``add``, ``square`` as
  ``multiply``, comparisons, maxima and ``isfinite`` as ``compare``, ``negative``, ``abs`` and ``sign`` as ``sign``);
* ``matmul`` of (m, k) by (k, n): m k n ``multiply`` and m (k - 1) n ``add``; ``sum`` of k numbers: k - 1 ``add``;
* creating, copying, reshaping, transposing, indexing and converting: nothing;
* reading elements on the host: ``transfer``, one per element, which is no arithmetic and never part of `Tally.flops`.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["CountingArray", "Tally", "UnpricedOperation"]

_ELEMENTWISE = {
    **dict.fromkeys(("add", "subtract"), "add"),
    **dict.fromkeys(("multiply", "square"), "multiply"),
    **dict.fromkeys(("divide", "floor_divide", "remainder", "reciprocal"), "divide"),
    **dict.fromkeys(("negative", "positive", "abs", "sign", "signbit", "copysign"), "sign"),
    **dict.fromkeys(
        ("maximum", "minimum", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), "compare"
    ),
    **dict.fromkeys(("isfinite", "isinf", "isnan"), "compare"),
    **dict.fromkeys(("floor", "ceil", "round", "trunc"), "round"),
    **dict.fromkeys(("logical_and", "logical_or", "logical_not", "logical_xor"), "logical"),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert"), "logical"),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift"), "logical"),
    **{name: name for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "pow", "hypot")},
    **{name: name for name in ("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh")},
    "where": "select",
}
_REDUCTIONS = {
    "sum": "add", "prod": "multiply", "max": "compare", "min": "compare", "argmax": "compare", "argmin": "compare",
    "all": "logical", "any": "logical", "count_nonzero": "add",
}  # fmt: skip
_FREE = (
    "asarray astype arange broadcast_to concat empty empty_like expand_dims eye finfo flip full full_like iinfo isdtype "
    "matrix_transpose meshgrid moveaxis ones ones_like permute_dims repeat reshape result_type roll squeeze stack take "
    "take_along_axis tile tril triu unstack zeros zeros_like"
)
_CONSTANTS = (
    "e pi inf nan newaxis bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128"
)
_NOT_ARITHMETIC = frozenset({"compare", "logical", "select", "transfer"})


class UnpricedOperation(AttributeError):
    """An operation without a price was asked for: its cost would be missing from the count."""


class Tally:
    """Counts operations on the arrays it wraps; also their array-API namespace.

    Attributes
    ----------
    counts : collections.Counter
        Number of operations by name.
    products : int
        The ``multiply`` among them that belong to matrix products and other contractions, each with its ``add`` but one a sum.
    """

    __name__ = "proofs_check.counting"

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.products = 0

    @property
    def flops(self) -> int:
        """All arithmetic: every count but comparisons, logic, selection and transfer."""
        return sum(n for name, n in self.counts.items() if name not in _NOT_ARITHMETIC)

    @property
    def linalg(self) -> Tally:
        """The linear-algebra extension, as far as it is priced."""
        return self

    def array(self, values: Any) -> CountingArray:
        """Wrap values, shape unchanged; nothing is counted for it."""
        return CountingArray(np.asarray(values), self)

    def __getattr__(self, name: str) -> Any:
        if name in _CONSTANTS.split():
            return getattr(np, name)
        for table, build in (
            (_ELEMENTWISE, self._elementwise),
            (_REDUCTIONS, self._reduction),
            (_FREE.split(), self._free),
        ):
            if name in table:
                return build(name)
        msg = f"operation {name!r} has no price: add one to proofs_check.counting, so that nothing goes uncounted"
        raise UnpricedOperation(msg)

    def wrap(self, result: Any) -> Any:
        """Wrap NumPy results (arrays, scalars, sequences of arrays); pass anything else through."""
        if isinstance(result, np.ndarray | np.generic):
            return CountingArray(np.asarray(result), self)
        if isinstance(result, list | tuple):
            return type(result)(self.wrap(x) for x in result)
        return result

    def _elementwise(self, name: str) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            result = getattr(np, name)(*(_bare(a) for a in args))
            self.counts[_ELEMENTWISE[name]] += int(result.size)
            return self.wrap(result)

        return run

    def _reduction(self, name: str) -> Callable[..., Any]:
        def run(x: Any, /, **options: Any) -> Any:
            result = np.asarray(getattr(np, name)(_bare(x), **options))
            self.counts[_REDUCTIONS[name]] += max(0, int(_bare(x).size - result.size))
            return self.wrap(result)

        return run

    def _free(self, name: str) -> Callable[..., Any]:
        def run(*args: Any, device: Any = None, **options: Any) -> Any:  # noqa: ARG001 - there is one device
            return self.wrap(getattr(np, name)(*(_bare(a) for a in args), **{k: _bare(a) for k, a in options.items()}))

        return run

    def matmul(self, a: Any, b: Any, /) -> Any:
        """Matrix product."""
        result = np.asarray(np.matmul(_bare(a), _bare(b)))
        self._price_dots(int(result.size), int(a.shape[-1]))
        return self.wrap(result)

    def vecdot(self, a: Any, b: Any, /, *, axis: int = -1) -> Any:
        """Dot products along one axis."""
        result = np.asarray(np.sum(np.multiply(_bare(a), _bare(b)), axis=axis))
        self._price_dots(int(result.size), int(a.shape[axis]))
        return self.wrap(result)

    def tensordot(self, a: Any, b: Any, /, *, axes: Any = 2) -> Any:
        """Contraction over the given axes."""
        result = np.asarray(np.tensordot(_bare(a), _bare(b), axes=axes))
        over = a.shape[a.ndim - axes :] if isinstance(axes, int) else [a.shape[i] for i in axes[0]]
        self._price_dots(int(result.size), int(np.prod(over)))
        return self.wrap(result)

    def _price_dots(self, dots: int, length: int) -> None:
        self.products += dots * length
        self.counts["multiply"] += dots * length
        self.counts["add"] += dots * max(0, length - 1)

    def mean(self, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
        """Sum, then one division per result."""
        total = self._reduction("sum")(x, axis=axis, keepdims=keepdims)
        self.counts["divide"] += int(_bare(total).size)
        return self.wrap(np.mean(_bare(x), axis=axis, keepdims=keepdims))

    def vector_norm(self, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
        """Euclidean norm: squares, their sum, one square root per result."""
        squares = self._elementwise("square")(x)
        return self._elementwise("sqrt")(self._reduction("sum")(squares, axis=axis, keepdims=keepdims))

    def cumulative_sum(self, x: Any, /, *, axis: int | None = None) -> Any:
        """Prefix sums: one addition for each element but the first of a line."""
        bare = _bare(x)
        axis = 0 if axis is None and bare.ndim == 1 else axis
        length = int(bare.shape[axis]) if axis is not None else 0
        self.counts["add"] += int(bare.size) - int(bare.size) // max(1, length)
        return self.wrap(np.cumulative_sum(bare, axis=axis))

    def clip(self, x: Any, /, low: Any = None, high: Any = None) -> Any:
        """One comparison per element and side."""
        result = np.clip(_bare(x), _bare(low), _bare(high))
        self.counts["compare"] += int(result.size) * ((low is not None) + (high is not None))
        return self.wrap(result)


def _bare(x: Any) -> Any:
    if isinstance(x, CountingArray):
        return x.data
    if isinstance(x, list | tuple):
        return type(x)(_bare(item) for item in x)
    return x


class CountingArray:
    """A NumPy array whose operations are counted by the `Tally` that made it; see `Tally.array`."""

    __array_priority__ = 1000.0
    __array_ufunc__ = None  # NumPy must not compute behind the tally's back
    __hash__ = None  # type: ignore[assignment]  # as every array: == is element-wise

    def __init__(self, data: np.ndarray[Any, Any], tally: Tally) -> None:
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

    def to_device(self, device: Any, /, *, stream: Any = None) -> CountingArray:  # noqa: ARG002 - there is one device
        """Return the array itself."""
        return self

    def __array_namespace__(self, *, api_version: str | None = None) -> Tally:
        return self.tally

    def __getitem__(self, index: Any) -> CountingArray:
        return CountingArray(np.asarray(self.data[_bare(index)]), self.tally)

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
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide", "mod": "remainder",
    "pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip
_COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}  # fmt: skip
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
