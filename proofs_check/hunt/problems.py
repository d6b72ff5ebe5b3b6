"""Problems of one call, or of many calls alike: drawn from a seed, a cell and a number alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from proofs_check.hunt import scales
from proofs_check.hunt.methods import ROWS, Cell
from proofs_check.hunt.structures import stack

Host = np.ndarray[Any, Any]

ITEMS = 48
"""Problems in a chunk. *Chosen*: more hide behind the largest of them, fewer cost more each."""

SIZES = (1, 1, 2, 2, 2, 3, 3, 4, 5, 7)
"""Numbers of tokens, as often as they are tried; one chunk in 12 is larger, with fewer problems."""

SCALES = (None, None, None, 1.0, 0.1, 2.0**-10, 3.7, 50.0, 1e-12)
"""Factors of the scores, as often as they are tried."""


TAME = 5
"""Scores of costly rows stay below this power of two, the largest of the ordinary ones. *Chosen*:
a search for a polynomial takes milliseconds there, and seconds or a refusal above."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Posed:
    """Problems of one shape and the options that they share.

    Attributes
    ----------
    arrays : mapping of str to array
        The arguments by name, each of shape (items, rows, columns) unless `outer`.
    scale : float or None
        Factor of the scores.
    causal : bool
        Whether query i sees keys 0 to i only.
    mask : array of bool, shape (items, n), or None
        Keys that take part.
    singly : bool
        Whether each problem is a call of its own.
    outer : bool
        Whether leading axes broadcast: q (a, 1, n, d), k (1, b, n, d), v (b, n, dv). Such problems
        cannot be taken apart.
    rubbish : bool
        Whether masked keys hold numbers that must not matter.
    seed : int
        Of the method's own draws, and of what else a mode draws.
    order : mapping
        Further masks as `attention` takes them: query_offset, window, segments, empty_rows.
    softcap : float or None
        Soft cap of the scores. A bias, shape (items, n_q or 1, n_k), and sinks, (items, 1, 1), are
        among the arrays.
    """

    arrays: dict[str, Host]
    scale: float | None = None
    causal: bool = False
    mask: Host | None = None
    singly: bool = False
    outer: bool = False
    rubbish: bool = False
    seed: int = 0
    order: dict[str, Any] = field(default_factory=dict)
    softcap: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of problems."""
        if self.outer:
            return int(self.arrays["q"].shape[0] * self.arrays["k"].shape[1])
        return int(next(iter(self.arrays.values())).shape[0])

    def take(self, places: Host | list[int] | slice) -> Posed:
        """Return some of the problems."""
        mask = None if self.mask is None else self.mask[places]
        return replace(self, arrays={n: a[places] for n, a in self.arrays.items()}, mask=mask)

    def visible(self) -> Host:
        """Return which keys each query sees, broadcastable to (items, n_q, n_k)."""
        n_q, n_k = self.arrays["q"].shape[-2], self.arrays["k"].shape[-2]
        seen = in_order(n_q, n_k, self.causal, **self.order)
        return seen[None] if self.mask is None else seen[None] & self.mask[:, None, :]

    def seen(self) -> Host:
        """Return which keys each query sees, those that a bias hides left out, in full."""
        shape = self.count, self.arrays["q"].shape[-2], self.arrays["k"].shape[-2]
        bias = self.arrays.get("bias", np.zeros(1))
        return np.broadcast_to(self.visible() & (bias > -np.inf), shape)

    def cleaned(self) -> dict[str, Host]:
        """Return the arrays with zeros in the places of masked keys."""
        if self.mask is None:
            return dict(self.arrays)
        hidden = ~self.mask[..., None]
        return {
            name: np.where(hidden, np.zeros_like(a), a) if name in ("k", "v") else a
            for name, a in self.arrays.items()
        }


def in_order(  # the words of `attention`, pair by pair
    n_q: int,
    n_k: int,
    causal: bool,
    *,
    query_offset: int = 0,
    window: tuple[int | None, int | None] = (None, None),
    segments: tuple[Host, Host] | None = None,
    empty_rows: str = "raise",
) -> Host:
    """Return which keys each query sees before any mask of keys, shape (n_q, n_k)."""
    del empty_rows
    at, j = np.arange(n_q)[:, None] + query_offset, np.arange(n_k)[None, :]
    seen = np.ones((n_q, n_k), bool)
    if causal:
        seen &= j <= at
    before, after = window
    if before is not None:
        seen &= at - j <= before
    if after is not None:
        seen &= j - at <= after
    if segments is not None:
        seen &= segments[0][:, None] == segments[1][None, :]
    return seen


def generator(seed: int, cell: Cell, index: int) -> np.random.Generator:
    """Return the source of everything in one chunk."""
    key = json.dumps([seed, cell.row, cell.mode, cell.dtype, cell.library, index])
    return np.random.default_rng(list(hashlib.sha256(key.encode()).digest()))


def draw(rng: np.random.Generator, cell: Cell, index: int) -> Posed:
    """Return the problems of a chunk, for every mode but the networks."""
    row, large = ROWS[cell.row], bool(rng.integers(0, 12) == 0)
    singly = index % 8 == 7
    count = 6 if large or (singly and row.costly) else ITEMS
    options = _options(rng, cell)
    long = large and cell.mode != "tensor"
    n_k = int(rng.integers(8, 65)) if long else int(rng.choice(SIZES))
    free = cell.mode in ("order", "variant") and not row.square
    square = row.square or (not free and (options["causal"] or rng.random() < 0.5))
    n_q = n_k if square else int(rng.integers(1, 4))
    widths = (1, 1, 2, 2, 3, 4, 3 if cell.mode == "state" else 9)  # a state holds d^degree sums
    d, dv = int(rng.choice(widths)), int(rng.choice((1, 1, 2, 3)))
    shapes = {"q": (n_q, d), "k": (n_k, d), "v": (n_k, dv), "g": (n_q, dv)}
    if cell.mode == "tensor":
        other = int(rng.choice(SIZES))
        shapes |= {"k2": (other, d), "v2": (other, dv)}
    sizes = (scales.extreme if rng.integers(0, 3) == 0 else scales.ordinary)(rng, count, cell.dtype)
    exponents = {**sizes._asdict(), "k2": rng.integers(-3, 2, count), "v2": sizes.v * 0}
    arrays = {
        name: scales.sized(stack(rng, count, *shape), exponents[name], cell.dtype)
        for name, shape in shapes.items()
    }
    posed = Posed(arrays=arrays, singly=singly, seed=int(rng.integers(0, 2**31)), **options)
    if row.costly:
        _tame(posed)
    if cell.mode in ("order", "variant"):
        return ordered(rng, posed, cell) if cell.mode == "order" else posed
    if cell.mode == "mask" or (cell.mode in ("gradient", "state") and rng.integers(0, 3) == 0):
        posed = masked(rng, posed, cell)
    return outer(posed) if cell.mode == "batch" else posed


def _options(rng: np.random.Generator, cell: Cell) -> dict[str, Any]:
    row = ROWS[cell.row]
    scale = SCALES[int(rng.integers(0, len(SCALES)))]
    if row.method is not None and row.method.why_no_scale:
        scale = None
    could = "causal" in row.modes or row.name == "audit"
    causal = cell.mode == "causal" or (
        could and cell.mode in _CAUSAL_TOO and bool(rng.integers(0, 2))
    )
    return {"scale": scale, "causal": causal}


_CAUSAL_TOO = ("mask", "order", "variant", "gradient", "audit", "batch")
"""Modes in which one problem in two is causal."""


def ordered(rng: np.random.Generator, posed: Posed, cell: Cell) -> Posed:
    """Return the problems with an offset, a window, segments, hidden keys, or several of these;
    queries may see no key.
    """
    n_q, n_k = posed.arrays["q"].shape[-2], posed.arrays["k"].shape[-2]
    order: dict[str, Any] = {"empty_rows": "zero"}
    if not getattr(ROWS[cell.row].method, "why_no_window", "not known") and rng.random() < 0.4:
        sides = (None, 0, 0, 1, 2, 5)
        order["window"] = tuple(sides[int(i)] for i in rng.integers(0, len(sides), 2))
    if posed.causal or order.get("window", (None, None)) != (None, None):
        order["query_offset"] = int(rng.choice((0, n_k - n_q, int(rng.integers(-2, n_k + 1)))))
    if rng.random() < 0.5:
        most = int(rng.integers(1, 4))
        order["segments"] = tuple(np.sort(rng.integers(0, most + 1, n)) for n in (n_q, n_k))
    found = Posed(**{**posed.__dict__, "order": order})
    return masked(rng, found, cell) if rng.random() < 0.5 else found


def _tame(posed: Posed) -> None:
    """Make queries smaller by a power of two until no score can exceed 2^TAME."""
    q = posed.arrays["q"]
    sizes = [float(np.max(np.abs(posed.arrays[n].astype(np.float64)))) for n in ("q", "k")]
    other = float(np.max(np.abs(posed.arrays.get("k2", np.ones(1)).astype(np.float64))))
    factors = (q.shape[-1], *sizes, other, 1.0 if posed.scale is None else posed.scale)
    exponent = sum(float(np.log2(x)) for x in factors if x > 0)
    if exponent > TAME:
        with np.errstate(all="ignore"):
            posed.arrays["q"] = np.ldexp(q, -int(np.ceil(exponent - TAME)))


def masked(rng: np.random.Generator, posed: Posed, cell: Cell) -> Posed:
    """Return the problems with some keys masked; one call in six has rubbish in their places."""
    k = posed.arrays["k"]
    mask = rng.random(k.shape[:2]) < 0.6
    mask[:, 0] |= "empty_rows" not in posed.order
    if not posed.causal:  # which key is surely seen does not matter, but it should not be the first
        mask = mask[:, rng.permutation(mask.shape[1])]
    rubbish = bool(rng.integers(0, 6) == 0)
    if not rubbish:
        return Posed(**{**posed.__dict__, "mask": mask})
    top = float(np.finfo(cell.dtype).max)
    what = float(rng.choice([np.nan, np.inf, -np.inf, min(1e37, top), min(1e300, top)]))
    arrays = dict(posed.arrays)
    for name in ("k", "v"):
        arrays[name] = np.where(mask[..., None], arrays[name], what).astype(cell.dtype)
    return Posed(**{**posed.__dict__, "arrays": arrays, "mask": mask, "rubbish": True})


def outer(posed: Posed) -> Posed:
    """Return the problems with leading axes that broadcast: a few queries against a few keys."""
    a = posed.arrays
    few = max(1, min(6, posed.count // 2))
    arrays = {"q": a["q"][:few, None], "k": a["k"][None, -few:], "v": a["v"][-few:]}
    g = np.broadcast_to(a["g"][:few, None], (few, few, *a["g"].shape[1:]))
    return Posed(**{**posed.__dict__, "arrays": {**arrays, "g": np.array(g)}, "outer": True})
