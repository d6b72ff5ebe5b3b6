"""What states of any method take: keys that may be none, queries without keys."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, pose
from approxattn._problem.input import hide
from approxattn.bounds.scores import key_norms, visible_max
from approxattn.methods.states.files import need


def pose_keys(k: Array, v: Array, scale: float | None, key_mask: Array | None) -> Problem:
    """Check keys and values as `attention` would, with one exception: an item may have no key.

    Ragged batches need that. Such an item is checked as if its first key took part, as a row of
    zeros.
    """
    if key_mask is None or not _fits(k, v, key_mask):
        return pose(k, k, v, scale=scale, key_mask=key_mask)  # which says what is wrong
    xp = _arrays.namespace(k=k, v=v, key_mask=key_mask)
    first = xp.arange(k.shape[-2], device=_arrays.device(k)) == 0
    checked = key_mask | (~xp.any(key_mask, axis=-1, keepdims=True) & first)
    keys, values = (hide(x, key_mask, xp) for x in (k, v))
    problem = pose(keys, keys, values, scale=scale, key_mask=checked)
    full = xp.broadcast_to(key_mask, (*problem.batch, problem.n_k))
    return replace(problem, key_mask=_arrays.contiguous(full))


def _fits(k: Array, v: Array, key_mask: Array) -> bool:
    """Tell whether the mask is one and can be laid over the keys."""
    try:
        dtype = _arrays.dtype_name(key_mask)
        full = (*np.broadcast_shapes(tuple(k.shape[:-2]), tuple(v.shape[:-2])), k.shape[-2])
        return dtype == "bool" and np.broadcast_shapes(tuple(key_mask.shape), full) == full
    except (AttributeError, IndexError, ValueError):
        return False


def pose_queries(q: Array, like: Array, d: int, scale: float | None) -> Problem:
    """Check queries as `attention` would, beside one key of zeros, for a state with an array like
    that, shape (..., rows, columns), of keys of width d.
    """
    xp = _arrays.namespace(q=q, state=like)
    zeros = xp.zeros((1, d), dtype=q.dtype, device=_arrays.device(q))
    problem = pose(q, zeros, zeros, scale=scale)
    check_posed(problem, like)
    return replace(problem, out_dtype=problem.dtype)


def pose_next(
    q: Array, k: Array, v: Array, like: Array, dv: int, d: int, scale: float | None
) -> Problem:
    """Check the next tokens under causal order, for a state of values of width dv."""
    if tuple(q.shape[-2:-1]) != tuple(k.shape[-2:-1]):
        msg = (
            f"q{tuple(q.shape)} and k{tuple(k.shape)} differ in tokens: attend takes the next "
            "tokens, as many queries as keys; query() takes queries alone"
        )
        raise ValueError(msg)
    _arrays.namespace(q=q, state=like)
    problem = pose(q, k, v, scale=scale, causal=True)
    check_posed(problem, like)
    if (problem.d, problem.dv) != (d, dv):
        msg = (
            f"k and v have widths {problem.d} and {problem.dv}, those of the state {d} and {dv}: "
            "make them equal"
        )
        raise ValueError(msg)
    return problem


def check_posed(problem: Problem, like: Array) -> None:
    """Refuse what has other leading axes, or another dtype, than a state."""
    batch = tuple(like.shape[:-2])
    if problem.batch != batch:
        msg = f"q has leading axes {problem.batch}, the state {batch}: make them equal"
        raise ValueError(msg)
    if problem.dtype != _arrays.dtype_name(like):
        msg = (
            f"q is computed in {problem.dtype}, the state in {_arrays.dtype_name(like)}: "
            "cast q to the dtype of the keys"
        )
        raise TypeError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenKeys:
    """What bounds need of the keys and values that a state has seen.

    Attributes
    ----------
    keys : ndarray of int, shape (...)
        Their number.
    radius : ndarray, shape (...)
        Bound on the length of every key.
    high, low : ndarray, shape (..., dv)
        Largest and smallest value of each column; -inf and inf of an item that has seen no key.
    """

    keys: HostArray
    radius: HostArray
    high: HostArray
    low: HostArray

    def merged(self, other: SeenKeys) -> SeenKeys:
        """Return that of the keys of both."""
        return SeenKeys(
            keys=self.keys + other.keys,
            radius=np.maximum(self.radius, other.radius),
            high=np.maximum(self.high, other.high),
            low=np.minimum(self.low, other.low),
        )

    @property
    def ends(self) -> tuple[HostArray, HostArray]:
        """`high` and `low`, 0 where there was no key, shapes (..., dv)."""
        some = (self.keys > 0)[..., None]
        return np.where(some, self.high, 0.0), np.where(some, self.low, 0.0)

    @property
    def most(self) -> int:
        """The largest number of keys, at least 1."""
        return max(1, int(np.max(self.keys, initial=0)))


def seen_keys(problem: Problem) -> SeenKeys:
    """Return that of the keys of a problem."""
    keys, high, low = counted_values(problem)
    radius = visible_max(key_norms(problem), problem) if problem.n_k else np.zeros(problem.batch)
    return SeenKeys(keys=keys, radius=radius, high=high, low=low)


def counted_values(problem: Problem) -> tuple[HostArray, HostArray, HostArray]:
    """Return the number of keys, and `high` and `low` of their values."""
    high, low = problem.value_range
    keys = np.full(problem.batch, problem.n_k)
    if problem.key_mask is not None:
        keys = np.asarray(np.sum(_arrays.to_host(problem.key_mask), axis=-1))
        some = keys[..., None] > 0  # what saw nothing must widen no range
        high, low = np.where(some, high, -np.inf), np.where(some, low, np.inf)
    return keys, high, low


SEEN = ("keys", "radius", "high", "low")
"""Names of the arrays of `SeenKeys` in a file."""


def seen_arrays(seen: SeenKeys) -> dict[str, HostArray]:
    """Return them."""
    return {name: getattr(seen, name) for name in SEEN}


def checked_seen(arrays: dict[str, HostArray], batch: tuple[int, ...], dv: int) -> SeenKeys:
    """Return those read from a file.

    Raises
    ------
    ValueError
        If their dtypes, shapes or numbers are such as no keys have.
    """
    seen = SeenKeys(**{name: arrays[name] for name in SEEN})
    shapes = {"keys": batch, "radius": batch, "high": (*batch, dv), "low": (*batch, dv)}
    for name, shape in shapes.items():
        need(arrays[name].shape == shape, f"{name} has shape {arrays[name].shape}, not {shape}")
    for name in ("radius", "high", "low"):
        need(arrays[name].dtype == np.float64, f"{name} is of dtype {arrays[name].dtype}")
    need(seen.keys.dtype.kind in "iu" and np.all(seen.keys >= 0), "keys are no counts")
    need(np.all(np.isfinite(seen.radius) & (seen.radius >= 0)), "radius is no length")
    some = (seen.keys > 0)[..., None]
    ends = np.isfinite(seen.high) & np.isfinite(seen.low) & (seen.low <= seen.high)
    none = np.isneginf(seen.high) & np.isposinf(seen.low)
    need(np.all(np.where(some, ends, none)), "high and low are no range")
    return seen
