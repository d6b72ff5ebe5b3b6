"""The gradients of causal polynomial attention over blocks of tokens.

Symbols as in `gradient`.

1. Query i sees the keys up to i: dq_i reads S of all earlier pieces, and its own piece by a causal
   kernel sum. Key j is seen by the queries from j on: dk_j and dv_j read A of all later pieces, and
   the own piece likewise. So S runs forwards over the pieces, and A backwards.
2. A term passes through the roundings of a state or through those of a kernel sum, and one addition
   joins both (`run`).
3. Bounds of a key add up those of the queries of its own piece and of all later ones: more than the
   queries that see it.
4. A second pass over keys and values finds their reach, since no piece knows later ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.bounds.elsewhere import queries_alone
from approxattn.bounds.scores import row_norms
from approxattn.methods.polynomials.gradient_error import truncation_columns
from approxattn.methods.polynomials.sharding.gradient import (
    KeySums,
    PolynomialGradientShards,
    Pull,
    QuerySums,
    Reach,
)
from approxattn.methods.polynomials.sharding.run import StateForward, causal_run
from approxattn.methods.polynomials.sharding.shards import Settings
from approxattn.methods.sharded import Answer, Answers, BothScans, Known, Pass
from approxattn.monomials.kernel import Kernel, cheapest_kind
from approxattn.monomials.states import read_gradients, read_states


class Ends(NamedTuple):
    """Length of the longest centred key, shape (...), and the range of the values."""

    radius: HostArray
    high: HostArray
    low: HostArray

    def merge(self, other: Ends) -> Ends:
        """Return that of both."""
        return Ends(
            np.maximum(self.radius, other.radius),
            np.maximum(self.high, other.high),
            np.minimum(self.low, other.low),
        )


@dataclass(frozen=True, kw_only=True)
class PolynomialCausalGradientShards(PolynomialGradientShards):
    """One call of the causal gradient of `Polynomial`."""

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Those before the sums, and the reach of keys and values."""
        before = super().passes[:-2]
        reach = Pass(name="reach", takes=("k", "v"), fold=self.measure_keys, settle=self.reached)
        return (*before, reach)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """None: the scans give them."""
        return ()

    @property
    def scan(self) -> BothScans | None:
        """Both scans."""
        return BothScans(fold=self.fold, back=self.back, give=self.give)

    def measure_keys(self, known: Known, first: int, k: Array, v: Array) -> Ends:
        """Return the reach of some keys and values."""
        del first
        y, _, problem = self._key_side(known, k, v)
        radius = np.max(row_norms(y, problem.xp), axis=-1)
        return Ends(np.asarray(radius), *problem.value_range)

    def reached(self, known: Known, ends: Ends) -> Reach:
        """Return the reach, with the polynomial."""
        settings: Settings = known["settings"]
        one = np.zeros((1, self.call.d), self.call.dtype)
        state = self.method.state(one, one, scale=settings.scale, half_range=settings.half_range)
        return Reach(state.polynomial, state.scale, *ends)

    def reach(self, known: Known) -> Reach:
        """Return how far all keys and values reach."""
        found: Reach = known["reach"]
        return found

    def back(
        self,
        known: Known,
        before: KeySums | None,
        first: int,
        q: Array,
        k: Array,
        v: Array,
        dout: Array,
    ) -> tuple[QuerySums, KeySums]:
        """Return what queries leave behind for earlier keys, and the sums over keys after them."""
        own = self.fold(known, first, k, v)
        run = self._piece(known, before, own, q, k, v)
        left = self.left_by(known, run, self.pull(run, q, dout))
        return left, own if before is None else before.merge(own)

    def give(
        self,
        known: Known,
        before: KeySums | None,
        later: QuerySums | None,
        left: QuerySums,
        first: int,
        q: Array,
        k: Array,
        v: Array,
        dout: Array,
    ) -> Answers:
        """Return dq, dk and dv of some tokens."""
        own = self.fold(known, first, k, v)
        run = self._piece(known, before, own, q, k, v)
        pull, p, problem = self.pull(run, q, dout), run.polynomial, run.problem
        x, y, right = run.queries, run.keys, run.values
        slope, xp = self._slope_kernel(run), problem.xp
        dx = slope.gradient_x(x, pull.left, y, right)
        if before is not None:
            state, degree = before.slopes(p)
            dx = dx + read_gradients(x, pull.left, state, degree, xp)
        dy = slope.gradient_y(x, pull.left, y, right)
        wide = self._wide(known, run, pull)
        read = run.kernel.transposed_sums(x, y, wide)
        sums = left
        if later is not None:
            pulled, degree = later.slopes(p, self.call.dv)
            dy = dy + read_gradients(y, right, pulled, degree, xp)
            read = read + read_states(y, later.own, p.degree, xp)
            sums = left.merge(later)
        return {
            "dq": self.dq_of(run, pull, dx),
            **self.dkv_of(known, sums, problem, dy, read),
        }

    def _piece(
        self,
        known: Known,
        before: KeySums | None,
        own: KeySums,
        q: Array,
        k: Array,
        v: Array,
    ) -> StateForward:
        """Return the forward pass of a piece."""
        settings: Settings = known["settings"]
        _, _, problem = self._key_side(known, k, v)
        tokens = queries_alone(q, settings.scale).q, problem.k, problem.v
        # a scan goes up the tree and down again
        merges = 2 * known["queries"].merges + 4
        chain = self.terms(known, own.own.polynomial) + merges
        return causal_run(None if before is None else before.own, own.own, tokens, chain)

    def _slope_kernel(self, run: StateForward) -> Kernel:
        """Return the kernel of R."""
        c = self._primitive(run.polynomial)
        if c is None:
            return run.kernel
        n, d = run.problem.n_q, run.problem.d
        kind = cheapest_kind(n, n, d, len(c) - 1, self.call.dv + 1)
        return Kernel(coefficients=c, causal=True, kind=kind, xp=run.problem.xp)

    def _wide(self, known: Known, run: StateForward, pull: Pull) -> Array:
        """Return left with the columns for bounds."""
        columns, _ = truncation_columns(run, pull.cotangent)
        unit = self.columns_of(known, run, columns)
        return _arrays.namespace(x=unit).concat([pull.left, unit], axis=-1)
