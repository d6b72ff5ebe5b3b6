"""Confirm a witness in a fresh process, from its written form alone.

Whatever the search did to the state of its own process (precision, caches, patched functions,
changed arrays) cannot reach here. Run as ``python -m proofs_check.checkers.fresh``: the request is
JSON on standard input, the answer JSON on standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proofs_check.arithmetic.balls import precision
from proofs_check.checkers import exact
from proofs_check.statements import named, serial
from proofs_check.statements.experiment import Falsify, Instance

__all__ = ["Confirmation", "confirm_here", "confirm_in_fresh_process", "environment_of_children"]

_BITS = (128, 512)
"""Working precisions tried in turn, for experiments that set none of their own. *Chosen*."""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Outcome of confirming a witness: ``violated`` is true only when measured > bound is certain
    and the hypotheses hold.
    """

    violated: bool
    grade: str = ""
    measured: tuple[float, float] = (0.0, 0.0)
    bound: tuple[float, float] = (0.0, 0.0)
    ratio: float | None = None
    reason: str = ""


def confirm_here(experiment: Falsify, instance: Instance) -> Confirmation:
    """Decide in this process, on what the written forms of functions and instance say."""
    functions, witness = serial.loads(_written(experiment, instance))
    confirm, *predicates = map(named.find, functions)
    return _confirm(confirm, predicates, witness)


def _written(experiment: Falsify, instance: Instance) -> str:
    """What is confirmed, then the predicates, then the witness, as exact text."""
    predicates = [a.predicate for a in experiment.assumptions if a.predicate is not None]
    functions = [named.written(experiment.confirm, "confirm")]
    functions += [named.written(predicate, "predicate") for predicate in predicates]
    return serial.dumps((functions, instance))


def _confirm(
    confirm: Callable[[Instance], tuple[Any, Any]],
    predicates: list[Callable[[Instance], bool]],
    witness: Instance,
) -> Confirmation:
    for predicate in predicates:
        if not predicate(witness):
            return Confirmation(
                violated=False,
                reason=f"the witness violates the assumption {named.label(predicate)}",
            )
    for bits in _BITS:
        with precision(bits):
            measured, bound = confirm(witness)
            held = exact.holds(measured, bound)
            if held is not None:
                return Confirmation(
                    violated=not held,
                    grade=exact.grade(measured, bound),
                    measured=exact.interval(measured),
                    bound=exact.interval(bound),
                    ratio=exact.ratio(measured, bound),
                    reason="" if not held else "exact arithmetic finds measured <= bound",
                )
    return Confirmation(violated=False, reason=f"undecided at {_BITS[-1]} bits")


def confirm_in_fresh_process(
    experiment: Falsify, instance: Instance, *, timeout: float = 120.0
) -> Confirmation:
    """Decide in a new interpreter; a crash or time-out there confirms nothing."""
    request = {"path": sys.path, "written": _written(experiment, instance)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "proofs_check.checkers.fresh"],
            input=json.dumps(request),
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
            env={**environment_of_children(), "PYTHONIOENCODING": "utf-8"},
        )
    except subprocess.TimeoutExpired:
        return Confirmation(
            violated=False, reason=f"the fresh process did not finish in {timeout:g} s"
        )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return Confirmation(violated=False, reason=f"the fresh process failed: {last[0][:300]}")
    return Confirmation(**serial.loads(done.stdout))


def environment_of_children() -> dict[str, str]:
    """Environment in which a new interpreter finds this very package."""
    import os
    from pathlib import Path

    import proofs_check

    root = str(Path(proofs_check.__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, inherited)))}


def _answer(request: dict[str, Any]) -> str:
    sys.path[:] = request["path"]
    functions, witness = serial.loads(request["written"])
    confirm, *predicates = map(named.find, functions)
    return serial.dumps(vars(_confirm(confirm, predicates, witness)))


if __name__ == "__main__":
    answer = _answer(json.load(sys.stdin))
    sys.stdout.write(answer)
