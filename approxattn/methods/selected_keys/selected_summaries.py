"""Exact attention to recent, first and heavy keys, and to a few summary keys for the rest.

1. The queries of a block look at similar keys. The far keys with the largest scores for their mean
   query are met exactly, as are the keys around the block and the first keys.
2. The rest is cut into contiguous pieces. Each becomes one key and one value, its means under the
   weights of the mean query, with its mass as a bias: exact at the mean query (`chunk_keys`).
3. No cluster, no inverse, no later key: it is causal, and needs O(n) memory.

Cost for n queries and keys, blocks of b queries, causal: n (T + r + b / 2 + G) (d + dv) for what is
met and n^2 / (2 b) (2 d + dv) for the means, against n^2 / 2 (d + dv).

Related: windows and first keys of StreamingLLM (Xiao et al. 2023, arXiv 2309.17453), heavy keys by
pooled queries as in block-sparse prefill methods; wording unverified. The summaries are derived
here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from approxattn._arguments import check_integer, keep
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.values import range_bound
from approxattn.certificate import SOFTMAX, Approximation, Certificate, Gradients, unclaimed
from approxattn.methods.costs import Costed, Size
from approxattn.methods.exact import Exact
from approxattn.methods.exact_blocks import ExactShards
from approxattn.methods.protocol import Sizes
from approxattn.methods.selected_keys import bounds, forward
from approxattn.methods.selected_keys.chunk_keys import Choice, first_visible, meet
from approxattn.methods.selected_keys.gradient import Sums
from approxattn.methods.selected_keys.layout import (
    BLOCKS_AT_ONCE,
    FAR_AT_ONCE,
    all_met,
    chunks,
)
from approxattn.methods.selected_keys.sharding.shards import SummaryShards, counts_of
from approxattn.methods.sharded import Call, Shards
from approxattn.softmax.scores import SCORES_AT_ONCE


@dataclass(frozen=True, kw_only=True)
class SelectedSummaries(Costed):
    """Exact attention to selected keys, and to summary keys for the rest.

    Parameters
    ----------
    heavy : int
        Number T >= 0 of far keys that each block of queries meets exactly: those with the largest
        scores for its mean query.
    recent : int
        Keys before a block that are met exactly, >= 0; without causal order also those after it,
        where there are as many queries as keys (else there is no window).
    summaries : int
        Number G >= 0 of summary keys that stand for the other far keys; 0 leaves these out.
    sinks : int
        First visible keys that are met exactly, >= 1: so each query meets a key.
    block : int
        Queries that share their heavy keys and summaries, >= 1.

    Raises
    ------
    TypeError
        If a parameter is not an int.
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The certificate holds surely: summaries change scores by at most ``scale |q - mean q|`` times
    the radius of the keys, on a weight that is known, and no error exceeds the range of the values.
    On heads of language models both are far above the true error, which `audit` measures. Where a
    block meets all keys exactly the bound is that of rounding; with one query a block, as in
    decoding, summaries are exact.

    In causal order no output depends on what later keys are; it does depend, through the mean
    query, on later queries of its own block (use ``block=1`` where that matters), and on the number
    of tokens, by which blocks and pieces are cut: a prompt in chunks has other summaries, and so
    another output, than the prompt at once. The gradient is that of the
    output for the blocks, pieces and heavy keys it has, through the weights of the summaries.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 2000, 8))
    >>> out = aa.attention(q, k, v, aa.SelectedSummaries(heavy=32, recent=64), causal=True)
    >>> exact = aa.attention(q, k, v, aa.Exact(), causal=True)
    >>> bool(abs(out.value - exact.value).max() < 0.05)
    True
    """

    heavy: int = 128
    recent: int = 192
    summaries: int = 16
    sinks: int = 4
    block: int = 64

    randomised: ClassVar[bool] = False
    gradient_of_output: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True
    sees_earlier_keys: ClassVar[bool] = True
    value_alone: ClassVar[bool] = True
    _backward: ClassVar[tuple[float, float]] = (2.3, 1.25)

    def __post_init__(self) -> None:
        least = {"heavy": 0, "recent": 0, "summaries": 0, "sinks": 1, "block": 1}
        for name, low in least.items():
            keep(self, **{name: check_integer(name, getattr(self, name), low)})

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings that are compared at equal cost: half as many recent keys, an eighth
        of summaries.
        """

        def make(heavy: int) -> SelectedSummaries:
            return cls(heavy=heavy, recent=heavy // 2, summaries=max(1, heavy // 8))

        return (Sizes(make=make, step=2),)

    def _far(self, size: Size) -> float:
        """Return the keys that are far for a block, at the mean over the blocks of both orders."""
        return max(0.0, size.n_k - 2 * self.recent - self.block)

    def _met(self, size: Size) -> float:
        window = 2 * self.recent + self.block if size.n_q == size.n_k else 0
        exact = self.heavy + self.sinks + self.summaries
        return min(window, size.n_k) + (min(exact, size.n_k) if self._far(size) else 0)

    def _multiply_adds(self, size: Size) -> float:
        """Return d + dv a key that is met, and 2 d + dv a block for each far key."""
        blocks = -(-size.n_q // self.block)
        selects = 1 if self.heavy or self.summaries else 0
        far = selects * size.d + (size.d + size.dv) * (self.summaries > 0)
        met = size.n_q * self._met(size) * (size.d + size.dv)
        return size.items * (met + blocks * self._far(size) * far)

    def _bytes(self, size: Size) -> float:
        one = replace(size, items=1)
        met = one.scores(self._met(size), 2)
        blocks = min(BLOCKS_AT_ONCE, -(-size.n_q // self.block))
        far = min(FAR_AT_ONCE, blocks * self._far(size)) * size.width * 1.6
        chunk = max(SCORES_AT_ONCE / max(1.0, self._met(size)) / self.block, 1.0)
        gathered = (
            min(chunk, BLOCKS_AT_ONCE) * (self.heavy + self.sinks) * (size.d + size.dv) * size.width
        )
        return size.held(0, 1, double=5) + one.held(2, 1, double=3) + met + far + 2 * gathered

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate."""
        if self._meets_all(problem):
            return Exact().compute(problem, rng)
        parts = [self._item(problem.item(index)) for index in np.ndindex(*problem.batch)]
        value = problem.xp.reshape(
            problem.xp.stack([part for part, _ in parts]), (*problem.batch, problem.n_q, problem.dv)
        )
        found = [rows for _, rows in parts if rows is not None]
        return Approximation(value=value, certificate=self._certificate(problem, value, found))

    def _certificate(
        self, problem: Problem, value: Array, found: list[tuple[HostArray, HostArray]]
    ) -> Certificate:
        shape = (*problem.batch, problem.n_q)
        if not found:
            return unclaimed(shape)
        rows, shares = (np.reshape(np.stack(part), shape) for part in zip(*found, strict=True))
        return Certificate(
            rows=np.fmin(rows, range_bound(value, problem)),
            target=SOFTMAX,
            theorem="ours.tanh-part",
            facts={
                "heavy": self.heavy,
                "summaries": self.summaries,
                "weight of summaries": shares,
            },
        )

    def _meets_all(self, problem: Problem) -> bool:
        return all_met(problem, self.block, self.recent, self.heavy)

    @property
    def _choice(self) -> Choice:
        return Choice(heavy=self.heavy, summaries=self.summaries, sinks=self.sinks)

    def _item(self, problem: Problem) -> tuple[Array, tuple[HostArray, HostArray] | None]:
        """Return the output of a problem without leading axes; where bounds are wanted, also those
        and the weight of the summaries.
        """
        xp, values, found = problem.xp, [], []
        sinks = first_visible(problem, self.sinks)
        ball = bounds.reach(problem) if problem.certify else None
        for chunk in chunks(problem, self.block, self.recent):
            keys = meet(problem, chunk, self._choice, sinks)
            weights = forward.weights(keys, xp)
            value = forward.output(keys, weights, xp)
            values.append(xp.reshape(value, (chunk.last - chunk.first, problem.dv)))
            if ball is None:
                continue
            left = not self.summaries and chunk.outside(problem.n_k) > self.heavy
            share = forward.share(keys, weights, xp)
            found.append(bounds.terms(problem, keys, share, ball, left=left))
        return xp.concat(values, axis=0), bounds.rows(problem, found) if found else None

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv of the output for the cotangent dout, shape (..., n_q, dv)."""
        if self._meets_all(problem):
            return Exact().vjp(problem, dout, rng)
        parts = [
            self._item_gradient(problem.item(index), dout[(*index, ...)])
            for index in np.ndindex(*problem.batch)
        ]
        xp, like = problem.xp, (problem.q, problem.k, problem.v)
        dq, dk, dv = (
            xp.reshape(xp.stack(list(part)), x.shape)
            for part, x in zip(zip(*parts, strict=True), like, strict=True)
        )
        certificate = no_gradient_bounds(problem).certificate(
            facts={"heavy": self.heavy, "summaries": self.summaries},
            unmet=("no bound has been derived for the gradient through summary keys",),
        )
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    def _item_gradient(self, problem: Problem, dout: Array) -> tuple[Array, Array, Array]:
        sums = Sums(problem)
        sinks = first_visible(problem, self.sinks)
        for chunk in chunks(problem, self.block, self.recent):
            keys = meet(problem, chunk, self._choice, sinks, keep=True)
            sums.add(keys, dout[chunk.first : chunk.last, :])
        return sums.result()

    # Protocol.
    def shards(self, call: Call) -> Shards:
        """Return it as it works on blocks of tokens, which each pass by all keys."""
        if all_met(counts_of(call), self.block, self.recent, self.heavy):
            return ExactShards(call=call)
        return SummaryShards(call=call, choice=self._choice, block=self.block, recent=self.recent)
