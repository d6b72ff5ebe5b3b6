"""Which settings of a `Polynomial` go together."""

from __future__ import annotations

from typing import Any

from approxattn._arguments import check_choice, check_flag, check_fraction, keep
from approxattn.exponential.degree import POLYNOMIAL_BASES, check_degree
from approxattn.exponential.given import check_coefficients
from approxattn.methods.polynomials.centring import CENTRES
from approxattn.methods.polynomials.gradient import KINDS

INDICES = ("full", "anisotropic")


def check_settings(method: Any) -> None:
    """Raise TypeError or ValueError where one is wrong, or two say the same or contradict each
    other; coefficients are kept as numbers.
    """
    if method.coefficients is not None:
        _check_given(method)
    elif (method.degree is None) == (method.tolerance is None):
        msg = f"degree(={method.degree}), tolerance(={method.tolerance}): give exactly one of them"
        raise ValueError(msg)
    if method.basis is not None:
        check_choice("basis", method.basis, POLYNOMIAL_BASES)
    check_choice("gradient", method.gradient, KINDS)
    check_choice("centre", method.centre, CENTRES)
    check_choice("index", method.index, INDICES)
    check_flag("fallback", method.fallback)
    if method.index == "anisotropic" and method.tolerance is None:
        msg = (
            f"index(='anisotropic') with degree(={method.degree}) has no degree of its own: give "
            "a tolerance in its place"
        )
        raise ValueError(msg)
    if method.tolerance is not None:
        check_fraction("tolerance", method.tolerance)
    if method.degree is not None:
        check_degree(method.degree, method.basis or "minimax")


def _check_given(method: Any) -> None:
    keep(method, coefficients=check_coefficients(method.coefficients))
    for name in ("degree", "tolerance", "basis"):
        if getattr(method, name) is not None:
            msg = (
                f"{name}(={getattr(method, name)!r}) with coefficients of your own says the "
                f"same twice or something else: leave out {name} or the coefficients"
            )
            raise ValueError(msg)
