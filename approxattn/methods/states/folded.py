"""What the states of all methods can do: see more keys, merge, answer queries, go to a file.

A state is what a method keeps of keys and values, of a size that has nothing to do with their
number. It never changes: every call that adds something returns a new one. Calls are checked here,
and then handed to what a method brings of its own, the methods that begin with `_`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Problem, quietly
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.methods.states.files import StateFile
from approxattn.methods.states.posing import pose_keys, pose_next, pose_queries


class Widths(NamedTuple):
    """Those of keys and values, and the factor of the scores; None where it has no meaning."""

    d: int
    dv: int
    scale: float | None


class FoldedKeys(ABC):
    """Keys and values folded into something of fixed size."""

    MADE_BY: ClassVar[str]
    """The call that makes the first state, for messages."""

    @public()
    @quietly
    def extend(self, k: Array, v: Array, *, key_mask: Array | None = None) -> Self:
        """Return the state that has seen these keys and values too, after its own.

        Parameters
        ----------
        k, v : array, shapes (..., n, d), (..., n, dv)
            Keys and values.
        key_mask : array of bool, shape (..., n), optional
            True where a key takes part. An item that has none in this call stays as it is.

        Raises
        ------
        TypeError, ValueError
            What `attention` refuses; keys and values of another shape or dtype than the state.
        """
        return self._with_keys(pose_keys(k, v, self._widths.scale, key_mask))

    @public()
    @quietly
    def merge(self, other: Self) -> Self:
        """Return the state that has seen what either has; where order matters the other's keys come
        later.

        Raises
        ------
        TypeError
            If `other` is no such state.
        ValueError
            If they differ in settings, draws, scale, centre, shape or dtype: what they hold then
            means different things.
        """
        if type(other) is not type(self):
            msg = f"other(={other!r}) must be a {type(self).__name__}: make one with {self.MADE_BY}"
            raise TypeError(msg)
        self._refuse_other_terms(other)
        return self._merged(other)

    @public()
    @quietly
    def query(self, q: Array) -> Approximation:
        """Return the attention of the queries over all keys seen, and its certificate.

        The output has the library of the queries and the dtype computed in (float32 for half
        precisions). Rows of an item that has seen no key are NaN, and the certificate says so; a
        mean over hashes, which has no denominator, is 0 there.

        Parameters
        ----------
        q : array, shape (..., n_q, d)
            Same library, device, dtype and leading axes as the keys.

        Raises
        ------
        TypeError, ValueError
            What `attention` refuses; queries so large that the sums could overflow.
        """
        widths = self._widths
        return self._answered(pose_queries(q, self._like(q), widths.d, widths.scale))

    @public()
    @quietly
    def attend(self, q: Array, k: Array, v: Array) -> tuple[Approximation, Self]:
        """Return causal attention of the next tokens, and the state that has seen them too.

        Query i sees all keys of this state and keys 0..i of the new ones: a decoder calls it token
        by token, a long prompt chunk by chunk. The cost has nothing to do with the number of keys
        seen.

        Parameters
        ----------
        q, k, v : array, shapes (..., n, d), (..., n, d), (..., n, dv)
            The next tokens, as many queries as keys; same library, device, dtype and leading axes
            as the state.

        Returns
        -------
        Approximation
            Output in the dtype computed in, shape (..., n, dv), and its certificate.
        state
            Of all keys up to the last new one. This state stays as it is.

        Raises
        ------
        TypeError, ValueError
            What `attention`, `extend` and `query` refuse; numbers of queries and keys that differ.
        """
        widths = self._widths
        like = self._like(q)
        return self._attended(pose_next(q, k, v, like, widths.dv, widths.d, widths.scale))

    @property
    @abstractmethod
    def _widths(self) -> Widths:
        """What keys and values have."""

    @abstractmethod
    def _like(self, q: Array) -> Array:
        """Return an array with two axes behind the leading ones of the state, of its dtype and
        library; that of q for a state on the host.
        """

    @abstractmethod
    def _terms(self) -> dict[str, object]:
        """Return what two states must have in common to be merged, by names for messages."""

    @abstractmethod
    def _with_keys(self, problem: Problem) -> Self:
        """Return the state that has seen the keys of a problem too."""

    @abstractmethod
    def _merged(self, other: Self) -> Self:
        """Return the state of both, whose terms agree."""

    @abstractmethod
    def _answered(self, problem: Problem) -> Approximation:
        """Return attention of the queries of a problem over all keys seen."""

    @abstractmethod
    def _attended(self, problem: Problem) -> tuple[Approximation, Self]:
        """Return causal attention of the tokens of a problem, and the state that has seen them."""

    def _refuse_other_terms(self, other: Self) -> None:
        """Raise ValueError where two states mean different things."""
        theirs = other._terms()
        for name, value in self._terms().items():
            if theirs[name] != value:
                msg = (
                    f"other has {name} {theirs[name]}, this state {value}: only states of one kind "
                    "can be merged"
                )
                raise ValueError(msg)


class SavedKeys(FoldedKeys):
    """Folded keys that can be written to a file as they are."""

    FILE: ClassVar[StateFile]
    """How such a file looks."""

    ON_DEVICE: ClassVar[tuple[str, ...]] = ()
    """Names of the arrays that lie where the keys did; all others are on the host."""

    def save(self, path: str | Path) -> None:
        """Write the state to an .npz file of plain arrays, whole or not at all.

        It is written beside `path` and then renamed: a crash leaves the old file, or the new one.
        """
        self.FILE.write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, *, like: Array | None = None) -> Self:
        """Read a state that `save` wrote, into the library and onto the device of `like` (NumPy if
        None); what a method keeps on the host stays there.

        Raises
        ------
        ValueError
            If the file is none of ours, is damaged, holds numbers that no state has, or if this
            version makes another polynomial of that degree and interval. The message names the
            file.
        OSError
            If it cannot be read.
        """
        fields: dict[str, Any] = cls.FILE.read(Path(path))
        if like is not None:
            fields |= {name: _arrays.from_host(fields[name], like) for name in cls.ON_DEVICE}
        return cls(**fields)


def zeros_like(q: Array, batch: tuple[int, ...], dtype: str) -> Array:
    """Return what `_like` asks for, for a state on the host."""
    _arrays.namespace(q=q)  # which says what is wrong
    return _arrays.from_host(np.zeros((*batch, 1, 1), dtype), q)


def empty_output(problem: Problem, dv: int) -> Approximation:
    """Return the output where it has no number, whose error is surely 0."""
    shape = (*problem.batch, problem.n_q, dv)
    value = problem.xp.zeros(shape, dtype=problem.q.dtype, device=_arrays.device(problem.q))
    nothing = Certificate(rows=np.zeros(shape[:-1]), target=SOFTMAX, theorem="ours.tanh")
    return Approximation(value=value, certificate=nothing)


def nan_without_keys(value: Array, none: HostArray) -> tuple[Array, tuple[str, ...]]:
    """Return the output, shape (..., n_q, dv), with NaN for the items (...) that have seen no key,
    and the reason.
    """
    if not np.any(none):
        return value, ()
    xp = _arrays.namespace(value=value)
    gone = _arrays.from_host(np.array(none[..., None, None]), value)
    return xp.where(gone, xp.full_like(value, xp.nan), value), (no_key_seen(none),)


def no_key_seen(none: HostArray) -> str:
    """Return the reason why items have no bound."""
    return f"{int(np.sum(none))} item(s) have seen no key and their rows are NaN"
