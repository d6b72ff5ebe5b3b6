"""What a figure is before it is drawn: series of numbers on labelled axes, with the theorems they
show and the numbers that the source prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

Kind: TypeAlias = Literal[
    "line",
    "joined",
    "dashed",
    "dotted",
    "points",
    "rings",
    "dashes",
    "squares",
    "steps",
    "bars",
    "band",
]
Place: TypeAlias = Literal["inside", "beside", "below"]
Numbers: TypeAlias = "Sequence[float] | np.ndarray"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis.

    Attributes
    ----------
    label : str
        What is measured, with its unit or scale.
    log : bool
        Whether it has powers of ten; `base` of them then.
    names : tuple of str
        Names of the places 0, 1, 2, ..., where it has no numbers.
    limits : (float, float) or None
        Its ends; None: those of the data.
    """

    label: str
    log: bool = False
    base: int = 10
    names: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """Numbers that belong together.

    Attributes
    ----------
    label : str
        Its name in the legend; empty: it has none.
    x, y : sequences of numbers of one length
        Where it runs. For bars x is the place and y the height.
    low : sequence of numbers or None
        The lower edge of a band, whose upper one is y; the foot of bars.
    kind : str
        How it is drawn.
    colour : int or None
        Number of the colour in the cycle; None: the next one. Series that belong together share
        one.
    written : str
        What stands in each of its squares.
    """

    label: str
    x: Numbers
    y: Numbers
    kind: Kind = "line"
    low: Numbers | None = None
    colour: int | None = None
    written: str = ""

    def __post_init__(self) -> None:
        lengths = {len(a) for a in (self.x, self.y, self.low) if a is not None}
        if len(lengths) != 1:
            msg = f"series {self.label!r} has arrays of lengths {sorted(lengths)}: make them equal"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A straight line across the panel at one x or one y, with a text."""

    text: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a kind of line means in a panel where colours mean something else."""

    label: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Axes and what stands in them."""

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    keys: tuple[Key, ...] = ()
    marks: tuple[Mark, ...] = ()
    title: str = ""
    legend: Place = "inside"
    """Where the legend stands; outside the axes where no corner is free of data."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A number that the source prints, or that follows from what it prints, beside ours."""

    what: str
    source: str
    ours: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure.

    Attributes
    ----------
    name : str
        As the command takes it.
    title : str
        What is drawn.
    claims : tuple of str
        Keys of the theorems that it shows.
    caption : str
        What to see in it, in a few sentences.
    panels : tuple of Panel
        Side by side.
    printed : tuple of Printed
        The paper's numbers beside ours.
    seed : int or None
        What its random numbers follow from; None: there are none.
    of_paper : str
        The figure or table of the paper that it redraws; empty: none.
    """

    name: str
    title: str
    claims: tuple[str, ...]
    caption: str
    panels: tuple[Panel, ...]
    printed: tuple[Printed, ...] = ()
    seed: int | None = None
    of_paper: str = ""
    facts: dict[str, float] = field(default_factory=dict)
    """Single numbers that the caption speaks of, for tests and tables."""
