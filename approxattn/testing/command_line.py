"""The functions that options of pytest name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from approxattn.testing.attention import Attention

_EXAMPLE = "mypackage.attention:forward"


def attentions(option: Callable[[str], Any]) -> Iterator[Attention]:
    """Yield the functions named by ``--attention`` as its other options describe them.

    Parameters
    ----------
    option : callable
        Name of an option -> its value.

    Raises
    ------
    LookupError, ValueError
        When a name leads nowhere, or an option says what cannot be; the message names the option
        and a remedy.
    """
    sizes, gradient, file = (option(f"--attention-{n}") for n in ("sizes", "gradient", "xfails"))
    for target in option("--attention"):
        yield Attention(
            imported(target, "--attention"),
            name=target,
            framework=option("--attention-framework"),
            leading=option("--attention-leading"),
            square=option("--attention-square"),
            exact=not option("--attention-approximate"),
            scale=option("--attention-scale"),
            keywords=tuple(filter(None, option("--attention-keywords").split(","))),
            gradient=_gradient(gradient),
            sizes=None if sizes is None else _numbers(sizes),
            multiple_of=option("--attention-multiple-of"),
            d=option("--attention-d"),
            dv=option("--attention-dv"),
            expected_failures={} if file is None else expected_failures(Path(file)),
        )


def imported(target: str, option: str) -> Callable[..., Any]:
    """Return the function named PACKAGE:FUNCTION, looked for in the working folder too."""
    package, colon, name = target.partition(":")
    if not (package and colon and name):
        msg = f"{option} {target} must read PACKAGE:FUNCTION, for example {_EXAMPLE}"
        raise LookupError(msg)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(package)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        msg = f"{option} {target} cannot be imported: {error}"
        raise LookupError(msg) from error
    if not callable(found):
        msg = f"{option} {target} is no function but {type(found).__name__}"
        raise LookupError(msg)
    function: Callable[..., Any] = found
    return function


def _gradient(named: str | None) -> Any:
    return named if named in (None, "autograd") else imported(str(named), "--attention-gradient")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        msg = f"--attention-sizes {text} must be whole numbers with commas between, such as 64,128"
        raise ValueError(msg) from error


def expected_failures(file: Path) -> dict[str, str]:
    """Read lines CHECK: REASON; empty lines and those that begin with # say nothing.

    Raises
    ------
    ValueError
        When a line reads otherwise, or a check is named twice.
    OSError
        When the file cannot be read.
    """
    reasons: dict[str, str] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        check, colon, reason = (part.strip() for part in line.partition(":"))
        if not (check and colon and reason) or check in reasons:
            what = "names a check again" if check in reasons else "must read CHECK: REASON"
            msg = f"--attention-xfails {file}, line {number} {what}: {line.strip()!r}"
            raise ValueError(msg)
        reasons[check] = reason
    return reasons
