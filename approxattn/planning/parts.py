"""Heads that share a method, in one call, and one result from all of them.

Head axes. A plan of shape (h_1, ..., h_r) speaks of the last r leading axes of q; axes before them
number items that share it. An array of fewer or shorter axes is broadcast: it is cut only along the
axes that it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from approxattn._arrays import Array, HostArray, Namespace, from_host
from approxattn.attend import attention
from approxattn.attend.reasons import common
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.methods.protocol import described


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a plan is applied to.

    Attributes
    ----------
    q, k, v : array, shapes (..., *shape, n, width)
        The heads, behind axes of items.
    shape : tuple of int
        Of the plan.
    masks : mapping
        Arrays of `attention` that have rows of tokens: key_mask, and segments as a pair.
    options : mapping
        Its other keywords.
    xp : namespace
        Of the arrays.
    """

    q: Array
    k: Array
    v: Array
    shape: tuple[int, ...]
    masks: dict[str, Any]
    options: dict[str, Any]
    xp: Namespace

    def compute(self, heads: Sequence[int], method: Any) -> Part:
        """Return some heads by one method."""
        q, k, v = (self._cut(x, heads, 2) for x in (self.q, self.k, self.v))
        masks = {name: self._cut_mask(x, heads) for name, x in self.masks.items()}
        result = attention(q, k, v, method, **masks, **self.options)
        return Part(method=method, heads=tuple(heads), result=result)

    def _cut_mask(self, given: Any, heads: Sequence[int]) -> Any:
        if given is None:
            return None
        if isinstance(given, tuple | list):
            return tuple(self._cut(x, heads, 1) for x in given)
        return self._cut(given, heads, 1)

    def _cut(self, x: Array, heads: Sequence[int], tail: int) -> Array:
        """Return x, (..., *shape, *tail), for some heads, on one axis: (..., heads or 1, *tail)."""
        rank, last = len(self.shape), tuple(x.shape[x.ndim - tail :])
        lead = tuple(x.shape[: x.ndim - tail])
        lead = (1,) * (self.q.ndim - 2 - len(lead)) + lead
        own, before = lead[len(lead) - rank :], lead[: len(lead) - rank]
        count = math.prod(own)
        flat = self.xp.reshape(x, (*before, count, *last))
        if count == 1:
            return flat
        numbers = np.broadcast_to(np.arange(count).reshape(own), self.shape).ravel()[list(heads)]
        if np.array_equal(numbers, np.arange(count)):
            return flat
        return self.xp.take(flat, from_host(numbers, x), axis=len(before))


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some heads by one method; those that `heads` numbers lie on the axis before the rows."""

    method: Any
    heads: tuple[int, ...]
    result: Approximation

    def without(self, heads: Sequence[int], xp: Namespace) -> Part | None:
        """Return the part without some heads; None where none is left."""
        kept = [i for i, head in enumerate(self.heads) if head not in heads]
        if len(kept) == len(self.heads):
            return self
        if not kept:
            return None
        value, rows = self.result.value, self.result.certificate.rows
        value = xp.take(value, from_host(np.array(kept), value), axis=value.ndim - 3)
        certificate = self.result.certificate
        promised = certificate.promised
        if promised is not None:
            promised = np.broadcast_to(promised, rows.shape[:-1])[..., kept]
        certificate = replace(certificate, rows=rows[..., kept, :], promised=promised)
        return Part(
            method=self.method,
            heads=tuple(self.heads[i] for i in kept),
            result=Approximation(value=value, certificate=certificate),
        )


def joined(parts: Sequence[Part], shape: tuple[int, ...], xp: Namespace) -> Approximation:
    """Return one result of all heads, shape (..., *shape, n_q, dv).

    Its certificate has the rows of all, every fact and every reason under the name of its method,
    and its bounds of an item fail no more often than those of the worst method. Facts that are
    arrays number the heads as their method computed them.
    """
    values = [part.result.value for part in parts]
    order = np.argsort([head for part in parts for head in part.heads])
    value = values[0] if len(values) == 1 else xp.concat(values, axis=values[0].ndim - 3)
    value = xp.take(value, from_host(order, value), axis=value.ndim - 3)
    rows = np.concatenate([part.result.certificate.rows for part in parts], axis=-2)[..., order, :]
    items, tail = value.shape[:-3], value.shape[-2:]
    return Approximation(
        value=xp.reshape(value, (*items, *shape, *tail)),
        certificate=_joined(parts, rows.reshape((*items, *shape, rows.shape[-1])), order),
    )


def _joined(parts: Sequence[Part], rows: HostArray, order: HostArray) -> Certificate:
    certificates = [part.result.certificate for part in parts]
    promised = _promised(certificates, rows, order)
    if len(parts) == 1:
        return replace(certificates[0], rows=rows, promised=promised)
    facts: dict[str, Any] = {}
    reasons: list[str] = []
    for part, certificate in zip(parts, certificates, strict=True):
        name = described(part.method)
        if f"heads by {name}" in facts:
            name += ", put in by the running check"
        facts[f"heads by {name}"] = len(part.heads)
        facts |= {f"{name}: {fact}": x for fact, x in certificate.facts.items()}
        reasons += [f"{name}: {why}" for why in certificate.unmet]
    return Certificate(
        rows=rows,
        target=common((c.target for c in certificates), SOFTMAX),
        theorem=common((c.theorem for c in certificates), "ours.tanh"),
        failure=max(c.failure for c in certificates),
        facts=facts,
        unmet=tuple(dict.fromkeys(reasons)),
        promised=promised,
    )


def _promised(
    certificates: Sequence[Certificate], rows: HostArray, order: HostArray
) -> HostArray | None:
    """Return what was promised for each head, inf where nothing was."""
    if all(certificate.promised is None for certificate in certificates):
        return None
    found = [
        np.full(c.rows.shape[:-1], np.inf)
        if c.promised is None
        else np.broadcast_to(c.promised, c.rows.shape[:-1])
        for c in certificates
    ]
    return np.concatenate(found, axis=-1)[..., order].reshape(rows.shape[:-1])
