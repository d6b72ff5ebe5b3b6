"""Attention with exp replaced by a polynomial: linear in n, with an a-priori bound for every row.

Alman & Song (2023, 2024) and Liang et al. (2024) replace A = exp(beta Q K^T) by P(beta Q K^T),
whose rank is C(d + g, g). Here the keys are first centred, and the queries too (`centring`: exact).
P is one of four: the even Taylor polynomial, whose ratio to exp is known for any score (T2); or,
on the interval in which the scores lie, the polynomial of least relative error, the truncated
Chebyshev series (T1), or the one midway between the best ones below and above exp for normally
distributed scores. The moments of each row's scores, parts of its denominator, bound the error of
the first and the last far below what the interval says (T5).

The sums and their rounding: `forward`; the gradients: `gradient`; what `tolerance` chooses: `plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn._arrays import Array
from approxattn._arrays.entry import public
from approxattn._problem import Problem, quietly
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.certificate import SOFTMAX, Approximation, Certificate, Gradients, unclaimed
from approxattn.exponential.degree import check_degree
from approxattn.methods.costs import Costed, Size
from approxattn.methods.polynomials.anisotropic.attention import (
    anisotropic,
    anisotropic_gradient,
    anisotropic_output,
)
from approxattn.methods.polynomials.anisotropic.sums import SplitForward
from approxattn.methods.polynomials.centring import CentredScores, centre_scores
from approxattn.methods.polynomials.choosing.beforehand import (
    polynomial_beforehand,
    refuse_what_needs_queries,
)
from approxattn.methods.polynomials.choosing.cost import backward, multiply_adds, sums_bytes
from approxattn.methods.polynomials.choosing.output_certificate import (
    output_certificate,
)
from approxattn.methods.polynomials.choosing.plan import (
    Plan,
    exact_gradient,
    exact_output,
    first_kept,
    given_for,
    polynomial_for,
)
from approxattn.methods.polynomials.choosing.settings import check_settings
from approxattn.methods.polynomials.crossing.gradient_certificate import gradient_certificate
from approxattn.methods.polynomials.crossing.kept import kept
from approxattn.methods.polynomials.folding.open_state import MomentState, opened
from approxattn.methods.polynomials.forward import Forward, forward, taylor_value
from approxattn.methods.polynomials.gradient import polynomial_gradient
from approxattn.methods.polynomials.sharding.causal_gradient import (
    PolynomialCausalGradientShards,
)
from approxattn.methods.polynomials.sharding.gradient import PolynomialGradientShards
from approxattn.methods.polynomials.sharding.shards import PolynomialShards
from approxattn.methods.polynomials.state import PolynomialState, fold
from approxattn.methods.protocol import Sizes
from approxattn.methods.sharded import Call


@dataclass(frozen=True, kw_only=True)
class Polynomial(Costed):
    """Polynomial-kernel attention.

    Parameters
    ----------
    degree : int, optional
        Degree g of the polynomial; even for basis="taylor". Give this or `tolerance`.
    tolerance : float, optional
        t in (0, 1): the degree is chosen so that ``|out - exact| <= t osc(V column)`` for every
        row, from a score bound that costs O(n d).
    coefficients : sequence of float, optional
        c_0, c_1 ... c_g of a polynomial of your own, instead of a degree, a tolerance and a basis.
        Its certificate rests on the moments of the scores, whatever the coefficients are; rows
        about which they say nothing have no bound, and the certificate says so.
    basis : {"minimax", "chebyshev", "taylor", "one-sided"}, optional
        Least relative error on the interval of the scores; the truncated Chebyshev series there, in
        closed form but of higher degree for the same error; the even Taylor polynomial, which
        serves any scores; or the one midway between the best polynomials below and above exp for
        normally distributed scores, which reaches most tolerances with the fewest features. None
        means "minimax" for a degree and, for a tolerance, whichever reaches it with the lowest
        degree.
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

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.Polynomial(degree=4, basis="taylor"))
    >>> exact = aa.attention(q, k, v, aa.Exact()).value
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
    True
    """

    degree: int | None = None
    tolerance: float | None = None
    coefficients: tuple[float, ...] | None = None
    basis: str | None = None
    gradient: str = "consistent"
    centre: str = "both"
    index: str = "full"
    fallback: bool = True

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True
    sees_earlier_keys: ClassVar[bool] = True
    folds_heads: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def _degree(self) -> int | None:
        """The degree where it is known beforehand."""
        return self.degree if self.coefficients is None else len(self.coefficients) - 1

    @property
    def folds_causal_heads(self) -> bool:
        """Whether keys are folded once a group under causal order: not where exact attention may
        step in.
        """
        return self.tolerance is None

    @property
    def value_alone(self) -> bool:
        """Whether the value needs no bound: others choose their polynomial by one."""
        return self.degree is not None and self.basis == "taylor" and self.index == "full"

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings that are compared at equal cost."""
        return (Sizes(make=lambda g: cls(degree=g, basis="taylor"), step=2),)

    @property
    def why_not_linear(self) -> str:
        """Why the output is not linear in v; empty where it is."""
        return "its degree follows from v; give a degree" if self._degree is None else ""

    def _multiply_adds(self, size: Size) -> float:
        return multiply_adds(size, self._known_degree())

    def _bytes(self, size: Size) -> float:
        return self._held(size) + sums_bytes(size, self._known_degree())

    def _held(self, size: Size) -> float:
        return size.held(3, 2, double=20)

    def _backward_cost(self, size: Size) -> tuple[float, float]:
        return backward(size, self._known_degree(), self._held(size))

    def _known_degree(self) -> int:
        if self._degree is None:
            msg = f"tolerance(={self.tolerance}) leaves the degree to the data: give a degree"
            raise ValueError(msg)
        return self._degree

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate by T1 or T2."""
        del rng
        if not problem.certify and self.value_alone:
            value = taylor_value(problem, self.degree or 0, self.centre)
            return Approximation(value=value, certificate=unclaimed(tuple(value.shape[:-1])))
        scores = centre_scores(problem, self.centre)
        split = self._anisotropic(problem, scores)
        if split is not None and self.tolerance is not None:
            return anisotropic_output(split, self.range_basis, self.tolerance)
        run = self._run(problem, scores)
        if isinstance(run, Plan):
            return exact_output(problem, run, self.tolerance or 0.0)
        if self.tolerance is not None:  # what was promised is judged at the call
            certificate = output_certificate(run, self.tolerance)
        else:
            certificate = Certificate.later(output_certificate, kept(run), target=SOFTMAX)
        return Approximation(value=run.value, certificate=certificate)

    @property
    def gradient_of_output(self) -> bool:
        """Whether `vjp` differentiates the output: not so plug-in, or directions held fixed."""
        return self.gradient == "consistent" and self.index == "full"

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv of the kind asked for, and their certificate by T3."""
        del rng
        scores = centre_scores(problem, self.centre)
        split = self._anisotropic(problem, scores)
        if split is not None:
            return anisotropic_gradient(split, dout, self.range_basis, self.gradient)
        run = self._run(problem, scores, keep=self.gradient == "consistent")
        if isinstance(run, Plan):
            return exact_gradient(problem, run, dout)
        dq, dk, dv = polynomial_gradient(run, dout, self.gradient)
        if not problem.certify:
            return Gradients(
                dq=dq, dk=dk, dv=dv, certificate=no_gradient_bounds(problem).certificate()
            )
        certificate = gradient_certificate(run, dout, self.gradient)
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    @public()
    @quietly
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
        polynomial = polynomial_beforehand(
            half_range,
            degree=self.degree,
            tolerance=self.tolerance,
            coefficients=self.coefficients,
            basis=self.basis,
            range_basis=self.range_basis,
            index=self.index,
        )
        return fold(k, v, polynomial, centre, scale, key_mask, self.tolerance)

    @public()
    @quietly
    def open_state(
        self,
        k: Array,
        v: Array,
        *,
        degree: int | None = None,
        scale: float | None = None,
        centre: Array | None = None,
        key_mask: Array | None = None,
    ) -> MomentState:
        """Fold keys and values without the coefficients of a polynomial: half range and degree are
        chosen when queries come, so none must be known beforehand.

        Parameters
        ----------
        k, v, scale, centre, key_mask
            As for `state`.
        degree : int, optional
            Highest degree whose sums are kept; needed with a tolerance, the degree of the method
            otherwise.

        Returns
        -------
        MomentState
            With the calls of a `PolynomialState`.

        Raises
        ------
        TypeError, ValueError
            What `state` refuses; coefficients of your own; no degree, or two.

        Examples
        --------
        >>> import numpy as np, approxattn as aa
        >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 100, 8))
        >>> state = aa.Polynomial(tolerance=0.05).open_state(k, v, degree=8)
        >>> out = state.query(q)
        >>> out.certificate.facts["degree"], state.query(q / 10).certificate.facts["degree"]
        (3, 1)
        """
        if self.coefficients is not None:
            msg = "coefficients of your own are those of a polynomial: use state(half_range=)"
            raise ValueError(msg)
        if (degree is None) == (self.degree is None):
            msg = (
                f"degree(={degree}) of a method with degree {self.degree}: one of them, and not "
                "both, says which sums are kept"
            )
            raise ValueError(msg)
        kept = self.degree if degree is None else degree
        assert kept is not None  # noqa: S101 - one of them is given
        check_degree(kept, self.range_basis)
        refuse_what_needs_queries(self.basis, self.index)
        found = self.range_basis, self.tolerance, int(kept)
        return opened(k, v, *found, centre, scale, key_mask)

    # Protocol.
    def shards(self, call: Call) -> PolynomialShards:
        """Return this method as it works on blocks of tokens (`approxattn.methods.sharded`)."""
        return PolynomialShards(method=self, call=call)

    # Protocol.
    def gradient_shards(self, call: Call) -> PolynomialGradientShards:
        """Return its gradient as it works on blocks of tokens; the centre of the keys is held
        fixed.
        """
        kind = PolynomialCausalGradientShards if call.causal else PolynomialGradientShards
        return kind(method=self, call=call)

    @property
    def range_basis(self) -> str:
        """The basis where nothing is known of the scores but their range."""
        return "minimax" if self.basis in (None, "one-sided") else self.basis or "minimax"

    def _run(
        self, problem: Problem, scores: CentredScores, *, keep: bool = False
    ) -> Forward | Plan:
        """Return the sums of the polynomial chosen, or why exact attention takes their place."""
        if self.tolerance is not None:
            return first_kept(
                problem, scores, self.tolerance, self.basis, fallback=bool(self.fallback), keep=keep
            )
        if self.coefficients is not None:
            polynomial = given_for(scores, self.coefficients)
        else:
            polynomial = polynomial_for(scores, self.degree or 0, self.basis or "minimax")
        return forward(problem, scores, polynomial, keep=keep)

    def _anisotropic(self, problem: Problem, scores: CentredScores) -> SplitForward | None:
        """Return the sums with an anisotropic set of monomials where one is asked for and pays."""
        if self.index != "anisotropic" or self.tolerance is None:
            return None
        return anisotropic(problem, scores, self.tolerance, self.range_basis, bool(self.fallback))
