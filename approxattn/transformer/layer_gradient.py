"""One layer on the way back: its gradient, and the bound on its error."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.certificate import GradientCertificate
from approxattn.transformer.affine import adding_rounding, bounded, where_all_finite
from approxattn.transformer.attention_gradient_error import AttentionRun, pulled_errors
from approxattn.transformer.forward import LayerRun, Plan, generator
from approxattn.transformer.model import Layer
from approxattn.transformer.reasons import is_finite
from approxattn.transformer.results import LayerErrors
from approxattn.transformer.self_attention import PulledHeads
from approxattn.transformer.token_map import Pulled, PulledError, pull, pull_errors


class LayerAt(NamedTuple):
    """One layer on the way back: what its forward pass left, its bounds, how it is run."""

    layer: Layer
    run: LayerRun
    errors: LayerErrors | None
    plan: Plan
    i: int


class Step(NamedTuple):
    """Gradient of one layer: to its input, to its parameters, with its error."""

    dx: Array
    gradient: Layer
    error: PulledError | None
    certificate: GradientCertificate


def pull_layer(at: LayerAt, dout: Array, total: HostArray) -> Step:
    """Return G_{i-1} and the gradient of the layer for G_i = dout, off by `total`.

    Raises
    ------
    ValueError
        If a cotangent is too large for the attention.
    """
    layer, run, plan = at.layer, at.run, at.plan
    then = pull(layer.then, run.then.inputs, dout)
    if not is_finite(then.dx):
        msg = (
            f"the cotangent of the attention's output exceeds what {_arrays.dtype_name(then.dx)} "
            "holds: divide dout by a number and multiply the gradients by it, or use float64"
        )
        raise ValueError(msg)
    attention = layer.attention.vjp(
        run.u, run.heads, then.dx, plan.methods[at.i], plan.sight, generator(plan.seeds[at.i])
    )
    gradient = replace(layer, attention=attention.gradient, then=then.gradients)
    dx = attention.du
    if layer.norm is not None:
        dx, norm = layer.norm.vjp(run.x, dx)
        gradient = replace(gradient, norm=norm)
    dx = dx + then.dx if layer.residual else dx
    error = None
    if at.errors is not None:
        error = _layer_error(at, at.errors, _Cotangents(then, attention, dx), total)
    return Step(dx, gradient, error, attention.heads.certificate)


class _Cotangents(NamedTuple):
    """The ways back through g_i and through the attention, and G_{i-1}."""

    then: Pulled
    attention: PulledHeads
    dx: Array


def _layer_error(
    at: LayerAt, errors: LayerErrors, pulled: _Cotangents, total: HostArray
) -> PulledError:
    """Carry `total` back through one layer."""
    layer, run, then = at.layer, at.run, pulled.then
    after = pull_errors(layer.then, run.then, errors.z, then.cotangents, total)
    attended = AttentionRun(layer.attention, run.u, run.heads, errors.u, errors.attention)
    inside = pulled_errors(attended, pulled.attention, then.dx, after.total)
    bounds = {f"attention.{name}": b for name, b in inside.parameters.items()}
    bounds |= {f"then.{name}": b for name, b in after.parameters.items()}
    total = where_all_finite(inside.total, pulled.attention.du)
    if layer.norm is not None:
        norm = layer.norm.vjp_error(run.x, errors.x, pulled.attention.du, total)
        total = norm.total
        bounds |= {f"norm.{name}": b for name, b in norm.parameters.items()}
    if layer.residual:
        rounding = np.sum(adding_rounding(pulled.dx), axis=-1)
        total = bounded(total + after.total + rounding)
    return PulledError(total, bounds)
