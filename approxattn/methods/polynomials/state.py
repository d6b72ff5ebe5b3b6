"""Keys and values folded into sums of fixed size, to be queried, extended and merged: polynomial
attention as a commutative semigroup.

Symbols. S = sum_j w phi(k_j - c) [v_j, 1]^T, with the monomials phi and weights w of a polynomial P
that is fixed beforehand; r monomials, keys k_j of width d, values of width dv, any centre c. B_i is
beta |q_i| max_j |k_j - c|.

1. phi(beta q_i)^T S holds the numerator and the denominator of row i. So S, r (dv + 1) numbers
   whatever the number of keys, is all that a query needs of them.
2. States of the same polynomial, scale and centre add. So streams, parts of a sequence on several
   machines, and a decoder that appends one token at a time, at O(r dv), are all the same three
   calls.
3. c shifts each row of scores by a constant: any c is exact, one near the mean of the keys gives
   the smallest bounds. Queries are not centred: their mean is not known while keys are folded, and
   the weights of the keys would depend on it.
4. The certificate of a row needs B_i, the number of keys, and the range of each column of values:
   kept beside S, each merged by a maximum or a sum. The moments of its scores are parts of S.
5. Rounding is that of `forward`, but a term passes through at most `additions` sums over keys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.precision import refuse_inexact
from approxattn._problem import Problem
from approxattn.bounds.scores import row_norms, visible_max
from approxattn.certificate import Approximation, held_to_promise
from approxattn.exponential import ExpPolynomial
from approxattn.methods.polynomials.balance import scaled
from approxattn.methods.polynomials.folding.advance import advanced
from approxattn.methods.polynomials.folding.certificate import state_certificate
from approxattn.methods.polynomials.folding.file import FILE
from approxattn.methods.polynomials.folding.fold import (
    announce,
    centre_of,
    refuse_large_sums,
)
from approxattn.methods.polynomials.forward import values_and_one
from approxattn.methods.polynomials.shift import shift_keys
from approxattn.methods.states.folded import SavedKeys, Widths, empty_output
from approxattn.methods.states.posing import counted_values, pose_keys
from approxattn.monomials.kernel import key_sum_terms
from approxattn.monomials.states import no_states, read_states_with_parts, states


@dataclass(frozen=True, kw_only=True, eq=False)
class PolynomialState(SavedKeys):
    """What polynomial attention remembers of the keys and values it has seen; made by
    `Polynomial.state`.

    Attributes
    ----------
    polynomial : ExpPolynomial
        P, fixed for all queries to come.
    scale : float
        Factor beta of the scores.
    centre : array, shape (..., 1, d)
        What is subtracted from every key.
    sums : array, shape (..., r, dv + 1)
        sum_j w phi(k_j - centre) [v_j, 1]^T.
    radius : ndarray, shape (...)
        Bound on the length of every centred key.
    reach : float
        Largest absolute entry of a centred key.
    high, low : ndarray, shape (..., dv)
        Largest and smallest value of each column; -inf and inf of an item that has seen no key.
    keys : ndarray of int, shape (...)
        Number of keys seen.
    additions : int
        Longest chain of additions behind an entry of `sums`.
    tolerance : float or None
        What `Polynomial(tolerance=)` promised: the certificates of queries say where it is not
        kept.
    closing : int
        Roundings of coefficients that `sums` got after folding.

    Notes
    -----
    `extend` and `attend` of n tokens cost O(n r dv), whatever the state has seen, `query` of n_q
    O(n_q r dv).

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 300, 8))
    >>> method = aa.Polynomial(degree=6, basis="taylor", centre="none")
    >>> prompt = slice(0, 200)
    >>> state = method.state(k[prompt], v[prompt])
    >>> out, state = state.attend(q[200:], k[200:], v[200:])
    >>> exact = aa.attention(q, k, v, aa.Exact(), causal=True).value[200:]
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows + 1e-12).all())
    True
    """

    polynomial: ExpPolynomial
    scale: float
    centre: Array
    sums: Array
    radius: HostArray
    reach: float
    high: HostArray
    low: HostArray
    keys: HostArray
    additions: int
    tolerance: float | None = None
    closing: int = 0

    MADE_BY: ClassVar[str] = "Polynomial.state"
    FILE = FILE
    ON_DEVICE: ClassVar[tuple[str, ...]] = ("centre", "sums")

    @property
    def _widths(self) -> Widths:
        return Widths(int(self.centre.shape[-1]), int(self.sums.shape[-1]) - 1, self.scale)

    def _like(self, q: Array) -> Array:
        del q
        return self.sums

    def _with_keys(self, problem: Problem) -> Self:
        own: Any = fold_posed(problem, self.polynomial, self.centre, self.tolerance)
        return self.merge(own)

    def _merged(self, other: Self) -> Self:
        xp = _arrays.namespace(state=self.sums, other=other.sums)
        if not bool(xp.all(self.centre == other.centre)):
            msg = "other has another centre of the keys: make both states with the same centre"
            raise ValueError(msg)
        keys = self.keys + other.keys
        longest = max(self.additions, other.additions) + 1
        return replace(
            self,
            sums=self.sums + other.sums,
            radius=np.maximum(self.radius, other.radius),
            reach=max(self.reach, other.reach),
            high=np.maximum(self.high, other.high),
            low=np.minimum(self.low, other.low),
            keys=keys,
            additions=min(longest, max(int(np.max(keys, initial=0)), 1)),
        )

    def _answered(self, problem: Problem) -> Approximation:
        xp, dv = problem.xp, self._widths.dv
        if math.prod((*problem.batch, problem.n_q, dv)) == 0:
            return empty_output(problem, dv)
        x = scaled(problem.q, self.scale, xp)
        largest = float(xp.max(_arrays.largest_size(x, xp))), self.reach
        refuse_large_sums(self.polynomial, problem, largest, self.keys, (self.high, self.low))
        p = self.polynomial
        degrees = p.moments.degrees if p.moments is not None else ()
        sums, parts = read_states_with_parts(x, self.sums, p.degree, xp, degrees)
        last = sums[..., -1:]
        denominator = xp.where(last > 0, last, xp.full_like(last, xp.nan))
        host = _arrays.to_host(denominator[..., 0]).astype(np.float64)
        of_degrees = _arrays.to_float64(parts)
        certificate = state_certificate(self, problem, largest[0], host, of_degrees)
        return Approximation(
            value=sums[..., :-1] / denominator, certificate=held_to_promise(certificate)
        )

    def _attended(self, problem: Problem) -> tuple[Approximation, Self]:
        announce(problem, self.polynomial.degree)
        terms = self.polynomial, self.centre, self.tolerance
        own: Any = folded(problem, *terms, summed=problem.n_q == 1)
        return advanced(self, own, problem)

    def _terms(self) -> dict[str, object]:
        p = self.polynomial
        return {
            "polynomial": (p.basis, p.half_range, p.coefficients),
            "scale": self.scale,
            "tolerance": self.tolerance,
            "shape": tuple(self.sums.shape),
            "dtype": _arrays.dtype_name(self.sums),
        }


def fold(
    k: Array,
    v: Array,
    polynomial: ExpPolynomial,
    centre: Array | None,
    scale: float | None,
    key_mask: Array | None,
    tolerance: float | None = None,
) -> PolynomialState:
    """Return the state of keys and values; the centre defaults to 0."""
    return fold_posed(pose_keys(k, v, scale, key_mask), polynomial, centre, tolerance)


def fold_posed(
    problem: Problem,
    polynomial: ExpPolynomial,
    centre: Array | None,
    tolerance: float | None,
) -> PolynomialState:
    """Return the state of the keys and values of a problem; the centre defaults to 0."""
    announce(problem, polynomial.degree)
    state = folded(problem, polynomial, centre_of(centre, problem), tolerance)
    ends = state.high, state.low
    refuse_large_sums(polynomial, problem, (0.0, state.reach), state.keys, ends)
    return state


def folded(
    problem: Problem,
    polynomial: ExpPolynomial,
    middle: Array,
    tolerance: float | None,
    *,
    summed: bool = True,
) -> PolynomialState:
    """Return the state of the keys and values of a problem, before its size is looked at; without
    `summed` its sums are 0 still, for `advanced`.
    """
    refuse_inexact(problem.k, "a PolynomialState")
    xp, degree = problem.xp, polynomial.degree
    y = shift_keys(problem, middle, problem.dtype)
    keys, high, low = counted_values(problem)
    values = values_and_one(problem)
    reach = float(np.max(_arrays.to_host(_arrays.largest_size(y, xp)), initial=0.0))
    return PolynomialState(
        polynomial=polynomial,
        scale=problem.scale,
        centre=middle,
        sums=states(y, values, polynomial.coefficients, xp)
        if summed
        else no_states(y, values, degree, xp),
        radius=visible_max(row_norms(y, xp), problem),
        reach=reach,
        high=high,
        low=low,
        keys=keys,
        additions=key_sum_terms(problem.n_k, problem.d, degree, causal=False),
        tolerance=tolerance,
    )
