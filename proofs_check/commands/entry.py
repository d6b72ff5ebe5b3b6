"""How a command is registered, and how it says in one line what went wrong outside of it."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
from collections.abc import Callable, Iterator
from typing import Annotated, NoReturn, ParamSpec, TypeVar

import typer

from proofs_check.commands.refusal import MISUSE, Commands, refuse

app = typer.Typer(
    cls=Commands,
    add_completion=True,
    no_args_is_help=True,
    help="Check what is claimed about approximate attention.",
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"proofs_check {importlib.metadata.version('approxattn')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="Print no colours, as NO_COLOR=1 does.")
    ] = False,
) -> None:
    del version
    if no_color:
        os.environ["NO_COLOR"] = "1"  # Rich asks for it, here and in the processes of a run


_P = ParamSpec("_P")
_R = TypeVar("_R")


def command(name: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Register a command, whose misuse is one line and an interrupt no traceback."""

    def register(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def call(*arguments: _P.args, **options: _P.kwargs) -> _R:
            try:
                return function(*arguments, **options)
            except (typer.Exit, typer.Abort):
                raise
            except Exception as error:
                if not isinstance(error, (MisuseError, *_troubles())):
                    raise
                refuse(str(error.args[0]), as_json=options.get("as_json") is True)
                raise typer.Exit(MISUSE) from None

        return app.command(name, help=_unwrapped(function.__doc__ or ""))(call)

    return register


def _unwrapped(text: str) -> str:
    """The paragraphs as one line each: the terminal breaks them where it ends."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _troubles() -> tuple[type[Exception], ...]:
    """What may go wrong anywhere, outside of the program."""
    from approxattn.whole_files import NotWrittenError
    from proofs_check.faults.fault import StaleFaultError
    from proofs_check.running.dask_workers import SchedulerError
    from proofs_check.running.database import EvidenceError
    from proofs_check.running.unit_process import OtherCodeError

    return EvidenceError, NotWrittenError, OtherCodeError, SchedulerError, StaleFaultError


@contextlib.contextmanager
def misuse(*kinds: type[Exception]) -> Iterator[None]:
    """Turn what the user got wrong into one line and exit status 2."""
    try:
        yield
    except kinds as error:
        fail(error)


class MisuseError(Exception):
    """What the user got wrong; the message says what, and what would be right."""


def fail(error: Exception | str) -> NoReturn:
    """End with exit status 2, and one line of standard error that says what is wrong."""
    message = error if isinstance(error, str) else str(error.args[0])
    raise MisuseError(message)
