"""Polynomial attention over blocks of tokens: how settings of all blocks are found.

Symbols. beta is the factor of the scores, k_j are the keys, q_i the queries, c is the centre.

1. Any centre c is exact (`state`, step 3). So the mean of some keys will do in the place of the
   mean of all: it costs no pass, and it lets one pass find the radius max_j |k_j - c| itself.
2. |beta q_i . (k_j - c)| <= beta max|q_i| max|k_j - c|, per leading index. The largest of these is
   the half range that the polynomial is made for.
3. Norms are rounded up, but not always by as much: how depends on the other rows of an array
   (`row_norms`). Each is within gamma_{d+8} of the true one, so a factor of 1 + 4 gamma_{d+12}
   covers a row that is measured in one array and queried in another.
4. With these lengths known, keys are multiplied by a power of two and beta is divided by it, so
   that beta q and k are about equally large: no score changes, and no monomial of the one overflows
   before that of the other shrinks it (as in `balance`, one power for all leading indices).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import pose
from approxattn.bounds.elsewhere import keys_alone, queries_alone
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import row_norms
from approxattn.methods.polynomials.balance import times_power
from approxattn.methods.polynomials.folding.advance import advanced
from approxattn.methods.polynomials.shift import shift_keys
from approxattn.methods.polynomials.state import PolynomialState
from approxattn.methods.sharded import Answer, Answers, Call, Known, Pass, Scan


class Settings(NamedTuple):
    """What all blocks have in common: the centre, shape (..., 1, d), and the scale of keys that are
    multiplied by 2^power, and the half range.
    """

    centre: Array
    half_range: float | None
    power: int = 0
    scale: float | None = None

    def keys(self, k: Array) -> Array:
        """Return keys in the dtype computed in, times 2^power."""
        problem = keys_alone(k, k[..., :1])
        return _times(problem.k, self.power)


class Sample(NamedTuple):
    """Some keys, shape (..., n, d)."""

    keys: Array

    def merge(self, other: Sample) -> Sample:
        """Return these and the others."""
        xp = _arrays.namespace(k=self.keys)
        return Sample(xp.concat([self.keys, other.keys], axis=-2))


class Largest(NamedTuple):
    """Largest length, shape (...)."""

    length: HostArray

    def merge(self, other: Largest) -> Largest:
        """Return the larger one."""
        return Largest(np.asarray(np.maximum(self.length, other.length)))


@dataclass(frozen=True, kw_only=True)
class PolynomialShards:
    """One call of `Polynomial`, in the dtype computed in.

    Queries are not centred, whatever `centre` says: keys would get weights, and these a pass of
    their own. A tolerance is kept by the degree that suffices for the range of the scores.

    Parameters
    ----------
    method : Polynomial
        Its settings.
    call : Call
        What is asked.
    """

    method: Any
    call: Call

    def __post_init__(self) -> None:
        half = None if self._open_range else 1.0
        nothing = np.zeros((1, 1))
        self.method.state(nothing, nothing, half_range=half)  # refuses what has no such form

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The centre, the range of the scores where the polynomial needs it, and the sums."""
        state = Pass(name="state", takes=("k", "v"), fold=self.fold, long=True)
        return (*self.before, *(() if self.call.causal else (state,)))

    @property
    def before(self) -> tuple[Pass, ...]:
        """What comes before the sums."""
        if self._open_range:
            settled = functools.partial(_without_range, self)
            return (
                Pass(name="settings", takes=("k",), fold=_sample, settle=settled, sampled=True),
            )
        return (
            Pass(name="centre", takes=("k",), fold=_sample, settle=self.centre, sampled=True),
            Pass(name="queries", takes=("q",), fold=self.measure_queries),
            Pass(name="settings", takes=("k",), fold=self.measure_keys, settle=self.settle),
        )

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The output."""
        return (Answer(name="out", takes=("q",), give=self.query),)

    @property
    def scan(self) -> Scan | None:
        """The causal output."""
        return Scan(fold=self.fold, advance=self.advance) if self.call.causal else None

    @property
    def _open_range(self) -> bool:
        """Whether the polynomial serves any scores."""
        return self.method.basis == "taylor" and self.method.degree is not None

    def centre(self, known: Known, sample: Sample) -> Array:
        """Return the centre, shape (..., 1, d): the mean of these keys, or 0."""
        del known
        xp = _arrays.namespace(k=sample.keys)
        tokens = sample.keys
        keys = keys_alone(tokens, tokens[..., :1]).k
        centre = _arrays.mean_of_rows(keys, xp)
        return xp.zeros_like(centre) if self.method.centre == "none" else centre

    def measure_queries(self, known: Known, first: int, q: Array) -> Largest:
        """Return the length of the longest query."""
        del known, first
        problem = queries_alone(q, self.call.scale)
        return Largest(np.asarray(np.max(row_norms(problem.q, problem.xp), axis=-1)))

    def measure_keys(self, known: Known, first: int, k: Array) -> Largest:
        """Return the length of the longest centred key."""
        del first
        problem = keys_alone(k, k[..., :1])
        keys = shift_keys(problem, known["centre"], problem.dtype)
        return Largest(np.asarray(np.max(row_norms(keys, problem.xp), axis=-1)))

    def settle(self, known: Known, keys: Largest) -> Settings:
        """Return the centre and, from the measures, the half range."""
        centre = known["centre"]
        problem = pose(centre, centre, centre, scale=self.call.scale)
        slack = 1 + 4 * gamma(problem.d + 12, problem.u)
        lengths = known["queries"].length * keys.length
        bounds = up(problem.scale * lengths * (1 + 4 * problem.u) * slack)
        of_q, of_k, of_c = (
            float(np.max(x, initial=0.0))
            for x in (known["queries"].length, keys.length, row_norms(centre, problem.xp))
        )
        power = _balance(problem.scale, of_q, of_k, of_c, problem.dtype)
        return Settings(
            _times(centre, power),
            float(np.max(bounds, initial=0.0)),
            power,
            math.ldexp(problem.scale, -power),
        )

    def fold(self, known: Known, first: int, k: Array, v: Array) -> PolynomialState:
        """Return the state of keys and values."""
        del first
        settings: Settings = known["settings"]
        state: PolynomialState = self.method.state(
            settings.keys(k),
            keys_alone(k, v).v,
            scale=settings.scale,
            centre=settings.centre,
            half_range=settings.half_range,
        )
        return state

    def query(self, known: Known, first: int, q: Array) -> Answers:
        """Return the attention of queries over all keys of a state."""
        del first
        return {"value": known["state"].query(queries_alone(q, None).q)}

    def advance(
        self,
        known: Known,
        before: PolynomialState | None,
        first: int,
        q: Array,
        k: Array,
        v: Array,
    ) -> tuple[Answers, PolynomialState]:
        """Return causal attention of the next tokens, and the state after them."""
        settings: Settings = known["settings"]
        posed = queries_alone(q, None).q, settings.keys(k), keys_alone(k, v).v
        if before is not None:
            out, after = before.attend(*posed)
        else:
            own = self.fold(known, first, k, v)
            out, after = advanced(None, own, pose(*posed, scale=own.scale, causal=True))
        return {"value": out}, after


def _sample(known: Known, first: int, k: Array) -> Sample:
    del known, first
    return Sample(k)


def _without_range(shards: PolynomialShards, known: Known, sample: Sample) -> Settings:
    return Settings(shards.centre(known, sample), None, 0, shards.call.scale)


def _balance(scale: float, queries: float, keys: float, centre: float, dtype: str) -> int:
    """Return the power of two that makes centred keys as large as queries times `scale`, given the
    length of the longest of each; `scale` less the power, and keys as they were before the centre
    was taken off, stay far from the ends of the dtype.
    """
    if not (queries > 0 and keys > 0):
        return 0
    wanted = round((math.log2(scale) + math.log2(queries) - math.log2(keys)) / 2)
    room = math.frexp(_arrays.largest(dtype))[1]
    exponent = math.frexp(scale)[1]
    most = min(exponent + room - 8, room // 4 - math.frexp(keys + centre)[1])
    return max(min(wanted, most), exponent - room + 8)


def _times(x: Array, power: int) -> Array:
    if not power:
        return x
    powers = np.full(tuple(x.shape[:-2]), power)
    return times_power(x, powers, _arrays.namespace(x=x))
