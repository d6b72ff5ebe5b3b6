"""Laws that every softmax attention obeys, and most approximations. Each returns a complaint, None, or NotImplemented where the function has no such form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from proofs_check.kit.problems import Host, Problem, Subject

Law: TypeAlias = Callable[[Subject, Problem], Any]


def _tolerance(problem: Problem) -> float:
    """What rounding alone may change in float64. *Chosen*: 2^-53 times 2^14 times n times the size of the scores and values."""
    size = 1 + float(np.max(np.abs(problem.q) @ np.abs(problem.k).T, initial=0.0))
    return float(2.0**-39 * problem.k.shape[0] * size * (1 + float(np.max(np.abs(problem.v), initial=0.0))))


def _differ(problem: Problem, found: Host, expected: Host) -> str | None:
    if not (np.all(np.isfinite(found)) and np.all(np.isfinite(expected))):
        return "NaN or infinity"
    gap = float(np.max(np.abs(found - expected), initial=0.0))
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
    return _differ(twice, f(p.q, twice.k, twice.v), f(p.q, p.k, p.v))


def fewer_queries(f: Subject, p: Problem) -> Any:
    """A query does not depend on the others."""
    return _differ(p, f(p.q[:1], p.k, p.v), f(p.q, p.k, p.v)[:1])


def batch(f: Subject, p: Problem) -> Any:
    """An item of a batch gives what it gives alone, whatever the other item is."""
    q, k, v = (np.stack([x, 4 * x[::-1]]) for x in (p.q, p.k, p.v))
    if f.leading > 1:
        q, k, v = (x.reshape(x.shape[:1] + (1,) * (f.leading - 1) + x.shape[1:]) for x in (q, k, v))
    try:
        both = f(q, k, v)
    except Exception:  # noqa: BLE001 - a function of single heads may say so as it likes
        return NotImplemented if f.leading == 0 else "a batch of two is refused"
    return _differ(p, both[0].reshape(p.q.shape[0], -1), f(p.q, p.k, p.v))


def repeatable(f: Subject, p: Problem) -> Any:
    """The same call gives the same bits."""
    return None if np.array_equal(f(p.q, p.k, p.v), f(p.q, p.k, p.v), equal_nan=True) else "two calls differ"


def inputs_kept(f: Subject, p: Problem) -> Any:
    """Inputs are not written to."""
    arrays = [f.put(x.copy().reshape((1,) * f.leading + x.shape)) for x in (p.q, p.k, p.v)]
    before = [np.array(f.get(x)) for x in arrays]
    f.function(*arrays, **f.options)
    changed = [name for name, x, y in zip("qkv", arrays, before, strict=True) if not np.array_equal(f.get(x), y)]
    return f"{', '.join(changed)} changed" if changed else None


def dtype_kept(f: Subject, p: Problem) -> Any:
    """float32 stays float32, float64 stays float64."""
    found = [str(f(*(x.astype(t) for x in (p.q, p.k, p.v))).dtype) for t in ("float32", "float64")]
    return None if found == ["float32", "float64"] else f"float32, float64 give {', '.join(found)}"


def not_a_number(f: Subject, p: Problem) -> Any:
    """NaN in one key is refused, or makes every row that sees it NaN: it never disappears."""
    k = p.k.copy()
    k[-1, 0] = np.nan
    try:
        out = f(p.q, k, p.v)
    except Exception:  # noqa: BLE001 - a refusal of any kind will do
        return None
    return None if np.all(np.isnan(out)) else "finite output from a NaN"


def shapes(f: Subject, p: Problem) -> Any:
    """Keys and values of different number are refused."""
    if p.k.shape[0] < 2:
        return None
    try:
        f(p.q, p.k, p.v[:-1])
    except Exception:  # noqa: BLE001 - a refusal of any kind will do
        return None
    return "one value too few was accepted"


def no_queries(f: Subject, p: Problem) -> Any:
    """No query gives an empty output."""
    return None if f(p.q[:0], p.k, p.v).shape == (0, p.v.shape[1]) else "wrong shape for no queries"


def causal(f: Subject, p: Problem) -> Any:
    """Under a causal mask row i is that of the first i keys."""
    if f.causal_name is None:
        return NotImplemented
    out = f(p.q, p.k, p.v, **{f.causal_name: True})
    last = min(2, p.q.shape[0] - 1)
    return _differ(p, out[last : last + 1], f(p.q[last : last + 1], p.k[: last + 1], p.v[: last + 1]))


def masked(f: Subject, p: Problem) -> Any:
    """A masked key has no influence, whatever stands there."""
    if f.mask_name is None:
        return NotImplemented
    keep = np.ones(p.k.shape[0] + 1, bool)
    keep[-1] = False
    k, v = np.concatenate([p.k, 50 + 0 * p.k[:1]]), np.concatenate([p.v, 1e3 + 0 * p.v[:1]])
    return _differ(p, f(p.q, k, v, **{f.mask_name: f.put(keep)}), f(p.q, p.k, p.v))


LAWS: Mapping[str, Law] = {
    "order of keys": key_order,
    "order of queries": query_order,
    "shift of keys": key_shift,
    "linear in values": linear,
    "weights sum to one": ones,
    "output among the values": hull,
    "every key twice": duplicates,
    "queries are independent": fewer_queries,
    "batch items are independent": batch,
    "repeatable": repeatable,
    "inputs are not written to": inputs_kept,
    "dtype is kept": dtype_kept,
    "NaN does not disappear": not_a_number,
    "shapes are checked": shapes,
    "no queries": no_queries,
    "causal": causal,
    "masked keys": masked,
}
"""In the order of the table."""
