"""Time hashed attention (`Yoso`) on one thread: its steps against what else does them, the whole
against other methods, its growth with n.

    ./run.sh bench lsh                      # or: python benchmarks/lsh.py --repeats 5 --json FILE

float32, one head, d = dv = 64, m = 16 hashes of 8 bits, n = 65,536. All times are processor times
of one process, the smallest of a few repetitions. "sums" are hashing, tables and reading alone;
"call" is `approxattn.attention` as a whole, with its checks, standard errors and certificate.
PyTorch's rows appear where it is installed; its exact attention is timed at n / 4 and counted
sixteen times. Goals stand in brackets.
"""

from __future__ import annotations

import argparse
import importlib
import json
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
from approxattn.hashing.hyperplanes import draw_hyperplanes
from approxattn.methods.yoso.numpy_tables import (
    key_block,
    numpy_sample,
    packed_codes,
    read_tables,
    tables,
)

Array = npt.NDArray[np.float32]
D, BITS, HASHES = 64, 8, 16
METHOD = aa.Yoso(bits=BITS, hashes=HASHES, gradient="sampled")


def seconds(task: Callable[[], object], repeats: int) -> float:
    """Return the smallest processor time of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return min(times)


def inputs(n: int) -> tuple[Array, Array, Array, Array]:
    """Draw Gaussian q, k, v and a cotangent."""
    q, k, v, g = np.random.default_rng(n).standard_normal((4, n, D)).astype(np.float32)
    return q, k, v, g


def normals(like: Array) -> Array:
    """Return the hyperplanes that a call with the generator of `call` draws."""
    found: Array = draw_hyperplanes(HASHES, BITS, like, np.random.default_rng(1))
    return found


def call(q: Array, k: Array, v: Array, method: Any = METHOD) -> Any:
    """Return the output and certificate of a method."""
    return aa.attention(q, k, v, method, rng=np.random.default_rng(1))


def sums(q: Array, k: Array, v: Array) -> None:
    """Hash, fill the tables and read them, nothing else."""
    numpy_sample(v, k, q, normals(q), [HASHES], False, None)


def steps(q: Array, k: Array, v: Array, repeats: int) -> dict[str, float]:
    """Return the times of the steps, and of other ways to do them."""
    planes, buckets = normals(q), HASHES << BITS
    codes = packed_codes(k, planes)
    table = tables(v, codes, buckets, key_block(BITS))

    def add_at() -> None:
        total = np.zeros((buckets, D), np.float32)
        for h in range(HASHES):
            np.add.at(total, codes[:, h], v)

    def read() -> None:
        for first in range(0, len(q), 2048):
            read_tables(codes[first : first + 2048], table, [HASHES], False)

    found = {
        "hash": seconds(lambda: packed_codes(k, planes), repeats),
        "scatter": seconds(lambda: tables(v, codes, buckets, key_block(BITS)), repeats),
        "gather": seconds(read, repeats),
        "scatter, np.add.at": seconds(add_at, 1),
    }
    return found | torch_steps(v, codes, table, repeats)


def torch_steps(
    v: Array, codes: npt.NDArray[np.int32], table: Array, repeats: int
) -> dict[str, float]:
    """Return PyTorch's times of the same steps and of its exact attention; nothing where it is not
    installed.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return {}
    torch.set_num_threads(1)
    values, ids, total = (
        torch.from_numpy(np.ascontiguousarray(x)) for x in (v, codes.astype(np.int64), table)
    )

    def index_add() -> None:
        filled = torch.zeros_like(total)
        for h in range(HASHES):
            filled.index_add_(0, ids[:, h], values)

    short = values[None, None, : len(v) // 4]
    attend = torch.nn.functional.scaled_dot_product_attention
    return {
        "scatter, torch index_add_": seconds(index_add, repeats),
        "gather, torch embedding_bag": seconds(
            lambda: torch.nn.functional.embedding_bag(ids, total, mode="sum"), repeats
        ),
        "exact, torch": 16 * seconds(lambda: attend(short, short, short), 1),
    }


def whole(q: Array, k: Array, v: Array, g: Array, repeats: int) -> dict[str, float]:
    """Return the times of whole calls, forward and backward, and of other methods."""
    return {
        "sums": seconds(lambda: sums(q, k, v), repeats),
        "call": seconds(lambda: call(q, k, v), repeats),
        "backward": seconds(
            lambda: aa.attention_vjp(q, k, v, g, METHOD, rng=np.random.default_rng(1)), 1
        ),
        "Linformer, gaussian, 256": seconds(lambda: call(q, k, v, aa.Linformer(rank=256)), 2),
        "Performer, 256": seconds(lambda: call(q, k, v, aa.Performer(features=256)), 1),
        "Hadamard call": seconds(
            lambda: call(q, k, v, aa.Yoso(bits=BITS, hashes=HASHES, hashing="hadamard")), 2
        ),
    }


def _output(q: Array, k: Array, v: Array, method: aa.BertLSH) -> None:
    aa.attention(q, k, v, method, rng=np.random.default_rng(1))


def _gradient(q: Array, k: Array, v: Array, g: Array, method: aa.BertLSH) -> None:
    aa.attention_vjp(q, k, v, g, method, rng=np.random.default_rng(1))


def pairs(repeats: int) -> list[tuple[str, float, str]]:
    """Return how many times as long BERT-LSH takes dense as over its colliding pairs: 3,000 tokens,
    d = 16, 8 bits, 2 tables, about 2 % of the pairs.
    """
    q, k, v, g = np.random.default_rng(0).standard_normal((4, 3000, 16))
    found = []
    for fill in (-np.inf, 0.0):
        dense, sparse = (aa.BertLSH(bits=8, tables=2, fill=fill, sparse=s) for s in (False, True))
        forward = [
            seconds(partial(_output, q, k, v, method), repeats) for method in (dense, sparse)
        ]
        backward = [
            seconds(partial(_gradient, q, k, v, g, method), repeats) for method in (dense, sparse)
        ]
        found += [
            (f"BERT-LSH, fill {fill:g}: dense / sparse", forward[0] / forward[1], ""),
            (f"its gradient, fill {fill:g}: dense / sparse", backward[0] / backward[1], ""),
        ]
    return found


def exponent(largest: int, repeats: int) -> tuple[list[tuple[int, float]], float]:
    """Return times of the sums at n = 2^14 .. largest, and the slope of a line through their
    logarithms.
    """
    sizes = [2**e for e in range(14, largest.bit_length())]
    times = []
    for n in sizes:
        q, k, v, _ = inputs(n)
        times.append(seconds(lambda q=q, k=k, v=v: sums(q, k, v), repeats))  # type: ignore[misc]
    slope = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
    return list(zip(sizes, times, strict=True)), slope


def scratch(q: Array, k: Array, v: Array) -> float:
    """Return the peak memory of the sums beyond output and codes, in units of the tables (m 2^bits
    dv numbers).
    """
    tracemalloc.start()
    sums(q, k, v)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # output, counts and their estimate, codes of queries and keys
    kept = len(q) * (4 * D + 8 + 8 + 2 * 4 * HASHES)
    return (peak - kept) / ((HASHES << BITS) * D * 4)


def ratios(found: dict[str, float]) -> list[tuple[str, float, str]]:
    """Return the ratios that the goals speak about, with the goals."""
    lines = [("scatter: np.add.at / ours", found["scatter, np.add.at"] / found["scatter"], ">= 40")]
    if "exact, torch" in found:
        lines += [
            (
                "scatter: torch index_add_ / ours",
                found["scatter, torch index_add_"] / found["scatter"],
                ">= 4",
            ),
            (
                "gather: ours / torch embedding_bag",
                found["gather"] / found["gather, torch embedding_bag"],
                "<= 2",
            ),
            ("forward: torch exact / call", found["exact, torch"] / found["call"], ">= 200"),
            ("forward: torch exact / sums", found["exact, torch"] / found["sums"], ">= 200"),
        ]
    return [
        *lines,
        (
            "forward: call / Linformer 256",
            found["call"] / found["Linformer, gaussian, 256"],
            "<= 0.25",
        ),
        ("forward: call / Performer 256", found["call"] / found["Performer, 256"], "<= 0.25"),
        ("backward / (dv x call)", found["backward"] / (D * found["call"]), "<= 3"),
        ("backward / call", found["backward"] / found["call"], ""),
    ]


def main() -> None:
    """Read the options, time everything and print the table."""
    parser = argparse.ArgumentParser(description="Time hashed attention on one thread.")
    parser.add_argument("--tokens", type=int, default=65_536, help="n")
    parser.add_argument("--largest", type=int, default=2**20, help="largest n of the growth")
    parser.add_argument("--repeats", type=int, default=5, help="runs per line; the fastest counts")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        q, k, v, g = inputs(options.tokens)
        call(q, k, v)
        found = steps(q, k, v, options.repeats) | whole(q, k, v, g, options.repeats)
        growth, slope = exponent(options.largest, max(2, options.repeats // 2))
        memory = scratch(q, k, v)
        sparse = pairs(options.repeats)
    print(
        f"float32, d = dv = {D}, {HASHES} hashes of {BITS} bits, n = {options.tokens}, one thread; "
        "milliseconds"
    )
    for name, spent in found.items():
        print(f"  {name:32s}{1e3 * spent:12.1f}")
    table = ratios(found) + sparse
    for name, ratio, goal in table:
        print(f"  {name:40s}{ratio:10.3g}  [{goal}]")
    for n, spent in growth:
        print(f"  sums at n = {n:8d}{1e3 * spent:12.1f}  {1e9 * spent / n:8.0f} ns a token")
    print(f"  exponent in n {slope:.3f} [1.00 +- 0.03]; scratch memory {memory:.1f} x tables")
    if options.json:
        record = {
            "seconds": found,
            "ratios": {name: ratio for name, ratio, _ in table},
            "exponent": slope,
            "scratch": memory,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
