"""The mode of states: keys folded in parts, merged, written and read, then queried."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np

import approxattn as aa
from proofs_check.hunt.claims import Seen, row_claim
from proofs_check.hunt.methods import Row
from proofs_check.hunt.modes.calls import Library, promised, target
from proofs_check.hunt.oracles import enclosures
from proofs_check.hunt.problems import Posed

Host = np.ndarray[Any, Any]


def queried(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Fold keys in random parts, in a random way, and query the state."""
    rng = np.random.default_rng(posed.seed)
    state = _folded(row, posed, lib, arrays, rng)
    if lib.name == "numpy" and rng.integers(0, 4) == 0:
        with tempfile.TemporaryDirectory() as folder:
            state.save(Path(folder) / "state.npz")
            state = aa.PolynomialState.load(Path(folder) / "state.npz")
    out = state.query(arrays["q"])
    value = lib.get(out.value)

    def enclose(item: int) -> Any:
        return enclosures.ends(value[item], enclosures.attention_rows(row, posed, item))

    claim = row_claim("out", value, out.certificate.rows, target(row, posed), enclose=enclose)
    dtypes = [("out", str(value.dtype), promised(str(posed.arrays["q"].dtype)))]
    return Seen(claims=[claim], dtypes=dtypes)


def _folded(
    row: Row, posed: Posed, lib: Library, arrays: dict[str, Any], rng: np.random.Generator
) -> aa.PolynomialState:
    cleaned, method = posed.cleaned(), cast(aa.Polynomial, row.method)
    centre = _centre(cleaned, rng)
    options: dict[str, Any] = {
        "scale": posed.scale,
        "half_range": _half_range(cleaned, posed, centre, rng, method.tolerance),
    }
    if centre is not None:
        options["centre"] = lib.put(centre)
    n = posed.arrays["k"].shape[-2]
    if posed.mask is not None:  # a part without any key is refused today: one part
        mask = lib.put(posed.mask)
        return method.state(arrays["k"], arrays["v"], key_mask=mask, **options)
    cuts = sorted({0, n, *(int(c) for c in rng.integers(0, n + 1, int(rng.integers(0, 4))))})
    parts = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    first, *rest = parts
    state = method.state(arrays["k"][:, first], arrays["v"][:, first], **options)
    for part in rest:
        k, v = arrays["k"][:, part], arrays["v"][:, part]
        if rng.integers(0, 2):
            state = state.extend(k, v)
        else:
            state = method.state(k, v, **options).merge(state)
    return state


def _centre(a: dict[str, Host], rng: np.random.Generator) -> Host | None:
    """Return nothing, the mean of the keys, or one of them."""
    style = int(rng.integers(0, 3))
    if style == 0:
        return None
    k = a["k"]
    with np.errstate(all="ignore"):
        middle = np.mean(k, axis=-2, keepdims=True) if style == 1 else k[:, :1]
    return np.array(np.where(np.isfinite(middle), middle, 0), dtype=k.dtype)


def _half_range(
    a: dict[str, Host],
    posed: Posed,
    centre: Host | None,
    rng: np.random.Generator,
    tolerance: float | None,
) -> float:
    """Return a power of two above the largest score, so that polynomials are found once; sometimes
    half of it, too little, which must cost the bound only. A tolerance over a wide range takes a
    degree, and so sums, that no memory holds: there it stays below 4.
    """
    q, k = a["q"].astype(np.longdouble), a["k"].astype(np.longdouble)
    y = k if centre is None else k - centre
    beta = np.longdouble(q.shape[-1] ** -0.5 if posed.scale is None else posed.scale)
    size, reach = (np.max(np.sqrt(np.sum(x * x, axis=-1))) for x in (q, y))
    top = float(np.clip(beta * size * reach, 2.0**-60, 2.0**5 if tolerance is None else 4.0))
    return float(2.0 ** (np.ceil(np.log2(top)) - rng.integers(0, 3) // 2))
