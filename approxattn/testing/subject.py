"""The function under examination, as a law sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from approxattn.testing.calls import Caller, Host, Left, Trouble, Unusable
from approxattn.testing.conduct import Record
from approxattn.testing.problem import Lengths


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A function called with and giving host arrays of shapes (n, d), whatever it takes itself.

    Parameters
    ----------
    caller : Caller
        How it is called.
    gradient : Caller or None
        How its gradient is called, with q, k, v and the derivative of a loss by the output.
    scale : float or None
        Factor of the scores; None is 1/sqrt(d).
    leading : int
        Leading axes that it needs.
    square : bool
        Whether it needs as many queries as keys.
    exact : bool
        Whether it is meant to be softmax attention up to rounding.
    lengths : Lengths
        Numbers of tokens that it takes.
    record : Record
        Where its conduct is taken down.
    """

    caller: Caller
    gradient: Caller | None = None
    scale: float | None
    leading: int
    square: bool = False
    exact: bool = True
    lengths: Lengths = field(default_factory=Lengths)
    record: Record = field(default_factory=Record)

    def __post_init__(self) -> None:
        check_scale(self.scale)

    @property
    def causal_name(self) -> str | None:
        """Keyword of a causal call, if the function has one."""
        return self._keyword("causal", "is_causal")

    @property
    def mask_name(self) -> str | None:
        """Keyword of a mask over the keys, True where one takes part, if the function has one."""
        return self._keyword("key_mask")

    @property
    def offset_name(self) -> str | None:
        """Keyword of the position of query 0 among the keys, if the function has one."""
        return self._keyword("query_offset")

    @property
    def window_name(self) -> str | None:
        """Keyword of (keys before, keys after), if the function has one."""
        return self._keyword("window", "window_size")

    @property
    def segments_name(self) -> str | None:
        """Keyword of the numbers of packed sequences, one a token, if the function has one."""
        return self._keyword("segments")

    def _keyword(self, *names: str) -> str | None:
        return next((name for name in names if name in self.caller.keywords), None)

    def __call__(self, q: Host, k: Host, v: Host, **options: Any) -> Host:
        """Return the output for arrays of shape (..., n, d), without the added axes.

        Raises
        ------
        Trouble
            When the function gives none.
        """
        outputs = self.ask(self.caller, (q, k, v), options)
        return fitted(outputs[0], (*q.shape[:-1], v.shape[-1]))

    def ask(
        self, caller: Caller, arrays: Sequence[Host], options: Mapping[str, Any]
    ) -> tuple[Host, ...]:
        """Call with singleton axes added as needed, and take down how it behaves."""
        missing = max(0, self.leading - (arrays[0].ndim - 2))
        try:
            answer = caller([x.reshape((1,) * missing + x.shape) for x in arrays], options)
        except Trouble as error:
            self.record.add(error.misdeeds, watched=not isinstance(error, Left), answered=False)
            raise
        self.record.add(answer.misdeeds)
        return answer.outputs

    def beta(self, d: int) -> float:
        """The scale of the scores."""
        return 1 / math.sqrt(d) if self.scale is None else self.scale


def fitted(output: Host, shape: tuple[int, ...]) -> Host:
    """Return an output in the shape that was asked for; `Unusable` when it has another size."""
    if output.size != math.prod(shape):
        msg = f"the output has shape {output.shape}, not {shape}"
        raise Unusable(msg)
    return output.reshape(shape)


def check_scale(scale: float | None) -> None:
    """Raise ValueError for a scale that is no finite number."""
    if scale is not None and not math.isfinite(scale):
        msg = f"scale(={scale}) must be a finite number, or None for 1/sqrt(d)"
        raise ValueError(msg)
