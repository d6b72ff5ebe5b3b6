"""`approxattn capacity`: what a run over many tokens will take."""

from __future__ import annotations

import argparse
import json
from typing import Any

from approxattn.distributed.planning.model import ENGINES, capacity


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Describe the command."""
    command.add_argument("--n", type=whole_number, required=True, help="tokens, for example 1e9")
    command.add_argument("--d", type=whole_number, required=True, help="width of queries and keys")
    command.add_argument("--dv", type=whole_number, help="width of values; d if not given")
    command.add_argument(
        "--method", required=True, help="as in Python, for example 'Polynomial(degree=3)'"
    )
    command.add_argument(
        "--workers", type=whole_number, default=1, help="processes of one thread each"
    )
    command.add_argument("--engine", choices=ENGINES, help="here for one worker, pool for more")
    command.add_argument("--dtype", default="float32", help="of the files (default: %(default)s)")
    command.add_argument("--scale", type=float, help="factor of q . k; 1/sqrt(d) if not given")
    command.add_argument("--causal", action="store_true", help="query i sees keys 0..i only")
    command.add_argument(
        "--shard", type=whole_number, default=2**18, help="tokens of a block (default: %(default)s)"
    )
    command.add_argument("--seed", type=int, help="for methods that draw random numbers")
    command.add_argument(
        "--read-rate",
        type=float,
        metavar="MB/S",
        help="what storage gives each worker; files in memory if not given",
    )


def told(options: argparse.Namespace, method: Any) -> str:
    """Return what there is to say."""
    rate = None if options.read_rate is None else 1e6 * options.read_rate
    names = ("d", "dv", "workers", "engine", "dtype", "scale", "causal", "shard", "seed")
    settings = {name: getattr(options, name) for name in names}
    found = capacity(options.n, method, **settings, read_rate=rate)
    return json.dumps(found.to_dict(), indent=1) if options.json else str(found)


def whole_number(text: str) -> int:
    """Return a whole number, also one written as 1e9 or 2**24."""
    base, _, exponent = text.partition("**")
    try:
        number = float(base) ** int(exponent) if exponent else float(text)
        if number == int(number):
            return int(base) ** int(exponent) if exponent else int(number)
    except (ValueError, OverflowError, ZeroDivisionError):
        pass
    msg = f"{text} is no whole number such as 1000, 1e9 or 2**24"
    raise argparse.ArgumentTypeError(msg)
