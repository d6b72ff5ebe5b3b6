"""An interrupt while the command loads its modules is one line too, not a traceback.

Importing this first is all. In a program that imports the package nothing changes.
"""

from __future__ import annotations

import sys
from types import TracebackType


def started(package: str) -> bool:
    """Tell whether this process is being started as the command of the package: by its script, or
    by `python -m`, which has the name "-m" as long as it looks for the module.
    """
    program: list[str] = getattr(sys, "argv", None) or [""]
    if program[0] != "-m":
        return program[0].replace("\\", "/").rpartition("/")[2] == package
    words = sys.orig_argv
    modules = words[words.index("-m") + 1 :] if "-m" in words else []
    return modules[:1] == [package]


def end_in_a_line(package: str) -> None:
    """Say on standard error that an interrupt came which nothing caught. Python then ends as any
    interrupted program does, with status 130 in a shell.
    """
    before = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.stderr.write(f"{package}: interrupted\n")
        else:
            before(kind, error, trace)

    sys.excepthook = told


if started("approxattn"):
    end_in_a_line("approxattn")
