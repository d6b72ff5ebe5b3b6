"""Searches for a counterexample that are led by the function that decides."""

from __future__ import annotations

from functools import partial
from typing import Any

from proofs_check.statements.experiment import Falsify, Instance

__all__ = ["search_by"]


def search_by(confirm: Any, **fields: Any) -> Falsify:
    """Build a `Falsify` whose two sides in floats are those that `confirm` returns exactly.

    Parameters
    ----------
    confirm : callable
        ``confirm(instance) -> (measured, bound)``; a variant is a `functools.partial`.
    **fields
        The other fields of `Falsify`. A ``measured`` or ``bound`` among them takes the place of
        the exact side, where floats are quicker.
    """
    sides = {name: partial(_side, confirm, i) for i, name in enumerate(("measured", "bound"))}
    return Falsify(confirm=confirm, **{"covers": "statement", **sides, **fields})


def _side(confirm: Any, index: int, instance: Instance) -> float:
    return float(confirm(instance)[index])
