"""What is measured, the most valuable first: a run that is cut short keeps what matters most.

An item is a name and its arguments; an item starts only while twice its seconds are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

HEADS = 8
SHAPES = (64, 2), (16, 4), (32, 2)
"""d and degree of the polynomials."""

METHODS = {
    "yoso": {"hashes": 32, "bits": 8},
    "linformer": {"rank": 256},
    "performer": {"features": 128},
    "nystrom": {"landmarks": 64},
    "exact": {},
}
"""The others, at d = 64."""


@dataclass(frozen=True)
class Item:
    """One thing to measure, with the seconds it may take."""

    name: str
    seconds: float
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes
    ----------
    shapes : tuple of (d, degree)
        Of the polynomials.
    table : int
        n of the table.
    growth : tuple of int
        n of the exponents, the most telling first.
    checked : int
        n of comparisons with float64.
    exact : int
        The largest n of exact attention.
    side : int
        Of the square matrices of the ceilings.
    """

    shapes: tuple[tuple[int, int], ...]
    table: int
    growth: tuple[int, ...]
    checked: int
    exact: int
    side: int


FULL = Sizes(
    shapes=SHAPES,
    table=2**20,
    growth=tuple(2**e for e in (18, 16, 14, 12, 10, 17, 19, 21, 22)),
    checked=4096,
    exact=2**16,
    side=8192,
)
DRY = Sizes(
    shapes=((3, 2), (2, 4)), table=128, growth=(32, 48, 64, 96), checked=64, exact=64, side=64
)
"""Everything, so small that a CPU does it in seconds."""


def items(sizes: Sizes) -> Iterator[Item]:
    """Yield all items in order."""
    yield from _ground(sizes)
    yield from _table(sizes)
    yield from _growth(sizes)
    yield from _others(sizes)


def _ground(sizes: Sizes) -> Iterator[Item]:
    """Yield the ceilings of the device, and whether our numbers are right on it."""
    for what in ("copy", "float32", "tf32", "bfloat16", "float64"):
        yield Item("ceiling", 4, {"what": what, "side": sizes.side})
    for d, g in sizes.shapes:
        arguments = {"method": "polynomial", "d": d, "degree": g, "n": sizes.checked}
        for dtype in ("float32", "float64"):
            yield Item("accuracy", 5, {**arguments, "dtype": dtype})
        for more in ({"kernels": "scalar"}, {"tf32": True}):
            yield Item("accuracy", 5, {**arguments, "dtype": "float32", **more})
    yield Item("accuracy", 8, {"method": "yoso", "d": 64, "n": sizes.checked, "dtype": "float32"})


def _table(sizes: Sizes) -> Iterator[Item]:
    for d, g in sizes.shapes:
        # three products on tensor cores, one product of the library, one on tensor cores
        for more in ({}, {"kernels": "scalar"}, {"tf32": True}):
            yield Item("sums", 6, {"d": d, "degree": g, "n": sizes.table, **more})
    for d, g in sizes.shapes:
        yield _call("polynomial", 12, d=d, degree=g, n=sizes.table)
        yield _call("taylor", 6, d=d, degree=g, n=sizes.table, certify=False)
    for n in (sizes.checked, sizes.exact, 4 * sizes.exact):
        for dtype in ("bfloat16", "float32"):
            yield Item("sdpa", 8, {"d": 64, "n": n, "dtype": dtype})
    d, g = sizes.shapes[0]
    # what the kernels gain: the same sums through the array library alone
    yield Item("sums", 12, {"d": d, "degree": g, "n": sizes.exact, "kernels": "off"})
    yield Item("sums", 6, {"d": d, "degree": g, "n": sizes.exact})


def _growth(sizes: Sizes) -> Iterator[Item]:
    for n in sizes.growth:
        for d, g in sizes.shapes:
            yield Item("sums", 5, {"d": d, "degree": g, "n": n})
            yield _call("polynomial", 6, d=d, degree=g, n=n)
            yield _call("taylor", 4, d=d, degree=g, n=n, certify=False)
    for n in (*sizes.growth[:5], sizes.table):
        for d, g in sizes.shapes:
            yield _call("polynomial", 9, d=d, degree=g, n=n, gradient=True)


def _others(sizes: Sizes) -> Iterator[Item]:
    for n in (sizes.table, *sizes.growth[:5]):
        for method in METHODS:
            if method != "exact" or n <= sizes.exact:
                yield _call(method, 8, d=64, n=n)
    for n in (sizes.table, *sizes.growth[:4]):
        d, g = sizes.shapes[0]
        yield _call("polynomial", 9, d=d, degree=g, n=n, causal=True)


def _call(method: str, seconds: float, **arguments: Any) -> Item:
    return Item("call", seconds, {"method": method, **arguments})
