"""What a call that writes to files returns: what lies on the disk, and how good it is."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from approxattn._arrays import HostArray
from approxattn.certificate import Certificate, GradientCertificate
from approxattn.certificate.record import NotAnArray, Record


@dataclass(frozen=True, kw_only=True, repr=False)
class Written(NotAnArray, Record):
    """An attention output on the disk, and what its certificate says.

    Attributes
    ----------
    path : Path
        The output.
    value : memmap or zarr array, shape (..., n_q, dv)
        The output, opened to be read.
    rows : memmap, shape (..., n_q)
        Bound on the largest absolute error of each row.
    bound : ndarray, shape (...)
        Largest of `rows`, one per leading index.
    target, theorem, failure, facts, unmet, promised
        As in `Certificate`, of all blocks together.
    """

    path: Path
    value: Any
    rows: HostArray
    bound: HostArray
    target: str
    theorem: str
    failure: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()
    promised: HostArray | None = None

    _instead: ClassVar[str] = "out.value"
    _heavy: ClassVar[tuple[str, ...]] = ("value", "rows")

    @functools.cached_property
    def certificate(self) -> Certificate:
        """The whole certificate; reads the bounds of all rows into memory."""
        return self._of(np.asarray(self.rows))

    def _of(self, rows: HostArray) -> Certificate:
        """Return the certificate with these bounds."""
        return Certificate(
            rows=rows,
            target=self.target,
            theorem=self.theorem,
            failure=self.failure,
            facts=self.facts,
            unmet=self.unmet,
            promised=self.promised,
        )

    def _summary(self) -> str:
        return f"{self.path.name} {self.value.dtype} {tuple(self.value.shape)}, {self._sentence()}"

    def _sentence(self) -> str:
        return self._of(self.bound[..., None])._sentence()

    def _table(self) -> dict[str, str]:
        return {"path": str(self.path), "largest bound": f"{float(np.max(self.bound)):.3g}"}


@dataclass(frozen=True, kw_only=True, repr=False)
class WrittenGradients(NotAnArray, Record):
    """The gradients of attention on the disk, and what their certificate says.

    Attributes
    ----------
    path : Path
        What their names begin with: `path`.dq.npy and so on.
    dq, dk, dv : memmap or zarr array, shapes of q, k, v
        The gradients, opened to be read.
    rows : mapping of str to memmap
        Bounds on the largest absolute error of each row of "dq", "dk", "dv".
    bound : mapping of str to ndarray, shape (...)
        Largest of these, one per leading index.
    target, theorem, failure, facts, unmet
        As in `GradientCertificate`, of all blocks together.
    """

    path: Path
    dq: Any
    dk: Any
    dv: Any
    rows: Mapping[str, HostArray]
    bound: Mapping[str, HostArray]
    target: str
    theorem: str
    failure: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()

    _instead: ClassVar[str] = "grads.dq"
    _heavy: ClassVar[tuple[str, ...]] = ("dq", "dk", "dv", "rows")

    @functools.cached_property
    def certificate(self) -> GradientCertificate:
        """The whole certificate; reads the bounds of all rows into memory."""
        return self._of({name: np.asarray(rows) for name, rows in self.rows.items()})

    def _of(self, rows: Mapping[str, HostArray]) -> GradientCertificate:
        """Return the certificate with these bounds."""
        return GradientCertificate(
            **rows,
            target=self.target,
            theorem=self.theorem,
            failure=self.failure,
            facts=self.facts,
            unmet=self.unmet,
        )

    def _summary(self) -> str:
        bounds = {name: bound[..., None] for name, bound in self.bound.items()}
        return f"{self.path.name} {self.dq.dtype}: {self._of(bounds)._summary()}"

    def _table(self) -> dict[str, str]:
        worst = {f"largest bound, {n}": f"{float(np.max(b)):.3g}" for n, b in self.bound.items()}
        return {"path": str(self.path), **worst}
