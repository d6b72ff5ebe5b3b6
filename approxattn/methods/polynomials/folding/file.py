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
from pathlib import Path
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn.exponential import exp_polynomial
from approxattn.exponential.degree import BASES
from approxattn.exponential.given import check_coefficients, given_over
from approxattn.methods.states.files import need, read_checked, write_arrays
from approxattn.monomials.index import rank, suffix_length

FORMAT = "approxattn polynomial state 1"
ARRAYS = ("centre", "sums", "radius", "high", "low", "keys")
NUMBERS = ("scale", "reach", "additions", "half_range", "tolerance")
NAMES = frozenset({"format", "basis", "coefficients", *ARRAYS, *NUMBERS})


def write_state(state: Any, path: Path) -> None:
    """Write a `PolynomialState`, whole or not at all."""
    p = state.polynomial
    arrays: dict[str, Any] = {name: _arrays.to_host(getattr(state, name)) for name in ARRAYS}
    arrays |= {
        "format": FORMAT,
        "basis": p.basis,
        "coefficients": np.asarray(p.coefficients),
        "scale": state.scale,
        "reach": state.reach,
        "additions": state.additions,
        "half_range": p.half_range,
        "tolerance": math.nan if state.tolerance is None else state.tolerance,
    }
    write_arrays(path, arrays)


def read_state(path: Path) -> dict[str, Any]:
    """Return the fields of the `PolynomialState` in a file, arrays on the host."""
    return read_checked(path, NAMES, FORMAT, "PolynomialState.save", _fields)


def _fields(arrays: dict[str, HostArray]) -> dict[str, Any]:
    """Check arrays and return the fields of a state."""
    need(arrays["format"].shape == () and str(arrays["format"]) == FORMAT, "it has another format")
    numbers = {}
    for name in NUMBERS:
        need(arrays[name].shape == () and arrays[name].dtype.kind in "fiu", f"{name} is no number")
        numbers[name] = float(arrays[name])
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
    shapes = {
        "centre": (*batch, 1, d),
        "radius": batch,
        "keys": batch,
        "high": (*batch, columns - 1),
        "low": (*batch, columns - 1),
    }
    for name, shape in shapes.items():
        need(fields[name].shape == shape, f"{name} has shape {fields[name].shape}, not {shape}")
    keys = fields["keys"]
    need(keys.dtype.kind in "iu" and np.all(keys >= 0), "keys are no counts")
    for name in ("radius", "high", "low"):
        need(fields[name].dtype == np.float64, f"{name} is of dtype {fields[name].dtype}")
    for name in ("centre", "sums", "radius"):
        need(np.all(np.isfinite(fields[name])), f"{name} is not finite")
    need(np.all(fields["radius"] >= 0), "radius is negative")
    seen = (keys > 0)[..., None]
    ends = np.isfinite(fields["high"]) & np.isfinite(fields["low"])
    need(np.all((ends & (fields["low"] <= fields["high"])) | ~seen), "high and low are no range")
    none = np.isneginf(fields["high"]) & np.isposinf(fields["low"])
    need(np.all(none | seen), "an item without keys has a range of values")


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
