"""Methods whose error is known block by block, and heads that real methods do well on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import approxattn as aa
from approxattn.methods.costs import Cost

BLOCK = 4


@dataclass(frozen=True, kw_only=True)
class Known:
    """Exact attention, wrong by a factor 1 + size in the blocks named: the truth is known."""

    bad: tuple[int, ...] = ()
    size: float = 1.0
    price: int = 1
    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    sees_earlier_keys: ClassVar[bool] = True

    def cost(self, *_: int, **__: Any) -> Cost:
        return Cost(multiply_adds=self.price, bytes=1)

    def compute(self, problem: Any, rng: Any = None) -> aa.Approximation:
        found = aa.Exact().compute(problem, rng)
        value = np.array(found.value)
        for block in self.bad:
            value[..., block * BLOCK : (block + 1) * BLOCK, :] *= 1 + self.size
        return aa.Approximation(value=value, certificate=found.certificate)


def smooth(*shape: int, seed: int = 0, dtype: str = "float64") -> tuple[Any, Any, Any]:
    """Return q, k, v, shape (..., n, d) each, that move slowly: windows do well."""
    x = np.random.default_rng(seed).normal(size=(3, *shape))
    q, k, v = np.cumsum(x, axis=-2) / 20
    return tuple((x + 1).astype(dtype) for x in (q, k, v))


def relative(found: Any, exact: Any) -> Any:
    """Return the relative Frobenius error of each head."""
    gap, norm = (
        np.linalg.norm(x, axis=(-2, -1)) for x in (np.asarray(found) - np.asarray(exact), exact)
    )
    return gap / norm
