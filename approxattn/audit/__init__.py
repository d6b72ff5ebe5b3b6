"""Judge any attention output by recomputing a sample of its rows.

Let N be the number of rows (all leading batch indices together), s of them drawn without
repetition, x_(1) <= ... <= x_(s) their errors.

The statement (proved here). Fix a fraction f and let M = ceil(f N) - 1.

1. Suppose that fewer than f N rows err by at most x_(r). Then at least r of the drawn rows are
   among the at most M rows whose error lies below the f-quantile.
2. So at least f N rows err by at most x_(r), with probability at least 1 - P(H >= r). H is
   hypergeometric: s draws from N rows of which M are marked.
3. For r = s, P(H >= s) = prod_i (M - i)/(N - i) < f^s: drawing without repetition is never worse
   than the binomial.
4. Hence the largest error always earns f = (1 - confidence)^(1/s).

`quantile` sums the hypergeometric tail in exact integers: see `approxattn.bounds.order_statistics`.

Each error is an upper bound: the measured one plus the rounding bound of the recomputed row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_fraction, check_generator, check_rows
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Problem, Scoring, pose, quietly
from approxattn._problem.input import check_finite
from approxattn._problem.progress import Work
from approxattn._problem.time_needed import check_rows_fit, exact_seconds
from approxattn._problem.visible import Window
from approxattn.audit.result import Audit, Baseline
from approxattn.bounds.rounding import up
from approxattn.softmax.rows import Item, choose, items, population


@public()
@quietly
def audit(
    value: Array,
    q: Array,
    k: Array,
    v: Array,
    *,
    rows: int,
    rng: np.random.Generator,
    confidence: float = 0.99,
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
) -> Audit:
    """Recompute a random sample of the rows of an attention output, wherever it comes from, and say
    what that proves of the others.

    Parameters
    ----------
    value : array, shape (..., n_q, dv)
        The output to judge, in the array library and on the device of q; any real dtype.
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        What it is the attention of. They are taken as the numbers they are, and recomputed in
        float64.
    rows : int
        Number s of rows to draw, over all leading batch indices; all of them if there are no more.
        Costs O(s n_k (d + dv)).
    rng : numpy.random.Generator
        Draws the rows. The statement needs a draw that does not know `value`.
    confidence : float
        Probability of the statement, in (0, 1).
    scale, causal, key_mask, query_offset, window, segments, empty_rows, bias, softcap, sinks
        As in `attention`.

    Returns
    -------
    Audit
        The errors of the rows drawn, the statement about the others, and two trivial outputs for
        comparison; `print` it for one sentence.

    Raises
    ------
    TypeError
        No arrays, several libraries or devices, complex input, `rows` not an int, `rng` not a
        Generator.
    ValueError
        Shapes that do not fit, NaN or infinity in any array, `rows` or `confidence` out of range,
        rows that would take more than six hours, and what `attention` refuses.
    MemoryError
        More rows than this machine can hold the results of.

    Notes
    -----
    The statement is distribution-free and proved here: see the theorem `ours.audit-binomial`.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> rng = np.random.default_rng(0)
    >>> q, k, v = rng.uniform(-1, 1, (3, 1000, 8))
    >>> out = aa.attention(q, k, v, aa.Polynomial(degree=4))
    >>> report = aa.audit(out.value, q, k, v, rows=300, rng=rng)
    >>> bool(report.largest < 1e-2 < report.baselines["mean of v"].errors.max())
    True
    >>> f"{report.exceeding:.4f}"
    '0.0152'
    """
    rows = check_rows(rows)
    check_generator(rng)
    confidence = check_fraction("confidence", confidence)
    masks = {} if key_mask is None else {"key_mask": key_mask}
    _arrays.namespace(value=value, q=q, k=k, v=v, **masks)
    order = query_offset, window, segments, empty_rows
    scoring = Scoring(scale, causal, key_mask, *order, bias, softcap, sinks)
    problem = pose(q, k, v, scoring)
    _check_value(value, problem)
    taken = min(rows, population(problem))
    check_rows_fit(problem, rows, taken, columns=8 * problem.dv + 16)
    chosen = choose(population(problem), rows, rng)
    rounding, shares, given, exact, means = _recompute(value, problem, chosen)
    measured = _baseline(given, exact)
    return Audit(
        rows=np.stack(np.unravel_index(chosen, (*problem.batch, problem.n_q)), axis=-1),
        errors=up(measured.errors * (1 + 2.0**-50) + rounding),
        population=population(problem),
        confidence=confidence,
        relative_error=measured.relative_error,
        baselines={
            "zero output": _baseline(np.zeros_like(exact), exact),
            "mean of v": _baseline(means, exact),
        },
        concentration=shares,
    )


def _recompute(value: Array, problem: Problem, chosen: HostArray) -> tuple[HostArray, ...]:
    """Return rounding and share of keys, shapes (s,), and the rows given, exact, and of means,
    shapes (s, dv), on the host.
    """
    what = f"audit of {chosen.size} rows of {problem.n_k} keys"
    work = Work(what, exact_seconds(problem, chosen.size), chosen.size)
    parts = [_on_host(value, item, work) for item in items(problem, chosen)]
    work.finish()
    if not parts:
        empty = np.zeros((0, problem.dv))
        return np.zeros(0), np.zeros(0), empty, empty, empty
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _on_host(value: Array, item: Item, work: Work) -> tuple[HostArray, ...]:
    rows = item.recompute(work)
    share = (rows.effective / item.given.xp.maximum(rows.visible, rows.visible * 0 + 1))[:, 0]
    found = (share, item.take(value), rows.output, rows.mean)
    return (item.rounding(), *(_arrays.to_float64(x) for x in found))


def _baseline(given: HostArray, exact: HostArray) -> Baseline:
    gap = np.abs(given - exact)
    errors = np.max(gap, axis=-1, initial=0.0)
    unit = max(
        float(np.max(errors, initial=0.0)),
        float(np.max(np.abs(exact), initial=0.0)),
        2.0**-1000,
    )
    norm, size = (float(np.linalg.norm(x / unit)) for x in (gap, exact))
    relative = norm / size if size else (math.inf if norm else 0.0)
    return Baseline(
        errors=errors, relative_error=relative if not math.isnan(relative) else math.inf
    )


def _check_value(value: Array, problem: Problem) -> None:
    _arrays.compute_dtype_name(value, "value")
    shape = (*problem.batch, problem.n_q, problem.dv)
    if tuple(value.shape) != shape:
        msg = (
            f"value has shape {tuple(value.shape)}, but the attention of q, k, v has {shape}: pass "
            "the output for these very inputs"
        )
        raise ValueError(msg)
    remedy = "mend the method that made it, or audit the finite batch items"
    check_finite("value", value, problem.xp, remedy)
