"""Errors of other packages' attention on the heads that ship, for the figure `heads-cost`.

    ./run.sh bench package-errors           # writes docs/results/packages-on-heads.json

Relative Frobenius error against exact attention, of the eight heads of 256 tokens, in float32 on
PyTorch; the cost is that of our method with the same setting, multiply-adds over those of exact
attention. Layers are called without the maps of tokens before and after the attention; random
features are drawn from the seed that stands in the file.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import approxattn as aa
from approxattn.data import minilm_heads

SIZES = 16, 32, 64, 128
SEED = 13
PLACE = Path(__file__).resolve().parents[1] / "docs" / "results" / "packages-on-heads.json"
Attention = Callable[[Any, Any, Any], Any]


def nystrom(torch: Any, d: int, size: int) -> Attention:
    """Return the attention of `nystrom-attention` with so many landmarks."""
    package = importlib.import_module("nystrom_attention")
    layer = package.NystromAttention(3 * d, dim_head=d, heads=1, num_landmarks=size, residual=False)
    layer.to_qkv = layer.to_out = torch.nn.Identity()
    return lambda q, k, v: layer(torch.cat([q, k, v], dim=-1)[None])[0]


def performer(torch: Any, d: int, size: int) -> Attention:
    """Return the attention of `performer-pytorch` with so many features."""
    del torch
    package = importlib.import_module("performer_pytorch")
    layer = package.FastAttention(d, nb_features=size)
    return lambda q, k, v: layer(q[None, None], k[None, None], v[None, None])[0, 0]


PACKAGES: dict[str, tuple[Callable[[Any, int, int], Attention], Callable[[int], Any]]] = {
    "nystrom-attention": (nystrom, lambda size: aa.Nystrom(landmarks=size)),
    "performer-pytorch": (performer, lambda size: aa.Performer(features=size)),
}
"""How each is called, and our method with the same setting."""


def heads() -> Iterator[tuple[np.ndarray, ...]]:
    """Yield q, k, v of every head."""
    found = minilm_heads()
    for i in np.ndindex(found.q.shape[:2]):
        yield tuple(np.asarray(x[i], np.float32) for x in (found.q, found.k, found.v))


def errors(torch: Any, attention: Attention) -> list[float]:
    """Return the relative error on every head."""
    found = []
    for head in heads():
        q, k, v = (x.astype(np.float64) for x in head)
        exact = aa.attention(q, k, v, aa.Exact()).value
        with torch.no_grad():
            value = attention(*(torch.tensor(x) for x in head)).numpy()
        found.append(float(np.linalg.norm(value - exact) / np.linalg.norm(exact)))
    return found


def measured() -> dict[str, Any]:
    """Return the errors of every package by cost."""
    torch = importlib.import_module("torch")
    n, d = next(heads())[0].shape
    exact = aa.Exact().cost(n, n, d, d).multiply_adds
    packages = []
    for name, (make, ours) in PACKAGES.items():
        torch.manual_seed(SEED)
        rows = [
            {
                "size": size,
                "cost": ours(size).cost(n, n, d, d).multiply_adds / exact,
                "errors": errors(torch, make(torch, d, size)),
            }
            for size in SIZES
        ]
        packages.append({"package": name, "version": version(name), "rows": rows})
    return {"torch": version("torch"), "seed": SEED, "tokens": n, "packages": packages}


def main() -> None:
    """Measure, print the medians, write the file."""
    parser = argparse.ArgumentParser(description="Errors of other packages on the shipped heads.")
    parser.add_argument("--json", type=Path, default=PLACE, help="where the figures go")
    options = parser.parse_args()
    report = measured()
    for package in report["packages"]:
        for row in package["rows"]:
            median = float(np.median(row["errors"]))
            print(
                f"{package['package']}, {row['size']}: cost {row['cost']:.3f}, error {median:.3f}"
            )
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
