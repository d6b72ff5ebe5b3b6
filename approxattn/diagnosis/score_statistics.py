"""What some rows of the scores look like, and what is certain of all of them.

A score is what the softmax takes: capped and with its bias. Keys are centred before their products
are taken, so a centred score has no meaning under a soft cap, which is not linear: NaN there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn._problem.progress import reported
from approxattn._problem.time_needed import exact_seconds
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import key_centre, score_bound, score_bound_of
from approxattn.methods.polynomials.centring import centre_scores
from approxattn.softmax.rows import RowBlock, row_blocks


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of the rows measured, each of shape (r,).

    Attributes
    ----------
    largest, largest_centred, largest_both_centred : ndarray
        Largest ``|score|``: as given, with the mean key taken off, and the mean query too.
    half_range : ndarray
        Half of max - min.
    effective, visible : ndarray
        ``1/|p|^2``, p the weights of the keys over their sum, and the number of keys that the row
        may look at.
    sink : ndarray
        Weight of the sink.
    """

    largest: HostArray
    largest_centred: HostArray
    largest_both_centred: HostArray
    half_range: HostArray
    effective: HostArray
    visible: HostArray
    sink: HostArray


@dataclass(frozen=True, kw_only=True)
class ScoreBounds:
    """Certified bounds on the largest ``|score|`` of all rows, centred in the same three ways."""

    given: float
    centred: float
    both_centred: float


def score_bounds(problem: Problem) -> ScoreBounds:
    """Return the bounds, by Cauchy-Schwarz and the sizes of biases and sinks."""
    given = float(np.max(score_bound(problem)))
    if problem.softcap is not None:
        return ScoreBounds(given=given, centred=math.nan, both_centred=math.nan)
    moved = score_bound_of(problem, problem.k - key_centre(problem)) * (1 + 4 * problem.u)
    both = centre_scores(problem).bound
    if problem.bias is not None:
        moved, both = (x + problem.bias.sizes() for x in (moved, both))
    return ScoreBounds(
        given=given, centred=float(up(np.max(moved))), both_centred=float(up(np.max(both)))
    )


def statistics(problem: Problem, chosen: HostArray) -> Statistics:
    """Measure the rows chosen, numbers in range(batch size * n_q)."""
    what = f"scores of {chosen.size} rows with {problem.n_k} keys"
    seconds = exact_seconds(problem, chosen.size)
    told = reported(
        row_blocks(problem, chosen), what, seconds, chosen.size, lambda block: block.problem.n_q
    )
    blocks = [_measure(block, problem) for block in told]
    return Statistics(
        **{
            name: np.concatenate([block[name] for block in blocks])
            for name in Statistics.__dataclass_fields__
        }
    )


def _measure(block: RowBlock, whole: Problem) -> dict[str, HostArray]:
    """Return the statistics of one block, by name."""
    problem, scores = block.problem, block.scores
    xp = problem.xp
    seen = xp.isfinite(scores)
    plain, zero = xp.where(seen, scores, xp.zeros_like(scores)), xp.zeros_like(scores)
    high = xp.max(scores, axis=-1)
    low = xp.min(xp.where(seen, scores, high[:, None]), axis=-1)
    weights = block.weights
    squares = xp.vecdot(weights, weights)
    columns = {
        "largest": xp.max(xp.abs(plain), axis=-1),
        "half_range": (high - low) / 2,
        # far below a sink all weights may underflow
        "effective": xp.sum(weights, axis=-1) ** 2
        / xp.where(squares > 0, squares, xp.ones_like(squares)),
        "visible": xp.sum(xp.astype(seen, scores.dtype), axis=-1),
        "sink": (block.of_sink / block.mass)[:, 0],
    }
    for name, moved in _centred(block, whole, plain).items():
        columns[name] = xp.max(xp.abs(xp.where(seen, moved, zero)), axis=-1)
    return {name: _arrays.to_float64(column) for name, column in columns.items()}


def _centred(block: RowBlock, whole: Problem, scores: Array) -> dict[str, Array]:
    """Return the scores with the mean key taken off, and the mean query too."""
    problem, xp = block.problem, block.problem.xp
    if problem.softcap is not None:
        lost = xp.full_like(scores, math.nan)
        return {"largest_centred": lost, "largest_both_centred": lost}
    centre = key_centre(problem)
    shift = xp.matmul(problem.q * problem.scale, xp.matrix_transpose(centre))  # (r, 1)
    queries = _arrays.cast(whole.q[(*block.index, ...)], "float64", xp)
    mean = xp.mean(queries, axis=-2, keepdims=True)  # (1, d)
    common = xp.matmul(mean * problem.scale, xp.matrix_transpose(problem.k - centre))  # (1, n_k)
    return {"largest_centred": scores - shift, "largest_both_centred": scores - shift - common}
