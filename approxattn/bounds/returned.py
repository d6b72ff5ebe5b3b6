"""What happens to a result on its way to the caller: it is looked at, narrowed, summed.

Each step joins the certificate, so that the bound speaks of the array that is returned.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.rounding import gamma, up
from approxattn.certificate import Approximation, Gradients


def as_input(result: Gradients, inputs: tuple[Array, Array, Array], problem: Problem) -> Gradients:
    """Return gradients in the shapes and the dtype of the inputs; sums over broadcast axes and the
    narrowing join the certificate.

    Hidden keys have no effect: their rows are 0, surely. A sum over axes fails when one of its
    items does, so the probabilities of these add up.
    """
    certificate, shown = result.certificate, _shown_keys(problem)
    values: list[Array] = []
    bounds: list[HostArray] = []
    reasons: list[str] = []
    repeated: set[int] = set()
    for name, original in zip(("dq", "dk", "dv"), inputs, strict=True):
        value, rows = getattr(result, name), getattr(certificate, name)
        if name != "dq" and shown is not None:
            value, rows = problem.shown(value), np.where(shown, rows, 0.0)
        leading = tuple(original.shape[:-2])
        repeated.update(_repeated(leading, problem))
        value, rows = narrowed(*unbroadcast(value, rows, leading, problem), problem)
        rows, why = looked_at(name, value, rows, problem)
        values.append(value)
        bounds.append(rows)
        reasons += why
    count = math.prod(problem.batch[i] for i in repeated)
    certificate = replace(
        certificate,
        dq=bounds[0],
        dk=bounds[1],
        dv=bounds[2],
        failure=min(1.0, certificate.failure * count),
        unmet=(*certificate.unmet, *reasons),
    )
    return replace(result, dq=values[0], dk=values[1], dv=values[2], certificate=certificate)


def _shown_keys(problem: Problem) -> HostArray | None:
    return None if problem.key_mask is None else _arrays.to_host(problem.key_mask)


def looked_at(
    name: str, value: Array, rows: HostArray, problem: Problem
) -> tuple[HostArray, tuple[str, ...]]:
    """Return the bounds of the rows, inf for each that holds NaN or infinity, and the reason if a
    bound was finite there.
    """
    xp = problem.xp
    finite = xp.isfinite(value)
    if bool(xp.all(finite)):
        return rows, ()
    gone = ~_arrays.to_host(xp.all(finite, axis=-1))
    news = int(np.count_nonzero(gone & np.isfinite(rows)))
    reason = (
        f"{news} row(s) of {name} are NaN or infinite, beyond what {problem.out_dtype} holds: use "
        "float64, or smaller numbers"
    )
    return np.where(gone, np.inf, rows), (reason,) if news else ()


def _repeated(leading: tuple[int, ...], problem: Problem) -> tuple[int, ...]:
    """Return the batch axes along which an input of these leading axes was repeated."""
    padded = (1,) * (len(problem.batch) - len(leading)) + leading
    pairs = zip(problem.batch, padded, strict=True)
    return tuple(i for i, (have, want) in enumerate(pairs) if have != want)


def unbroadcast(
    value: Array, rows: HostArray, leading: tuple[int, ...], problem: Problem
) -> tuple[Array, HostArray]:
    """Sum over the leading axes along which the input was repeated."""
    axes = _repeated(leading, problem)
    if axes:
        count = math.prod(problem.batch[i] for i in axes)
        size = np.zeros(())
        if 0 not in value.shape:
            size = _arrays.to_float64(
                problem.xp.max(problem.xp.abs(value), axis=(*axes, value.ndim - 1), keepdims=True)
            )[..., 0]
        rows = up(
            np.sum(rows, axis=axes, keepdims=True)
            + np.where(size > 0, gamma(count + 2, problem.u) * count * size, 0.0)
        )
        value = problem.xp.sum(value, axis=axes, keepdims=True)
    return problem.xp.reshape(value, (*leading, *value.shape[-2:])), np.reshape(
        rows, (*leading, rows.shape[-1])
    )


def narrow(result: Approximation, problem: Problem) -> Approximation:
    """Return the result in the caller's dtype; the rounding of a narrower one joins the
    certificate.
    """
    if problem.out_dtype == problem.dtype:
        return result
    value, rows = narrowed(result.value, result.certificate.rows, problem)
    return replace(result, value=value, certificate=replace(result.certificate, rows=rows))


def narrowed(value: Array, rows: HostArray, problem: Problem) -> tuple[Array, HostArray]:
    """Cast to the caller's dtype and add the rounding of that to the bounds of the rows.

    What becomes infinite is left to `looked_at`.
    """
    if problem.out_dtype == problem.dtype or 0 in value.shape:
        return _arrays.cast(value, problem.out_dtype, problem.xp), rows
    xp, u = problem.xp, _arrays.unit_roundoff(problem.out_dtype)
    size = _arrays.to_float64(xp.max(xp.abs(value), axis=-1))
    rows = up(rows + 2 * u * size + 2 * _arrays.smallest_normal(problem.out_dtype))
    return _arrays.cast(value, problem.out_dtype, xp), rows


def poison(result: Approximation, bad: HostArray, problem: Problem) -> Approximation:
    """Return NaN, with no bound, for the batch items that held NaN or infinity."""
    bad = np.broadcast_to(bad, problem.batch)
    mask = _arrays.from_host(np.array(bad)[..., None, None], problem.q)
    value = problem.xp.where(mask, problem.xp.full_like(result.value, problem.xp.nan), result.value)
    lse, of_lse = result.lse, result.certificate.lse
    if lse is not None and of_lse is not None:
        lse = problem.xp.where(mask[..., 0], problem.xp.full_like(lse, problem.xp.nan), lse)
        of_lse = np.where(bad[..., None], np.inf, of_lse)
    certificate = replace(
        result.certificate,
        rows=np.where(bad[..., None], np.inf, result.certificate.rows),
        lse=of_lse,
        unmet=(*result.certificate.unmet, f"{int(bad.sum())} batch item(s) hold NaN or infinity"),
    )
    return Approximation(value=value, certificate=certificate, lse=lse)
