"""Claims about the cost of our own code: multiplications in matrix products, and elementary functions, counted while it runs on counting arrays.

Every method is called through `approxattn.attention` and `attention_vjp`, certificate included, so nothing can hide. Counted are the multiplications of all
contractions (each has its addition) and the exponentials or arc cosines, which are the rest of the work worth counting. The code for other array libraries than NumPy is
what runs; on NumPy the polynomial sums have a path of their own with the same products. Sizes are written 100 n + 10 d + dv, n_q = n_k = n.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.counting import Tally
from proofs_check.experiment import Count, Identity, Symbolic
from proofs_check.theorem import Source, Theorem
from proofs_check.verdict import Status

Settings = Mapping[str, Any]

Formula = Callable[[Any, Any, Any, Settings], Any]
"""Of n, d, dv (whole numbers, or SymPy symbols) and the method's settings."""

_SIZES = (1623, 3223, 6423, 1643, 1625, 6443)


def _shape(size: int) -> tuple[int, int, int]:
    return size // 100, size // 10 % 10, size % 10


def _tally(settings: Settings, gradient: bool, size: int) -> Tally:
    """Run the method once on uniform inputs."""
    import approxattn

    n, d, dv = _shape(size)
    tally, rng = Tally(), np.random.default_rng(0)
    q, k, v, g = (tally.array(rng.uniform(-1, 1, (n, w))) for w in (d, d, dv, dv))
    options = dict(settings)
    method = getattr(approxattn, options.pop("name"))(**options)
    draws = np.random.default_rng(0) if method.randomised else None
    if gradient:
        approxattn.attention_vjp(q, k, v, g, method, rng=draws)
    else:
        approxattn.attention(q, k, v, method, rng=draws)
    return tally


def _products(settings: Settings, gradient: bool, size: int) -> int:
    return _tally(settings, gradient, size).products


def _functions(settings: Settings, gradient: bool, size: int) -> int:
    counts = _tally(settings, gradient, size).counts
    return counts["exp"] + counts["acos"]


def _at(formula: Formula, settings: Settings, off: int, size: int) -> int:
    return int(formula(*_shape(size), settings)) + off


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Products and elementary functions of one method, forward and gradient (the gradient with the forward pass that it repeats)."""

    name: str
    method: str
    settings: tuple[Settings, ...]
    text: str
    forward: Formula
    gradient: Formula
    functions: tuple[Formula, Formula]
    exponent: int
    remarks: tuple[str, ...] = ()

    def counts(self) -> Iterator[Count]:
        """The experiments: for each setting, forward and gradient, products and functions."""
        for own in self.settings:
            settings = {"name": self.method, **own}
            shown = ", ".join(f"{name} = {value}" for name, value in own.items()) or "default settings"
            for gradient, products, functions in (
                (False, self.forward, self.functions[0]), (True, self.gradient, self.functions[1]),
            ):  # fmt: skip
                what = f"{'gradient' if gradient else 'forward'}, {shown}"
                yield Count(
                    measured=functools.partial(_products, settings, gradient), formula=functools.partial(_at, products, settings, 0),
                    sizes=_SIZES, scope=f"{what}: multiplications in matrix products",
                )  # fmt: skip
                yield Count(
                    measured=functools.partial(_functions, settings, gradient), formula=functools.partial(_at, functions, settings, 0),
                    sizes=_SIZES, scope=f"{what}: exponentials and arc cosines",
                )  # fmt: skip

    def powers(self) -> Iterator[Identity]:
        """Exponent of n in products and functions, d and dv fixed."""
        import sympy

        n, d, dv = sympy.symbols("n d dv", positive=True)
        for label, formula in (("forward", self.forward), ("gradient", self.gradient)):
            yield Identity(sympy.degree(formula(n, d, dv, self.settings[0]), n), self.exponent, f"degree in n, {label}")

    def theorem(self) -> Theorem:
        """Entry of the catalogue."""
        return Theorem(
            key=f"code.cost-{self.name}",
            title=f"counted cost of {self.method}",
            statement=self.text,
            source=Source(citation="approxattn 0.1 (2026), a claim about its code", place=f"approxattn.{self.method}", fidelity="ours"),
            reading="one head, n_q = n_k = n, no mask; certificate included; each multiplication of a matrix product has its addition",
            experiments=(
                *self.counts(),
                Symbolic(identities=self.powers, scope=f"growth with n at fixed d, dv: exponent {self.exponent} of the formulas above"),
            ),
            expected=Status.PROVED,
            mutant=Count(
                measured=functools.partial(_products, {"name": self.method, **self.settings[0]}, False),
                formula=functools.partial(_at, self.forward, self.settings[0], 1), sizes=_SIZES[:1],
                scope="one multiplication more",
            ),
            remarks=("Sizes are 100 n + 10 d + dv.", *self.remarks),
        )  # fmt: skip


def _rank(d: Any, settings: Settings) -> Any:
    """C(d + g, g), as a polynomial in d."""
    product = 1
    for i in range(1, settings["degree"] + 1):
        product = product * (d + i)
    factorial = math.factorial(settings["degree"])
    return product // factorial if isinstance(d, int) else product / factorial


def _none(_n: Any, _d: Any, _dv: Any, _s: Settings) -> int:
    return 0


def _nystrom(n: Any, d: Any, dv: Any, s: Settings, c: tuple[int, int, int, int]) -> Any:
    k = s["landmarks"]
    return n * k * (c[0] * d + c[1] * dv) + c[2] * k**2 * (d + dv) + c[3] * s["iterations"] * k**3


def _hashing(n: Any, d: Any, s: Settings) -> Any:
    return 2 * n * d * s.get("bits", 2) * s.get("tables", 1)


COSTS = (
    Cost(
        name="exact", method="Exact", settings=({},), exponent=2,
        text="Exact: n² (d + dv) multiplications and n² exponentials forward, n² (4d + 3 dv) and 2n² for the gradient.",
        forward=lambda n, d, dv, _: n**2 * (d + dv), gradient=lambda n, d, dv, _: n**2 * (4 * d + 3 * dv),
        functions=(lambda n, _d, _dv, _: n**2, lambda n, _d, _dv, _: 2 * n**2),
    ),
    Cost(
        name="polynomial", method="Polynomial", settings=({"degree": 2, "basis": "taylor"},), exponent=1,
        text="Polynomial of degree g by features, r = C(d + g, g): 2 n r (dv + 1) multiplications forward, n r (8 (dv + 1) + 4) for the consistent gradient, no exponential.",
        forward=lambda n, d, dv, s: 2 * n * _rank(d, s) * (dv + 1), gradient=lambda n, d, dv, s: n * _rank(d, s) * (8 * (dv + 1) + 4),
        functions=(_none, _none), remarks=("Two columns of four passes belong to the certificate of dk and dv.",),
    ),
    Cost(
        name="linformer-gaussian", method="Linformer", settings=({"rank": 4}, {"rank": 7}), exponent=1,
        text="Linformer with a Gaussian sketch of rank k: 2 n k (d + dv) multiplications and n k exponentials forward, n k (6d + 5 dv) and 2 n k for the gradient.",
        forward=lambda n, d, dv, s: 2 * n * s["rank"] * (d + dv), gradient=lambda n, d, dv, s: n * s["rank"] * (6 * d + 5 * dv),
        functions=(lambda n, _d, _dv, s: n * s["rank"], lambda n, _d, _dv, s: 2 * n * s["rank"]),
    ),
    Cost(
        name="yoso-expectation", method="YosoExpectation", settings=({"bits": 4}, {"bits": 9}), exponent=2,
        text="YosoExpectation: n² (d + dv + 1) multiplications and n² arc cosines forward, n² (3d + 2 dv + 1) and n² for the gradient.",
        forward=lambda n, d, dv, _: n**2 * (d + dv + 1), gradient=lambda n, d, dv, _: n**2 * (3 * d + 2 * dv + 1),
        functions=(lambda n, _d, _dv, _: n**2, lambda n, _d, _dv, _: n**2), remarks=("The extra column is the sum of the weights that the certificate needs.",),
    ),
    Cost(
        name="bert-lsh", method="BertLSH", settings=({}, {"bits": 3, "tables": 2}), exponent=2,
        text=(
            "BertLSH, dense, K bits and L tables: n² (2d + dv) + 2 n d K L multiplications, n² exponentials and n² arc cosines forward; n² (3d + 2 dv) + 2 n d K L and n² "
            "exponentials for the gradient."
        ),
        forward=lambda n, d, dv, s: n**2 * (2 * d + dv) + _hashing(n, d, s), gradient=lambda n, d, dv, s: n**2 * (3 * d + 2 * dv) + _hashing(n, d, s),
        functions=(lambda n, _d, _dv, _: 2 * n**2, lambda n, _d, _dv, _: n**2), remarks=("Compare bert-lsh.flops: the hashing is the smallest part.",),
    ),
    Cost(
        name="nystrom", method="Nystrom", settings=({"landmarks": 4, "iterations": 6}, {"landmarks": 5, "iterations": 3}), exponent=1,
        text=(
            "Nystrom with k landmarks and t iterations: 2 n k (d + dv) + k² (d + dv) + 4 t k³ multiplications and 2 n k + k² exponentials forward; "
            "n k (9d + 7 dv) + 3 k² (d + dv) + 19 t k³ and 5 n k + k² for the gradient."
        ),
        forward=lambda n, d, dv, s: _nystrom(n, d, dv, s, (2, 2, 1, 4)), gradient=lambda n, d, dv, s: _nystrom(n, d, dv, s, (9, 7, 3, 19)),
        functions=(
            lambda n, _d, _dv, s: 2 * n * s["landmarks"] + s["landmarks"] ** 2, lambda n, _d, _dv, s: 5 * n * s["landmarks"] + s["landmarks"] ** 2,
        ),
    ),
    Cost(
        name="performer", method="Performer", settings=({"features": 8}, {"features": 11}), exponent=1,
        text="Performer with m features: 2 n m (d + dv + 1) multiplications and 2 n m exponentials forward, n m (8d + 7 dv + 6) and 6 n m for the gradient.",
        forward=lambda n, d, dv, s: 2 * n * s["features"] * (d + dv + 1), gradient=lambda n, d, dv, s: n * s["features"] * (8 * d + 7 * dv + 6),
        functions=(lambda n, _d, _dv, s: 2 * n * s["features"], lambda n, _d, _dv, s: 6 * n * s["features"]),
    ),
)  # fmt: skip

# --- the regime of the papers -----------------------------------------------------------------------------------------
# n r with r = C(d + g, g): linear in n at fixed d and g. With d = log2 n and g fixed, log(n r)/log n -> 1 still, since r <= (d + g)^g is a power of log n; at finite n the
# exponent is far above 1, which is what a stopwatch sees.


def _regime(power: int = 1) -> Iterator[Identity]:
    import sympy

    x = sympy.symbols("x", positive=True)  # log n, and d = x / log 2
    for g in (2, 4, 6):
        r = sympy.Integer(1)
        for i in range(1, g + 1):
            r *= (x / sympy.log(2) + i) / i
        yield Identity(sympy.limit((x + sympy.log(r)) / x, x, sympy.oo), power, f"exponent, d = log2 n, g = {g}")
    n = 2**20
    exact = n * math.comb(20 + 6, 6)
    yield Identity(int(exact > n**1.8), 1, "at n = 2^20, g = 6 the cost n r is above n^1.8")


def _regime_squared() -> Iterator[Identity]:
    return _regime(2)


REGIME = Theorem(
    key="code.cost-regime",
    title="the polynomial method along d = log n",
    statement="log(n r)/log n -> 1 for r = C(d + g, g), d = log₂ n and fixed g; yet at n = 2²⁰, g = 6, n r exceeds n^1.8.",
    source=Source(citation="approxattn 0.1 (2026), a claim about its code", place="approxattn.Polynomial in the regime of Alman & Song 2023", fidelity="ours"),
    reading="the products of code.cost-polynomial, up to factors that do not depend on n; the limit taken by SymPy",
    experiments=(Symbolic(identities=_regime, scope="g = 2, 4, 6 in the limit; n = 2²⁰ and g = 6 exactly"),),
    expected=Status.PROVED,
    mutant=Symbolic(identities=_regime_squared, scope="exponent 2"),
    uses=("code.cost-polynomial", "as23.low-rank"),
)  # fmt: skip

THEOREMS = (*(cost.theorem() for cost in COSTS), REGIME)
