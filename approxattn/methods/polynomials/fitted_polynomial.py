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
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_integer
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.segments import running_sum
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
from approxattn.methods.costs import Costed, Size
from approxattn.methods.polynomials.choosing.cost import backward, multiply_adds, sums_bytes
from approxattn.methods.polynomials.fitting.fit import fit_coefficients
from approxattn.methods.polynomials.fitting.gradient import Evaluated, fitted_gradient
from approxattn.methods.polynomials.fitting.reduction import ReducedScores, parts, reduce_scores
from approxattn.methods.polynomials.fitting.sums import fitted_sums, scores_of_reduction
from approxattn.methods.polynomials.forward import Forward
from approxattn.methods.protocol import Sizes
from approxattn.monomials.index import rank
from approxattn.softmax.rows import choose

MAX_DEGREE = 16
"""*Chosen*: moments of twice the degree must not drown in rounding."""


@dataclass(frozen=True, kw_only=True)
class FittedPolynomial(Costed):
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

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.FittedPolynomial(degree=3))
    >>> exact = aa.attention(q, k, v, aa.Exact()).value
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
    True
    """

    degree: int
    rows: int = 64

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True
    why_not_linear: ClassVar[str] = (
        "its coefficients are fitted to the outputs, and so depend on v; use Polynomial(degree=...)"
    )

    def __post_init__(self) -> None:
        check_integer(
            "degree", self.degree, 0, MAX_DEGREE, "moments of twice the degree drown in rounding"
        )
        check_integer("rows", self.rows, 1)

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings that are compared at equal cost."""
        return (Sizes(make=lambda g: cls(degree=g), step=2),)

    def _multiply_adds(self, size: Size) -> float:
        """Return those of the sums, and the exact output of the rows fitted."""
        rows = size.items * min(self.rows, size.n_q)
        fit = rows * size.n_k * (2 * size.d + (self.degree + 2) * size.dv)
        return multiply_adds(size, self.degree) + fit

    def _bytes(self, size: Size) -> float:
        return self._held(size) + sums_bytes(size, self.degree)

    def _held(self, size: Size) -> float:
        return size.held(3, 2, double=30)

    def _backward_cost(self, size: Size) -> tuple[float, float]:
        return backward(size, self.degree, self._held(size))

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate, by T5 or the range of v."""
        del rng
        done = [_finished(self._run(problem, index)[1]) for index in indices(problem)]
        value = _joined([item.value for item in done], problem)
        widest = range_bound(value, problem)
        sharp = np.reshape([item.sharp for item in done], widest.shape)
        by_range = ~(sharp < widest)
        certificate = Certificate(
            rows=np.minimum(widest, sharp),
            target=SOFTMAX,
            theorem=_theorem(done, np.minimum(widest, sharp), by_range),
            facts={
                **self._facts(done, problem),
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
        gradients, done = [], []
        for index in indices(problem):
            reduced, run = self._run(problem, index)
            own = dout[(*index, ...)]
            gradients.append(fitted_gradient(_evaluate(run), run.problem, reduced, own))
            done.append(_finished(run))
        dq, dk, dv = (_joined(list(items), problem) for items in zip(*gradients, strict=True))
        certificate = no_gradient_bounds(problem).certificate(
            facts={"gradient": "consistent, for fixed coefficients", **self._facts(done, problem)},
            unmet=(
                "no theorem bounds the gradient of a fitted polynomial; `audit` measures outputs",
            ),
        )
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    def _run(self, problem: Problem, index: tuple[int, ...]) -> tuple[ReducedScores, Forward]:
        """Reduce, fit and sum one leading index."""
        item = problem.item(index)
        scores = reduce_scores(item)
        coefficients = fit_coefficients(scores, choose(item.n_q, self.rows, None), self.degree)
        return scores, fitted_sums(item, scores_of_reduction(item, scores), coefficients)

    def _facts(self, done: list[_Finished], problem: Problem) -> dict[str, object]:
        coefficients = np.asarray([item.coefficients for item in done])
        return {
            "degree": self.degree,
            "rank": rank(problem.d, self.degree),
            "rows fitted": len(choose(problem.n_q, self.rows, None)),
            "rows mended": sum(item.mended for item in done),
            "coefficients": np.reshape(coefficients, (*problem.batch, self.degree + 1)),
        }


def _theorem(done: list[_Finished], rows: HostArray, by_range: HostArray) -> str:
    """Return the key of what bounds the row with the largest bound."""
    if not rows.size:
        return "ours.value-range"
    largest = int(np.argmax(rows))
    return (
        "ours.value-range" if by_range.ravel()[largest] else done[largest // rows.shape[-1]].theorem
    )


def _unmet(by_range: HostArray) -> tuple[str, ...]:
    if not np.any(by_range):
        return ()
    return (
        f"of {int(np.sum(by_range))} row(s) of {by_range.size} the moments of the scores say no "
        "more than the range of v, which is their bound: `audit` measures; a higher degree or "
        "smaller scores help",
    )


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """What is left of one leading index when it is done.

    Attributes
    ----------
    value : array, shape (n_q, dv)
        The output.
    sharp : ndarray, shape (n_q,)
        The bound on the quotients, and so on the output: it is brought nearer to the exact one. inf
        for the rows that were mended.
    mended : int
        Number of rows that needed mending.
    coefficients : tuple of float
        Those of the polynomial.
    theorem : str
        Key of what bounds the quotients.
    """

    value: Array
    sharp: HostArray
    mended: int
    coefficients: tuple[float, ...]
    theorem: str


def indices(problem: Problem) -> Iterator[tuple[int, ...]]:
    """Yield the leading indices."""
    return itertools.product(*(range(n) for n in problem.batch))


def _finished(run: Forward) -> _Finished:
    """Return the output of one leading index with its bound, from a run that is needed no more."""
    seen, fine = _seen_and_fine(run)
    run = _without_tokens(run)  # as large as the input, and done with
    value = _value(run, seen, fine)
    del seen
    run = replace(run, numerator=run.problem.xp.zeros_like(value[:0, :]))
    rows = up(times(run.tv, value_spread(run.problem).osc[..., None]) + run.output_rounding)
    kept = _arrays.to_host(fine)[..., 0]
    return _Finished(
        value=value,
        sharp=np.where(kept & np.isfinite(rows), rows, np.inf),
        mended=int(np.sum(~kept)),
        coefficients=run.polynomial.coefficients,
        theorem=run.theorem,
    )


def _without_tokens(run: Forward) -> Forward:
    none = run.problem.xp.zeros_like(run.queries[:0, :])
    scores = replace(run.scores, queries=none, keys=none)
    return replace(run, scores=scores, queries=none, keys=none, values=none)


def _joined(items: list[Array], problem: Problem) -> Array:
    """Return the leading indices in one array."""
    whole = items[0] if len(items) == 1 else problem.xp.stack(items)
    return problem.xp.reshape(whole, (*problem.batch, *items[0].shape))


def _seen_and_fine(run: Forward) -> tuple[Array, Array]:
    """Return the sums of w [v, 1] over the keys that row i sees, shape (n_q or 1, dv + 1), and
    which rows need no mending, (n_q, 1).
    """
    item, xp = run.problem, run.problem.xp
    x, y, values = run.queries, run.keys, run.values
    if item.causal:
        seen = running_sum(values, xp)
        mean_score = _sums_of_scores(x, values[:, -1:], y, xp) / seen[:, -1:]
        least = seen[:, -1:] * xp.exp(xp.minimum(mean_score, xp.full_like(mean_score, 60.0)))
    else:
        seen = xp.sum(values, axis=0, keepdims=True)
        least = seen[:, -1:]
    return seen, run.denominator >= 0.5 * least


def _sums_of_scores(x: Array, w: Array, y: Array, xp: Namespace) -> Array:
    """Return sum_j w_j x_i . y_j over j <= i, shape (n, 1), some rows at a time."""
    blocks, before = [], xp.zeros_like(y[:1, :])
    for part in parts(x.shape[0]):
        sums = before + xp.cumulative_sum(w[part, :] * y[part, :], axis=0)
        blocks.append(xp.sum(x[part, :] * sums, axis=-1, keepdims=True))
        before = sums[-1:, :]
    return blocks[0] if len(blocks) == 1 else xp.concat(blocks, axis=0)


def _ends(item: Problem) -> tuple[Array, Array]:
    """Return the range of each column of v, shapes (1, dv)."""
    high, low = (
        _arrays.cast(_arrays.from_host(end[None, :], item.v), item.dtype, item.xp)
        for end in item.value_range
    )
    return high, low


def _value(run: Forward, seen: Array, fine: Array) -> Array:
    """Return the output, some rows at a time."""
    xp, (high, low) = run.problem.xp, _ends(run.problem)
    blocks = []
    for part in parts(run.problem.n_q):
        good, below = fine[part, :], run.denominator[part, :]
        means = seen[part, :] if run.problem.causal else seen
        quotient = run.numerator[part, :] / xp.where(good, below, xp.ones_like(below))
        output = xp.where(good, quotient, means[:, :-1] / means[:, -1:])
        blocks.append(xp.minimum(xp.maximum(output, low), high))
    return blocks[0] if len(blocks) == 1 else xp.concat(blocks, axis=0)


def _evaluate(run: Forward) -> Evaluated:
    """Return what the gradient of one leading index needs."""
    (seen, fine), (high, low) = _seen_and_fine(run), _ends(run.problem)
    return Evaluated(
        balance=run.balance,
        queries=run.queries,
        keys=run.keys,
        values=run.values,
        sums=run.problem.xp.concat([run.numerator, run.denominator], axis=-1),
        seen=seen,
        fine=fine,
        high=high,
        low=low,
        kernel=run.kernel,
    )
