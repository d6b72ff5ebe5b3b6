"""Small attention problems that the laws run on, and one way to call every method on them in every
array library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from methods import Row
from namespaces import NUMPY, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.certificate import Certificate


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One problem on the host, float64 unless a law says otherwise."""

    name: str
    q: HostArray
    k: HostArray
    v: HostArray
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def square(self) -> bool:
        return bool(self.q.shape[-2] == self.k.shape[-2])

    def astype(self, dtype: str) -> Case:
        """Return the case with q, k, v rounded to a dtype."""
        return replace(self, q=self.q.astype(dtype), k=self.k.astype(dtype), v=self.v.astype(dtype))

    def where(self, **changes: Any) -> Case:
        """Return the case with other arrays or options."""
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a call returned: the library's array, its copy on the host, the certificate."""

    array: Any
    value: HostArray
    certificate: Certificate


def run(row: Row, case: Case, library: Library = NUMPY, *, seed: int = 5) -> Outcome:
    """Call a method on a case in a library; randomised methods draw from the seed."""
    q, k, v = (library.put(x) for x in (case.q, case.k, case.v))
    options = {
        name: library.put(x) if isinstance(x, np.ndarray) else x for name, x in case.options.items()
    }
    rng = np.random.default_rng(seed) if row.method.randomised else None
    out = aa.attention(q, k, v, row.method, rng=rng, **options)
    return Outcome(
        array=out.value, value=np.array(library.get(out.value)), certificate=out.certificate
    )


def suits(row: Row, case: Case) -> bool:
    """Tell whether the method takes such a case at all."""
    if case.options.get("causal") and (row.method.why_not_causal or "causal" in row.exempt):
        return False
    if "scale" in case.options and row.method.why_no_scale:
        return False
    return case.square or not row.needs_square


def cases(row: Row) -> list[Case]:
    """Return the problems that suit a method; there is no method without any."""
    found = [case for case in PROBLEMS if suits(row, case)]
    assert len(found) >= 3, f"only {len(found)} cases suit {row}: add some to PROBLEMS"
    return found


def plain_cases(row: Row) -> list[Case]:
    """Return those without masks: laws that reorder or append tokens build their own."""
    found = [
        case
        for case in cases(row)
        if not case.options.get("causal") and "key_mask" not in case.options
    ]
    assert found, f"no plain case suits {row}: add one to PROBLEMS"
    return found


def rounding(case: Case, dtype: str = "float64") -> float:
    """Return the difference that rounding alone may make. *Chosen*: 2^14 u n max|v|, with n max|v|
    the largest l1 width of a value column.

    Scores of PROBLEMS stay within about 4, so that no condition number exceeds e^8 ~ 2^12.
    """
    return (
        2.0**14
        * float(np.finfo(dtype).eps)
        / 2
        * case.k.shape[-2]
        * max(1.0, float(np.abs(case.v).max()))
    )


def gap(a: HostArray, b: HostArray) -> float:
    """Return the largest absolute difference; shapes must agree."""
    assert a.shape == b.shape, f"shapes {a.shape} and {b.shape} differ"
    assert np.isfinite(a).all(), "the first output is not finite"
    assert np.isfinite(b).all(), "the second output is not finite"
    return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))


def _problem(
    name: str,
    *,
    batch: tuple[int, ...] = (),
    n_q: int,
    n_k: int,
    d: int,
    dv: int,
    size: float,
    **options: Any,
) -> Case:
    rng = np.random.default_rng([n_q, n_k, d, dv])
    q, k = (rng.uniform(-size, size, (*batch, n, d)) for n in (n_q, n_k))
    return Case(name=name, q=q, k=k, v=rng.uniform(-3, 3, (*batch, n_k, dv)), options=options)


def _tied(name: str, n: int, **options: Any) -> Case:
    """Small integers, with rows that occur several times and values that occur several times; no
    zero row.
    """
    rng = np.random.default_rng(n)
    rows = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -2.0], [1.0, 1.0]])
    q, k = rows[rng.integers(0, 4, n)], rows[rng.integers(0, 4, n)]
    return Case(
        name=name, q=q, k=k, v=rng.integers(-2, 3, (n, 2)).astype(np.float64), options=options
    )


_HOLES = np.array([True, False, True, True, False, False, True, True])

PROBLEMS: tuple[Case, ...] = (
    _problem("square", n_q=8, n_k=8, d=3, dv=2, size=1.5),
    _problem("long", n_q=5, n_k=41, d=2, dv=1, size=1.5),
    _problem("batch", batch=(2, 3), n_q=6, n_k=6, d=4, dv=3, size=1.0),
    _problem("few queries", batch=(2,), n_q=2, n_k=9, d=2, dv=4, size=1.0),
    _tied("tied", 12),
    _problem("scaled", n_q=5, n_k=5, d=3, dv=2, size=1.0, scale=0.75),
    _problem("causal", n_q=8, n_k=8, d=3, dv=2, size=1.5, causal=True),
    _problem("causal batch", batch=(2,), n_q=19, n_k=19, d=2, dv=2, size=1.0, causal=True),
    _tied("causal tied", 9, causal=True),
    _problem("holes", n_q=8, n_k=8, d=3, dv=2, size=1.5, key_mask=_HOLES),
    _problem("causal holes", n_q=8, n_k=8, d=3, dv=2, size=1.5, key_mask=_HOLES, causal=True),
    _problem(
        "ragged",
        batch=(2,),
        n_q=8,
        n_k=8,
        d=2,
        dv=2,
        size=1.0,
        key_mask=np.stack([_HOLES, ~_HOLES]),
    ),
)
