"""Which approximate method can work on given data, and at what cost."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, pose
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import key_centre, score_bound, score_bound_of
from approxattn.diagnosis.comparison import HEADER as TRIAL_HEADER
from approxattn.diagnosis.comparison import Spectrum, Trial, compare, hashes_needed, pareto
from approxattn.diagnosis.polynomial_needs import HEADER, Need, count, polynomial_needs
from approxattn.methods.polynomials.centring import centre_scores
from approxattn.softmax.rows import RowBlock, choose, population, row_blocks

ALL_ROWS = 2**22
"""Number of scores up to which all rows are measured. *Chosen*: some 30 MiB of float64, a fraction
of a second.
"""


@dataclass(frozen=True, kw_only=True)
class Regime:
    """What data look like to approximate attention; `print` it for a table.

    Attributes
    ----------
    shape : mapping of str to int
        "items" (leading batch indices), "n_q", "n_k", "d", "dv".
    rows : int
        Number of rows measured.
    complete : bool
        Whether these are all rows.
    score_bound, centred_score_bound : float
        Certified bounds on the largest ``|score|`` over all rows, with the keys as given and minus
        their mean.
    largest_score, largest_centred_score : float
        The largest found on the rows measured.
    both_centred_score_bound, largest_score_both_centred : float
        The same with the mean of the queries taken off too: exact if key j then gets the weight
        ``exp(scale * mean q . k_j)``.
    half_range : float
        Half of the largest max - min of a row found: no shift of the scores of each row makes them
        smaller than this.
    effective_keys, fewest_effective_keys : float
        Median and minimum of ``1/|p|^2`` over the rows measured, p the weights of a row: n for
        equal weights, 1 for a single key.
    median_visible_keys : float
        Median number of keys that the rows measured may look at.
    needs : tuple of Need
        Degree, rank and cost of the polynomial method for three tolerances, two bases, and the
        certified and the measured range.
    advice : str
        One sentence that follows from these numbers; with `trials`, one more on the methods
        measured.
    trials : tuple of Trial
        Every method at equal cost, with measured errors, if asked for.
    spectrum : Spectrum or None
        Singular values of the weights, if asked for.
    hashes : mapping of float to int
        Tolerance -> number of hashes with which `Yoso` is within that fraction of the widest column
        of v of its own expectation, with 99 % confidence.
    """

    shape: Mapping[str, int]
    rows: int
    complete: bool
    score_bound: float
    centred_score_bound: float
    largest_score: float
    largest_centred_score: float
    both_centred_score_bound: float
    largest_score_both_centred: float
    half_range: float
    effective_keys: float
    fewest_effective_keys: float
    median_visible_keys: float
    needs: tuple[Need, ...]
    advice: str
    trials: tuple[Trial, ...] = ()
    spectrum: Spectrum | None = None
    hashes: Mapping[float, int] = field(default_factory=dict)

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {size}" for name, size in self.shape.items())
        which = f"all {self.rows} rows" if self.complete else f"{self.rows} rows"
        lines = [
            f"Attention with {sizes}; measured on {which}",
            (
                f"  largest |score|                {self.largest_score:9.3g}   certified <= "
                f"{self.score_bound:.3g}"
            ),
            (
                f"  the same, keys centred         {self.largest_centred_score:9.3g}   certified "
                f"<= {self.centred_score_bound:.3g}"
            ),
            (
                f"  the same, queries centred too  {self.largest_score_both_centred:9.3g}   "
                f"certified <= {self.both_centred_score_bound:.3g}"
            ),
            f"  half range of a row            {self.half_range:9.3g}",
            (
                f"  effective keys a row, median   {self.effective_keys:9.3g}   fewest "
                f"{self.fewest_effective_keys:.3g}, of {self.median_visible_keys:g} visible"
            ),
            "  polynomial method",
            f"    {HEADER}",
            *(f"    {need}" for need in self.needs),
            "  hashes of YOSO for its own kernel  "
            + ", ".join(f"{count(m)} for {t:g}" for t, m in self.hashes.items()),
            *self._compared(),
            self.advice,
        ]
        return "\n".join(lines)

    def _compared(self) -> list[str]:
        if self.spectrum is None:
            return []
        ranks = ", ".join(
            f"{rank:g} for {tolerance:g}" for tolerance, rank in self.spectrum.output_ranks.items()
        )
        return [
            f"  rank of the output             {ranks}",
            (
                f"  |P||V|/|PV|                    {self.spectrum.kappa:9.3g}   so a sketched "
                f"product needs rank {count(math.ceil(self.spectrum.sketch_rank))} for 0.1"
            ),
            "  methods at equal cost, relative error measured",
            f"    {TRIAL_HEADER}",
            *(f"    {trial}" for trial in self.trials),
        ]


def diagnose(
    q: Array,
    k: Array,
    v: Array,
    *,
    scale: float | None = None,
    causal: bool = False,
    key_mask: Array | None = None,
    rng: np.random.Generator | None = None,
    rows: int = 256,
    compare_methods: bool = False,
) -> Regime:
    """Report the range of the scores, how many keys a row attends to, and what the polynomial
    method would need and cost.

    Parameters
    ----------
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Queries, keys, values, as in `attention`.
    scale, causal, key_mask
        As in `attention`.
    rng : numpy.random.Generator, optional
        Draws the rows to measure; None takes them evenly spaced.
    rows : int
        Number of rows to measure, over all leading batch indices. All are measured when that takes
        at most 2^22 scores.
    compare_methods : bool
        Whether to run every method at several costs on up to eight leading indices, and to take
        singular values: see `Regime.trials`. Random methods draw from `rng`, or from a fixed seed.

    Returns
    -------
    Regime
        The numbers, a table as `str`, and one sentence of `advice`.

    Raises
    ------
    TypeError
        `rows` not an int, `rng` neither None nor a Generator, and what `attention` refuses.
    ValueError
        `rows` < 1, no queries, no columns of v, and what `attention` refuses.

    Notes
    -----
    Certified ranges are Cauchy-Schwarz bounds at O(n d); measured ones hold for the rows measured
    only. Degrees are the smallest with a total variation bound within the tolerance (theorems
    `ours.hilbert` and `ours.even-taylor`).

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 4000, 4))
    >>> regime = aa.diagnose(q, k, v)
    >>> certified = [need for need in regime.needs if need.scores == "certified"]
    >>> [(need.degree, need.rank) for need in certified if need.basis == "taylor"]
    [(2, 15), (2, 15), (4, 70)]
    >>> regime.advice.startswith("Polynomial(tolerance=0.01) needs degree 2, 15 features")
    True
    """
    rows = _check_plan(rows, rng)
    problem = pose(q, k, v, scale=scale, causal=causal, key_mask=key_mask)
    total = population(problem)
    if total == 0 or problem.dv == 0:
        msg = (
            f"q{tuple(q.shape)} and v{tuple(v.shape)} leave an empty output: there is nothing to "
            "diagnose; give at least one query and one column"
        )
        raise ValueError(msg)
    chosen = choose(total, total if total * problem.n_k <= ALL_ROWS else rows, rng)
    stats = np.concatenate(
        [_measure(block, problem) for block in row_blocks(problem, chosen)], axis=-1
    )
    raw, centred, both, half, effective, visible = stats
    bound = float(np.max(score_bound(problem)))
    centred_bound = float(
        up(np.max(score_bound_of(problem, problem.k - key_centre(problem))) * (1 + 4 * problem.u))
    )
    polynomial_bound = float(np.max(centre_scores(problem).bound))
    ranges = {"certified": polynomial_bound, "measured": float(min(np.max(centred), np.max(both)))}
    needs = polynomial_needs(problem, ranges)
    shape = {
        "items": math.prod(problem.batch),
        "n_q": problem.n_q,
        "n_k": problem.n_k,
        "d": problem.d,
        "dv": problem.dv,
    }
    hashes = hashes_needed(problem)
    advice = _advice(needs, polynomial_bound, float(np.median(effective / visible)))
    trials: tuple[Trial, ...] = ()
    spectrum = None
    if compare_methods:
        trials, spectrum = compare(problem, np.random.default_rng(0) if rng is None else rng)
        advice = f"{advice} {_measured_advice(trials)}"
    return Regime(
        shape=shape,
        rows=chosen.size,
        complete=chosen.size == total,
        score_bound=bound,
        centred_score_bound=centred_bound,
        largest_score=float(np.max(raw)),
        largest_centred_score=float(np.max(centred)),
        both_centred_score_bound=polynomial_bound,
        largest_score_both_centred=float(np.max(both)),
        half_range=float(np.max(half)),
        effective_keys=float(np.median(effective)),
        fewest_effective_keys=float(np.min(effective)),
        median_visible_keys=float(np.median(visible)),
        needs=needs,
        advice=advice,
        trials=trials,
        spectrum=spectrum,
        hashes=hashes,
    )


def _measure(block: RowBlock, whole: Problem) -> HostArray:
    """Return for each row: max |score|, the same with centred keys, and queries, half of max - min,
    effective keys, visible keys; shape (6, r).
    """
    problem, scores = block.problem, block.scores
    xp = problem.xp
    seen = xp.isfinite(scores)
    shift = xp.matmul(problem.q * problem.scale, xp.matrix_transpose(key_centre(problem)))  # (r, 1)
    plain, zero = xp.where(seen, scores, xp.zeros_like(scores)), xp.zeros_like(scores)
    centred = xp.where(seen, plain - shift, zero)
    # (1, d)
    mean = xp.mean(
        _arrays.cast(whole.q[(*block.index, ...)], "float64", xp), axis=-2, keepdims=True
    )
    # (1, n_k)
    common = xp.matmul(mean * problem.scale, xp.matrix_transpose(problem.k - key_centre(problem)))
    both = xp.where(seen, centred - common, zero)
    high = xp.max(scores, axis=-1)
    low = xp.min(xp.where(seen, scores, high[:, None]), axis=-1)
    tops = [xp.max(xp.abs(x), axis=-1) for x in (plain, centred, both)]
    weights = block.weights
    effective = xp.sum(weights, axis=-1) ** 2 / xp.vecdot(weights, weights)
    visible = xp.sum(xp.astype(seen, scores.dtype), axis=-1)
    columns = [*tops, (high - low) / 2, effective, visible]
    return _arrays.to_host(xp.stack(columns)).astype(np.float64)


def _measured_advice(trials: tuple[Trial, ...]) -> str:
    """Return what the measured errors say: the best method within each error, or that none beats a
    mean.
    """
    best = pareto(trials)
    if not best:
        return (
            "Of the methods tried at up to half the cost of exact attention none beats the mean of "
            "v."
        )
    last = best[-1]
    good = next((t for t in best if t.error <= 0.1), None)
    found = (
        f"of the methods tried {last.name} has the least error, {last.error:.2g}, at "
        f"{last.cost:.2g} of the cost"
    )
    if good is None:
        return (
            f"Measured: {found}; none within half the cost comes below 0.1, so take Exact() where "
            "that matters."
        )
    return (
        f"Measured: {good.name} comes within {good.error:.2g} at {good.cost:.2g} of the cost; "
        f"{found}."
    )


def _advice(needs: tuple[Need, ...], bound: float, share: float) -> str:
    """Return the sentence, given the median share of effective among visible keys.

    Total variation from uniform weights over n keys: (1/2) sum |p_j - 1/n| <= (1/2) sqrt(n |p|^2 -
    1), by Cauchy-Schwarz.
    """
    certified = [
        need
        for need in needs
        if need.tolerance == 1e-2 and need.scores == "certified" and need.rank is not None
    ]
    # minimax before taylor
    best = min(certified, key=lambda need: (need.rank, need.basis), default=None)
    if best is None:
        first = (
            f"Use Exact(): scores may reach {bound:.3g}, out of reach of any polynomial in float64"
        )
    elif best.pays:
        basis = "" if best.basis == "minimax" else f", basis={best.basis!r}"
        first = (
            f"Polynomial(tolerance=0.01{basis}) needs degree {best.degree}, {best.rank} features, "
            f"and {best.cost:.2g} of the multiply-adds of exact attention"
        )
    else:
        first = (
            f"Use Exact(): with scores up to {bound:.3g}, tolerance 0.01 takes degree "
            f"{best.degree}, {count(best.rank)} features, which cost less only from "
            f"{count(best.break_even)} tokens on"
        )
    if share <= 1 / 8:
        return (
            f"{first}; half of the rows attend to {100 * share:.2g} % of their keys or fewer, so a "
            "method that looks for these has something to find."
        )
    if share >= 0.8:
        return (
            f"{first}; half of the rows are within total variation "
            f"{math.sqrt(1 / share - 1) / 2:.2g} of a plain mean of v."
        )
    return (
        f"{first}; the median row attends to {100 * share:.2g} % of its keys, too many to pick "
        "and too few to average."
    )


def _check_plan(rows: int, rng: np.random.Generator | None) -> int:
    if isinstance(rows, bool) or not hasattr(rows, "__index__"):
        msg = f"rows(={rows!r}) must be an int, the number of rows to measure"
        raise TypeError(msg)
    if rows < 1:
        msg = f"rows(={rows}) must be at least 1: no rows measure nothing"
        raise ValueError(msg)
    if rng is not None and not isinstance(rng, np.random.Generator):
        msg = (
            f"rng(={rng!r}) must be numpy.random.default_rng(seed), or None for evenly spaced rows"
        )
        raise TypeError(msg)
    return operator.index(rows)
