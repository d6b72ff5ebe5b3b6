"""What a method is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.certificate import Approximation, Gradients
from approxattn.methods.costs import Cost

WHY_NO = {
    "window": "its sums run over all keys, and a window leaves out most of them; Exact() takes "
    "O(n w) for a window of w keys",
    "bias": "it never forms the scores of single pairs, to which a bias could be added; use "
    "Exact()",
    "softcap": "it never forms the scores of single pairs, which a cap could bound; use Exact()",
    "sinks": "its weights sum to 1 over the keys, and a sink would take a part of each row; use "
    "Exact()",
    "lse": "its certificate compares the weights of a row with each other and says nothing of "
    "their sum; use Exact()",
}
"""Why a method has no form for something, unless it gives a reason of its own: see `why_no`."""


def why_no(method: Method, form: str) -> str:
    """Return why the method has no form for something of `WHY_NO`; empty if it has."""
    return str(getattr(method, f"why_no_{form}", WHY_NO[form]))


def value_alone(method: Any) -> bool:
    """Return whether the method has a form without a certificate."""
    return bool(getattr(method, "value_alone", False))


class Method(Protocol):
    """Anything that computes attention and bounds its error.

    `compute` and `vjp` get plain problems: all keys for every query, or causal order, with a key
    mask. Other masks are split into such problems. A true attribute `sees_earlier_keys` says that
    causal problems may have more keys than queries; others are made square. Empty attributes
    `why_no_window`, `why_no_bias`, `why_no_softcap` and `why_no_sinks` say that the method knows
    the problem's `band`, `bias`, `softcap` and `sinks`, an empty `why_no_lse` that it fills in
    `lse` where the problem `wants_lse`; otherwise they are the reason.

    A true attribute `averages_values` says that the weights of a row sum to 1, so that adding a
    constant to a column of v adds it to the output: then `attention` centres values that are far
    from 0, and their rounding with them.

    True attributes `folds_heads` and `folds_causal_heads` say that heads which share keys come as
    one head with all their queries, under causal order with `Problem.heads`, in `compute` and
    `vjp`: rows depend on each other only through what the method chooses from all queries.

    A true attribute `value_alone` says that the method leaves out what only bounds need where
    `problem.certify` is False, and that NaN, which then nobody has looked for, shows in its value;
    infinities and overflow show as NaN or infinity, or as keys without weight. Its bits are those
    with a certificate.

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
    """A method that also has a gradient.

    A true attribute `gradient_of_output` says that `vjp` is the derivative of what `compute`
    returns, draws held fixed: then torch's backward may use it. Without, backward is an error.
    """

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return dq, dk, dv for a checked cotangent of the output."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Settings of a method that differ in one integer only, for comparisons at equal cost.

    Parameters
    ----------
    make : callable
        From the integer to the method.
    step : int
        The integer is a multiple of it.
    """

    make: Callable[[int], Method]
    step: int = 1


@runtime_checkable
class Priced(Protocol):
    """A method whose cost is known beforehand; `diagnose` compares such methods at equal cost.

    `approxattn.methods.costs.Costed` writes `cost`.
    """

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the families of settings that are worth comparing."""
        ...

    def cost(self, n_q: int, n_k: int, d: int, dv: int) -> Cost:
        """Return what these settings cost on a problem of this size."""
        ...


def described(method: Any) -> str:
    """Return what a user would write for a method: the settings that are not the defaults."""
    settings = [
        f"{setting.name}={getattr(method, setting.name)!r}"
        for setting in dataclasses.fields(method)
        if setting.init and not _is_default(setting, getattr(method, setting.name))
    ]
    return f"{type(method).__name__}({', '.join(settings)})"


def _is_default(setting: dataclasses.Field[Any], value: Any) -> bool:
    default = setting.default
    if setting.default_factory is not dataclasses.MISSING:
        default = setting.default_factory()
    # an array is no default, and has no single truth value
    return value is default or (type(value) is type(default) and bool(np.all(value == default)))
