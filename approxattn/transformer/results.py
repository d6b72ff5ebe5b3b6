"""What running a transformer and taking its gradient returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn.certificate import Certificate
from approxattn.certificate.read_only import ReadOnlyDict
from approxattn.certificate.record import NotAnArray, Record, described_array, sizes
from approxattn.certificate.wording import kind_of
from approxattn.methods.protocol import Method
from approxattn.transformer.attention_error import AttentionErrors
from approxattn.transformer.model import Transformer

TARGET = "the transformer with softmax attention"
GRADIENT_TARGET = f"the gradient of {TARGET}"


@dataclass(frozen=True, kw_only=True, repr=False)
class LayerErrors(Record):
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

    def _worst(self) -> dict[str, str]:
        named = {"input": self.x, "attention's input": self.u, "Z": self.z, "output": self.out}
        return {name: f"{float(np.max(x, initial=0.0)):.3g}" for name, x in named.items()}

    def _summary(self) -> str:
        worst = ", ".join(f"{name} {x}" for name, x in self._worst().items())
        return f"{sizes(self.out.shape)}, largest distances {worst}"

    def _table(self) -> dict[str, str]:
        distances = {f"largest distance, {name}": x for name, x in self._worst().items()}
        return {**distances, "attention": repr(self.certificate)}


@dataclass(frozen=True, kw_only=True, repr=False)
class Output(NotAnArray, Record):
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
    layers: tuple[LayerErrors, ...]

    _instead: ClassVar[str] = "out.value"
    _heavy: ClassVar[tuple[str, ...]] = ("value", "tokens")

    def _summary(self) -> str:
        bound = "no certificate" if self.certificate is None else self.certificate._summary()
        return f"value {described_array(self.value)} of {_layers(self.tokens)}; {bound}"

    def _table(self) -> dict[str, str]:
        rows = {"value": described_array(self.value), "layers": str(len(self.tokens) - 1)}
        return {**rows, **({} if self.certificate is None else self.certificate._table())}


def _layers(tokens: tuple[Array, ...]) -> str:
    count = len(tokens) - 1
    return "1 layer" if count == 1 else f"{count} layers"


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelCertificate(Record):
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

    _derived: ClassVar[tuple[str, ...]] = ("kind",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", ReadOnlyDict(self.parameters))

    @property
    def kind(self) -> str:
        """`surely`, or `with probability >= 1 - delta`."""
        return kind_of(self.failure)

    def _first(self) -> tuple[str, HostArray]:
        """Return the gradient furthest back, by name, and its bound."""
        return ("dL/dT_0", self.tokens[0]) if self.dx is None else ("dL/dX", self.dx)

    def _summary(self) -> str:
        what, first = self._first()
        worst = float(np.max(first, initial=0.0))
        if not np.isfinite(worst):
            return f"no bound for {what} [{self.theorem}]"
        return f"{what} within {worst:.3g}, {self.kind} [{self.theorem}]"

    def _table(self) -> dict[str, str]:
        what, first = self._first()
        parameter = max(self.parameters.values(), default=0.0)
        return {
            f"largest bound, {what}": f"{float(np.max(first, initial=0.0)):.3g}",
            "largest bound, parameters": f"{parameter:.3g}",
            "measured against": self.target,
            "holds": self.kind,
            "theorem": self.theorem,
            **({"not met": "; ".join(self.unmet)} if self.unmet else {}),
        }

    def __str__(self) -> str:
        what, first = self._first()
        reasons = f" Not met: {'; '.join(self.unmet)}." if self.unmet else ""
        if not np.isfinite(first).all():
            return (
                f"No bound on the distance to {self.target} can be given [{self.theorem}].{reasons}"
            )
        return (
            f"{what} is within {float(np.max(first)):.3g} of {self.target}, {self.kind}, by "
            f"theorem [{self.theorem}].{reasons}"
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelGradients(NotAnArray, Record):
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
    layers: tuple[LayerErrors, ...]
    methods: tuple[Method, ...] = ()

    _instead: ClassVar[str] = "grads.dx"
    _heavy: ClassVar[tuple[str, ...]] = ("model", "dx", "tokens", "value")

    def _summary(self) -> str:
        what, first = ("dT_0", self.tokens[0]) if self.dx is None else ("dx", self.dx)
        bound = "no certificate" if self.certificate is None else self.certificate._summary()
        return f"{what} {described_array(first)} through {_layers(self.tokens)}; {bound}"

    def _table(self) -> dict[str, str]:
        rows = {"value": described_array(self.value), "layers": str(len(self.tokens) - 1)}
        return {**rows, **({} if self.certificate is None else self.certificate._table())}
