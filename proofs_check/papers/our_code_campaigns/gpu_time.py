"""The claim that attention on a GPU grows like n, read from files of measurements.

`./run.sh bench gpu` writes the files where there is a GPU; the claim is then checked anywhere, by a
clock that the recorded seconds move. Without a file nothing is decided.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofs_check.papers.shared.source import our_code
from proofs_check.statements.experiment import Scale
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"
SHAPES = (64, 2), (16, 4), (32, 2)
"""d and degree."""

SIZES = tuple(2**e for e in (16, 17, 18, 19, 20, 21, 22))
LIKE_N = 0.97, 1.03
"""Slopes. *Chosen*: from n = 2^16 on, launches are hidden behind work."""


@dataclass(frozen=True)
class Measured:
    """The newest file of a GPU.

    Attributes
    ----------
    name : str
        Its device and file; says that there is none where there is none.
    records : tuple of dict
        Its records, of the code that was measured last.
    """

    name: str
    records: tuple[dict[str, Any], ...]

    def seconds(self, d: int, degree: int) -> dict[int, float]:
        """Return the median seconds of whole calls by n."""
        wanted = {"method": "polynomial", "d": d, "degree": degree}
        found = {}
        for record in self.records:
            arguments, result = dict(record["arguments"]), record["result"]
            n = arguments.pop("n", None)
            if record["name"] == "call" and arguments == wanted and "seconds" in result:
                found[n] = statistics.median(result["seconds"])
        return found


def newest(folder: Path) -> Measured:
    """Return the newest file of measurements that no CPU made, by the date in its name."""
    for path in sorted(folder.glob("*.jsonl"), key=lambda p: p.stem[-10:], reverse=True):
        records = _of_newest_code(tuple(_records(path)))
        places = [r["result"]["device"] for r in records if r.get("name") == "environment"]
        if places and places[-1] != "CPU":
            return Measured(f"{places[-1]}, docs/results/{path.name}", records)
    return Measured("no GPU measured yet", ())


def _of_newest_code(records: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Return the records of the code that was measured last: figures of two are not mixed."""
    return tuple(r for r in records if r.get("source") == records[-1].get("source"))


def _records(path: Path) -> Iterable[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # a run that was killed
            return


@dataclass
class Recorded:
    """A clock that is moved by recorded seconds, not by work.

    Parameters
    ----------
    seconds : mapping of int to float
        By size.
    """

    seconds: dict[int, float]
    now: float = field(default=0.0)

    def clock(self) -> float:
        """Return the seconds since it was made."""
        return self.now

    def workload(self, size: int) -> Callable[[], object]:
        """Return what takes the recorded seconds."""
        if size not in self.seconds:
            msg = f"there is no measurement at n = {size}: ./run.sh bench gpu makes it, on a GPU"
            raise LookupError(msg)

        def move() -> None:
            self.now += self.seconds[size]

        return move


def experiment(seconds: dict[int, float], scope: str) -> Scale:
    """Return the claim about these seconds; sizes are those from 2^16 on that were measured."""
    there = tuple(n for n in SIZES if n in seconds)
    recorded = Recorded(seconds)
    return Scale(
        workload=recorded.workload,
        clock=recorded.clock,
        sizes=there if len(there) >= 4 else SIZES,
        repeats=1,
        slope=LIKE_N,
        covers="statement",
        scope=scope,
    )


def theorem(measured: Measured) -> Theorem:
    """Return the claim about a file of measurements."""
    known = bool(measured.records)
    return Theorem(
        key="code.scaling-gpu",
        title="running time of Polynomial on a GPU",
        statement=(
            "The time of a whole forward call of Polynomial on a GPU grows like n for n >= 2^16: "
            f"the slope of log time against log n lies in [{LIKE_N[0]:g}, {LIKE_N[1]:g}]."
        ),
        source=our_code("approxattn.Polynomial with the kernels of approxattn._arrays.cuda"),
        reading=(
            "Theil-Sen slope with its 95 % interval of recorded medians; 8 heads, float32, "
            "certificate included"
        ),
        experiments=tuple(
            experiment(measured.seconds(d, g), f"d = {d}, degree {g}; {measured.name}")
            for d, g in SHAPES
        ),
        expected=Status.SUPPORTED if known else Status.INCONCLUSIVE,
        remarks=("Without a file of measurements nothing is decided.",),
        mutant=experiment({n: 1e-9 * n**1.1 for n in SIZES}, "made-up seconds like n^1.1"),
    )


THEOREMS = (theorem(newest(RESULTS)),)
