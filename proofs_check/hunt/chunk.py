"""One chunk of a cell: problems drawn from its number, judged, and a record of one JSON line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from proofs_check.hunt import evolve, problems, written
from proofs_check.hunt.judge import Finding, Judgement, judge
from proofs_check.hunt.methods import ROWS, Cell, Row
from proofs_check.hunt.modes import transformers, variants
from proofs_check.hunt.modes.calls import Library, library
from proofs_check.hunt.problems import Posed

EVOLVING = 5
"""One chunk in so many is an evolution, where the mode has problems of independent items."""

SHOWN = 3
"""Findings of one kind that a chunk writes down, the worst first; the others are counted."""


def posed_for(cell: Cell, seed: int, index: int, row: Row) -> tuple[Posed, np.random.Generator]:
    """Return the problems of a chunk, and the source of what an evolution draws."""
    rng = problems.generator(seed, cell, index)
    if cell.mode.startswith("network"):
        return transformers.draw(rng, cell, index, row), rng
    posed = problems.draw(rng, cell, index)
    return variants.varied(rng, posed, cell) if cell.mode == "variant" else posed, rng


def examine(cell: Cell, *, seed: int = 0, index: int = 0, row: Row | None = None) -> dict[str, Any]:
    """Carry out one chunk and return its record.

    Parameters
    ----------
    cell : Cell
        Where.
    seed, index : int
        Of the campaign, and of the chunk in its cell.
    row : Row, optional
        In the place of the row of the table: how a fault is tried.

    Returns
    -------
    dict
        What the store holds of a chunk; plain JSON.
    """
    start, row = time.monotonic(), row or ROWS[cell.row]
    lib = library(cell.library)
    posed, rng = posed_for(cell, seed, index, row)
    found = judge(cell, row, posed, lib)
    count, best = posed.count, found
    findings, stages = [(0, f) for f in found.findings], [posed]
    if _evolves(cell, index, found, posed):
        for generation in range(1, evolve.GENERATIONS + 1):
            posed = evolve.next_generation(rng, posed, best.ratios)
            best = judge(cell, row, posed, lib)
            stages.append(posed)
            findings += [(generation, f) for f in best.findings]
            _join(found, best)
            count += posed.count
    lines = list(_lines(cell, seed, index, findings))
    for line in lines:
        line |= _alone(cell, row, stages[line["generation"]], line, lib)
    record = _record(cell, seed, index, count, found, lines)
    return {**record, "seconds": round(time.monotonic() - start, 4)}


def _evolves(cell: Cell, index: int, found: Judgement, posed: Posed) -> bool:
    """Tell whether to go on: draws that a search can see are no fair trial of a probability."""
    apart = cell.mode.startswith("network") or posed.outer or cell.mode == "audit"
    apart = apart or ROWS[cell.row].costly
    return index % EVOLVING == EVOLVING - 1 and not apart and not found.trials


def _join(found: Judgement, other: Judgement) -> None:
    found.ratios = np.concatenate([found.ratios, other.ratios])
    found.refused += other.refused
    found.rows += other.rows
    found.unbounded += other.unbounded
    found.undecided += other.undecided


def _record(
    cell: Cell,
    seed: int,
    index: int,
    count: int,
    found: Judgement,
    lines: list[dict[str, Any]],
) -> dict[str, Any]:
    finite = found.ratios[np.isfinite(found.ratios)]
    trials: dict[str, list[int]] = {}
    for (allowed, what), number in found.trials.items():
        trials.setdefault(repr(allowed), [0, 0])[what == "failed"] += number
    return {
        **_key(cell, seed, index),
        "problems": count,
        "refused": found.refused,
        "rows": found.rows,
        "unbounded": found.unbounded,
        "undecided": found.undecided,
        "ratio": float(finite.max(initial=0.0)),
        "trials": trials,
        "findings": lines,
    }


def _alone(
    cell: Cell, row: Row, posed: Posed, line: Mapping[str, Any], lib: Library
) -> dict[str, Any]:
    """Return the one problem of a finding, if it is small, and whether it is wrong by itself."""
    whole = posed.outer or (cell.mode == "network-gradient" and not posed.singly)  # sums over items
    one = posed if whole else replace(posed.take([line["item"]]), singly=False)
    if posed.singly and not posed.outer:
        one = replace(one, seed=posed.seed + line["item"])
    text = written.as_json(one)
    if text is None:
        return {"alone": False}
    return {"alone": _again(cell, row, one, line, lib), "problem": text}


def _again(cell: Cell, row: Row, one: Posed, line: Mapping[str, Any], lib: Library) -> bool:
    found = judge(cell, row, one, lib).findings
    return any(f.kind == line["kind"] and f.part == line["part"] for f in found)


def _key(cell: Cell, seed: int, index: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "row": cell.row,
        "mode": cell.mode,
        "dtype": cell.dtype,
        "library": cell.library,
        "index": index,
    }


def _lines(cell: Cell, seed: int, index: int, findings: list[tuple[int, Finding]]) -> Any:
    """Yield the worst findings of each kind and part as JSON, with how many there were."""
    groups: dict[tuple[str, str], list[tuple[int, Finding]]] = {}
    for generation, f in findings:
        groups.setdefault((f.kind, f.part), []).append((generation, f))
    for group in groups.values():
        group.sort(key=lambda pair: -pair[1].ratio)
        for generation, f in group[:SHOWN]:
            yield _line(_key(cell, seed, index), generation, f, len(group))


def _line(key: dict[str, Any], generation: int, f: Finding, among: int) -> dict[str, Any]:
    return {
        **key,
        "generation": generation,
        "item": f.item,
        "kind": f.kind,
        "part": f.part,
        "detail": f.detail,
        "ratio": f.ratio if np.isfinite(f.ratio) else 1e300,
        "among": among,
    }


def cell_of(line: Mapping[str, Any]) -> Cell:
    """Return the cell of a record or a finding."""
    return Cell(line["row"], line["mode"], line["dtype"], line["library"])


def replay(line: Mapping[str, Any]) -> tuple[bool, list[dict[str, Any]]]:
    """Carry out the chunk of a finding once more.

    Returns
    -------
    tuple of bool and list
        Whether the same finding came back, and all findings of the chunk.

    Raises
    ------
    ValueError
        When the line is no finding of this version's table.
    """
    missing = {"seed", "row", "mode", "dtype", "library", "index"} - set(line)
    if missing or line.get("row") not in ROWS:
        msg = (
            f"line(={json.dumps(dict(line))[:80]}) is no finding: it needs seed, row, mode, dtype, "
            "library and index, with a row of today's table"
        )
        raise ValueError(msg)
    cell = cell_of(line)
    if line.get("alone"):  # an evolution takes another way when the code has changed
        lib, one = library(cell.library), written.from_json(line["problem"])
        found = judge(cell, ROWS[cell.row], one, lib).findings
        lines = [_line(_key(cell, line["seed"], line["index"]), 0, f, 1) for f in found]
        return any(f.kind == line["kind"] and f.part == line["part"] for f in found), lines
    again = examine(cell, seed=line["seed"], index=line["index"])["findings"]
    same = {"kind", "part", "item", "generation"} & set(line)
    return any(all(f[name] == line[name] for name in same) for f in again), again
