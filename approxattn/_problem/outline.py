"""What bounds may ask of a problem whose arrays are gone.

A certificate is computed when somebody reads it (`certificate.deferred`). Until then an outline
stands in for the problem: its sizes and settings, the ends of its values, and facts that were found
at the call, a number or a few for each token. They may be far (`_arrays.crossing`). No array of the
caller is among them, nor one as wide as a token.

Bounds that count keys need the mask: a copy of it is kept, one byte a key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from approxattn._problem import Problem


@dataclass(frozen=True)
class Gone:
    """What is left of an array: its shape and its dtype."""

    shape: tuple[int, ...]
    dtype: Any

    def __array__(self, *_: object, **__: object) -> NoReturn:
        msg = f"bounds asked for numbers of shape {self.shape} that were not kept"
        raise TypeError(msg)


@dataclass(frozen=True, kw_only=True)
class Outline(Problem):
    """A problem whose q, k and v are `Gone`, and its mask, bias and sinks where it had them.

    Attributes
    ----------
    roundoff : float
        `u`, as it was at the call.
    """

    roundoff: float

    @property
    def u(self) -> float:
        """Unit roundoff of the dtype computed in, or of its products where they are less exact."""
        return self.roundoff


_FIELDS = tuple(field.name for field in fields(Problem))


def outline(
    problem: Problem,
    *facts: Callable[[Problem], Any],
    counts: bool = False,
    reach: bool = True,
) -> Outline:
    """Return the outline of a problem with some of its facts, which are found now.

    Parameters
    ----------
    problem : Problem
        Or an outline.
    facts : callable
        Functions under `once`.
    counts : bool
        Whether bounds ask which keys take part, and for `visible_keys`.
    reach : bool
        Whether they ask for `largest_key`.
    """
    own: dict[str, Any] = {name: getattr(problem, name) for name in _FIELDS}
    n_k = problem.n_k  # of keys elsewhere there are more than rows
    for name, n in (("q", problem.n_q), ("k", n_k), ("v", n_k)):
        x = own[name]
        own[name] = Gone((*problem.batch, n, int(x.shape[-1])), x.dtype)
    for name in ("key_mask", "bias", "sinks"):
        own[name] = None if own[name] is None else Gone((), None)
    if counts and problem.key_mask is not None:
        own["key_mask"] = problem.key_mask & problem.key_mask  # a copy, in any library
    made = object.__new__(Outline)  # what __init__ does, in a fraction of the time
    vars(made).update(own, xp=None, roundoff=problem.u)
    for known, there in (("value_range", "value_ends"), ("largest_key", "key_reach")):
        if reach or there == "value_ends":
            name = known if known in vars(problem) else there
            vars(made)[name] = getattr(problem, name)
    if counts and ("visible_keys" in vars(problem) or problem.bias is not None):
        vars(made)["visible_keys"] = problem.visible_keys
    made.facts.update({_found(fact): fact(problem) for fact in facts})
    return made


def _found(fact: Any) -> Any:
    """Return the name of a fact in `Problem.facts`."""
    return fact.__wrapped__
