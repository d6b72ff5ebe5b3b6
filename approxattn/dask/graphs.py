"""The graph of a sharded call among the graphs of dask arrays.

Each block is needed several times: in each pass and for the answers; between these stands a
reduction over all blocks. Tasks of one graph that share a block would keep it in memory until then,
and with it the whole array. So each pass gets tasks of its own that make the block again, unless
the caller says otherwise.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from approxattn.certificate import Certificate, GradientCertificate
from approxattn.methods.sharded import Shards
from approxattn.sharding.plan import Graph, Layout, Ref, Span, answers, needed
from approxattn.sharding.tasks import Block, collected, gradient_certificate, joined

Chunks = tuple[tuple[int, ...], ...]


def array_module() -> Any:
    """Return `dask.array`."""
    try:
        return importlib.import_module("dask.array")
    except ImportError as error:
        msg = "approxattn.dask needs dask: pip install 'approxattn[dask]'"
        raise ImportError(msg) from error


class Made(NamedTuple):
    """The tasks that make q, k, v, dout for one pass, and what their keys have become in it."""

    graph: dict[Any, Any]
    keys: dict[Any, Any]


def passes(arrays: list[Any], count: int, reread: bool) -> list[Made]:
    """Return the arrays of each pass, with tasks of their own if blocks are to be read again."""
    return [_made_by(arrays, f"-pass-{i}" if reread else "") for i in range(count)]


def _made_by(arrays: list[Any], ending: str) -> Made:
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
    return Made(tasks, new)


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """The graphs of one call, one for each chunk of leading indices.

    Parameters
    ----------
    names, chunks : dict
        Of each of q, k, v, dout.
    inputs : list
        What makes them for each of the passes and for the answers.
    tag : str
        What its keys end with.
    """

    shards: Shards
    names: Mapping[str, str]
    chunks: Mapping[str, Chunks]
    inputs: list[Made]
    tag: str = field(default_factory=lambda: uuid4().hex[:12])

    def blocks(self) -> tuple[dict[Any, Any], dict[str, list[str]]]:
        """Return all tasks, and for each answer the keys of its blocks in their order."""
        # one layer: layers that share keys with those of q, k, v would be culled apart
        tasks = {key: task for made in self.inputs for key, task in made.graph.items()}
        keys: dict[str, list[str]] = {}
        for index in itertools.product(*(range(len(n)) for n in self.chunks["q"][:-2])):
            graph: Graph = {}
            wanted = answers(self._layout(index), graph, lambda _name, _i: (collected,))
            every = [ref for refs in wanted.values() for ref in refs]
            own = "-".join((*map(str, index), self.tag))
            tasks.update(_spec(needed(graph, every), own))
            for name, refs in wanted.items():
                keys.setdefault(name, []).extend(f"{ref.key}-{own}" for ref in refs)
        return tasks, keys

    def _layout(self, index: tuple[int, ...]) -> Layout:
        """Return the blocks of one chunk of leading indices."""
        again = [
            {
                name: [
                    Ref(made.keys[self.names[name], *index, i, 0]) for i in range(len(chunks[-2]))
                ]
                for name, chunks in self.chunks.items()
            }
            for made in self.inputs
        ]
        queries, keys = (_spans(self.chunks[name][-2]) for name in ("q", "k"))
        return Layout(shards=self.shards, blocks=again[0], queries=queries, keys=keys, again=again)


def _spans(sizes: Sequence[int]) -> list[Span]:
    return list(itertools.pairwise(itertools.accumulate((0, *sizes))))


def output_of(
    tasks: Mapping[Any, Any], blocks: list[str], part: str, chunks: Chunks, dtype: str
) -> Any:
    """Return a part of the result as an array."""
    name = f"{part}-{uuid4().hex[:12]}"
    tasks = dict(tasks)
    places = itertools.product(*(range(len(sizes)) for sizes in chunks[:-1]))
    for place, block in zip(places, blocks, strict=True):
        key = (name, *place, 0)
        tasks[key] = _task(key, _value, part, Ref(block))
    high = importlib.import_module("dask.highlevelgraph").HighLevelGraph
    whole = high.from_collections(name, tasks)
    return array_module().Array(whole, name, chunks, dtype=np.dtype(dtype))


def certified(value: Any, blocks: list[str]) -> Any:
    """Return the certificate of all blocks as one lazy value."""
    name = f"certificate-{uuid4().hex[:12]}"
    task = _task(name, together, "value", value.chunks[:-1], *map(Ref, blocks))
    return _lazy(name, {name: task}, [value])


def gradient_certified(parts: tuple[Any, Any, Any], keys: Mapping[str, list[str]]) -> Any:
    """Return the certificate of dq, dk and dv as one lazy value."""
    name = f"certificate-{uuid4().hex[:12]}"
    tasks = {}
    for part, value in zip(("dq", "dk", "dv"), parts, strict=True):
        blocks = keys["dq" if part == "dq" else "dkv"]
        key = f"{part}-{name}"
        tasks[key] = _task(key, together, part, value.chunks[:-1], *map(Ref, blocks))
    tasks[name] = _task(name, _of_gradient, *(Ref(f"{part}-{name}") for part in ("dq", "dk", "dv")))
    return _lazy(name, tasks, list(parts))


def _of_gradient(dq: Certificate, dk: Certificate, dv: Certificate) -> GradientCertificate:
    return gradient_certificate({"dq": dq, "dk": dk, "dv": dv})


def _lazy(name: str, tasks: dict[Any, Any], values: list[Any]) -> Any:
    high = importlib.import_module("dask.highlevelgraph").HighLevelGraph
    graph = high.from_collections(name, tasks, dependencies=values)
    return _lazy_type()(name, graph, layer=name)


@functools.cache
def _lazy_type() -> Any:
    """Return `Delayed`, optimised as arrays are: `dask.compute` of an output and its certificate
    then sees one graph, and not two that were changed differently and share keys.
    """
    delayed: Any = importlib.import_module("dask.delayed").Delayed
    optimise = vars(array_module().Array)["__dask_optimize__"]
    return type("LazyCertificate", (delayed,), {"__slots__": (), "__dask_optimize__": optimise})


def together(
    part: str, chunks: tuple[tuple[int, ...], ...], *answers: Mapping[str, Block]
) -> Certificate:
    """Return the certificate of blocks whose rows are chunked so, in the order of their indices."""
    blocks = [answer[part] for answer in answers]
    rows = np.empty([sum(sizes) for sizes in chunks])
    spans = [list(itertools.pairwise(itertools.accumulate((0, *sizes)))) for sizes in chunks]
    for place, block in zip(itertools.product(*spans), blocks, strict=True):
        rows[tuple(slice(*span) for span in place)] = block.certificate.rows
    certificates = [replace(block.certificate, promised=None) for block in blocks]
    promised = [block.certificate.promised for block in blocks]
    # a bound of one leading index fails where one of its own blocks does
    of_index = np.reshape([c.failure for c in certificates], (-1, len(chunks[-1])))
    failure = min(1.0, float(np.max(np.sum(of_index, axis=-1), initial=0.0)))
    whole = replace(joined(certificates, rows), failure=failure)
    if any(p is None for p in promised):
        return whole
    allowed = np.empty(rows.shape)
    for place, p in zip(itertools.product(*spans), promised, strict=True):
        allowed[tuple(slice(*span) for span in place)] = np.asarray(p)[..., None]
    return replace(whole, promised=np.min(allowed, axis=-1, initial=np.inf))


def _value(part: str, block: Mapping[str, Block]) -> Any:
    return block[part].value


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
