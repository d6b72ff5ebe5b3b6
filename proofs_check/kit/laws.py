"""Laws that every softmax attention obeys, and most approximations.

Each returns a complaint, None, or NotImplemented where the function has no such form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from proofs_check.kit.calls import Host, Refused, Unusable
from proofs_check.kit.problems import Problem, Subject

Law: TypeAlias = Callable[[Subject, Problem], Any]

REFUSALS = (Refused, Unusable)
"""Ways to refuse an input, of which any will do. To leave is none."""


def _tolerance(problem: Problem) -> float:
    """What rounding alone may change in float64. *Chosen*: 2^-53 times 2^14 times n times the size
    of the scores and values.
    """
    size = 1 + float(np.max(np.abs(problem.q) @ np.abs(problem.k).T, initial=0.0))
    return float(
        2.0**-39 * problem.k.shape[0] * size * (1 + float(np.max(np.abs(problem.v), initial=0.0)))
    )


def _differ(problem: Problem, output: Host, expected: Host) -> str | None:
    if not (np.all(np.isfinite(output)) and np.all(np.isfinite(expected))):
        return "NaN or infinity"
    gap = float(np.max(np.abs(output - expected), initial=0.0))
    return None if gap <= _tolerance(problem) else f"differs by {gap:.3g}"


def _order(problem: Problem) -> Host:
    return np.random.default_rng(1).permutation(problem.k.shape[0])


def key_order(f: Subject, p: Problem) -> Any:
    """The order of the keys does not matter."""
    order = _order(p)
    return _differ(p, f(p.q, p.k[order], p.v[order]), f(p.q, p.k, p.v))


def query_order(f: Subject, p: Problem) -> Any:
    """Rows of the output follow the queries."""
    order = _order(p)
    return _differ(p, f(p.q[order], p.k, p.v), f(p.q, p.k, p.v)[order])


def key_shift(f: Subject, p: Problem) -> Any:
    """A common shift of the keys moves all scores of a row alike."""
    moved = Problem(name=p.name, q=p.q, k=p.k + 0.5, v=p.v)
    return _differ(moved, f(p.q, p.k + 0.5, p.v), f(p.q, p.k, p.v))


def linear(f: Subject, p: Problem) -> Any:
    """The output is linear in the values."""
    other = np.flip(p.v, axis=0) + 1
    return _differ(p, f(p.q, p.k, 2 * p.v - other), 2 * f(p.q, p.k, p.v) - f(p.q, p.k, other))


def ones(f: Subject, p: Problem) -> Any:
    """Weights sum to one: equal values come back."""
    return _differ(p, f(p.q, p.k, np.ones_like(p.v)), np.ones((p.q.shape[0], p.v.shape[1])))


def hull(f: Subject, p: Problem) -> Any:
    """The output lies among the values."""
    out, slack = f(p.q, p.k, p.v), _tolerance(p)
    outside = max(float(np.max(out - p.v.max(axis=0))), float(np.max(p.v.min(axis=0) - out)))
    return None if outside <= slack else f"{outside:.3g} outside the values"


def duplicates(f: Subject, p: Problem) -> Any:
    """Every key twice changes nothing."""
    twice = Problem(name=p.name, q=p.q, k=np.concatenate([p.k, p.k]), v=np.concatenate([p.v, p.v]))
    q = np.concatenate([p.q, p.q]) if f.square else p.q
    return _differ(twice, f(q, twice.k, twice.v)[: p.q.shape[0]], f(p.q, p.k, p.v))


def lone_queries(f: Subject, p: Problem) -> Any:
    """A row does not depend on the other queries, nor on whether there are any."""
    row = f(p.q, p.k, p.v)[:1]
    others = f(np.concatenate([p.q[:1], 1 - p.q[1:]]), p.k, p.v)[:1]
    return _differ(p, others, row) or (None if f.square else _differ(p, f(p.q[:1], p.k, p.v), row))


def batch(f: Subject, p: Problem) -> Any:
    """An item of a batch gives what it gives alone, whatever the other item is."""
    q, k, v = (np.stack([x, 4 * x[::-1]]) for x in (p.q, p.k, p.v))
    if f.leading > 1:
        q, k, v = (x.reshape(x.shape[:1] + (1,) * (f.leading - 1) + x.shape[1:]) for x in (q, k, v))
    try:
        both = f(q, k, v)
    except REFUSALS:  # a function of single heads may say so as it likes
        return NotImplemented if f.leading == 0 else "a batch of two is refused"
    return _differ(p, both[0].reshape(p.q.shape[0], -1), f(p.q, p.k, p.v))


def repeatable(f: Subject, p: Problem) -> Any:
    """The same call gives the same bits."""
    return (
        None
        if np.array_equal(f(p.q, p.k, p.v), f(p.q, p.k, p.v), equal_nan=True)
        else "two calls differ"
    )


def dtype_kept(f: Subject, p: Problem) -> Any:
    """float32 stays float32, float64 stays float64."""
    asked = ["float32", "float64"]
    given = [str(f(*(x.astype(dtype) for x in (p.q, p.k, p.v))).dtype) for dtype in asked]
    return None if given == asked else f"float32, float64 give {', '.join(given)}"


def not_a_number(f: Subject, p: Problem) -> Any:
    """NaN in one key is refused, or makes every row that sees it NaN: it never disappears."""
    k = p.k.copy()
    k[-1, 0] = np.nan
    try:
        out = f(p.q, k, p.v)
    except REFUSALS:
        return None
    return None if np.all(np.isnan(out)) else "finite output from a NaN"


def shapes(f: Subject, p: Problem) -> Any:
    """Keys and values of different number are refused."""
    if f.square or p.k.shape[0] < 2:  # as parts of one sequence they cannot differ
        return NotImplemented
    try:
        f(p.q, p.k, p.v[:-1])
    except REFUSALS:
        return None
    return "one value too few was accepted"


def no_queries(f: Subject, p: Problem) -> Any:
    """No query gives an empty output."""
    if f.square:
        return NotImplemented
    return None if f(p.q[:0], p.k, p.v).shape == (0, p.v.shape[1]) else "wrong shape for no queries"


def causal(f: Subject, p: Problem) -> Any:
    """Under a causal mask row i is that of the first i keys."""
    if f.causal_name is None:
        return NotImplemented
    last = min(2, p.q.shape[0] - 1)
    first = slice(0, last + 1)
    out = f(p.q, p.k, p.v, **{f.causal_name: True})
    return _differ(p, out[last : last + 1], f(p.q[first], p.k[first], p.v[first])[-1:])


def later_keys(f: Subject, p: Problem) -> Any:
    """Under a causal mask what comes later has no influence, whatever stands there."""
    if f.causal_name is None:
        return NotImplemented
    last = min(2, p.q.shape[0] - 1)
    other = [np.concatenate([x[: last + 1], 3 - 2 * x[last + 1 :]]) for x in (p.q, p.k, p.v)]
    one, two = (
        f(q, k, v, **{f.causal_name: True})[: last + 1] for q, k, v in ((p.q, p.k, p.v), other)
    )
    return _differ(p, two, one)


def _around(x: Host, number: float) -> Host:
    row = np.full_like(x[:1], number)
    return np.concatenate([row, x, row])


def _with_masked(f: Subject, p: Problem, key: float, value: float) -> Host:
    """The output for one key more in front and one at the end, both masked (and, where there must
    be, as many queries more).
    """
    keep = np.pad(np.ones(p.k.shape[0], bool), 1)
    q = _around(p.q, 1.0) if f.square else p.q
    out = f(q, _around(p.k, key), _around(p.v, value), **{str(f.mask_name): keep})
    return out[1:-1] if f.square else out


def masked(f: Subject, p: Problem) -> Any:
    """Masked keys are as if they were not there."""
    return (
        NotImplemented
        if f.mask_name is None
        else _differ(p, _with_masked(f, p, 50.0, 1e3), f(p.q, p.k, p.v))
    )


def masked_contents(f: Subject, p: Problem) -> Any:
    """What stands at a masked key has no influence."""
    if f.mask_name is None:
        return NotImplemented
    return _differ(p, _with_masked(f, p, 50.0, 1e3), _with_masked(f, p, -1.0, 2.0))


def all_masked(f: Subject, p: Problem) -> Any:
    """With every key masked there is a refusal, NaN or zero: never an output that knows
    the values.
    """
    if f.mask_name is None:
        return NotImplemented
    none = {f.mask_name: np.zeros(p.k.shape[0], bool)}
    try:
        one, two = f(p.q, p.k, p.v, **none), f(p.q, p.k, p.v + 1, **none)
    except REFUSALS:
        return None
    return (
        None
        if np.array_equal(one, two, equal_nan=True)
        else "the values of masked keys come through"
    )


LAWS: Mapping[str, Law] = {
    "order of keys": key_order,
    "order of queries": query_order,
    "shift of keys": key_shift,
    "linear in values": linear,
    "weights sum to one": ones,
    "output among the values": hull,
    "every key twice": duplicates,
    "queries are independent": lone_queries,
    "batch items are independent": batch,
    "repeatable": repeatable,
    "dtype is kept": dtype_kept,
    "NaN does not disappear": not_a_number,
    "shapes are checked": shapes,
    "no queries": no_queries,
    "causal": causal,
    "later keys": later_keys,
    "masked keys": masked,
    "contents of masked keys": masked_contents,
    "all keys masked": all_masked,
}
"""In the order of the table."""
