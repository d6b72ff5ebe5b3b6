"""One fault, in a process of its own: its module is loaded from source with the fault in it, and
the checks look.

Nothing is written anywhere.

Run as ``python -m proofs_check.faults.worker KEY``; with ``control:CHECK`` in the place of a key
that check runs on the code as it is. The answer is one line of JSON on standard output.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from proofs_check.faults.checks import complaints
from proofs_check.faults.fault import Fault
from proofs_check.faults.listed import FAULTS


class _FaultedLoader(SourceFileLoader):
    """Loads one module from a source that is nowhere on disk."""

    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        """Compile that source; no cache is read or written."""
        return compile(self._source, self.get_filename(fullname), "exec", dont_inherit=True)


class FaultedFinder:
    """Stands first in `sys.meta_path` and finds the module of one fault."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.source, self.loaded = fault, fault.faulted_source(), False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module with the fault in it, and leave all others to the finders that follow."""
        if name != self.fault.module:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None:
            return None
        self.loaded = True
        spec.loader = _FaultedLoader(name, spec.origin, self.source)
        return spec


def look(names: Iterable[str]) -> dict[str, Any]:
    """Run checks until one complains: its name and what it said, empty when none did.

    A check that raises has found something too.
    """
    for name in names:
        try:
            complaint = next(iter(complaints(name)), "")
        except Exception as error:  # noqa: BLE001 - whatever a fault makes the code raise
            complaint = f"raised {type(error).__name__}: {error}"[:300]
        if complaint:
            return {"check": name, "complaint": complaint}
    return {"check": "", "complaint": ""}


def answer(key: str) -> dict[str, Any]:
    """What the checks say of one fault, or one check of the code as it is."""
    start = time.perf_counter()
    control, _, check = key.partition(":")
    if control == "control":
        return {**look([check]), "seconds": time.perf_counter() - start}
    finder = FaultedFinder(FAULTS[key])
    sys.meta_path.insert(0, finder)
    caught = look(FAULTS[key].checks)
    if not finder.loaded:
        caught = {"check": "", "complaint": "no check loaded the module"}
    return {**caught, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(sys.argv[1])) + "\n")
