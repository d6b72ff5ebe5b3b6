"""What a method in the place of attention does to a model's own output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from approxattn.torch.attention import Seed
from approxattn.torch.hugging_face import Methods, OfLayer, register
from approxattn.torch.masks import Tensor
from approxattn.torch.records import Call, record_calls
from approxattn.torch.swapping import implementation

_NAME = "approxattn fidelity"


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """A model's output with a method, against the same model's as it is.

    Attributes
    ----------
    tokens : int
        Tokens compared; padding is left out.
    cosine, least_cosine : float
        Mean and least cosine of the tokens' outputs: last hidden states, or logits.
    least_pooled_cosine : float
        Least cosine of the means over each sequence, as sentence embeddings take them; nan without
        hidden states.
    divergence, largest_divergence : float
        Mean and largest KL(before || after) of the predicted distributions, in nats; nan without
        logits.
    agreement : float
        Share of tokens whose likeliest prediction stays; nan without logits.
    loss, loss_before : float
        With labels among the inputs; nan without.
    calls : tuple of Call
        Every call of the method: certificates, and where it fell back.
    """

    tokens: int
    cosine: float
    least_cosine: float
    least_pooled_cosine: float = math.nan
    divergence: float = math.nan
    largest_divergence: float = math.nan
    agreement: float = math.nan
    loss: float = math.nan
    loss_before: float = math.nan
    calls: tuple[Call, ...] = ()

    def __str__(self) -> str:
        back = sum(bool(call.reason) for call in self.calls)
        bounds = [float(np.max(c.certificate.rows)) for c in self.calls if c.certificate]
        lines = [
            f"{self.tokens} tokens, {len(self.calls) - back} calls by the method",
            f"  cosine of the outputs       {self.cosine:.4f}, least {self.least_cosine:.4f}",
        ]
        if math.isfinite(self.least_pooled_cosine):
            lines.append(f"  of the sequences' means     least {self.least_pooled_cosine:.4f}")
        if math.isfinite(self.divergence):
            lines += [
                (
                    f"  KL of the predictions       {self.divergence:.3g}, largest "
                    f"{self.largest_divergence:.3g} nats"
                ),
                f"  likeliest prediction kept   {100 * self.agreement:.4g} % of the tokens",
            ]
        if math.isfinite(self.loss):
            lines.append(f"  loss                        {self.loss_before:.4g} -> {self.loss:.4g}")
        if bounds:
            lines.append(f"  largest certified error     {max(bounds):.3g} of a layer's attention")
        if back:
            lines.append(f"  torch's exact attention stood in for {back} calls")
        return "\n".join(lines)


def fidelity(
    model: Any,
    inputs: Mapping[str, Tensor],
    method: Methods,
    *,
    layers: Sequence[int] | None = None,
    seed: Seed | None = None,
    unsupported: str = "raise",
) -> Fidelity:
    """Run a model as it is and with a method, and compare what comes out.

    Parameters
    ----------
    model : PreTrainedModel
        A model of transformers, in evaluation mode. It is left as it was.
    inputs : mapping of str to tensor
        Its keyword arguments, such as a tokenizer returns; with `labels`, losses are compared.
    method : Method, str, Plan, or mapping of int to these
        As in `register`; `report(...).recommended` and `plan(...)` will do.
    layers : sequence of int, optional
        Numbers of the layers that take the method; all, if not given.
    seed, unsupported
        As in `register`.

    Returns
    -------
    Fidelity
        A few lines as `str`.

    Raises
    ------
    TypeError
        A model that does not take its attention from transformers' interface.
    ValueError
        A model in training mode, an output without logits and hidden states, and what `register`
        and the method refuse.

    Examples
    --------
    With a model of transformers, and `batch` from its tokenizer::

        method = "Clustered(heavy=64, key_blocks=32, query_blocks=32)"
        print(fidelity(model, batch, method))
    """
    if model.training:
        msg = "model is in training mode, where dropout changes every output: call model.eval()"
        raise ValueError(msg)
    chosen = method if layers is None else _in_layers(method, layers)
    register(_NAME, chosen, seed=seed, unsupported=unsupported)
    with torch.no_grad():
        before = model(**inputs)
        with implementation(model, _NAME), record_calls() as calls:
            after = model(**inputs)
    return _compared(before, after, _tokens(inputs, before), tuple(calls))


def _in_layers(method: Methods, layers: Sequence[int]) -> dict[int, OfLayer]:
    if isinstance(method, Mapping):
        return {layer: method[layer] for layer in layers if layer in method}
    return dict.fromkeys(layers, method)


def _outputs(found: Any) -> tuple[Tensor | None, Tensor | None]:
    """Return last hidden states and logits, where there are any."""
    hidden, logits = getattr(found, "last_hidden_state", None), getattr(found, "logits", None)
    if hidden is None and logits is None:
        msg = f"{type(found).__name__} has neither last_hidden_state nor logits to compare"
        raise ValueError(msg)
    return hidden, logits


def _tokens(inputs: Mapping[str, Tensor], found: Any) -> Tensor:
    """Return which tokens of the output count, shape (B, n)."""
    hidden, logits = _outputs(found)
    shape = (logits if hidden is None else hidden).shape[:2]  # type: ignore[union-attr]
    for name in ("decoder_attention_mask", "attention_mask"):
        mask = inputs.get(name)
        if mask is not None and tuple(mask.shape) == tuple(shape):
            return mask.bool()
    return torch.ones(shape, dtype=torch.bool)


def _compared(before: Any, after: Any, kept: Tensor, calls: tuple[Call, ...]) -> Fidelity:
    (hidden, logits), (new_hidden, new_logits) = _outputs(before), _outputs(after)
    numbers: dict[str, float] = {}
    if hidden is not None and new_hidden is not None:
        pooled = _cosines(_means(hidden, kept), _means(new_hidden, kept))
        numbers["least_pooled_cosine"] = float(pooled.min())
        cosines = _cosines(hidden.double(), new_hidden.double())
    else:
        assert logits is not None and new_logits is not None  # noqa: S101, PT018 - one is there
        cosines = _cosines(logits.double(), new_logits.double())
    if cosines.shape == kept.shape:
        cosines = cosines[kept.to(cosines.device)]
    if logits is not None and new_logits is not None:
        numbers |= _predictions(logits, new_logits, kept)
    for name, found in (("loss_before", before), ("loss", after)):
        if getattr(found, "loss", None) is not None:
            numbers[name] = float(found.loss)
    return Fidelity(
        tokens=int(cosines.numel()),
        cosine=float(cosines.mean()),
        least_cosine=float(cosines.min()),
        calls=calls,
        **numbers,
    )


def _predictions(logits: Tensor, new: Tensor, kept: Tensor) -> dict[str, float]:
    old, new = (torch.log_softmax(x.double(), -1) for x in (logits, new))
    if old.shape[:-1] == kept.shape:
        old, new = (x[kept.to(x.device)] for x in (old, new))
    apart = (old.exp() * (old - new)).sum(-1)
    return {
        "divergence": float(apart.mean()),
        "largest_divergence": float(apart.max()),
        "agreement": float((old.argmax(-1) == new.argmax(-1)).double().mean()),
    }


def _cosines(x: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(x, y, dim=-1)


def _means(x: Tensor, kept: Tensor) -> Tensor:
    weights = kept.to(x.device, torch.float64)[..., None]
    return (x.double() * weights).sum(1) / weights.sum(1).clamp(min=1)
