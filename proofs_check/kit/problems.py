"""Small attention problems that bring out what goes wrong, and the one way in which the function
under examination is called.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]

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
    """

    function: Callable[..., Any]
    scale: float | None
    leading: int
    put: Callable[[Host], Any]
    get: Callable[[Any], Host]
    options: Mapping[str, Any]
    square: bool = False
    """Whether it needs as many queries as keys."""

    @property
    def causal_name(self) -> str | None:
        """Keyword of a causal call, if the function has one."""
        return self._keyword("causal", "is_causal")

    @property
    def mask_name(self) -> str | None:
        """Keyword of a mask over the keys, True where one takes part, if the function has one."""
        return self._keyword("key_mask")

    def _keyword(self, *names: str) -> str | None:
        try:
            parameters = inspect.signature(self.function).parameters
        except (TypeError, ValueError):  # built-in functions tell nothing
            return None
        return next((name for name in names if name in parameters), None)

    def arrays(self, *hosts: Host) -> list[Any]:
        """Arrays as the function takes them: singleton axes added as needed."""
        missing = max(0, self.leading - (hosts[0].ndim - 2))
        return [self.put(np.array(x).reshape((1,) * missing + x.shape)) for x in hosts]

    def __call__(self, q: Host, k: Host, v: Host, **options: Any) -> Host:
        """Return the output for arrays of shape (..., n, d), on the host and without the added
        axes.
        """
        arrays = self.arrays(q, k, v)
        out = np.asarray(self.get(self.function(*arrays, **self.options, **options)))
        expected = (*q.shape[:-1], v.shape[-1])
        if out.size != math.prod(expected):
            msg = f"the output has shape {out.shape}, not {expected}"
            raise ValueError(msg)
        return out.reshape(expected)

    def beta(self, d: int) -> float:
        """The scale of the scores."""
        return 1 / math.sqrt(d) if self.scale is None else self.scale


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
