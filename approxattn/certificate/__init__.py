"""What every result carries: how far from the exact answer it can be, why, and by which theorem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn.certificate.bounds_figure import draw_bounds
from approxattn.certificate.deferred import Deferred
from approxattn.certificate.read_only import ReadOnlyDict
from approxattn.certificate.record import NotAnArray, Record, described_array, sizes
from approxattn.certificate.wording import facts_and_reasons, kind_of, tabled


def _nothing() -> None:
    """Return None: what a field is that nobody gave."""


SOFTMAX = "softmax attention"
SOFTMAX_GRADIENT = "the gradient of softmax attention"


@dataclass(frozen=True, kw_only=True, repr=False)
class Certificate(Deferred, Record):
    """A bound on the error of one result.

    It lives on the host, in float64, whatever the result's array library. That of a call is
    computed when it is first looked at, printed, copied or pickled, from numbers kept at the call:
    the caller's arrays may have changed by then, or be gone.

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
    lse : ndarray, shape (..., n_q), or None
        Bound on the error of `Approximation.lse` in each row; None where that is None.
    """

    rows: HostArray
    target: str
    theorem: str
    failure: float = field(default_factory=float)
    facts: Mapping[str, Any] = field(default_factory=dict)
    unmet: tuple[str, ...] = field(default_factory=tuple)
    promised: HostArray | None = field(default_factory=_nothing)
    lse: HostArray | None = field(default_factory=_nothing)

    _derived: ClassVar[tuple[str, ...]] = ("bound", "kind")

    def __post_init__(self) -> None:
        _freeze(self, ("rows",) if self.lse is None else ("rows", "lse"))
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

    def plot(self, ax: Any = None) -> Any:
        """Draw the bounds of all rows, sorted: which share of the rows is known how well.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib Axes
            Bounds in the units of v, on a logarithmic axis; rows without a bound are a grey band.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        return draw_bounds(self.rows, self.target, self.kind, ax)

    def _summary(self) -> str:
        return f"{sizes(self.rows.shape)}, {self._sentence()}"

    def _sentence(self) -> str:
        lost = int(np.count_nonzero(np.isinf(self.rows)))
        if lost:
            which = "any row" if lost == self.rows.size else f"{lost} of {self.rows.size} rows"
            return f"no bound for {which} [{self.theorem}]"
        worst = float(np.max(self.rows, initial=0.0))
        return f"within {worst:.3g} of {self.target}, {self.kind} [{self.theorem}]"

    def _table(self) -> dict[str, str]:
        finite = self.rows[np.isfinite(self.rows)]
        middle = f"{float(np.median(finite)):.3g}" if finite.size else "none"
        return {
            "largest bound": f"{float(np.max(self.rows, initial=0.0)):.3g}",
            "median bound": middle,
            "rows without a bound": str(self.rows.size - finite.size),
            "measured against": self.target,
            "holds": self.kind,
            "theorem": self.theorem,
            **tabled(self.facts, self.unmet),
        }

    def __str__(self) -> str:
        worst = float(np.max(self.bound, initial=0.0))
        given, reasons = facts_and_reasons(self.facts, self.unmet)
        if np.isinf(worst):
            return (
                f"No bound on the distance to {self.target} can be given "
                f"[{self.theorem}]{given}.{reasons}"
            )
        return (
            f"Every entry is within {worst:.3g} of {self.target}, {self.kind}, by theorem "
            f"[{self.theorem}]{given}.{reasons}"
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientCertificate(Deferred, Record):
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
    failure: float = field(default_factory=float)
    facts: Mapping[str, Any] = field(default_factory=dict)
    unmet: tuple[str, ...] = field(default_factory=tuple)

    _derived: ClassVar[tuple[str, ...]] = ("kind",)

    def __post_init__(self) -> None:
        _freeze(self, ("dq", "dk", "dv"))

    @property
    def kind(self) -> str:
        """`surely`, or `with probability >= 1 - delta`."""
        return kind_of(self.failure)

    def _worst(self) -> dict[str, float]:
        return {x: float(np.max(getattr(self, x), initial=0.0)) for x in ("dq", "dk", "dv")}

    def _summary(self) -> str:
        bounds = ", ".join(f"{name} within {worst:.3g}" for name, worst in self._worst().items())
        return f"{bounds}, {self.kind} [{self.theorem}]"

    def _table(self) -> dict[str, str]:
        bounds = {f"largest bound, {name}": f"{x:.3g}" for name, x in self._worst().items()}
        return {
            **bounds,
            "measured against": self.target,
            "holds": self.kind,
            "theorem": self.theorem,
            **tabled(self.facts, self.unmet),
        }

    def __str__(self) -> str:
        given, reasons = facts_and_reasons(self.facts, self.unmet)
        bounds = ", ".join(f"{name} within {worst:.3g}" for name, worst in self._worst().items())
        return (
            f"{bounds} of {self.target}, {self.kind}, by theorem [{self.theorem}]{given}.{reasons}"
        )


NOT_ASKED = "certify=False: no bound was asked for"


def unclaimed(shape: tuple[int, ...], *, lse: bool = False) -> Certificate:
    """Return the certificate of a call with certify=False, for rows of that shape."""
    rows = np.broadcast_to(np.inf, shape)
    of_lse = rows if lse else None
    return Certificate(rows=rows, target=SOFTMAX, theorem="none", unmet=(NOT_ASKED,), lse=of_lse)


def unclaimed_gradient(
    target: str, of_q: tuple[int, ...], of_k: tuple[int, ...], of_v: tuple[int, ...]
) -> GradientCertificate:
    """Return that of a gradient, for rows of these shapes."""
    dq, dk, dv = (np.broadcast_to(np.inf, shape) for shape in (of_q, of_k, of_v))
    return GradientCertificate(
        dq=dq, dk=dk, dv=dv, target=target, theorem="none", unmet=(NOT_ASKED,)
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


@dataclass(frozen=True, kw_only=True, repr=False)
class Approximation(NotAnArray, Record):
    """An attention output and its certificate.

    Attributes
    ----------
    value : array, shape (..., n_q, dv)
        Same library, device and dtype as the input (float64 for integer input).
    certificate : Certificate
        How far `value` can be from its target.
    lse : array, shape (..., n_q), or None
        ln sum_j e^{s_ij} over the keys that query i sees, in the dtype computed in; -inf for a
        query that sees none. None unless the call asked for it.
    """

    value: Array
    certificate: Certificate
    lse: Array | None = None

    _instead: ClassVar[str] = "out.value"
    _heavy: ClassVar[tuple[str, ...]] = ("value", "lse")

    def _summary(self) -> str:
        return f"value {described_array(self.value)}, {self.certificate._sentence()}"

    def _table(self) -> dict[str, str]:
        return {"value": described_array(self.value), **self.certificate._table()}


@dataclass(frozen=True, kw_only=True, repr=False)
class Gradients(NotAnArray, Record):
    """Gradients of attention with respect to its inputs, for one cotangent of the output.

    Attributes
    ----------
    dq, dk, dv : array, shapes of q, k, v
        In the library, device and dtype of the input.
    certificate : GradientCertificate
        How far they can be from their target.
    parameters : mapping of str to array
        Gradients with respect to arrays that belong to the method, by the name of the method's
        field, such as the projections of `Linformer`, and to "sinks".
    """

    dq: Array
    dk: Array
    dv: Array
    certificate: GradientCertificate
    parameters: Mapping[str, Array] = field(default_factory=dict)

    _instead: ClassVar[str] = "grads.dq"
    _heavy: ClassVar[tuple[str, ...]] = ("dq", "dk", "dv", "parameters")

    def _summary(self) -> str:
        shapes = ", ".join(f"{name} {shape}" for name, shape in self._shapes().items())
        return f"{shapes}; {self.certificate._summary()}"

    def _shapes(self) -> dict[str, str]:
        named = {"dq": self.dq, "dk": self.dk, "dv": self.dv, **self.parameters}
        return {name: described_array(x) for name, x in named.items()}

    def _table(self) -> dict[str, str]:
        return {**self._shapes(), **self.certificate._table()}
