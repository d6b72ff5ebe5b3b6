"""Attention from files to a file by one process and by many: time, memory, growth, kills, an audit.

    ./run.sh bench distributed              # or: python benchmarks/across_workers.py
    ./run.sh bench distributed --quick      # up to 2^20 tokens: minutes
    ./run.sh bench distributed --largest 24 # 2^24 too, 1,000 of its rows recomputed exactly
    ./run.sh bench distributed --kills 20   # workers killed by SIGKILL: the same bits?
    ./run.sh bench distributed --told       # what `approxattn capacity` says, 2^20 to 2^23 tokens

float32, d = dv = 16, normal tokens of deviation 0.35, `Polynomial(degree=3)`, blocks of 2^18
tokens, one BLAS thread a process. *memory* is `approxattn.attention` of arrays read from the files,
its output and bounds written to files; *here*, *pool* and *dask* are
`approxattn.distributed.attention` in one process, by a pool of processes, by a Dask cluster on this
machine. Workers are warm.
Processor time is that of the workers' processes, all threads of them; scaling is the processor time
of one worker over that of the longer of two, which other work on the machine disturbs less than the
clock. Memory is the private kind (RssAnon), looked at every 50 ms: so Linux alone. Beside each run
stands what `distributed.capacity` said right after it.

Runs that are in the file of results are not done again; `--again` does them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sharded_runs import kills
from sharded_runs.engines import Run, measured
from sharded_runs.inputs import D, exact_rows, files
from sharded_runs.tables import goals, goals_of_told, page, table, table_of_told

import approxattn as aa
from approxattn import distributed

AUDITED = 1000


def runs(largest: int) -> Iterator[Run]:
    """Yield what is to be run."""
    middle = min(20, largest)
    for causal in (False, True):
        for engine in ("memory", "here"):
            yield Run(engine=engine, exponent=middle, causal=causal)
    for exponent in range(18, largest + 1, 2):
        yield Run(engine="here", exponent=exponent)
    for exponent in range(middle, min(22, largest) + 1, 2):
        for engine in ("pool", "dask"):
            for workers in (1, 2):
                yield Run(engine=engine, exponent=exponent, workers=workers)
    if largest >= 24:
        for engine in ("pool", "dask"):
            yield Run(engine=engine, exponent=24, workers=2)


def told_runs(largest: int) -> Iterator[Run]:
    """Yield runs that the capacity model is compared with."""
    for exponent in range(20, largest + 1):
        for engine, workers in (("here", 1), ("pool", 1), ("pool", 2), ("dask", 1), ("dask", 2)):
            yield Run(engine=engine, exponent=exponent, workers=workers)


def told(run: Run) -> dict[str, float]:
    """Return what the capacity model says of a run."""
    found = distributed.capacity(
        2**run.exponent,
        aa.Polynomial(degree=run.degree),
        d=D,
        workers=run.workers,
        engine=run.engine,
        causal=run.causal,
    )
    return {
        "processor seconds": round(found.processor_seconds, 2),
        "most processor seconds": round(found.most_processor_seconds, 2),
        "wall seconds": round(found.wall_seconds, 2),
        "private MiB": round(found.worker_mib, 1),
        "read GB": round(found.bytes_read / 1e9, 3),
        "message MB": round(found.message_bytes / 1e6, 2),
    }


def audited(exponent: int, folder: Path) -> dict[str, Any]:
    """Recompute some rows of the output that lies in the folder; return the largest error and the
    largest of errors over bounds.
    """
    paths, out = files(folder, exponent), folder / "out.npy"
    rows = np.random.default_rng(0).choice(2**exponent, AUDITED, replace=False)
    exact = exact_rows(paths, rows)
    errors = np.abs(np.load(out, mmap_mode="r")[rows] - exact).max(axis=1)
    bounds = np.load(folder / "out.npy.run" / "rows.npy", mmap_mode="r")[rows]
    return {
        "rows": AUDITED,
        "largest error": float(errors.max()),
        "largest bound": float(bounds.max()),
        "largest error over bound": float((errors / bounds).max()),
    }


def time_them(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Do the runs that are missing, and write each down."""
    for run in (told_runs if options.told else runs)(options.largest):
        if run.name in found and not options.again:
            continue
        paths = files(options.folder, run.exponent)
        record = measured(run, paths, options.folder / "out.npy")
        print(f"{run.name}: {record}", flush=True)
        if run.engine != "memory":
            record["told"] = told(run)
        last = run.exponent == options.largest and not options.told
        if last and run.engine == "pool" and run.workers == 2:
            record["audit"] = audited(run.exponent, options.folder)
        found[run.name] = {"run": vars(run), **record}
        print(f"{run.name}: {record}", flush=True)
        write(options.json, found)


def kill_them(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Kill workers of so many runs, and write down what came of them."""
    kills.with_patience(5.0)
    rng, paths, out = np.random.default_rng(options.seed), files(options.folder, 19), options.folder
    kinds = [("pool", "random"), ("dask", "random"), ("dask", "state"), ("dask", "all")]
    wanted: dict[bool, str] = {}
    records = []
    for i in range(options.kills):
        engine, kind = kinds[i % len(kinds)]
        run = Run(engine=engine, exponent=19, workers=2, causal=kind == "random" and i % 8 > 3)
        if run.causal not in wanted:
            wanted[run.causal], longest = kills.undisturbed(run, paths, out / "kills.npy")
        record = kills.killed(run, paths, out / "kills.npy", kind, rng, longest)
        record |= {"causal": run.causal, "same bits": record["digests"] == wanted[run.causal]}
        records.append(record)
        print(json.dumps(record), flush=True)
        found["kills"] = records
        write(options.json, found)


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write the results, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    half.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def main() -> None:
    """Read the options, do what is missing, print the table and the goals."""
    parser = argparse.ArgumentParser(description="Attention over files, by one process and many.")
    parser.add_argument("--quick", action="store_true", help="up to 2^20 tokens")
    parser.add_argument("--largest", type=int, default=22, help="exponent of most tokens")
    parser.add_argument("--kills", type=int, default=0, help="so many runs with killed workers")
    parser.add_argument("--seed", type=int, default=0, help="who is killed, and when")
    parser.add_argument("--again", action="store_true", help="do all runs anew")
    parser.add_argument("--folder", type=Path, default=Path("report/sharded_runs"))
    parser.add_argument("--told", action="store_true", help="what the capacity model says")
    parser.add_argument(
        "--json",
        type=Path,
        help="results: report/bench_distributed.json, or with --told report/bench_capacity.json",
    )
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--page", type=Path, help="a page to write it into, between its marks")
    options = parser.parse_args()
    options.largest = 20 if options.quick else options.largest
    name = "bench_capacity.json" if options.told else "bench_distributed.json"
    options.json = options.json or Path("report") / name
    found = json.loads(options.json.read_text()) if options.json.exists() else {}
    if options.kills:
        kill_them(options, found)
    elif not (options.table or options.page):
        time_them(options, found)
    if options.page:
        text = page(options.page.read_text(encoding="utf-8"), found, told=options.told)
        options.page.write_text(text, encoding="utf-8")
    print(table_of_told(found) if options.told else table(found))
    print(goals_of_told(found) if options.told else goals(found))
    if not math.isclose(os.getloadavg()[0], 0.0, abs_tol=1.5):
        print("the machine is busy: trust processor times, and ratios of them")


if __name__ == "__main__":
    main()
