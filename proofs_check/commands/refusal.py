"""How a call that is wrong is answered: by one line, and in JSON where that was asked for."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

MISUSE = 2
INTERRUPTED = 130
"""Exit statuses."""


def refuse(message: str, *, as_json: bool) -> None:
    """Say on one line of standard error what is wrong."""
    line = f"error: {' '.join(message.split())}"
    typer.echo(line, err=True)
    if as_json:
        typer.echo(json.dumps({"error": line}))


@contextlib.contextmanager
def interrupts_told() -> Iterator[None]:
    """Turn an interrupt into a line of standard error and its exit status."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None


class Commands(TyperGroup):
    """The commands, whose parser says in one line what it cannot read: the usage is for --help."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Read the words given."""
        with interrupts_told():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command chosen."""
        with interrupts_told():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Parse and run."""
        given = _plainly(sys.argv[1:] if args is None else args)
        if not given or not standalone_mode:
            return super().main(
                given, prog_name, complete_var, standalone_mode, windows_expand_args, **extra
            )
        try:
            status = super().main(
                given, prog_name, complete_var, False, windows_expand_args, **extra
            )
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            refuse(_said(error, given), as_json="--json" in given)
            sys.exit(MISUSE)
        sys.exit(status if isinstance(status, int) else 0)


def _plainly(words: Sequence[str]) -> list[str]:
    """The words with --no-color, which belongs to all commands, where it is read: in front."""
    end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:end] if word != "--no-color"]
    return ["--no-color"] * (len(options) < end) + options + list(words[end:])


def _said(error: Any, given: Sequence[str]) -> str:
    """The parser's message with the value that it is about, and where to look."""
    names = getattr(getattr(error, "param", None), "opts", ())
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    for i, word in enumerate(given):
        name, equals, value = word.partition("=")
        value = value if equals else "".join(given[i + 1 : i + 2])
        if name in names and value and value not in message:
            message = f"{message} (it is {value!r})"
    path = error.ctx.command_path if getattr(error, "ctx", None) else "proofs_check"
    return f"{message}; `{path} --help` says what there is"
