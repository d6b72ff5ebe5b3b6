"""Which approximate method can work on given data, and at what cost."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from approxattn._arguments import check_flag, check_generator, check_rows
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Problem, Scoring, pose, quietly
from approxattn._problem.time_needed import check_rows_fit
from approxattn._problem.visible import Window
from approxattn.attend.calls import why_refused
from approxattn.certificate.record import Record
from approxattn.diagnosis.advice import advice, measured_advice
from approxattn.diagnosis.comparison import HEADER as TRIAL_HEADER
from approxattn.diagnosis.comparison import (
    Spectrum,
    Trial,
    asked,
    compare,
    hashes_needed,
    pareto,
)
from approxattn.diagnosis.cost_figure import draw_costs
from approxattn.diagnosis.polynomial_needs import HEADER, Need, count, polynomial_needs
from approxattn.diagnosis.score_statistics import score_bounds, statistics
from approxattn.methods.polynomials.polynomial import Polynomial
from approxattn.softmax.rows import choose, population

ALL_ROWS = 2**22
"""Number of scores up to which all rows are measured. *Chosen*: some 30 MiB of float64, a fraction
of a second.
"""


@dataclass(frozen=True, kw_only=True, repr=False)
class Regime(Record):
    """What data look like to approximate attention; `print` it for a table.

    A score is what the softmax takes: with its bias, and capped where there is a soft cap.

    Attributes
    ----------
    shape : mapping of str to int
        "items" (leading batch indices), "n_q", "n_k", "d", "dv".
    rows : int
        Number of rows measured.
    complete : bool
        Whether these are all rows.
    score_bound, centred_score_bound : float
        Certified bounds on the largest ``|score|`` over all rows, sinks among them, with the keys
        as given and minus their mean. Centred ones are nan under a soft cap: the mean is taken off
        before products are capped, which changes the softmax.
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
        equal weights, 1 for a single key. What a sink takes is not counted.
    median_visible_keys : float
        Median number of keys that the rows measured may look at.
    needs : tuple of Need
        Degree, rank and cost of the polynomial method for three tolerances, two bases, and the
        certified and the measured range. Empty where that method has no form: see `no_polynomial`.
    advice : str
        One sentence that follows from these numbers; with `trials`, one more on the methods
        measured.
    trials : tuple of Trial
        Every method at equal cost, with measured errors, if asked for.
    spectrum : Spectrum or None
        Singular values of the weights, if asked for.
    hashes : mapping of float to int
        Tolerance -> number of hashes with which `Yoso` is within that fraction of the widest column
        of v of its own expectation, with 99 % confidence. Empty where `needs` is.
    no_polynomial : str
        Why the polynomial method has no form for this problem, as under a window or a bias; empty
        if it has.
    sink_weight : float
        Median share of a row that its sink takes.
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
    no_polynomial: str = ""
    sink_weight: float = 0.0

    def plot(self, ax: Any = None) -> Any:
        """Draw error against cost, one point a method and setting (`trials`).

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib Axes
            Relative error against multiply-adds over those of exact attention, both logarithmic.
            The line joins what no other method beats in both.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If no methods were compared.
        """
        if not self.trials:
            msg = "there are no trials to draw: call diagnose(..., compare_methods=True)"
            raise ValueError(msg)
        return draw_costs(self.trials, ax)

    def _summary(self) -> str:
        sizes = ", ".join(f"{name} {size}" for name, size in self.shape.items())
        tried = f"; {len(self.trials)} trials" if self.trials else ""
        return (
            f"{sizes}; |score| <= {self.score_bound:.3g}, the median row attends to "
            f"{self.effective_keys:.3g} of {self.median_visible_keys:g} keys{tried}"
        )

    def _table(self) -> dict[str, str]:
        which = f"all {self.rows}" if self.complete else str(self.rows)
        best = {
            f"tried: {t.name}": f"error {t.error:.2g} at {t.cost:.2g} of the cost of exact "
            "attention"
            for t in pareto(self.trials)
        }
        return {
            "rows measured": which,
            "largest |score|": f"{self.largest_score:.3g}, certified <= {self.score_bound:.3g}",
            "the same, keys centred": (
                "no meaning under a soft cap"
                if math.isnan(self.largest_centred_score)
                else f"{self.largest_centred_score:.3g}, certified <= "
                f"{self.centred_score_bound:.3g}"
            ),
            "half range of a row": f"{self.half_range:.3g}",
            "effective keys, median row": (
                f"{self.effective_keys:.3g} of {self.median_visible_keys:g}"
            ),
            **best,
            "advice": self.advice,
        }

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {size}" for name, size in self.shape.items())
        which = f"all {self.rows} rows" if self.complete else f"{self.rows} rows"
        lines = [
            f"Attention with {sizes}; measured on {which}",
            *(_line(*row) for row in self._ranges()),
            f"  half range of a row            {self.half_range:9.3g}",
            (
                f"  effective keys a row, median   {self.effective_keys:9.3g}   fewest "
                f"{self.fewest_effective_keys:.3g}, of {self.median_visible_keys:g} visible"
            ),
            *(
                [f"  weight of the sink, median     {self.sink_weight:9.3g}"]
                if self.sink_weight
                else []
            ),
            *self._needed(),
            *self._compared(),
            textwrap.fill(self.advice, 80, break_long_words=False, break_on_hyphens=False),
        ]
        return "\n".join(lines)

    def _ranges(self) -> tuple[tuple[str, float, float], ...]:
        """Return what scores are called, the largest found, and its bound."""
        return (
            ("largest |score|", self.largest_score, self.score_bound),
            ("the same, keys centred", self.largest_centred_score, self.centred_score_bound),
            (
                "the same, queries centred too",
                self.largest_score_both_centred,
                self.both_centred_score_bound,
            ),
        )

    def _needed(self) -> list[str]:
        if self.no_polynomial:
            return [f"  no polynomial, no hashes: {self.no_polynomial}"]
        counts = ", ".join(f"{count(m)} for {t:g}" for t, m in self.hashes.items())
        return [
            "  polynomial method",
            f"    {HEADER}",
            *(f"    {need}" for need in self.needs),
            f"  hashes, YOSO's kernel  {counts}",
        ]

    def _compared(self) -> list[str]:
        if self.spectrum is None:
            return []
        ranks = ", ".join(
            f"{rank:g} for {tolerance:g}" for tolerance, rank in self.spectrum.output_ranks.items()
        )
        return [
            f"  rank of the output             {ranks}",
            (
                f"  |P||V|/|PV|                    {self.spectrum.kappa:9.3g}   a sketch "
                f"within 0.1: rank {count(math.ceil(self.spectrum.sketch_rank))}"
            ),
            "  methods at equal cost, relative error measured",
            f"    {TRIAL_HEADER}",
            *(f"    {trial}" for trial in self.trials),
        ]


def _line(name: str, found: float, bound: float) -> str:
    if math.isnan(found):
        return f"  {name:<31}{'-':>9}   has no meaning under a soft cap"
    return f"  {name:<31}{found:9.3g}   certified <= {bound:.3g}"


@public()
@quietly
def diagnose(
    q: Array,
    k: Array,
    v: Array,
    *,
    scale: float | None = None,
    causal: bool = False,
    key_mask: Array | None = None,
    query_offset: int | None = None,
    window: Window | None = None,
    segments: Any = None,
    empty_rows: str = "raise",
    bias: Array | Callable[[Array, Array], Array] | None = None,
    softcap: float | None = None,
    sinks: Array | None = None,
    rng: np.random.Generator | None = None,
    rows: int = 256,
    compare_methods: bool = False,
    methods: Sequence[str] | None = None,
    budgets: Sequence[float] | None = None,
) -> Regime:
    """Report the range of the scores, how many keys a row attends to, and what the polynomial
    method would need and cost.

    Parameters
    ----------
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Queries, keys, values, as in `attention`.
    scale, causal, key_mask, query_offset, window, segments, empty_rows, bias, softcap, sinks
        As in `attention`. Queries that see no key are not measured. Under a window, a bias, a soft
        cap or sinks only `Exact` has a form: the scores are described as the softmax takes them,
        and no polynomial or hash is counted.
    rng : numpy.random.Generator, optional
        Draws the rows to measure; None takes them evenly spaced.
    rows : int
        Number of rows to measure, over all leading batch indices. All are measured when that takes
        at most 2^22 scores.
    compare_methods : bool
        Whether to run every method at several costs on up to eight leading indices, and to take
        singular values: see `Regime.trials`. Random methods draw from `rng`, or from a fixed seed.
    methods : sequence of str, optional
        Names of the methods to compare; all that have a price if None.
    budgets : sequence of float, optional
        Shares of the cost of exact attention, for each of which the largest setting is taken; 1/16,
        1/8, 1/4 and 1/2 if None.

    Returns
    -------
    Regime
        The numbers, a table as `str`, and one sentence of `advice`.

    Raises
    ------
    TypeError
        `rows` not an int, `methods` or `budgets` no sequence, `rng` neither None nor a Generator,
        and what `attention` refuses.
    ValueError
        `rows` < 1, an unknown method, `methods` or `budgets` without `compare_methods`, no queries,
        no columns of v, rows or a comparison that would take hours, and what `attention` refuses.
    MemoryError
        Rows or a comparison that this machine cannot hold.

    Notes
    -----
    Certified ranges are Cauchy-Schwarz bounds at O(n d); measured ones hold for the rows measured
    only. Degrees are the smallest with a total variation bound within the tolerance: by the range
    of the scores (theorems `ours.hilbert` and `ours.even-taylor`), or by their moments in a few
    rows (`ours.moments`), as a tolerance chooses them; the call itself then looks at every row.

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
    rows = check_rows(rows)
    if rng is not None:
        check_generator(rng, without="None takes evenly spaced rows")
    check_flag("compare_methods", compare_methods)
    wanted = asked(methods, budgets)
    if not compare_methods and not (methods is None and budgets is None):
        msg = "methods and budgets say what to compare: give compare_methods=True too"
        raise ValueError(msg)
    order = query_offset, window, segments, empty_rows
    problem = pose(q, k, v, Scoring(scale, causal, key_mask, *order, bias, softcap, sinks))
    sighted = np.flatnonzero(problem.visible_keys)
    total = sighted.size
    if total == 0 or problem.dv == 0:
        msg = (
            f"q{tuple(q.shape)} and v{tuple(v.shape)} leave an empty output: there is nothing to "
            "diagnose; give at least one query that sees a key, and one column"
        )
        raise ValueError(msg)
    taken = total if total * problem.n_k <= ALL_ROWS else min(rows, total)
    check_rows_fit(problem, rows, taken, columns=16)
    chosen = sighted[choose(total, taken, rng)]
    trials: tuple[Trial, ...] = ()
    spectrum = None
    if compare_methods:
        trials, spectrum = compare(
            problem, np.random.default_rng(0) if rng is None else rng, wanted
        )
    return _regime(problem, chosen, trials, spectrum)


def _regime(
    problem: Problem, chosen: HostArray, trials: tuple[Trial, ...], spectrum: Spectrum | None
) -> Regime:
    """Return what the rows chosen show, and what follows."""
    seen, bounds = statistics(problem, chosen), score_bounds(problem)
    measured = min(np.max(seen.largest_centred), np.max(seen.largest_both_centred))
    ranges = {"certified": bounds.both_centred, "measured": float(measured)}
    refused = why_refused(Polynomial(degree=2), replace(problem, scale_given=False))
    needs = () if refused else polynomial_needs(problem, ranges)
    share = float(np.median(seen.effective / seen.visible))
    sentences = advice(needs, bounds.both_centred, share, refused)
    if spectrum is not None:
        sentences = f"{sentences} {measured_advice(trials)}"
    return Regime(
        shape={
            "items": math.prod(problem.batch),
            "n_q": problem.n_q,
            "n_k": problem.n_k,
            "d": problem.d,
            "dv": problem.dv,
        },
        rows=chosen.size,
        complete=chosen.size == population(problem),
        score_bound=bounds.given,
        centred_score_bound=bounds.centred,
        largest_score=float(np.max(seen.largest)),
        largest_centred_score=float(np.max(seen.largest_centred)),
        both_centred_score_bound=bounds.both_centred,
        largest_score_both_centred=float(np.max(seen.largest_both_centred)),
        half_range=float(np.max(seen.half_range)),
        effective_keys=float(np.median(seen.effective)),
        fewest_effective_keys=float(np.min(seen.effective)),
        median_visible_keys=float(np.median(seen.visible)),
        needs=needs,
        advice=sentences,
        trials=trials,
        spectrum=spectrum,
        hashes={} if refused else hashes_needed(problem),
        no_polynomial=refused,
        sink_weight=float(np.median(seen.sink)),
    )
