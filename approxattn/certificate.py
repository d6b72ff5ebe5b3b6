"""What every result carries: how far from the exact answer it can be, why, and by which theorem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from approxattn._arrays import Array, HostArray

SOFTMAX = "softmax attention"
SOFTMAX_GRADIENT = "the gradient of softmax attention"


class ReadOnlyDict(dict[str, Any]):
    """A dict that nobody writes to; it can be copied and pickled, which a mappingproxy cannot."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        msg = "the facts of a result are read-only: make a dict of them first"
        raise TypeError(msg)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[ReadOnlyDict], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)


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
        Hypotheses that failed, and why. A bound that came out as NaN is inf, and named here.
    promised : ndarray, shape (...), or None
        Largest error that the method was asked to stay within, for the narrowest column of each
        leading batch index; None: nothing was asked. `held_to_promise` compares.
    """

    rows: HostArray
    target: str
    theorem: str
    failure: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()
    promised: HostArray | None = None

    def __post_init__(self) -> None:
        _freeze(self, ("rows",))
        if self.promised is not None:
            object.__setattr__(self, "promised", _frozen(self.promised))

    @property
    def bound(self) -> HostArray:
        """Largest of `rows`, one per leading batch index."""
        return np.asarray(np.max(self.rows, axis=-1, initial=0.0))

    @property
    def kind(self) -> str:
        """`surely`, or `with probability >= 1 - delta`."""
        return kind_of(self.failure)

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
        _freeze(self, ("dq", "dk", "dv"))

    @property
    def kind(self) -> str:
        """`surely`, or `with probability >= 1 - delta`."""
        return kind_of(self.failure)

    def __str__(self) -> str:
        worst = [float(np.max(rows, initial=0.0)) for rows in (self.dq, self.dk, self.dv)]
        given, reasons = _facts_and_reasons(self.facts, self.unmet)
        bounds = ", ".join(
            f"{name} within {w:.3g}" for name, w in zip(("dq", "dk", "dv"), worst, strict=True)
        )
        return (
            f"{bounds} of {self.target}, {self.kind}, by theorem [{self.theorem}]{given}.{reasons}"
        )


def _freeze(certificate: Certificate | GradientCertificate, names: tuple[str, ...]) -> None:
    """Make the bounds named and the facts read-only; a bound that is NaN becomes inf, with a
    reason.
    """
    reasons: tuple[str, ...] = ()
    for name in names:
        bounds = _frozen(getattr(certificate, name))
        # an infinite bound that nobody explains overflowed too
        gone = np.isnan(bounds) if certificate.unmet else ~np.isfinite(bounds)
        lost = int(np.count_nonzero(gone))
        if lost:
            bounds = _frozen(np.where(np.isnan(bounds), np.inf, bounds))
            reasons += (f"{name}: the bound of {lost} row(s) overflowed, so there is none",)
        if (bounds < 0).any():
            msg = f"{name}(min={bounds.min()}) of a certificate must be non-negative or inf"
            raise ValueError(msg)
        object.__setattr__(certificate, name, bounds)
    object.__setattr__(certificate, "facts", ReadOnlyDict(certificate.facts))
    object.__setattr__(certificate, "unmet", (*certificate.unmet, *reasons))


def _frozen(bounds: HostArray) -> HostArray:
    # a copy, so that freezing it freezes nothing of the caller's
    rows = np.array(bounds, dtype=np.float64)
    rows.setflags(write=False)
    return rows


def held_to_promise(certificate: Certificate) -> Certificate:
    """Return the certificate, which says in `unmet` where its bound exceeds what was promised.

    To be asked last, when everything has been added to the bound.
    """
    if certificate.promised is None:
        return certificate
    bound, allowed = np.broadcast_arrays(certificate.bound, certificate.promised)
    missed = ~(bound <= allowed)
    if not missed.any():
        return certificate
    worst, least = float(np.max(bound[missed])), float(np.min(allowed[missed]))
    where = f"{int(missed.sum())} of {missed.size} batch items" if missed.ndim else "this item"
    reason = (
        f"the tolerance is not certified for {where}: bounds reach {worst:.3g}, and the narrowest "
        f"column allows {least:.3g}"
    )
    return replace(certificate, unmet=(*certificate.unmet, reason))


def kind_of(failure: float) -> str:
    """Say how sure a bound is that fails with this probability."""
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
