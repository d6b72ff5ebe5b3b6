"""States without coefficients: the polynomial is chosen when queries are known.

Symbols as in `state`. M = sum_j mu phi(k_j - c) [v_j, 1]^T, with the multiplicities mu_alpha =
|alpha|! / alpha! of the monomials, holds what any polynomial needs up to the degree kept.

1. S of a polynomial with coefficients c_t is M with the rows of degree t times c_t, less the rows
   beyond its degree. That rounds each term twice more: c_t, and the product.
2. The scores of the queries at hand are at most beta max|q_i| max|k_j - c|, so they decide the half
   range. It is rounded up to a power of 2^(1/8): the polynomial of a decoder then seldom changes.
3. Where the basis has no polynomial for so wide a range, Taylor's of even degree takes its place:
   it serves any scores.
4. With a tolerance the degree is the lowest that keeps it there, or the highest kept; the
   certificate says where that is not enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import query_norms
from approxattn.certificate import Approximation
from approxattn.exponential import ExpPolynomial, degree_for, exp_polynomial
from approxattn.exponential.given import given_over
from approxattn.methods.polynomials.folding.advance import advanced
from approxattn.methods.polynomials.state import PolynomialState, fold, folded
from approxattn.methods.states.folded import FoldedKeys, Widths
from approxattn.monomials.index import degrees, rank

CLOSING = 2
"""Roundings of step 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MomentState(FoldedKeys):
    """Keys and values folded for polynomials of any coefficients; made by `Polynomial.open_state`.

    Attributes
    ----------
    basis : str
        Of the polynomials that are chosen; "taylor" where it has none for scores as large.
    tolerance : float or None
        What their degree is to keep; None: all have the degree kept.
    moments : PolynomialState
        The sums with coefficients of 1.
    """

    basis: str
    tolerance: float | None
    moments: PolynomialState

    MADE_BY: ClassVar[str] = "Polynomial.open_state"

    @property
    def _widths(self) -> Widths:
        return self.moments._widths

    def _like(self, q: Array) -> Array:
        return self.moments._like(q)

    def _with_keys(self, problem: Problem) -> Self:
        return replace(self, moments=self.moments._with_keys(problem))

    def _merged(self, other: Self) -> Self:
        return replace(self, moments=self.moments.merge(other.moments))

    def _answered(self, problem: Problem) -> Approximation:
        return self._closed(self.moments, self._polynomial(problem, self.moments))._answered(
            problem
        )

    def _attended(self, problem: Problem) -> tuple[Approximation, Self]:
        before = self.moments
        own = folded(problem, before.polynomial, before.centre, None)
        after = before.merge(own)
        polynomial = self._polynomial(problem, after)
        first, then = (self._closed(x, polynomial) for x in (before, own))
        out, _ = advanced(first, then, problem)
        return out, replace(self, moments=after)

    def save(self, path: str | Path) -> None:
        """Write the sums to an .npz file of plain arrays, whole or not at all; basis and tolerance
        are not written.
        """
        self.moments.save(path)

    @classmethod
    def load(cls, path: str | Path, method: Any, *, like: Array | None = None) -> MomentState:
        """Read the sums that `save` wrote, for a `Polynomial` whose basis and tolerance are to be
        used; its degree, if it has one, must be that of the sums.

        Raises
        ------
        ValueError
            If the file is none of ours, is damaged, or has the sums of coefficients or of another
            degree.
        OSError
            If it cannot be read.
        """
        moments = PolynomialState.load(path, like=like)
        degree = moments.polynomial.degree
        if moments.polynomial.coefficients != (1.0,) * (degree + 1):
            msg = f"path(={str(path)!r}) holds a PolynomialState: read it with its load"
            raise ValueError(msg)
        if method.degree not in (None, degree):
            msg = f"method has degree {method.degree}, the sums {degree}: give another method"
            raise ValueError(msg)
        return cls(basis=method.range_basis, tolerance=method.tolerance, moments=moments)

    def _terms(self) -> dict[str, object]:
        return {"basis": self.basis, "tolerance": self.tolerance}

    def _polynomial(self, problem: Problem, seen: PolynomialState) -> ExpPolynomial:
        """Return the polynomial for the queries of a problem over keys that were seen."""
        most = seen.polynomial.degree
        lengths = np.max(query_norms(problem), axis=-1, initial=0.0)
        bounds = up(seen.scale * lengths * seen.radius * (1 + 8 * problem.u))
        half_range = _rounded_up(float(np.max(bounds, initial=0.0)))
        degree = most
        if self.tolerance is not None:
            try:
                degree = min(most, degree_for(half_range, self.tolerance, self.basis))
            except ValueError:  # no degree is enough, which the certificate says
                degree = most
        try:
            return exp_polynomial(degree, half_range, self.basis)
        except ValueError:  # none of the basis is known for scores as large
            return exp_polynomial(degree - degree % 2, half_range, "taylor")

    def _closed(self, moments: PolynomialState, p: ExpPolynomial) -> PolynomialState:
        """Return the sums with the coefficients of P."""
        d, sums = int(moments.centre.shape[-1]), moments.sums
        xp = _arrays.namespace(sums=sums)
        own = np.asarray(p.coefficients)[degrees(d, p.degree)][:, None]
        factor = _arrays.cast(_arrays.from_host(own, sums), _arrays.dtype_name(sums), xp)
        return replace(
            moments,
            polynomial=p,
            sums=sums[..., : rank(d, p.degree), :] * factor,
            tolerance=self.tolerance,
            closing=CLOSING,
        )


def _rounded_up(x: float) -> float:
    """Return the next power of 2^(1/8), at least 2^-100: below, polynomials do not differ."""
    if not math.isfinite(x):
        return x
    found: float = 2.0 ** (math.ceil(8 * math.log2(max(x, 2.0**-100))) / 8)
    return found if found >= x else found * 2.0**0.125


def opened(
    k: Array,
    v: Array,
    basis: str,
    tolerance: float | None,
    degree: int,
    centre: Array | None,
    scale: float | None,
    key_mask: Array | None,
) -> MomentState:
    """Return the state of keys and values, for polynomials of up to that degree."""
    ones = given_over((1.0,) * (degree + 1), 0.0)
    moments = fold(k, v, ones, centre, scale, key_mask)
    return MomentState(basis=basis, tolerance=tolerance, moments=moments)
