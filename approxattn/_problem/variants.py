"""Softmaxes of other kinds: a soft cap on the scores, a sink in the denominator.

Symbols: s_ij = beta q_i . k_j, c the soft cap, b_ij the bias, a the sink of a head.

    t_ij = c tanh(s_ij / c) + b_ij,     weights e^{t_ij} / (e^a + sum_j e^{t_ij}).

The order is that of Gemma 2 (cap, then bias and masks) and of gpt-oss (a sink is no key: nothing
hides it, and its value is 0).
"""

from __future__ import annotations

import math

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_number
from approxattn._arrays import Array, Namespace


def check_softcap(softcap: float | None, dtype: str) -> float | None:
    """Return the soft cap; raise where it is no positive normal number of the dtype."""
    if softcap is None:
        return None
    rule = "be a finite positive number; None means no cap"
    cap = check_number("softcap", softcap, rule, low=0.0, high=math.inf)
    least, most = _arrays.smallest_normal(dtype), _arrays.largest(dtype) / 16
    if not least <= cap <= most:
        msg = (
            f"softcap(={softcap!r}) must lie in [{least:.3g}, {most:.3g}] for {dtype}: choose one "
            "there, or leave softcap=None for no cap"
        )
        raise ValueError(msg)
    return cap


def check_sinks(
    sinks: Array | None, batch: tuple[int, ...], compute: str, xp: Namespace
) -> Array | None:
    """Return the sinks in the dtype computed in, shape (*batch, 1, 1).

    Raises TypeError unless it is an array of floats, ValueError where it does not broadcast to the
    leading axes, or is not finite.
    """
    if sinks is None:
        return None
    if not _arrays.is_floating(sinks):
        msg = f"sinks has dtype {sinks.dtype}: it must be floating, one logit a head"
        raise TypeError(msg)
    given = tuple(sinks.shape)
    try:
        fits = np.broadcast_shapes(given, batch) == batch
    except ValueError:
        fits = False
    if not fits:
        msg = f"sinks has shape {given}: it must broadcast to the leading axes {batch}"
        raise ValueError(msg)
    limit = _arrays.largest(compute) / 16
    if not bool(xp.all(xp.abs(sinks) <= limit)):
        msg = f"sinks must be finite and at most {limit:.3g} in size; leave sinks=None for none"
        raise ValueError(msg)
    wide = xp.broadcast_to(_arrays.cast(sinks, compute, xp), batch)
    return xp.reshape(wide, (*batch, 1, 1))
