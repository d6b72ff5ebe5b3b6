"""Attention with exp replaced by a polynomial: linear in n, with an a-priori bound for every row.

Alman & Song (2023, 2024) and Liang et al. (2024) replace A = exp(beta Q K^T) by P(beta Q K^T),
whose rank is C(d + g, g). Here the keys are first centred, and the queries too (`centring.py`:
exact), and P is the even Taylor polynomial, whose ratio to exp is known for any score (T2), or on
the interval in which the scores lie the polynomial of least relative error or the truncated
Chebyshev series (T1).

Rounding and the sums themselves: `approxattn.methods.polynomials.forward`; the gradients:
`approxattn.methods.polynomials.gradient`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.perturbation import output_bound, tv_from_log_ratio
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import value_spread
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
)
from approxattn.exponential import ExpPolynomial, degree_for, exp_polynomial
from approxattn.exponential.degree import BASES, check_degree
from approxattn.methods.exact import Exact
from approxattn.methods.polynomials.anisotropic import SplitForward
from approxattn.methods.polynomials.anisotropic_results import (
    anisotropic,
    anisotropic_gradient,
    anisotropic_output,
    lost_denominators,
)
from approxattn.methods.polynomials.centring import CENTRES, CentredScores, centre_scores
from approxattn.methods.polynomials.forward import Forward, forward
from approxattn.methods.polynomials.gradient import (
    KINDS,
    lost_rows,
    polynomial_gradient,
    polynomial_gradient_bounds,
)
from approxattn.methods.polynomials.state import PolynomialState, fold
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import cheapest_kind

INDICES = ("full", "anisotropic")


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Polynomial-kernel attention.

    Parameters
    ----------
    degree : int, optional
        Degree g of the polynomial; even for basis="taylor". Give this or `tolerance`.
    tolerance : float, optional
        t in (0, 1): the degree is chosen so that ``|out - exact| <= t osc(V column)`` for every
        row, from a score bound that costs O(n d).
    basis : {"minimax", "chebyshev", "taylor"}
        Least relative error on the interval of the scores; the truncated Chebyshev series there, in
        closed form but of higher degree for the same error; or the even Taylor polynomial, which
        serves any scores.
    gradient : {"consistent", "plug-in"}
        What `attention_vjp` returns: the exact gradient of the approximate output (what automatic
        differentiation gives, and what a gradient check expects), or the exact gradient formula
        with the softmax replaced by its approximation (the papers'; the more accurate one).
    centre : {"both", "keys", "none"}
        What is shifted by its mean, which changes no exact output and makes scores smaller: keys
        and, where that shortens the longest, queries (each key then gets a weight); or keys only;
        or nothing.
    index : {"full", "anisotropic"}
        Which monomials are used: all of degree up to g, or, with `tolerance`, high degrees in the
        directions where the scores are large and low degrees in the others, where that takes fewer
        (`approxattn.methods.polynomials.anisotropic`). Its gradients hold these directions fixed.
    fallback : bool
        With `tolerance`: whether exact attention steps in where no polynomial reaches the
        tolerance, or where the one that does has so many features that the sums would be taken by
        scores, which costs as much as exact attention and is less accurate. The certificate says
        when and why.

    Notes
    -----
    The interval and the centres come from all queries and keys, so the approximation error of a row
    (not the exact output) depends on other queries and, under `causal`, on later keys, within its
    bound. Where the longest query is about as long centred as not, a small change of the queries
    changes the decision to centre them, and the output jumps within its bound: `centre="keys"`
    keeps it smooth, as training wants. With `causal` a trained model learns to use what it sees of
    later keys; `centre="none"`, `basis="taylor"` and a degree let none through.
    """

    degree: int | None = None
    tolerance: float | None = None
    basis: str = "minimax"
    gradient: str = "consistent"
    centre: str = "both"
    index: str = "full"
    fallback: bool = True

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if (self.degree is None) == (self.tolerance is None):
            msg = f"degree(={self.degree}), tolerance(={self.tolerance}): give exactly one of them"
            raise ValueError(msg)
        if self.basis not in BASES:
            msg = f"basis(={self.basis!r}) must be one of {', '.join(BASES)}"
            raise ValueError(msg)
        if self.gradient not in KINDS:
            msg = f"gradient(={self.gradient!r}) must be one of {', '.join(KINDS)}"
            raise ValueError(msg)
        if self.centre not in CENTRES:
            msg = f"centre(={self.centre!r}) must be one of {', '.join(CENTRES)}"
            raise ValueError(msg)
        if self.index not in INDICES:
            msg = f"index(={self.index!r}) must be one of {', '.join(INDICES)}"
            raise ValueError(msg)
        if self.index == "anisotropic" and self.tolerance is None:
            msg = (
                f"index(='anisotropic') with degree(={self.degree}) has no degree of its own: give "
                "a tolerance in its place"
            )
            raise ValueError(msg)
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            msg = (
                f"tolerance(={self.tolerance}) must lie in (0, 1): it is a fraction of the spread "
                "of the values"
            )
            raise ValueError(msg)
        if self.degree is not None:
            if not isinstance(self.degree, int) or isinstance(self.degree, bool):
                msg = f"degree(={self.degree!r}) must be an int"
                raise TypeError(msg)
            check_degree(self.degree, self.basis)

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate by T1 or T2."""
        del rng
        scores = centre_scores(problem, self.centre)
        split = self._anisotropic(problem, scores)
        if split is not None:
            out = anisotropic_output(split, self.basis)
            unmet = out.certificate.unmet + self._missed(out.certificate.rows, problem)
            return replace(out, certificate=replace(out.certificate, unmet=unmet))
        plan = self._plan(problem, scores)
        if plan.exact:
            exact = Exact().compute(problem)
            reasons = exact.certificate.unmet + self._missed(exact.certificate.rows, problem)
            facts = {**plan.facts(), **exact.certificate.facts}
            return Approximation(
                value=exact.value,
                certificate=replace(exact.certificate, facts=facts, unmet=reasons),
            )
        run = forward(problem, scores, plan.polynomial(self.basis))
        return Approximation(value=run.value, certificate=self._certificate(run))

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv of the kind asked for, and their certificate by T3."""
        del rng
        scores = centre_scores(problem, self.centre)
        split = self._anisotropic(problem, scores)
        if split is not None:
            return anisotropic_gradient(split, dout, self.basis, self.gradient)
        plan = self._plan(problem, scores)
        if plan.exact:
            exact = Exact().vjp(problem, dout)
            facts = {**plan.facts(), **exact.certificate.facts}
            return replace(exact, certificate=replace(exact.certificate, facts=facts))
        run = forward(
            problem, scores, plan.polynomial(self.basis), keep=self.gradient == "consistent"
        )
        dq, dk, dv = polynomial_gradient(run, dout, self.gradient)
        bounds = polynomial_gradient_bounds(run, dout, self.gradient)
        certificate = GradientCertificate(
            dq=bounds.dq,
            dk=bounds.dk,
            dv=bounds.dv,
            target=SOFTMAX_GRADIENT,
            theorem="ours.gradient",
            facts={"gradient": self.gradient, **_facts(run)},
            unmet=lost_denominators(lost_rows(run), problem.dtype),
        )
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    def state(
        self,
        k: Array,
        v: Array,
        *,
        scale: float | None = None,
        centre: Array | None = None,
        half_range: float | None = None,
        key_mask: Array | None = None,
    ) -> PolynomialState:
        """Fold keys and values into sums of fixed size, for queries to come.

        Parameters
        ----------
        k, v : array, shapes (..., n, d), (..., n, dv)
            Keys and values.
        scale : float, optional
            As in `attention`.
        centre : array, shape (..., 1, d), optional
            Subtracted from every key, which changes no output; 0 if not given. The mean of the keys
            gives the smallest bounds. States can be merged only if they have the same.
        half_range : float, optional
            Bound on ``|scale q . (k - centre)|`` for the queries to come; needed unless
            basis="taylor" and a degree are given. Queries that may exceed it get no bound.
        key_mask : array of bool, shape (..., n), optional
            True where a key takes part.

        Returns
        -------
        PolynomialState
            With `query(q)`, `extend(k, v)`, `merge(other)`, `save(path)`. Of a method with
            `tolerance`, its certificates say where that is not kept. Queries are not centred
            (`centre` of the method): their mean is not known yet.

        Raises
        ------
        TypeError, ValueError
            What `attention` refuses; no `half_range` where one is needed; keys so large that the
            sums could overflow.

        Examples
        --------
        >>> import numpy as np, approxattn as aa
        >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 100, 8))
        >>> method = aa.Polynomial(degree=6, basis="taylor")
        >>> state = method.state(k[:60], v[:60]).extend(k[60:], v[60:])
        >>> out = state.query(q)
        >>> exact = aa.attention(q, k, v, aa.Exact())
        >>> bool((abs(out.value - exact.value).max(axis=-1) <= out.certificate.rows).all())
        True
        """
        if self.index == "anisotropic":
            msg = (
                "index(='anisotropic') chooses its monomials from the queries, which a state does "
                "not know: use index='full'"
            )
            raise ValueError(msg)
        if half_range is None and not (self.basis == "taylor" and self.degree is not None):
            msg = (
                f"half_range(={half_range}) must bound |scale q.(k - centre)| of the queries to "
                "come: give it, or basis='taylor' and a degree"
            )
            raise ValueError(msg)
        reach = 0.0 if half_range is None else float(half_range)
        if not 0 <= reach < math.inf:
            msg = f"half_range(={half_range}) must be a finite number >= 0"
            raise ValueError(msg)
        degree = (
            degree_for(reach, self.tolerance, self.basis)
            if self.tolerance is not None
            else self.degree or 0
        )
        return fold(
            k, v, exp_polynomial(degree, reach, self.basis), centre, scale, key_mask, self.tolerance
        )

    def _plan(self, problem: Problem, scores: CentredScores) -> _Plan:
        """Choose the degree, or exact attention."""
        half_range = float(np.max(scores.bound))
        if self.tolerance is None:
            return _Plan(half_range=half_range, degree=self.degree)
        try:
            degree = degree_for(half_range, self.tolerance, self.basis)
        except ValueError as error:
            if not self.fallback:
                raise
            return _Plan(half_range=half_range, degree=None, exact=str(error).partition(":")[0])
        kind = cheapest_kind(problem.n_q, problem.n_k, problem.d, degree, problem.dv + 1)
        reason = ""
        if self.fallback and kind == "scores":
            features, shape = (
                rank(problem.d, degree),
                f"{problem.n_q} queries and {problem.n_k} keys",
            )
            reason = f"the {features} features of degree {degree} cost more for {shape}"
        return _Plan(half_range=half_range, degree=degree, exact=reason)

    def _anisotropic(self, problem: Problem, scores: CentredScores) -> SplitForward | None:
        """Return the sums with an anisotropic set of monomials where one is asked for and pays."""
        if self.index != "anisotropic" or self.tolerance is None:
            return None
        return anisotropic(problem, scores, self.tolerance, self.basis, self.fallback)

    def _missed(self, rows: HostArray, problem: Problem) -> tuple[str, ...]:
        """Say when the tolerance is not certified."""
        osc = value_spread(problem).osc
        if self.tolerance is None or not bool(np.any(rows > self.tolerance * osc[..., None])):
            return ()
        return (
            f"tolerance {self.tolerance:g} osc(V) is not certified: rounding in {problem.dtype} "
            "takes more than what truncation leaves",
        )

    def _certificate(self, run: Forward) -> Certificate:
        osc = value_spread(run.problem).osc
        tv = tv_from_log_ratio(run.log_ratio())
        rounding = run.output_rounding
        rows = up(output_bound(tv, osc) + rounding)
        return Certificate(
            rows=rows,
            target=SOFTMAX,
            theorem="ours.even-taylor" if self.basis == "taylor" else "ours.hilbert",
            facts={**_facts(run), "truncation, in units of osc(V)": tv, "rounding": rounding},
            unmet=lost_denominators(lost_rows(run), run.problem.dtype)
            + self._missed(rows, run.problem),
        )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The polynomial of a call; `exact` is the reason for exact attention in its place, empty when
    there is none.
    """

    half_range: float
    degree: int | None
    exact: str = ""

    def polynomial(self, basis: str) -> ExpPolynomial:
        """Return it."""
        return exp_polynomial(self.degree or 0, self.half_range, basis)

    def facts(self) -> dict[str, object]:
        """Return what a certificate of exact attention tells of it."""
        told: dict[str, object] = {"computed by": "exact attention", "because": self.exact}
        return told if self.degree is None else {**told, "degree": self.degree}


def _share(flags: HostArray) -> str:
    """Say where something holds: yes, no, or for how many leading indices."""
    return (
        "yes" if flags.all() else "no" if not flags.any() else f"{int(flags.sum())} of {flags.size}"
    )


def _facts(run: Forward) -> dict[str, object]:
    degree = run.polynomial.degree
    return {
        "basis": run.polynomial.basis,
        "degree": degree,
        "rank": rank(run.problem.d, degree),
        "evaluated by": run.kernel.kind,
        "score bound": run.scores.bound,
        "queries centred": _share(run.scores.centred),
    }
