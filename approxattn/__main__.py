"""The command line: `approxattn diagnose FILE`, `approxattn attend`, `approxattn doctor`."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

import approxattn
from approxattn.diagnosis.files import read_qkv
from approxattn.diagnosis.page import page
from approxattn.diagnosis.regime import Regime, diagnose
from approxattn.distributed.command import add_arguments, attend
from approxattn.distributed.engines import WorkersLostError
from approxattn.whole_files import write_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    int
        The exit status: 0 when it is done, 2 when the input is refused, with the reason on one
        line of standard error, 130 after an interrupt.
    """
    options = _parser().parse_args(arguments)
    with _told_to_terminals():
        return _run(options)


@contextlib.contextmanager
def _told_to_terminals() -> Iterator[None]:
    """Show what long work tells of itself, on standard error, where that is a terminal."""
    log, handler = logging.getLogger("approxattn"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("approxattn: %(message)s"))
    level, told = log.level, hasattr(sys.stderr, "isatty") and sys.stderr.isatty()
    if told:
        log.addHandler(handler)
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        if told:
            log.removeHandler(handler)
            log.setLevel(level)


def _run(options: argparse.Namespace) -> int:
    """Run the command parsed; the exit status."""
    if options.command == "doctor":
        return _doctor(options)
    try:
        if options.command == "attend":
            _print(attend(options, approxattn))
            return 0
        regime = _diagnose(options)
        if options.html is not None:
            write_text(options.html, page(regime, f"Attention of {options.file.name}"))
        _print(str(regime))
    except (OSError, ValueError, TypeError, MemoryError, ImportError, WorkersLostError) as error:
        message = " ".join(str(error).split()) or "there is too little memory"
        print(f"approxattn: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("approxattn: interrupted", file=sys.stderr)
        return 130
    return 0


def _print(text: str) -> None:
    """Print to standard output, with a ? for what its encoding cannot write."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="approxattn", description="Approximate attention with an error bar."
    )
    parser.add_argument(
        "--version", action="version", version=f"approxattn {version('approxattn')}"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "diagnose",
        help="say which method can work on given queries, keys and values, and at what cost",
    )
    command.add_argument(
        "file",
        type=Path,
        help=".npz or .safetensors with arrays q, k, v, or .npy of shape (3, ..., n, d)",
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
        "--quick", action="store_true", help="do not run the methods, only measure the scores"
    )
    command.add_argument(
        "--html", type=Path, metavar="PAGE", help="also write a page with error against cost"
    )
    add_arguments(
        commands.add_parser("attend", help="compute attention from files to a file, block by block")
    )
    command = commands.add_parser("doctor", help="say what this installation has, and try it")
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def _doctor(options: argparse.Namespace) -> int:
    """Print what the installation has; 1 where the trial fails."""
    from approxattn.doctor import examination, told

    found = examination()
    _print(json.dumps(found, indent=1) if options.json else told(found))
    return 0 if set(found["trial"].values()) == {"yes"} else 1


def _diagnose(options: argparse.Namespace) -> Regime:
    q, k, v = read_qkv(options.file)
    return diagnose(
        q,
        k,
        v,
        scale=options.scale,
        causal=options.causal,
        rows=options.rows,
        rng=np.random.default_rng(options.seed),
        compare_methods=not options.quick,
    )


if __name__ == "__main__":
    sys.exit(main())
