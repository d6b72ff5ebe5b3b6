"""Claims about the cost of our own code as data: what is counted, and formulas that it must equal.

Counted is what happens while the code runs on counting arrays. Every method is called through
`approxattn.attention` and `attention_vjp`, certificate included, so nothing can hide:

- the multiplications of matrix products (each has its addition);
- the elementary functions: exponentials, logarithms, arc cosines;
- the comparisons of sorting and looking up, at the prices of `counting`.

The code for other array libraries than NumPy is what runs; on NumPy some sums have a path of their
own with the same products.

Sizes are written 100 n + 10 d + dv, n_q = n_k = n.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from proofs_check.arithmetic.counting import Tally
from proofs_check.papers.shared.source import our_code
from proofs_check.statements.experiment import Count, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

Settings = Mapping[str, Any]

Formula = Callable[[Any, Any, Any, Settings], Any]
"""Of n, d, dv (whole numbers, or SymPy symbols) and the method's settings."""

Run = Callable[[Settings, bool, int], Tally]
"""Of the settings (with the name of the method), whether the gradient is taken, and the size."""

SIZES = (1623, 3223, 6423, 1643, 1625, 6443)


def moments(degree: int) -> int:
    """Return how many moments of the scores a certificate takes in Taylor's basis of even degree:
    those of degree 2, g - 2 and g, and 1 to 4 for g = 4, each by one more product of features.
    """
    return {0: 0, 2: 1, 4: 4}.get(degree, 3)


def shape(size: int) -> tuple[int, int, int]:
    """Return n, d, dv of a size."""
    return size // 100, size // 10 % 10, size % 10


def bits(n: int) -> int:
    """Return ceil(log2(n + 1)): comparisons that finding a place among n sorted numbers takes;
    bits(n - 1) times n are those of sorting n.
    """
    return n.bit_length()


def wide(n: Any) -> Any:
    """Return the power of two from n on; 2 n, which it does not reach, for a symbol."""
    return 2 ** bits(n - 1) if isinstance(n, int) else 2 * n


def none(_n: Any, _d: Any, _dv: Any, _s: Settings) -> int:
    """Return 0."""
    return 0


def rank(d: Any, degree: int) -> Any:
    """Return C(d + g, g), as a polynomial in d for a symbol."""
    product = math.prod(d + i for i in range(1, degree + 1))
    return (
        product // math.factorial(degree)
        if isinstance(d, int)
        else product / math.factorial(degree)
    )


def on_uniform_tokens(settings: Settings, gradient: bool, size: int) -> Tally:
    """Run the method once on tokens that are uniform in a cube; with ``parallel`` among the
    settings, on queries and keys that are all equal.
    """
    n, d, dv = shape(size)
    tally, rng = Tally(), np.random.default_rng(0)
    q, k, v, g = (tally.array(rng.uniform(-1, 1, (n, w))) for w in (d, d, dv, dv))
    if settings.get("parallel"):
        q = k = tally.array(np.ones((n, d)))
    return attend(tally, (q, k, v), g if gradient else None, settings)


def attend(tally: Tally, tokens: tuple[Any, Any, Any], dout: Any, settings: Settings) -> Tally:
    """Call the method that the settings name, its gradient when there is a cotangent."""
    import approxattn

    options = {name: value for name, value in settings.items() if name not in ("name", "parallel")}
    method = getattr(approxattn, settings["name"])(**options)
    draws = np.random.default_rng(0) if method.randomised else None
    result: Any
    if dout is None:
        result = approxattn.attention(*tokens, method, rng=draws)
    else:
        result = approxattn.attention_vjp(*tokens, dout, method, rng=draws)
    _ = result.certificate.failure  # a certificate is computed when it is first read
    return tally


Items: TypeAlias = tuple[tuple[str, Any], ...]

_NAMES = {
    "functions": ("exp", "expm1", "log", "log1p", "acos"),
    "sorting": ("sort",),
    "singular values": ("svd",),
}


@functools.lru_cache(maxsize=256)
def _tally(run: Run, settings: Items, gradient: bool, size: int) -> Tally:
    return run(dict(settings), gradient, size)


_OF_SETTING = 10**6
"""Sizes of the i-th setting are counted up from i times this, so that one experiment goes through
all settings.
"""


def _measured(what: str, run: Run, settings: tuple[Items, ...], gradient: bool, code: int) -> int:
    tally = _tally(run, settings[code // _OF_SETTING], gradient, code % _OF_SETTING)
    return (
        tally.products if what == "products" else sum(tally.counts[name] for name in _NAMES[what])
    )


def _at(formula: Formula, settings: tuple[Items, ...], off: int, code: int) -> int:
    return int(formula(*shape(code % _OF_SETTING), dict(settings[code // _OF_SETTING]))) + off


@dataclass(frozen=True, kw_only=True)
class Work:
    """Formulas of one pass; `at_most` names those that bound a count that depends on the data."""

    products: Formula
    functions: Formula = none
    sorting: Formula = none
    values: Formula = none
    exponent: int = 1
    at_most: tuple[str, ...] = ()

    def formulas(self) -> Mapping[str, Formula]:
        """What is counted, by name."""
        return {
            "products": self.products,
            "functions": self.functions,
            "sorting": self.sorting,
            "singular values": self.values,
        }


_SCOPES = {
    "products": "multiplications in matrix products",
    "functions": "exponentials, logarithms and arc cosines",
    "sorting": "comparisons of sorting and looking up",
    "singular values": "decompositions into singular values, m n min(m, n) each",
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one method, forward and, where it has one, gradient (with the forward pass that it
    repeats).
    """

    name: str
    method: str
    settings: tuple[Settings, ...]
    statement: str
    forward: Work
    gradient: Work | None
    sizes: tuple[int, ...] = SIZES
    run: Run = on_uniform_tokens
    place: str = ""
    uses: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def passes(self) -> list[tuple[str, Work]]:
        """Forward, and the gradient if there is one."""
        return [
            ("forward", self.forward),
            *([("gradient", self.gradient)] if self.gradient else []),
        ]

    def count(self, what: str, label: str, work: Work, off: int = 0) -> Count:
        """One experiment over all settings and sizes; `off` falsifies it at one of them, which a
        bound attains if it is the last size.
        """
        own = tuple(tuple({"name": self.method, **settings}.items()) for settings in self.settings)
        codes = tuple(i * _OF_SETTING + size for i in range(len(own)) for size in self.sizes)
        return Count(
            measured=functools.partial(_measured, what, self.run, own, label == "gradient"),
            formula=functools.partial(_at, work.formulas()[what], own, off),
            sizes=codes if not off else (self.sizes[0 if off > 0 else -1],),
            covers="statement",
            scope=f"{label}, {self.shown()}: {_SCOPES[what]}",
            relation="<=" if what in work.at_most else "=",
        )

    def shown(self) -> str:
        """The settings in words."""
        each = [
            ", ".join(f"{name} = {value}" for name, value in own.items()) for own in self.settings
        ]
        return "; ".join(text or "default settings" for text in each)

    def counts(self) -> Iterator[Count]:
        """The experiments: for each pass, everything counted."""
        for label, work in self.passes():
            yield from (self.count(what, label, work) for what in _SCOPES)

    def powers(self) -> Iterator[Identity]:
        """Exponent of n in products and functions together, d and dv fixed."""
        import sympy

        n, d, dv = sympy.symbols("n d dv", positive=True)
        own = {"name": self.method, **self.settings[0]}
        for label, work in self.passes():
            total = work.products(n, d, dv, own) + work.functions(n, d, dv, own)
            yield Identity(sympy.degree(total, n), work.exponent, f"degree in n, {label}")

    def theorem(self) -> Theorem:
        """Entry of the catalogue."""
        exponents = ", ".join(f"{label} {work.exponent}" for label, work in self.passes())
        less = "products" in self.forward.at_most
        return Theorem(
            key=f"code.cost-{self.name}",
            title=f"counted cost of {self.method}"
            + ("" if self.name == self.method.lower() else f" ({self.name})"),
            statement=self.statement,
            source=our_code(self.place or f"approxattn.{self.method}"),
            reading=(
                "one head, n_q = n_k = n, no mask; certificate included; each multiplication of a "
                "matrix product has its addition"
            ),
            experiments=(
                *self.counts(),
                Symbolic(
                    identities=self.powers,
                    covers="statement",
                    scope=f"growth of the formulas with n at fixed d, dv; exponents: {exponents}",
                ),
            ),
            expected=Status.PROVED,
            mutant=self.count("products", "forward", self.forward, off=-1 if less else 1),
            uses=self.uses,
            remarks=(
                (
                    "Sizes are 100 n + 10 d + dv, a million more for each setting after the first. "
                    f"The mutant claims one multiplication {'less' if less else 'more'}."
                ),
                *self.remarks,
            ),
        )
