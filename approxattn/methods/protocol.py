"""What a method is."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.certificate import Approximation, Gradients


class Method(Protocol):
    """Anything that computes attention and bounds its error.

    Attributes
    ----------
    randomised : bool
        Whether `compute` draws random numbers and so needs `rng`.
    why_not_causal : str
        Empty when the method has a causal form; otherwise the reason, told to whoever asks for one.
    why_no_scale : str
        Empty when the scores have a scale; otherwise the reason why `scale` has no meaning.
    """

    @property
    def randomised(self) -> bool:
        """Whether `compute` needs `rng`; an attribute of the class will do, or of the instance
        where its parameters decide.
        """
        ...

    why_not_causal: ClassVar[str]
    why_no_scale: ClassVar[str]

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return output and certificate for a checked problem."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A method that also has a gradient."""

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return dq, dk, dv for a checked cotangent of the output."""
        ...
