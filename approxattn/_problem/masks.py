"""What masks must be: every rule that they can break, with its remedy."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_choice, check_flag, check_integer
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem.bias import Bias
from approxattn._problem.visible import Visibility, Window, runs


def check_order(
    batch: tuple[int, ...],
    n_q: int,
    n_k: int,
    *,
    causal: bool,
    query_offset: int | None,
    window: object,
    segments: object,
    positions: bool = False,
) -> Visibility:
    """Return what the order of tokens lets each query see; `positions` says that a bias asks for
    them.
    """
    check_flag("causal", causal)
    sides = check_window(window)
    what = "causal=True" if causal else "" if sides is None else "a window"
    what = what or ("a bias of positions" if positions else "")
    offset = _check_offset(query_offset, n_q, n_k, what)
    return Visibility(
        n_q=n_q,
        n_k=n_k,
        causal=bool(causal),
        offset=offset,
        window=sides,
        segments=None if segments is None else _check_segments(segments, batch, n_q, n_k),
    )


def check_window(window: object) -> Window | None:
    """Return the window, None where neither side has a limit."""
    if window is None:
        return None
    if not isinstance(window, tuple | list) or len(window) != 2:
        msg = (
            f"window(={window!r}) must be a pair (keys before, keys after), None for no limit: "
            "(255, 0) is a causal window of 256 keys"
        )
        raise TypeError(msg)
    why = "a query sees that many keys on this side of its own position"
    before, after = (
        None if side is None else check_integer(f"window[{i}]", side, 0, why=why)
        for i, side in enumerate(window)
    )
    return None if before is None and after is None else (before, after)


def _check_offset(query_offset: object, n_q: int, n_k: int, what: str) -> int:
    """Return the position of query 0; `what` needs it, empty where nothing does."""
    if query_offset is None:
        if what and n_q != n_k:
            _refuse(
                f"{what} with {n_q} queries and {n_k} keys is "
                "ambiguous: pass query_offset=0, so that query 0 has the position of key 0 (upper "
                f"left), or query_offset={n_k - n_q}, so that the last query has the position of "
                "the last key (bottom right, as with a cache)"
            )
        return 0
    offset = check_integer("query_offset", query_offset, -(2**62))
    if offset and not what:
        _refuse(
            f"query_offset(={offset}) says where causal order or a window begins: set causal=True "
            "or window=(before, after), or leave it None"
        )
    return offset


def _check_segments(
    given: object, batch: tuple[int, ...], n_q: int, n_k: int
) -> tuple[HostArray, HostArray]:
    pair = given if isinstance(given, tuple | list) else (given, given)
    if len(pair) != 2:
        msg = (
            f"segments must be one array of whole numbers, or a pair for queries and keys, not "
            f"{len(pair)} items"
        )
        raise TypeError(msg)
    queries, keys = (
        _segment_row(name, array, batch, n)
        for name, array, n in zip(("queries", "keys"), pair, (n_q, n_k), strict=True)
    )
    return queries, keys


def _segment_row(name: str, array: object, batch: tuple[int, ...], n: int) -> HostArray:
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        msg = (
            f"segments of the {name} must be an array of whole numbers, not {type(array).__name__}"
        )
        raise TypeError(msg)
    if "int" not in _arrays.dtype_name(array):
        msg = (
            f"segments of the {name} have dtype {array.dtype}: they must be integers, one number "
            "for each packed sequence"
        )
        raise TypeError(msg)
    given = tuple(array.shape)
    _refuse_ambiguous("segments", given, batch)
    try:
        fits = given[-1:] == (n,) and np.broadcast_shapes(given[:-1], batch) == batch
    except ValueError:
        fits = False
    if not fits:
        _refuse(
            f"segments of the {name} have shape {given}: they must broadcast to "
            f"{(*batch, n)}, one number a token; give a pair (of queries, of keys) where these "
            "differ"
        )
    ids = _arrays.to_host(array)
    for index in np.ndindex(*ids.shape[:-1]):
        names = [run[0] for run in runs(ids[index])]
        if len(names) != len(set(names)):
            twice = next(x for x in names if names.count(x) > 1)
            _refuse(
                f"segments of the {name}: {twice} stands in two places of row {list(index)}; the "
                "tokens of a segment must follow one another: sort them, or number the runs anew"
            )
    return ids


def check_mask(key_mask: Array, batch: tuple[int, ...], n_k: int, xp: Namespace) -> Array:
    """Return the mask in full, shape (*batch, n_k), contiguous: no sum may depend on its layout."""
    if _arrays.dtype_name(key_mask) != "bool":
        msg = f"key_mask has dtype {key_mask.dtype}: it must be bool, True where a key takes part"
        raise TypeError(msg)
    given = tuple(key_mask.shape)
    _refuse_ambiguous("key_mask", given, batch)
    try:
        mask = xp.broadcast_to(key_mask, (*batch, n_k))
    except (ValueError, RuntimeError, TypeError) as error:
        hint = ""
        if _fits_left(given, batch):
            spelled = _spelled("key_mask", given, batch)[0]
            hint = f"; {spelled} gives one mask to each batch item"
        msg = f"key_mask has shape {given}: it must broadcast to (..., n_k) = {(*batch, n_k)}{hint}"
        raise ValueError(msg) from error
    return _arrays.contiguous(mask)


def _refuse_ambiguous(name: str, given: tuple[int, ...], batch: tuple[int, ...]) -> None:
    """Refuse a mask of fewer axes than the batch that fits it from the left as well.

    (B, n) on q of shape (B, H, n, d), B = H > 1: one mask for each item, or one for each head?
    """
    lead = given[:-1]
    if all(size <= 1 for size in lead):
        return
    last = batch[len(batch) - len(lead) :]
    fits = all(have in (1, want) for have, want in zip(lead, last, strict=False))
    if fits and _fits_left(given, batch):
        for_items, for_heads = _spelled(name, given, batch)
        _refuse(
            f"{name} has shape {given} and the leading axes are {batch}: its own could be the "
            f"first of them or the last; write {for_items} for the first (one mask for each batch "
            f"item), {for_heads} for the last (one for each head)"
        )


def _fits_left(given: tuple[int, ...], batch: tuple[int, ...]) -> bool:
    """Return whether a mask has fewer axes than needed and fits the first of them."""
    lead = given[:-1]
    first = batch[: len(lead)]
    fits = all(have in (1, want) for have, want in zip(lead, first, strict=False))
    return 0 < len(lead) < len(batch) and fits


def _spelled(name: str, given: tuple[int, ...], batch: tuple[int, ...]) -> tuple[str, str]:
    """Return how to write a mask for the first leading axes, and for the last."""
    own, new = [":"] * (len(given) - 1), ["None"] * (len(batch) - len(given) + 1)
    first, last = ", ".join([*own, *new, ":"]), ", ".join([*new, *own, ":"])
    return f"{name}[{first}]", f"{name}[{last}]"


def check_empty_rows(
    seen: Visibility,
    key_mask: Array | None,
    bias: Bias | None,
    empty_rows: object,
    xp: Namespace,
) -> bool:
    """Return whether some query sees no key.

    Raises ValueError where one does and `empty_rows` is "raise".
    """
    check_choice("empty_rows", empty_rows, ("raise", "zero"))
    pairs_too = bias is not None and bias.hides()
    if seen.plain and key_mask is None and not pairs_too:
        return False
    if seen.plain and key_mask is not None and not pairs_too:
        kept = key_mask[..., : 1 + seen.offset] if seen.causal else key_mask
        if bool(xp.all(xp.any(kept, axis=-1))):
            return False
    mask = None if key_mask is None else _arrays.to_host(key_mask)
    hiding = bias if pairs_too else None
    counts = seen.visible(mask) if hiding is None else hiding.visible(seen, mask)
    if np.all(counts > 0):
        return False
    if empty_rows == "raise":
        place = [int(i) for i in np.argwhere(counts == 0)[0]]
        what = "key_mask leaves" if key_mask is not None else "the masks leave"
        _refuse(
            f"{what} query {place} without keys, and {int(np.sum(counts == 0))} of {counts.size} "
            "in all: the softmax over no keys is undefined; unmask one, e.g. the query's own, or "
            "pass empty_rows='zero' for rows of 0 there"
        )
    return True


def _refuse(msg: str) -> NoReturn:
    raise ValueError(msg)
