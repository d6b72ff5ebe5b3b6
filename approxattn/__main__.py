"""The command line: `approxattn diagnose FILE`, `attend`, `capacity`, `doctor`,
`completion SHELL`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import NoReturn

import approxattn
from approxattn import completion
from approxattn.diagnosis import command as diagnosis
from approxattn.distributed import command as distributed
from approxattn.distributed.engines import WorkersLostError
from approxattn.distributed.planning import command as planning
from approxattn.whole_files import check_place, write_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    int
        The exit status: 0 when it is done, 1 when `doctor` finds that something fails, 2 when the
        input is refused, with the reason on one line of standard error, 130 after an interrupt.
        With --json, standard output then has the reason too, as {"error": "..."}.
    """
    parser = _parser()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = parser.parse_args(given)
    except _MisuseError as error:
        return _refused(str(error), as_json="--json" in given)
    with _told_to_terminals():
        return _answered(parser, options)


class _MisuseError(Exception):
    """The command line itself is wrong."""


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line: the usage is what --help is for."""

    def error(self, message: str) -> NoReturn:
        msg = f"{self.prog}: {message}; `{self.prog} --help` says what there is"
        raise _MisuseError(msg)


def _refused(message: str, *, as_json: bool, status: int = 2) -> int:
    """Say on one line of standard error why there is no answer, and in JSON where that was asked
    for; the exit status.
    """
    line = " ".join(message.split())
    print(line, file=sys.stderr)
    if as_json:
        _print(json.dumps({"error": line}))
    return status


def _reason(error: BaseException) -> str:
    """What an exception says, without Python's number of a file that cannot be read."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename} cannot be read ({error.strerror}): check the path"
    return str(error) or "there is too little memory"


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


def _answered(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Run the command parsed; the exit status."""
    try:
        return _run(parser, options)
    except BrokenPipeError:  # whoever read it has gone, as `head` does
        sys.stdout = None
        return 1
    except (OSError, ValueError, TypeError, MemoryError, ImportError, WorkersLostError) as error:
        reason, status = _reason(error), 2
    except KeyboardInterrupt:
        reason, status = "interrupted", 130
    as_json = getattr(options, "json", False)
    return _refused(f"approxattn: {reason}", as_json=as_json, status=status)


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.command is None:
        parser.print_help()
        return 2
    if options.command == "doctor":
        return _doctor(options)
    if options.command == "completion":
        _print(completion.script(parser, options.shell).rstrip("\n"))
    elif options.command == "attend":
        _print(distributed.attend(options, approxattn))
    elif options.command == "capacity":
        _print(planning.told(options, distributed.method_of(options.method, approxattn)))
    else:
        _print(diagnosis.run(options, write_text, check_place))
    return 0


def _print(text: str) -> None:
    """Print to standard output, with a ? for what its encoding cannot write."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


_COMMANDS = {
    "diagnose": diagnosis.HELP,
    "attend": "compute attention from files to a file, block by block",
    "capacity": "say what `attend` will take for so many tokens",
    "doctor": "say what this installation has, and try it",
    "completion": "print a script that completes commands",
}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="approxattn", description="Approximate attention with an error bar.")
    parser.add_argument(
        "--version", action="version", version=f"approxattn {version('approxattn')}"
    )
    _accept_no_color(parser)
    commands = parser.add_subparsers(dest="command")
    made = {
        name: commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        for name, text in _COMMANDS.items()
    }
    diagnosis.add_arguments(made["diagnose"])
    distributed.add_arguments(made["attend"])
    planning.add_arguments(made["capacity"])
    for command in made.values():
        _accept_no_color(command)
    for name in ("attend", "capacity", "doctor"):
        made[name].add_argument("--json", action="store_true", help="print JSON instead of text")
    made["completion"].add_argument(
        "shell", choices=completion.SHELLS, help="the shell to complete in"
    )
    return parser


def _accept_no_color(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-color",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print no colours: there are none, but a script may say so",
    )


def _doctor(options: argparse.Namespace) -> int:
    """Print what the installation has; 1 where the trial fails."""
    from approxattn.doctor import examination, told

    found = examination()
    _print(json.dumps(found, indent=1) if options.json else told(found))
    return 0 if set(found["trial"].values()) == {"yes"} else 1


if __name__ == "__main__":
    sys.exit(main())
