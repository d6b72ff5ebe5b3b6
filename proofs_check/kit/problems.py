"""Small attention problems that bring out what goes wrong, and the function they are put to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from proofs_check.kit.calls import Caller, Host, Left, Trouble, Unusable
from proofs_check.kit.conduct import Record

SIZES = (1, 2, 3, 5, 10, 16)
"""Numbers of tokens, those of LAPACK's tests (its 0 is a check of its own)."""


THRESHOLD = 30.0
"""Of the accuracy ratios, as in LAPACK's tests (LAWN 41, wording unverified)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Queries, keys and values of one head, float64 on the host."""

    name: str
    q: Host
    k: Host
    v: Host

    def astype(self, dtype: str) -> Problem:
        """The problem with its numbers rounded."""
        return replace(self, q=self.q.astype(dtype), k=self.k.astype(dtype), v=self.v.astype(dtype))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The function under examination, called with and giving host arrays of shapes (n, d) whatever
    it takes itself.

    Parameters
    ----------
    caller : Caller
        How it is called.
    scale : float or None
        Factor of the scores; None is 1/sqrt(d).
    leading : int
        Leading axes that it needs.
    square : bool
        Whether it needs as many queries as keys.
    record : Record
        Where its conduct is taken down.
    """

    caller: Caller
    scale: float | None
    leading: int
    square: bool = False
    record: Record = field(default_factory=Record)

    @property
    def causal_name(self) -> str | None:
        """Keyword of a causal call, if the function has one."""
        return self._keyword("causal", "is_causal")

    @property
    def mask_name(self) -> str | None:
        """Keyword of a mask over the keys, True where one takes part, if the function has one."""
        return self._keyword("key_mask")

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
            self.record.add(error.misdeeds, watched=not isinstance(error, Left))
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


def problems(rng: np.random.Generator, d: int = 4, dv: int = 3) -> Iterator[Problem]:
    """Yield Gaussian tokens, ties, zero rows, duplicated keys, large scores, and scores that are
    all negative but one.
    """
    for n in SIZES:
        q, k, v = rng.normal(size=(n, d)), rng.normal(size=(n, d)), rng.uniform(-3, 3, (n, dv))
        yield Problem(name=f"Gaussian, n = {n}", q=q, k=k, v=v)
        yield Problem(
            name=f"ties, n = {n}",
            q=np.rint(q),
            k=np.rint(k)[rng.integers(0, min(n, 2), n)],
            v=np.rint(v),
        )
        yield Problem(name=f"zero queries, n = {n}", q=0 * q, k=k, v=v)
        yield Problem(name=f"large scores, n = {n}", q=8 * q, k=8 * k, v=v)
    n = 4
    v = np.array([[1.0, 2.0, 3.0, 10.0]]).T * np.ones((1, dv))
    k = np.array([[-3.0, -3.0, -3.0, 0.5]]).T * np.eye(1, d)
    yield Problem(name="negative scores", q=math.sqrt(d) * np.ones((n, 1)) * np.eye(1, d), k=k, v=v)
