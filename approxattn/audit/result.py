"""What `audit` returns: the errors of the rows recomputed, and what they say about the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from approxattn._arrays import HostArray
from approxattn.audit.figure import draw_against_bounds, draw_audit
from approxattn.bounds.order_statistics import Stratum, order_for, split
from approxattn.bounds.rounding import up
from approxattn.certificate import Approximation, Certificate
from approxattn.certificate.record import Record


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Baseline(Record):
    """What a trivial output would have scored on the same rows.

    Attributes
    ----------
    errors : ndarray, shape (s,)
        Largest absolute error of each row.
    relative_error : float
        Frobenius norm of the error over that of the exact rows.
    """

    errors: HostArray
    relative_error: float

    def _summary(self) -> str:
        worst = float(np.max(self.errors, initial=0.0))
        return f"largest error {worst:.3g}, relative {self.relative_error:.3g}"

    def _table(self) -> dict[str, str]:
        return {"relative Frobenius error": f"{self.relative_error:.3g}"}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Audit(Record):
    """What a sample of recomputed rows says about an output.

    Attributes
    ----------
    rows : ndarray of int, shape (s, number of leading axes + 1)
        The rows recomputed: leading batch index and query.
    errors : ndarray, shape (s,)
        Upper bounds on the largest absolute error of each of them.
    population : int
        Number of rows of the output.
    confidence : float
        Probability, over the draw of the rows, of the statement about the others.
    relative_error : float
        Frobenius norm of the error over that of the exact rows, on the sample; not a bound. inf
        where the exact rows are 0 and the output is not.
    baselines : mapping of str to Baseline
        The same for two trivial outputs, "zero output" and "mean of v" (over the keys a row may
        look at): an output no better than these says nothing.
    concentration : ndarray, shape (s,)
        Share ``1/|p|^2 / m`` of the visible keys that each row attends to, from 1/m for a single
        key to 1 for equal weights.
    """

    rows: HostArray
    errors: HostArray
    population: int
    confidence: float
    relative_error: float
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    concentration: HostArray = field(default_factory=lambda: np.zeros(0))

    theorem: ClassVar[str] = "ours.audit-binomial"
    _derived: ClassVar[tuple[str, ...]] = ("largest", "exceeding", "complete", "theorem")

    @property
    def complete(self) -> bool:
        """Whether all rows were recomputed; the statement then holds surely."""
        return self.errors.size == self.population

    @property
    def largest(self) -> float:
        """Largest error found."""
        return float(np.max(self.errors, initial=0.0))

    @property
    def exceeding(self) -> float:
        """With the confidence stated, at most this fraction of the rows errs by more than
        `largest`: 1 - (1 - confidence)^(1/s).
        """
        return (
            0.0
            if self.complete
            else float(up(-math.expm1(math.log1p(-self.confidence) / self.errors.size)))
        )

    def strata(self) -> tuple[Stratum, ...]:
        """Return the same statement for sharp, middling and flat rows, each by itself.

        Returns
        -------
        tuple of Stratum
            From few keys to many.
        """
        return split(self.errors, self.concentration, self.confidence, complete=self.complete)

    def quantile(self, fraction: float) -> float:
        """Return an error that, with the confidence stated, at least `fraction` of all rows do not
        exceed.

        Parameters
        ----------
        fraction : float
            In (0, 1].

        Returns
        -------
        float
            The smallest error of the sample that earns the statement; inf when the sample is too
            small for this fraction.

        Raises
        ------
        ValueError
            If `fraction` is not in (0, 1].
        """
        if not 0 < fraction <= 1:
            msg = f"fraction(={fraction}) must lie in (0, 1], e.g. 0.9 for nine rows of ten"
            raise ValueError(msg)
        rank = order_for(self.population, self.errors.size, fraction, self.confidence)
        return (
            float(np.sort(self.errors)[rank - 1])
            if 0 < rank <= self.errors.size
            else (math.inf if rank else 0.0)
        )

    def plot(self, certificate: Approximation | Certificate | None = None, ax: Any = None) -> Any:
        """Draw the errors found, against their bounds where a certificate is given.

        Parameters
        ----------
        certificate : Certificate or Approximation, optional
            Of the output audited: each error is then drawn against the bound of its row. None: the
            errors are drawn sorted, with the error that each share of all rows does not exceed
            (`quantile`), and the largest errors of the two trivial outputs.
        ax : matplotlib Axes, optional
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib Axes
            Errors and bounds in the units of v, on logarithmic axes.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If the certificate has other rows than the output audited.
        """
        if certificate is None:
            sure = "surely" if self.complete else f"{100 * self.confidence:g} % confidence"
            title = f"Audit of {self.errors.size} of {self.population} rows, {sure}"
            return draw_audit(self.errors, self._promises(), self._trivial(), title, ax)
        given = certificate if isinstance(certificate, Certificate) else certificate.certificate
        if given.rows.size != self.population or given.rows.ndim != self.rows.shape[1]:
            msg = (
                f"certificate has bounds of shape {given.rows.shape}, but {self.population} rows "
                f"with {self.rows.shape[1] - 1} leading axes were audited: pass the certificate "
                "that came with this output"
            )
            raise ValueError(msg)
        bounds = given.rows[tuple(np.moveaxis(self.rows, -1, 0))]
        return draw_against_bounds(self.errors, bounds, given.target, ax)

    def _promises(self) -> tuple[HostArray, HostArray]:
        """Return shares of all rows, and the errors that these do not exceed."""
        shares = np.arange(1, 100) / 100
        return shares, np.array([self.quantile(float(share)) for share in shares])

    def _trivial(self) -> dict[str, float]:
        """Return the largest errors of the trivial outputs."""
        return {name: float(np.max(b.errors, initial=0.0)) for name, b in self.baselines.items()}

    def _summary(self) -> str:
        if self.complete:
            return f"all {self.population} rows, none errs by more than {self.largest:.3g}, surely"
        return (
            f"{self.errors.size} of {self.population} rows, largest error {self.largest:.3g}; with "
            f"{100 * self.confidence:g} % confidence at most {100 * self.exceeding:.3g} % of all "
            "rows err more"
        )

    def _table(self) -> dict[str, str]:
        trivial = {
            f"the same, {name}": f"{b.relative_error:.3g}" for name, b in self.baselines.items()
        }
        return {
            "rows recomputed": f"{self.errors.size} of {self.population}",
            "largest error": f"{self.largest:.3g}",
            "rows that err more": f"at most {100 * self.exceeding:.3g} %",
            "confidence": "surely" if self.complete else f"{100 * self.confidence:g} %",
            "relative Frobenius error": f"{self.relative_error:.3g}",
            **trivial,
            "theorem": self.theorem,
        }

    def __str__(self) -> str:
        nulls = ", ".join(
            f"{name} {null.relative_error:.3g}" for name, null in self.baselines.items()
        )
        relative = f"relative Frobenius error on these rows {self.relative_error:.3g} ({nulls})"
        if self.complete:
            return (
                f"All {self.population} rows were recomputed: none errs by more than "
                f"{self.largest:.3g}, surely; {relative}."
            )
        return (
            f"Of {self.population} rows {self.errors.size} were drawn and recomputed: with "
            f"{100 * self.confidence:g} % confidence at most {100 * self.exceeding:.3g} % of the "
            f"rows err by more than {self.largest:.3g} in any entry, by theorem [{self.theorem}]; "
            f"{relative}."
        )
