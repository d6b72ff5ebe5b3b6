"""Degrees for a tolerance: the polynomial of each layer such that the bound on dL/dX holds what was
asked for, where that can be done.

The bound on dL/dX is, to first order, linear in the errors of the layers' polynomials, and a
layer's error is bounded by what its own scores need. So: give every layer the same relative
tolerance t, from which each finds the degree that its scores need; compute the bound; if it is too
large, shrink t by what is missing, and again. It ends in one of three ways: the bound holds; a
layer has scores that no polynomial in float64 follows to t; or t no longer matters, because
rounding, carried through the layers, takes more than what was asked for. The product of the layers'
Lipschitz constants enters t, so the degrees grow with the number of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_choice, check_fraction
from approxattn._arrays import Array
from approxattn._arrays.entry import public
from approxattn.exponential import degree_for
from approxattn.exponential.minimax import MinimaxRefusedError
from approxattn.methods.polynomials.polynomial import Polynomial
from approxattn.transformer.affine import norms
from approxattn.transformer.forward import forward
from approxattn.transformer.gradient import gradient
from approxattn.transformer.model import Transformer
from approxattn.transformer.results import LayerErrors, ModelGradients

ROUNDS = 8
"""Most gradients computed in the search. *Chosen*: t falls by a factor of two at least each time,
mostly to the goal at once.
"""

_ROUNDING = (
    "higher degrees no longer help: rounding, carried through the layers, takes more; use float64, "
    "fewer layers or smaller weights"
)


@dataclass(frozen=True, kw_only=True)
class DegreeChoice:
    """Polynomials for the layers of a transformer, and what they achieve.

    Attributes
    ----------
    methods : tuple of Polynomial
        One a layer, with its degree; the best found where the tolerance is not met. Empty when not
        even the first try could be computed.
    degrees : tuple of int
        Their degrees.
    tolerance : float
        What was asked for.
    bound : float
        Bound on the error of dL/dX (of dL/dT_0 for integers) relative to its size, both as sums
        over tokens of Euclidean norms; the worst leading index.
    met : bool
        Whether bound <= tolerance.
    reason : str
        Why not; empty if met.
    gradients : ModelGradients or None
        The gradients by these methods, with their certificate.
    """

    methods: tuple[Polynomial, ...]
    degrees: tuple[int, ...]
    tolerance: float
    bound: float
    met: bool
    reason: str
    gradients: ModelGradients | None

    def __str__(self) -> str:
        degrees = ", ".join(map(str, self.degrees)) or "none"
        how = "met" if self.met else f"not met: {self.reason}"
        return (
            f"degrees {degrees}; relative error of dL/dX at most {self.bound:.3g}, tolerance "
            f"{self.tolerance:g} {how}"
        )


@public()
def choose_degrees(
    model: Transformer,
    x: Array,
    dout: Array,
    *,
    tolerance: float,
    basis: str = "minimax",
    key_mask: Array | None = None,
    segments: Array | None = None,
) -> DegreeChoice:
    """Choose the degree of each layer's polynomial so that the plug-in gradient dL/dX is certified
    to a relative tolerance, or say why not.

    Parameters
    ----------
    model, x, dout, key_mask, segments
        As for `gradient`.
    tolerance : float
        In (0, 1): of the sum over tokens of the Euclidean errors of dL/dX, relative to the same sum
        of dL/dX.
    basis : {"minimax", "taylor"}
        As for `Polynomial`.

    Returns
    -------
    DegreeChoice
        Methods, degrees, the bound reached, whether it is small enough, the gradients.

    Raises
    ------
    ValueError
        A tolerance outside (0, 1); as `gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.transformer import Layer, SelfAttention, Transformer, choose_degrees
    >>> w = lambda *shape: np.random.default_rng(0).standard_normal(shape) / 8
    >>> attention = SelfAttention(wq=w(1, 4, 4), wk=w(1, 4, 4), wv=w(1, 4, 4))
    >>> layer = Layer(attention=attention, residual=True)
    >>> x, g = np.random.default_rng(1).uniform(-1, 1, (2, 40, 4))
    >>> choice = choose_degrees(Transformer(layers=(layer,) * 2), x, g, tolerance=1e-6)
    >>> choice.met, len(choice.degrees)
    (True, 2)
    """
    tolerance = check_fraction("tolerance", tolerance)
    check_choice("basis", basis, ("minimax", "taylor"))
    best: DegreeChoice | None = None
    share = min(tolerance, 0.5)
    masks: dict[str, Any] = {"key_mask": key_mask, "segments": segments}
    probe = forward(model, x, Polynomial(degree=2, basis="taylor"), **masks)
    ranges = [_half_range(layer) for layer in probe.layers]
    for _ in range(ROUNDS):
        degrees, reason = _degrees(ranges, share, basis)
        if reason:
            return _given_up(best, tolerance, reason)
        methods = tuple(Polynomial(degree=g, basis=basis, gradient="plug-in") for g in degrees)
        try:
            found = gradient(model, x, dout, methods, **masks)
        # the scores of this run are a little larger than those the degrees were chosen for
        except MinimaxRefusedError as error:
            return _given_up(best, tolerance, "; ".join([str(error), *error.__notes__]))
        ranges = [_half_range(layer) for layer in found.layers]
        bound = relative_bound(found)
        stuck = best is not None and not bound < 0.9 * best.bound and degrees != best.degrees
        if best is None or bound < best.bound:
            best = DegreeChoice(
                methods=methods,
                degrees=degrees,
                tolerance=tolerance,
                bound=bound,
                met=bound <= tolerance,
                reason="" if bound <= tolerance else "the search was cut short",
                gradients=found,
            )
        if best.met:
            return best
        if stuck:
            return _given_up(best, tolerance, _ROUNDING)
        share *= min(0.5, 0.5 * tolerance / bound) if np.isfinite(bound) else 1e-2
    return _given_up(best, tolerance, f"{ROUNDS} rounds did not reach it")


def _half_range(layer: LayerErrors) -> float:
    """Return the largest score that the layer's keys and queries can have."""
    return float(np.max(layer.certificate.facts["score bound"]))


def _degrees(ranges: Sequence[float], share: float, basis: str) -> tuple[tuple[int, ...], str]:
    """Return the least degree of each layer for a relative tolerance, or why there is none."""
    degrees = []
    for i, half_range in enumerate(ranges):
        try:
            degrees.append(degree_for(half_range, share, basis))
        except ValueError as error:
            return (), f"in layer {i}, counted from 0, {error}"
    return tuple(degrees), ""


def relative_bound(gradients: ModelGradients) -> float:
    """Return the bound on dL/dX over its size, the worst leading index; that of dL/dT_0 for
    integers.
    """
    certificate = gradients.certificate
    assert certificate is not None  # noqa: S101 - `gradient` was called with certify=True
    bound, value = (
        (certificate.tokens[0], gradients.tokens[0])
        if gradients.dx is None
        else (certificate.dx, gradients.dx)
    )
    size = np.sum(norms(value, _arrays.namespace(value=value)), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.asarray(bound) > 0, bound / size, 0.0)
    return float(np.max(np.where(np.isnan(ratio), np.inf, ratio)))


def _given_up(best: DegreeChoice | None, tolerance: float, reason: str) -> DegreeChoice:
    if best is None:
        return DegreeChoice(
            methods=(),
            degrees=(),
            tolerance=tolerance,
            bound=np.inf,
            met=False,
            reason=reason,
            gradients=None,
        )
    return DegreeChoice(**{**vars(best), "reason": reason})
