"""What happens to a result on its way to the caller: it is looked at, narrowed, summed.

Each step joins the certificate, so that the bound speaks of the array that is returned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.crossing import at_hand, far
from approxattn._problem import Problem
from approxattn.bounds.rounding import gamma, up
from approxattn.certificate import Approximation, Certificate, GradientCertificate, Gradients


def as_input(result: Gradients, inputs: tuple[Array, Array, Array], problem: Problem) -> Gradients:
    """Return gradients in the shapes and the dtype of the inputs; sums over broadcast axes and the
    narrowing join the certificate.

    Hidden keys have no effect: their rows are 0, surely. A sum over axes fails when one of its
    items does, so the probabilities of these add up.
    """
    values: dict[str, Array] = {}
    steps: dict[str, _Steps] = {}
    repeated: set[int] = set()
    for name, original in zip(("dq", "dk", "dv"), inputs, strict=True):
        value = getattr(result, name)
        value = value if name == "dq" else problem.shown(value)
        leading = tuple(original.shape[:-2])
        repeated.update(_repeated(leading, problem))
        values[name], steps[name] = _as_one(value, leading, problem)
    count = math.prod(problem.batch[i] for i in repeated)
    shown = None if problem.key_mask is None else np.array(_arrays.to_host(problem.key_mask))
    told = shown, steps, count, problem.out_dtype
    return replace(result, **values, certificate=result.certificate.then(_with_steps, *told))


class _Steps(NamedTuple):
    """What happened to one part of a gradient.

    Attributes
    ----------
    shape : tuple of int
        Of its rows, as they are handed out.
    axes : tuple of int
        Over which it was summed, `items` numbers each.
    rounding : float
        gamma of such a sum.
    summed : array or None
        Largest absolute entries of what was summed, 1 along these axes, at hand.
    sizes : array or None
        Largest absolute entry of each row before it was narrowed, at hand; None where it was not.
    finite : array or None
        As `finite_rows`.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    items: int
    rounding: float
    summed: Array | None
    sizes: Array | None
    finite: Array | None


def _as_one(value: Array, leading: tuple[int, ...], problem: Problem) -> tuple[Array, _Steps]:
    """Return a part of a gradient summed over the axes along which its input was repeated, and in
    the caller's dtype.
    """
    xp, axes = problem.xp, _repeated(leading, problem)
    count = math.prod(problem.batch[i] for i in axes)
    summed = sizes = None
    if axes and 0 not in value.shape:
        summed = at_hand(xp.max(xp.abs(value), axis=(*axes, value.ndim - 1), keepdims=True))[..., 0]
    value = xp.sum(value, axis=axes, keepdims=True) if axes else value
    value = xp.reshape(value, (*leading, *value.shape[-2:]))
    if problem.out_dtype != problem.dtype:
        sizes = _row_sizes(value, xp)
        value = _arrays.cast(value, problem.out_dtype, xp)
    rounding, finite = gamma(count + 2, problem.u), finite_rows(value, xp)
    return value, _Steps(tuple(value.shape[:-1]), axes, count, rounding, summed, sizes, finite)


def _with_steps(
    certificate: GradientCertificate,
    shown: HostArray | None,
    steps: Mapping[str, _Steps],
    count: int,
    out_dtype: str,
) -> GradientCertificate:
    """Return the certificate of the parts after their steps; `count` items were summed at most."""
    bounds: dict[str, HostArray] = {}
    reasons: list[str] = []
    for name, step in steps.items():
        rows = getattr(certificate, name)
        if name != "dq" and shown is not None:
            rows = np.where(shown, rows, 0.0)
        rows = with_narrowing(unbroadcast(rows, step), step.sizes, out_dtype)
        rows, why = looked_at(name, step.finite, rows, out_dtype)
        bounds[name] = rows
        reasons += why
    return replace(
        certificate,
        dq=bounds["dq"],
        dk=bounds["dk"],
        dv=bounds["dv"],
        failure=min(1.0, certificate.failure * count),
        unmet=(*certificate.unmet, *reasons),
    )


def unbroadcast(rows: HostArray, step: _Steps) -> HostArray:
    """Return the bounds of a sum over the axes along which the input was repeated."""
    if step.axes:
        size = np.zeros(()) if step.summed is None else _arrays.to_host(step.summed)
        rounded = np.where(size > 0, step.rounding * step.items * size, 0.0)
        rows = up(np.sum(rows, axis=step.axes, keepdims=True) + rounded)
    return np.reshape(rows, step.shape)


def _repeated(leading: tuple[int, ...], problem: Problem) -> tuple[int, ...]:
    """Return the batch axes along which an input of these leading axes was repeated."""
    padded = (1,) * (len(problem.batch) - len(leading)) + leading
    pairs = zip(problem.batch, padded, strict=True)
    return tuple(i for i, (have, want) in enumerate(pairs) if have != want)


def finite_rows(value: Array, xp: Namespace) -> Array | None:
    """Return which rows hold numbers only, shape (..., n), which may be far; None where all do."""
    finite = xp.isfinite(value)
    if far(value):
        return xp.all(finite, axis=-1)
    return None if bool(xp.all(finite)) else _arrays.to_host(xp.all(finite, axis=-1))


def looked_at(
    name: str, finite: Array | None, rows: HostArray, out_dtype: str
) -> tuple[HostArray, tuple[str, ...]]:
    """Return the bounds of the rows, inf for each that is not among the `finite_rows`, and the
    reason if a bound was finite there.
    """
    gone = ~np.ones((), bool) if finite is None else ~_arrays.to_host(finite)
    if not np.any(gone):
        return rows, ()
    news = int(np.count_nonzero(gone & np.isfinite(rows)))
    reason = (
        f"{news} row(s) of {name} are NaN or infinite, beyond what {out_dtype} holds: use "
        "float64, or smaller numbers"
    )
    return np.where(gone, np.inf, rows), (reason,) if news else ()


def with_lost_rows(
    certificate: Certificate, name: str, finite: Array | None, out_dtype: str
) -> Certificate:
    """Return the certificate of a value, shape (..., n), after a look at its rows."""
    rows, reasons = looked_at(name, finite, certificate.rows, out_dtype)
    if rows is certificate.rows:
        return certificate
    return replace(certificate, rows=rows, unmet=(*certificate.unmet, *reasons))


def narrow(result: Approximation, problem: Problem) -> Approximation:
    """Return the result in the caller's dtype; the rounding of a narrower one joins the
    certificate.
    """
    if problem.out_dtype == problem.dtype:
        return result
    value = _arrays.cast(result.value, problem.out_dtype, problem.xp)
    sizes = _row_sizes(result.value, problem.xp)
    certificate = result.certificate.then(_narrowed, sizes, problem.out_dtype)
    return replace(result, value=value, certificate=certificate)


def _narrowed(certificate: Certificate, sizes: Array | None, out_dtype: str) -> Certificate:
    return replace(certificate, rows=with_narrowing(certificate.rows, sizes, out_dtype))


def _row_sizes(value: Array, xp: Namespace) -> Array | None:
    """Return the largest absolute entry of each row, at hand; None where there is none."""
    return None if 0 in value.shape else at_hand(xp.max(xp.abs(value), axis=-1))


def with_narrowing(rows: HostArray, sizes: Array | None, out_dtype: str) -> HostArray:
    """Return the bounds of rows that became narrower, given the `sizes` that they had; what became
    infinite is left to `looked_at`.
    """
    if sizes is None:
        return rows
    u, tiny = _arrays.unit_roundoff(out_dtype), _arrays.smallest_normal(out_dtype)
    return up(rows + 2 * u * _arrays.to_host(sizes) + 2 * tiny)


def poison(result: Approximation, bad: HostArray, problem: Problem) -> Approximation:
    """Return NaN, with no bound, for the batch items that held NaN or infinity."""
    bad = np.broadcast_to(bad, problem.batch)
    mask = _arrays.from_host(np.array(bad)[..., None, None], problem.q)
    value = problem.xp.where(mask, problem.xp.full_like(result.value, problem.xp.nan), result.value)
    lse = result.lse
    if lse is not None:
        lse = problem.xp.where(mask[..., 0], problem.xp.full_like(lse, problem.xp.nan), lse)
    return Approximation(value=value, certificate=result.certificate.then(_poisoned, bad), lse=lse)


def _poisoned(certificate: Certificate, bad: HostArray) -> Certificate:
    of_lse = certificate.lse
    return replace(
        certificate,
        rows=np.where(bad[..., None], np.inf, certificate.rows),
        lse=None if of_lse is None else np.where(bad[..., None], np.inf, of_lse),
        unmet=(*certificate.unmet, f"{int(bad.sum())} batch item(s) hold NaN or infinity"),
    )
