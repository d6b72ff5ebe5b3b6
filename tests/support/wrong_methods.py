"""The hunt on trial: certificates that are wrong on purpose, which it has to notice.

`notices` puts a wrong method in the place of a row and hunts there. What it does not notice stands
in `table`, and in the test of this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from proofs_check.hunt.chunk import examine
from proofs_check.hunt.methods import ROWS, Cell, Row

Change = Callable[[Any, Any, Any], Any]
"""(method, problem, result of a sound call) -> result with a wrong certificate."""


def _as_it_is(_: Any, __: Any, result: Any) -> Any:
    return result


def _same(problem: Any) -> Any:
    return problem


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A method whose results are changed.

    Attributes
    ----------
    method : Method
        The sound one.
    change : callable
        What is done to a result.
    pose : callable
        What is done to a problem before the method sees it.
    """

    method: Any
    change: Change = _as_it_is
    pose: Callable[[Any], Any] = _same

    averages_values: ClassVar[bool] = False
    """The change is the last thing done to a bound: nothing is added for centred values."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)

    def compute(self, problem: Any, rng: np.random.Generator | None) -> Any:
        """Return the output with its wrong certificate."""
        return self.change(self.method, problem, self.method.compute(self.pose(problem), rng))

    def vjp(self, problem: Any, dout: Any, rng: np.random.Generator | None) -> Any:
        """Return the gradient with its wrong certificate."""
        return self.change(self.method, problem, self.method.vjp(self.pose(problem), dout, rng))


def scaled(factor: float) -> Callable[[Any], Wrong]:
    """Return what multiplies every bound by a factor."""

    def change(_: Any, __: Any, result: Any) -> Any:
        names = ("rows",) if hasattr(result.certificate, "rows") else ("dq", "dk", "dv")
        bounds = {name: getattr(result.certificate, name) * factor for name in names}
        return replace(result, certificate=replace(result.certificate, **bounds))

    return lambda method: Wrong(method=method, change=change)


def without_rounding(method: Any) -> Wrong:
    """Certify as if everything were computed in float64: the rounding of the dtype is left out."""

    def change(method: Any, problem: Any, result: Any) -> Any:
        xp = problem.xp
        wide = {name: xp.astype(getattr(problem, name), xp.float64) for name in ("q", "k", "v")}
        fine = method.compute(replace(problem, **wide), None).certificate
        return replace(result, certificate=replace(result.certificate, rows=fine.rows))

    return Wrong(method=method, change=change)


def mask_ignored(method: Any) -> Wrong:
    """Compute and certify as if every key took part."""
    return Wrong(method=method, pose=lambda problem: replace(problem, key_mask=None))


def not_causal(method: Any) -> Wrong:
    """Compute and certify as if every query saw every key."""
    return Wrong(method=method, pose=lambda problem: replace(problem, causal=False))


def wrong_row(name: str, wrong: Callable[[Any], Any]) -> Row:
    """Return a row of the table whose method is made wrong."""
    return replace(ROWS[name], method=wrong(ROWS[name].method))


def notices(
    name: str,
    wrong: Callable[[Any], Any],
    *,
    mode: str = "plain",
    dtype: str = "float32",
    chunks: int = 10,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Return the first violation that the hunt finds of a wrong method; None when it finds none.

    Parameters
    ----------
    name : str
        Row of the table whose method is made wrong.
    wrong : callable
        Sound method -> wrong one, such as `scaled(0.1)` or `mask_ignored`.
    mode, dtype : str
        Where to hunt.
    chunks : int
        How long.
    seed : int
        Of the problems.

    Returns
    -------
    dict or None
        The finding, as one line of JSON.
    """
    row = wrong_row(name, wrong)
    for index in range(chunks):
        record = examine(Cell(name, mode, dtype), seed=seed, index=index, row=row)
        for found in record["findings"]:
            if found["kind"] == "violation":
                return dict(found)
    return None
