"""Performer: softmax attention estimated with positive random features (Choromanski et al. 2021,
Rethinking attention with Performers, arXiv 2009.14794; wording unverified).

Weights a~_ij = sum_r e^{w_r.x_i} e^{w_r.y_j - |y_j|^2/2} are positive, so every row of the output
is a mean of values. Features and variances: `approxattn.methods.random_features.features`; sums in
log space, in O(n m), causal through prefix states: `approxattn.methods.random_features.sums`.

Bound with a probability (proved here, by Chebyshev's inequality). p are the exact weights of row i
and o its output. All a~_ij are divided by their exact sum, so that E a~_ij = p_j. Every a~_ij has a
relative standard deviation of at most rho_i; delta is the probability of failure.

1. o~ - o = N / D with N = sum_j a~_j (v_j - o), D = sum_j a~_j, E N = 0 and E D = 1.
2. Norms of L2 add up: sd D <= rho_i, and sd N <= rho_i sum_j p_j |v_j - o| <= rho_i osc(V) / 2.
3. Half of delta is shared by the n_q denominators: all are at least 1 - rho_i sqrt(2 n_q / delta),
   with probability 1 - delta/2.
4. The other half is shared by the n_q dv numerators: all are at most (rho_i osc(V) / 2) sqrt(2 n_q
   dv / delta).
5. Hence, for all rows and columns together, with probability >= 1 - delta,

    |o~ - o| <= (rho_i osc(V) / 2) sqrt(2 n_q dv / delta) / (1 - rho_i sqrt(2 n_q / delta)).

6. What the range of v implies holds surely.
7. rho_i comes from |x_i + y_j| <= sqrt(beta) (|q_i| + max_j |k_j|).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arguments import (
    check_choice,
    check_flag,
    check_fraction,
    check_generator,
    check_integer,
    check_memory,
    keep,
)
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Problem, quietly
from approxattn._problem.outline import outline
from approxattn._problem.time_needed import (
    NORMAL,
    PRODUCT,
    SCORE,
    STEP,
    check_setting,
)
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.scores import key_radius, query_lengths
from approxattn.bounds.values import known_ends, value_reach
from approxattn.certificate import (
    SOFTMAX,
    Approximation,
    Certificate,
    Gradients,
)
from approxattn.methods.costs import Costed, Size
from approxattn.methods.protocol import Sizes
from approxattn.methods.random_features.certificate import feature_certificate, refuse_exponents
from approxattn.methods.random_features.features import (
    KINDS,
    directions,
    longest,
    on_device,
)
from approxattn.methods.random_features.gradient import gradient
from approxattn.methods.random_features.shards import PerformerShards
from approxattn.methods.random_features.state import PerformerState, made
from approxattn.methods.random_features.sums import Keys, attend, step_count
from approxattn.methods.sharded import Call
from approxattn.methods.states.posing import pose_keys


@dataclass(frozen=True, kw_only=True)
class Performer(Costed):
    """Attention estimated with positive random features.

    Parameters
    ----------
    features : int
        Number m of features; even for "hyperbolic", which uses each random vector twice, with both
        signs.
    kind : {"positive", "hyperbolic"}
        Exponentials of independent vectors, or of vectors and their negatives.
    orthogonal : bool
        Whether vectors are drawn at right angles, in blocks of d: never a larger variance.
    confidence : float
        Probability, in (0, 1), with which the bounds of all rows of one leading batch index hold
        together.

    Raises
    ------
    TypeError
        If `features` is not an int, `orthogonal` no bool or `confidence` no number.
    ValueError
        If a parameter is out of its range.
    MemoryError
        From a call, where directions and sums cannot fit into this machine.

    Notes
    -----
    The variance grows like ``e^{|x + y|^2}``, x = sqrt(scale) q, y = sqrt(scale) k: the certificate
    says something for short queries and keys only, and elsewhere what the range of v implies. The
    gradient is that of the output itself, for the same draws.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8)) / 4
    >>> out = aa.attention(q, k, v, aa.Performer(features=128), rng=np.random.default_rng(1))
    >>> exact = aa.attention(q, k, v, aa.Exact()).value
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
    True
    """

    features: int
    kind: str = "positive"
    orthogonal: bool = True
    confidence: float = 0.99

    randomised: ClassVar[bool] = True
    gradient_of_output: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True
    sees_earlier_keys: ClassVar[bool] = True

    def __post_init__(self) -> None:
        keep(
            self,
            features=check_integer("features", self.features, 1),
            confidence=check_fraction("confidence", self.confidence),
        )
        check_choice("kind", self.kind, KINDS)
        check_flag("orthogonal", self.orthogonal)
        if self.kind == "hyperbolic" and self.features % 2:
            msg = (
                f"features(={self.features}) must be even for kind='hyperbolic', which uses each "
                f"vector with both signs: use {self.features + 1}"
            )
            raise ValueError(msg)

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings that are compared at equal cost."""
        return (Sizes(make=lambda count: cls(features=count)),)

    def _multiply_adds(self, size: Size) -> float:
        """Return m (d + dv + 1) for each query and each key."""
        return 2 * size.tokens * self.features * (size.d + size.dv + 1)

    def _bytes(self, size: Size) -> float:
        return size.held(1.3, 3, double=3) + size.scores(self.features, 2.5)

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate."""
        w, problem = self._draw(problem, rng), problem.once_a_group()
        value = attend(problem, on_device(w, problem)).mean
        reach = value_reach(value, *known_ends(problem), problem)
        facts = outline(problem, query_lengths, key_radius), reach, longest(w)
        count = step_count(problem, self.features)
        certificate = Certificate.later(_certificate, self, *facts, count, target=SOFTMAX)
        return Approximation(value=value, certificate=certificate)

    # Protocol.
    def shards(self, call: Call) -> PerformerShards:
        """Return it as it works on blocks of tokens."""
        return PerformerShards(method=self, call=call)

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return dq, dk, dv of the output for the cotangent dout, shape (..., n_q, dv)."""
        w = on_device(self._draw(problem, rng), problem)
        dq, dk, dv = gradient(problem, w, attend(problem, w), dout)
        certificate = no_gradient_bounds(problem).certificate(
            facts={"features": self.features, "kind": self.kind},
            unmet=("no bound is known for the gradient of random features",),
        )
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    @public()
    @quietly
    def state(
        self,
        k: Array,
        v: Array,
        *,
        rng: np.random.Generator,
        scale: float | None = None,
        key_mask: Array | None = None,
    ) -> PerformerState:
        """Fold keys and values into sums of fixed size, for queries to come.

        Parameters
        ----------
        k, v : array, shapes (..., n, d), (..., n, dv)
            Keys and values.
        rng : numpy.random.Generator
            Draws the features, once: all that joins the state has the same.
        scale : float, optional
            As in `attention`.
        key_mask : array of bool, shape (..., n), optional
            True where a key takes part.

        Returns
        -------
        PerformerState
            With `query(q)`, `attend(q, k, v)`, `extend(k, v)`, `merge(other)`, `save(path)`.

        Raises
        ------
        TypeError, ValueError, MemoryError
            What `attention` refuses.

        Examples
        --------
        >>> import numpy as np, approxattn as aa
        >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 100, 8)) / 4
        >>> state = aa.Performer(features=64).state(k[:60], v[:60], rng=np.random.default_rng(1))
        >>> out = state.extend(k[60:], v[60:]).query(q)
        >>> exact = aa.attention(q, k, v, aa.Exact())
        >>> bool((abs(out.value - exact.value).max(axis=-1) <= out.certificate.rows).all())
        True
        """
        check_generator(rng)
        problem = pose_keys(k, v, scale, key_mask)
        return made(self, problem, self._draw(problem, rng))

    def _draw(self, problem: Problem, rng: np.random.Generator | None) -> HostArray:
        assert rng is not None  # noqa: S101 - `attention` asks for it
        numbers = self.features * (3 * problem.d + math.prod(problem.batch) * (problem.dv + 1))
        check_memory("features", self.features, numbers, "directions and sums")
        d, tokens = problem.d, math.prod(problem.batch) * (problem.n_q + problem.n_k)
        each = STEP / d + 2 * d * NORMAL + 20 * d**2 * PRODUCT
        each += tokens * (SCORE + PRODUCT * (d + problem.dv))
        check_setting(problem, "features", self.features, self.features * each, "features")
        w = directions(problem.d, self.features, self.kind, self.orthogonal, rng)
        refuse_exponents(problem, key_radius(problem), longest(w))
        return w


def _certificate(
    settings: Performer, problem: Problem, reach: Array, longest: float, count: int
) -> Certificate:
    radius = _arrays.to_host(key_radius(problem))
    keys = Keys(radius, *problem.value_range, problem.n_k, count)
    return feature_certificate(settings, problem, keys, reach, longest)
