"""Attention and its gradient over dask arrays.

Chunks of k and v along tokens are the blocks that are folded, chunks of q those of the output.
Whatever scheduler is active carries the graph out, and the bits do not depend on it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from approxattn._arguments import check_flag, check_integer
from approxattn.dask.graphs import (
    Graphs,
    array_module,
    certified,
    gradient_certified,
    output_of,
    passes,
)
from approxattn.sharding.checks import (
    call_of,
    check_cotangent_like,
    check_shapes,
    shards_of,
)
from approxattn.sharding.plan import OF_QUERIES, passes_of


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


class LazyGradients(NamedTuple):
    """Gradients of attention that are not computed yet.

    Attributes
    ----------
    dq, dk, dv : dask.array.Array, shapes of q, k, v
        The gradients; dq is chunked as q, the others as k, under `causal` as q.
    certificate : dask.delayed.Delayed
        Their `GradientCertificate`: ``dask.compute(*grads)`` gives all four in one pass.
    """

    dq: Any
    dk: Any
    dv: Any
    certificate: Any


def attention(
    q: Any,
    k: Any,
    v: Any,
    method: Any,
    *,
    scale: float | None = None,
    causal: bool = False,
    seed: int | None = None,
    reread: bool = True,
) -> LazyApproximation:
    """Describe attention of dask arrays, to be computed by whatever scheduler is active.

    Parameters
    ----------
    q, k, v : dask.array.Array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Chunked along tokens and leading axes, not along features; one dtype, equal leading axes.
        Chunks of some 2^18 tokens: a task takes a scheduler a millisecond, whatever it does. v is
        rechunked as k, and under `causal` both as q. Each chunk of leading indices is a call of its
        own.
    method : Method
        `Polynomial(...)`, or another one of the table in docs/distributed.md.
    scale, causal
        As in `approxattn.attention`; a causal call needs n_q = n_k.
    seed : int, optional
        What the draws of a randomised method follow from, whatever the chunks. Needed for those.
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
    arrays = {"q": q, "k": k, "v": v}
    _check(arrays, causal, reread, seed)
    dtypes = check_shapes(arrays, causal=causal)
    call = call_of(arrays, dtypes.compute, scale=scale, causal=causal, seed=seed)
    graphs = _graphs(shards_of(method, call), arrays, causal, reread)
    chunks = (*q.chunks[:-1], v.chunks[-1])
    tasks, keys = graphs.blocks()
    value = output_of(tasks, keys["out"], "value", chunks, dtypes.out)
    return LazyApproximation(value, certified(value, keys["out"]))


def attention_vjp(
    q: Any,
    k: Any,
    v: Any,
    dout: Any,
    method: Any,
    *,
    scale: float | None = None,
    causal: bool = False,
    seed: int | None = None,
    reread: bool = True,
) -> LazyGradients:
    """Describe the gradient of attention of dask arrays.

    Parameters
    ----------
    q, k, v
        As in `attention`.
    dout : dask.array.Array, shape (..., n_q, dv)
        Gradient of a loss with respect to the output, of the output's dtype; rechunked as q.
    method : Method
        `Polynomial(...)` or `Exact()`.
    scale, causal, seed, reread
        As in `attention`.

    Returns
    -------
    LazyGradients
        A named tuple of dq, dk, dv and their certificate. Nothing has been computed.

    Raises
    ------
    TypeError, ValueError, ImportError
        As `attention`; a method whose gradient cannot be taken in blocks; a `dout` unlike the
        output.

    Examples
    --------
    >>> import approxattn as aa
    >>> import dask.array as da  # doctest: +SKIP
    >>> from approxattn.dask import attention_vjp  # doctest: +SKIP
    >>> q, k, v, dout = da.from_zarr("qkvg.zarr")  # doctest: +SKIP
    >>> grads = attention_vjp(q, k, v, dout, aa.Polynomial(degree=4))  # doctest: +SKIP
    >>> grads.dk.to_zarr("dk.zarr")  # doctest: +SKIP
    """
    arrays = {"q": q, "k": k, "v": v, "dout": dout}
    _check(arrays, causal, reread, seed)
    dtypes = check_shapes(arrays, causal=causal)
    check_cotangent_like(arrays, dtypes.out)
    call = call_of(arrays, dtypes.compute, scale=scale, causal=causal, seed=seed)
    graphs = _graphs(shards_of(method, call, gradient=True), arrays, causal, reread)
    tasks, found = graphs.blocks()
    keys = {name: found[name if name in found else "dqkv"] for name in ("dq", "dkv")}
    tokens = (q if causal else k).chunks[-2]
    of_keys = (*q.chunks[:-2], tokens)
    dq = output_of(tasks, keys["dq"], "dq", q.chunks, dtypes.out)
    dk = output_of(tasks, keys["dkv"], "dk", (*of_keys, k.chunks[-1]), dtypes.out)
    dv = output_of(tasks, keys["dkv"], "dv", (*of_keys, v.chunks[-1]), dtypes.out)
    return LazyGradients(dq, dk, dv, gradient_certified((dq, dk, dv), keys))


def _graphs(shards: Any, arrays: dict[str, Any], causal: bool, reread: bool) -> Graphs:
    q, k = arrays["q"], arrays["k"]
    alike = {
        name: _like(x, q, tokens=q if causal or name in OF_QUERIES else k)
        for name, x in arrays.items()
    }
    return Graphs(
        shards=shards,
        names={name: x.name for name, x in alike.items()},
        chunks={name: x.chunks for name, x in alike.items()},
        inputs=passes(list(alike.values()), passes_of(shards), reread),
    )


def _check(arrays: dict[str, Any], causal: Any, reread: Any, seed: Any) -> None:
    if seed is not None:
        check_integer("seed", seed, 0)
    check_flag("causal", causal)
    check_flag("reread", reread)
    for name, x in arrays.items():
        _check_chunks(name, x)


def _check_chunks(name: str, x: Any) -> None:
    array: Any = array_module()
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


def _like(x: Any, q: Any, tokens: Any) -> Any:
    """Return x with the chunks of q along leading axes, and those of `tokens` along tokens."""
    return x.rechunk((*q.chunks[:-2], tokens.chunks[-2], x.chunks[-1]))
