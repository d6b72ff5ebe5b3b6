"""Laws of masks: a causal one, and one over the keys; asked of functions that have the keyword."""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn.testing.calls import Host
from approxattn.testing.laws.shared import REFUSALS, differ, ends, masked_places
from approxattn.testing.problem import Problem
from approxattn.testing.subject import Subject


def causal(f: Subject, p: Problem) -> Any:
    """Under a causal mask row i is that of the first i keys."""
    if f.causal_name is None:
        return NotImplemented
    out = f(p.q, p.k, p.v, **{f.causal_name: True})
    for end in ends(f, p.k.shape[0]):
        start = 0 if f.square else end - f.lengths.multiple_of
        alone = f(p.q[start:end], p.k[:end], p.v[:end])[-1:]
        complaint = differ(p, out[end - 1 : end], alone)
        if complaint:
            return f"row {end - 1} {complaint.partition(' in row')[0]}"
    return None


def later_keys(f: Subject, p: Problem) -> Any:
    """Under a causal mask what comes later has no influence, whatever stands there."""
    if f.causal_name is None:
        return NotImplemented
    out = f(p.q, p.k, p.v, **{f.causal_name: True})
    for end in ends(f, p.k.shape[0]):
        q, k, v = (np.concatenate([x[:end], 3 - 2 * x[end:]]) for x in (p.q, p.k, p.v))
        complaint = differ(p, f(q, k, v, **{f.causal_name: True})[:end], out[:end])
        if complaint:
            return f"{complaint} with keys from {end} on"
    return None


def _among(x: Host, places: list[int], number: float) -> Host:
    """The rows with rows of one number among them, at the places given."""
    wide = np.full((x.shape[0] + len(places), x.shape[1]), number, x.dtype)
    wide[np.delete(np.arange(len(wide)), places)] = x
    return wide


def _with_masked(f: Subject, p: Problem, key: float, value: float) -> Host | None:
    """The output for the keys with masked ones among them (and, where there must be, as many more
    queries); None when the function takes no more.
    """
    places = masked_places(f, p.k.shape[0])
    keep = np.ones(p.k.shape[0] + len(places), bool)
    keep[places] = False
    if not f.lengths.has(len(keep)):
        return None
    q = _among(p.q, places, 1.0) if f.square else p.q
    out = f(q, _among(p.k, places, key), _among(p.v, places, value), **{str(f.mask_name): keep})
    return out[keep] if f.square else out


def masked(f: Subject, p: Problem) -> Any:
    """Masked keys are as if they were not there."""
    out = None if f.mask_name is None else _with_masked(f, p, 50.0, 1e3)
    return NotImplemented if out is None else differ(p, out, f(p.q, p.k, p.v))


def masked_contents(f: Subject, p: Problem) -> Any:
    """What stands at a masked key has no influence."""
    if f.mask_name is None:
        return NotImplemented
    one, two = _with_masked(f, p, 50.0, 1e3), _with_masked(f, p, -1.0, 2.0)
    return NotImplemented if one is None or two is None else differ(p, one, two)


def all_masked(f: Subject, p: Problem) -> Any:
    """With every key masked there is a refusal, NaN or zero: never an output that knows
    the values.
    """
    if f.mask_name is None:
        return NotImplemented
    n = p.k.shape[0]
    f(p.q, p.k, p.v, **{f.mask_name: np.ones(n, bool)})
    none = {f.mask_name: np.zeros(n, bool)}
    try:
        one, two = f(p.q, p.k, p.v, **none), f(p.q, p.k, p.v + 1, **none)
    except REFUSALS:
        return None
    return (
        None
        if np.array_equal(one, two, equal_nan=True)
        else "the values of masked keys come through"
    )
