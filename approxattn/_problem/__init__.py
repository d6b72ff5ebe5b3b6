"""One attention problem: q, k, v and masks, checked once, so that the methods can trust their
inputs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace, precision
from approxattn._arrays.crossing import at_hand, far, fetched
from approxattn._problem.bias import Bias
from approxattn._problem.input import (
    check_dtypes,
    check_finite,
    check_scale,
    check_shapes,
    common_batch,
    hide,
    largest_entry,
    sizes_of,
    value_ends,
)
from approxattn._problem.masks import check_empty_rows, check_mask, check_order
from approxattn._problem.overflow import check_magnitudes, refuse_overflow
from approxattn._problem.positions import checked_bias
from approxattn._problem.quiet import quietly
from approxattn._problem.variants import check_sinks, check_softcap
from approxattn._problem.visible import Visibility, Window, counted, limits_of, without_unseen

__all__ = [
    "Problem",
    "Scoring",
    "once",
    "pose",
    "quietly",
    "refuse_overflow",
]

Fact = TypeVar("Fact")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Checked input of a method.

    Leading batch axes are equal; q, k, v are finite and in the dtype computed in.

    Attributes
    ----------
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Queries, keys, values; keys and values that the mask hides are 0.
    scale : float
        Factor beta of the scores beta q_i . k_j.
    scale_given : bool
        Whether the caller chose it (False: 1/sqrt(d)).
    causal : bool
        Query i sees keys 0..i + n_k - n_q; n_q <= n_k. With `heads`, i and n_q count in each run.
    key_mask : array of bool, shape (..., n_k), or None
        True where a key takes part. Every query sees at least one key, unless there is a band.
    xp : namespace
        The array-API namespace of q, k, v.
    out_dtype : str
        Name of the dtype of the result.
    band : (int or None, int or None) or None
        Least and largest j - i of a query i and a key j that it sees; None: no limit. Only for
        methods that know it.
    bias : Bias or None
        Added to the scores; -inf hides a pair. Only for methods that know it.
    softcap : float or None
        c of the scores c tanh(s / c), taken before the bias is added. Only for methods that know
        it.
    sinks : array, shape (..., 1, 1), or None
        Logits that join the denominators, with the value 0. Only for methods that know them.
    rounded : float
        Relative error of bias and sinks, as they came into the dtype computed in.
    wants_lse : bool
        Whether the log-sum-exp of each row is asked for.
    visibility : Visibility or None
        What the caller's masks let each query see, where `causal` and `key_mask` cannot say it;
        then `causal` is False. Methods never get such a problem: see `approxattn.attend`.
    certify : bool
        Whether a bound is wanted; where not, a method may return `certificate.unclaimed`.
    group : int
        So many heads, the last leading axis, share keys, values and mask; 1: they may differ.
    heads : int
        Under causal order, the queries are so many runs of equal length, one after the other, each
        over all keys. Only for methods that know it.
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
    band: Window | None = None
    bias: Bias | None = None
    softcap: float | None = None
    sinks: Array | None = None
    rounded: float = 0.0
    wants_lse: bool = False
    visibility: Visibility | None = None
    certify: bool = True
    group: int = 1
    heads: int = 1

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
    def value_ends(self) -> tuple[Array, Array]:
        """Largest and smallest visible value of each column, 0 where there is none, shapes
        (..., dv), in float64, at hand (`_arrays.crossing`); a sink has the value 0.
        """
        return value_ends(self.v, self.key_mask, self.xp, zero=self.sinks is not None)

    @functools.cached_property
    def value_range(self) -> tuple[HostArray, HostArray]:
        """The same on the host; found once, for all that ask."""
        high, low = fetched(*self.value_ends)
        return high, low

    @functools.cached_property
    def key_reach(self) -> Array:
        """Largest absolute entry of the keys, an array without axes, at hand."""
        return at_hand(largest_entry(self.k, self.xp))

    @functools.cached_property
    def largest_key(self) -> float:
        """The same as a number."""
        return float(_arrays.to_host(self.key_reach))

    @functools.cached_property
    def largest_beside(self) -> float | None:
        """Largest entry of the array that was posed beside q, k and v, where it is known."""
        return None

    @property
    def earlier(self) -> int:
        """Keys before that of query 0, under causal order."""
        return self.n_k - self.n_q // self.heads if self.causal else 0

    def of_heads(self, per_position: HostArray) -> HostArray:
        """Return what queries have by their positions, shape (..., n_q / heads), for all of them,
        shape (..., n_q).
        """
        return np.tile(per_position, self.heads) if self.heads > 1 else per_position

    @functools.cached_property
    def limits(self) -> tuple[HostArray, HostArray] | None:
        """First key that each query may see and one past the last, shapes (..., n_q), on the host,
        whatever `key_mask` hides; None: all keys.
        """
        if self.visibility is not None:
            return self.visibility.limits
        if self.causal:
            low, high = limits_of((None, self.earlier), self.n_q // self.heads, self.n_k)
            return self.of_heads(low), self.of_heads(high)
        return None if self.band is None else limits_of(self.band, self.n_q, self.n_k)

    @functools.cached_property
    def visible_keys(self) -> HostArray:
        """Number of keys that each query sees, shape (..., n_q), on the host."""
        shape = (*self.batch, self.n_q)
        mask = None if self.key_mask is None else _arrays.to_host(self.key_mask)
        if self.bias is not None and self.bias.hides():
            seen = self.visibility or self._order
            return np.broadcast_to(self.bias.visible(seen, mask), shape)
        if self.limits is not None:
            return np.broadcast_to(counted(self.limits, mask), shape)
        if mask is None:
            return np.broadcast_to(np.asarray(self.n_k), shape)
        return np.broadcast_to(np.sum(mask, axis=-1, keepdims=True), shape)

    @property
    def _order(self) -> Visibility:
        """What `causal` and `band` say."""
        low, high = (None, self.earlier) if self.causal else self.band or (None, None)
        before, after = None if low is None else -low, high
        return Visibility(n_q=self.n_q, n_k=self.n_k, window=(before, after))

    @functools.cached_property
    def facts(self) -> dict[Any, Any]:
        """What `once` has found; `replace` makes a new object, and so starts anew."""
        return {}

    @property
    def u(self) -> float:
        """Unit roundoff of the dtype computed in, or of its products where they are less exact."""
        return precision.unit_roundoff(self.q)

    def asked(self, *, certify: bool | None = None, wants_lse: bool | None = None) -> Problem:
        """Return the problem with other wishes, None for those that stay, and with what was found
        of its arrays.
        """
        found = replace(
            self,
            certify=self.certify if certify is None else certify,
            wants_lse=self.wants_lse if wants_lse is None else wants_lse,
        )
        vars(found).update({name: x for name, x in vars(self).items() if name not in vars(found)})
        return found

    def once_a_group(self) -> Problem:
        """Return the problem with one copy of the keys that heads share: an axis of length 1, which
        broadcasts to that of the heads.
        """
        if self.group == 1:
            return self
        mask = None if self.key_mask is None else self.key_mask[..., :1, :]
        k, v = (x[..., :1, :, :] for x in (self.k, self.v))
        return replace(self, k=k, v=v, key_mask=mask)

    def shown(self, x: Array) -> Array:
        """Return x, shape (..., n_k, m), with 0 in the rows of hidden keys."""
        if self.key_mask is None:
            return x
        return self.xp.where(self.key_mask[..., None], x, self.xp.zeros_like(x))

    def item(self, index: tuple[int, ...]) -> Problem:
        """Return the problem of one leading index, without leading axes."""
        mask = None if self.key_mask is None else self.key_mask[(*index, ...)]
        q, k, v = (x[(*index, ...)] for x in (self.q, self.k, self.v))
        seen = None if self.visibility is None else self.visibility.item(index, self.batch)
        bias = None if self.bias is None else self.bias.item(index, self.batch)
        sinks = None if self.sinks is None else self.sinks[(*index, ...)]
        own = {"q": q, "k": k, "v": v, "key_mask": mask, "bias": bias, "sinks": sinks}
        return replace(self, **own, visibility=seen, group=1)


def once(find: Callable[[Problem], Fact]) -> Callable[[Problem], Fact]:
    """Let a fact of a problem be found at the first call only; it is kept with the problem."""

    @functools.wraps(find)
    def kept(problem: Problem) -> Fact:
        if find not in problem.facts:
            problem.facts[find] = find(problem)
        fact: Fact = problem.facts[find]
        return fact

    return kept


class Scoring(NamedTuple):
    """How a call scores keys and hides them, as the caller said it: see `approxattn.attention`."""

    scale: float | None = None
    causal: bool = False
    key_mask: Array | None = None
    query_offset: int | None = None
    window: Window | None = None
    segments: Any = None
    empty_rows: str = "raise"
    bias: Any = None
    softcap: float | None = None
    sinks: Array | None = None


def pose(
    q: Array,
    k: Array,
    v: Array,
    scoring: Scoring | None = None,
    *,
    numbers: bool = True,
    beside: Array | None = None,
    **said: Any,
) -> Problem:
    """Check q, k, v and masks, and return them as a `Problem`.

    Keys that no query sees are hidden, as those are that `key_mask` hides. `said` are fields of
    `Scoring`, for callers that have a few. Without `numbers` those in q, k, v are not looked at.
    The largest entry of `beside` is found together with theirs where all are far.

    Raises
    ------
    TypeError
        Not arrays, several libraries, devices or dtypes, a dtype without an attention, a mask that
        is not bool.
    ValueError
        Shapes that do not fit, no keys, NaN or infinity, scores that could overflow, a query that
        sees no key.
    """
    scoring = Scoring(**said) if scoring is None else scoring
    scale, causal, key_mask, query_offset, window, segments, empty_rows, bias, *rest = scoring
    softcap, sinks = rest
    function = callable(bias)
    more = {"key_mask": key_mask, "bias": None if function else bias, "sinks": sinks}
    xp = _arrays.namespace(q=q, k=k, v=v, **{n: x for n, x in more.items() if x is not None})
    check_dtypes(q, k, v)
    check_shapes(q, k, v)
    batch, n_q, n_k = common_batch(q, k, v), int(q.shape[-2]), int(k.shape[-2])
    order = {"query_offset": query_offset, "window": window, "segments": segments}
    seen = check_order(batch, n_q, n_k, causal=causal, positions=function, **order)
    out_dtype = _arrays.dtype_name(q)
    compute = _arrays.compute_dtype_name(q, "q")
    beta = check_scale(scale, int(q.shape[-1]), compute)
    full = None if key_mask is None else check_mask(key_mask, batch, n_k, xp)
    added = checked_bias(bias, batch, seen, compute, q)
    group = _group(batch, k, v, key_mask) if bias is None and sinks is None else 1
    plain = not check_empty_rows(seen, full, added, empty_rows, xp) and seen.plain
    key_mask, full = (key_mask, full) if plain else without_unseen(seen, key_mask, full, batch, k)
    q, k, v = (_arrays.contiguous(_arrays.cast(array, compute, xp)) for array in (q, k, v))
    shapes = {name: tuple(x.shape) for name, x in (("q", q), ("k", k), ("v", v))}
    k, v = (hide(array, key_mask, xp) for array in (k, v))
    ends = None
    if numbers:
        found = value_ends(v, key_mask, xp, zero=sinks is not None)
        one_more = beside if far(q) and _like(beside, q) else None
        tops, ends, top_beside = sizes_of(q, k, found, xp, one_more)
        for name, array, top in zip(("q", "k", "v"), (q, k, v), tops, strict=True):
            if not math.isfinite(top):
                check_finite(name, array, xp, _REMEDIES[name], shapes[name])
        check_magnitudes(tops, int(q.shape[-1]), n_k, beta, compute)
    q, k, v = (xp.broadcast_to(array, (*batch, *array.shape[-2:])) for array in (q, k, v))
    out_dtype = out_dtype if "float" in out_dtype else compute
    posed = Problem(
        q=q,
        k=k,
        v=v,
        scale=beta,
        scale_given=scale is not None,
        causal=bool(causal) and plain,
        key_mask=full,
        xp=xp,
        out_dtype=out_dtype,
        bias=added,
        softcap=check_softcap(softcap, compute),
        sinks=check_sinks(sinks, batch, compute, xp),
        rounded=_arrays.unit_roundoff(compute) if added is None else added.rounded,
        visibility=None if plain else seen,
        group=group if plain else 1,
    )
    if ends is not None:
        # writable copies: a library may refuse others
        high, low = (np.array(np.broadcast_to(end, (*batch, end.shape[-1]))) for end in ends)
        vars(posed).update(value_range=(high, low), largest_key=tops[1], largest_beside=top_beside)
    return posed


def _like(x: Array | None, q: Array) -> bool:
    """Return whether an array is of the library, the device and the dtype of another."""
    return isinstance(x, type(q)) and x.dtype == q.dtype and _arrays.device(x) == _arrays.device(q)


def _group(batch: tuple[int, ...], k: Array, v: Array, key_mask: Array | None) -> int:
    """Return how many heads share keys, values and mask along the last leading axis."""
    leads = [tuple(k.shape[:-2]), tuple(v.shape[:-2])]
    leads += [] if key_mask is None else [tuple(key_mask.shape[:-1])]
    return batch[-1] if batch and all(not lead or lead[-1] == 1 for lead in leads) else 1


_REMEDIES = {
    "q": "mend the query",
    "k": "mend the key, or mask it with key_mask",
    "v": "mend the value, or mask its key with key_mask",
}
