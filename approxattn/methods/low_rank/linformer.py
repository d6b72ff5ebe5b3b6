"""Linformer: attention to k combinations of the n keys and values (Wang, Li, Khabsa, Fang & Ma
2020, arXiv 2006.04768v3).

The paper's head is softmax(beta Q (E K)^T) F V with E, F of shape (k, n), trained. Its variants: F
= E ("key-value sharing"), one E for all heads and layers or one a head, means, maxima or
convolutions of blocks in place of E. Untrained forms (`sketches.py`):

"gaussian". E = F = R, entries N(0, 1/k); or E = delta R, F = e^{-delta} R as in the paper's
appendix B. Its Theorem 2 is false. For Q = 0, V = 1 exact attention is 1, and the output is N(0,
n/k^2)-distributed times e^{-delta}: no bound can be given. The other random combinations (signs,
sparse signs, CountSketch, Hadamard) have mean 0 too, and given E, F can be anything.

"mean-pool". Means of blocks of keys and values, each block weighted by its size:
`pooling_bounds.py`.

"max-pool". The largest entries of the blocks, column by column. Each column of the output is then a
mean of entries of that column of V, which is all there is to say.

"row-sample". The softmax over k keys drawn uniformly with replacement: `row_sample_bound.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from approxattn._arguments import (
    check_choice,
    check_fraction,
    check_integer,
    check_memory,
    check_positive,
    keep,
)
from approxattn._arrays import Array
from approxattn._arrays.entry import public
from approxattn._problem import Problem, quietly
from approxattn.certificate import Approximation, Gradients
from approxattn.methods.costs import Costed, Size
from approxattn.methods.low_rank.blocks.linformer import LinformerShards
from approxattn.methods.low_rank.combinations import Combined
from approxattn.methods.low_rank.folding.state import LinformerState, none_of
from approxattn.methods.low_rank.given import Kernel, Projections
from approxattn.methods.low_rank.kinds import Combination, Facts, bounds_or_none
from approxattn.methods.low_rank.sketches import SKETCHES, Sketch
from approxattn.methods.protocol import Sizes
from approxattn.methods.sharded import Call
from approxattn.methods.states.posing import pose_keys
from approxattn.sketching.streams import HOST_BLOCK
from approxattn.softmax.biased import attend, attend_gradient


@dataclass(frozen=True, kw_only=True)
class Linformer(Costed):
    """Attention to k = `rank` combinations of the keys and values.

    Parameters
    ----------
    rank : int, optional
        Number of combinations k >= 1; not needed with `key_projection`. Pooling makes no more
        blocks than there are visible keys, and means are exact from there on; the random sketches
        take any rank ("srht": up to the next power of two from n_k on).
    sketch : str
        "gaussian": random combinations as in the paper's proofs. "rademacher", "sparse",
        "count-sketch", "srht": those of the other kinds of `approxattn.sketching`. "row-sample":
        visible keys drawn uniformly with replacement. "mean-pool": means of contiguous blocks of
        the visible keys, each weighted by its size. "max-pool": their largest entries. All but the
        last two need `rng`.
    delta : float, optional
        For "gaussian" only: E = delta R, F = exp(-delta) R as in the paper's appendix B, instead of
        E = F = R.
    confidence : float
        For "row-sample" only: probability, in (0, 1), with which the bounds of all rows of one
        leading batch index hold together.
    key_projection, value_projection : array, shape (k, n_k) or (..., k, n_k), optional
        E and F of your own, in the library, device and dtype of q, in place of a sketch; F = E if
        only E is given. One for all leading indices (the paper's layerwise sharing), or leading
        axes that broadcast to them (such as one a head).
    kernel : tuple of float, optional
        In place of a sketch: weights of a convolution whose stride is its length, for keys and
        values alike; as many combinations as blocks.

    Raises
    ------
    TypeError
        If `rank` is not an int, or `delta` or `confidence` no number.
    ValueError
        If a parameter is out of its range, or `delta` is given for another sketch.
    MemoryError
        From a call, where the combinations cannot fit into this machine.

    Notes
    -----
    Certificates: mean pooling surely, by the tanh lemma (proved here). Row sampling with
    probability >= confidence, by Hoeffding's inequality (proved here). Largest entries: the range
    of v. None for the others, since Theorem 2 of Wang et al. (2020) is false.

    There is no causal form: each combination holds later keys. Gradients are those of the output
    itself, with a certificate towards those of attention for means. Those with respect to given
    projections are in `Gradients.parameters`.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.Linformer(rank=50, sketch="mean-pool"))
    >>> exact = aa.attention(q, k, v, aa.Exact()).value
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
    True
    """

    rank: int | None = None
    sketch: str = "gaussian"
    delta: float | None = None
    confidence: float = 0.99
    key_projection: Array | None = field(default=None, compare=False, repr=False)
    value_projection: Array | None = field(default=None, compare=False, repr=False)
    kernel: tuple[float, ...] | None = None

    gradient_of_output: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = (
        "its combinations mix earlier keys with later ones; use Exact() or Polynomial(...)"
    )
    why_no_scale: ClassVar[str] = ""
    _backward: ClassVar[tuple[float, float]] = (3.2, 1.5)

    @property
    def averages_values(self) -> bool:
        """Whether the combined values are means of values, or follow a shift as such do."""
        averaging = self.sketch in ("mean-pool", "max-pool", "row-sample")
        return averaging and self.key_projection is None and self.kernel is None

    def __post_init__(self) -> None:
        keep(self, confidence=check_fraction("confidence", self.confidence))
        for name in ("key_projection", "kernel"):
            if getattr(self, name) is not None:
                self._check_alone(name)
                return
        if self.value_projection is not None:
            msg = (
                "value_projection without key_projection: give both, or key_projection alone for F "
                "= E"
            )
            raise ValueError(msg)
        why = "the softmax over no keys is undefined"
        keep(self, rank=check_integer("rank", self.rank, 1, why=why))
        check_choice("sketch", self.sketch, tuple(SKETCHES))
        if self.delta is None:
            return
        if self.sketch != "gaussian":
            msg = (
                f"delta(={self.delta}) belongs to sketch='gaussian', not to {self.sketch!r}: leave "
                "it None"
            )
            raise ValueError(msg)
        keep(self, delta=check_positive("delta", self.delta))

    def _check_alone(self, given: str) -> None:
        """Refuse what has no meaning beside given projections, or beside a kernel."""
        others: dict[str, object] = {
            "rank": self.rank,
            "delta": self.delta,
            "sketch": None if self.sketch == "gaussian" else self.sketch,
        }
        if given == "key_projection":
            others["kernel"] = self.kernel
        elif self.value_projection is not None:
            others["value_projection"] = "given"
        for name, value in others.items():
            if value is not None:
                msg = f"{name}(={value!r}) with {given}: {given} says it all, leave {name} out"
                raise ValueError(msg)
        if given == "kernel" and not _is_kernel(self.kernel):
            msg = f"kernel(={self.kernel!r}) must be a tuple of finite numbers, at least one"
            raise ValueError(msg)

    @property
    def _combination(self) -> Combination:
        """What stands in the place of keys and values."""
        if self.key_projection is not None:
            return Projections(e=self.key_projection, f=self.value_projection)
        if self.kernel is not None:
            return Kernel(weights=self.kernel)
        assert self.rank is not None  # noqa: S101 - checked when it was built
        return Sketch(
            kind=self.sketch, rank=self.rank, delta=self.delta, confidence=self.confidence
        )

    @property
    def randomised(self) -> bool:
        """Whether `compute` draws: pooling and what is given do not."""
        return self._combination.random

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings that are compared at equal cost: pooled blocks and sampled keys."""
        return (
            Sizes(make=lambda k: cls(rank=k, sketch="mean-pool")),
            Sizes(make=lambda k: cls(rank=k, sketch="row-sample")),
        )

    @property
    def why_not_linear(self) -> str:
        """Why the output is not linear in v; empty where it is."""
        pooled = isinstance(self._combination, Sketch) and self.sketch == "max-pool"
        return "the largest value of a block is not linear in v; use mean-pool" if pooled else ""

    def _multiply_adds(self, size: Size) -> float:
        """Return those of combining and of attending to the combinations."""
        return size.items * self._combination.multiply_adds(size.n_q, size.n_k, size.d + size.dv)

    def _bytes(self, size: Size) -> float:
        rank, dense = self._combination.held(size.n_k)
        matrix = dense * rank * size.n_k * size.width
        drawing = 36 * min(dense * rank * size.n_k, HOST_BLOCK)  # what a block of it is made from
        tokens = replace(size, n_k=size.n_q) if dense else size  # a product copies no keys
        return max(drawing, tokens.held(1.5, 2, double=2) + size.scores(rank, 3)) + matrix

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate."""
        combination = self._combination
        combined = combination.combine(problem, rng)
        value = attend(combined.reduced)
        certificate = combination.certificate(combined, value, _facts(combination, combined))
        return Approximation(value=value, certificate=certificate)

    # Protocol.
    def shards(self, call: Call) -> LinformerShards:
        """Return it as it works on blocks of tokens."""
        return LinformerShards(method=self, call=call)

    @public()
    @quietly
    def state(
        self,
        k: Array,
        v: Array,
        *,
        scale: float | None = None,
        key_mask: Array | None = None,
    ) -> LinformerState:
        """Fold keys and values into means of blocks, for queries to come; for "mean-pool" only.

        Parameters
        ----------
        k, v : array, shapes (..., n, d), (..., n, dv)
            Keys and values.
        scale : float, optional
            As in `attention`.
        key_mask : array of bool, shape (..., n), optional
            True where a key takes part.

        Returns
        -------
        LinformerState
            With `query(q)`, `attend(q, k, v)`, which is causal, `extend(k, v)`, `merge(other)`,
            `save(path)`.

        Raises
        ------
        TypeError, ValueError
            What `attention` refuses; sketches that have no state, with the reason.

        Examples
        --------
        >>> import numpy as np, approxattn as aa
        >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 100, 8))
        >>> state = aa.Linformer(rank=32, sketch="mean-pool").state(k[:60], v[:60])
        >>> out, state = state.attend(q[60:], k[60:], v[60:])
        >>> exact = aa.attention(q, k, v, aa.Exact(), causal=True).value[60:]
        >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
        True
        """
        reason = self._why_no_state()
        if reason:
            msg = f"{reason}; use sketch='mean-pool'"
            raise ValueError(msg)
        assert self.rank is not None  # noqa: S101 - checked when it was built
        problem = pose_keys(k, v, scale, key_mask)
        numbers = math.prod(problem.batch) * self.rank * (problem.d + problem.dv + 3)
        check_memory("rank", self.rank, 2 * numbers, "means of blocks")
        return none_of(problem, self.rank).followed_by(problem)

    def _why_no_state(self) -> str:
        """Return why the method has no state; empty if it has."""
        if self.key_projection is not None:
            return "key_projection has a column for each of a fixed number of keys"
        if self.kernel is not None:
            return "kernel makes a combination of every block, so their number grows with the keys"
        return _NO_STATE.get(self.sketch, "")

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return dq, dk, dv of the output, and of the projections if they are given, for the
        cotangent dout, shape (..., n_q, dv).
        """
        combination = self._combination
        combined = combination.combine(problem, rng)
        dq, dkeys, dvalues = attend_gradient(combined.reduced, dout)
        dk, dv = combined.gradients(dkeys, dvalues)
        bounds, unmet = bounds_or_none(combination, combined, dout, (dq, dk, dv))
        return Gradients(
            dq=dq,
            dk=dk,
            dv=dv,
            certificate=bounds.certificate(facts=_facts(combination, combined), unmet=unmet),
            parameters=combination.parameters(combined, dkeys, dvalues),
        )


_NO_BOUND = "no bound is known for its combinations, whose weights would be drawn key by key"
_NO_STATE = {
    **dict.fromkeys(("gaussian", "rademacher", "sparse", "count-sketch"), _NO_BOUND),
    "srht": "its transform mixes all keys, and its length is that of a power of two beyond them",
    "max-pool": "no theorem speaks about largest entries, but for the range of v",
    "row-sample": "its keys are drawn from all of them, whose number a state does not know",
}
"""Why a sketch has no state."""


def _facts(combination: Combination, combined: Combined) -> Facts:
    facts = combination.facts()
    return {"sketch": facts.pop("sketch"), "rank": combined.reduced.problem.n_k, **facts}


def _is_kernel(kernel: object) -> bool:
    numbers = int | float | np.integer | np.floating
    return (
        isinstance(kernel, tuple)
        and len(kernel) > 0
        and all(isinstance(w, numbers) and math.isfinite(w) for w in kernel)
    )
