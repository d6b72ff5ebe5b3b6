"""Polynomial attention over blocks of tokens: how settings of all blocks are found.

Symbols. beta is the factor of the scores, k_j are the keys, q_i the queries, c is the centre.

1. Any centre c is exact (`state`, step 3). So the mean of some keys will do in the place of the
   mean of all: it costs no pass, and it lets one pass find the radius max_j |k_j - c| itself.
2. |beta q_i . (k_j - c)| <= beta max|q_i| max|k_j - c|, per leading index. The largest of these is
   the half range that the polynomial is made for.
3. Norms are rounded up, but not always by as much: how depends on the other rows of an array
   (`row_norms`). Each is within gamma_{d+8} of the true one, so a factor of 1 + 4 gamma_{d+12}
   covers a row that is measured in one array and queried in another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import pose
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import row_norms
from approxattn.certificate import Approximation
from approxattn.methods.polynomials.folding.advance import advanced
from approxattn.methods.polynomials.shift import shift_keys
from approxattn.methods.polynomials.state import PolynomialState


class PolynomialSettings(NamedTuple):
    """What all blocks have in common: the centre, shape (..., 1, d), and the half range."""

    centre: Array
    half_range: float | None


@dataclass(frozen=True, kw_only=True)
class PolynomialShards:
    """One call of `Polynomial`, in the dtype computed in.

    Queries are not centred, whatever `centre` says: keys would get weights, and these a pass of
    their own. A tolerance is kept by the degree that suffices for the range of the scores.

    Parameters
    ----------
    method : Polynomial
        Its settings.
    scale : float, optional
        As in `attention`.
    """

    method: Any
    scale: float | None

    def __post_init__(self) -> None:
        half = None if self._open_range else 1.0
        nothing = np.zeros((1, 1))
        self.method.state(nothing, nothing, half_range=half)  # refuses what has no such form

    @property
    def _open_range(self) -> bool:
        """Whether the polynomial serves any scores."""
        return self.method.basis == "taylor" and self.method.degree is not None

    @property
    def measured(self) -> bool:
        """Whether a half range must be found."""
        return not self._open_range

    def begin(self, k: list[Array]) -> Array:
        """Return the centre, shape (..., 1, d): the mean of these keys, or 0."""
        xp = _arrays.namespace(k=k[0])
        tokens = xp.concat(k, axis=-2)
        keys = pose(tokens[..., :1, :], tokens, tokens[..., :1]).k
        centre = _arrays.mean_of_rows(keys, xp)
        return xp.zeros_like(centre) if self.method.centre == "none" else centre

    def measure_queries(self, q: Array) -> HostArray:
        """Return the length of the longest query, shape (...)."""
        one = q[..., :1, :]
        problem = pose(q, one, one, scale=self.scale)
        return np.asarray(np.max(row_norms(problem.q, problem.xp), axis=-1))

    def measure_keys(self, begun: Array, k: Array) -> HostArray:
        """Return the length of the longest centred key, shape (...)."""
        problem = pose(k[..., :1, :], k, k[..., :1])
        keys = shift_keys(problem, begun, problem.dtype)
        return np.asarray(np.max(row_norms(keys, problem.xp), axis=-1))

    def settle(
        self, begun: Array, queries: HostArray | None, keys: HostArray | None
    ) -> PolynomialSettings:
        """Return the centre and, from the measures, the half range."""
        if queries is None or keys is None:
            return PolynomialSettings(begun, None)
        problem = pose(begun, begun, begun, scale=self.scale)
        slack = 1 + 4 * gamma(problem.d + 12, problem.u)
        bounds = up(problem.scale * queries * keys * (1 + 4 * problem.u) * slack)
        return PolynomialSettings(begun, float(np.max(bounds, initial=0.0)))

    def fold(self, settings: PolynomialSettings, k: Array, v: Array) -> PolynomialState:
        """Return the state of keys and values."""
        state: PolynomialState = self.method.state(
            k, v, scale=self.scale, centre=settings.centre, half_range=settings.half_range
        )
        return state

    def query(
        self, settings: PolynomialSettings, state: PolynomialState, q: Array
    ) -> Approximation:
        """Return the attention of queries over all keys of a state."""
        del settings
        return state.query(q)

    def advance(
        self,
        settings: PolynomialSettings,
        before: PolynomialState | None,
        q: Array,
        k: Array,
        v: Array,
    ) -> tuple[Approximation, PolynomialState]:
        """Return causal attention of the next tokens, and the state after them."""
        return advanced(before, self.fold(settings, k, v), q, k, v)
