"""Laws of order and sums: what a change of the keys, queries or values does to the output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from approxattn.testing.calls import Host
from approxattn.testing.laws.shared import REFUSALS, differ, tolerance
from approxattn.testing.problem import Problem
from approxattn.testing.subject import Subject


def _order(p: Problem) -> Host:
    return np.random.default_rng(1).permutation(p.k.shape[0])


def key_order(f: Subject, p: Problem) -> Any:
    """The order of the keys does not matter."""
    order = _order(p)
    return differ(p, f(p.q, p.k[order], p.v[order]), f(p.q, p.k, p.v))


def query_order(f: Subject, p: Problem) -> Any:
    """Rows of the output follow the queries."""
    order = _order(p)
    return differ(p, f(p.q[order], p.k, p.v), f(p.q, p.k, p.v)[order])


def key_shift(f: Subject, p: Problem) -> Any:
    """A common shift of the keys moves all scores of a row alike."""
    moved = replace(p, k=p.k + 0.5)
    return differ(moved, f(p.q, p.k + 0.5, p.v), f(p.q, p.k, p.v))


def linear(f: Subject, p: Problem) -> Any:
    """The output is linear in the values."""
    other = np.flip(p.v, axis=0) + 1
    return differ(p, f(p.q, p.k, 2 * p.v - other), 2 * f(p.q, p.k, p.v) - f(p.q, p.k, other))


def ones(f: Subject, p: Problem) -> Any:
    """Weights sum to one: equal values come back."""
    return differ(p, f(p.q, p.k, np.ones_like(p.v)), np.ones((p.q.shape[0], p.v.shape[1])))


def hull(f: Subject, p: Problem) -> Any:
    """The output lies among the values."""
    out, slack = f(p.q, p.k, p.v), tolerance(p)
    outside = max(float(np.max(out - p.v.max(axis=0))), float(np.max(p.v.min(axis=0) - out)))
    return None if outside <= slack else f"{outside:.3g} outside the values"


def duplicates(f: Subject, p: Problem) -> Any:
    """Every key twice changes nothing."""
    if not f.lengths.has(2 * p.k.shape[0]):
        return NotImplemented
    twice = replace(p, k=np.concatenate([p.k, p.k]), v=np.concatenate([p.v, p.v]))
    q = np.concatenate([p.q, p.q]) if f.square else p.q
    return differ(twice, f(q, twice.k, twice.v)[: p.q.shape[0]], f(p.q, p.k, p.v))


def lone_queries(f: Subject, p: Problem) -> Any:
    """A row does not depend on the other queries, nor on whether there are any."""
    few = f.lengths.multiple_of
    rows = f(p.q, p.k, p.v)[:few]
    others = f(np.concatenate([p.q[:few], 1 - p.q[few:]]), p.k, p.v)[:few]
    return differ(p, others, rows) or (
        None if f.square else differ(p, f(p.q[:few], p.k, p.v), rows)
    )


def batch(f: Subject, p: Problem) -> Any:
    """An item of a batch gives what it gives alone, whatever the other item is."""
    alone = f(p.q, p.k, p.v)
    q, k, v = (np.stack([x, 4 * x[::-1]]) for x in (p.q, p.k, p.v))
    if f.leading > 1:
        q, k, v = (x.reshape(x.shape[:1] + (1,) * (f.leading - 1) + x.shape[1:]) for x in (q, k, v))
    try:
        both = f(q, k, v)
    except REFUSALS:  # a function of single heads may say so as it likes
        return NotImplemented if f.leading == 0 else "a batch of two is refused"
    return differ(p, both[0].reshape(p.q.shape[0], -1), alone)
