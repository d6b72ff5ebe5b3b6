"""Queries, keys and values of every layer of a model, as its attention sees them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.diagnosis.trials import Head
from approxattn.torch.hugging_face import Layer, layer_of, register_function
from approxattn.torch.masks import Structure, Tensor
from approxattn.torch.swapping import implementation
from approxattn.whole_files import whole_file

_NAME = "approxattn capture"


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerHeads:
    """What one layer handed to its attention, on the CPU.

    Attributes
    ----------
    layer : int
        Number of the layer.
    module : str
        Its name in the model.
    q, k, v : tensor, shapes (B, H, n_q, d), (B, H_k, n_k, d), (B, H_k, n_k, dv)
        After rotary embedding.
    scale : float
        Factor of q . k.
    structure : Structure
        Which keys each query sees.
    """

    layer: int
    module: str
    q: Tensor
    k: Tensor
    v: Tensor
    scale: float
    structure: Structure

    def head(self, item: int, head: int) -> Head:
        """Return one head of one batch item; of equally many queries and keys the padding is cut
        off.

        Raises
        ------
        ValueError
            For biases, and masks that are no order of tokens.
        """
        given = self.structure
        if given.bias is not None:
            msg = f"{self.module} has biases, or a mask of pairs, which are for Exact() only"
            raise ValueError(msg)
        shared = self.q.shape[1] // self.k.shape[1]
        keys = None if given.key_mask is None else _of_head(given.key_mask, item, head)
        segments = None
        if given.segments is not None:
            segments = tuple(_of_head(x, item, head) for x in given.segments)
        arrays = [
            _host(x[item, head // s])
            for x, s in zip((self.q, self.k, self.v), (1, shared, shared), strict=True)
        ]
        cut = given.query_offset == 0 and self.q.shape[-2] == self.k.shape[-2]
        if keys is not None and cut and given.window is None:
            arrays = [x[keys] for x in arrays]
            segments = None if segments is None else tuple(x[keys] for x in segments)
            keys = None
        ordered = given.causal or given.window is not None
        return Head(
            q=arrays[0],
            k=arrays[1],
            v=arrays[2],
            scale=self.scale,
            masks={
                "causal": given.causal,
                "query_offset": given.query_offset if ordered else None,
                "window": given.window,
                "segments": segments,
                "key_mask": keys,
                "empty_rows": "zero",
            },
        )


def _of_head(mask: Tensor, item: int, head: int) -> HostArray:
    """Return the row of a mask, shape broadcastable to (B, H, n), for one head."""
    own = mask
    while own.ndim < 3:
        own = own[None]
    own = own[item if own.shape[0] > 1 else 0, head if own.shape[1] > 1 else 0]
    return np.asarray(own.numpy())


def _host(x: Tensor) -> HostArray:
    wide = x if str(x.dtype) in ("torch.float32", "torch.float64") else x.float()
    return np.asarray(wide.numpy())


@dataclass(frozen=True, kw_only=True, eq=False)
class Heads(Sequence[LayerHeads]):
    """The layers captured, in the order in which the model ran them.

    Attributes
    ----------
    layers : list of LayerHeads
        One for each call of attention.
    """

    layers: list[LayerHeads] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: Any) -> Any:
        return self.layers[index]

    def __str__(self) -> str:
        return "\n".join(
            f"layer {x.layer} ({x.module}): q {tuple(x.q.shape)}, k {tuple(x.k.shape)}"
            f"{', causal' if x.structure.causal else ''}"
            for x in self.layers
        )

    def save(self, path: str | Path, *, item: int = 0, layers: Sequence[int] | None = None) -> str:
        """Write one batch item, its padding cut off, for `approxattn diagnose`.

        Parameters
        ----------
        path : str or Path
            Ends in .npz. Its arrays q, k, v have the leading axes (calls, key heads, query heads
            that share one); q holds the scale already.
        item : int
            The batch item.
        layers : sequence of int, optional
            Places in this list to save; all, if not given.

        Returns
        -------
        str
            The command that reads the file.

        Raises
        ------
        ValueError
            For a suffix other than .npz, masks that the file cannot hold, and layers of different
            shapes or kinds: save them one by one.
        NotWrittenError
            When the file cannot be written.
        """
        if Path(path).suffix != ".npz":
            msg = f"path(={str(path)!r}) must end in .npz"
            raise ValueError(msg)
        chosen = range(len(self)) if layers is None else layers
        stacks = [_stacked(self.layers[i], item) for i in chosen]
        kinds = {(causal, *(x.shape for x in arrays)) for causal, arrays in stacks}
        if len(kinds) != 1:
            msg = (
                f"{len(kinds)} different shapes or kinds of layers: save them one by one (layers=)"
            )
            raise ValueError(msg)
        q, k, v = (np.stack(parts) for parts in zip(*(arrays for _, arrays in stacks), strict=True))
        numbers = np.array([self.layers[i].layer for i in chosen])
        with whole_file(path) as new, new.open("wb") as file:
            np.savez_compressed(file, q=q, k=k, v=v, layers=numbers)
        return f"approxattn diagnose {path}" + (" --causal" if stacks[0][0] else "")


def _stacked(layer: LayerHeads, item: int) -> tuple[bool, tuple[HostArray, ...]]:
    """Return one batch item of a layer: whether it is causal, and q, k, v, with shared heads on an
    axis of their own.
    """
    count, keys = layer.q.shape[1], layer.k.shape[1]
    heads = [layer.head(item, h) for h in range(count)]
    if not all(head.plain for head in heads):
        msg = (
            f"{layer.module} has a mask other than padding and causal order, which the file cannot "
            "hold: diagnose its heads by approxattn.diagnose(head.q, head.k, head.v, **head.masks)"
        )
        raise ValueError(msg)
    first = heads[:: count // keys]
    factor = layer.scale * math.sqrt(layer.q.shape[-1])
    q = np.stack([head.q * np.asarray(factor, head.q.dtype) for head in heads])
    k, v = (np.stack([getattr(head, name) for head in first])[:, None] for name in "kv")
    return bool(heads[0].masks["causal"]), (q.reshape(keys, count // keys, *q.shape[1:]), k, v)


@contextmanager
def capture(model: Any, *, layers: Sequence[int] | None = None) -> Iterator[Heads]:
    """Collect queries, keys and values of every attention layer that runs inside.

    The model computes torch's exact attention meanwhile, whatever it was set to, and is set back
    at the end.

    Parameters
    ----------
    model : PreTrainedModel
        A model of transformers.
    layers : sequence of int, optional
        Numbers of layers to keep; all, if not given. What is kept is copied to the CPU.

    Yields
    ------
    Heads
        Filled while the block runs.

    Raises
    ------
    TypeError
        A model that does not take its attention from transformers' interface.

    Examples
    --------
    With a model of transformers, and `batch` from its tokenizer::

        with capture(model) as heads:
            model(**batch)
        print(heads)
        heads.save("heads.npz")
        print(report(heads))
    """
    heads = Heads()
    names = {id(module): name for name, module in model.named_modules()}
    register_function(_NAME, functools.partial(_record, heads=heads, names=names, wanted=layers))
    with implementation(model, _NAME):
        yield heads


def _record(module: Any, *given: Any, heads: Heads, names: Any, wanted: Any, **rest: Any) -> Any:
    layer = layer_of(module, *given, **rest)
    if not layer.request.plain_softmax:
        msg = "capture of a layer with a soft cap or sinks: reports are about plain softmax only"
        raise ValueError(msg)
    if wanted is None or layer.number in wanted:
        heads.layers.append(_kept(layer, names.get(id(module), "")))
    return layer.by_torch().transpose(1, 2).contiguous(), None


def _kept(layer: Layer, module: str) -> LayerHeads:
    q, k, v = (x.detach().to("cpu", copy=True) for x in (layer.query, layer.key, layer.value))
    scale = layer.request.scale
    return LayerHeads(
        layer=layer.number,
        module=module,
        q=q,
        k=k,
        v=v,
        scale=1 / math.sqrt(q.shape[-1]) if scale is None else float(scale),
        structure=_structure(layer),
    )


def _structure(layer: Layer) -> Structure:
    found = layer.request.structure(layer.query.shape[-2], layer.key.shape[-2])
    return Structure(
        key_mask=None if found.key_mask is None else found.key_mask.cpu(),
        causal=found.causal,
        query_offset=found.query_offset,
        window=found.window,
        segments=None
        if found.segments is None
        else (found.segments[0].cpu(), found.segments[1].cpu()),
        bias=None if found.bias is None else found.bias.detach().cpu(),
    )
