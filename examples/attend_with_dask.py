"""Attention over tokens that no memory need hold: zarr arrays in, a zarr array out, by Dask.

    python examples/attend_with_dask.py --tokens 1000000 --workers 2 --folder tokens

Needs `pip install 'approxattn[dask]'`, and bokeh for the dashboard whose link is printed. Without
`--scheduler` it starts workers here. The output is looked at where it is cheapest: a few rows are
recomputed exactly, and compared with the bounds of the certificate.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import distributed
import numpy as np
import zarr

import approxattn as aa
from approxattn.dask import attention

WIDTH, CHUNK, ROWS = 16, 2**17, 64


def written(folder: Path, tokens: int) -> list[da.Array]:
    """Draw q, k, v chunk by chunk into zarr arrays, and open these as Dask arrays."""
    found = []
    for seed, name in enumerate("qkv"):
        draw = da.random.default_rng(seed).standard_normal((tokens, WIDTH), chunks=(CHUNK, WIDTH))
        store = folder / f"{name}.zarr"
        (0.35 * draw).astype("f4").to_zarr(str(store), overwrite=True)
        found.append(da.from_zarr(str(store)))
    return found


def largest_ratio(value: Any, rows: Any, arrays: list[da.Array], bounds: Any) -> float:
    """Recompute some rows in float64; return the largest error over the bound of its row."""
    q, k, v = arrays
    queries = q[rows].compute().astype("f8")
    keys, values = (x.compute().astype("f8") for x in (k, v))
    exact = aa.attention(queries, keys, values, aa.Exact()).value
    errors = np.abs(value.oindex[rows, :] - exact).max(axis=-1)
    return float((errors / bounds[rows]).max())


def main() -> None:
    """Draw, describe, compute, look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2**20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", help="address of a running one")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    start = {"n_workers": options.workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        distributed.Client(options.scheduler)
        if options.scheduler
        else distributed.Client(**start) as client
    ):
        print(f"dashboard: {client.dashboard_link}")
        q, k, v = written(options.folder, options.tokens)
        out = attention(q, k, v, aa.Polynomial(degree=3))  # nothing is computed yet
        store = options.folder / "out.zarr"
        saved = out.value.to_zarr(str(store), overwrite=True, compute=False)
        _, certificate = dask.compute(saved, out.certificate)
        print(certificate)
        value = zarr.open_array(str(store), mode="r")
        rows = np.random.default_rng(0).choice(options.tokens, ROWS, replace=False)
        ratio = largest_ratio(value, np.sort(rows), [q, k, v], certificate.rows)
        print(f"{ROWS} rows recomputed: errors of at most {ratio:.3g} of their bounds")


if __name__ == "__main__":
    main()
