"""The certificate of a gradient: what needs queries and keys is found at the call."""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn.bounds.gradients import GradientBounds, cotangent_lengths
from approxattn.bounds.rounding import up
from approxattn.certificate import SOFTMAX_GRADIENT, GradientCertificate
from approxattn.methods.polynomials.choosing.output_certificate import facts_of, unmet_of
from approxattn.methods.polynomials.crossing.by_keys import KeySums, bounds_by_keys, sums_by_keys
from approxattn.methods.polynomials.crossing.kept import kept
from approxattn.methods.polynomials.forward import Forward
from approxattn.methods.polynomials.gradient_error import (
    bounds_by_queries,
    cotangent_of,
    mean_query_error,
)


def gradient_certificate(run: Forward, dout: Array, kind: str) -> GradientCertificate:
    """Return the certificate of `polynomial_gradient`, which is computed when it is read."""
    found = _found_now(run, dout)
    return GradientCertificate.later(_certificate, kind, *found, target=SOFTMAX_GRADIENT)


def polynomial_gradient_bounds(run: Forward, dout: Array, kind: str) -> GradientBounds:
    """Return T3 plus what the consistent gradient's slope and rounding add."""
    return _bounds(kind, *_found_now(run, dout))


def _found_now(run: Forward, dout: Array) -> tuple[Forward, Array, KeySums | None]:
    """Return what is kept of a pass, the lengths of the cotangent and the sums over queries."""
    known, size = kept(run), cotangent_lengths(dout, run.problem.xp)
    return known, size, sums_by_keys(run, known, size)


def _certificate(kind: str, run: Forward, size: Array, sums: KeySums | None) -> GradientCertificate:
    return _bounds(kind, run, size, sums).certificate(
        facts={"gradient": kind, **facts_of(run)}, unmet=unmet_of(run)
    )


def _bounds(kind: str, run: Forward, size: Array, sums: KeySums | None) -> GradientBounds:
    scores, cotangent = run.scores, cotangent_of(run, _arrays.to_host(size), kind)
    bounds, rounding_only = bounds_by_queries(run, kind, cotangent)
    dk, dv = bounds_by_keys(run, sums)
    bounds = GradientBounds(
        dq=bounds.dq,
        dk=np.minimum(bounds.dk, up(dk + rounding_only.dk)),
        dv=np.minimum(bounds.dv, up(dv + rounding_only.dv)),
    )
    if kind == "consistent":  # subtracting the mean can double the error of dk
        bounds = bounds._replace(
            dk=up((2 if scores.keys_centred else 1) * bounds.dk),
            dq=up(bounds.dq + mean_query_error(run, rounding_only.dq, cotangent)),
        )
    return bounds
