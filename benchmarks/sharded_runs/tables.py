"""The results as a Markdown table, and the goals beside what was reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

HEADER = (
    "| run | n | processor s of each worker | s of the client | wall s | private MiB | processor s "
    "told | MiB told |\n|---|---|---|---|---|---|---|---|"
)


def table(found: Mapping[str, Any]) -> str:
    """Return one line a run."""
    lines = [HEADER]
    for record in _records(found):
        run, told = record["run"], record.get("told", {})
        each = ", ".join(f"{x:.1f}" for x in record["worker seconds"])
        order = " causal" if run["causal"] else ""
        lines.append(
            f"| {run['engine']} {run['workers']}{order} | 2^{run['exponent']} | {each} | "
            f"{record['own seconds']:.1f} | {record['wall seconds']:.0f} | "
            f"{max(record['private MiB']):.0f} | {told.get('processor seconds', '')} | "
            f"{told.get('private MiB', '')} |"
        )
    return "\n".join(lines)


def _records(found: Mapping[str, Any]) -> list[Any]:
    """Return the runs by size."""
    runs = [record for name, record in found.items() if name != "kills"]
    names = ("memory", "here", "pool", "dask")
    return sorted(
        runs,
        key=lambda x: (
            x["run"]["exponent"],
            x["run"]["causal"],
            names.index(x["run"]["engine"]),
            x["run"]["workers"],
        ),
    )


def goals(found: Mapping[str, Any]) -> str:
    """Return a line for each goal whose runs are there."""
    times = {name: record["worker seconds"] for name, record in found.items() if name != "kills"}
    lines = []
    for engine in ("pool", "dask"):
        for exponent in (20, 22):
            one, two = (times.get(f"{engine} {w}, 2^{exponent}, degree 3") for w in (1, 2))
            if one and two:
                lines.append(
                    f"two workers over one, {engine}, 2^{exponent}: {one[0] / max(two):.2f}"
                )
    for order in ("", ", causal"):
        here, memory = (times.get(f"{e} 1, 2^20, degree 3{order}") for e in ("here", "memory"))
        if here and memory:
            lines.append(f"one process over memory, 2^20{order}: {here[0] / memory[0]:.2f}")
    lines += _growth(found) + _killed(found)
    return "\n".join(lines)


def _growth(found: Mapping[str, Any]) -> list[str]:
    here = {
        record["run"]["exponent"]: record
        for record in _records(found)
        if record["run"]["engine"] == "here" and not record["run"]["causal"]
    }
    if len(here) < 2:
        return []
    seconds = [math.log2(record["worker seconds"][0]) for record in here.values()]
    slope = float(np.polyfit(list(here), seconds, 1)[0])
    sizes = ", ".join(f"{record['private MiB'][0]:.0f}" for record in here.values())
    exponents = ", ".join(f"2^{e}" for e in here)
    return [
        f"exponent of processor time, {exponents}: {slope:.3f}",
        f"private MiB of one process: {sizes}",
    ]


def table_of_told(found: Mapping[str, Any]) -> str:
    """Return what the capacity model said of each run beside what it took."""
    lines = [
        "| run | n | processor s told, if memory goes back | measured | wall s told | measured | "
        "MiB told | measured | load |\n|---|---|---|---|---|---|---|---|---|"
    ]
    for record in _records(found):
        run, told = record["run"], record["told"]
        most = told["most processor seconds"]
        lines.append(
            f"| {run['engine']} {run['workers']} | 2^{run['exponent']} | "
            f"{told['processor seconds']:.1f}, {most:.1f} | {sum(record['worker seconds']):.1f} | "
            f"{told['wall seconds']:.0f} | {record['wall seconds']:.0f} | "
            f"{told['private MiB']:.0f} | {max(record['private MiB']):.0f} | {record['load']:.0f} |"
        )
    return "\n".join(lines)


def goals_of_told(found: Mapping[str, Any]) -> str:
    """Return how far what was told is from what was measured."""
    lines = []
    for key, name in (
        ("", "processor seconds"),
        (", if memory goes back", "most processor seconds"),
    ):
        ratios = [
            record["told"][name] / sum(record["worker seconds"]) for record in _records(found)
        ]
        low, high = min(ratios), max(ratios)
        lines.append(f"processor time told{key}, over measured: {low:.2f} to {high:.2f}")
    return "\n".join(lines)


def _killed(found: Mapping[str, Any]) -> list[str]:
    records = found.get("kills", [])
    if not records:
        return []
    same = sum(record["same bits"] for record in records)
    ended = sum(record["calls"] > 1 for record in records)
    kills = sum(len(record["killed after"]) for record in records)
    return [
        f"{len(records)} runs, {kills} workers killed: {same} with the same bits, {ended} of them "
        "ended with an error and were continued by the same call"
    ]


BEGIN, BEGIN_TOLD, END = (
    "<!-- table: written by benchmarks/across_workers.py --page -->",
    "<!-- table: written by benchmarks/across_workers.py --told --page -->",
    "<!-- end of table -->",
)


def page(text: str, found: Mapping[str, Any], *, told: bool = False) -> str:
    """Return a page with one of the tables and its goals between two marks."""
    begin = BEGIN_TOLD if told else BEGIN
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(END)
    reached = (goals_of_told if told else goals)(found)
    lines = "\n".join(f"- {line}" for line in reached.splitlines())
    shown = (table_of_told if told else table)(found)
    return f"{before}{begin}\n\n{shown}\n\n{lines}\n\n{END}{after}"
