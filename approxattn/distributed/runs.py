"""One call over sources that are read block by block: its graph carried out, its blocks written."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from approxattn.certificate import Approximation, Certificate
from approxattn.distributed.engines import WorkersLostError, carry_out
from approxattn.distributed.journal import Journal, written
from approxattn.distributed.sources import InMemory, Rows, Source
from approxattn.distributed.targets import Target, Write
from approxattn.methods.protocol import described
from approxattn.methods.sharded import Shards
from approxattn.sharding.plan import OF_QUERIES, Graph, Layout, Ref, Span, answers, needed, spans
from approxattn.sharding.tasks import Block, Pieces, collected, joined
from approxattn.whole_files import write_text

Progress = Callable[[int, int], object]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a call is to do, and who does it.

    Parameters
    ----------
    layout : Layout
        The blocks and what is done with them.
    executor, progress
        As the call was given them.
    """

    layout: Layout
    executor: Any
    progress: Progress | None


def laid_out(shards: Shards, sources: Mapping[str, Source], shard: int) -> Layout:
    """Return the blocks of all sources."""
    queries, keys = (spans(sources[name].shape[-2], shard) for name in ("q", "k"))
    blocks = {
        name: _rows(source, queries if name in OF_QUERIES else keys)
        for name, source in sources.items()
    }
    return Layout(shards=shards, blocks=blocks, queries=queries, keys=keys)


def in_memory(work: Work) -> dict[str, Approximation]:
    """Return the parts of the result by their names."""
    graph: Graph = {}
    found = answers(work.layout, graph, lambda _name, _i: (collected,))
    results = _follow(graph, [ref for refs in found.values() for ref in refs], work)
    parts = {}
    for refs in found.values():
        blocks: list[dict[str, Block]] = [results[ref.key] for ref in refs]
        for name in blocks[0]:
            parts[name] = _whole([block[name] for block in blocks])
    return parts


def _whole(blocks: list[Block]) -> Approximation:
    rows = np.concatenate([block.certificate.rows for block in blocks], axis=-1)
    value = np.concatenate([block.value for block in blocks], axis=-2)
    certificate = joined([block.certificate for block in blocks], rows)
    return Approximation(value=value, certificate=certificate)


def to_files(work: Work, journal: Journal) -> None:
    """Write the blocks that are missing, and finish the run."""
    with journal.held():
        if journal.begin():
            return
        graph: Graph = {}
        own = work.layout.queries, work.layout.keys
        firsts = {name: own[name == "dkv"] for name in ("out", "dq", "dkv", "dqkv")}

        def finish(name: str, i: int) -> tuple[Any, ...]:
            folder = str(journal.folder.resolve())
            return write_block, journal.targets, folder, f"{name}-{i}", firsts[name][i][0]

        found = answers(work.layout, graph, finish)
        every = {ref.key: ref for refs in found.values() for ref in refs}
        missing = journal.missing(list(every))
        try:
            _follow(graph, [every[key] for key in missing], work)
        except WorkersLostError as error:
            there = len(every) - len(journal.missing(list(every)))
            msg = (
                f"{error}: {there} of {len(every)} blocks are written to {journal.folder}; the "
                "same call continues"
            )
            raise WorkersLostError(msg) from error
        journal.finish(list(every))


def _follow(graph: Graph, wanted: list[Ref], work: Work) -> dict[Any, Any]:
    """Carry out a graph, and return the wanted results by their keys."""
    tasks, keys, done = needed(graph, wanted), {ref.key for ref in wanted}, 0
    counted = {key for key in tasks if key in keys or str(key).startswith("fold")}
    results = {}
    for ref, result in carry_out(graph, wanted, work.executor):
        if ref.key in keys:
            results[ref.key] = result
        if ref.key in counted:
            done += 1
            if work.progress is not None:
                work.progress(done, len(counted))
    return results


def write_block(
    pieces: Pieces, targets: Mapping[str, Target], folder: str, name: str, first: int
) -> str:
    """Write a block piece by piece, and then that it is there; return its name."""
    place = Path(folder)
    certificates: dict[str, list[Certificate]] = {}
    with contextlib.ExitStack() as stack:
        write: dict[str, Write] = {}
        for start, outs in pieces:
            for part, out in outs.items():
                parts = {part: np.asarray(out.value), f"{part} rows": out.certificate.rows}
                for target, rows in parts.items():
                    if target not in write:
                        write[target] = stack.enter_context(targets[target].written(place))
                    write[target](first + start, rows)
                certificates.setdefault(part, []).append(out.certificate)
    joint = {
        part: joined(found, np.concatenate([c.rows for c in found], axis=-1))
        for part, found in certificates.items()
    }
    write_text(place / f"block-{name}.json", written(joint))
    return name


def _rows(source: Source, blocks: list[Span]) -> list[Any]:
    """Return what stands for each block in the arguments of a task."""
    if isinstance(source, InMemory):
        return [source.tokens(*span) for span in blocks]
    return [Rows(source=source, first=first, last=last) for first, last in blocks]


def targets_of(
    part: str, shape: tuple[int, ...], dtype: str, shard: int, ending: str, suffix: str
) -> dict[str, Target]:
    """Return where a part of the result and the bounds of its rows are written."""
    name, of_rows = f"{part}{ending}", f"{part} rows"
    value = Target(
        name=name, shape=shape, dtype=np.dtype(dtype).str, axis=-2, length=shard, suffix=suffix
    )
    file = "rows.npy" if part == "value" else f"{part}.rows.npy"
    rows = Target(name=file, shape=shape[:-1], dtype="<f8", axis=-1, length=shard, suffix=None)
    return {part: value, of_rows: rows}


def check_out(out: Path) -> None:
    """Raise ValueError unless its ending says how it is written."""
    if out.suffix not in (".npy", ".zarr"):
        msg = f"out(={str(out)!r}) must end in .npy or .zarr"
        raise ValueError(msg)


def terms(
    sources: Mapping[str, Source], method: Any, **settings: float | bool | str | None
) -> dict[str, Any]:
    """Return what a run is asked for, as JSON knows it."""
    return {
        "versions": f"approxattn {_version()}, numpy {np.__version__}",
        "method": _told(method),
        **settings,
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
