"""What a plan is: the method of each head, and on what evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from approxattn._arrays import Array
from approxattn.certificate.record import Record
from approxattn.methods.exact import Exact
from approxattn.methods.protocol import described
from approxattn.planning import files, table
from approxattn.planning.applied import HeadCheck, PlannedApproximation, apply
from approxattn.planning.candidates import Candidate

DRIFTED = "a running check found the error too large"


@dataclass(frozen=True, kw_only=True, repr=False)
class HeadPlan(Record):
    """The method of one head.

    Attributes
    ----------
    method : Method
        What computes it.
    candidate : int or None
        Its number among the candidates of the plan; None: exact attention.
    errors : tuple of float
        Relative Frobenius error over the blocks drawn, text by text: an estimate.
    largest : float
        Largest relative error of a block drawn.
    exceeding : float
        With the plan's confidence at most this share of the blocks of any text is above its error.
    tested : int
        Candidates that were tested on the blocks that decide, this one included.
    reason : str
        Why the head is exact, or empty.
    """

    method: Any
    candidate: int | None
    errors: tuple[float, ...] = ()
    largest: float = 0.0
    exceeding: float = 0.0
    tested: int = 0
    reason: str = ""

    _derived: ClassVar[tuple[str, ...]] = ("name", "error")

    @classmethod
    def exact(cls, reason: str) -> HeadPlan:
        """Return exact attention, for a reason."""
        return cls(method=Exact(), candidate=None, reason=reason)

    @property
    def name(self) -> str:
        """What a user would write for the method."""
        return described(self.method)

    @property
    def error(self) -> float:
        """The largest of `errors`; 0 where the head is exact, nan where nothing was measured."""
        return max(self.errors, default=0.0 if self.candidate is None else math.nan)

    def _summary(self) -> str:
        if self.candidate is None:
            return f"{self.name}: {self.reason}"
        return f"{self.name}, relative error {self.error:.3g} on the blocks drawn"

    def _table(self) -> dict[str, str]:
        return {
            "method": self.name,
            "relative error, blocks drawn": f"{self.error:.3g}",
            "largest of a block": f"{self.largest:.3g}",
            "blocks above, at most": f"{self.exceeding:.3g}",
            "exact because": self.reason or "it is not",
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Transfer(Record):
    """How plans from all texts but one did on that one.

    Attributes
    ----------
    texts : int
        Texts left out in turn.
    heads : int
        Heads for which there was time.
    above : float
        Mean share of these heads whose relative error over the blocks drawn was above the one asked
        for; nan where there was no time.
    largest : float
        Largest such error.
    """

    texts: int
    heads: int
    above: float
    largest: float

    def _summary(self) -> str:
        if not self.heads:
            return "no time was left to try plans on texts left out"
        return (
            f"planned on {self.texts - 1} of {self.texts} texts, {100 * self.above:.3g} % of "
            f"{self.heads} heads were above the error on the other one, the worst at "
            f"{self.largest:.3g}"
        )

    def _table(self) -> dict[str, str]:
        return {
            "texts": str(self.texts),
            "heads": str(self.heads),
            "share of heads above": f"{self.above:.3g}",
            "largest error": f"{self.largest:.3g}",
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan(Record):
    """A method for each head; `print` it for a table.

    Attributes
    ----------
    shape : tuple of int
        Leading axes of q that number the heads.
    heads : tuple of HeadPlan
        One for each, in C order.
    candidates : tuple of Candidate
        What was cheaper than exact attention, cheapest first.
    exact_seconds : float
        Time of exact attention for one head.
    relative_error, confidence, exceeding, margin : float
        As asked for.
    block, blocks : int
        Rows of a block; blocks drawn from a head on each text, at most.
    causal : bool
        Whether queries see earlier keys only.
    scale : float or None
        Factor of q . k; None: 1/sqrt(d).
    lengths : tuple of int
        Queries of each text.
    seconds : float
        Time spent.
    untimed : int
        Candidates that the time did not suffice for.
    refused : tuple of str
        Why some candidates have no form for these heads.
    transfer : Transfer or None
        What plans from fewer texts did on the text left out; None for a single text.

    Notes
    -----
    For each head by itself, with probability `confidence` over the draw of the blocks: on every
    text all but a share `exceeding` of the blocks have a relative Frobenius error of at most
    ``margin * relative_error``. Proved in `approxattn.planning.evidence`. It speaks of the texts
    given; `transfer` is measured.
    """

    shape: tuple[int, ...]
    heads: tuple[HeadPlan, ...]
    candidates: tuple[Candidate, ...]
    exact_seconds: float
    relative_error: float
    confidence: float
    exceeding: float
    margin: float
    block: int
    blocks: int
    causal: bool
    scale: float | None
    lengths: tuple[int, ...]
    seconds: float = math.nan
    untimed: int = 0
    refused: tuple[str, ...] = ()
    transfer: Transfer | None = None

    _derived: ClassVar[tuple[str, ...]] = ("left_exact", "relative_seconds", "relative_cost")

    @property
    def left_exact(self) -> int:
        """Number of heads with exact attention."""
        return sum(head.candidate is None for head in self.heads)

    @property
    def relative_seconds(self) -> float:
        """Time of all heads over that of exact attention, from the times of the candidates."""
        return self._mean([c.seconds / self.exact_seconds for c in self.candidates])

    @property
    def relative_cost(self) -> float:
        """Multiply-adds of all heads over those of exact attention."""
        return self._mean([c.cost for c in self.candidates])

    def _mean(self, figures: Sequence[float]) -> float:
        own = [1.0 if h.candidate is None else figures[h.candidate] for h in self.heads]
        return float(np.mean(own)) if own else 1.0

    def head(self, *index: int) -> HeadPlan:
        """Return the plan of one head, by its index."""
        return self.heads[int(np.ravel_multi_index(index, self.shape))] if index else self.heads[0]

    def wider(self, head: HeadPlan, *, exact: bool) -> HeadPlan:
        """Return the next candidate in the place of a head's, or exact attention."""
        number = len(self.candidates) if head.candidate is None else head.candidate + 1
        if exact or number >= len(self.candidates):
            return HeadPlan.exact(DRIFTED)
        method = self.candidates[number].method
        return HeadPlan(method=method, candidate=number, reason=DRIFTED)

    def attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        scale: float | None = None,
        causal: bool | None = None,
        key_mask: Array | None = None,
        query_offset: int | None = None,
        segments: Any = None,
        empty_rows: str = "raise",
        rng: np.random.Generator | None = None,
        max_memory: float | None = None,
        certify: bool = True,
        audit: int | None = None,
    ) -> PlannedApproximation:
        """Compute attention, each head by its method; heads of one method in one call.

        Parameters
        ----------
        q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
            The last leading axes of q are those of the plan; axes before them number items. k and v
            broadcast against q.
        scale, causal : optional
            As in `attention`; None: as the plan was made.
        key_mask : array of bool, shape (n_k,) or (..., n_k), optional
            As in `attention`, with all leading axes or none.
        query_offset, segments, empty_rows, max_memory, certify
            As in `attention`; `max_memory` is for the heads of one method.
        rng : numpy.random.Generator, optional
            Needed by `audit` and by methods that draw.
        audit : int, optional
            Rows of each head, over all items, that are recomputed. Where their relative error
            exceeds that of the plan the head gets the next candidate, or exact attention if that is
            above it too, with a `PlanWarning`; `plan` of the result has these methods. *Chosen*:
            the error over the rows drawn is an estimate.

        Returns
        -------
        PlannedApproximation
            `value`, shape (..., n_q, dv), a `certificate` of all heads, `plan` and `checks`.

        Raises
        ------
        TypeError, ValueError, MemoryError
            Heads other than those of the plan, and what `attention` refuses.
        """
        masks = {"key_mask": key_mask, "segments": segments}
        options = self._options(scale, causal, query_offset, empty_rows, rng)
        options |= {"max_memory": max_memory, "certify": certify}
        return apply(self, (q, k, v), masks, options, audit)

    def audit(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        rows: int,
        rng: np.random.Generator,
        scale: float | None = None,
        causal: bool | None = None,
        key_mask: Array | None = None,
        query_offset: int | None = None,
        segments: Any = None,
        empty_rows: str = "raise",
    ) -> tuple[HeadCheck, ...]:
        """Return what a sample of rows says of each head, with the methods as they are.

        Parameters and errors are those of `attention`, `rows` its `audit`.
        """
        masks = {"key_mask": key_mask, "segments": segments}
        options = self._options(scale, causal, query_offset, empty_rows, rng)
        options["certify"] = False
        return apply(self, (q, k, v), masks, options, rows, mend=False).checks

    def _options(
        self, scale: Any, causal: Any, query_offset: Any, empty_rows: Any, rng: Any
    ) -> dict[str, Any]:
        return {
            "scale": self.scale if scale is None else scale,
            "causal": self.causal if causal is None else causal,
            "query_offset": query_offset,
            "empty_rows": empty_rows,
            "rng": rng,
        }

    def groups(self) -> dict[str, list[int]]:
        """Return the heads of each method, numbered in C order."""
        found: dict[str, list[int]] = {}
        for number, head in enumerate(self.heads):
            found.setdefault(head.name, []).append(number)
        return found

    def _summary(self) -> str:
        return table.summary(self)

    def _table(self) -> dict[str, str]:
        return table.rows(self)

    def __str__(self) -> str:
        return table.text(self)

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON, for `load`.

        Raises
        ------
        ValueError
            For a method that no text describes, such as one that holds arrays.
        NotWrittenError
            When the file cannot be written.
        """
        files.write(path, {"plan": self.state()})

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan that `save` wrote.

        Raises
        ------
        PlanFileError
            For a file that is no plan, or one of another version.
        OSError
            When the file cannot be opened.
        """
        return files.read(path, "plan", cls.from_state)

    def state(self) -> dict[str, Any]:
        """Return the plan as what JSON knows, methods as their texts."""
        return files.state_of(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Plan:
        """Return the plan that `state` describes; what is wrong with it raises what it raises."""
        candidates = tuple(Candidate(**files.with_method(c)) for c in state["candidates"])
        heads = tuple(
            HeadPlan(**files.with_method({**h, "errors": tuple(h["errors"])}))
            for h in state["heads"]
        )
        transfer = state["transfer"]
        found = cls(
            **{
                **state,
                "shape": tuple(state["shape"]),
                "lengths": tuple(state["lengths"]),
                "refused": tuple(state["refused"]),
                "candidates": candidates,
                "heads": heads,
                "transfer": None if transfer is None else Transfer(**transfer),
            }
        )
        if math.prod(found.shape) != len(heads):
            msg = f"{len(heads)} heads for the shape {found.shape}"
            raise ValueError(msg)
        numbers = [head.candidate for head in heads if head.candidate is not None]
        if not all(0 <= number < len(candidates) for number in numbers):
            msg = f"a head has a candidate that is none of the {len(candidates)}"
            raise ValueError(msg)
        return found
