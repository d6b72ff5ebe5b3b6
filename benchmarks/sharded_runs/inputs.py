"""Queries, keys and values on the disk, and exact attention of a few rows of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

D = 16
DEVIATION = 0.35
AT_ONCE = 2**18


def files(folder: Path, exponent: int) -> list[Path]:
    """Return the files of q, k, v with 2**exponent tokens, float32, normal; drawn if not there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [folder / f"{name}{exponent}.npy" for name in "qkv"]
    for seed, path in enumerate(found):
        if not path.exists():
            _draw(path, 2**exponent, np.random.default_rng([exponent, seed]))
    return found


def _draw(path: Path, n: int, rng: np.random.Generator) -> None:
    half = path.with_suffix(".half")
    whole = np.lib.format.open_memmap(half, "w+", np.float32, (n, D))
    for first in range(0, n, AT_ONCE):
        rows = whole[first : first + AT_ONCE]
        rows[:] = rng.standard_normal(rows.shape, dtype=np.float32) * np.float32(DEVIATION)
    whole.flush()
    half.replace(path)


def digest(path: Path) -> str:
    """Return a digest of a file."""
    found = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while part := file.read(2**24):
            found.update(part)
    return found.hexdigest()


def exact_rows(paths: list[Path], rows: Array) -> Array:
    """Return exact attention of some rows, in float64, keys passing in blocks."""
    q, k, v = (np.load(path, mmap_mode="r") for path in paths)
    queries = q[rows].astype(np.float64) / np.sqrt(D)
    top = np.full((len(rows), 1), -np.inf)
    sums = np.zeros((len(rows), D + 1))
    for first in range(0, len(k), 2**14):
        keys, values = (x[first : first + 2**14].astype(np.float64) for x in (k, v))
        scores = queries @ keys.T
        new = np.maximum(top, scores.max(axis=1, keepdims=True))
        scores -= new
        weights = np.exp(scores, out=scores)
        sums *= np.exp(top - new)
        sums[:, :D] += weights @ values
        sums[:, D] += weights.sum(axis=1)
        top = new
    return np.asarray(sums[:, :D] / sums[:, D:])
