"""Majorants of |P - lambda e^s| for a polynomial P that comes from outside.

Symbols. P = sum_t c_t s^t is given; B is a half range; mu is the normal distribution with standard
deviation sigma, cut off at -B and B, on a grid. lambda is any number. Delta = P - lambda e^s; Q is
a majorant of |Delta| on [-B, B] (`majorants`). u is the unit roundoff of float64.

1. T5 (`approxattn.bounds.moments`) holds with a_j = lambda w_j e^(s_j), too: sum_j a_j (v_j - out)
   = 0 whatever lambda is, and the normalised a_j are the exact ones.
2. So Q bounds the row's error. A common factor of the c_t is lambda's matter.
3. Q and lambda are *chosen* by a linear programme: least E_mu Q subject to Q >= |Delta| on a grid.
   `certified` makes of that a majorant on the whole interval; nothing else is relied on.
4. Where c_t = 0 no moment of degree t is at hand: Q has no such term.
5. One more candidate needs no programme. With lambda = c_0, or 1 where c_0 is not positive, |Delta|
   is at most sum_t |c_t - lambda/t!| |s|^t. There |s|^t <= B^(t-p) |s|^p for any p <= t, and
   |s|^t <= (B |s|^(t-1) + |s|^(t+1) / B) / 2.

Coefficients of Delta (proved here). e^s = sum_t e_t s^t with errors of at most slack_t and a tail
(`majorants.difference` of 0). lambda e_t and its difference to c_t round once each: they are off by
u |lambda e_t| + u |c_t - lambda e_t|, and |lambda| slack_t.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import U64
from approxattn.exponential.majorants import (
    Difference,
    Majorants,
    certified,
    difference,
    intervals,
    values_at,
)

PAIRS = ((1.0, 1.0), (1.0, 0.5), (0.5, 0.5))
"""B and sigma over the half range and the deviation given. *Chosen*: most rows have smaller scores
than the largest, and spread less than those that the deviation is taken from.
"""

LOW, PAIRS_LOW = 5, ((1.0, 1.0), (1.0, 0.5), (0.85, 0.85), (0.7, 0.6), (0.5, 0.5))
"""The same up to a degree. *Chosen*: low degrees follow B closely, and their programmes are small.
"""

MOST_TERMS = 25
"""Of Q in the programme. *Chosen*: float64 does not tell more powers apart."""

APART, ROUNDS, BROKEN = 8, 3, 2.0**-10
"""How many points of the grid one of the first stands for, how often others are added, and what is
overlooked, relatively. *Chosen*: below what `certified` adds anyway.
"""

HOPELESS = 16.0
"""Times |lambda| E_mu e^s, about the denominator. *Chosen*: where E_mu |Delta| is more, no
programme is solved, since the range of v says more than any majorant.
"""

MOST_STEPS = 5000
"""Of the simplex method. *Chosen*: hundreds are usual; a limit of time would make certificates
depend on what else the machine does.
"""

NEGLIGIBLE = 2.0**-60
"""Part of the largest |c_t| B^t below which degree t is not used. *Chosen*: its moment would drown
in underflow.
"""


@functools.lru_cache(maxsize=64)
def majorants_of(
    coefficients: tuple[float, ...], half_range: float, deviation: float
) -> tuple[tuple[int, ...], tuple[Majorants, ...]]:
    """Return the degrees that the majorants weigh, and them."""
    used = _degrees(coefficients, half_range)
    found, pairs = [], PAIRS if len(coefficients) > LOW + 1 else PAIRS_LOW
    for part in sorted({narrower for narrower, _ in pairs}, reverse=True):
        b = half_range * part
        spreads = [min(deviation * spread, b) for narrower, spread in pairs if narrower == part]
        kept = [_simple(coefficients, used, b)]
        kept += [_best(coefficients, used, b, spread) for spread in spreads]
        sure = [_certified(q, coefficients, scale, b) for q, scale in kept if q is not None]
        sure = [q for q in sure if np.all(np.isfinite(q))]
        if sure:
            table = np.stack(sure)[:, used]
            table.setflags(write=False)
            found.append(Majorants(half_range=b, table=table))
    return used, tuple(found)


def _degrees(coefficients: tuple[float, ...], half_range: float) -> tuple[int, ...]:
    """Return 0 and the degrees whose moments are at hand."""
    with np.errstate(over="ignore", divide="ignore"):
        t = np.arange(len(coefficients))
        size = np.log2(np.abs(coefficients)) + t * math.log2(half_range)
    least = np.max(size) + math.log2(NEGLIGIBLE)
    there = [int(i) for i in t[1:] if size[i] > least and np.isfinite(size[i])]
    if len(there) >= MOST_TERMS:
        even = [i for i in there if i % 2 == 0]
        keep = np.unique(np.linspace(0, len(even) - 1, MOST_TERMS - 1).round().astype(int))
        there = [even[i] for i in keep] if even else there[: MOST_TERMS - 1]
    return (0, *there)


def scaled_difference(
    coefficients: tuple[float, ...], scale: float, half_range: float
) -> Difference:
    """Return P - scale e^s."""
    whole = difference((0.0,) * len(coefficients), half_range)
    p = np.zeros(whole.coefficients.size)
    p[: len(coefficients)] = coefficients
    part = scale * whole.coefficients
    delta = p + part
    slack = abs(scale) * whole.slack * (1 + 4 * U64) + 2 * U64 * (np.abs(part) + np.abs(delta))
    return Difference(coefficients=delta, slack=slack, tail=abs(scale) * whole.tail * (1 + 4 * U64))


def _certified(
    candidate: HostArray, coefficients: tuple[float, ...], scale: float, half_range: float
) -> HostArray:
    with np.errstate(over="ignore", invalid="ignore"):
        delta = scaled_difference(coefficients, scale, half_range)
        return np.asarray(certified(candidate[None], half_range, delta)[0])


def _simple(
    coefficients: tuple[float, ...], used: tuple[int, ...], half_range: float
) -> tuple[HostArray | None, float]:
    """Return the candidate of step 5, from the even degrees in use."""
    even = [t for t in used if t % 2 == 0]
    q, scale = np.zeros(len(coefficients)), coefficients[0] if coefficients[0] > 0 else 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        delta = np.abs(scaled_difference(coefficients, scale, half_range).coefficients)
        for t, c in enumerate(delta):
            p = max(i for i in even if i <= t)
            if t % 2 and p == t - 1 and t + 1 in even:
                q[p] += c * half_range / 2
                q[t + 1] += c / half_range / 2
            else:
                q[p] += c * half_range ** float(t - p)
    return q, scale


@dataclass(frozen=True, kw_only=True)
class _Programme:
    """Rows of the constraints at points x of [-1, 1], in units that make the programme's own
    tolerance relative: s = B x, y_t = q_t B^t m_t / size, with m_t the moments of |x| under mu and
    size that of |Delta|. The last unknown is (lambda - start) / size.

    Attributes
    ----------
    system, side : ndarray, shapes (2, points, unknowns), (2, points)
        system y >= side: Q is above Delta, and above -Delta.
    cost : ndarray, shape (unknowns,)
        E_mu Q, mu on the points that `first` names: the least of it is finite.
    first : ndarray of bool, shape (points,)
        Where the constraints count from the beginning.
    typical : ndarray, shape (unknowns - 1,)
        m_t.
    size, start, total : float
        E_mu |Delta|; the lambda it is taken with; E_mu |lambda| e^s.
    """

    system: HostArray
    side: HostArray
    cost: HostArray
    first: HostArray
    typical: HostArray
    size: float
    start: float
    total: float


def _best(
    coefficients: tuple[float, ...], used: tuple[int, ...], half_range: float, deviation: float
) -> tuple[HostArray | None, float]:
    """Return the Q and lambda of the programme of step 3; None where it finds none."""
    with np.errstate(all="ignore"):
        programme = _programme(coefficients, used, half_range, deviation)
        found = None if programme.size > HOPELESS * programme.total else _solve(programme)
        if found is None:
            return None, 1.0
        q = np.zeros(len(coefficients))
        units = programme.typical * half_range ** np.asarray(used, dtype=float)
        q[list(used)] = found[:-1] * programme.size / units
        scale = float(programme.start + programme.size * found[-1])
    return (q, scale) if np.all(np.isfinite(q)) and math.isfinite(scale) else (None, 1.0)


def _programme(
    coefficients: tuple[float, ...], used: tuple[int, ...], half_range: float, deviation: float
) -> _Programme:
    x, first = _grid(len(used))
    weight = np.zeros_like(x)
    weight[first] = np.gradient(x[first]) * np.exp(-0.5 * (x[first] * half_range / deviation) ** 2)
    weight /= np.sum(weight)
    start = _factor(coefficients, half_range * x, weight)
    delta = values_at(
        scaled_difference(coefficients, start, half_range).coefficients, half_range * x
    )
    powers = x[:, None] ** np.asarray(used)
    typical, size = weight @ np.abs(powers), float(weight @ np.abs(delta))
    least = np.maximum(np.abs(delta), size)
    rows = powers / typical * (size / least)[:, None]
    free = (np.exp(half_range * x) * (size / least))[:, None]
    return _Programme(
        system=np.stack([np.hstack([rows, free]), np.hstack([rows, -free])]),
        side=np.stack([delta / least, -delta / least]),
        cost=np.concatenate([weight @ (powers / typical), [0.0]]),
        first=first,
        typical=typical,
        size=size,
        start=start,
        total=abs(start) * float(weight @ np.exp(half_range * x)),
    )


def _solve(programme: _Programme) -> HostArray | None:
    """Return the unknowns; constraints are added where the last solution breaks them."""
    from scipy.optimize import linprog  # here, because importing it is slow

    system, side, counted = programme.system, programme.side, programme.first
    if not (programme.size > 0 and np.all(np.isfinite(system)) and np.all(np.isfinite(side))):
        return None
    solution = None
    for _ in range(ROUNDS):
        found = linprog(
            programme.cost,
            A_ub=-np.concatenate(system[:, counted]),
            b_ub=-np.concatenate(side[:, counted]),
            bounds=(None, None),
            method="highs",
            options={"maxiter": MOST_STEPS},
        )
        if not found.success or not np.all(np.isfinite(found.x)):
            break
        solution = np.asarray(found.x)
        broken = np.any(system @ solution < side - BROKEN, axis=0)
        if not np.any(broken & ~counted):
            break
        counted = counted | broken
    return solution


def _factor(coefficients: tuple[float, ...], s: HostArray, weight: HostArray) -> float:
    """Return about the lambda that P is close to lambda e^s with, 1 where there is none."""
    found = float(weight @ values_at(np.asarray(coefficients), s)) / float(weight @ np.exp(s))
    return found if math.isfinite(found) and found > 0 else 1.0


def _grid(terms: int) -> tuple[HostArray, HostArray]:
    """Return points of [-1, 1], the closer the nearer to 0, the ends of the intervals that
    `certified` looks at; and which of them are the first, every `APART`-th.
    """
    centres, radii = intervals(1.0, terms)
    ends = np.clip(centres + radii, -1.0, 1.0)
    inside = ends[centres.size // 2 - 1 :]  # from 0 on
    x = np.unique(np.concatenate([-inside, inside]))
    first = np.isin(np.abs(x), inside[::APART]) | (np.abs(x) == np.max(x))
    return x, first
