"""The table of methods: one row each (several for a method with several faces). Every law runs over it; a new method adds its rows here.

A row claims every law of the suite. Where a method does not obey one, `exempt` names the law and the reason, and the law's own test demands
that the method then breaks it on some case: an exemption cannot outlive its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import approxattn as aa
from approxattn.methods._protocol import Method


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method under test.

    Attributes
    ----------
    name : str
        Identifier of the tests.
    method : Method
        The instance.
    target : {"softmax", "yoso"}
        What its certificate speaks about.
    bits : int
        Hyperplanes of one hash, for the target "yoso".
    normalize : bool
        Whether the target "yoso" is normalised row by row.
    exempt : mapping of str to str
        Law -> the reason why it does not hold.
    needs_square : bool
        Whether it needs as many queries as keys.
    slack : float
        A certificate divided by this much is caught by the hunt: how far from sharp we let it be. inf: there is no finite certificate.
    """

    name: str
    method: Method
    target: Literal["softmax", "yoso"] = "softmax"
    bits: int = 0
    normalize: bool = False
    exempt: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    needs_square: bool = False
    slack: float

    def __str__(self) -> str:
        return self.name


_WHOLE_CALL = "the interval of the scores comes from the whole call, and the polynomial from the interval"
_CENTRES = MappingProxyType({"causal prefix": "the centre of the keys comes from all keys, later ones included"})
_FITS = MappingProxyType({**_CENTRES, "batch": _WHOLE_CALL})

TABLE: tuple[Row, ...] = (
    Row(name="exact", method=aa.Exact(), slack=1e3),
    Row(name="taylor-4", method=aa.Polynomial(degree=4, basis="taylor"), exempt=_CENTRES, slack=4),
    Row(name="taylor-1e-2", method=aa.Polynomial(tolerance=1e-2, basis="taylor"), exempt=_FITS, slack=4),
    Row(name="minimax-5", method=aa.Polynomial(degree=5), exempt=_FITS, slack=4),
    Row(name="minimax-1e-4", method=aa.Polynomial(tolerance=1e-4), exempt=_FITS, slack=4),
)


def obeying(law: str) -> list[Row]:
    """Return the rows that claim a law."""
    return [row for row in TABLE if law not in row.exempt]


def exempt_from(law: str) -> list[Row]:
    """Return the rows that do not, each with its reason in `exempt`."""
    return [row for row in TABLE if law in row.exempt]
