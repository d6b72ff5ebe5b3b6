"""One attention problem: q, k, v and masks, checked once, so that the methods can trust their
inputs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace

Fact = TypeVar("Fact")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Checked input of a method.

    Leading batch axes are equal; q, k, v are finite and in the dtype computed in.

    Attributes
    ----------
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Queries, keys, values.
    scale : float
        Factor beta of the scores beta q_i . k_j.
    scale_given : bool
        Whether the caller chose it (False: 1/sqrt(d)).
    causal : bool
        Query i sees keys 0..i; n_q = n_k.
    key_mask : array of bool, shape (..., n_k), or None
        True where a key takes part. Every query sees at least one key.
    xp : namespace
        The array-API namespace of q, k, v.
    out_dtype : str
        Name of the dtype of the result.
    """

    q: Array
    k: Array
    v: Array
    scale: float
    scale_given: bool
    causal: bool
    key_mask: Array | None
    xp: Namespace
    out_dtype: str

    @property
    def batch(self) -> tuple[int, ...]:
        """Leading batch axes."""
        return tuple(self.q.shape[:-2])

    @property
    def n_q(self) -> int:
        """Number of queries."""
        return int(self.q.shape[-2])

    @property
    def n_k(self) -> int:
        """Number of keys."""
        return int(self.k.shape[-2])

    @property
    def d(self) -> int:
        """Width of queries and keys."""
        return int(self.q.shape[-1])

    @property
    def dv(self) -> int:
        """Width of values."""
        return int(self.v.shape[-1])

    @property
    def dtype(self) -> str:
        """Name of the dtype computed in."""
        return _arrays.dtype_name(self.q)

    @functools.cached_property
    def value_range(self) -> tuple[HostArray, HostArray]:
        """Largest and smallest visible value of each column, shapes (..., dv), in float64 on the
        host; found once, for all that ask.
        """
        xp, high, low = self.xp, self.v, self.v
        if self.key_mask is not None:
            keep = self.key_mask[..., None]
            edge = xp.full_like(self.v, xp.inf)
            high, low = xp.where(keep, self.v, -edge), xp.where(keep, self.v, edge)
        ends = _arrays.largest_of_rows(high, xp), _arrays.smallest_of_rows(low, xp)
        top, bottom = (_arrays.to_host(end).astype(np.float64) for end in ends)
        return top, bottom

    @functools.cached_property
    def visible_keys(self) -> HostArray:
        """Number of keys that each query sees, shape (..., n_q), on the host."""
        shape = (*self.batch, self.n_q)
        if self.key_mask is None and not self.causal:
            return np.broadcast_to(np.asarray(self.n_k), shape)
        mask = np.ones((*self.batch, self.n_k), bool)
        if self.key_mask is not None:
            mask = _arrays.to_host(self.key_mask)
        if self.causal:
            return np.asarray(np.cumsum(mask, axis=-1))
        return np.broadcast_to(np.sum(mask, axis=-1, keepdims=True), shape)

    @functools.cached_property
    def facts(self) -> dict[Any, Any]:
        """What `once` has found; `replace` makes a new object, and so starts anew."""
        return {}

    @property
    def u(self) -> float:
        """Unit roundoff of the dtype computed in."""
        return _arrays.unit_roundoff(self.dtype)

    def shown(self, x: Array) -> Array:
        """Return x, shape (..., n_k, m), with 0 in the rows of hidden keys."""
        if self.key_mask is None:
            return x
        return self.xp.where(self.key_mask[..., None], x, self.xp.zeros_like(x))

    def item(self, index: tuple[int, ...]) -> Problem:
        """Return the problem of one leading index, without leading axes."""
        mask = None if self.key_mask is None else self.key_mask[index]
        q, k, v = (x[(*index, ...)] for x in (self.q, self.k, self.v))
        return replace(self, q=q, k=k, v=v, key_mask=mask)


def once(find: Callable[[Problem], Fact]) -> Callable[[Problem], Fact]:
    """Let a fact of a problem be found at the first call only; it is kept with the problem."""

    @functools.wraps(find)
    def kept(problem: Problem) -> Fact:
        if find not in problem.facts:
            problem.facts[find] = find(problem)
        fact: Fact = problem.facts[find]
        return fact

    return kept


def pose(
    q: Array,
    k: Array,
    v: Array,
    *,
    scale: float | None = None,
    causal: bool = False,
    key_mask: Array | None = None,
) -> Problem:
    """Check q, k, v and masks, and return them as a `Problem`.

    Raises
    ------
    TypeError
        Not arrays, several libraries, devices or dtypes, a dtype without an attention, a mask that
        is not bool.
    ValueError
        Shapes that do not fit, no keys, NaN or infinity, scores that could overflow, a query that
        sees no key.
    """
    masks = {} if key_mask is None else {"key_mask": key_mask}
    xp = _arrays.namespace(q=q, k=k, v=v, **masks)
    _check_dtypes(q, k, v)
    _check_shapes(q, k, v, causal)
    beta = _check_scale(scale, int(q.shape[-1]))
    batch = _common_batch(q, k, v)
    out_dtype = _arrays.dtype_name(q)
    compute = _arrays.compute_dtype_name(q, "q")
    given = {"q": q, "k": k, "v": v}
    q, k, v = (_arrays.contiguous(_arrays.cast(array, compute, xp)) for array in (q, k, v))
    tops = [_max_abs(array, xp) for array in (q, k, v)]
    for (name, array), top in zip(given.items(), tops, strict=True):
        if not math.isfinite(top):
            _check_finite(name, array, xp)
    mask = _check_mask(key_mask, (*batch, int(k.shape[-2])), causal, xp)
    _check_magnitudes(tops, int(q.shape[-1]), int(k.shape[-2]), beta, compute)
    q, k, v = (xp.broadcast_to(array, (*batch, *array.shape[-2:])) for array in (q, k, v))
    out_dtype = out_dtype if "float" in out_dtype else compute
    return Problem(
        q=q,
        k=k,
        v=v,
        scale=beta,
        scale_given=scale is not None,
        causal=causal,
        key_mask=mask,
        xp=xp,
        out_dtype=out_dtype,
    )


def _check_dtypes(q: Array, k: Array, v: Array) -> None:
    for name, array in (("q", q), ("k", k), ("v", v)):
        _arrays.compute_dtype_name(array, name)
    if not q.dtype == k.dtype == v.dtype:
        msg = (
            f"q, k, v have dtypes {q.dtype}, {k.dtype}, {v.dtype}: they must be equal; cast them, "
            "so that no precision is lost unseen"
        )
        raise TypeError(msg)


def _check_shapes(q: Array, k: Array, v: Array, causal: bool) -> None:
    for name, array in (("q", q), ("k", k), ("v", v)):
        if array.ndim < 2:
            msg = (
                f"{name} has shape {array.shape}: it needs (..., tokens, features); use "
                f"{name}[None, :] for one token"
            )
            raise ValueError(msg)
    if q.shape[-1] != k.shape[-1]:
        msg = (
            f"q{q.shape} and k{k.shape} differ in the last axis: queries and keys must have the "
            "same width"
        )
        raise ValueError(msg)
    if q.shape[-1] == 0:
        msg = (
            f"q has shape {q.shape}: width 0 leaves no score to compare; queries need at least one "
            "feature"
        )
        raise ValueError(msg)
    if k.shape[-2] != v.shape[-2]:
        msg = f"k{k.shape} and v{v.shape} differ in tokens: every key needs one value"
        raise ValueError(msg)
    if k.shape[-2] == 0:
        msg = f"k has shape {k.shape}: the softmax over no keys is undefined; give at least one key"
        raise ValueError(msg)
    if causal and q.shape[-2] != k.shape[-2]:
        msg = (
            f"causal=True with {q.shape[-2]} queries and {k.shape[-2]} keys is ambiguous: align "
            "them to equal lengths"
        )
        raise ValueError(msg)


def _check_scale(scale: float | None, d: int) -> float:
    if scale is None:
        return 1.0 / math.sqrt(d)
    beta = float(scale)
    if not (math.isfinite(beta) and beta > 0):
        msg = f"scale(={scale}) must be a finite positive number; None means 1/sqrt(d)"
        raise ValueError(msg)
    return beta


def _common_batch(q: Array, k: Array, v: Array) -> tuple[int, ...]:
    shapes = [tuple(array.shape[:-2]) for array in (q, k, v)]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        msg = (
            f"leading axes {shapes[0]}, {shapes[1]}, {shapes[2]} of q, k, v do not broadcast: make "
            "them equal or 1"
        )
        raise ValueError(msg) from None


def _check_finite(name: str, array: Array, xp: Namespace) -> None:
    if not xp.isdtype(array.dtype, "real floating") or bool(xp.all(xp.isfinite(array))):
        return
    host = _arrays.to_host(array)
    first = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
    msg = (
        f"{name}{list(first)} is {host[first]}: q, k, v must be finite; mend or mask the input, or "
        "pass nan_policy='propagate'"
    )
    raise ValueError(msg)


def _check_mask(
    key_mask: Array | None, shape: tuple[int, ...], causal: bool, xp: Namespace
) -> Array | None:
    if key_mask is None:
        return None
    if _arrays.dtype_name(key_mask) != "bool":
        msg = f"key_mask has dtype {key_mask.dtype}: it must be bool, True where a key takes part"
        raise TypeError(msg)
    try:
        mask = xp.broadcast_to(key_mask, shape)
    except (ValueError, RuntimeError) as error:
        msg = (
            f"key_mask has shape {tuple(key_mask.shape)}: it must broadcast to (..., n_k) = {shape}"
        )
        raise ValueError(msg) from error
    if not bool(xp.all(mask[..., 0] if causal else xp.any(mask, axis=-1))):
        who = (
            ("query 0 sees no key under causal=True")
            if causal
            else "some batch item has no key left"
        )
        msg = (
            f"key_mask leaves a query without keys ({who}): the softmax over no keys is undefined; "
            "unmask one, e.g. the query's own"
        )
        raise ValueError(msg)
    return mask


def _check_magnitudes(tops: list[float], d: int, n: int, beta: float, compute: str) -> None:
    """Refuse what could overflow: a score is at most beta d max|q| max|k|, a centred key twice its
    size, a value sum n max|v|.
    """
    top_q, top_k, top_v = tops
    score = 2 * max(beta, 1.0) * d * max(top_q, 1.0) * max(top_k, 1.0)
    for what, size in (
        ("beta d max|q| max|k|", score),
        ("n max|k|", 2 * n * top_k),
        ("n max|v|", 2 * n * top_v),
    ):
        refuse_overflow(what, size, compute)


def refuse_overflow(what: str, size: float, dtype: str) -> None:
    """Raise ValueError where a sum of that size could overflow.

    The limit is a sixteenth of the largest number of the dtype. *Chosen*: room for the few
    operations that follow.
    """
    limit = _arrays.largest(dtype) / 16
    if not size <= limit:
        msg = (
            f"{what} = {size:.3g} could overflow {dtype} (limit {limit:.3g}): rescale the "
            "input or use float64"
        )
        raise ValueError(msg)


def _max_abs(array: Array, xp: Namespace) -> float:
    """Return the largest absolute entry, 0 of no entries; NaN or infinite where an entry is."""
    return float(xp.max(_arrays.largest_size(array, xp))) if math.prod(array.shape) else 0.0


def check_cotangent(dout: Array, problem: Problem, q: Array) -> Array:
    """Check dout against the output's shape and dtype and return it in the dtype computed in."""
    xp = _arrays.namespace(q=q, dout=dout)
    shape = (*problem.batch, problem.n_q, problem.dv)
    if tuple(dout.shape) != shape:
        msg = f"dout has shape {tuple(dout.shape)}: it must be that of the output, {shape}"
        raise ValueError(msg)
    if _arrays.dtype_name(dout) != problem.out_dtype:
        msg = f"dout has dtype {dout.dtype}: it must be that of the output, {problem.out_dtype}"
        raise TypeError(msg)
    _check_finite("dout", dout, xp)
    return _arrays.cast(dout, problem.dtype, xp)


def quarantine(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array, HostArray]:
    """Zero the batch items that hold NaN or infinity, and say which: bool, shape of the broadcast
    leading axes.
    """
    xp = _arrays.namespace(q=q, k=k, v=v)
    clean, bad = [], []
    for array in (q, k, v):
        if array.ndim < 2 or not xp.isdtype(array.dtype, "real floating"):
            clean.append(array)  # `pose` accepts or refuses it
            continue
        fine = xp.all(xp.isfinite(array), axis=(-2, -1))
        clean.append(xp.where(fine[..., None, None], array, xp.zeros_like(array)))
        bad.append(~_arrays.to_host(fine))
    return (
        clean[0],
        clean[1],
        clean[2],
        np.logical_or.reduce(np.broadcast_arrays(*bad)) if bad else np.zeros((), bool),
    )
