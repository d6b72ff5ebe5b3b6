"""The command line: list, run, show, replay, audit, faults, report, errata, pages, export,
hunt, figures.

Exit statuses: 0 when all is as it should be, 1 when something is not, 2 on misuse, 3 when
experiments are left to do, 130 after an interrupt. Misuse is told in one line.
"""

from __future__ import annotations

import os
import sys

from proofs_check.commands import campaigns, examinations, figures, pages
from proofs_check.commands.entry import app, command
from proofs_check.commands.refusal import MISUSE
from proofs_check.hunt.command import hunt
from proofs_check.report import terminal

command("hunt")(hunt)

__all__ = ["app", "campaigns", "examinations", "figures", "main", "pages"]


def main() -> None:
    """Entry point of the console script."""
    terminal.accept_any_text()
    try:
        try:
            app(prog_name="proofs_check")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has gone, as `head` does
        _forget_output()
        raise SystemExit(1) from None
    except OSError as error:  # a full disk behind a redirection
        _forget_output()
        sys.stderr.write(f"error: standard output cannot be written ({error.strerror})\n")
        raise SystemExit(MISUSE) from None


def _forget_output() -> None:
    """Let what could not be written go nowhere, or Python tries again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
