"""The certificate of YOSO-m, from what is kept of a call; its derivation stands in `hash_error`."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import at_hand, space
from approxattn._problem import Problem
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import column_widths
from approxattn.certificate import Certificate
from approxattn.hashing.directions import turn_of_length
from approxattn.methods.yoso.hash_error import Hashes, hoeffding_error
from approxattn.methods.yoso.yoso_expectation import euclidean_norm


class Settings(Protocol):
    """What the certificate needs of a `Yoso`."""

    @property
    def bits(self) -> int:
        """Hyperplanes of a hash."""
        ...

    @property
    def hashes(self) -> int:
        """Their number."""
        ...

    @property
    def hashing(self) -> str:
        """How hyperplanes are drawn."""
        ...

    @property
    def normalize(self) -> bool:
        """Whether rows are divided by their lengths."""
        ...

    @property
    def bound(self) -> str:
        """By whose inequality."""
        ...

    @property
    def target(self) -> str:
        """What the error is measured against."""
        ...

    @property
    def drawn(self) -> Hashes:
        """The hashes."""
        ...


class Seen(NamedTuple):
    """What a certificate needs of the means over hashes, shapes (..., n_q), at hand.

    Attributes
    ----------
    counts : array
        As in `Sample`.
    squares : array or None
        Those of a `Sample`, summed over a row.
    factor : float
        As in `Sample`.
    error : array or None
        Exact root mean square errors.
    lengths : array or None
        Of the rows before they were normalised; None where they are not.
    size : ndarray or None
        As `size_of` says, where it is known already.
    """

    counts: Array
    squares: Array | None
    factor: float
    error: Array | None
    lengths: Array | None
    size: HostArray | None


def row_sums(x: Array) -> Array:
    """Return the sums of rows, shape (..., n, c) -> (..., n), in float64, at hand."""
    here = at_hand(x)
    return space(here).sum(here, axis=-1)


def size_of(method: Settings, entry: HostArray) -> HostArray:
    """Return of the errors of the entries of a row what its bound is made of, shape (..., n_q, dv)
    -> (..., n_q).
    """
    return euclidean_norm(entry) if method.normalize else np.max(entry, axis=-1)


def hash_certificate(
    method: Settings, problem: Problem, seen: Seen, failure: float, widths: HostArray | None
) -> Certificate:
    """Return the certificate of a call, which fails with that probability; for the l1 widths of the
    columns of v, those of the problem if not given.
    """
    widths = column_widths(problem) if widths is None else widths
    by_hoeffding = method.bound == "hoeffding"
    return Certificate(
        rows=_rows(method, problem, seen, widths, failure),
        target=method.target,
        theorem="ours.l1-hoeffding" if by_hoeffding else "ours.shared-bernstein",
        failure=failure,
        facts=_facts(method, problem, seen, widths),
    )


def _rows(
    method: Settings, problem: Problem, seen: Seen, widths: HostArray, failure: float
) -> HostArray:
    """Return the bounds of the rows, shape (..., n_q)."""
    u, tiny, size = problem.u, _arrays.smallest_normal(problem.dtype), seen.size
    if size is None:
        size = size_of(method, hoeffding_error(problem, method.drawn, seen.factor, widths, failure))
    shape = (*problem.batch, problem.n_q)
    if seen.lengths is None:
        # no mean of collided sums is larger than the width
        rows = up(size + 2 * u * np.max(widths, axis=-1)[..., None] + tiny)
        return np.broadcast_to(rows, shape)
    error, lengths = up(np.broadcast_to(size, shape)), _arrays.to_host(seen.lengths)
    return up(turn_of_length(lengths, problem.dv, error) + u + tiny)


def _facts(method: Settings, problem: Problem, seen: Seen, widths: HostArray) -> dict[str, Any]:
    """Return what a certificate tells."""
    counts = _arrays.to_host(seen.counts)
    facts: dict[str, Any] = {
        "bits": method.bits,
        "hashes": method.hashes,
        "hashing": method.hashing,
        "l1 width of a value column": np.max(widths, axis=-1),
        "collided fraction": float(np.mean(counts / problem.visible_keys)),
        "rows without collision": int(np.sum(counts == 0)),
    }
    if seen.squares is not None:
        facts["standard error of a row"] = seen.factor * np.sqrt(_arrays.to_host(seen.squares))
    if seen.error is not None:
        facts["root mean square error of a row before normalising"] = _arrays.to_host(seen.error)
    return facts
