"""Exact softmax attention and its gradient, by streaming (`approxattn.softmax.streaming`); what is
certified is the rounding (`approxattn.softmax.scores`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn._problem.outline import outline
from approxattn.bounds.gradients import (
    cotangent_lengths,
    exact_gradient_rounding,
    no_gradient_bounds,
)
from approxattn.bounds.scores import SCORE_FACTS, score_bound
from approxattn.bounds.softmax import lse_rounding, softmax_rounding
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
    unclaimed,
)
from approxattn.methods.costs import Costed, Size
from approxattn.methods.exact_blocks import ExactGradientShards, ExactShards
from approxattn.methods.protocol import Sizes
from approxattn.methods.sharded import Call
from approxattn.softmax.numpy_streaming import held
from approxattn.softmax.streaming import (
    GRADIENT,
    KEY_BLOCK,
    attend,
    attend_with_lse,
    stream_gradient,
)
from approxattn.softmax.variants import sink_gradient


@dataclass(frozen=True, kw_only=True)
class Exact(Costed):
    """Softmax attention itself; its certificate bounds the rounding.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.Exact(), causal=True)
    >>> bool(abs(out.value[0] - v[0]).max() <= out.certificate.rows[0] < 1e-12)
    True
    """

    randomised: ClassVar[bool] = False
    gradient_of_output: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True
    value_alone: ClassVar[bool] = True
    folds_heads: ClassVar[bool] = True
    sees_earlier_keys: ClassVar[bool] = True
    why_no_window: ClassVar[str] = ""
    why_no_bias: ClassVar[str] = ""
    why_no_lse: ClassVar[str] = ""
    why_no_softcap: ClassVar[str] = ""
    why_no_sinks: ClassVar[str] = ""

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return no settings: there is nothing to choose."""
        return ()

    def _multiply_adds(self, size: Size) -> float:
        """Return d + dv a pair."""
        return size.pairs * (size.d + size.dv)

    def _bytes(self, size: Size) -> float:
        keys = min(size.n_k, KEY_BLOCK)
        if not size.in_place:
            # scores, shifted, weights, and what a bias makes
            return size.held(1, 2, double=3) + size.scores(keys, 4)
        block, at_once = held(size.n_q, keys, size.items)
        return size.held(1, 2, double=3) + size.width * block * at_once

    def _backward_cost(self, size: Size) -> tuple[float, float]:
        scores = size.scores(min(size.n_k, KEY_BLOCK), 4)
        return GRADIENT * self._multiply_adds(size), size.held(2, 3, double=5) + scores

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and the bound on its rounding error."""
        del rng
        value, lse = attend_with_lse(problem) if problem.wants_lse else (attend(problem), None)
        return Approximation(value=value, certificate=self._certificate(problem), lse=lse)

    def _certificate(self, problem: Problem) -> Certificate:
        if not problem.certify:
            return unclaimed((*problem.batch, problem.n_q), lse=problem.wants_lse)
        return Certificate.later(_certificate, outline(problem, *SCORE_FACTS), target=SOFTMAX)

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv for the cotangent dout, shape (..., n_q, dv), and the bounds on their
        rounding errors.
        """
        del rng
        dq, dk, dv = stream_gradient(problem, dout)
        if problem.certify:
            known = outline(problem, *SCORE_FACTS), cotangent_lengths(dout, problem.xp)
            certificate = GradientCertificate.later(
                _gradient_certificate, *known, target=SOFTMAX_GRADIENT
            )
        else:
            certificate = no_gradient_bounds(problem).certificate()
        own = {}
        if problem.sinks is not None:
            own["sinks"] = sink_gradient(problem, dout, *attend_with_lse(problem))
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate, parameters=own)

    # Protocol.
    def shards(self, call: Call) -> ExactShards:
        """Return it as it works on blocks of tokens, all pairs of them."""
        return ExactShards(call=call)

    # Protocol.
    def gradient_shards(self, call: Call) -> ExactGradientShards:
        """Return its gradient as it works on blocks of tokens."""
        return ExactGradientShards(call=call)


def _gradient_certificate(problem: Problem, size: Array) -> GradientCertificate:
    bounds = exact_gradient_rounding(problem, _arrays.to_host(size), KEY_BLOCK)
    return bounds.certificate(facts={"unit roundoff": problem.u})


def _certificate(problem: Problem) -> Certificate:
    bound = score_bound(problem)
    return Certificate(
        rows=softmax_rounding(problem, bound, KEY_BLOCK),
        target=SOFTMAX,
        theorem="ours.tanh",
        facts={"score bound": bound, "unit roundoff": problem.u},
        lse=lse_rounding(problem, bound, KEY_BLOCK) if problem.wants_lse else None,
    )
