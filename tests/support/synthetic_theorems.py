"""A catalogue that misbehaves on purpose, for the tests of campaigns; worker processes import it by
name.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from proofs_check import (
    Comparison,
    Count,
    Enclose,
    Identity,
    Plan,
    Sample,
    Source,
    Symbolic,
    Theorem,
)
from proofs_check.statements.experiment import Experiment

SOURCE = Source(citation="proved here", place="tests", fidelity="ours")
FALSE = Count(
    measured=lambda n: n,
    formula=lambda n: n + 1,
    sizes=(1,),
    covers="statement",
    scope="one number",
)


def entry(key: str, *experiments: Experiment, expected: str = "proved", **more: Any) -> Theorem:
    return Theorem(
        key=key,
        title=key,
        statement=key,
        source=SOURCE,
        experiments=experiments,
        expected=expected,
        mutant=FALSE,
        **more,
    )


def slow_square(n: int) -> int:
    """Takes long enough to be killed in the middle; says that it was here, and in which process."""
    log = os.environ.get("SYNTHETIC_LOG")
    if log:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{n} {os.getpid()}\n")
    time.sleep(0.15)
    return n * n


def square(n: int) -> int:
    return n * n


def hang(_bits: int) -> list[Comparison]:
    time.sleep(600)
    return []


def die(_bits: int) -> list[Comparison]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def unwritable() -> list[Identity]:
    return [Identity(1, 0, label=object())]  # type: ignore[arg-type]


def coin(rng: np.random.Generator, m: int) -> np.ndarray:
    return np.asarray(rng.random(m) < 0.001)


def _slow(i: int) -> Theorem:
    return entry(
        f"slow.number-{i}",
        Count(
            measured=slow_square, formula=square, sizes=(i,), covers="statement", scope="squares"
        ),
    )


PROVES = Count(measured=square, formula=square, sizes=(1, 2), covers="statement", scope="squares")
WEAK = Sample(
    draw=coin,
    claim="probability <=",
    target=0.05,
    plan=Plan(n=100, alpha=0.02, sampler="a coin"),
    covers="statement",
    scope="a coin",
)

THEOREMS = (
    *(_slow(i) for i in range(12)),
    entry("bad.hangs", Enclose(certify=hang, covers="statement", scope="x")),
    entry("bad.dies", Enclose(certify=die, covers="statement", scope="x")),
    entry("bad.unwritable", Symbolic(identities=unwritable, covers="statement", scope="x")),
    entry("bad.contradiction", PROVES, FALSE),
    entry("good.square", PROVES),
    *(entry(f"weak.coin-{i}", WEAK, expected="inconclusive") for i in range(6)),
)
