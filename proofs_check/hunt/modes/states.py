"""The mode of states: keys folded in parts, merged, written and read; then queried, or continued in
causal order.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import approxattn as aa
from proofs_check.hunt.claims import Seen, row_claim
from proofs_check.hunt.methods import Row
from proofs_check.hunt.modes.calls import Library, promised, target
from proofs_check.hunt.oracles import enclosures
from proofs_check.hunt.problems import Posed

Host = np.ndarray[Any, Any]

OPEN_DEGREE = 6
"""Highest degree of the sums that a state without coefficients keeps for a tolerance. *Chosen*."""


def queried(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Fold keys in random parts, in a random way, and query the state; or fold some of them, and
    attend to the others one after the other.
    """
    rng = np.random.default_rng(posed.seed)
    n = posed.arrays["k"].shape[-2]
    if n > 1 and posed.mask is None and rng.integers(0, 2):
        first = int(rng.integers(1, n))
        continued = _continued(posed, first)
        state = _saved(_folded(row, posed, lib, arrays, rng, first), lib, rng)
        rest = (arrays[name][:, first:] for name in ("k", "v"))
        out, _ = state.attend(lib.put(continued.arrays["q"]), *rest)
        return _claimed(row, continued, lib, out)
    state = _saved(_folded(row, posed, lib, arrays, rng, n), lib, rng)
    return _claimed(row, posed, lib, state.query(arrays["q"]))


def _continued(posed: Posed, first: int) -> Posed:
    """Return the problem of a decoder that has seen some keys: as many queries as keys are left,
    taken from those there are in turn.
    """
    n_q, n = posed.arrays["q"].shape[-2], posed.arrays["k"].shape[-2]
    q = posed.arrays["q"][:, np.arange(n - first) % n_q]
    order = {"query_offset": first}
    return replace(posed, arrays={**posed.arrays, "q": q}, causal=True, order=order)


def _saved(state: Any, lib: Library, rng: np.random.Generator) -> Any:
    """Return the state, in one case of four after it has been a file."""
    if lib.name != "numpy" or rng.integers(0, 4):
        return state
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.npz"
        state.save(path)
        return type(state).load(path)


def _claimed(row: Row, posed: Posed, lib: Library, out: Any) -> Seen:
    value, exact = lib.get(out.value), target(row, posed)

    def enclose(item: int) -> Any:
        return enclosures.ends(value[item], enclosures.attention_rows(row, posed, item))

    claim = row_claim(
        "out",
        value,
        out.certificate.rows,
        exact,
        failure=out.certificate.failure,
        enclose=None if exact is None else enclose,
    )
    dtypes = [("out", str(value.dtype), promised(str(posed.arrays["q"].dtype)))]
    return Seen(claims=[claim], dtypes=dtypes)


def _folded(
    row: Row,
    posed: Posed,
    lib: Library,
    arrays: dict[str, Any],
    rng: np.random.Generator,
    n: int,
) -> Any:
    """Return the state of the first n keys."""
    make = _maker(row, posed, lib, rng)
    if posed.mask is not None:  # a part without any key is refused today: one part
        return make(arrays["k"], arrays["v"], key_mask=lib.put(posed.mask))
    cuts = sorted({0, n, *(int(c) for c in rng.integers(0, n + 1, int(rng.integers(0, 4))))})
    parts = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    first, *rest = parts
    state = make(arrays["k"][:, first], arrays["v"][:, first])
    for part in rest:
        k, v = arrays["k"][:, part], arrays["v"][:, part]
        state = state.extend(k, v) if rng.integers(0, 2) else _joined(state, make(k, v), row)
    return state


def _joined(state: Any, other: Any, row: Row) -> Any:
    """Return both merged; the later keys first, where order means nothing."""
    return other.merge(state) if isinstance(row.method, aa.Polynomial) else state.merge(other)


def _maker(row: Row, posed: Posed, lib: Library, rng: np.random.Generator) -> Any:
    """Return what makes a state of keys and values, every time with the same draws."""
    method, options = row.method, dict[str, Any]()
    if not method.why_no_scale:
        options["scale"] = posed.scale
    if not isinstance(method, aa.Polynomial):
        seeded = method.randomised and not isinstance(method, aa.Linformer)

        def made(k: Any, v: Any, **mask: Any) -> Any:
            draws = {"rng": np.random.default_rng(posed.seed)} if seeded else {}
            return method.state(k, v, **options, **draws, **mask)

        return made
    cleaned = posed.cleaned()
    centre = _centre(cleaned, rng)
    if centre is not None:
        options["centre"] = lib.put(centre)
    if rng.integers(0, 3) == 0:
        options |= {} if method.degree is not None else {"degree": OPEN_DEGREE}
        return lambda k, v, **mask: method.open_state(k, v, **options, **mask)
    options["half_range"] = _half_range(cleaned, posed, centre, rng, method.tolerance)
    return lambda k, v, **mask: method.state(k, v, **options, **mask)


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
