"""How queries may be centred, and which way is taken; the reasons are those of `centring`.

On the host each number that decides is found when it is asked for. On a device all of them, and
what `balance` and `metric` ask about queries centred and not, are found first and cross together:
one crossing takes longer than all the sums of them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import far, fetched, placed, space
from approxattn._problem import Problem
from approxattn.bounds.scores import query_lengths, row_lengths
from approxattn.methods.polynomials.metric import WIDEST, moment
from approxattn.methods.polynomials.shift import log_weights

GAIN = 0.95
"""Longest centred query over longest query below which queries are centred. *Chosen*: weights cost
a little, so they must gain something.
"""

NEAR = 0.8 * (1 - GAIN)
"""A mean that short can shorten no query by that much, rounding included."""

SPREAD = 20.0
"""*Chosen*: e^-20 is far from underflow in float32, also where sums are divided by it."""


@dataclass(frozen=True)
class Crossed:
    """What has crossed already of queries and keys as they were chosen.

    Attributes
    ----------
    tops : tuple of ndarray, shapes (...)
        Largest absolute entries, in the dtype computed in.
    moments : tuple of ndarray, shapes (..., d, d), or None
        As in `metric`.
    """

    tops: tuple[HostArray, HostArray]
    moments: tuple[HostArray, HostArray] | None


@dataclass(frozen=True, kw_only=True)
class ShiftedQueries:
    """Queries less their mean where that pays, and the weights of the keys, as in
    `CentredScores`; `lengths` are at hand. `crossed` is None on the host.
    """

    queries: Array
    middle: Array
    centred: HostArray
    weights: Array | None
    lengths: Array
    crossed: Crossed | None = None


def choose_queries(
    problem: Problem, keys: Array, *, centre: bool, key_lengths: Array | None
) -> ShiftedQueries:
    """Return the queries as given or, with `centre`, less their mean where that pays.

    `keys` are shifted already; `key_lengths`, at hand, are None where no bounds are wanted.
    """
    candidates = Candidates(problem, keys)
    crossed = candidates.all_crossed(key_lengths, centre=centre) if far(problem.q) else None
    given = ShiftedQueries(
        queries=problem.q,
        middle=problem.xp.zeros_like(problem.k[..., :1, :]),
        centred=np.zeros(problem.batch, bool),
        weights=None,
        lengths=query_lengths(problem),
        crossed=None if crossed is None else crossed[0],
    )
    if not centre or not np.any(centred := candidates.centred):
        return given
    return _moved(candidates, given, centred, None if crossed is None else crossed[1])


def _moved(
    candidates: Candidates, given: ShiftedQueries, centred: HostArray, crossed: Crossed | None
) -> ShiftedQueries:
    """Return queries less their mean for the leading indices that are `centred`."""
    problem, xp, logs = candidates.problem, candidates.problem.xp, candidates.logs
    on = _arrays.from_host(centred[..., None, None], problem.q)
    plain = xp.zeros_like(logs)
    if problem.key_mask is not None:
        plain = xp.where(problem.key_mask[..., None], plain, xp.full_like(logs, -xp.inf))
    on_rows, own = placed(centred[..., None], given.lengths), space(given.lengths)
    return ShiftedQueries(
        queries=xp.where(on, candidates.shifted, given.queries),
        middle=xp.where(on, candidates.mean, given.middle),
        centred=centred,
        weights=_arrays.cast(xp.exp(xp.where(on, logs, plain)), problem.dtype, xp),
        lengths=own.where(on_rows, candidates.shifted_lengths, given.lengths),
        crossed=_either(centred, crossed, given.crossed),
    )


def _either(centred: HostArray, moved: Crossed | None, given: Crossed | None) -> Crossed | None:
    """Return what has crossed of queries of which some are centred."""
    if moved is None or given is None:
        return None
    tops = np.where(centred, moved.tops[0], given.tops[0]), given.tops[1]
    if moved.moments is None or given.moments is None:
        return Crossed(tops, None)
    on = centred[..., None, None]
    of_queries = np.where(on, moved.moments[0], given.moments[0])
    return Crossed(tops, (of_queries, given.moments[1]))


@dataclass(frozen=True)
class Candidates:
    """Queries as they are and less their mean; all numbers are on the host, shapes (...)."""

    problem: Problem
    keys: Array

    @functools.cached_property
    def mean(self) -> Array:
        """Mean of the queries, shape (..., 1, d)."""
        return _arrays.mean_of_rows(self.problem.q, self.problem.xp)

    @functools.cached_property
    def shifted(self) -> Array:
        """Queries less their mean."""
        return self.problem.q - self.mean

    @functools.cached_property
    def shifted_lengths(self) -> Array:
        """Bounds on their lengths, shape (..., n_q), at hand."""
        return row_lengths(self.shifted, self.problem.xp)

    @functools.cached_property
    def logs(self) -> Array:
        """ln of the weights that the keys would have, shape (..., n_k, 1)."""
        return log_weights(self.problem, self.keys, self.mean)

    @functools.cached_property
    def centred(self) -> HostArray:
        """For which leading indices the mean is subtracted."""
        nobody = np.zeros(self.problem.batch, bool)
        if np.all(math.sqrt(self.problem.d) * self.top_of_mean <= NEAR * self.longest):
            return nobody
        shorter = self.longest_shifted < GAIN * self.longest
        if not np.any(shorter):
            return nobody
        return np.asarray(shorter & (self.lowest_log >= -SPREAD))

    @functools.cached_property
    def top_of_mean(self) -> HostArray:
        """Largest entry of the mean."""
        return _arrays.to_float64(_arrays.largest_size(self.mean, self.problem.xp))

    @functools.cached_property
    def longest(self) -> HostArray:
        """Length of the longest query."""
        return np.asarray(np.max(_arrays.to_host(query_lengths(self.problem)), axis=-1))

    @functools.cached_property
    def longest_shifted(self) -> HostArray:
        """Length of the longest query less the mean."""
        return np.asarray(np.max(_arrays.to_host(self.shifted_lengths), axis=-1))

    @functools.cached_property
    def lowest_log(self) -> HostArray:
        """The least of `logs` of a key that takes part."""
        return _arrays.to_host(self._lowest())

    def _lowest(self) -> Array:
        seen = self.logs if self.problem.key_mask is None else self.problem.shown(self.logs)
        return self.problem.xp.min(seen, axis=-2)[..., 0]

    def all_crossed(
        self, key_lengths: Array | None, *, centre: bool
    ) -> tuple[Crossed, Crossed | None]:
        """Let all numbers cross at once; return what has crossed of queries as they are, and less
        their mean where `centre` asks for that.
        """
        problem, xp = self.problem, self.problem.xp
        ways = [(problem.q, query_lengths(problem))]
        if centre:
            ways.append((self.shifted, self.shifted_lengths))
        tops = [_arrays.largest_size(x, xp) for x in (self.keys, *(x for x, _ in ways))]
        moments = []
        if key_lengths is not None and problem.d <= WIDEST:
            moments = [moment(*way, xp) for way in ((self.keys, key_lengths), *ways)]
        if not centre:
            return _paired(fetched(*tops, *moments), len(tops), problem.dtype)[0], None
        longest = [space(lengths).max(lengths, axis=-1) for _, lengths in ways]
        deciding = [_arrays.largest_size(self.mean, xp), *longest, self._lowest()]
        found = fetched(*deciding, *tops, *moments)
        names = "top_of_mean", "longest", "longest_shifted", "lowest_log"
        vars(self).update(zip(names, found[:4], strict=True))
        given, moved = _paired(found[4:], len(tops), problem.dtype)
        return given, moved


def _paired(found: list[HostArray], ways: int, dtype: str) -> list[Crossed]:
    """Return what has crossed of each way to take queries, from the numbers of the keys and of
    each way: first the largest entries, then the moments if there are any.
    """
    (key_top, *tops), moments = (x.astype(dtype) for x in found[:ways]), found[ways:]
    if not moments:
        return [Crossed((top, key_top), None) for top in tops]
    of_keys, *rest = moments
    return [Crossed((top, key_top), (own, of_keys)) for top, own in zip(tops, rest, strict=True)]
