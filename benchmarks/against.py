"""Time whole calls of `Polynomial` in this checkout against another one, in turn.

    git worktree add ../before COMMIT
    ./run.sh bench against ../before        # or: python benchmarks/against.py ../before --pairs 3

float32, one head, d = dv, 8,192 tokens, |scores| <= 2, one thread; a call with its certificate,
which is read. Each pair of fresh processes, one for each checkout, takes turns on one processor, so
both meet the same clock. Where a process has its pages decides up to a tenth of its time for as
long as it lives, so a ratio is a geometric mean over several pairs. Processor times.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

SHAPES = "16,2", "16,3", "16,4", "32,2", "32,3", "64,2"
KINDS = "plain", "causal", "gradient"
TOKENS, WARM = 8192, 5
HERE = str(Path(__file__).resolve().parents[1])
Worker = subprocess.Popen[str]


def task(aa: Any, basis: str, shape: str, kind: str) -> Callable[[], object]:
    """Return the call to be timed, with the package of one checkout."""
    d, g = map(int, shape.split(","))
    x, y, v = np.random.default_rng(0).standard_normal((3, TOKENS, d))
    x, y = (math.sqrt(2) * a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, y))
    q, k, v = (a.astype(np.float32) for a in (x, y, v))
    method = aa.Polynomial(degree=g, basis=basis)
    if kind == "gradient":
        return lambda: aa.attention_vjp(q, k, v, v, method, scale=1.0).certificate.dq
    causal = kind == "causal"
    return lambda: aa.attention(q, k, v, method, scale=1.0, causal=causal).certificate.rows


def work(tree: str, basis: str) -> None:
    """Time a call for each line of standard input, "SHAPE KIND REPEATS"."""
    sys.path.insert(0, tree)  # before the checkout that is installed
    aa = importlib.import_module("approxattn")
    if not Path(str(aa.__file__)).resolve().is_relative_to(tree):
        sys.exit(f"{tree} has no package approxattn")
    tasks: dict[tuple[str, str], Callable[[], object]] = {}
    for line in sys.stdin:
        shape, kind, repeats = line.split()
        call = tasks.setdefault((shape, kind), task(aa, basis, shape, kind))
        for _ in range(int(repeats)):
            start = time.process_time()
            call()
            spent = time.process_time() - start
        print(spent, flush=True)  # the last one's: those before it warm the caches


@contextmanager
def workers(trees: list[str], basis: str) -> Iterator[list[Worker]]:
    """Start a process for each checkout, all on one processor."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = [
        subprocess.Popen(
            [sys.executable, __file__, "--work", tree, basis],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **one},
        )
        for tree in trees
    ]
    try:
        yield own
    finally:
        for worker in own:
            worker.communicate()  # closes its input, which ends it


def ask(worker: Worker, shape: str, kind: str, repeats: int) -> float:
    """Return the seconds of the last of a few calls."""
    if worker.stdin and worker.stdout and worker.poll() is None:
        worker.stdin.write(f"{shape} {kind} {repeats}\n")
        worker.stdin.flush()
        if answer := worker.stdout.readline():
            return float(answer)
    sys.exit("a worker has ended, see above")


def duel(own: list[Worker], shape: str, kind: str, repeats: int) -> list[list[float]]:
    """Return the seconds of each checkout's calls, taken in turn."""
    for worker in own:
        ask(worker, shape, kind, WARM)
    times: list[list[float]] = [[] for _ in own]
    for turn in range(repeats):
        for i in sorted(range(len(own)), reverse=bool(turn % 2)):
            times[i].append(ask(own[i], shape, kind, 2))
    return times


def ratios(times: list[list[float]]) -> dict[str, float]:
    """Return this checkout's best, lower quartile and median over the other one's."""
    before, now = (sorted(found) for found in times)
    at = {"best": 0, "quartile": len(now) // 4, "median": len(now) // 2}
    return {name: now[i] / before[i] for name, i in at.items()}


def main() -> None:
    """Read the options, print a line for each shape and kind, write them as JSON."""
    parser = argparse.ArgumentParser(description="Time this checkout against another one.")
    parser.add_argument("tree", type=Path, help="another checkout, or one of another version")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of fresh processes")
    parser.add_argument("--repeats", type=int, default=30, help="calls of each, in each pair")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), help="width,degree")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--basis", default="minimax", help="of the polynomials")
    parser.add_argument("--json", type=Path, default=Path("report/bench_against.json"))
    options = parser.parse_args()
    cases = [(shape, kind) for kind in options.kinds for shape in options.shapes]
    found: dict[tuple[str, str], list[dict[str, float]]] = {case: [] for case in cases}
    for pair in range(options.pairs):
        print(f"pair {pair + 1} of {options.pairs}", file=sys.stderr)
        with workers([str(options.tree.resolve()), HERE], options.basis) as own:
            for case in cases:
                found[case].append(ratios(duel(own, *case, options.repeats)))
    report = []
    for (shape, kind), pairs in found.items():
        means = {name: statistics.geometric_mean(x[name] for x in pairs) for name in pairs[0]}
        report.append({"shape": shape, "kind": kind, **means, "pairs": pairs})
        told = "  ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        print(f"{shape:5} {kind:8}  {told}", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
    else:
        main()
