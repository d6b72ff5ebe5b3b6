"""The certificate of a query of a `PolynomialState`.

As in `forward`, for keys of weight 1 and scores of at most B_i = beta |q_i| max_j |k_j - c|: K
counts what has nothing to do with the number of keys, the additions behind a sum, and 3 g for the
rounding of queries and keys.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.bounds.moments import l1_norm
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import gamma, times, up, whole_power
from approxattn.bounds.scores import query_norms, spread_of
from approxattn.certificate import SOFTMAX, Certificate
from approxattn.exponential import ExpPolynomial
from approxattn.methods.polynomials.moment_error import Parts, moment_error, theorem_for
from approxattn.methods.polynomials.row_rounding import (
    Columns,
    all_within,
    promise,
    row_rounding,
    weight_noise,
)
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import feature_roundings, parts_underflow, underflow


class Remembered(Protocol):
    """What the certificate needs of a state; see `PolynomialState`."""

    @property
    def polynomial(self) -> ExpPolynomial:
        """P."""
        ...

    @property
    def scale(self) -> float:
        """beta."""
        ...

    @property
    def radius(self) -> HostArray:
        """Largest length of a centred key."""
        ...

    @property
    def reach(self) -> float:
        """Largest entry of a centred key."""
        ...

    @property
    def high(self) -> HostArray:
        """Largest value of each column."""
        ...

    @property
    def low(self) -> HostArray:
        """Smallest value of each column."""
        ...

    @property
    def keys(self) -> HostArray:
        """Number of keys."""
        ...

    @property
    def additions(self) -> int:
        """Longest chain of additions."""
        ...

    @property
    def closing(self) -> int:
        """Roundings of coefficients that the sums got after folding."""
        ...

    @property
    def tolerance(self) -> float | None:
        """What was promised."""
        ...


def state_certificate(
    state: Remembered,
    problem: Problem,
    largest_query: float,
    denominator: HostArray,
    parts: HostArray,
    counts: HostArray | None = None,
) -> Certificate:
    """Return the certificate of queries posed as `problem`, whose largest scaled entry is given,
    with the denominators and their parts by degree.

    `counts`, shape (..., n_q), says how many keys each query saw, where it did not see all.
    """
    p, u, degree = state.polynomial, problem.u, state.polynomial.degree
    seen = (state.keys > 0)[..., None]
    keys = state.keys[..., None] if counts is None else counts
    columns = Columns(high=np.where(seen, state.high, 0.0), low=np.where(seen, state.low, 0.0))
    spread = spread_of(columns.high, columns.low)
    bound = up(state.scale * query_norms(problem) * state.radius[..., None] * (1 + 4 * u))
    inside = bound <= p.half_range
    roundings = feature_roundings(problem.d, degree) + state.additions + 2 + 3 * degree
    roundings += state.closing
    tiny = _arrays.smallest_normal(problem.dtype)
    lost = underflow("features", p.coefficients, bound, largest_query, state.reach, problem.d, tiny)
    error = gamma(roundings, u) * p.absolute(bound)
    noise = weight_noise(denominator, error * keys, lost * keys)
    rounding = row_rounding(denominator, keys, noise, lost, problem.dtype)
    within_range = np.where(inside, bound, 0.0)
    ratio = np.where(inside, p.log_ratio(within_range), np.inf)
    positive = np.isfinite(ratio)  # of weights of both signs T1 says nothing
    by_range = np.where(positive, tv_from_log_ratio(ratio), np.inf)
    whole = np.broadcast_to(keys, bound.shape).astype(np.float64)
    of_parts = parts_underflow(lost, p.coefficients, bound, tiny)
    seen_parts = Parts(
        found=parts,
        total=whole,
        power=lambda t: whole_power(bound, t) * whole,
        rounding=gamma(roundings, u),
        lost=np.maximum(of_parts, lost) * keys,
    )
    mu = moment_error(p, bound, seen_parts, denominator, noise)
    tv = np.where(inside, np.minimum(by_range, mu), np.inf)
    rounding = rounding.of_signed(l1_norm(mu, positive))
    total = up(times(tv, spread.osc[..., None]) + rounding.rows(spread.top))
    rows = np.where(inside & seen, total, np.inf)
    facts = {
        "basis": p.basis,
        "degree": degree,
        "rank": rank(problem.d, degree),
        "keys": state.keys,
        "score bound": bound,
        "rounding": rounding.rows(spread.top),
    }
    promised = None
    if state.tolerance is not None:
        facts["tolerance"] = state.tolerance
        within = all_within(state.tolerance, columns, tv, rounding, problem)
        promised = promise(state.tolerance, columns, rows, within, problem)
    return Certificate(
        rows=rows,
        target=SOFTMAX,
        theorem=theorem_for(p, mu, by_range),
        facts=facts,
        unmet=_unmet(state, inside, ~(denominator > 0) & seen, problem.dtype)
        + _unknown(inside & seen & (denominator > 0) & ~np.isfinite(tv)),
        promised=promised,
    )


def _unknown(rows: HostArray) -> tuple[str, ...]:
    if not rows.any():
        return ()
    return (
        f"{int(np.sum(rows))} query(s): the polynomial is not known to be positive where their "
        "scores lie, and their moments do not bound its error",
    )


def _unmet(state: Remembered, inside: HostArray, lost: HostArray, dtype: str) -> tuple[str, ...]:
    reasons = []
    unseen = int(np.sum(state.keys == 0))
    if unseen:
        reasons.append(f"{unseen} item(s) have seen no key and their rows are NaN")
    if not inside.all():
        reasons.append(
            f"{int(np.sum(~inside))} query(s) may have scores beyond "
            f"{state.polynomial.half_range:.4g}, the half range of the state"
        )
    if lost.any():
        reasons.append(
            f"{int(np.sum(lost))} denominator(s) are lost to rounding in {dtype} and their rows "
            "are NaN"
        )
    return tuple(reasons)
