"""Counted cost of exact attention and of polynomials, and its exponent in the papers' regimes.

What is counted: `counted`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from proofs_check.papers.our_code.counted import Cost, Settings, Work, moments, rank
from proofs_check.papers.shared.source import our_code
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_ODD_AND_EVEN: tuple[Settings, ...] = (
    *({"degree": g, "basis": "taylor"} for g in (2, 4, 6)),
    *({"degree": g, "basis": "minimax"} for g in (0, 1, 3, 5)),
    {"degree": 5, "basis": "chebyshev"},
    {"degree": 5},
)
_LONG = (32023, 64023, 32033, 32025)


def _moments(s: Settings) -> int:
    """How many moments the certificate takes: none but in Taylor's basis of even degree."""
    even = s.get("basis") == "taylor" and s["degree"] % 2 == 0
    return moments(s["degree"]) if even else 0


def _way_back(d: Any, dv: Any, degree: int) -> Any:
    """Return the products with the turned states of degree g - 1, for dq and for dk."""
    return 2 * d * rank(d, degree - 1) * (dv + 1) if degree else 0


def _consistent(n: Any, d: Any, dv: Any, s: Settings) -> Any:
    """Return the products of the consistent gradient; a constant has no way back."""
    g = s["degree"]
    passes = (6 if g else 4) * (dv + 1) + 4 + _moments(s)
    return n * (rank(d, g) * passes + _way_back(d, dv, g) + 4 * d**2)


def _fitted(passes: int, n: Any, d: Any, dv: Any, own: Settings) -> Any:
    """Products with features, of the fitted rows with all keys, of the keys' weights, and of the
    certificate: the moments of every row, bounds and mean squares of the scores.
    """
    r, g = rank(d, own["degree"]), own["degree"]
    back = _way_back(d, dv, g) if passes > 2 else 0
    fitted = own["rows"] * (2 * d + dv * (g + 2))
    summed = g - 1 if g in (2, 3) else g  # one follows from the denominator
    return n * (passes * r * (dv + 1) + back + fitted + d + summed * r + 6 * d**2)


COSTS = (
    Cost(
        name="exact",
        method="Exact",
        settings=({},),
        statement=(
            "Exact: n² (d + dv) multiplications and n² exponentials forward, n² (4d + 3 dv) and "
            "2n² for the gradient."
        ),
        forward=Work(
            products=lambda n, d, dv, _: n**2 * (d + dv),
            functions=lambda n, _d, _dv, _: n**2,
            exponent=2,
        ),
        gradient=Work(
            products=lambda n, d, dv, _: n**2 * (4 * d + 3 * dv),
            functions=lambda n, _d, _dv, _: 2 * n**2,
            exponent=2,
        ),
    ),
    Cost(
        name="polynomial",
        method="Polynomial",
        settings=_ODD_AND_EVEN,
        sizes=_LONG,
        statement=(
            "Polynomial of degree g by features, r = C(d + g, g): n r (2 (dv + 1) + e) + 4 n d² "
            "multiplications forward, n r (6 (dv + 1) + 4 + e) + 2 n d s (dv + 1) + 4 n d² for "
            "the consistent gradient with s = C(d + g - 1, g - 1) and g >= 1, no exponential. Of "
            "the certificate are e: 0, but with Taylor's basis 1 for g = 2, 4 for g = 4 and 3 for "
            "even g >= 6."
        ),
        forward=Work(
            products=lambda n, d, dv, s: (
                n * (rank(d, s["degree"]) * (2 * (dv + 1) + _moments(s)) + 4 * d**2)
            )
        ),
        gradient=Work(products=_consistent),
        remarks=(
            (
                "4 n d² is for balanced coordinates, in which queries and keys are centred "
                "and bounded; where the mean query is long, the weights of the keys take n d more. "
                "Two columns of four passes belong to the certificate of dk and dv."
            ),
            (
                "The degree decides r and nothing else; a feature is made by one multiplication "
                "more, n r a side, which is no matrix product."
            ),
        ),
    ),
    Cost(
        name="polynomial-plug-in",
        method="Polynomial",
        sizes=_LONG,
        settings=tuple({"degree": g, "basis": "taylor", "gradient": "plug-in"} for g in (2, 4)),
        statement=(
            "Polynomial of degree g, plug-in gradient by features of degree g and g + 1: n (r_g "
            "(4 (dv + 1) + 2 + e + 2 d (dv + 1)) + 2 r_{g+1} (dv + 1) + 4d²) multiplications, e as "
            "for code.cost-polynomial."
        ),
        forward=Work(
            products=lambda n, d, dv, s: (
                n * (rank(d, s["degree"]) * (2 * (dv + 1) + _moments(s)) + 4 * d**2)
            )
        ),
        gradient=Work(
            products=lambda n, d, dv, s: (
                n
                * (
                    rank(d, s["degree"]) * (4 * dv + 6 + _moments(s))
                    + 2 * rank(d, s["degree"] + 1) * (dv + 1)
                    + _way_back(d, dv, s["degree"] + 1)
                    + 4 * d**2
                )
            )
        ),
        uses=("ours.degree-raising",),
    ),
    Cost(
        name="polynomial-scores",
        method="Polynomial",
        settings=tuple({"degree": g, "basis": "taylor"} for g in (8, 12)),
        sizes=(1634, 2434, 3244),
        statement=(
            "Polynomial where features would cost more, by the scores themselves: at most n² (d + "
            "dv + 4) + n (4d² + d) multiplications forward, whatever the degree, and n "
            "exponentials: n d and these where queries are centred. Three of the columns are "
            "moments of the scores, for the certificate."
        ),
        forward=Work(
            products=lambda n, d, dv, _: n**2 * (d + dv + 4) + n * (4 * d**2 + d),
            functions=lambda n, _d, _dv, _: n,
            exponent=2,
            at_most=("products", "functions"),
        ),
        gradient=None,
    ),
    Cost(
        name="fitted-polynomial",
        method="FittedPolynomial",
        settings=({"degree": 1, "rows": 8}, {"degree": 2, "rows": 8}, {"degree": 3, "rows": 16}),
        sizes=(12823, 25623, 12833, 12825),
        statement=(
            "FittedPolynomial of degree g with R fitted rows: n (2 r (dv + 1) + R (2d + dv (g + "
            "2)) + d + e r + 6 d²) multiplications, e r of them for the moments, e = 1, 1, 2 for "
            "g = 1, 2, 3, and 6 d² for what "
            "bounds the scores, and n (3R + 3) exponentials and logarithms forward; 6 r (dv + 1) + "
            "2 d s (dv + 1), s = C(d + g - 1, g - 1), in place of 2 r (dv + 1) with the gradient "
            "for fixed coefficients."
        ),
        forward=Work(
            products=partial(_fitted, 2),
            functions=lambda n, _d, _dv, s: n * (3 * s["rows"] + 3),
        ),
        gradient=Work(
            products=partial(_fitted, 6),
            functions=lambda n, _d, _dv, s: n * (3 * s["rows"] + 3),
        ),
    ),
)

# --- the regimes of the papers --------------------------------------------------------------------
# The products cost n r with r = C(d + g, g).
#
# 1. It is linear in n at fixed d and g.
# 2. With d = log2 n and g fixed, log(n r)/log n -> 1 still: r <= (d + g)^g is a power of log n.
# 3. At finite n the exponent is far above 1, which is what a stopwatch sees.
# 4. With d = c L and g = e L, L = ln n, Stirling's formula gives ln C(d + g, g)/L -> h(c, e), where
#    h(c, e) = (c + e) ln (c + e) - c ln c - e ln e > 0. So the exponent is 1 + h.
# 5. It comes down to 1 as e -> 0 at fixed c, that is for g = o(log n). So "almost linear" is as
#    much a
#    claim about the degree as about d.


def _regime(power: int = 1) -> Iterator[Identity]:
    import sympy

    x = sympy.symbols("x", positive=True)  # log n, and d = x / log 2
    for g in (2, 4, 6):
        r = sympy.Integer(1)
        for i in range(1, g + 1):
            r *= (x / sympy.log(2) + i) / i
        yield Identity(
            sympy.limit((x + sympy.log(r)) / x, x, sympy.oo),
            power,
            f"exponent, d = log2 n, g = {g}",
        )
    n = 2**20
    exact = n * math.comb(20 + 6, 6)
    yield Identity(int(exact > n**1.8), 1, "at n = 2^20, g = 6 the cost n r is above n^1.8")


REGIME = Theorem(
    key="code.cost-regime",
    title="the polynomial method along d = log n",
    statement=(
        "log(n r)/log n -> 1 for r = C(d + g, g), d = log₂ n and fixed g; yet at n = 2²⁰, g = 6, n "
        "r exceeds n^1.8."
    ),
    source=our_code("approxattn.Polynomial in the regime of Alman & Song 2023"),
    reading=(
        "the products of code.cost-polynomial, up to factors that do not depend on n; the limit "
        "taken by SymPy"
    ),
    experiments=(
        Symbolic(
            identities=_regime,
            covers="statement",
            scope="g = 2, 4, 6 in the limit; n = 2²⁰ and g = 6 exactly",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_regime, power=2), covers="statement", scope="exponent 2"),
    uses=("code.cost-polynomial", "as23.low-rank"),
)


def _growing_degree(offset: int = 0) -> Iterator[Identity]:
    import sympy

    c, e, x = sympy.symbols("c e x", positive=True)
    h = (c + e) * sympy.log(c + e) - c * sympy.log(c) - e * sympy.log(e)
    # Stirling
    terms = sum(
        sign * (z * sympy.log(z) - z) for sign, z in ((1, (c + e) * x), (-1, c * x), (-1, e * x))
    )
    yield Identity(
        sympy.simplify(sympy.expand_log(terms / x - h, force=True)),
        offset,
        "leading terms of ln C(d + g, g)/L",
    )
    yield Identity(sympy.limit(h.subs(c, 1), e, 0), 0, "h(1, e) as e -> 0")
    yield Identity(sympy.simplify(h.subs({c: 1, e: 1}) - 2 * sympy.log(2)), 0, "h(1, 1) = 2 ln 2")
    # C(d + g, g) <= (d + g)^(d + g) / (d^d g^g), a term of the binomial expansion of ((d + g))^(d +
    # g): the limit is approached from below
    bounded = all(
        math.comb(d + g, g) * d**d * g**g <= (d + g) ** (d + g)
        for d in range(1, 40)
        for g in range(1, 40)
    )
    yield Identity(int(bounded), 1, "ln C(d + g, g) <= L h for d, g from 1 to 39")


GROWING = Theorem(
    key="code.cost-regime-degree",
    title="the polynomial method when the degree grows with log n",
    statement=(
        "With d = c ln n and g = e ln n the exponent of n r, r = C(d + g, g), is 1 + h, h = (c + "
        "e) ln(c + e) - c ln c - e ln e; it tends to 1 as e -> 0."
    ),
    source=our_code("approxattn.Polynomial in the regime of Alman & Song 2023"),
    reading="Stirling's leading terms, exact in c and e; the bound from above at integers",
    experiments=(
        Symbolic(
            identities=_growing_degree,
            covers="statement",
            scope="symbols c, e for the leading terms; d, g <= 39 for the bound",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_growing_degree, offset=1), covers="statement", scope="h + 1"
    ),
    uses=("code.cost-polynomial", "as23.low-rank", "code.cost-regime"),
    remarks=(
        "So n^{1 + o(1)} needs g = o(log n) as well as d = O(log n), which is what bounded entries "
        "o(sqrt(log n)) buy.",
    ),
)


def _other_regimes(excess: int = 0) -> Iterator[Identity]:
    import sympy

    x = sympy.symbols("x", positive=True)  # ln n; d, dv, k0, m, t fixed: 64, 64, 256, 32, 6
    d, dv, landmarks, hashes = 64, 64, 64, 32
    eps = sympy.Rational(1, 2)
    k = 5 * x / (eps**2 - eps**3)
    tau = x / sympy.log(2)
    costs = {
        "Linformer, k = 5 ln n/(ε² - ε³)": sympy.exp(x) * k * (2 * (d + dv) + 1),
        "Yoso, τ = log2 n: hashing, sorting, tables": hashes
        * sympy.exp(x)
        * (2 * d * tau + 3 * tau + dv),
        "Nystrom, fixed landmarks": sympy.exp(x) * 2 * landmarks * (d + dv + 1)
        + landmarks**2 * (d + dv)
        + 24 * landmarks**3,
        "Performer, fixed features": sympy.exp(x) * 2 * 256 * (d + dv + 2),
    }
    for name, cost in costs.items():
        yield Identity(
            sympy.limit(sympy.expand_log(sympy.log(cost), force=True) / x, x, sympy.oo),
            1 + excess,
            name,
        )
    yield Identity(
        sympy.limit(sympy.log(sympy.exp(2 * x) * (2 * d + dv)) / x, x, sympy.oo),
        2,
        "BertLSH, dense",
    )


OTHERS = Theorem(
    key="code.cost-regimes",
    title="the other methods along their papers' regimes",
    statement=(
        "With d and dv fixed the exponent of n is 1 for Linformer with k = 5 ln n/(ε² - ε³), for "
        "Yoso with τ = log₂ n and m fixed (tables of 2^τ = n cells included), for Nystrom and "
        "Performer with fixed ranks; it is 2 for BertLSH as its authors compute it."
    ),
    source=our_code("the counted formulas of code.cost-*"),
    reading="limit of log(cost)/log n of the counted formulas, taken by SymPy",
    experiments=(
        Symbolic(
            identities=_other_regimes,
            covers="statement",
            scope="the limit, at d = dv = 64, ε = 1/2, 32 hashes, 64 landmarks, 256 features",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_other_regimes, excess=1), covers="statement", scope="exponent 2"
    ),
    uses=(
        "code.cost-linformer-gaussian",
        "code.cost-yoso",
        "code.cost-nystrom",
        "code.cost-performer",
        "code.cost-bert-lsh",
    ),
)

THEOREMS = (*(cost.theorem() for cost in COSTS), REGIME, GROWING, OTHERS)
