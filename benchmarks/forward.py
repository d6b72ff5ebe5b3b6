"""Time every method on one thread, beside exact attention and the two matrix products that exact
attention cannot avoid.

    ./run.sh bench                          # or: python benchmarks/forward.py --sizes 1024,4096

All figures are ratios of processor times taken in one process; the smallest of a few repetitions
counts. A time without an error means little, so each line carries the error of the result and,
last, that of the mean of v (which costs nothing). The error is relative to exact attention in the
Frobenius norm; that of Yoso, which estimates another kernel, is relative to YosoExpectation.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

import approxattn as aa

Array = npt.NDArray[np.float32]
BLOCK = 512  # rows at a time, so that memory does not grow like n^2

METHODS: dict[str, Any] = {
    "Exact": aa.Exact(),
    "Polynomial, degree 2": aa.Polynomial(degree=2),
    "Polynomial, degree 4": aa.Polynomial(degree=4),
    "Linformer, mean-pool, 128": aa.Linformer(rank=128, sketch="mean-pool"),
    "Linformer, gaussian, 128": aa.Linformer(rank=128),
    "YosoExpectation, 8 bits": aa.YosoExpectation(bits=8),
    "Yoso, 8 bits, 32 hashes": aa.Yoso(bits=8, hashes=32),
    "BertLSH, 2 bits": aa.BertLSH(bits=2),
}
TARGETS = {
    "YosoExpectation, 8 bits": "YosoExpectation, 8 bits",
    "Yoso, 8 bits, 32 hashes": "YosoExpectation, 8 bits",
}


def inputs(n: int, d: int, reach: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Draw q, k with all scores q.k/sqrt(d) in [-reach, reach], and Gaussian v."""
    q, k, v = rng.standard_normal((3, n, d))
    longest = math.sqrt(reach * math.sqrt(d))
    q, k = (longest * x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, k))
    return q.astype(np.float32), k.astype(np.float32), v.astype(np.float32)


def products(q: Array, k: Array, v: Array) -> None:
    """Form (q k^T) v by rows of blocks: the 4 n^2 d operations of exact attention without its
    exponentials.
    """
    for start in range(0, q.shape[0], BLOCK):
        _ = (q[start : start + BLOCK] @ k.T) @ v


def seconds(task: Callable[[], object], repeats: int) -> float:
    """Return the smallest processor time of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return min(times)


def bench(n: int, d: int, reach: float, repeats: int) -> None:
    """Print one block of the table."""
    q, k, v = inputs(n, d, reach, np.random.default_rng(n))
    floor = seconds(lambda: products(q, k, v), repeats)
    print(f"\nn = {n}: matrix products {floor:.3g} s")
    exact_time = math.nan
    results: dict[str, Array] = {}
    for name, method in METHODS.items():
        call = partial(compute, q, k, v, method)
        results[name] = call()  # also the run that fills caches and is not timed
        spent = seconds(call, repeats)
        exact_time = spent if name == "Exact" else exact_time
        error = relative_error(results[name], results[TARGETS.get(name, "Exact")])
        print(f"  {name:28s}{spent / floor:12.2f}{spent / exact_time:12.3f}{error:12.1e}")
    print(f"  {'mean of v':52s}{relative_error(v.mean(axis=0), results['Exact']):12.1e}")


def compute(q: Array, k: Array, v: Array, method: Any) -> Array:
    """Return the output of one method; the generator starts anew, so that each run does the same
    work.
    """
    value: Array = aa.attention(q, k, v, method, rng=np.random.default_rng(1)).value
    return value


def relative_error(value: Array, exact: Array) -> float:
    """Return the Frobenius norm of the error over that of the exact output."""
    return float(np.linalg.norm(value - exact) / np.linalg.norm(exact))


def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description="Time every method on one thread, as ratios.")
    parser.add_argument("--sizes", default="1024,2048,4096,8192,16384", help="sequence lengths")
    parser.add_argument("--width", type=int, default=16, help="d, of queries, keys and values")
    parser.add_argument("--reach", type=float, default=2.0, help="largest possible |score|")
    parser.add_argument("--repeats", type=int, default=3, help="runs per line; the fastest counts")
    options = parser.parse_args()
    print(f"float32, d = {options.width}, |scores| <= {options.reach:g}, one thread")
    print(f"  {'':28s}{'/ products':>12s}{'/ Exact':>12s}{'rel. error':>12s}")
    with threadpool_limits(limits=1):
        for n in (int(part) for part in options.sizes.split(",")):
            bench(n, options.width, options.reach, options.repeats)


if __name__ == "__main__":
    main()
