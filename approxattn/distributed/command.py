"""`approxattn attend`: attention from files to a file, with progress on standard error."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import inspect
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from approxattn._arguments import check_integer
from approxattn.distributed.calls import attention
from approxattn.distributed.engines import WorkersLostError
from approxattn.distributed.written import Written

PATIENCE = 30.0
"""Seconds that a scheduler has to answer. *Chosen*."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Describe the command."""
    for name, what in (("q", "queries"), ("k", "keys"), ("v", "values")):
        command.add_argument(
            f"--{name}", type=Path, required=True, help=f"{what}: a .npy file or a zarr array"
        )
    command.add_argument(
        "--method", required=True, help="as in Python, for example 'Polynomial(degree=3)'"
    )
    command.add_argument(
        "--out", type=Path, required=True, help="the output, .npy or .zarr; the same call continues"
    )
    command.add_argument("--scale", type=float, help="factor of q . k; 1/sqrt(d) if not given")
    command.add_argument("--causal", action="store_true", help="query i sees keys 0..i only")
    command.add_argument(
        "--shard", type=int, default=2**18, help="tokens of a block (default: %(default)s)"
    )
    command.add_argument("--seed", type=int, help="what the draws of a random method follow from")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler")
    where.add_argument("--workers", type=int, help="processes here; this one if not given")


def attend(options: argparse.Namespace, methods: Any) -> str:
    """Do it, and return what there is to say; `methods` is where the names of methods stand."""
    method = method_of(options.method, methods)
    with _executor(options) as executor, _meter() as progress:
        out = attention(
            *(options.q, options.k, options.v),
            method,
            scale=options.scale,
            causal=options.causal,
            out=options.out,
            executor=executor,
            shard=options.shard,
            seed=options.seed,
            progress=progress,
        )
    assert isinstance(out, Written)  # noqa: S101 - `out` was given
    if options.json:
        return json.dumps(out.to_dict(), indent=1)
    reasons = "".join(f"\n- {why}" for why in out.unmet)
    return f"{out._summary()}{reasons}"


def method_of(text: str, methods: Any) -> Any:
    """Return the method that a text writes as a call with literal settings.

    Raises
    ------
    ValueError
        If it is no such call, or names no method.
    """
    said = f"method(={text if len(text) <= 60 else text[:57] + '...'!r})"
    rule = f"{said} must be a call such as Polynomial(degree=3)"
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError(rule)
        settings = [(_name(k), ast.literal_eval(k.value)) for k in call.keywords]
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:  # the latter: nesting
        raise ValueError(rule) from error
    maker = getattr(methods, call.func.id, None)
    if not hasattr(maker, "compute"):
        msg = f"{rule}: there is no method {call.func.id}"
        raise ValueError(msg)
    return _made(maker, settings, said)


def _name(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        msg = "a dictionary is unpacked"
        raise ValueError(msg)
    return keyword.arg


def _made(maker: Any, settings: list[tuple[str, Any]], said: str) -> Any:
    """Return the method with these settings; ValueError names those that it takes."""
    names = [name for name, _ in settings]
    known = inspect.signature(maker).parameters
    needed = {name for name, one in known.items() if one.default is one.empty}
    for wrong, why in (
        ([name for name in names if name not in known], "there is no"),
        ([name for name in names if names.count(name) > 1], "there is more than one"),
        (sorted(needed - set(names)), "it lacks"),
    ):
        if wrong:
            msg = f"{said}: {why} {wrong[0]}; {maker.__name__} takes {', '.join(known)}"
            raise ValueError(msg)
    return maker(**dict(settings))


@contextlib.contextmanager
def _executor(options: argparse.Namespace) -> Iterator[Any]:
    """Yield what the work is handed to; None is this process."""
    if options.workers is not None:
        check_integer("workers", options.workers, 1)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.workers, mp_context=spawn) as pool:
            yield pool
    elif options.scheduler is not None:
        with _client(options.scheduler) as client:
            _say(f"dashboard: {client.dashboard_link}\n")
            yield client
    else:
        yield None


def _client(scheduler: str) -> Any:
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        msg = f"--scheduler {scheduler} needs distributed: pip install 'approxattn[dask]'"
        raise WorkersLostError(msg) from error
    try:
        return distributed.Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        msg = (
            f"--scheduler {scheduler} does not answer: start one with `dask scheduler` and give "
            "the address that it prints"
        )
        raise WorkersLostError(msg) from error


@contextlib.contextmanager
def _meter() -> Iterator[Any]:
    """Yield what is told of tasks done: a line about once a second, on one line of a terminal."""
    begun, said = time.monotonic(), -1.0
    terminal = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic() - begun
        if done < total and now - said < (0.5 if terminal else 10.0):
            return
        said = now
        left = now / done * (total - done)
        line = f"{done} of {total} tasks, {now:.0f} s, about {left:.0f} s left"
        _say(f"\r{line}\033[K" if terminal else f"{line}\n")

    try:
        yield progress
    finally:
        if terminal and said >= 0:
            _say("\n")


def _say(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
