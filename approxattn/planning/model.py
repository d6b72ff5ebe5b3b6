"""The plans of all layers of a model, and how they do on other texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from approxattn._arguments import check_generator
from approxattn.certificate.record import Record
from approxattn.planning import files, table
from approxattn.planning.applied import HeadCheck
from approxattn.planning.captured import LayerCall, by_layer, texts_of
from approxattn.planning.record import Plan


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelPlan(Record, Mapping[int, Plan]):
    """Layer -> `Plan`, for `register` and `fidelity`; `print` it for a table.

    Attributes
    ----------
    layers : mapping of int to Plan
        Layers that are planned; each numbers its heads on one axis.
    left_out : mapping of int to str
        Why the others keep torch's exact attention.
    """

    layers: dict[int, Plan]
    left_out: dict[int, str] = field(default_factory=dict)

    _derived: ClassVar[tuple[str, ...]] = ("left_exact", "relative_seconds")

    def __getitem__(self, layer: int) -> Plan:
        return self.layers[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def left_exact(self) -> int:
        """Number of heads of planned layers that are left exact."""
        return sum(found.left_exact for found in self.layers.values())

    @property
    def relative_seconds(self) -> float:
        """Time of the heads of planned layers over that of exact attention."""
        heads = [len(found.heads) for found in self.layers.values()]
        times = [found.relative_seconds for found in self.layers.values()]
        return float(np.average(times, weights=heads)) if sum(heads) else 1.0

    def audit(
        self, heads: Sequence[LayerCall], *, rows: int, rng: np.random.Generator
    ) -> ModelAudit:
        """Recompute rows of every head of another run, and say how far its method is from them.

        Parameters
        ----------
        heads : Heads
            From `capture`, of the same model: a text that the plan has not seen.
        rows : int
            Rows of each head and batch item.
        rng : numpy.random.Generator
            Draws them.

        Raises
        ------
        TypeError, ValueError
            What `Plan.audit` refuses.
        """
        check_generator(rng)
        found: dict[int, list[HeadCheck]] = {}
        for number, calls in by_layer(heads).items():
            if number not in self.layers:
                continue
            for call in calls:
                for text in texts_of([call], None):
                    checks = self.layers[number].audit(
                        *text.arrays, rows=rows, rng=rng, scale=text.scale, **text.masks
                    )
                    found.setdefault(number, []).extend(checks)
        return ModelAudit(
            checks={number: tuple(checks) for number, checks in found.items()},
            relative_error=max((p.relative_error for p in self.layers.values()), default=0.0),
        )

    def save(self, path: str | Path) -> None:
        """Write the plans as JSON, for `load`; errors as for `Plan.save`."""
        layers = {str(number): found.state() for number, found in self.layers.items()}
        left_out = {str(number): why for number, why in self.left_out.items()}
        files.write(path, {"model plan": {"layers": layers, "left_out": left_out}})

    @classmethod
    def load(cls, path: str | Path) -> ModelPlan:
        """Read what `save` wrote; errors as for `Plan.load`."""
        return files.read(path, "model plan", cls._from_state)

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> ModelPlan:
        layers = {int(number): Plan.from_state(x) for number, x in state["layers"].items()}
        return cls(
            layers=layers, left_out={int(n): str(why) for n, why in state["left_out"].items()}
        )

    def _summary(self) -> str:
        total = sum(len(found.heads) for found in self.layers.values())
        return (
            f"{len(self)} layers, {total} heads, {self.left_exact} left exact, time over exact "
            f"{self.relative_seconds:.3g}"
        )

    def _table(self) -> dict[str, str]:
        return {
            **{f"layer {number}": found._summary() for number, found in self.layers.items()},
            **{f"layer {number}": why for number, why in self.left_out.items()},
        }

    def __str__(self) -> str:
        lines = [f"{'layer':>5}{table.HEADER}"]
        for number in sorted({*self.layers, *self.left_out}):
            if number in self.left_out:
                lines.append(f"{number:>5}{'':>10}  exact: {self.left_out[number]}")
                continue
            found = self.layers[number]
            lines += [f"{number:>5}{table.line(found, i)}" for i in range(len(found.heads))]
        first = next(iter(self.layers.values()), None)
        if first is not None:
            lines.append(f"Each head: {table.statement(first)}.")
        return "\n".join([*lines, self._summary()])


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelAudit(Record):
    """How planned heads did on another text.

    Attributes
    ----------
    checks : mapping of int to tuple of HeadCheck
        Layer -> its heads, one text after the other.
    relative_error : float
        That the plan was made for.
    """

    checks: dict[int, tuple[HeadCheck, ...]]
    relative_error: float

    _derived: ClassVar[tuple[str, ...]] = ("above", "largest")

    @property
    def above(self) -> float:
        """Share of the heads, over all texts, whose error on the rows drawn is larger."""
        errors = self._errors()
        return float(np.mean(errors > self.relative_error)) if errors.size else 0.0

    @property
    def largest(self) -> float:
        """Largest error of a head on the rows drawn."""
        return float(np.max(self._errors(), initial=0.0))

    def _errors(self) -> Any:
        return np.array([check.error for checks in self.checks.values() for check in checks])

    def _summary(self) -> str:
        return (
            f"{100 * self.above:.3g} % of {self._errors().size} heads have an error above "
            f"{self.relative_error:g}, the worst {self.largest:.3g}"
        )

    def _table(self) -> dict[str, str]:
        return {
            f"layer {number}": f"largest {max(check.error for check in checks):.3g}"
            for number, checks in self.checks.items()
        }

    def __str__(self) -> str:
        lines = [
            f"{number:>5}{c.head[0]:>10}{c.error:>9.3g}{c.largest:>13.3g}  {c.method}"
            for number, checks in self.checks.items()
            for c in checks
        ]
        head = f"{'layer':>5}{'head':>10}{'error':>9}{'worst row':>13}  method"
        return "\n".join([head, *lines, self._summary()])
