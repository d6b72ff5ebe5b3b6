"""Polynomials for exp on an interval, and the smallest degree that does."""

from approxattn.exponential.chebyshev import chebyshev
from approxattn.exponential.degree import degree_for, exp_polynomial
from approxattn.exponential.minimax import minimax
from approxattn.exponential.one_sided import one_sided
from approxattn.exponential.polynomial import ExpPolynomial
from approxattn.exponential.taylor import taylor

__all__ = [
    "ExpPolynomial",
    "chebyshev",
    "degree_for",
    "exp_polynomial",
    "minimax",
    "one_sided",
    "taylor",
]
