"""What running a transformer and taking its gradient returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn.certificate import Certificate, ReadOnlyDict, kind_of
from approxattn.methods.protocol import Method
from approxattn.transformer.attention_error import AttentionErrors
from approxattn.transformer.model import Transformer

TARGET = "the transformer with softmax attention"
GRADIENT_TARGET = f"the gradient of {TARGET}"


@dataclass(frozen=True, kw_only=True)
class LayerErrors:
    """Bounds on the errors inside a layer, on the host.

    Attributes
    ----------
    x, u, z, out : ndarray, shape (..., n)
        On the Euclidean distance of each row of the layer's input, the attention's input, Z, T_i.
    attention : AttentionErrors
        Of what lies between u and Z.
    certificate : Certificate
        The attention method's own, for the computed q, k, v.
    """

    x: HostArray
    u: HostArray
    attention: AttentionErrors
    z: HostArray
    out: HostArray
    certificate: Certificate


@dataclass(frozen=True, kw_only=True)
class Output:
    """Output of a transformer.

    Attributes
    ----------
    value : array, shape (..., n, d')
        T_m. Rows of masked tokens are 0, here and below.
    tokens : tuple of array
        T_0, ..., T_m: activations between the layers.
    certificate : Certificate or None
        Bounds on the entries of each row of T_m; None without `certify`.
    layers : tuple of LayerErrors
        One a layer; empty without `certify`.
    """

    value: Array
    tokens: tuple[Array, ...]
    certificate: Certificate | None
    layers: tuple[LayerErrors, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ModelCertificate:
    """Bounds on the errors of the gradient of a transformer, on the host, in float64.

    Attributes
    ----------
    tokens : tuple of ndarray, each of shape (...)
        For T_0, ..., T_m: bound on the sum over tokens of the Euclidean errors of dL/dT_i, and so
        on its largest entry.
    dx : ndarray, shape (...), or None
        The same for dL/dX; None where X are integers.
    parameters : mapping of str to float
        Bound on the error of each parameter's gradient in the Frobenius norm, by the names of
        `parameters(model)`.
    loss : ndarray, shape (...), or None
        Bound on the error of <dout, T_m>, the sum over tokens and columns of one leading index:
        often far smaller than what the bounds on T_m would give.
    target : str
        What the errors are measured against: exact attention, same weights, same dout.
    theorem : str
        Key of the theorem the bounds rest on.
    failure : float
        Probability, over the methods' own draws, that some bound of one leading batch index fails;
        0 means they hold surely.
    unmet : tuple of str
        Why bounds are inf: hypotheses that failed, or what overflowed and where.
    """

    tokens: tuple[HostArray, ...]
    dx: HostArray | None
    parameters: Mapping[str, float]
    loss: HostArray | None = None
    target: str = GRADIENT_TARGET
    theorem: str = "ours.layers-gradient"
    failure: float = 0.0
    unmet: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", ReadOnlyDict(self.parameters))

    @property
    def kind(self) -> str:
        """`surely`, or `with probability >= 1 - delta`."""
        return kind_of(self.failure)

    def __str__(self) -> str:
        first = self.tokens[0] if self.dx is None else self.dx
        what = "dL/dT_0" if self.dx is None else "dL/dX"
        reasons = f" Not met: {'; '.join(self.unmet)}." if self.unmet else ""
        if not np.isfinite(first).all():
            return (
                f"No bound on the distance to {self.target} can be given [{self.theorem}].{reasons}"
            )
        return (
            f"{what} is within {float(np.max(first)):.3g} of {self.target}, {self.kind}, by "
            f"theorem [{self.theorem}].{reasons}"
        )


@dataclass(frozen=True, kw_only=True)
class ModelGradients:
    """Gradients of a transformer for one cotangent of its output.

    Attributes
    ----------
    model : Transformer
        dL/d(parameter) in the place of each parameter: `model.layers[i].attention.wq` is dL/dW_Q of
        layer i.
    dx : array or None
        dL/dX; None where X are integers. Rows of masked tokens are 0, here and below.
    tokens : tuple of array
        dL/dT_0, ..., dL/dT_m.
    value : array
        T_m.
    certificate : ModelCertificate or None
        How far they can be from the exact ones; None without `certify`.
    layers : tuple of LayerErrors
        Forward bounds, one a layer; empty without `certify`.
    methods : tuple of Method
        The attention of each layer.
    """

    model: Transformer
    dx: Array | None
    tokens: tuple[Array, ...]
    value: Array
    certificate: ModelCertificate | None
    layers: tuple[LayerErrors, ...] = field(repr=False)
    methods: tuple[Method, ...] = ()
