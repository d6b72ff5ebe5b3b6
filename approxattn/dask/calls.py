"""The graph of a sharded call among the graphs of dask arrays.

Chunks of k and v along tokens are the blocks that are folded, chunks of q those of the output.
Whatever scheduler is active carries the graph out, and the bits do not depend on it.

Each block is needed two or three times: for the measures, for the folds, for the answers; between
these stands a reduction over all blocks. Tasks of one graph that share a block would keep it in
memory until then, and with it the whole array. So each pass gets tasks of its own that make the
block again, unless the caller says otherwise.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from approxattn._arguments import check_flag
from approxattn.certificate import Certificate
from approxattn.methods.sharded import Shards
from approxattn.sharding.checks import check_shapes, shards_of
from approxattn.sharding.plan import Graph, Layout, Ref, answers, needed
from approxattn.sharding.tasks import Block, collected, joined


class LazyApproximation(NamedTuple):
    """An attention output that is not computed yet.

    Attributes
    ----------
    value : dask.array.Array, shape (..., n_q, dv)
        The output, chunked as q.
    certificate : dask.delayed.Delayed
        Its `Certificate`: ``certificate.compute()``, or with the output in one pass by
        ``dask.compute(value, certificate)``.
    """

    value: Any
    certificate: Any


def attention(
    q: Any,
    k: Any,
    v: Any,
    method: Any,
    *,
    scale: float | None = None,
    causal: bool = False,
    reread: bool = True,
) -> LazyApproximation:
    """Describe attention of dask arrays, to be computed by whatever scheduler is active.

    Parameters
    ----------
    q, k, v : dask.array.Array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Chunked along tokens and leading axes, not along features; one dtype, equal leading axes.
        Chunks of 2**18 tokens or so: a task takes a scheduler a millisecond, whatever it does. v is
        rechunked as k, and under `causal` both as q. Each chunk of leading indices is a call of its
        own.
    method : Method
        `Polynomial(...)`, or another one that has `shards`.
    scale, causal
        As in `approxattn.attention`; a causal call needs n_q = n_k.
    reread : bool
        Whether the chunks are made anew for each pass, so that none has to stay in memory. False
        where that is dear, and the memory of the workers holds q, k and v.

    Returns
    -------
    LazyApproximation
        A named tuple of the output and its certificate. Nothing has been computed.

    Raises
    ------
    TypeError, ValueError
        What `approxattn.attention` refuses and shapes and dtypes tell; unknown chunks, chunks along
        features; a method that cannot be taken in blocks. What numbers tell is raised when they are
        computed.
    ImportError
        Without dask.

    Examples
    --------
    >>> import approxattn as aa
    >>> import dask.array as da  # doctest: +SKIP
    >>> from approxattn.dask import attention  # doctest: +SKIP
    >>> q, k, v = da.from_zarr("qkv.zarr")  # doctest: +SKIP
    >>> out = attention(q, k, v, aa.Polynomial(degree=4))  # doctest: +SKIP
    >>> out.value.to_zarr("out.zarr")  # doctest: +SKIP
    """
    check_flag("causal", causal)
    check_flag("reread", reread)
    arrays = {"q": q, "k": k, "v": v}
    for name, x in arrays.items():
        _check_chunks(name, x)
    dtypes = check_shapes(arrays, causal=causal)
    shards = shards_of(method, scale, q.shape[-1], dtypes.compute, causal=causal)
    k, v = (_like(x, q, tokens=q if causal else k) for x in (k, v))
    call = _Call(
        shards=shards,
        causal=causal,
        inputs=_passes((q, k, v), reread),
        blocks=[(x.name, x.numblocks[-2]) for x in (q, k, v)],
        tag=uuid4().hex[:12],
    )
    value, blocks = _output(call, q, v, dtypes.out)
    return LazyApproximation(value, _certificate(call, value, blocks))


@dataclass(frozen=True, kw_only=True)
class _Call:
    """One call.

    Parameters
    ----------
    inputs : dict
        What makes q, k, v for each of the passes "measure", "fold" and "answer".
    blocks : list of (str, int)
        Name of each of q, k and v, and how many blocks of tokens it has.
    tag : str
        What its keys end with.
    """

    shards: Shards
    causal: bool
    inputs: dict[str, _Pass]
    blocks: list[tuple[str, int]]
    tag: str


def _check_chunks(name: str, x: Any) -> None:
    array: Any = _array_module()
    if not isinstance(x, array.Array):
        msg = (
            f"{name} is {type(x).__name__}, not a dask array: wrap it by dask.array.from_array, or "
            "call approxattn.attention"
        )
        raise TypeError(msg)
    if any(np.isnan(size) for size in x.shape):
        msg = f"{name} has unknown chunks: call {name}.compute_chunk_sizes() first"
        raise ValueError(msg)
    if x.ndim and x.numblocks[-1] != 1:
        msg = f"{name} is chunked along features: use {name}.rechunk({{-1: -1}})"
        raise ValueError(msg)


def _array_module() -> Any:
    try:
        return importlib.import_module("dask.array")
    except ImportError as error:
        msg = "approxattn.dask needs dask: pip install 'approxattn[dask]'"
        raise ImportError(msg) from error


def _like(x: Any, q: Any, tokens: Any) -> Any:
    """Return x with the chunks of q along leading axes, and those of `tokens` along tokens."""
    return x.rechunk((*q.chunks[:-2], tokens.chunks[-2], x.chunks[-1]))


class _Pass(NamedTuple):
    """The tasks that make q, k, v for one pass, and what their keys have become in it."""

    graph: dict[Any, Any]
    keys: dict[Any, Any]


def _passes(arrays: tuple[Any, Any, Any], reread: bool) -> dict[str, _Pass]:
    """Return the arrays of each pass, with tasks of their own if blocks are to be read again."""
    return {
        name: _made_by(arrays, f"-{name}" if reread else "")
        for name in ("measure", "fold", "answer")
    }


def _made_by(arrays: tuple[Any, Any, Any], ending: str) -> _Pass:
    """Return the tasks of arrays with an ending to their keys; data that is there is shared."""
    spec: Any = importlib.import_module("dask._task_spec")
    graph = spec.convert_legacy_graph({key: t for x in arrays for key, t in x.dask.items()})

    def renamed(key: Any) -> Any:
        return (key[0] + ending, *key[1:]) if isinstance(key, tuple) else f"{key}{ending}"

    new = {
        key: key if not ending or isinstance(node, spec.DataNode) else renamed(key)
        for key, node in graph.items()
    }
    tasks = {new[key]: node.substitute(new, key=new[key]) for key, node in graph.items()}
    return _Pass(tasks, new)


def _layout(call: _Call, index: tuple[int, ...]) -> Layout:
    """Return the blocks of one chunk of leading indices."""

    def layout(made: _Pass, **more: Any) -> Layout:
        q, k, v = (
            [Ref(made.keys[name, *index, i, 0]) for i in range(blocks)]
            for name, blocks in call.blocks
        )
        return Layout(shards=call.shards, queries=q, keys=k, values=v, causal=call.causal, **more)

    again = {name: layout(call.inputs[name]) for name in ("measure", "answer")}
    return layout(call.inputs["fold"], again=again)


def _output(call: _Call, q: Any, v: Any, dtype: str) -> tuple[Any, list[str]]:
    """Return the output, and the keys of its blocks with their certificates, in their order."""
    array = _array_module()
    # one layer: layers that share keys with those of q, k, v would be culled apart
    tasks = {key: task for made in call.inputs.values() for key, task in made.graph.items()}
    keys = []
    name = f"attention-{call.tag}"
    for index in itertools.product(*(range(n) for n in q.numblocks[:-2])):
        graph: Graph = {}
        wanted = answers(_layout(call, index), graph, lambda _: (collected,))
        own = "-".join((*map(str, index), call.tag))
        tasks.update(_spec(needed(graph, wanted), own))
        for i, ref in enumerate(wanted):
            keys.append(f"{ref.key}-{own}")
            tasks[name, *index, i, 0] = _task((name, *index, i, 0), _value, Ref(keys[-1]))
    high = importlib.import_module("dask.highlevelgraph").HighLevelGraph
    whole = high.from_collections(name, tasks)
    chunks = (*q.chunks[:-1], v.chunks[-1])
    return array.Array(whole, name, chunks, dtype=np.dtype(dtype)), keys


def _certificate(call: _Call, value: Any, keys: list[str]) -> Any:
    """Return the certificate of all blocks as one lazy value."""
    high = importlib.import_module("dask.highlevelgraph").HighLevelGraph
    name = f"certificate-{call.tag}"
    task = _task(name, together, value.chunks[:-1], *map(Ref, keys))
    graph = high.from_collections(name, {name: task}, dependencies=[value])
    return _lazy_type()(name, graph, layer=name)


@functools.cache
def _lazy_type() -> Any:
    """Return `Delayed`, optimised as arrays are: `dask.compute` of an output and its certificate
    then sees one graph, and not two that were changed differently and share keys.
    """
    delayed: Any = importlib.import_module("dask.delayed").Delayed
    optimise = vars(_array_module().Array)["__dask_optimize__"]
    return type("LazyCertificate", (delayed,), {"__slots__": (), "__dask_optimize__": optimise})


def together(chunks: tuple[tuple[int, ...], ...], *blocks: Block) -> Certificate:
    """Return the certificate of blocks whose rows are chunked so, in the order of their indices."""
    rows = np.empty([sum(sizes) for sizes in chunks])
    spans = [list(itertools.pairwise(itertools.accumulate((0, *sizes)))) for sizes in chunks]
    for place, block in zip(itertools.product(*spans), blocks, strict=True):
        rows[tuple(slice(*span) for span in place)] = block.certificate.rows
    certificates = [replace(block.certificate, promised=None) for block in blocks]
    promised = [block.certificate.promised for block in blocks]
    whole = joined(certificates, rows)
    if any(p is None for p in promised):
        return whole
    allowed = np.empty(rows.shape)
    for place, p in zip(itertools.product(*spans), promised, strict=True):
        allowed[tuple(slice(*span) for span in place)] = np.asarray(p)[..., None]
    return replace(whole, promised=np.min(allowed, axis=-1, initial=np.inf))


def _value(block: Block) -> Any:
    return block.value


def _spec(graph: Graph, tag: str) -> dict[Any, Any]:
    """Return a graph as Dask writes it, its own keys followed by a tag."""

    def named(x: Any) -> Any:
        return Ref(f"{x.key}-{tag}") if isinstance(x, Ref) and x.key in graph else x

    return {
        f"{key}-{tag}": _task(f"{key}-{tag}", task[0], *(named(x) for x in task[1:]))
        for key, task in graph.items()
    }


def _task(key: Any, function: Any, *arguments: Any) -> Any:
    spec: Any = importlib.import_module("dask._task_spec")
    return spec.Task(
        key, function, *(spec.TaskRef(x.key) if isinstance(x, Ref) else x for x in arguments)
    )
