"""Attention with exp replaced by the polynomial that fits sampled rows of the data at hand.

The polynomials of `Polynomial` serve every score in an interval, and real heads have wide ones.
Here the scores are first reduced (exactly), and the coefficients fitted to the outputs of some
rows: `approxattn.methods.polynomials.fitting`. Nothing is known of the other rows beforehand. So
that no row can go astray

- a denominator must reach half of what Jensen's inequality promises of the exact one, W (W_i
  exp(mean score) under a causal mask, over the keys that row i sees); a row whose does not gets the
  w-weighted mean of the values;
- every entry is brought into the range of its column of v, where the exact one lies. That can only
  reduce its error (proved here: it is the nearest point of an interval that holds the exact entry).

Each row's certificate is the smaller of two. The range of v bounds any output. The moments of the
row's scores bound the quotient (T5, `approxattn.exponential.given`), and by the second item the
output, too; of a row that was given the mean they say nothing. The gradient is that of the output
for the coefficients held fixed; it has no bound.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_integer
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.rounding import times, up
from approxattn.bounds.scores import value_spread
from approxattn.bounds.values import range_bound
from approxattn.certificate import (
    SOFTMAX,
    Approximation,
    Certificate,
    Gradients,
)
from approxattn.methods.polynomials.fitting.fit import (
    ReducedScores,
    fit_coefficients,
    reduce_scores,
)
from approxattn.methods.polynomials.fitting.gradient import Evaluated, fitted_gradient
from approxattn.methods.polynomials.fitting.sums import fitted_sums, scores_of_reduction
from approxattn.methods.polynomials.forward import Forward
from approxattn.methods.polynomials.moment_error import theorem_for
from approxattn.methods.protocol import Cost, Sizes
from approxattn.monomials.index import rank
from approxattn.softmax.rows import choose

MAX_DEGREE = 16
"""*Chosen*: moments of twice the degree must not drown in rounding."""


@dataclass(frozen=True, kw_only=True)
class FittedPolynomial:
    """Polynomial-kernel attention with coefficients fitted to some exact rows.

    Parameters
    ----------
    degree : int
        Degree g of the polynomial, 0 to 16; C(d + g, g) features.
    rows : int
        Number of queries whose exact output is fitted, evenly spaced; each costs O(n_k (d + g dv)).

    Raises
    ------
    TypeError
        If a parameter is not an int.
    ValueError
        If it is out of its range.

    Notes
    -----
    The certificate of a row is the smaller of what the moments of its scores say and what the range
    of v alone implies; where the scores are large or the degree is low that is the latter, and
    `audit` measures. The gradient does not pass through the fit: it is the exact one of the output
    as a function of q, k and v with the coefficients of this call. Under `causal` the coefficients
    and the centre of the keys come from all keys, and the queries are not centred.
    """

    degree: int
    rows: int = 64

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_integer(
            "degree", self.degree, 0, MAX_DEGREE, "moments of twice the degree drown in rounding"
        )
        check_integer("rows", self.rows, 1)

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings that are compared at equal cost."""
        return (Sizes(make=lambda g: cls(degree=g), step=2),)

    def multiply_adds(self, problem: Problem) -> Cost:
        """Return r (dv + 2) for each query and each key, r = C(d + g, g) features, and the exact
        output of the rows fitted.
        """
        each = rank(problem.d, self.degree) * (problem.dv + 2)
        width = problem.d + problem.dv

        def cost(queries: float, keys: float) -> float:
            return each * (1 + keys / queries) + min(self.rows, queries) * keys * width / queries

        return cost

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate, by T5 or the range of v."""
        del rng
        runs = list(self._runs(problem))
        value = _joined([run.evaluated.value for run in runs], problem)
        widest = range_bound(value, problem)
        sharp = np.reshape([run.sharp for run in runs], widest.shape)
        by_range = ~(sharp < widest)
        certificate = Certificate(
            rows=np.minimum(widest, sharp),
            target=SOFTMAX,
            theorem=_theorem(runs, np.minimum(widest, sharp), by_range),
            facts={
                **self._facts(runs, problem),
                "rows bounded by the range of v": int(np.sum(by_range)),
            },
            unmet=_unmet(by_range),
        )
        return Approximation(value=value, certificate=certificate)

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv of the output for the cotangent dout, shape (..., n_q, dv), the fitted
        coefficients held fixed.
        """
        del rng
        runs = list(self._runs(problem))
        gradients = [
            fitted_gradient(run.evaluated, run.item, run.reduced, dout[(*run.index, ...)])
            for run in runs
        ]
        dq, dk, dv = (_joined(list(items), problem) for items in zip(*gradients, strict=True))
        certificate = no_gradient_bounds(problem).certificate(
            facts={"gradient": "consistent, for fixed coefficients", **self._facts(runs, problem)},
            unmet=(
                "no theorem bounds the gradient of a fitted polynomial; `audit` measures outputs",
            ),
        )
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    def _runs(self, problem: Problem) -> Iterator[_Run]:
        """Reduce, fit and evaluate each leading index."""
        xp, reduced = problem.xp, reduce_scores(problem)
        rows = choose(problem.n_q, self.rows, None)
        for index in itertools.product(*(range(n) for n in problem.batch)):
            item = problem.item(index)
            scores = reduced.item(index)
            values = _arrays.cast(item.v, _arrays.dtype_name(scores.keys), xp)
            coefficients = fit_coefficients(scores, values, rows, self.degree, problem.causal, xp)
            run = fitted_sums(item, scores_of_reduction(item, scores), coefficients)
            yield _Run(
                index=index, item=item, reduced=scores, forward=run, evaluated=_evaluate(run)
            )

    def _facts(self, runs: list[_Run], problem: Problem) -> dict[str, object]:
        coefficients = np.asarray([run.forward.polynomial.coefficients for run in runs])
        return {
            "degree": self.degree,
            "rank": rank(problem.d, self.degree),
            "rows fitted": len(choose(problem.n_q, self.rows, None)),
            "rows mended": sum(run.mended for run in runs),
            "coefficients": np.reshape(coefficients, (*problem.batch, self.degree + 1)),
        }


def _theorem(runs: list[_Run], rows: HostArray, by_range: HostArray) -> str:
    """Return the key of what bounds the row with the largest bound."""
    if not rows.size:
        return "ours.value-range"
    largest = int(np.argmax(rows))
    if by_range.ravel()[largest]:
        return "ours.value-range"
    run = runs[largest // rows.shape[-1]].forward
    return theorem_for(run.polynomial, run.mu, run.by_range)


def _unmet(by_range: HostArray) -> tuple[str, ...]:
    if not np.any(by_range):
        return ()
    return (
        f"of {int(np.sum(by_range))} row(s) of {by_range.size} the moments of the scores say no "
        "more than the range of v, which is their bound: `audit` measures; a higher degree or "
        "smaller scores help",
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One leading index."""

    index: tuple[int, ...]
    item: Problem
    reduced: ReducedScores
    forward: Forward
    evaluated: Evaluated

    @property
    def sharp(self) -> HostArray:
        """The bound on the quotients, shape (n_q,), and so on the output: it is brought nearer to
        the exact one. inf for the rows that were mended.
        """
        run = self.forward
        rows = up(times(run.tv, value_spread(self.item).osc[..., None]) + run.output_rounding)
        fine = _arrays.to_host(self.evaluated.fine)[..., 0]
        return np.where(fine & np.isfinite(rows), rows, np.inf)

    @property
    def mended(self) -> int:
        """Number of rows that needed mending."""
        xp = self.item.xp
        return int(xp.sum(xp.astype(~self.evaluated.fine, xp.int64)))


def _joined(items: list[Array], problem: Problem) -> Array:
    """Return the leading indices in one array."""
    return problem.xp.reshape(problem.xp.stack(items), (*problem.batch, *items[0].shape))


def _evaluate(run: Forward) -> Evaluated:
    """Return the output of one leading index and what its gradient needs."""
    item, xp = run.problem, run.problem.xp
    x, y, values = run.queries, run.keys, run.values
    w = values[:, -1:]
    if item.causal:
        seen = xp.cumulative_sum(values, axis=0)
        mean_score = (
            xp.sum(x * xp.cumulative_sum(w * y, axis=0), axis=-1, keepdims=True) / seen[:, -1:]
        )
        least = seen[:, -1:] * xp.exp(xp.minimum(mean_score, xp.full_like(mean_score, 60.0)))
    else:
        seen = xp.sum(values, axis=0, keepdims=True)
        least = seen[:, -1:]
    sums = xp.concat([run.numerator, run.denominator], axis=-1)
    fine = sums[:, -1:] >= 0.5 * least
    quotient = sums[:, :-1] / xp.where(fine, sums[:, -1:], xp.ones_like(fine, dtype=sums.dtype))
    output = xp.where(fine, quotient, seen[:, :-1] / seen[:, -1:])
    high, low = (
        _arrays.cast(_arrays.from_host(end[None, :], item.v), item.dtype, xp)
        for end in item.value_range
    )
    return Evaluated(
        value=xp.minimum(xp.maximum(output, low), high),
        balance=run.balance,
        queries=x,
        keys=y,
        values=values,
        sums=sums,
        seen=seen,
        fine=fine,
        high=high,
        low=low,
        kernel=run.kernel,
    )
