"""What every result carries: how far from the exact answer it can be, why, and by which theorem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from approxattn._arrays import Array, HostArray

SOFTMAX = "softmax attention"
SOFTMAX_GRADIENT = "the gradient of softmax attention"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A bound on the error of one result.

    It lives on the host, in float64, whatever the result's array library.

    Attributes
    ----------
    bound : ndarray, shape (...)
        Bound on the largest absolute error over rows and columns, one per leading batch index,
        rounding in the dtype computed in included; `inf` when a hypothesis is not met.
    rows : ndarray, shape (..., n_q)
        The same for each row; all of them hold together.
    target : str
        What the error is measured against: softmax attention, or the estimator's own expectation.
    theorem : str
        Key of the theorem the bound rests on; `proofs_check show KEY` prints and checks it.
    failure : float
        Probability, over the method's own draws, that the bound of one leading batch index fails; 0
        means it holds surely.
    facts : mapping
        The numbers the bound was computed from (score bound, degree, rank ...).
    unmet : tuple of str
        Hypotheses that failed, and why.
    """

    rows: HostArray
    target: str
    theorem: str
    failure: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", _frozen_bounds("rows", self.rows))
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))

    @property
    def bound(self) -> HostArray:
        """Largest of `rows`, one per leading batch index."""
        return np.asarray(np.max(self.rows, axis=-1, initial=0.0))

    @property
    def kind(self) -> str:
        """`surely`, or `with probability >= 1 - delta`."""
        return _kind(self.failure)

    def __str__(self) -> str:
        worst = float(np.max(self.bound, initial=0.0))
        given, reasons = _facts_and_reasons(self.facts, self.unmet)
        if np.isinf(worst):
            return (
                f"No bound on the distance to {self.target} can be given "
                f"[{self.theorem}]{given}.{reasons}"
            )
        return (
            f"Every entry is within {worst:.3g} of {self.target}, {self.kind}, by theorem "
            f"[{self.theorem}]{given}.{reasons}"
        )


@dataclass(frozen=True, kw_only=True)
class GradientCertificate:
    """Bounds on the errors of a gradient, on the host, in float64.

    Attributes
    ----------
    dq, dk, dv : ndarray, shapes (..., n_q), (..., n_k), (..., n_k)
        Bound on the largest absolute error in each row of the gradient with respect to q, k, v.
    target : str
        What the errors are measured against.
    theorem : str
        Key of the theorem the bounds rest on.
    failure : float
        Probability, over the method's own draws, that the bounds of one leading batch index fail; 0
        means they hold surely.
    facts : mapping
        The numbers the bounds were computed from.
    unmet : tuple of str
        Hypotheses that failed, and why.
    """

    dq: HostArray
    dk: HostArray
    dv: HostArray
    target: str
    theorem: str
    failure: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("dq", "dk", "dv"):
            object.__setattr__(self, name, _frozen_bounds(name, getattr(self, name)))
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))

    @property
    def kind(self) -> str:
        """`surely`, or `with probability >= 1 - delta`."""
        return _kind(self.failure)

    def __str__(self) -> str:
        worst = [float(np.max(rows, initial=0.0)) for rows in (self.dq, self.dk, self.dv)]
        given, reasons = _facts_and_reasons(self.facts, self.unmet)
        bounds = ", ".join(
            f"{name} within {w:.3g}" for name, w in zip(("dq", "dk", "dv"), worst, strict=True)
        )
        return (
            f"{bounds} of {self.target}, {self.kind}, by theorem [{self.theorem}]{given}.{reasons}"
        )


def _frozen_bounds(name: str, bounds: HostArray) -> HostArray:
    # a copy, so that freezing it freezes nothing of the caller's
    rows = np.array(bounds, dtype=np.float64)
    if np.isnan(rows).any() or (rows < 0).any():
        msg = (
            f"{name}(min={rows.min()}) of a certificate must be non-negative numbers or inf: a "
            "bound that is NaN bounds nothing"
        )
        raise ValueError(msg)
    rows.setflags(write=False)
    return rows


def _kind(failure: float) -> str:
    return "surely" if failure == 0 else f"with probability >= 1 - {failure:g}"


def _facts_and_reasons(facts: Mapping[str, Any], unmet: tuple[str, ...]) -> tuple[str, str]:
    given = "; ".join(f"{name} {_short(value)}" for name, value in facts.items())
    return f" ({given})" if given else "", f" Not met: {'; '.join(unmet)}." if unmet else ""


def _short(value: Any) -> str:
    """Format one fact: floats to three digits, arrays by their largest entry."""
    if isinstance(value, np.ndarray):
        return f"<= {float(np.max(value, initial=0.0)):.3g}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Approximation:
    """An attention output and its certificate.

    Attributes
    ----------
    value : array, shape (..., n_q, dv)
        Same library, device and dtype as the input (float64 for integer input).
    certificate : Certificate
        How far `value` can be from its target.
    """

    value: Array
    certificate: Certificate


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Gradients of attention with respect to its inputs, for one cotangent of the output.

    Attributes
    ----------
    dq, dk, dv : array, shapes of q, k, v
        In the library, device and dtype of the input.
    certificate : GradientCertificate
        How far they can be from their target.
    parameters : mapping of str to array
        Gradients with respect to arrays that belong to the method, by the name of the method's
        field, such as the projections of `Linformer`.
    """

    dq: Array
    dk: Array
    dv: Array
    certificate: GradientCertificate
    parameters: Mapping[str, Array] = field(default_factory=dict)
