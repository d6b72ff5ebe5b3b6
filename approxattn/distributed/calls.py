"""Attention over sources that are read block by block, as a graph for an executor."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from approxattn._arguments import check_flag, check_integer
from approxattn.certificate import Approximation
from approxattn.distributed.engines import WorkersLostError, carry_out, check_executor
from approxattn.distributed.journal import Journal, written
from approxattn.distributed.sources import InMemory, Rows, Source, source_of
from approxattn.distributed.targets import Target
from approxattn.distributed.written import Written
from approxattn.methods.protocol import described
from approxattn.sharding.checks import check_shapes, shards_of
from approxattn.sharding.plan import Graph, Layout, Ref, Span, answers, needed, spans
from approxattn.sharding.tasks import Block, Pieces, collected, joined
from approxattn.whole_files import write_text

Progress = Callable[[int, int], object]


def attention(
    q: Any,
    k: Any,
    v: Any,
    method: Any,
    *,
    scale: float | None = None,
    causal: bool = False,
    out: str | Path | None = None,
    executor: Any = None,
    shard: int = 2**18,
    progress: Progress | None = None,
) -> Approximation | Written:
    """Compute attention block by block, from files to a file, with its certificate.

    Parameters
    ----------
    q, k, v : path, memory map, zarr array or ndarray, shapes (..., n_q, d), (..., n_k, d), \
(..., n_k, dv)
        Paths are those of .npy files and zarr arrays, and every worker must see them. One dtype,
        equal leading axes.
    method : Method
        `Polynomial(...)`, or another one that has `shards`.
    scale, causal
        As in `approxattn.attention`; a causal call needs n_q = n_k.
    out : path, optional
        Where the output goes: a .npy file, or a zarr array where the name ends in .zarr. Its folder
        `out`.run says which blocks are there, and holds the bounds of the rows: the same call
        continues what was interrupted. None: the output is returned in memory.
    executor : optional
        A pool of `concurrent.futures` or a client of `distributed`. None: this process, in which
        memory does not grow with the number of tokens.
    shard : int
        Tokens of a block. The bits of the output depend on it, and on nothing else of how the work
        is done: not on the executor, the number of workers or their deaths.
    progress : callable, optional
        Called with the number of tasks done and of all, as folds and answers finish.

    Returns
    -------
    Written or Approximation
        With `out`, what lies on the disk; without, as `approxattn.attention`.

    Raises
    ------
    TypeError, ValueError
        What `approxattn.attention` refuses; a method that cannot be taken in blocks; a file that is
        cut; an `out` that belongs to something else.
    OSError
        If a file cannot be read, or there is no room for the output.
    WorkersLostError
        If all workers are gone: what is written stays, and the same call continues.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> from approxattn import distributed
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 1000, 8))
    >>> out = distributed.attention(q, k, v, aa.Polynomial(degree=4), shard=300)
    >>> exact = aa.attention(q, k, v, aa.Exact())
    >>> bool((abs(out.value - exact.value).max(axis=-1) <= out.certificate.rows).all())
    True
    """
    check_integer("shard", shard, 1)
    check_flag("causal", causal)
    check_executor(executor)
    sources = {name: source_of(name, x) for name, x in (("q", q), ("k", k), ("v", v))}
    dtypes = check_shapes(sources, causal=causal)
    shards = shards_of(method, scale, sources["q"].shape[-1], dtypes.compute, causal=causal)
    shape = (*sources["q"].shape[:-1], sources["v"].shape[-1])
    blocks = spans(shape[-2], shard)
    layout = Layout(
        shards=shards,
        queries=_rows(sources["q"], blocks),
        keys=_rows(sources["k"], spans(sources["k"].shape[-2], shard)),
        values=_rows(sources["v"], spans(sources["k"].shape[-2], shard)),
        causal=causal,
    )
    if out is None:
        return _in_memory(layout, executor, progress)
    path = Path(out)
    targets = _targets(path, shape, dtypes.out, shard)
    journal = Journal(
        out=path, terms=_terms(sources, method, scale, causal, shard), targets=targets
    )
    run(layout, journal, blocks, executor, progress)
    found = {name: t.opened(journal.folder, path) for name, t in targets.items()}
    return Written(path=path, **found, **journal.certificate("value"))


def run(
    layout: Layout, journal: Journal, blocks: list[Span], executor: Any, progress: Progress | None
) -> None:
    """Write the blocks that are missing, and finish the run."""
    with journal.held():
        if journal.begin():
            return
        missing = journal.missing(len(blocks))
        graph: Graph = {}

        def finish(i: int) -> tuple[Any, ...]:
            folder = str(journal.folder.resolve())
            return write_block, journal.targets, folder, i, blocks[i][0]

        found = answers(layout, graph, finish)
        try:
            follow(graph, [found[i] for i in missing], executor, progress)
        except WorkersLostError as error:
            there = len(blocks) - len(journal.missing(len(blocks)))
            msg = (
                f"{error}: {there} of {len(blocks)} blocks are written to {journal.folder}; the "
                "same call continues"
            )
            raise WorkersLostError(msg) from error
        journal.finish(len(blocks))


def follow(
    graph: Graph, wanted: list[Ref], executor: Any, progress: Progress | None
) -> dict[Any, Any]:
    """Carry out a graph, and return the wanted results by their keys."""
    tasks, keys, done = needed(graph, wanted), {ref.key for ref in wanted}, 0
    counted = {key for key in tasks if key in keys or str(key).startswith("fold")}
    results = {}
    for ref, result in carry_out(graph, wanted, executor):
        if ref.key in keys:
            results[ref.key] = result
        if ref.key in counted:
            done += 1
            if progress is not None:
                progress(done, len(counted))
    return results


def write_block(
    pieces: Pieces, targets: Mapping[str, Target], folder: str, i: int, first: int
) -> int:
    """Write a block of the output, and then that it is there; return its number."""
    block, place = collected(pieces), Path(folder)
    rows = block.certificate.rows
    targets["value"].write(place, first, np.asarray(block.value))
    targets["rows"].write(place, first, rows)
    write_text(place / f"block-{i}.json", written({"value": block.certificate}))
    return i


def _in_memory(layout: Layout, executor: Any, progress: Progress | None) -> Approximation:
    graph: Graph = {}
    wanted = answers(layout, graph, lambda _: (collected,))
    results = follow(graph, wanted, executor, progress)
    blocks: list[Block] = [results[ref.key] for ref in wanted]
    rows = np.concatenate([block.certificate.rows for block in blocks], axis=-1)
    value = np.concatenate([block.value for block in blocks], axis=-2)
    certificate = joined([block.certificate for block in blocks], rows)
    return Approximation(value=value, certificate=certificate)


def _rows(source: Source, blocks: list[Span]) -> list[Any]:
    """Return what stands for each block in the arguments of a task."""
    if isinstance(source, InMemory):
        return [source.tokens(*span) for span in blocks]
    return [Rows(source=source, first=first, last=last) for first, last in blocks]


def _targets(path: Path, shape: tuple[int, ...], dtype: str, shard: int) -> dict[str, Target]:
    if path.suffix not in (".npy", ".zarr"):
        msg = f"out(={str(path)!r}) must end in .npy or .zarr"
        raise ValueError(msg)
    value = Target(
        name=f"value{path.suffix}",
        shape=shape,
        dtype=np.dtype(dtype).str,
        axis=-2,
        length=shard,
        suffix="",
    )
    rows = Target(
        name="rows.npy", shape=shape[:-1], dtype="<f8", axis=-1, length=shard, suffix=None
    )
    return {"value": value, "rows": rows}


def _terms(
    sources: Mapping[str, Source], method: Any, scale: float | None, causal: bool, shard: int
) -> dict[str, Any]:
    """Return what a run is asked for, as JSON knows it."""
    return {
        "versions": f"approxattn {_version()}, numpy {np.__version__}",
        "method": _told(method),
        "scale": scale,
        "causal": bool(causal),
        "shard": int(shard),
        **{name: source.fingerprint() for name, source in sources.items()},
    }


def _version() -> str:
    try:
        return importlib.metadata.version("approxattn")
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return "from source"


def _told(method: Any) -> str:
    """Return the settings of a method, arrays by their digests."""
    arrays = [
        hashlib.blake2b(np.ascontiguousarray(x).data, digest_size=16).hexdigest()
        for x in (getattr(method, f.name) for f in dataclasses.fields(method))
        if isinstance(x, np.ndarray)
    ]
    return " ".join([described(method), *arrays])
