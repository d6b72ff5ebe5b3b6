"""States on the disk: an .npz file of plain arrays, each number checked when it comes back.

What is checked of a file.

1. What `methods.states.files` checks of any.
2. Dtypes and shapes fit each other; numbers are finite, counts and lengths not negative.
3. The polynomial is the one that this version makes of that basis, degree and interval.
4. The bounds agree with the sums. Of degree 0 these hold c_0 times the number of keys, and the sum
   of each column of values, which lies within its range. Of degree 2 they hold c_2 sum_j (k_j -
   c)_a^2, and the sum over a of that is at most the number of keys times the squared radius.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn.exponential import exp_polynomial
from approxattn.exponential.degree import BASES
from approxattn.exponential.given import check_coefficients, given_over
from approxattn.methods.states.files import StateFile, need, number_of
from approxattn.methods.states.posing import SEEN, checked_seen
from approxattn.monomials.index import rank, suffix_length

ARRAYS = ("centre", "sums", *SEEN)
NUMBERS = ("scale", "reach", "additions", "half_range", "tolerance")


def _arrays_of(state: Any) -> dict[str, Any]:
    p = state.polynomial
    arrays: dict[str, Any] = {name: _arrays.to_host(getattr(state, name)) for name in ARRAYS}
    return arrays | {
        "basis": p.basis,
        "coefficients": np.asarray(p.coefficients),
        "scale": state.scale,
        "reach": state.reach,
        "additions": state.additions,
        "half_range": p.half_range,
        "tolerance": math.nan if state.tolerance is None else state.tolerance,
    }


def _fields(arrays: dict[str, HostArray]) -> dict[str, Any]:
    """Check arrays and return the fields of a state."""
    numbers = {name: number_of(arrays, name) for name in NUMBERS}
    polynomial = _polynomial(arrays, numbers["half_range"])
    tolerance = None if math.isnan(numbers["tolerance"]) else numbers["tolerance"]
    need(tolerance is None or 0 < tolerance < 1, f"tolerance is {tolerance}")
    need(0 < numbers["scale"] < math.inf, f"scale is {numbers['scale']}")
    need(0 <= numbers["reach"] < math.inf, f"reach is {numbers['reach']}")
    need(1 <= numbers["additions"] < 2**62, f"additions are {numbers['additions']}")
    fields = {name: arrays[name] for name in ARRAYS}
    _check_arrays(fields, polynomial.degree)
    _check_agreement(fields, polynomial.coefficients, numbers["reach"])
    return {
        **fields,
        "polynomial": polynomial,
        "scale": numbers["scale"],
        "reach": numbers["reach"],
        "additions": int(numbers["additions"]),
        "tolerance": tolerance,
    }


def _polynomial(arrays: dict[str, HostArray], half_range: float) -> Any:
    coefficients, basis = arrays["coefficients"], str(arrays["basis"])
    need(basis in (*BASES, "given"), f"its basis is {basis!r}")
    need(
        coefficients.ndim == 1 and coefficients.size and coefficients.dtype == np.float64,
        "its coefficients are no list of numbers",
    )
    need(half_range >= 0, f"half_range is {half_range}")
    if basis == "given":
        return given_over(check_coefficients(coefficients.tolist()), half_range)
    polynomial = exp_polynomial(len(coefficients) - 1, half_range, basis)
    same = polynomial.coefficients == tuple(float(c) for c in coefficients)
    need(
        same and (basis == "taylor" or polynomial.half_range == half_range),
        f"its sums are of another {basis} polynomial than this version's: make the state anew",
    )
    return polynomial


def _check_arrays(fields: dict[str, HostArray], degree: int) -> None:
    """Check dtypes, shapes and signs."""
    centre, sums = fields["centre"], fields["sums"]
    need(sums.ndim >= 2 and centre.ndim == sums.ndim, "sums and centre have other axes")
    need(sums.dtype in (np.float32, np.float64), f"sums are of dtype {sums.dtype}")
    need(centre.dtype == sums.dtype, f"centre is of dtype {centre.dtype}")
    batch, d, columns = sums.shape[:-2], centre.shape[-1], sums.shape[-1]
    need(d >= 1 and columns >= 1, "it has keys of no width")
    need(sums.shape[-2] == rank(d, degree), f"sums have shape {sums.shape}")
    need(centre.shape == (*batch, 1, d), f"centre has shape {centre.shape}")
    for name in ("centre", "sums"):
        need(np.all(np.isfinite(fields[name])), f"{name} is not finite")
    checked_seen(fields, batch, columns - 1)


def _check_agreement(
    fields: dict[str, HostArray], coefficients: tuple[float, ...], reach: float
) -> None:
    """Check step 4 of the module, up to 1 part in 100: rounding is far below. Where c_0 is not
    positive it says nothing.
    """
    if not coefficients[0] > 0:
        return
    sums, keys = fields["sums"].astype(np.float64), fields["keys"].astype(np.float64)
    count = coefficients[0] * keys
    need(np.all(np.abs(sums[..., 0, -1] - count) <= 0.01 * count), "keys and sums disagree")
    size = np.maximum(np.abs(fields["high"]), np.abs(fields["low"]))
    seen = keys[..., None] > 0
    high, low, size = (np.where(seen, x, 0.0) for x in (fields["high"], fields["low"], size))
    slack = 0.01 * size * count[..., None]
    total, weight = sums[..., 0, :-1], count[..., None]
    within = (total <= weight * high + slack) & (total >= weight * low - slack)
    need(np.all(within), "the ranges of the values and the sums disagree")
    if len(coefficients) > 2 and coefficients[2] > 0:
        d = fields["centre"].shape[-1]
        rows = [rank(d, 2) - suffix_length(d, i, 2) for i in range(d)]  # x_i^2 leads its suffix
        squares = sums[..., rows, -1] / coefficients[2]
        largest = keys * fields["radius"] ** 2
        need(
            np.all(np.sum(squares, axis=-1) <= 1.01 * largest + 1e-30)
            and np.all(squares <= 1.01 * keys[..., None] * reach**2 + 1e-30),
            "the lengths of the keys and the sums disagree",
        )


FILE = StateFile(
    format="approxattn polynomial state 1",
    names=frozenset({"basis", "coefficients", *ARRAYS, *NUMBERS}),
    writer="PolynomialState.save",
    arrays=_arrays_of,
    fields=_fields,
)
