"""`approxattn diagnose`: which method can work on the queries, keys and values of a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from approxattn._arrays import HostArray
from approxattn.diagnosis.files import read_qkv
from approxattn.diagnosis.page import page
from approxattn.diagnosis.regime import Regime, diagnose

HELP = "say which method can work on given queries, keys and values, and at what cost"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Describe the command."""
    command.add_argument(
        "file",
        type=Path,
        help=".npz or .safetensors with arrays q, k, v, or .npy of shape (3, ..., n, d)",
    )
    command.add_argument(
        "--layer", type=int, metavar="I", help="of arrays (layers, ..., heads, n, d), this one only"
    )
    command.add_argument(
        "--head", type=int, metavar="I", help="of arrays (..., heads, n, d), this one only"
    )
    command.add_argument("--scale", type=float, help="factor of q . k; 1/sqrt(d) if not given")
    command.add_argument("--causal", action="store_true", help="query i sees keys 0..i only")
    command.add_argument(
        "--rows", type=int, default=256, help="rows to measure when there are too many for all"
    )
    command.add_argument(
        "--seed", type=int, default=0, help="draws of rows and of random methods follow from it"
    )
    command.add_argument(
        "--methods", metavar="NAME,NAME", help="methods to compare; all if not given"
    )
    command.add_argument(
        "--budget",
        metavar="SHARE,SHARE",
        help="shares of the cost of exact attention; 0.0625,0.125,0.25,0.5 if not given",
    )
    command.add_argument(
        "--quick", action="store_true", help="do not run the methods, only measure the scores"
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.add_argument(
        "--html", type=Path, metavar="PAGE", help="also write a page with error against cost"
    )


def run(
    options: argparse.Namespace,
    write: Callable[[Path, str], object],
    check: Callable[[Path], object],
) -> str:
    """Do it, write the page if one is asked for, by `write`, and return what there is to say;
    `check` sees before the work whether the page can be written.
    """
    if options.html is not None:
        check(options.html)
    regime = _regime(options)
    if options.html is not None:
        write(options.html, page(regime, f"Attention of {options.file.name}"))
    return json.dumps(regime.to_dict(), indent=1) if options.json else str(regime)


def _regime(options: argparse.Namespace) -> Regime:
    budgets = None if options.budget is None else _shares(options.budget)
    methods = None if options.methods is None else options.methods.split(",")
    if options.quick and not (methods is None and budgets is None):
        msg = "--methods and --budget say what to compare, --quick compares nothing: leave one out"
        raise ValueError(msg)
    if options.seed < 0:
        msg = f"seed(={options.seed}) must be at least 0"
        raise ValueError(msg)
    q, k, v = chosen(read_qkv(options.file), options.layer, options.head)
    return diagnose(
        q,
        k,
        v,
        scale=options.scale,
        causal=options.causal,
        rows=options.rows,
        rng=np.random.default_rng(options.seed),
        compare_methods=not options.quick,
        methods=methods,
        budgets=budgets,
    )


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        msg = f"budget(={text}) must be numbers with commas between, such as 0.25,0.5"
        raise ValueError(msg) from None


def chosen(
    arrays: tuple[HostArray, HostArray, HostArray], layer: int | None, head: int | None
) -> tuple[HostArray, HostArray, HostArray]:
    """Return one layer, the first leading axis, and one head, the last leading axis. Keys and
    values that groups of heads share are those of the group.

    Raises
    ------
    ValueError
        Where there is no such axis, or no such number along it.
    """
    q, k, v = arrays
    if head is not None:
        q, k, v = (_at(x, head, -3, "head", q) for x in (q, k, v))
    if layer is not None:
        least = 3 if head is not None else 4
        if q.ndim < least:
            msg = (
                f"layer(={layer}) needs arrays (layers, heads, n, d): q has "
                f"{arrays[0].ndim} axes; leave --layer out"
            )
            raise ValueError(msg)
        q, k, v = (_at(x, layer, 0, "layer", q) for x in (q, k, v))
    return q, k, v


def _at(x: HostArray, number: int, axis: int, name: str, q: HostArray) -> HostArray:
    if x.ndim < 3:
        msg = f"{name}(={number}) needs a leading axis: an array has the shape {x.shape}"
        raise ValueError(msg)
    count, size = q.shape[axis], x.shape[axis]
    if not 0 <= number < count:
        msg = f"{name}(={number}) must lie in 0..{count - 1}: q has the shape {q.shape}"
        raise ValueError(msg)
    if size == 0 or count % size:
        msg = f"{name}(={number}): {count} of q cannot share {size} of an array {x.shape}"
        raise ValueError(msg)
    found: HostArray = np.take(x, number // (count // size), axis=axis)
    return found
