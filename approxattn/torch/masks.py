"""Masks of torch, read as the structure that the methods know.

A mask says for each pair whether query i sees key j. What the methods know is smaller: which keys
take part, causal order, a window, packed sequences. `structure_of` finds such a description and
then compares it with the mask, entry by entry. What does not agree in full stays a mask of pairs,
an addition of 0 or -inf to the scores, which exact attention alone can take.

The description, for a mask A of one leading index (proved here):

1. m_j: some query sees key j. Any description may hide the other keys.
2. c = max(j - i), b = min(j - i) over the pairs that A shows, all leading indices together. If A
   is m and a band j - i <= c', then c <= c', and replacing c' by c changes nothing: a pair between
   the two would be shown by A, against the choice of c. Likewise for b. So if A is a band at all,
   it is this one.
3. Packed sequences: the first key that query i sees names its sequence; a key has the name that its
   queries have. Hidden tokens take the name before theirs, so that sequences stay in one piece.
4. Rows of A without any key fit every description: their outputs are set to 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch.utils.weak import WeakTensorKeyDictionary

Tensor: TypeAlias = Any
"""`torch.Tensor`: torch ships no types that strict checking could use without it."""

Window: TypeAlias = tuple[int | None, int | None]


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Which keys each query sees, and what is added to its scores.

    Attributes
    ----------
    key_mask : tensor of bool, shape (..., n_k), or None
        Keys that take part.
    causal : bool
        Whether query i sees keys 0 ... i + query_offset only.
    query_offset : int
        Position of query 0 among the keys.
    window : (int or None, int or None) or None
        Keys before and after its own position that a query sees.
    segments : (tensor, tensor) or None
        Numbers of packed sequences, of queries and keys, shapes (..., n_q) and (..., n_k).
    bias : tensor, shape broadcastable to (..., n_q, n_k), or None
        Added to the scores; -inf hides a pair.
    empty : tensor of bool, shape (..., n_q), or None
        Further rows that see no key: their outputs are 0.
    """

    key_mask: Tensor | None = None
    causal: bool = False
    query_offset: int = 0
    window: Window | None = None
    segments: tuple[Tensor, Tensor] | None = None
    bias: Tensor | None = None
    empty: Tensor | None = None


_FOUND: Any = WeakTensorKeyDictionary()  # a model hands one mask to all its layers


def structure_of(mask: Tensor, n_q: int, n_k: int) -> Structure:
    """Return the structure of a mask of torch, shape broadcastable to (..., n_q, n_k).

    Raises
    ------
    ValueError
        Where it does not fit, or holds NaN.
    """
    if mask.is_inference():  # nobody counts the writes to such a tensor
        return _structure(mask, n_q, n_k)
    key = (mask._version, n_q, n_k)
    found = _FOUND.get(mask)
    if found is None or found[0] != key:
        found = key, _structure(mask, n_q, n_k)
        _FOUND[mask] = found
    structure: Structure = found[1]
    return structure


def _structure(mask: Tensor, n_q: int, n_k: int) -> Structure:
    mask = mask.detach()
    shape = tuple(mask.shape)
    if mask.ndim < 2 or shape[-2] not in (1, n_q) or shape[-1] not in (1, n_k):
        msg = (
            f"attn_mask has shape {shape}: it must broadcast to (..., n_q, n_k) = (..., {n_q}, "
            f"{n_k})"
        )
        raise ValueError(msg)
    shown, bias = (mask, None) if mask.dtype is torch.bool else _split(mask)
    found = _order(shown.expand(*shape[:-2], n_q, n_k))
    if found is not None:
        return replace(found, bias=bias)
    if bias is None:
        bias = torch.zeros((), device=mask.device)
    return Structure(bias=torch.where(shown, bias, -torch.inf))


def _split(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the pairs that an additive mask shows, and the biases on them, None for zeros."""
    if not mask.is_floating_point():
        msg = f"attn_mask has dtype {mask.dtype}: it must be bool or floating"
        raise ValueError(msg)
    if bool(mask.isnan().any()):
        msg = "attn_mask holds NaN: it must be finite, or -inf where a key is hidden"
        raise ValueError(msg)
    least = torch.finfo(mask.dtype).min
    shown = mask > least / 2
    biases = torch.where(shown, mask, 0.0)
    if bool((biases < least / 4).any()):
        msg = f"attn_mask holds biases below {least / 4:.3g}: use -inf where a key is hidden"
        raise ValueError(msg)
    return shown, biases if bool(biases.any()) else None


def _order(shown: Tensor) -> Structure | None:
    """Return what describes the pairs shown, shape (..., n_q, n_k), or None."""
    n_q, n_k = shown.shape[-2:]
    some, keys = shown.any(-1), shown.any(-2)
    empty = None if bool(some.all()) else ~some
    key_mask = None if bool(keys.all()) else keys
    whole = Structure(key_mask=key_mask, empty=empty)
    if not shown.numel() or _agrees(whole, shown):
        return whole
    apart = torch.arange(n_k, device=shown.device) - torch.arange(n_q, device=shown.device)[:, None]
    high = int(apart.masked_fill(~shown, -n_q).max())
    low = int(apart.masked_fill(~shown, n_k).min())
    causal = replace(whole, causal=True, query_offset=high)
    packed = replace(whole, segments=_segments(shown))
    # a band is j - (i + high) in [low - high, 0]
    windowed = replace(causal, window=(high - low, 0))
    candidates = (causal, windowed, packed, replace(packed, causal=True, query_offset=high))
    return next((found for found in candidates if _agrees(found, shown)), None)


def _segments(shown: Tensor) -> tuple[Tensor, Tensor]:
    """Return names of sequences by step 3."""
    n_k = shown.shape[-1]
    place = torch.arange(n_k, device=shown.device)
    first = place.expand(shown.shape).masked_fill(~shown, n_k).amin(-1)
    queries = first.masked_fill(first == n_k, -1)
    keys = queries[..., None].expand(shown.shape).masked_fill(~shown, -1).amax(-2)
    return queries.cummax(-1).values, keys.cummax(-1).values


def _agrees(structure: Structure, shown: Tensor) -> bool:
    """Return whether a description shows these pairs, rows without keys aside."""
    n_q, n_k = shown.shape[-2:]
    pairs = dense(structure, n_q, n_k, shown.device)
    if structure.empty is not None:
        pairs = pairs & ~structure.empty[..., None]
    return bool((pairs == shown).all())


def dense(structure: Structure, n_q: int, n_k: int, device: Any) -> Tensor:
    """Return the pairs that a structure shows, bool, broadcastable to (..., n_q, n_k)."""
    apart = torch.arange(n_k, device=device) - torch.arange(n_q, device=device)[:, None]
    apart = apart - structure.query_offset
    pairs = torch.ones((), dtype=torch.bool, device=device).expand(n_q, n_k)
    if structure.causal:
        pairs = pairs & (apart <= 0)
    if structure.window is not None:
        before, after = structure.window
        pairs = pairs if before is None else pairs & (apart >= -before)
        pairs = pairs if after is None else pairs & (apart <= after)
    if structure.segments is not None:
        queries, keys = structure.segments
        pairs = pairs & (queries[..., :, None] == keys[..., None, :])
    if structure.key_mask is not None:
        pairs = pairs & structure.key_mask[..., None, :]
    if structure.empty is not None:
        pairs = pairs & ~structure.empty[..., None]
    if structure.bias is not None:
        pairs = pairs & (structure.bias > -torch.inf)
    return pairs
