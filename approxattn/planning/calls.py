"""`plan`: a method for each head, from one text or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn._arguments import (
    check_choice,
    check_fraction,
    check_generator,
    check_integer,
    check_number,
    check_positive,
)
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Problem, Scoring, pose, quietly
from approxattn._problem.progress import reported
from approxattn.methods.exact import Exact
from approxattn.methods.protocol import described
from approxattn.planning.blocks import Drawn, drawn_before
from approxattn.planning.candidates import Candidate, Clock, Timed, offered, timed
from approxattn.planning.record import HeadPlan, Plan, Transfer
from approxattn.planning.search import Rule, carried_over, choose

TIMING = 1 / 4
"""Share of the budget that goes to timing candidates, at most. *Chosen*."""

Texts = Array | Sequence[Array]


def plan(
    q: Texts,
    k: Texts,
    v: Texts,
    *,
    relative_error: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
    budget: float = 60.0,
    exceeding: float = 0.1,
    margin: float = 1.0,
    candidates: Sequence[Any] | None = None,
    order: str = "time",
    timings: dict[Any, Any] | None = None,
    measured: Any = None,
    block: int = 64,
    blocks: int = 64,
    scale: float | None = None,
    causal: bool = False,
    key_mask: Any = None,
    query_offset: Any = None,
    segments: Any = None,
    empty_rows: str = "raise",
) -> Plan:
    """Choose for each head the fastest method whose error is small, exact attention where none is.

    Parameters
    ----------
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv), or list of arrays
        One text, or several as lists of equal lengths. The leading axes number the heads, the same
        on each text; k and v broadcast against q, as for heads that share keys.
    relative_error : float
        Frobenius norm of the error over that of the exact output, for a head: of all blocks drawn
        together, and of each but a share `exceeding` of all blocks.
    rng : numpy.random.Generator
        Draws the blocks.
    confidence : float
        Probability, over the draw, of the statement about one head.
    budget : float
        Seconds to spend. Heads that the time does not suffice for are left exact; what runs then is
        the last.
    exceeding : float
        Share of the blocks that may have a larger error, in (0, 1).
    margin : float
        The plan is made for ``margin * relative_error``: less than 1 makes up for texts that differ
        from those given.
    candidates : sequence of Method, optional
        What to choose from; None: settings of `SelectedSummaries` and methods of low rank that draw
        nothing.
    order : {"time", "processor", "cost"}
        Candidates are tried in the order of times measured here, of processor times (for a machine
        that others use, and one thread), or of their multiply-adds; only the last is the same at
        each run.
    timings : dict, optional
        Filled with the times found, and read by later calls with heads of the same sizes and the
        same candidates, such as those of other layers.
    measured : dict, or list of dicts, optional
        Filled with the errors found, a dict for each text, and read by later calls with the same
        text for another relative_error, margin or confidence, alone or among other texts. It holds
        the text.
    block, blocks : int
        Rows of a block; blocks drawn from each head on each text, a quarter of which choose. Where
        a text has no more blocks all are taken, and nothing is left to chance.
    scale, causal, empty_rows
        As in `attention`.
    key_mask, query_offset, segments
        As in `attention`; a list gives one to each text.

    Returns
    -------
    Plan
        Prints as a table; `plan.attention` computes by it.

    Raises
    ------
    TypeError, ValueError
        Numbers out of range, lists of different lengths, texts with different heads, and what
        `attention` refuses.

    Notes
    -----
    The statement, and its proof, are in `approxattn.planning.evidence`. What is computed: all
    candidates in turn on whole heads, until one passes, and exact rows of the blocks drawn.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> rng = np.random.default_rng(0)
    >>> q, k, v = np.cumsum(rng.normal(size=(3, 2, 1024, 16)), axis=-2) / 20
    >>> found = aa.plan(q, k, v, relative_error=0.1, rng=rng, causal=True, order="cost")
    >>> found.left_exact, all(head.error < 0.1 for head in found.heads)
    (0, True)
    >>> out = found.attention(q, k, v)
    >>> out.value.shape
    (2, 1024, 16)
    """
    start = time.monotonic()
    request = _Request(
        rule=_rule(relative_error, confidence, exceeding, margin),
        relative_error=float(relative_error),
        margin=float(margin),
        until=start + check_positive("budget", budget),
        start=start,
        clock=_clock(order),
        block=check_integer("block", block, 1),
        blocks=check_integer("blocks", blocks, 2, why="some choose, and others decide"),
        candidates=_methods(candidates),
        scale=scale,
        causal=causal,
        timings={} if timings is None else timings,
        measured=[],
    )
    check_generator(rng)
    several = [isinstance(x, list | tuple) for x in (q, k, v)]
    if any(several) != all(several):
        msg = "q, k, v must be three arrays, or three lists of arrays, one for each text"
        raise TypeError(msg)
    texts = list(zip(q, k, v, strict=True)) if _equal(q, k, v, all(several)) else [(q, k, v)]
    masks = {"key_mask": key_mask, "query_offset": query_offset, "segments": segments}
    scorings = [
        Scoring(scale=scale, causal=causal, empty_rows=empty_rows, **own)
        for own in _of_texts(masks, len(texts), all(several))
    ]
    request.measured.extend(_dicts(measured, len(texts), all(several)))
    return _planned(
        *(x for text in texts for x in text), scorings=scorings, request=request, rng=rng
    )


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What was asked for, checked."""

    rule: Rule
    relative_error: float
    margin: float
    until: float
    start: float
    clock: Clock | None
    block: int
    blocks: int
    candidates: list[Any] | None
    scale: float | None
    causal: bool
    timings: dict[Any, Any]
    measured: list[dict[int, Drawn]]

    def in_time(self) -> bool:
        return time.monotonic() < self.until

    def ahead(self, share: float) -> Callable[[], bool]:
        """Return what says whether less than a share of the budget is spent."""
        end = self.start + share * (self.until - self.start)
        return lambda: time.monotonic() < end


def _rule(relative_error: Any, confidence: Any, exceeding: Any, margin: Any) -> Rule:
    error = check_positive("relative_error", relative_error)
    own = "be above 0 and at most 1"
    factor = check_number("margin", margin, own, low=0.0, high=math.nextafter(1.0, 2.0))
    return Rule(
        error=error * factor,
        confidence=check_fraction("confidence", confidence),
        share=check_fraction("exceeding", exceeding),
    )


def _clock(order: str) -> Clock | None:
    """Return what tells the time that decides; None: multiply-adds do."""
    check_choice("order", order, ("time", "processor", "cost"))
    return {"time": time.perf_counter, "processor": time.process_time}.get(order)


def _methods(candidates: Sequence[Any] | None) -> list[Any] | None:
    if candidates is None:
        return None
    found = list(candidates)
    for method in found:
        if isinstance(method, type) or not hasattr(method, "compute"):
            msg = f"candidates hold {method!r}: they must be methods such as Clustered(heavy=32)"
            raise TypeError(msg)
    return found


def _equal(q: Any, k: Any, v: Any, several: bool) -> bool:
    """Return whether these are lists, which must be of one length."""
    if several and not len(q) == len(k) == len(v) > 0:
        msg = f"q, k, v hold {len(q)}, {len(k)} and {len(v)} texts: give equally many, at least one"
        raise ValueError(msg)
    return several


def _of_texts(masks: dict[str, Any], count: int, several: bool) -> Iterator[dict[str, Any]]:
    """Yield the masks of each text."""
    for name, given in masks.items():
        if isinstance(given, list) and (not several or len(given) != count):
            msg = f"{name} is a list of {len(given)} for {count} text(s): give one for each text"
            raise ValueError(msg)
    for i in range(count):
        yield {name: x[i] if isinstance(x, list) else x for name, x in masks.items()}


def _dicts(measured: Any, count: int, several: bool) -> list[dict[int, Drawn]]:
    """Return a dict for each text."""
    if measured is None:
        return [{} for _ in range(count)]
    found = measured if several else [measured]
    if not isinstance(found, list | tuple) or not all(isinstance(x, dict) for x in found):
        msg = f"measured is {measured!r}: give a dict, or with lists of texts a list of dicts"
        raise TypeError(msg)
    if len(found) != count:
        msg = f"measured is a list of {len(found)} for {count} text(s): give one for each text"
        raise ValueError(msg)
    return list(found)


@public()
@quietly
def _planned(
    *arrays: Array, scorings: list[Scoring], request: _Request, rng: np.random.Generator
) -> Plan:
    """Return the plan for arrays q, k, v of one text after the other."""
    problems = [
        pose(q, k, v, scoring)
        for q, k, v, scoring in zip(arrays[::3], arrays[1::3], arrays[2::3], scorings, strict=True)
    ]
    shape = problems[0].batch
    for i, problem in enumerate(problems):
        if problem.batch != shape:
            msg = f"text {i} has the leading axes {problem.batch}, and text 0 {shape}: give each "
            raise ValueError(msg + "text the same heads")
    seeds = rng.integers(2**63, size=(math.prod(shape), len(problems)))
    found = _candidates(problems, request, rng)
    heads, errors = _searched(problems, seeds, found.cheaper, request)
    return Plan(
        shape=shape,
        heads=tuple(heads),
        candidates=found.cheaper,
        exact_seconds=found.exact.seconds,
        relative_error=request.relative_error,
        confidence=request.rule.confidence,
        exceeding=request.rule.share,
        margin=request.margin,
        block=request.block,
        blocks=request.blocks,
        causal=bool(request.causal),
        scale=request.scale,
        lengths=tuple(problem.n_q for problem in problems),
        seconds=time.monotonic() - request.start,
        untimed=found.untimed,
        refused=found.refused,
        transfer=_transfer(errors, len(problems), request.relative_error),
    )


def _searched(
    problems: list[Problem],
    seeds: HostArray,
    candidates: Sequence[Candidate],
    request: _Request,
) -> tuple[list[HeadPlan], list[list[float]]]:
    """Return the plan of each head, and where there are several texts its errors on each of them,
    planned on the others; for these a head may use what is left of its part of the time.
    """
    shape = problems[0].batch
    heads: list[HeadPlan] = []
    errors: list[list[float]] = []
    indices, total = np.ndindex(*shape), math.prod(shape)
    steps = reported(indices, f"plan of {total} heads", 0.0, total, lambda _: 1)
    for number, index in enumerate(steps):
        texts = []
        for kept, own, seed in zip(request.measured, problems, seeds[number], strict=True):
            head = Drawn(
                problem=own.item(index), size=request.block, wanted=request.blocks, seed=int(seed)
            )
            texts.append(drawn_before(kept, number, head))
        heads.append(choose(texts, candidates, request.rule, request.in_time))
        if len(texts) > 1:
            ahead = request.ahead((number + 1) / total)
            errors.append(carried_over(texts, candidates, request.rule, ahead))
    return heads, errors


def _candidates(problems: list[Problem], request: _Request, rng: np.random.Generator) -> Timed:
    """Return exact attention and the candidates, timed on the first head of the longest text."""
    longest = max(problems, key=lambda problem: problem.n_q)
    if not math.prod((*longest.batch, longest.n_q)):
        return Timed(exact=Candidate(method=Exact(), seconds=math.nan, cost=1.0))
    first = longest.item((0,) * len(longest.batch))
    methods = offered(first) if request.candidates is None else request.candidates
    sizes = first.n_q, first.n_k, first.d, first.dv, first.dtype, first.causal, request.clock
    key = (*sizes, str(type(first.q)), *map(described, methods))
    if key not in request.timings:
        ahead = request.ahead(TIMING)
        request.timings[key] = timed(methods, first, rng, ahead, clock=request.clock)
    found: Timed = request.timings[key]
    return found


def _transfer(errors: list[list[float]], texts: int, relative_error: float) -> Transfer | None:
    if texts == 1:
        return None
    found = np.array([e for e in errors if e])
    return Transfer(
        texts=texts,
        heads=len(found),
        above=float(np.mean(found > relative_error)) if found.size else math.nan,
        largest=float(np.max(found, initial=0.0)) if found.size else math.nan,
    )
