"""Time polynomial attention against a square matrix product, and against PyTorch's exact attention
where it is installed.

    ./run.sh bench polynomial               # or: python benchmarks/polynomial.py --repeats 5 --json
        FILE

float32, one head, d = dv, |scores| <= 2. All times are processor times of one process, the smallest
of a few repetitions; only the speed-up of two threads is wall time. The work counted is 4 n r (dv +
1) operations, r = C(d + g, g): the products with the features, nothing else. "sums" are the sums of
numerator and denominator alone, which is what PyTorch's attention is compared with; "call" is
`approxattn.attention` as a whole, with its checks and its certificate. Goals stand in brackets.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import platform
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
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import Kernel
from approxattn.monomials.workers import gather

Array = npt.NDArray[np.float32]

GOALS: dict[tuple[int, int], dict[str, float]] = {
    (16, 2): {"peak": 28, "crossover": 300, "at 65536": 220},
    (16, 3): {"peak": 40, "crossover": 1200, "at 65536": 55},
    (16, 4): {"peak": 45, "crossover": 5000, "at 65536": 13},
    (32, 2): {"peak": 45, "crossover": 750, "at 65536": 85},
    (32, 3): {"peak": 63, "crossover": 6500, "at 65536": 10},
    (64, 2): {"peak": 60, "crossover": 2300, "at 65536": 28},
}
BACKWARD, CAUSAL, TWO_THREADS, EXPONENT, SCRATCH = 2.2, 1.3, 1.8, 0.03, 32
TOKENS = 8192
PEERS = ("taylor_series_linear_attention", "sata_attention")


def seconds(
    task: Callable[[], object], repeats: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Return the smallest time of a few runs, each repeated until it lasts some milliseconds."""
    start = clock()
    task()
    inner = max(1, int(0.02 / max(clock() - start, 1e-7)))
    times = []
    for _ in range(repeats):
        start = clock()
        for _ in range(inner):
            task()
        times.append((clock() - start) / inner)
    return min(times)


def inputs(
    n: int, d: int, rng: np.random.Generator, reach: float = 2.0
) -> tuple[Array, Array, Array]:
    """Draw x, y with all x.y in [-reach, reach], and [V, 1]."""
    x, y, v = rng.standard_normal((3, n, d))
    x, y = (math.sqrt(reach) * a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, y))
    v = np.concatenate([v, np.ones((n, 1))], axis=1)
    return x.astype(np.float32), y.astype(np.float32), v.astype(np.float32)


def kernel(g: int, *, causal: bool = False) -> Kernel:
    """Return the kernel of the Taylor polynomial of degree g, by features."""
    coefficients = tuple(1 / math.factorial(t) for t in range(g + 1))
    return Kernel(
        coefficients=coefficients,
        causal=causal,
        kind="features",
        xp=importlib.import_module("numpy"),
    )


def peak(repeats: int) -> float:
    """Return the operations a second of a square matrix product, in this process, now."""
    a = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    out = np.empty_like(a)
    return 2 * 1024**3 / seconds(lambda: np.matmul(a, a, out=out), repeats)


def exact_attention(d: int, n: int, repeats: int) -> float | None:
    """Return the seconds a pair of query and key costs in PyTorch's exact attention; None without
    PyTorch.
    """
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        return None
    torch.set_num_threads(1)
    q, k, v = torch.randn(3, 1, 1, n, d)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    with torch.no_grad():
        return seconds(lambda: sdpa(q, k, v), repeats) / n**2


def row(d: int, g: int, repeats: int) -> dict[str, Any]:
    """Measure one line of the table."""
    r, m, rng = rank(d, g), d + 1, np.random.default_rng(d + g)
    n = TOKENS if r < 3000 else TOKENS // 2
    x, y, v = inputs(n, d, rng)
    left = rng.standard_normal((n, m)).astype(np.float32)
    forward = partial(kernel(g).sums, x, y, v)
    # the product again before and after: the machine may have other work
    before = peak(repeats)
    sums = seconds(forward, repeats)
    speed = max(before, peak(repeats))
    causal = seconds(partial(kernel(g, causal=True).sums, x, y, v), repeats)
    _, states = kernel(g).sums_and_states(x, y, v)
    backward = seconds(partial(kernel(g).gradients, x, left, y, v, states), repeats)
    q = x * math.sqrt(d)
    call = seconds(lambda: aa.attention(q, y, v[:, :d], aa.Polynomial(degree=g)), repeats)
    line = {
        "d": d,
        "degree": g,
        "rank": r,
        "ns a token": 1e9 * sums / n,
        "peak": 100 * 4 * n * r * m / sums / speed,
        "causal": causal / sums,
        "backward": backward / sums,
        "call": call / sums,
        "scratch MB": scratch(forward, n * m * 4),
    }
    pair = exact_attention(d, 4096, repeats)
    return line if pair is None else line | against_exact(pair, sums / n, d, g, repeats)


def against_exact(pair: float, token: float, d: int, g: int, repeats: int) -> dict[str, float]:
    """Return where the sums cost as much as exact attention, measured near that length, and how
    much less at 65536.
    """
    crossover = token / pair
    for _ in range(2):
        n = max(16, round(crossover))
        x, y, v = inputs(n, d, np.random.default_rng(n))
        own = exact_attention(d, n, repeats) if n < 4096 else pair
        crossover = seconds(partial(kernel(g).sums, x, y, v), repeats) / n / (own or pair)
    return {"crossover": crossover, "at 65536": 65536 * pair / token, "ns a pair": 1e9 * pair}


def scratch(task: Callable[[], object], result: int) -> float:
    """Return the megabytes allocated at the worst moment beyond the result."""
    tracemalloc.start()
    task()
    _, worst = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (worst - result) / 2**20


def two_threads(d: int, g: int, repeats: int) -> dict[str, float]:
    """Return wall time of one thread over that of two, for the sums and for plain products in two
    threads, taken in turn.

    The products say what the machine had to give at that moment. "processor time" is that of two
    threads over that of one: with two idle processors the speed-up is 2 over it.
    """
    x, y, v = inputs(2 * TOKENS, d, np.random.default_rng(0))
    task, out = partial(kernel(g).sums, x, y, v), np.empty((2, 768, 768), np.float32)
    a = np.ones((768, 768), np.float32)

    def some(i: int, count: int) -> None:
        for _ in range(count):
            np.matmul(a, a, out=out[i])

    def plain(threads: int) -> None:
        gather([partial(some, i, 24 // threads) for i in range(threads)])

    wall = dict.fromkeys(("ours 1", "ours 2", "plain 1", "plain 2", "used 1", "used 2"), math.inf)
    for _ in range(3 * repeats):
        for threads in (1, 2):
            with threadpool_limits(limits=threads, user_api="blas"):
                start, cpu = time.perf_counter(), time.process_time()
                task()
                end, used = time.perf_counter(), time.process_time() - cpu
            with threadpool_limits(limits=1, user_api="blas"):
                plain(threads)
            for key, spent in (
                ("ours", end - start),
                ("plain", time.perf_counter() - end),
                ("used", used),
            ):
                wall[f"{key} {threads}"] = min(wall[f"{key} {threads}"], spent)
    return {
        "speed-up": wall["ours 1"] / wall["ours 2"],
        "of plain products": wall["plain 1"] / wall["plain 2"],
        "processor time": wall["used 2"] / wall["used 1"],
    }


def exponent(d: int, g: int, longest: int, repeats: int) -> float:
    """Return the least-squares slope of log time against log n from 2^12 on."""
    sizes = [2**k for k in range(12, longest + 1, 2)]
    times = []
    for n in sizes:
        x, y, v = inputs(n, d, np.random.default_rng(n))
        times.append(seconds(partial(kernel(g).sums, x, y, v), repeats))
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def peers(d: int, n: int, repeats: int) -> dict[str, float | str]:
    """Return how often the time of our sums of degree 2 the peers take that are installed; the
    others by name.
    """
    found: dict[str, float | str] = {}
    x, y, v = inputs(n, d, np.random.default_rng(0))
    own = seconds(partial(kernel(2).sums, x, y, v), repeats)
    for name in PEERS:
        try:
            module, torch = importlib.import_module(name), importlib.import_module("torch")
        except ModuleNotFoundError:
            found[name] = "not installed"
            continue
        if name != "taylor_series_linear_attention":
            found[name] = "installed, but no call is written for it"
            continue
        torch.set_num_threads(1)
        layer = module.TaylorSeriesLinearAttn(dim=d, dim_head=d, heads=1)
        tokens = torch.randn(1, n, d)
        with torch.no_grad():
            found[name] = seconds(partial(layer, tokens), repeats) / own
    return found


def show(line: dict[str, Any], goals: dict[str, float]) -> str:
    """Format one line of the table with its goals."""
    parts = [f"{line['d']:>3}, {line['degree']} ({line['rank']})".ljust(14)]
    parts.append(f"{line['ns a token']:>8.0f} ns  {line['peak']:5.1f} % [{goals['peak']:g}]")
    parts.append(
        f"causal {line['causal']:.2f} [{CAUSAL}]  backward {line['backward']:.2f} [{BACKWARD}]"
    )
    parts.append(f"call {line['call']:.2f}  scratch {line['scratch MB']:.0f} MB [{SCRATCH}]")
    if "crossover" in line:
        parts.append(f"crossover {line['crossover']:.0f} [{goals['crossover']:g}]")
        parts.append(f"at 65536 {line['at 65536']:.0f}x [{goals['at 65536']:g}]")
    return "  ".join(parts)


def main() -> None:
    """Read the options, print the table, write it as JSON."""
    parser = argparse.ArgumentParser(description="Time polynomial attention, as ratios.")
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs per figure; the fastest counts"
    )
    parser.add_argument(
        "--longest", type=int, default=20, help="log2 of the longest sequence of the exponent"
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("report/bench_polynomial.json"),
        help="where the figures go",
    )
    options = parser.parse_args()
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "numpy": np.__version__,
        "rows": [],
    }
    with threadpool_limits(limits=1):
        for (d, g), goals in GOALS.items():
            line = row(d, g, options.repeats)
            report["rows"].append(line | {"goals": goals})
            print(show(line, goals), flush=True)
        report["exponent"] = exponent(16, 2, options.longest, options.repeats)
        print(f"time grows like n^{report['exponent']:.3f} [1.00 +- {EXPONENT}], d = 16, degree 2")
        report["peers"] = {d: peers(d, 4096, options.repeats) for d in (16, 64)}
        for d, found in report["peers"].items():
            told = "; ".join(
                f"{k} {v if isinstance(v, str) else f'{v:.1f}x ours'}" for k, v in found.items()
            )
            print(f"d = {d}, degree 2, n = 4096: {told}")
    report["two threads"] = {
        f"{d}, {g}": two_threads(d, g, options.repeats) for d, g in ((16, 3), (64, 2))
    }
    for name, pair in report["two threads"].items():
        idle = (
            f"{2 / pair['processor time']:.2f}x [{TWO_THREADS}] on two idle processors, by "
            "processor time"
        )
        print(
            f"two threads, {name}: {pair['speed-up']:.2f}x, plain products "
            f"{pair['of plain products']:.2f}x; {idle}"
        )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"figures: {options.json}")


if __name__ == "__main__":
    main()
