"""Our own statements about one summary key, away from the query it was made for.

Letters as in `mean_query`, for one query: x_j = <delta, k_j>, delta = q - q0, with mean x_pi under
pi and range rho = max x - min x. The exact mass is M sum_j pi_j e^(x_j), the summary's M e^(x_pi),
and h is the logarithm of their ratio. y_j = x_j - x_pi, so sum_j pi_j y_j = 0.

1. e^h - 1 = sum_j pi_j (e^(y_j) - 1 - y_j) >= 0, term by term: the summary's mass is a lower bound
   (Jensen). It is exact only for equal x_j.
2. Let y_j lie in [-a, b], a + b = rho. By convexity e^(y_j) is at most the chord, so with p = a/rho
       e^h <= (a e^b + b e^-a) / rho = e^(-p rho) (1 - p + p e^rho).
3. ln z <= ln z* + z / z* - 1. For z = 1 - p + p e^rho and z* = (e^rho - 1) / rho:
       ln z - p rho <= ln z* + rho / (e^rho - 1) - 1 =: H(rho),
   with equality at p = 1/rho - 1/(e^rho - 1). So h <= H(rho), and two keys attain it for each rho.
4. H(rho) <= rho^2 / 8: psi(rho) = ln(1 - p + p e^rho) - p rho has psi = psi' = 0 at 0 and
   psi'' = y (1 - y) <= 1/4. The constant is best, as H(rho) = rho^2/8 - rho^4/576 + ...; for large
   rho H(rho) is rho - ln rho - 1.
5. The exact weights in the cell are proportional to pi_j e^(x_j): their total variation to pi is at
   most tanh(rho / 4) (ours.hilbert), so the mean value is off by tanh(rho / 4) osc(v) at most.
   Two keys with pi = (1, e^(rho/2)) / (1 + e^(rho/2)), the first one higher by rho, attain it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.ours.rows import dot, weights
from proofs_check.papers.ours.weights import metric_bound
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Comparison,
    Enclose,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

__all__ = ["excess"]

_HERE = here(__name__)
_ONE = Fraction(1)
_RANGES = (*(Fraction(i, 4) for i in range(1, 33)), Fraction(1, 100), Fraction(20), Fraction(60))


def excess(rho: Any) -> Any:
    """H(rho) > 0 of step 3 in floats or balls."""
    if isinstance(rho, float):
        return np.log(np.expm1(rho) / rho) + rho / np.expm1(rho) - 1
    grown = rho.expm1()
    return (grown / rho).log() + rho / grown - 1


def _cell(instance: Instance) -> tuple[list[Any], list[Any]]:
    """Balls of pi and of x."""
    e = [ball(float(w)).exp() for w in instance["w"]]
    total = sum(e, ball(0))
    return [y / total for y in e], [ball(float(x)) for x in instance["x"]]


def _log_ratio(instance: Instance) -> float:
    """The h of an instance in floats, less what rounding leaves of no change."""
    w, x = (np.array(instance[name], dtype=float) for name in ("w", "x"))
    pi = np.exp(w - w.max())
    pi /= pi.sum()
    return float(np.log(np.sum(pi * np.exp(x - x.max()))) + x.max() - np.sum(pi * x)) - 1e-13


def _range(instance: Instance) -> float:
    return float(max(instance["x"]) - min(instance["x"]))


def _cells(values: bool = False) -> Any:
    from hypothesis import strategies as st

    names = ("w", "x", "v") if values else ("w", "x")

    def numbers(n: int) -> Any:
        entries = st.lists(st.integers(-24, 24).map(lambda i: i / 8), min_size=n, max_size=n)
        return st.fixed_dictionaries(dict.fromkeys(names, entries))

    return st.integers(1, 5).flatmap(numbers)


# --- steps 1 to 4: the mass -----------------------------------------------------------------------


def _jensen() -> Iterator[Identity]:
    """Step 1, with indeterminates e_j in the place of e^(y_j); the last y_j makes the mean 0."""
    from sympy import QQ, field

    for n in (2, 3, 4):
        names = [*(f"pi{j}" for j in range(1, n)), *(f"e{j}" for j in range(n))]
        _, *free = field([*names, *(f"y{j}" for j in range(1, n))], QQ)
        pi, e, y = weights(free[: n - 1], free[0] ** 0), free[n - 1 : 2 * n - 1], free[2 * n - 1 :]
        y = [*y, -dot(pi[:-1], y) / pi[-1]]
        terms = [a - 1 - b for a, b in zip(e, y, strict=True)]
        yield Identity(dot(pi, e) - 1, dot(pi, terms), f"{n} keys")


def _upper() -> list[Identity]:
    """Steps 3 and 4; h is part of H at the best p."""
    from sympy import diff, exp, log, simplify, symbols

    p, rho = symbols("p rho", positive=True)
    z, best = 1 - p + p * exp(rho), (exp(rho) - 1) / rho
    most = log(best) + rho / (exp(rho) - 1) - 1
    at = 1 / rho - 1 / (exp(rho) - 1)
    y = p * exp(rho) / z
    psi = log(z) - p * rho
    return [
        Identity(simplify(log(best) + z / best - 1 - p * rho - most), 0, "the tangent at z*"),
        Identity(simplify(z.subs(p, at) - best), 0, "z = z* at the best p"),
        Identity(simplify(log(best) - at * rho - most), 0, "h = H at the best p"),
        Identity(psi.subs(rho, 0), 0, "psi(0)"),
        Identity(simplify(diff(psi, rho).subs(rho, 0)), 0, "psi'(0)"),
        Identity(simplify(diff(psi, rho, 2) - y * (1 - y)), 0, "psi''"),
    ]


def _attained(_bits: int) -> Iterator[Comparison]:
    """The two keys of step 3."""
    for width in _RANGES:
        rho = ball(width)
        p = 1 / rho - 1 / rho.expm1()
        h = (1 - p + p * rho.exp()).log() - p * rho
        yield Comparison(h, excess(rho), f"rho = {width}")


def _square(rho: Any) -> Any:
    return rho * rho / 8


def _mass(instance: Instance, part: Fraction = _ONE) -> tuple[Any, Any]:
    pi, x = _cell(instance)
    mean = dot(pi, x)
    h = dot(pi, [(y - mean).exp() for y in x]).log()
    rho = ball(_range(instance))
    return h, ball(part) * excess(rho) if float(rho) > 0 else ball(0)


def _most(instance: Instance, part: Fraction = _ONE) -> float:
    rho = _range(instance)
    return float(part) * float(excess(rho)) if rho > 0 else 0.0


_NEARLY_SHARP: Instance = {"w": [0.0, 0.125], "x": [1.0, 0.0]}


def _search(part: Fraction = _ONE) -> Falsify:
    return search_by(
        partial(_mass, part=part),
        bound=partial(_most, part=part),
        instances=_cells,
        measured=_log_ratio,
        examples=(_NEARLY_SHARP,),
        tries=150,
        scope="up to 5 keys, scores and changes in [-3, 3]" + ("" if part == 1 else f"; {part} H"),
    )


def _below(instance: Instance, part: Fraction = _ONE) -> tuple[Any, Any]:
    """The summary's mass over the exact one, times `part`, against 1."""
    h, _ = _mass(instance)
    return ball(part) * (-h).exp(), ball(1)


def _jensen_search(part: Fraction = _ONE) -> Falsify:
    scope = "up to 5 keys, scores and changes in [-3, 3]"
    return search_by(
        partial(_below, part=part),
        instances=_cells,
        examples=({"w": [0.0, 0.0], "x": [0.125, 0.0]},),
        tries=150,
        scope=scope if part == 1 else f"{scope}; {part} of the mass",
    )


JENSEN = Theorem(
    key="ours.summary-lower",
    title="the mass of a summary key is a lower bound",
    statement=(
        "M e^⟨q - q₀, k_π⟩ <= Σ_j e^⟨q,k_j⟩ for every query q, with equality exactly where all "
        "⟨q - q₀, k_j⟩ are equal."
    ),
    source=_HERE,
    reading=(
        "any cell, any q₀; so the weight of summaries in a row is never above the exact weight of "
        "their keys, and what is met exactly never weighs too little"
    ),
    experiments=(
        Symbolic(
            identities=_jensen,
            covers="statement",
            scope="2, 3 and 4 keys, all weights and changes: a mean of e^y - 1 - y >= 0",
        ),
        _jensen_search(),
    ),
    expected=Status.PROVED,
    mutant=_jensen_search(Fraction(501, 500)),
)

MASS = Theorem(
    key="ours.summary-mass",
    title="how much mass a summary key misses, sharply",
    statement=(
        "If the ⟨q - q₀, k_j⟩ of a cell lie in an interval of length ρ, the exact mass is between "
        "1 and e^H(ρ) times the summary's, H(ρ) = ln((e^ρ - 1)/ρ) - 1 + ρ/(e^ρ - 1) <= ρ²/8. Both "
        "ends are attained for every ρ, and 1/8 is the best constant."
    ),
    source=_HERE,
    reading=(
        "any number of keys; ρ <= 2 |q - q₀| R for keys in a ball of radius R, wherever it lies; "
        "H(ρ) = ρ²/8 - ρ⁴/576 + ... and ρ - ln ρ - 1 + O(ρ e^-ρ)"
    ),
    experiments=(
        Symbolic(
            identities=_upper,
            covers="statement",
            scope="two values, all p and ρ; convexity reduces any number of keys to two values",
        ),
        Enclose(
            certify=_attained,
            relation="=",
            radius=Fraction(1, 2**64),
            covers="statement",
            scope="attained by two keys: ρ = 1/100, i/4 for i = 1, ..., 32, 20, 60",
        ),
        Enclose(
            lhs=excess,
            rhs=_square,
            box=((1, 40),),
            covers="statement",
            scope="H(ρ) <= ρ²/8 once more, all ρ in [1, 40]",
        ),
        _search(),
    ),
    expected=Status.PROVED,
    mutant=_search(Fraction(99, 100)),
    uses=("ours.summary-lower", "ours.l1-hoeffding"),
    remarks=("ρ²/8 is Hoeffding's lemma; H is what it becomes when p is chosen at its worst.",),
)

# --- step 5: the value ----------------------------------------------------------------------------


def _exchanged(_bits: int) -> Iterator[Comparison]:
    """The two keys of step 5, values 1 and 0."""
    for width in _RANGES:
        rho = ball(width)
        pi = 1 / (1 + (rho / 2).exp())
        moved = 1 / (1 + (-rho / 2).exp())  # pi e^rho / (1 - pi + pi e^rho)
        exact = pi * rho.exp() / (1 - pi + pi * rho.exp())
        yield Comparison(exact, moved, f"rho = {width}, the weight of the first key")
        yield Comparison(moved - pi, (rho / 4).tanh(), f"rho = {width}")


def _value(instance: Instance, divisor: Fraction = Fraction(4)) -> tuple[Any, Any]:
    pi, x = _cell(instance)
    v = [ball(float(y)) for y in instance["v"]]
    tilted = [a * b.exp() for a, b in zip(pi, x, strict=True)]
    error = abs(dot(tilted, v) / sum(tilted, ball(0)) - dot(pi, v))
    osc = ball(float(max(instance["v"]) - min(instance["v"])))
    return error, (ball(_range(instance)) / ball(divisor)).tanh() * osc


def _value_search(divisor: Fraction = Fraction(4)) -> Falsify:
    scope = "up to 5 keys, scores, changes and values in [-3, 3]"
    return search_by(
        partial(_value, divisor=divisor),
        instances=partial(_cells, values=True),
        examples=({"w": [0.0, 0.125], "x": [0.25, 0.0], "v": [1.0, 0.0]},),
        tries=150,
        scope=scope if divisor == 4 else f"{scope}; 1/4.04 in place of a quarter",
    )


VALUE = Theorem(
    key="ours.summary-value",
    title="how far the mean value of a summary key is off, sharply",
    statement=(
        "If the ⟨q - q₀, k_j⟩ of a cell lie in an interval of length ρ, the weights of q in it "
        "have a total variation of at most tanh(ρ/4) to those of q₀, so the mean value of the "
        "summary is off by at most tanh(ρ/4) osc(v). Two keys attain both for every ρ."
    ),
    source=_HERE,
    reading="any number of keys; a column of V by itself, osc(v) its range within the cell",
    experiments=(
        Symbolic(
            identities=metric_bound,
            covers="statement",
            scope="the bound: any number of keys, all weights (two-valued reduction and best mass)",
        ),
        Enclose(
            certify=_exchanged,
            relation="=",
            radius=Fraction(1, 2**64),
            covers="statement",
            scope="attained by two keys: ρ = 1/100, i/4 for i = 1, ..., 32, 20, 60",
        ),
        _value_search(),
    ),
    expected=Status.PROVED,
    mutant=_value_search(Fraction(101, 25)),
    uses=("ours.oscillation",),
    remarks=(
        "The value errs by ρ/4 where the mass errs by ρ²/8: near the mean query it decides, as "
        "ours.summary-value-order says.",
    ),
)

THEOREMS = (JENSEN, MASS, VALUE)
