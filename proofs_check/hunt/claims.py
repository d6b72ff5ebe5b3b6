"""What one call asserted, held against the truth: errors row by row, between two ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from proofs_check.hunt.oracles.softmax import Exact, Long

Host = np.ndarray[Any, Any]
Ends = tuple[Host, Host]
"""Numbers certainly not above and not below the error of each row of one item."""

Enclose = Callable[[int], Ends | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """The bounds on one array of a result.

    Attributes
    ----------
    part : str
        "out", "dq" and so on.
    bounds : array, shape (items, rows)
        What the certificate says.
    finite : array of bool, shape (items, rows)
        Whether the row holds no NaN and no infinity.
    low, high : array, shape (items, rows)
        The largest error of the row lies between them.
    failure : float
        Probability that the certificate allows itself.
    enclose : callable or None
        Sharper ends for one item, by ball arithmetic; None where there are none.
    proved : bool
        Whether the ends are proved. Where they are estimated, balls alone may accuse.
    """

    part: str
    bounds: Host
    finite: Host
    low: Host
    high: Host
    failure: float = 0.0
    enclose: Enclose | None = None
    proved: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """All that is judged of some calls: claims, dtypes that came out and were promised."""

    claims: list[Claim] = field(default_factory=list)
    dtypes: list[tuple[str, str, str]] = field(default_factory=list)


def items_first(a: Host, count: int) -> Host:
    """Return an array with all leading axes in one."""
    return a.reshape(count, *a.shape[-2:])


def row_claim(
    part: str,
    value: Host,
    bounds: Host,
    exact: Exact | None,
    *,
    failure: float = 0.0,
    enclose: Enclose | None = None,
) -> Claim:
    """Return the claim about a stack of matrices, each row with its bound on the largest entry.

    `exact` None: nothing is known of the truth, and only NaN under a bound is judged.
    """
    shape, count = value.shape, int(np.prod(value.shape[:-2], dtype=int))
    value = items_first(value, count)
    bounds = np.asarray(bounds, np.float64).reshape(count, value.shape[1])
    finite = np.asarray(np.isfinite(value).all(axis=-1))
    if exact is None:
        low = high = np.zeros(bounds.shape, Long)
        return Claim(part=part, bounds=bounds, finite=finite, low=low, high=high, failure=failure)
    truth, slack = (items_first(np.broadcast_to(x, shape), count) for x in exact)
    with np.errstate(all="ignore"):
        # the difference of two numbers of the format rounds by u = 2^-64
        gap = np.abs(np.where(finite[..., None], value.astype(Long) - truth, 0))
        low = np.max(gap * (1 - Long(2.0**-60)) - slack, axis=-1, initial=0.0)
        high = np.max(gap * (1 + Long(2.0**-60)) + slack, axis=-1, initial=0.0)
    return Claim(
        part=part,
        bounds=bounds,
        finite=finite,
        low=np.where(np.isnan(low), 0, low),
        high=np.where(np.isnan(high), np.inf, high),
        failure=failure,
        enclose=enclose,
    )
