"""Checks of the polynomials for exp: their errors on fine grids, the least degrees."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from proofs_check.faults.checks._oracles import Complaints, Host

_GRID = np.linspace(-1, 1, 4001, dtype=np.longdouble)


def _ratio(coefficients: tuple[float, ...], x: Host) -> Host:
    """P(x) e^-x."""
    return np.asarray(
        np.polynomial.polynomial.polyval(x, np.array(coefficients, np.longdouble)) * np.exp(-x)
    )


def _log_ratio(coefficients: tuple[float, ...], b: float) -> float:
    """ln of the largest quotient of weights over [-b, b]."""
    r = _ratio(coefficients, b * _GRID)
    return float(np.log(r.max() / r.min())) if r.min() > 0 else math.inf


def _slope_error(coefficients: tuple[float, ...], b: float) -> float:
    """Largest |P'/P - 1| over [-b, b]."""
    c, x = np.array(coefficients, np.longdouble), b * _GRID
    slope = np.arange(1, len(c)) * c[1:] if len(c) > 1 else np.zeros(1, np.longdouble)
    value = np.polynomial.polynomial.polyval
    return float(np.max(np.abs(value(x, slope) / value(x, c) - 1)))


def bounds() -> Complaints:
    """No error on a grid exceeds its bound, and the bound of the whole interval is no more than a
    few per cent above.
    """
    from approxattn.exponential import exp_polynomial

    cases = [("taylor", g, b) for g in (0, 2, 4, 8) for b in (0.1, 1.0, 3.0)]
    cases += [("minimax", g, b) for g in (0, 1, 3, 6) for b in (0.7, 2.0)] + [
        ("chebyshev", g, b) for g in (5, 8) for b in (0.7, 2.0)
    ]
    for basis, degree, b in cases:
        p = exp_polynomial(degree, b, basis)
        name = f"{basis} polynomial of degree {degree} on [-{b}, {b}]"
        if not p.half_range >= b or p.degree != degree:
            yield f"{name}: its interval ends at {p.half_range}"
        top = b if basis == "taylor" else p.half_range
        for part in (0.3, 0.8, 1.0):
            yield from _compare(
                name, p, part * top, whole=part == 1.0, loose=3.0 if basis == "chebyshev" else 1.02
            )


def _compare(name: str, p: Any, b: float, *, whole: bool, loose: float) -> Complaints:
    true, bound = _log_ratio(p.coefficients, b), float(p.log_ratio(np.asarray(b)))
    if not true <= bound * (1 + 1e-9) + 1e-15:
        yield f"{name}: ln rho({b:.3g}) = {true:.6g}, bound {bound:.6g}"
    if whole and not bound <= loose * true:
        yield f"{name}: ln rho({b:.3g}) = {true:.6g} has the bound {bound:.6g}: something is off"
    true, bound = _slope_error(p.coefficients, b), float(p.slope_error(np.asarray(b)))
    if not true <= bound * (1 + 1e-9) + 1e-15:
        yield f"{name}: |P'/P - 1| reaches {true:.6g}, bound {bound:.6g}"
    if whole and p.basis == "minimax":
        yield from _interval(name, p, bound)


def _interval(name: str, p: Any, bound: float) -> Complaints:
    """The interval ends at a power of 2^(1/8), and its bound is max |E'| / min P e^-x, E = P e^-x -
    1.
    """
    if not math.isclose(
        8 * math.log2(p.half_range), round(8 * math.log2(p.half_range)), abs_tol=1e-9
    ):
        yield f"{name}: its interval ends at {p.half_range}, no power of 2^(1/8)"
    c, x = np.array(p.coefficients, np.longdouble), p.half_range * _GRID
    slope = np.append(np.arange(1, len(c)) * c[1:], np.longdouble(0)) - c
    stated = np.max(np.abs(np.polynomial.polynomial.polyval(x, slope) * np.exp(-x))) / np.min(
        _ratio(p.coefficients, x)
    )
    if not bound <= 1.02 * float(stated):
        yield f"{name}: max |E'| / min P e^-x is {float(stated):.6g}, the bound {bound:.6g}"


def degrees() -> Complaints:
    """The least degree that reaches a tolerance reaches it, and one step less does not."""
    from approxattn.exponential import degree_for, exp_polynomial

    for basis, step in (("taylor", 2), ("minimax", 1)):
        for b in (0.5, 2.0):
            for tolerance in (0.05, 1e-3, 1e-5):
                found = degree_for(b, tolerance, basis)
                tv = [
                    math.tanh(
                        _log_ratio(
                            exp_polynomial(g, b, basis).coefficients,
                            exp_polynomial(g, b, basis).half_range if step == 1 else b,
                        )
                        / 4
                    )
                    for g in (found, max(0, found - step))
                ]
                if not tv[0] <= tolerance * (1 + 1e-6) or (
                    found >= step and not tv[1] >= 0.99 * tolerance
                ):
                    yield (
                        f"degree {found} for {basis}, {b}, {tolerance}: TV {tv[0]:.3g}, "
                        f"{tv[1]:.3g} one step lower"
                    )
