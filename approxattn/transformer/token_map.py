"""What g_i can be: a function of one token, applied to every token; and chains of such
functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.transformer.affine import (
    adding_rounding,
    bounded,
    norms,
    roundoff,
    where_all_finite,
    where_finite,
)


class PulledError(NamedTuple):
    """Errors of a gradient: summed over the tokens for the input's cotangent, shape (...); in the
    Frobenius norm for each parameter, by name.
    """

    total: HostArray
    parameters: dict[str, float]


class TokenMap(Protocol):
    """A function of one token with a gradient, and what errors in its input do to both.

    The gradient with respect to its parameters is a record of its own kind.
    """

    def __call__(self, x: Array) -> Array:
        """Return g(x), shape (..., n, width)."""
        ...

    def vjp(self, x: Array, dout: Array) -> tuple[Array, Self]:
        """Return the gradients with respect to x and to the parameters."""
        ...

    def error(self, x: Array, delta: HostArray) -> HostArray:
        """Bound the error of each row of g(x) when the rows of x are off by delta; rounding
        included.
        """
        ...

    def vjp_error(self, x: Array, delta: HostArray, dout: Array, total: HostArray) -> PulledError:
        """Bound the errors of `vjp` when the rows of x are off by delta and those of dout by
        `total` in sum; rounding included.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Custom:
    """A user's own function of the tokens.

    Parameters
    ----------
    value : callable
        x, shape (..., n, d) -> g(x), shape (..., n, d').
    gradient : callable
        (x, dout) -> gradient with respect to x.
    lipschitz : float
        Bound on the spectral norm of the Jacobian, for the certificates; inf: none is known.
    curvature : float
        Bound on the Lipschitz constant of the Jacobian; inf: none is known.
    rounding : float
        Relative rounding error of value and gradient in units of u, against |g(x)| and |gradient|;
        inf: none is known.
    """

    value: Callable[[Array], Array]
    gradient: Callable[[Array, Array], Array]
    lipschitz: float = float("inf")
    curvature: float = float("inf")
    rounding: float = float("inf")

    def __post_init__(self) -> None:
        for name in ("lipschitz", "curvature", "rounding"):
            if not getattr(self, name) >= 0:
                msg = (
                    f"{name}(={getattr(self, name)}) must be non-negative; inf where nothing is "
                    "known"
                )
                raise ValueError(msg)

    def __call__(self, x: Array) -> Array:
        """Return the user's value."""
        return self.value(x)

    def vjp(self, x: Array, dout: Array) -> tuple[Array, Self]:
        """Return the user's gradient; there are no parameters."""
        return self.gradient(x, dout), self

    def error(self, x: Array, delta: HostArray) -> HostArray:
        """Return lipschitz delta and the rounding."""
        y = self.value(x)
        return bounded(
            self.lipschitz * delta + self.rounding * roundoff(y) * norms(y, _arrays.namespace(y=y))
        )

    def vjp_error(self, x: Array, delta: HostArray, dout: Array, total: HostArray) -> PulledError:
        """Return lipschitz total + curvature sum_i delta_i |dout_i| and the rounding."""
        xp, dx = _arrays.namespace(x=x), self.gradient(x, dout)
        moved = self.curvature * np.sum(delta * norms(dout, xp), axis=-1)
        noise = self.rounding * roundoff(dx) * np.sum(norms(dx, xp), axis=-1)
        return PulledError(bounded(self.lipschitz * total + moved + noise), {})


class Trace(NamedTuple):
    """Input of each map of a chain, and the output of the last."""

    inputs: tuple[Array, ...]
    value: Array


class Pulled(NamedTuple):
    """Gradient of a chain: with respect to its input, to the parameters of each map, and the
    cotangent of each map's output.
    """

    dx: Array
    gradients: tuple[Any, ...]
    cotangents: tuple[Array, ...]


def trace(maps: Sequence[TokenMap], x: Array) -> Trace:
    """Apply maps one after the other."""
    inputs = []
    for g in maps:
        inputs.append(x)
        x = g(x)
    return Trace(tuple(inputs), x)


def pull(maps: Sequence[TokenMap], inputs: Sequence[Array], dout: Array) -> Pulled:
    """Take a cotangent back through a chain."""
    gradients, cotangents = [], []
    for g, x in zip(reversed(maps), reversed(inputs), strict=True):
        cotangents.append(dout)
        dout, gradient = g.vjp(x, dout)
        gradients.append(gradient)
    return Pulled(dout, tuple(reversed(gradients)), tuple(reversed(cotangents)))


def trace_errors(maps: Sequence[TokenMap], run: Trace, delta: HostArray) -> list[HostArray]:
    """Return delta at the input of each map and at the output of the last; inf in rows that are
    not finite there.
    """
    deltas = [delta]
    outputs = (*run.inputs, run.value)[1:]
    for g, x, y in zip(maps, run.inputs, outputs, strict=True):
        deltas.append(where_finite(g.error(x, deltas[-1]), y))
    return deltas


def pull_errors(
    maps: Sequence[TokenMap],
    run: Trace,
    delta: HostArray,
    cotangents: Sequence[Array],
    total: HostArray,
) -> PulledError:
    """Take the error of a cotangent back through a chain; parameters are named `position.name`.

    Beyond a cotangent that is not finite there is no bound.
    """
    deltas = trace_errors(maps, run, delta)
    parameters: dict[str, float] = {}
    for i in reversed(range(len(maps))):
        total = where_all_finite(total, cotangents[i])
        pulled = maps[i].vjp_error(run.inputs[i], deltas[i], cotangents[i], total)
        total = pulled.total
        parameters |= {f"{i}.{name}": bound for name, bound in pulled.parameters.items()}
    return PulledError(total, parameters)


@dataclass(frozen=True, kw_only=True)
class Residual:
    """x + g(x), g the chain of `maps`.

    Parameters
    ----------
    maps : tuple of token maps
        They must return tokens of the width they are given.
    """

    maps: tuple[TokenMap, ...]

    def __call__(self, x: Array) -> Array:
        """Return x + g(x)."""
        return x + trace(self.maps, x).value

    def vjp(self, x: Array, dout: Array) -> tuple[Array, Self]:
        """Return dout + (dg/dx)^T dout and the gradients of the maps."""
        before = trace(self.maps[:-1], x)  # the last map's own value is not needed
        pulled = pull(self.maps, (*before.inputs, before.value)[: len(self.maps)], dout)
        return dout + pulled.dx, type(self)(maps=pulled.gradients)

    def error(self, x: Array, delta: HostArray) -> HostArray:
        """Return delta plus the error of g, and one rounding."""
        run = trace(self.maps, x)
        rounding = adding_rounding(x + run.value)
        return bounded(delta + trace_errors(self.maps, run, delta)[-1] + rounding)

    def vjp_error(self, x: Array, delta: HostArray, dout: Array, total: HostArray) -> PulledError:
        """Return `total` plus what g makes of it, and one rounding."""
        run = trace(self.maps, x)
        pulled = pull(self.maps, run.inputs, dout)
        inner = pull_errors(self.maps, run, delta, pulled.cotangents, total)
        rounding = np.sum(adding_rounding(dout + pulled.dx), axis=-1)
        return PulledError(
            bounded(total + inner.total + rounding),
            {f"maps.{name}": b for name, b in inner.parameters.items()},
        )
