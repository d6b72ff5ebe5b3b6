"""The tasks of a sharded call: what one worker does with one block.

A block passes in pieces of PIECE tokens, so that a task needs little memory beside them. Pieces
depend on the block alone, and every task has one thread: so its bits do.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import pose
from approxattn.attend.reasons import common, reasons, shared_facts
from approxattn.bounds.returned import looked_at, narrow
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.methods.sharded import Shards
from approxattn.monomials.workers import single_thread

PIECE = 2**14
"""Tokens of all leading indices that are taken at one time. *Chosen*: a few MiB."""

REASONS = 16
"""Reasons that a certificate of many blocks names one by one. *Chosen*."""

P = ParamSpec("P")
R = TypeVar("R")


class Block(NamedTuple):
    """The answer of one block of queries: the output, and the certificate of its rows."""

    value: Array
    certificate: Certificate


Pieces = Iterator[tuple[int, Approximation]]


def alone(task: Callable[P, R]) -> Callable[P, R]:
    """Let a task have one thread, and no floating-point warnings."""

    @functools.wraps(task)
    def quiet(*args: P.args, **options: P.kwargs) -> R:
        with single_thread(), np.errstate(all="ignore"):
            return task(*args, **options)

    return quiet


def cut(x: Any) -> list[slice]:
    """Return the pieces of a block; a shape is enough to know them."""
    *batch, n, _ = x.shape
    step = max(1, PIECE // max(1, math.prod(batch)))
    return [slice(a, min(a + step, n)) for a in range(0, n, step)]


def taken(x: Any, piece: slice) -> Array:
    """Return the tokens of a piece, of an array or of something that reads."""
    return x.read(piece.start, piece.stop) if hasattr(x, "read") else x[..., piece, :]


@alone
def head(k: Any, most: int) -> Array:
    """Return the first keys of a block."""
    return taken(k, slice(0, min(most, k.shape[-2])))


@alone
def begin(shards: Shards, *heads: Array) -> Any:
    """Return what the measures need to know."""
    return shards.begin(list(heads))


@alone
def measure_queries(shards: Shards, q: Any) -> HostArray:
    """Return the measures of a block of queries."""
    return _largest(shards.measure_queries(taken(q, piece)) for piece in cut(q))


@alone
def measure_keys(shards: Shards, begun: Any, k: Any) -> HostArray:
    """Return the measures of a block of keys."""
    return _largest(shards.measure_keys(begun, taken(k, piece)) for piece in cut(k))


def larger(a: HostArray, b: HostArray) -> HostArray:
    """Return the larger of two measures."""
    return np.asarray(np.maximum(a, b))


def _largest(measures: Iterator[HostArray]) -> HostArray:
    return functools.reduce(larger, measures)


@alone
def settle(shards: Shards, begun: Any, queries: HostArray | None, keys: HostArray | None) -> Any:
    """Return the settings of all blocks."""
    return shards.settle(begun, queries, keys)


@alone
def fold(shards: Shards, settings: Any, k: Any, v: Any) -> Any:
    """Return the state of a block of keys and values."""
    pieces = (shards.fold(settings, taken(k, p), taken(v, p)) for p in cut(k))
    return functools.reduce(lambda a, b: a.merge(b), pieces)


@alone
def merge(a: Any, b: Any) -> Any:
    """Return the state of the keys of two."""
    return a.merge(b)


@alone
def answer(
    shards: Shards, settings: Any, state: Any, q: Any, finish: Callable[..., R], *rest: Any
) -> R:
    """Return what `finish` makes of the output of a block of queries."""
    pieces = ((p.start, shards.query(settings, state, taken(q, p)), p) for p in cut(q))
    return finish(((a, _returned(out, taken(q, p))) for a, out, p in pieces), *rest)


@alone
def advance(
    shards: Shards,
    settings: Any,
    before: Any,
    q: Any,
    k: Any,
    v: Any,
    finish: Callable[..., R],
    *rest: Any,
) -> R:
    """Return what `finish` makes of the causal output of a block of tokens."""

    def pieces(state: Any) -> Pieces:
        for p in cut(q):
            tokens = tuple(taken(x, p) for x in (q, k, v))
            out, state = shards.advance(settings, state, *tokens)
            yield p.start, _returned(out, tokens[0])

    return finish(pieces(before), *rest)


def _returned(out: Approximation, q: Array) -> Approximation:
    """Return an output as `attention` hands it out: looked at, and in the caller's dtype."""
    one = q[..., :1, :]
    problem = pose(one, one, one)
    out = narrow(out, problem)
    rows, why = looked_at("the output", out.value, out.certificate.rows, problem)
    unmet = (*out.certificate.unmet, *why)
    return replace(out, certificate=replace(out.certificate, rows=rows, unmet=unmet))


def collected(pieces: Pieces) -> Block:
    """Return the output of a block in one array."""
    outs = [out for _, out in pieces]
    xp = _arrays.namespace(value=outs[0].value)
    rows = np.concatenate([out.certificate.rows for out in outs], axis=-1)
    value = xp.concat([out.value for out in outs], axis=-2)
    return Block(value, joined([out.certificate for out in outs], rows))


def joined(certificates: list[Certificate], rows: HostArray) -> Certificate:
    """Return what certificates of parts of the tokens say together about `rows`."""
    promised = [c.promised for c in certificates if c.promised is not None]
    unmet = reasons(certificates)
    # one of them twice: facts of single rows are then left out even where there is one part
    facts = shared_facts([certificates[0].facts, *(c.facts for c in certificates)])
    facts.pop("pieces", None)
    return Certificate(
        rows=rows,
        target=common((c.target for c in certificates), SOFTMAX),
        theorem=common((c.theorem for c in certificates), "ours.tanh"),
        failure=min(1.0, sum(c.failure for c in certificates)),
        facts=facts,
        unmet=(*unmet[:REASONS], f"and {len(unmet) - REASONS} more") if unmet[REASONS:] else unmet,
        promised=functools.reduce(np.minimum, promised) if promised else None,
    )
