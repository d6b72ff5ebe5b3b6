"""Keys and values folded into sums of fixed size, to be queried, extended and merged: polynomial
attention as a commutative semigroup.

With P fixed beforehand, all that a query needs of n keys is S = sum_j w phi(k_j - c) [v_j, 1]^T, r
(dv + 1) numbers whatever n is. States of the same polynomial, scale and centre c add; so streams,
parts of a sequence on several machines, and a decoder that appends one token at a time, at O(r dv),
are all the same three calls. (c shifts each row of scores by a constant: any c is exact, one near
the mean of the keys gives the smallest bound. Queries are not centred: their mean is not known
while keys are folded, and the weights of the keys would depend on it.)

The certificate of a row needs B_i >= beta |q_i| max_j |k_j - c|, the number of keys, and the range
of each column of values: kept beside S, each merged by a maximum or a sum. Rounding: as in
`forward.py`, but a term passes through at most `additions` sums over keys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, pose
from approxattn.bounds.perturbation import output_bound, tv_from_log_ratio
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import query_norms, row_norms, spread_of, visible_max
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.exponential import ExpPolynomial, exp_polynomial
from approxattn.methods.polynomials.forward import output_rounding, values_and_one, weight_noise
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import (
    feature_roundings,
    key_sum_terms,
    largest_partial_sum,
    underflow,
)
from approxattn.monomials.states import read_states, states

FORMAT = "approxattn polynomial state 1"
ARRAYS = ("centre", "sums", "radius", "high", "low", "keys")


@dataclass(frozen=True, kw_only=True, eq=False)
class PolynomialState:
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
        Largest and smallest value of each column.
    keys : ndarray of int, shape (...)
        Number of keys seen.
    additions : int
        Longest chain of additions behind an entry of `sums`.
    tolerance : float or None
        What `Polynomial(tolerance=)` promised: the certificates of queries say where it is not
        kept.
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

    def extend(self, k: Array, v: Array, *, key_mask: Array | None = None) -> PolynomialState:
        """Return the state that has seen these keys and values too, shapes (..., n, d), (..., n,
        dv); O(n r dv).
        """
        return self.merge(
            fold(k, v, self.polynomial, self.centre, self.scale, key_mask, self.tolerance)
        )

    def merge(self, other: PolynomialState) -> PolynomialState:
        """Return the state that has seen what either has.

        Raises
        ------
        ValueError
            If they differ in polynomial, scale, tolerance, centre, shape or dtype: their sums or
            promises then mean different things.
        """
        self._check_like(other)
        return replace(
            self,
            sums=self.sums + other.sums,
            radius=np.maximum(self.radius, other.radius),
            reach=max(self.reach, other.reach),
            high=np.maximum(self.high, other.high),
            low=np.minimum(self.low, other.low),
            keys=self.keys + other.keys,
            additions=min(
                max(self.additions, other.additions) + 1, int(np.max(self.keys + other.keys))
            ),
        )

    def query(self, q: Array) -> Approximation:
        """Return the attention of the queries over all keys seen, and its certificate.

        Parameters
        ----------
        q : array, shape (..., n_q, d)
            Same library, device, dtype and leading axes as the keys. Costs O(n_q r dv). The output
            has the dtype computed in (float32 for half precisions).

        Raises
        ------
        TypeError, ValueError
            What `attention` refuses; queries so large that the sums could overflow.
        """
        problem = self._pose(q)
        xp, degree = problem.xp, self.polynomial.degree
        x = problem.q * self.scale
        m_x = float(xp.max(xp.abs(x))) if problem.n_q else 0.0
        _check_size(
            self.polynomial.coefficients, problem, m_x, self.reach, self.keys, (self.high, self.low)
        )
        sums = read_states(x, self.sums, degree, xp)
        denominator = xp.where(
            sums[..., -1:] > 0, sums[..., -1:], xp.full_like(sums[..., -1:], xp.nan)
        )
        return Approximation(
            value=sums[..., :-1] / denominator,
            certificate=self._certificate(
                problem, m_x, _arrays.to_host(denominator[..., 0]).astype(np.float64)
            ),
        )

    def save(self, path: str | Path) -> None:
        """Write the state to an .npz file of plain arrays."""
        p = self.polynomial
        arrays: dict[str, Any] = {name: _arrays.to_host(getattr(self, name)) for name in ARRAYS}
        arrays["tolerance"] = math.nan if self.tolerance is None else self.tolerance
        arrays |= {
            "scale": self.scale,
            "reach": self.reach,
            "additions": self.additions,
            "half_range": p.half_range,
        }
        with Path(path).open("wb") as file:
            np.savez(
                file,
                format=FORMAT,
                basis=p.basis,
                coefficients=np.asarray(p.coefficients),
                **arrays,
            )

    @classmethod
    def load(cls, path: str | Path, *, like: Array | None = None) -> PolynomialState:
        """Read a state that `save` wrote, into the library and onto the device of `like` (NumPy if
        None).

        Raises
        ------
        ValueError
            If the file is none of ours, or this version makes another polynomial of that degree and
            interval.
        """
        with np.load(Path(path), allow_pickle=False) as file:
            if "format" not in file or str(file["format"]) != FORMAT:
                msg = f"path(={str(path)!r}) holds no {FORMAT}: write it with PolynomialState.save"
                raise ValueError(msg)
            found = {name: file[name] for name in file.files}
        coefficients = tuple(float(c) for c in found["coefficients"])
        basis, half_range = str(found["basis"]), float(found["half_range"])
        polynomial = exp_polynomial(len(coefficients) - 1, half_range, basis)
        if polynomial.coefficients != coefficients:
            msg = (
                f"path(={str(path)!r}) holds sums with another {basis} polynomial than this "
                "version's: make the state anew"
            )
            raise ValueError(msg)
        arrays: dict[str, Any] = {name: found[name] for name in ARRAYS}
        if like is not None:
            arrays |= {name: _arrays.from_host(arrays[name], like) for name in ("centre", "sums")}
        # absent from files of states before there were tolerances
        tolerance = float(found.get("tolerance", math.nan))
        return cls(
            tolerance=None if math.isnan(tolerance) else tolerance,
            polynomial=polynomial,
            scale=float(found["scale"]),
            reach=float(found["reach"]),
            additions=int(found["additions"]),
            **arrays,
        )

    def _certificate(self, problem: Problem, m_x: float, denominator: HostArray) -> Certificate:
        u, g, p = problem.u, self.polynomial.degree, self.polynomial
        bound = up(self.scale * query_norms(problem) * self.radius[..., None] * (1 + 4 * u))
        inside = bound <= p.half_range
        spread, keys = spread_of(self.high, self.low), self.keys[..., None]
        roundings = feature_roundings(problem.d, g) + self.additions + 2 + 3 * g
        tiny = _arrays.smallest_normal(problem.dtype)
        lost = underflow("features", p.coefficients, bound, m_x, self.reach, problem.d, tiny)
        noise = weight_noise(denominator, keys, gamma(roundings, u) * p.absolute(bound), lost)
        rounding = output_rounding(
            denominator, keys, noise, lost, spread.top[..., None], problem.dtype
        )
        tv = np.where(inside, tv_from_log_ratio(p.log_ratio(np.where(inside, bound, 0.0))), np.inf)
        rows = np.where(inside, up(output_bound(tv, spread.osc) + rounding), np.inf)
        facts = {
            "basis": p.basis,
            "degree": g,
            "rank": rank(problem.d, g),
            "keys": self.keys,
            "score bound": bound,
            "rounding": rounding,
        }
        if self.tolerance is not None:
            facts["tolerance"] = self.tolerance
        unmet = self._unmet(rows, inside, ~(denominator > 0), spread.osc, problem.dtype)
        theorem = "ours.even-taylor" if p.basis == "taylor" else "ours.hilbert"
        return Certificate(rows=rows, target=SOFTMAX, theorem=theorem, facts=facts, unmet=unmet)

    def _unmet(
        self, rows: HostArray, inside: HostArray, lost: HostArray, osc: HostArray, dtype: str
    ) -> tuple[str, ...]:
        found = []
        if not inside.all():
            b = self.polynomial.half_range
            found.append(
                f"{int(np.sum(~inside))} query(s) may have scores beyond {b:.4g}, the half range "
                "of the state"
            )
        if lost.any():
            found.append(
                f"{int(np.sum(lost))} denominator(s) are lost to rounding in {dtype} and their "
                "rows are NaN"
            )
        promised = np.inf if self.tolerance is None else self.tolerance * osc[..., None]
        if missed := int(np.sum(np.isfinite(rows) & (rows > promised))):
            told = f"tolerance {self.tolerance:g} osc(V) is not certified for {missed} query(s)"
            found.append(f"{told}: rounding in {dtype} takes more than truncation leaves")
        return tuple(found)

    def _pose(self, q: Array) -> Problem:
        """Check the queries as `attention` would, beside one key of zeros."""
        xp = _arrays.namespace(q=q, state=self.sums)
        zeros = xp.zeros((1, self.centre.shape[-1]), dtype=q.dtype, device=_arrays.device(q))
        problem = pose(q, zeros, zeros, scale=self.scale)
        batch = tuple(self.sums.shape[:-2])
        if problem.batch != batch:
            msg = f"q has leading axes {problem.batch}, the state {batch}: make them equal"
            raise ValueError(msg)
        if problem.dtype != _arrays.dtype_name(self.sums):
            msg = (
                f"q is computed in {problem.dtype}, the state in {_arrays.dtype_name(self.sums)}: "
                "cast q to the dtype of the keys"
            )
            raise TypeError(msg)
        return problem

    def _check_like(self, other: PolynomialState) -> None:
        mine, theirs = self._terms(), other._terms()
        for name, value in mine.items():
            if theirs[name] != value:
                msg = (
                    f"other has {name} {theirs[name]}, this state {value}: only states of one kind "
                    "can be merged"
                )
                raise ValueError(msg)
        xp = _arrays.namespace(state=self.sums, other=other.sums)
        if not bool(xp.all(self.centre == other.centre)):
            msg = "other has another centre of the keys: make both states with the same centre"
            raise ValueError(msg)

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
    problem = pose(k, k, v, scale=scale, key_mask=key_mask)
    xp, shape = problem.xp, (*problem.batch, 1, problem.d)
    if centre is None:
        centre = xp.zeros(shape, dtype=problem.k.dtype, device=_arrays.device(problem.k))
    _arrays.namespace(k=k, centre=centre)
    middle = xp.broadcast_to(_arrays.cast(centre, problem.dtype, xp), shape)
    y = problem.k - middle
    if problem.key_mask is not None:
        y = xp.where(problem.key_mask[..., None], y, xp.zeros_like(y))
    high, low = problem.value_range
    mask = None if problem.key_mask is None else _arrays.to_host(problem.key_mask)
    keys = np.full(problem.batch, problem.n_k) if mask is None else np.sum(mask, axis=-1)
    reach = float(xp.max(xp.abs(y))) if y.size else 0.0
    _check_size(polynomial.coefficients, problem, 0.0, reach, keys, (high, low))
    return PolynomialState(
        polynomial=polynomial,
        scale=problem.scale,
        centre=middle,
        sums=states(y, values_and_one(problem), polynomial.coefficients, xp),
        radius=visible_max(row_norms(y, xp), problem),
        reach=reach,
        high=high,
        low=low,
        keys=np.asarray(keys),
        additions=key_sum_terms(problem.n_k, problem.d, polynomial.degree, causal=False),
        tolerance=tolerance,
    )


def _check_size(
    coefficients: tuple[float, ...],
    problem: Problem,
    m_x: float,
    m_y: float,
    keys: HostArray,
    ends: tuple[HostArray, HostArray],
) -> None:
    """Refuse sums that could overflow the dtype."""
    top = max(1.0, float(np.max(spread_of(*ends).top, initial=0.0)))
    size = (
        largest_partial_sum(coefficients, problem.d, m_x, m_y)
        * float(np.max(keys, initial=0))
        * top
    )
    if not size < _arrays.largest(problem.dtype) / 16:
        msg = (
            f"entries of up to {m_x:.3g} (scaled queries) and {m_y:.3g} (centred keys) can make "
            f"sums of {size:.3g}, which overflows {problem.dtype}: lower the degree, centre or "
            "rescale the keys, or use float64"
        )
        raise ValueError(msg)
