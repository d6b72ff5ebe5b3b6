"""Exact operation counts: an array that prices every operation done on it and refuses any it has no
price for.

``tally.array(x)`` wraps a NumPy array. The wrapper is an array of the array API standard, so real
code runs on it unchanged, and `Tally.counts` says afterwards how many additions, multiplications,
exponentials ... were carried out. Prices:

* element-wise operations: one per element of the result, under their own name (``subtract`` counts
  as ``add``, ``square`` as ``multiply``, comparisons, maxima and ``isfinite`` as ``compare``,
  ``negative``, ``abs`` and ``sign`` as ``sign``);
* sorting a line of n: n ceil(log2 n) ``sort``, and looking m numbers up in n sorted ones: m
  ceil(log2(n + 1)) ``sort``; these are the comparisons of merge sort and of bisection at most, not
  what a library does, and no part of `Tally.flops`;
* ``solve`` of k equations with m right-hand sides: (k^3 - k)/3 + m k^2 ``multiply``, divisions
  among them, and (2 k^3 - 3 k^2 + k)/6 + m (k^2 - k) ``add``, those of Gaussian elimination;
* ``svd`` of (m, n): m n min(m, n) ``svd``, a unit of its own, since the iteration inside has no
  fixed length;
* ``matmul`` of (m, k) by (k, n): m k n ``multiply`` and m (k - 1) n ``add``; ``sum`` of k numbers:
  k - 1 ``add``;
* creating, copying, reshaping, transposing, indexing and converting: nothing;
* reading elements on the host: ``transfer``, one per element, which is no arithmetic and never part
  of `Tally.flops`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from proofs_check.arithmetic.counting_array import CountingArray, UnpricedOperation, bare

__all__ = ["CountingArray", "Tally", "UnpricedOperation"]

_ELEMENTWISE = {
    **dict.fromkeys(("add", "subtract"), "add"),
    **dict.fromkeys(("multiply", "square"), "multiply"),
    **dict.fromkeys(("divide", "floor_divide", "remainder", "reciprocal"), "divide"),
    **dict.fromkeys(("negative", "positive", "abs", "sign", "signbit", "copysign"), "sign"),
    **dict.fromkeys(
        (
            "maximum",
            "minimum",
            "equal",
            "not_equal",
            "less",
            "less_equal",
            "greater",
            "greater_equal",
        ),
        "compare",
    ),
    **dict.fromkeys(("isfinite", "isinf", "isnan"), "compare"),
    **dict.fromkeys(("floor", "ceil", "round", "trunc"), "round"),
    **dict.fromkeys(("logical_and", "logical_or", "logical_not", "logical_xor"), "logical"),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert"), "logical"),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift"), "logical"),
    **{
        name: name
        for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "pow", "hypot")
    },
    **{
        name: name
        for name in ("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh")
    },
    "where": "select",
}
_REDUCTIONS = {
    "sum": "add",
    "prod": "multiply",
    "max": "compare",
    "min": "compare",
    "argmax": "compare",
    "argmin": "compare",
    "all": "logical",
    "any": "logical",
    "count_nonzero": "add",
}
_FREE = (
    "asarray astype arange broadcast_to concat empty empty_like expand_dims eye finfo flip full "
    "full_like iinfo isdtype matrix_transpose meshgrid moveaxis ones ones_like permute_dims "
    "repeat reshape result_type roll squeeze stack take take_along_axis tile tril triu unstack "
    "zeros zeros_like"
)
_CONSTANTS = (
    "e pi inf nan newaxis bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 "
    "complex64 complex128"
)
_NOT_ARITHMETIC = frozenset({"compare", "logical", "select", "transfer", "sort", "svd"})


class Tally:
    """Counts operations on the arrays it wraps; also their array-API namespace.

    Attributes
    ----------
    counts : collections.Counter
        Number of operations by name.
    products : int
        The ``multiply`` among them that belong to products of matrices (``matmul``, ``tensordot``,
        ``solve``), each with its ``add`` but one a sum; dot products of rows with rows (``vecdot``)
        are not among them.
    """

    __name__ = "proofs_check.arithmetic.counting"

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.products = 0

    @property
    def flops(self) -> int:
        """All arithmetic: every count but comparisons, logic, selection, transfer, sorting and
        singular values.
        """
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
        msg = (
            f"operation {name!r} has no price: add one to proofs_check.arithmetic.counting, so "
            "that nothing goes uncounted"
        )
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
            result = getattr(np, name)(*(bare(a) for a in args))
            self.counts[_ELEMENTWISE[name]] += int(result.size)
            return self.wrap(result)

        return run

    def _reduction(self, name: str) -> Callable[..., Any]:
        def run(x: Any, /, **options: Any) -> Any:
            result = np.asarray(getattr(np, name)(bare(x), **options))
            self.counts[_REDUCTIONS[name]] += max(0, int(bare(x).size - result.size))
            return self.wrap(result)

        return run

    def _free(self, name: str) -> Callable[..., Any]:
        # There is one device.
        def run(*args: Any, device: Any = None, **options: Any) -> Any:
            del device
            return self.wrap(
                getattr(np, name)(
                    *(bare(a) for a in args), **{k: bare(a) for k, a in options.items()}
                )
            )

        return run

    def matmul(self, a: Any, b: Any, /) -> Any:
        """Matrix product."""
        result = np.asarray(np.matmul(bare(a), bare(b)))
        self._price_dots(int(result.size), int(a.shape[-1]))
        return self.wrap(result)

    def vecdot(self, a: Any, b: Any, /, *, axis: int = -1) -> Any:
        """Dot products along one axis."""
        result = np.asarray(np.sum(np.multiply(bare(a), bare(b)), axis=axis))
        self._price_dots(int(result.size), int(a.shape[axis]), product=False)
        return self.wrap(result)

    def tensordot(self, a: Any, b: Any, /, *, axes: Any = 2) -> Any:
        """Contraction over the given axes."""
        result = np.asarray(np.tensordot(bare(a), bare(b), axes=axes))
        over = a.shape[a.ndim - axes :] if isinstance(axes, int) else [a.shape[i] for i in axes[0]]
        self._price_dots(int(result.size), int(np.prod(over)))
        return self.wrap(result)

    def _price_dots(self, dots: int, length: int, *, product: bool = True) -> None:
        self.products += dots * length if product else 0
        self.counts["multiply"] += dots * length
        self.counts["add"] += dots * max(0, length - 1)

    def mean(self, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
        """Sum, then one division per result."""
        total = self._reduction("sum")(x, axis=axis, keepdims=keepdims)
        self.counts["divide"] += int(bare(total).size)
        return self.wrap(np.mean(bare(x), axis=axis, keepdims=keepdims))

    def cumulative_sum(self, x: Any, /, *, axis: int | None = None) -> Any:
        """Prefix sums: one addition for each element but the first of a line."""
        values = bare(x)
        axis = 0 if axis is None and values.ndim == 1 else axis
        length = int(values.shape[axis]) if axis is not None else 0
        self.counts["add"] += int(values.size) - int(values.size) // max(1, length)
        return self.wrap(np.cumulative_sum(values, axis=axis))

    def argsort(self, x: Any, /, *, axis: int = -1, **options: Any) -> Any:
        """Order of each line: comparisons of merge sort."""
        self._price_sort(x, axis)
        return self.wrap(np.argsort(bare(x), axis=axis, stable=options.get("stable", True)))

    def sort(self, x: Any, /, *, axis: int = -1, **options: Any) -> Any:
        """Sorted lines: comparisons of merge sort."""
        self._price_sort(x, axis)
        return self.wrap(np.sort(bare(x), axis=axis, stable=options.get("stable", True)))

    def _price_sort(self, x: Any, axis: int) -> None:
        self.counts["sort"] += int(x.size) * _bits(int(x.shape[axis]) - 1)

    def searchsorted(self, x1: Any, x2: Any, /, *, side: Literal["left", "right"] = "left") -> Any:
        """Places of x2 in the sorted x1: comparisons of bisection."""
        self.counts["sort"] += int(x2.size) * _bits(int(x1.shape[0]))
        return self.wrap(np.searchsorted(bare(x1), bare(x2), side=side))

    def solve(self, a: Any, b: Any, /) -> Any:
        """Linear equations, by Gaussian elimination; the right-hand sides are the columns of b."""
        k, columns = int(a.shape[-1]), int(b.shape[-1])
        systems = int(a.size) // k**2
        products = systems * ((k**3 - k) // 3 + columns * k**2)
        self.products += products
        self.counts["multiply"] += products
        self.counts["add"] += systems * ((2 * k**3 - 3 * k**2 + k) // 6 + columns * (k**2 - k))
        return self.wrap(np.linalg.solve(bare(a), bare(b)))

    def svd(self, x: Any, /, *, full_matrices: bool = True) -> Any:
        """Singular value decomposition, in a unit of its own."""
        self.counts["svd"] += int(x.size) * min(int(x.shape[-1]), int(x.shape[-2]))
        return tuple(
            self.wrap(part) for part in np.linalg.svd(bare(x), full_matrices=full_matrices)
        )

    def clip(self, x: Any, /, low: Any = None, high: Any = None) -> Any:
        """One comparison per element and side."""
        result = np.clip(bare(x), bare(low), bare(high))
        self.counts["compare"] += int(result.size) * ((low is not None) + (high is not None))
        return self.wrap(result)


def _bits(n: int) -> int:
    """ceil(log2(n + 1)): 0, 1, 2, 2, 3 ..."""
    return max(0, n).bit_length()
