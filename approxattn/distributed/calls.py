"""Attention and its gradient over sources that are read block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from approxattn._arguments import check_flag, check_integer
from approxattn.certificate import Approximation, Certificate, Gradients
from approxattn.distributed.engines import check_executor
from approxattn.distributed.journal import SUMMARY, Journal
from approxattn.distributed.runs import (
    Progress,
    Work,
    check_out,
    in_memory,
    laid_out,
    targets_of,
    terms,
    to_files,
)
from approxattn.distributed.sources import Source, source_of
from approxattn.distributed.targets import Target
from approxattn.distributed.written import Written, WrittenGradients
from approxattn.sharding.checks import (
    call_of,
    check_cotangent_like,
    check_shapes,
    shards_of,
)
from approxattn.sharding.tasks import gradient_certificate


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
    seed: int | None = None,
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
        `Polynomial(...)`, or another one of the table in docs/distributed.md.
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
    seed : int, optional
        What the draws of a randomised method follow from, whatever the blocks. Needed for those.
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
    _check(causal, executor, shard, seed)
    sources = _sources(q=q, k=k, v=v)
    dtypes = check_shapes(sources, causal=causal)
    call = call_of(sources, dtypes.compute, scale=scale, causal=causal, seed=seed)
    layout = laid_out(shards_of(method, call), sources, shard)
    work = Work(layout=layout, executor=executor, progress=progress)
    if out is None:
        return in_memory(work)["value"]
    path = Path(out)
    check_out(path)
    shape = (*sources["q"].shape[:-1], sources["v"].shape[-1])
    targets = targets_of("value", shape, dtypes.out, shard, path.suffix, "")
    asked = terms(sources, method, scale=scale, causal=bool(causal), shard=int(shard), seed=seed)
    journal = Journal(out=path, terms=asked, targets=targets)
    to_files(work, journal)
    value, rows = (t.opened(journal.folder, path) for t in targets.values())
    return Written(path=path, value=value, rows=rows, **journal.certificate("value"))


def attention_vjp(
    q: Any,
    k: Any,
    v: Any,
    dout: Any,
    method: Any,
    *,
    scale: float | None = None,
    causal: bool = False,
    out: str | Path | None = None,
    executor: Any = None,
    shard: int = 2**18,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Gradients | WrittenGradients:
    """Compute the gradient of attention block by block, from files to files, with its certificate.

    Parameters
    ----------
    q, k, v
        As in `attention`.
    dout : path, memory map, zarr array or ndarray, shape (..., n_q, dv)
        Gradient of a loss with respect to the output, of the output's dtype.
    method : Method
        `Polynomial(...)` or `Exact()`.
    scale, causal, executor, shard, seed, progress
        As in `attention`.
    out : path, optional
        "g.npy" for g.dq.npy, g.dk.npy and g.dv.npy, "g.zarr" for zarr arrays of these names. The
        folder g.run holds the bounds of all rows, and lets the same call continue. None: all is
        returned in memory.

    Returns
    -------
    WrittenGradients or Gradients
        With `out`, what lies on the disk; without, as `approxattn.attention_vjp`.

    Raises
    ------
    TypeError, ValueError
        What `approxattn.attention_vjp` refuses; a method whose gradient cannot be taken in blocks;
        a file that is cut; an `out` that belongs to something else.
    OSError, WorkersLostError
        As `attention`.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> from approxattn import distributed
    >>> q, k, v, dout = np.random.default_rng(0).uniform(-1, 1, (4, 1000, 8))
    >>> method = aa.Polynomial(degree=4)
    >>> grads = distributed.attention_vjp(q, k, v, dout, method, shard=300)
    >>> exact = aa.attention_vjp(q, k, v, dout, aa.Exact())
    >>> bool((abs(grads.dk - exact.dk).max(axis=-1) <= grads.certificate.dk).all())
    True
    """
    _check(causal, executor, shard, seed)
    sources = _sources(q=q, k=k, v=v, dout=dout)
    dtypes = check_shapes(sources, causal=causal)
    check_cotangent_like(sources, dtypes.out)
    call = call_of(sources, dtypes.compute, scale=scale, causal=causal, seed=seed)
    layout = laid_out(shards_of(method, call, gradient=True), sources, shard)
    work = Work(layout=layout, executor=executor, progress=progress)
    if out is None:
        parts = in_memory(work)
        certificate = gradient_certificate({n: p.certificate for n, p in parts.items()})
        return Gradients(**{n: p.value for n, p in parts.items()}, certificate=certificate)
    path = Path(out)
    check_out(path)
    targets: dict[str, Target] = {}
    for part, of in (("dq", "q"), ("dk", "k"), ("dv", "v")):
        shape, suffix = tuple(sources[of].shape), f".{part}{path.suffix}"
        targets |= targets_of(part, shape, dtypes.out, shard, path.suffix, suffix)
    asked = terms(sources, method, scale=scale, causal=bool(causal), shard=int(shard), seed=seed)
    journal = Journal(out=path.with_suffix(""), terms=asked, targets=targets)
    to_files(work, journal)
    return _written(journal)


def _written(journal: Journal) -> WrittenGradients:
    arrays = {n: t.opened(journal.folder, journal.out) for n, t in journal.targets.items()}
    said = {part: journal.certificate(part) for part in ("dq", "dk", "dv")}
    without_rows = {
        part: Certificate(rows=found["bound"][..., None], **{n: found[n] for n in SUMMARY})
        for part, found in said.items()
    }
    common = gradient_certificate(without_rows)
    return WrittenGradients(
        path=journal.out,
        **{part: arrays[part] for part in said},
        rows={part: arrays[f"{part} rows"] for part in said},
        bound={part: found["bound"] for part, found in said.items()},
        target=common.target,
        theorem=common.theorem,
        failure=common.failure,
        facts=common.facts,
        unmet=common.unmet,
    )


def _check(causal: Any, executor: Any, shard: Any, seed: Any) -> None:
    check_integer("shard", shard, 1)
    if seed is not None:
        check_integer("seed", seed, 0)
    check_flag("causal", causal)
    check_executor(executor)


def _sources(**arrays: Any) -> dict[str, Source]:
    return {name: source_of(name, x) for name, x in arrays.items()}
