"""Every method on the eight shipped heads of a real model, in float64 and float32: how far it is
off, and whether its certificate holds.

The heads are float32, so both dtypes compute the same problem. Exact attention is enclosed by ball
arithmetic for all rows; YOSO-E, which takes an arccos for every pair, for every eighth row. A float
bound on the distance to an enclosure is |x - m| + r, m the midpoint rounded to float64 and r what
that rounding and the radius can take.

A relative error is that of the Frobenius norm, against exact softmax attention, also for methods
whose certificate speaks of something else. Two outputs that need no attention are the baselines:
zero (error 1) and the mean of V in every row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import approxattn as aa
from approxattn.data import Heads, minilm_heads
from proofs_check.arithmetic.balls import Rows, exact_attention, precision, upper, yoso_expectation
from proofs_check.report.head_methods import YOSO_BITS, methods

DTYPES = ("float64", "float32")

YOSO_ROWS = 8
"""YOSO-E is enclosed for every row whose index is a multiple of this. *Chosen*: a second in all
instead of ten.
"""

SHOWN = (3, 0)
"""Layer and head of the example of `audit` and `diagnose`: the one with the largest scores."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One method on one head.

    Attributes
    ----------
    error : float
        Frobenius norm of the error over that of exact attention; NaN when the method refused.
    rescaled : float
        The same for the best multiple of the output: what is left when a method may be off by a
        constant factor.
    bound : float
        Bound of the certificate on the largest absolute error; inf when there is none.
    trivial : float
        What is known without any computation: for softmax attention max - min of a column of V, for
        YOSO-E the l1 norm of a column, the largest.
    ratio : float or None
        Upper bound on the largest error / bound over the rows that were enclosed; None without a
        finite bound.
    reason : str
        Why the method refused, or why there is no bound; empty otherwise.
    """

    error: float = math.nan
    rescaled: float = math.nan
    bound: float = math.inf
    trivial: float = math.nan
    ratio: float | None = None
    reason: str = ""

    @property
    def refused(self) -> bool:
        """Whether there is no output."""
        return math.isnan(self.error)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One method in one dtype on all heads, in the order of `Measurement.heads`; `claim` names the
    theorem about its code, if there is one.
    """

    family: str
    label: str
    claim: str
    method: str
    dtype: str
    target: str
    kind: str
    theorem: str
    runs: tuple[Run, ...]

    def errors(self) -> list[float]:
        """Relative errors of the heads that were computed."""
        return [run.error for run in self.runs if not run.refused]

    def summary(self, name: str) -> tuple[float, float] | None:
        """Median and largest of ``error``, ``rescaled`` or ``share`` (bound / trivial) over the
        heads computed; None without any.
        """
        done = [run for run in self.runs if not run.refused]
        numbers = [
            run.bound / run.trivial if name == "share" else getattr(run, name) for run in done
        ]
        return (float(np.median(numbers)), max(numbers)) if numbers else None

    @property
    def ratio(self) -> float | None:
        """Largest error / bound over the heads; None when no head has a finite bound."""
        return max((run.ratio for run in self.runs if run.ratio is not None), default=None)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The different reasons for refusals and missing bounds."""
        return tuple(dict.fromkeys(run.reason for run in self.runs if run.reason))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """All of it.

    Attributes
    ----------
    description : str
        Where the heads come from.
    heads : tuple of str
        Their names.
    lines : tuple of Line
        One per method and dtype.
    mean_of_v : tuple of float
        Relative error of the mean of V on each head; that of the zero output is 1.
    example : str
        The head of the next two.
    diagnosis, audit : str
        What `diagnose` says of that head, and `audit` of a polynomial method on it.
    """

    description: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]
    mean_of_v: tuple[float, ...]
    example: str
    diagnosis: str
    audit: str


@dataclass(frozen=True, kw_only=True)
class _Target:
    """Midpoints of an enclosure, their slack, and the rows they are of."""

    middle: np.ndarray
    slack: np.ndarray
    rows: np.ndarray

    def errors(self, value: np.ndarray) -> np.ndarray:
        """Upper bound on the largest error of each row enclosed; inf where the output is not
        finite.
        """
        gap = np.abs(value[self.rows].astype(np.float64) - self.middle)
        largest = np.max(gap * (1 + 2.0**-50) + self.slack, axis=-1)
        return np.where(np.isfinite(largest), largest, np.inf)


def _target(enclosure: Rows, rows: np.ndarray) -> _Target:
    middle = np.array([[float(x.mid()) for x in row] for row in enclosure])
    with precision(128):
        slack = np.array(
            [
                [upper(abs(x - m)) for x, m in zip(r, ms, strict=True)]
                for r, ms in zip(enclosure, middle.tolist(), strict=True)
            ]
        )
    return _Target(middle=middle, slack=slack, rows=rows)


@dataclass(frozen=True, kw_only=True)
class _Head:
    """One head with what its outputs are held against."""

    name: str
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    softmax: _Target
    yoso: _Target


def _head(heads: Heads, layer: int, head: int) -> _Head:
    q, k, v = (x[layer, head] for x in (heads.q, heads.k, heads.v))
    exact = [x.astype(np.float64) for x in (q, k, v)]
    every, some = np.arange(q.shape[0]), np.arange(0, q.shape[0], YOSO_ROWS)
    return _Head(
        name=f"{heads.layers[layer]}.{heads.heads[head]}",
        q=q,
        k=k,
        v=v,
        softmax=_target(exact_attention(*exact), every),
        yoso=_target(yoso_expectation(exact[0][some], *exact[1:], bits=YOSO_BITS), some),
    )


def measure(seed: int = 0) -> Measurement:
    """Run every method on every shipped head.

    Parameters
    ----------
    seed : int
        Of the randomised methods: head number i draws from ``default_rng([seed, i])``.
    """
    heads = minilm_heads()
    found = [_head(heads, i, j) for i in range(len(heads.layers)) for j in range(len(heads.heads))]
    lines = tuple(_lines(found, seed))
    shown = next(head for head in found if head.name == f"{SHOWN[0]}.{SHOWN[1]}")
    method = aa.Polynomial(degree=8, basis="taylor")
    value = aa.attention(shown.q, shown.k, shown.v, method).value
    audit = aa.audit(value, shown.q, shown.k, shown.v, rows=64, rng=np.random.default_rng(seed))
    return Measurement(
        description=heads.description,
        heads=tuple(head.name for head in found),
        lines=lines,
        mean_of_v=tuple(
            _relative(np.broadcast_to(h.v.mean(axis=0, dtype=float), h.v.shape), h.softmax.middle)
            for h in found
        ),
        example=shown.name,
        diagnosis=str(aa.diagnose(shown.q, shown.k, shown.v)),
        audit=f"{method}: {audit}",
    )


def _lines(heads: list[_Head], seed: int) -> Iterator[Line]:
    for family, label, claim, method in methods(heads[0].q.shape[0]):
        for dtype in DTYPES:
            done = [_run(head, method, dtype, [seed, i]) for i, head in enumerate(heads)]
            certificate = next((c for _, c in done if c is not None), None)
            yield Line(
                family=family,
                label=label,
                claim=claim,
                method=repr(method),
                dtype=dtype,
                runs=tuple(run for run, _ in done),
                target="" if certificate is None else certificate.target,
                kind="" if certificate is None else certificate.kind,
                theorem="" if certificate is None else certificate.theorem,
            )


def _run(
    head: _Head, method: Any, dtype: str, seed: list[int]
) -> tuple[Run, aa.Certificate | None]:
    q, k, v = (x.astype(dtype) for x in (head.q, head.k, head.v))
    try:
        out = aa.attention(
            q, k, v, method, rng=np.random.default_rng(seed) if method.randomised else None
        )
    except ValueError as error:
        return Run(reason=str(error)), None
    certificate = out.certificate
    sampled = certificate.target != "softmax attention"
    target = head.yoso if sampled else head.softmax
    bounds = certificate.rows[target.rows]
    value = out.value.astype(np.float64)
    run = Run(
        error=_relative(value, head.softmax.middle),
        rescaled=_rescaled(value, head.softmax.middle),
        bound=float(certificate.bound),
        trivial=float(np.max(np.abs(v).sum(axis=0) if sampled else np.ptp(v, axis=0))),
        ratio=float(np.max(target.errors(out.value) / bounds))
        if np.isfinite(bounds).all()
        else None,
        reason="; ".join(certificate.unmet),
    )
    return run, certificate


def _relative(value: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(value - exact) / np.linalg.norm(exact))


def _rescaled(value: np.ndarray, exact: np.ndarray) -> float:
    size = float(np.sum(value * value))
    return _relative(value * (float(np.sum(value * exact)) / size if size else 0.0), exact)
