"""A deliberate fault: what is replaced in the source of one module, and which checks are asked to notice."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

KINDS = (
    "sign", "factor", "degree", "scale", "rounding", "off-by-one", "wrong tail", "wrong transpose", "missing mask", "wrong normaliser",
    "wrong seed use", "missing term", "wrong gradient term", "wrong formula",
)  # fmt: skip
"""What can go wrong."""


class StaleFaultError(LookupError):
    """The list of faults and the source it speaks of have drifted apart."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Parameters
    ----------
    key : str
        Its name, the area first: "softmax.kappa".
    kind : str
        One of `KINDS`.
    module : str
        Dotted name of the module of approxattn.
    text, wrong : str
        What the source says, once, and what stands in its place.
    checks : tuple of str
        Names of the checks that look at it, quick ones first (`proofs_check.faults.checks`).
    """

    key: str
    kind: str
    module: str
    text: str
    wrong: str
    checks: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            msg = f"kind(={self.kind!r}) of {self.key} must be one of {', '.join(KINDS)}"
            raise ValueError(msg)
        if self.text == self.wrong:
            msg = f"wrong(={self.wrong!r}) of {self.key} is what the source says already: a fault changes something"
            raise ValueError(msg)

    def path(self) -> Path:
        """Where the source lies; nothing of it is run."""
        package, _, rest = self.module.partition(".")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            msg = f"module(={self.module!r}) of {self.key}: {package} cannot be found; install it"
            raise StaleFaultError(msg)
        return Path(spec.submodule_search_locations[0], *rest.split(".")).with_suffix(".py")

    def faulted_source(self) -> str:
        """The module's source with the fault in it; StaleFaultError unless the text occurs exactly once."""
        path = self.path()
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        count = source.count(self.text)
        if count != 1:
            msg = f"{self.key}: {self.text!r} occurs {count} times in {self.module}, not once: the list of faults is stale, bring it up to date"
            raise StaleFaultError(msg)
        return source.replace(self.text, self.wrong)


def fault(key: str, kind: str, module: str, text: str, wrong: str, *checks: str) -> Fault:
    """Short form for the lists; `module` without "approxattn."."""
    return Fault(key=key, kind=kind, module=f"approxattn.{module}", text=text, wrong=wrong, checks=checks)
