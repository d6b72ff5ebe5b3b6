"""Time low-rank attention on one thread beside the packages that do the same, and the audit beside
plain exact rows.

    ./run.sh bench low-rank                 # or: python benchmarks/low_rank.py --repeats 7 --json
        FILE

float32, one head, d = dv = 64, n = 65,536. All times are processor times of one process, the
smallest of a few repetitions, ours and theirs in turns. Ours is `approxattn.attention` as a whole,
with its checks and its certificate. Theirs is the attention alone: in the layers of `linformer` and
`nystrom-attention` the token-wise linear maps before and after it are replaced by identities (and
the convolution of the values is switched off), while the n x k projections of Linformer stay, as in
ours. `performer-pytorch` has a call for q, k, v. A package that is not installed is skipped by
name. Goals stand in brackets.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

import approxattn as aa

Array = npt.NDArray[np.float32]
D, RANK = 64, 256
MIB = 2**20
GOALS = {"linformer": 0.8, "nystrom-attention": 0.7, "performer-pytorch": 0.8}


def seconds(tasks: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return the smallest processor time of each task, run in turns after one run that is not
    timed.
    """
    best = [math.inf] * len(tasks)
    for turn in range(repeats + 1):
        for i, task in enumerate(tasks):
            start = time.process_time()
            task()
            spent = time.process_time() - start
            best[i] = min(best[i], spent) if turn else math.inf
    return best


def inputs(n: int) -> tuple[Array, Array, Array]:
    """Draw Gaussian q, k, v."""
    q, k, v = np.random.default_rng(n).standard_normal((3, n, D)).astype(np.float32)
    return q, k, v


def methods(n: int) -> dict[str, Any]:
    """Return our methods by name; E and F of Linformer are given, as a trained layer has them."""
    e, f = (np.random.default_rng(0).standard_normal((2, RANK, n)) / math.sqrt(RANK)).astype(
        np.float32
    )
    return {
        "linformer": aa.Linformer(key_projection=e, value_projection=f),
        "nystrom-attention": aa.Nystrom(landmarks=RANK),
        "performer-pytorch": aa.Performer(features=RANK),
        "means of blocks": aa.Linformer(rank=RANK, sketch="mean-pool"),
    }


def call(q: Array, k: Array, v: Array, method: Any) -> Array:
    """Return the output of one method; the generator starts anew, so that each run does the same
    work.
    """
    value: Array = aa.attention(q, k, v, method, rng=np.random.default_rng(1)).value
    return value


def peers(q: Array, k: Array, v: Array) -> dict[str, Callable[[], object]]:
    """Return the attention of each package that is installed."""
    found: dict[str, Callable[[], object]] = {}
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        print("PyTorch is not installed: no package to compare with")
        return found
    torch.set_num_threads(1)
    makers = {
        "linformer": _linformer,
        "nystrom-attention": _nystrom,
        "performer-pytorch": _performer,
    }
    tensors = [torch.from_numpy(x)[None] for x in (q, k, v)]
    for name, make in makers.items():
        try:
            task = make(torch, *tensors)
        except ImportError:
            print(f"{name} is not installed: skipped")
            continue
        found[name] = task
    return found


def _without_gradient(torch: Any, layer: Any, *arguments: Any) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return layer(*arguments)

    return run


# It takes one input; the work is the same.
def _linformer(torch: Any, q: Any, k: Any, v: Any) -> Callable[[], object]:
    del k, v
    package = importlib.import_module("linformer.linformer")
    layer = package.LinformerSelfAttention(D, q.shape[1], k=RANK, heads=1)
    for name in ("to_q", "to_k", "to_v", "to_out"):
        setattr(layer, name, torch.nn.Identity())
    return _without_gradient(torch, layer, q)


def _nystrom(torch: Any, q: Any, k: Any, v: Any) -> Callable[[], object]:
    package = importlib.import_module("nystrom_attention")
    layer = package.NystromAttention(3 * D, dim_head=D, heads=1, num_landmarks=RANK, residual=False)
    layer.to_qkv = layer.to_out = torch.nn.Identity()
    return _without_gradient(torch, layer, torch.cat([q, k, v], dim=-1))


def _performer(torch: Any, q: Any, k: Any, v: Any) -> Callable[[], object]:
    package = importlib.import_module("performer_pytorch")
    layer = package.FastAttention(D, nb_features=RANK)
    return _without_gradient(torch, layer, *(x[None] for x in (q, k, v)))


def against_peers(n: int, repeats: int) -> dict[str, float]:
    """Print and return our time over theirs."""
    q, k, v = inputs(n)
    found: dict[str, float] = {}
    ours = methods(n)
    for name, peer in peers(q, k, v).items():
        own, other = seconds([partial(call, q, k, v, ours[name]), peer], repeats)
        found[f"over {name}"] = own / other
        print(f"{name:20s}{own:8.3f} s / {other:.3f} s = {own / other:.2f} [{GOALS[name]}]")
    return found


def exponents(sizes: list[int], repeats: int) -> dict[str, float]:
    """Print and return the slope of log time against log n of each method."""
    found: dict[str, float] = {}
    for name in methods(sizes[0]):
        times = []
        for n in sizes:
            q, k, v = inputs(n)
            times += seconds([partial(call, q, k, v, methods(n)[name])], repeats)
        slope = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
        found[f"exponent, {name}"] = slope
        print(f"exponent in n, {name:20s}{slope:6.2f} [1.00 +- 0.03]")
    return found


def scratch(n: int) -> dict[str, float]:
    """Print and return the largest memory beyond inputs and output, in MiB."""
    q, k, v = inputs(n)
    found: dict[str, float] = {}
    for name, method in methods(n).items():
        tracemalloc.start()
        value = call(q, k, v, method)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found[f"scratch MiB, {name}"] = (peak - value.nbytes) / MIB
        print(f"scratch, {name:20s}{(peak - value.nbytes) / MIB:6.1f} MiB [64]")
    return found


def audit(n: int, repeats: int) -> dict[str, float]:
    """Print and return the time of an audit of 256 rows over that of 256 exact rows by plain matrix
    products, both in float64.
    """
    q, k, v = inputs(n)
    out = call(q, k, v, aa.Linformer(rank=RANK, sketch="mean-pool"))
    rows = np.sort(np.random.default_rng(1).choice(n, 256, replace=False))

    def plain() -> object:
        scores = q[rows].astype(np.float64) / math.sqrt(D) @ k.astype(np.float64).T
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        return scores @ v.astype(np.float64) / scores.sum(axis=1, keepdims=True)

    def judged() -> object:
        return aa.audit(out, q, k, v, rows=256, rng=np.random.default_rng(1))

    own, other = seconds([judged, plain], repeats)
    print(f"audit of 256 rows {own:.3f} s / exact rows {other:.3f} s = {own / other:.2f} [1.5]")
    return {"audit over exact rows": own / other}


def main() -> None:
    """Read the options, print the figures and write them."""
    parser = argparse.ArgumentParser(description="Time low-rank attention on one thread.")
    parser.add_argument("--tokens", type=int, default=65536, help="n")
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs of each task; the fastest counts"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("report/bench_low_rank.json"), help="file for the figures"
    )
    options = parser.parse_args()
    n, repeats = options.tokens, options.repeats
    print(f"float32, n = {n}, d = {D}, rank {RANK}, one thread; goals in brackets")
    with threadpool_limits(limits=1):
        found = against_peers(n, repeats) | audit(n, repeats) | scratch(n)
        found |= exponents([n // 4, n // 2, n, 2 * n], repeats)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"tokens": n, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
