"""The tasks of a sharded call: what one worker does with one block.

A block passes in pieces of PIECE tokens, so that a task needs little memory beside them. Pieces
depend on the block alone, and every task has one thread: so its bits do.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.attend.reasons import common, reasons, shared_facts
from approxattn.bounds.elsewhere import queries_alone
from approxattn.bounds.returned import finite_rows, narrow, with_lost_rows
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
)
from approxattn.methods.sharded import Answer, Answers, BothScans, Known, Pass, Scan
from approxattn.monomials.workers import single_thread

PIECE = 2**14
"""Tokens of all leading indices that are taken at one time. *Chosen*: a few MiB."""

REASONS = 16
"""Reasons that a certificate of many blocks names one by one. *Chosen*."""

P = ParamSpec("P")
R = TypeVar("R")


class Block(NamedTuple):
    """A part of the result: rows of it, and their certificate."""

    value: Array
    certificate: Certificate


Pieces = Iterator[tuple[int, Answers]]


def alone(task: Callable[P, R]) -> Callable[P, R]:
    """Let a task have one thread, and no floating-point warnings."""

    @functools.wraps(task)
    def quiet(*args: P.args, **options: P.kwargs) -> R:
        with single_thread(), np.errstate(all="ignore"):
            return task(*args, **options)

    return quiet


def cut(x: Any, multiple: int = 1) -> list[slice]:
    """Return the pieces of a block, which begin at multiples; a shape is enough to know them."""
    *batch, n, _ = x.shape
    step = max(1, PIECE // max(1, math.prod(batch)) // multiple) * multiple
    return [slice(a, min(a + step, n)) for a in range(0, n, step)]


def taken(x: Any, piece: slice) -> Array:
    """Return the tokens of a piece, of an array or of something that reads."""
    return x.read(piece.start, piece.stop) if hasattr(x, "read") else x[..., piece, :]


class Across:
    """Blocks of one side: those of its first array, then those of the next."""

    def __init__(self, arrays: int, blocks: Sequence[Any]) -> None:
        count = len(blocks) // arrays
        self._rows = list(
            zip(*(blocks[i * count : (i + 1) * count] for i in range(arrays)), strict=True)
        )

    def pieces(self, stop: int | None = None) -> Iterator[tuple[int, Sequence[Array]]]:
        """Yield the number of the first token of each piece and its arrays, up to token `stop`."""
        first = 0
        for block in self._rows:
            for p in cut(block[0]):
                if stop is not None and first + p.start >= stop:
                    return
                yield first + p.start, [taken(x, p) for x in block]
            first += block[0].shape[-2]


def _whole(across: tuple[str, ...], blocks: Sequence[Any]) -> tuple[Across, ...]:
    return (Across(len(across), blocks),) if across else ()


@contextlib.contextmanager
def told_where(where: str) -> Iterator[None]:
    """Let an error about tokens say from where it counts them."""
    try:
        yield
    except ValueError as error:
        if not where or error.args != (str(error),):
            raise
        msg = f"{error} ({where})"
        raise type(error)(msg) from error


def _counted_from(token: int) -> str:
    return f"in a piece of the tokens, counted from token {token}" if token else ""


@alone
def head(one: Pass, known: Known, most: int, x: Any) -> Any:
    """Return what a pass takes of the first tokens of a block."""
    return one.fold(known, 0, taken(x, slice(0, min(most, x.shape[-2]))))


@alone
def fold(one: Pass, known: Known, first: int, *blocks: Any) -> Any:
    """Return what a pass leaves behind of a block."""
    own, whole = blocks[: len(one.takes)], _whole(one.across, blocks[len(one.takes) :])

    def folded(p: slice) -> Any:
        with told_where(_counted_from(first + p.start)):
            return one.fold(known, first + p.start, *(taken(x, p) for x in own), *whole)

    return functools.reduce(lambda a, b: a.merge(b), map(folded, cut(own[0])))


@alone
def fold_scanned(scan: Scan | BothScans, known: Known, first: int, k: Any, v: Any) -> Any:
    """Return the state of a block of keys and values."""
    pieces = (scan.fold(known, first + p.start, taken(k, p), taken(v, p)) for p in cut(k))
    return functools.reduce(lambda a, b: a.merge(b), pieces)


@alone
def merge(a: Any, b: Any) -> Any:
    """Return what two have left behind."""
    return a.merge(b)


@alone
def know(one: Pass, known: Known, state: Any) -> Known:
    """Return what is known after a pass."""
    if one.settle is None:
        return {**known, one.name: state}
    with told_where("counted among the tokens of a sample" if one.sampled else ""):
        return {**known, one.name: one.settle(known, state)}


@alone
def answer(
    one: Answer,
    known: Known,
    first: int,
    finish: Callable[..., R],
    rest: tuple[Any, ...],
    *blocks: Any,
) -> R:
    """Return what `finish` makes of the pieces of an answer."""
    own, whole = blocks[: len(one.takes)], _whole(one.across, blocks[len(one.takes) :])

    def pieces() -> Pieces:
        for p in cut(own[0], one.multiple):
            tokens = [taken(x, p) for x in own]
            yield p.start, _returned(one.give(known, first + p.start, *tokens, *whole), tokens[0])

    return finish(pieces(), *rest)


@alone
def advance(
    scan: Scan,
    known: Known,
    before: Any,
    first: int,
    finish: Callable[..., R],
    rest: tuple[Any, ...],
    *blocks: Any,
) -> R:
    """Return what `finish` makes of the causal output of a block of tokens."""

    def pieces(state: Any) -> Pieces:
        for p in cut(blocks[0]):
            tokens = [taken(x, p) for x in blocks]
            out, state = scan.advance(known, state, first + p.start, *tokens)
            yield p.start, _returned(out, tokens[0])

    return finish(pieces(before), *rest)


def _walked(
    scan: BothScans, known: Known, before: Any, first: int, blocks: tuple[Any, ...]
) -> Iterator[tuple[slice, Any, Any]]:
    """Yield each piece of a block, the state before it, and what its queries leave behind."""
    state = before
    for p in cut(blocks[0]):
        left, after = scan.back(known, state, first + p.start, *(taken(x, p) for x in blocks))
        yield p, state, left
        state = after


@alone
def fold_back(scan: BothScans, known: Known, before: Any, first: int, *blocks: Any) -> Any:
    """Return what the queries of a block leave behind for earlier keys."""
    left = (x for _, _, x in _walked(scan, known, before, first, blocks))
    return functools.reduce(lambda a, b: a.merge(b), left)


@alone
def give(
    scan: BothScans,
    known: Known,
    before: Any,
    after: Any,
    first: int,
    finish: Callable[..., R],
    rest: tuple[Any, ...],
    *blocks: Any,
) -> R:
    """Return what `finish` makes of the causal gradient of a block of tokens."""
    later, found = after, []
    for p, state, left in reversed(list(_walked(scan, known, before, first, blocks))):
        tokens = [taken(x, p) for x in blocks]
        out = scan.give(known, state, later, left, first + p.start, *tokens)
        found.append((p.start, _returned(out, tokens[0])))
        later = left if later is None else left.merge(later)
    return finish(reversed(found), *rest)


def _returned(outs: Answers, like: Array) -> Answers:
    """Return answers as `attention` hands them out: looked at, and in the caller's dtype."""
    problem = queries_alone(like[..., :1, :], None)
    return {name: _looked_at(name, out, problem) for name, out in outs.items()}


def _looked_at(name: str, out: Approximation, problem: Problem) -> Approximation:
    out = narrow(out, problem)
    called = "the output" if name == "value" else name
    finite = finite_rows(out.value, problem.xp)
    certificate = with_lost_rows(out.certificate, called, finite, problem.out_dtype)
    return replace(out, certificate=certificate)


def collected(pieces: Pieces) -> dict[str, Block]:
    """Return the answers of a block, each in one array."""
    outs = [out for _, out in pieces]
    return {name: _joined([out[name] for out in outs]) for name in outs[0]}


def _joined(outs: list[Approximation]) -> Block:
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


def gradient_certificate(parts: Mapping[str, Certificate]) -> GradientCertificate:
    """Return what the certificates of dq, dk and dv say together."""
    every = list(parts.values())
    facts = {name: x for c in reversed(every) for name, x in c.facts.items()}
    return GradientCertificate(
        **{name: certificate.rows for name, certificate in parts.items()},
        target=common((c.target for c in every), SOFTMAX_GRADIENT),
        theorem=common((c.theorem for c in every), "ours.gradient"),
        failure=min(1.0, sum(c.failure for c in every)),
        facts=facts,
        unmet=reasons(every),
    )
