"""Values of some methods by JAX's own operations: they stay on the device, and JAX differentiates
them.

What a tracer cannot have is left out: no checks of numbers, and no certificate. What is random is
drawn when the function is traced, on the host, exactly as the method itself draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import array_api_compat
import jax
import jax.numpy as jnp
import numpy as np

from approxattn._arrays import Array
from approxattn.exponential import exp_polynomial
from approxattn.methods.low_rank.combinations import DRAWS
from approxattn.methods.low_rank.linformer import Linformer
from approxattn.methods.naming import method_of, name_of
from approxattn.methods.polynomials.polynomial import Polynomial
from approxattn.methods.protocol import Method
from approxattn.methods.random_features.features import directions
from approxattn.methods.random_features.performer import Performer
from approxattn.monomials.kernel import Kernel, cheapest_kind
from approxattn.sketching import mean_pool


def traced_attention(
    q: Array,
    k: Array,
    v: Array,
    method: Method | str,
    *,
    scale: float | None = None,
    causal: bool = False,
    key_mask: Array | None = None,
    seed: int | None = None,
) -> Array:
    """Compute the value of some methods by operations of JAX alone.

    Parameters
    ----------
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Queries, keys, values; leading axes broadcast.
    method : Method or str
        `Polynomial(degree=g, basis="taylor", centre="keys" or "none")`; `Linformer(rank=...)` with
        means or linear random combinations; `Performer(...)`, not causal.
    scale : float, optional
        Factor of q . k; None means 1/sqrt(d).
    causal : bool
        Query i sees keys 0 ... i only; needs n_q = n_k.
    key_mask : array of bool, broadcastable to (..., n_k), optional
        True where a key takes part; each row must see one. Not for `Linformer`.
    seed : int, optional
        For randomised methods: the draws are those of `approxattn.attention` with
        rng=numpy.random.default_rng(seed).

    Returns
    -------
    array, shape (..., n_q, dv)
        Equal to that of `approxattn.attention` up to rounding, without its checks and certificate.

    Raises
    ------
    ValueError
        For a method or a setting that has no traceable form: `approxattn.jax.attention` takes all.

    Examples
    --------
    >>> import jax
    >>> from approxattn.jax import traced_attention
    >>> q, k, v = jax.random.uniform(jax.random.key(0), (3, 50, 8))
    >>> method = "Polynomial(degree=4, basis='taylor', centre='keys')"
    >>> jax.jit(lambda *x: traced_attention(*x, method))(q, k, v).shape
    (50, 8)
    """
    chosen = method_of(name_of(method))
    beta = q.shape[-1] ** -0.5 if scale is None else float(scale)
    if causal and q.shape[-2] != k.shape[-2]:
        _no(f"causal=True with {q.shape[-2]} queries and {k.shape[-2]} keys")
    q, k, v = jnp.asarray(q), jnp.asarray(k), jnp.asarray(v)
    narrow = q.dtype
    wide = narrow if narrow in (jnp.float32, jnp.float64) else jnp.float32
    batch = jnp.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (jnp.broadcast_to(x.astype(wide), (*batch, *x.shape[-2:])) for x in (q, k, v))
    shown = None
    if key_mask is not None:
        shown = jnp.broadcast_to(key_mask, (*batch, k.shape[-2]))[..., None]
        k, v = (jnp.where(shown, x, 0) for x in (k, v))
    with jax.default_matmul_precision("highest"):
        out = _form_of(chosen)(chosen, _Call(q, k, v, beta, causal, shown, seed))
    return out.astype(narrow)


class _Call(NamedTuple):
    """What a form computes with, beside its method: `shown` is True for keys that take part, shape
    (..., n_k, 1).
    """

    q: Array
    k: Array
    v: Array
    beta: float
    causal: bool
    shown: Array | None
    seed: int | None


def _form_of(method: Any) -> Callable[..., Array]:
    forms: dict[type[Any], Callable[..., Array]] = {
        Polynomial: _polynomial,
        Performer: _performer,
        Linformer: _linformer,
    }
    if type(method) not in forms:
        _no(type(method).__name__)
    return forms[type(method)]


def _no(what: str) -> NoReturn:
    msg = f"{what} has no traceable form: use approxattn.jax.attention"
    raise ValueError(msg)


def _polynomial(method: Polynomial, call: _Call) -> Array:
    """Weights P(beta q . (k - c)), c the mean of the visible keys, or 0."""
    q, k, v, beta, causal, shown, _ = call
    if method.degree is None or method.basis != "taylor" or method.index != "full":
        _no("Polynomial without a degree and basis='taylor'")
    if method.centre == "both":
        _no("Polynomial(centre='both'), the default, which looks at the queries,")
    ones = jnp.ones_like(v[..., :1])
    if shown is not None:
        ones = jnp.where(shown, ones, 0)
    if method.centre == "keys":
        k = (k - k.sum(-2, keepdims=True) / ones.sum(-2, keepdims=True)) * ones
    polynomial = exp_polynomial(method.degree or 0, 0.0, "taylor")
    degree, d = len(polynomial.coefficients) - 1, int(q.shape[-1])
    xp = array_api_compat.array_namespace(q)
    kernel = Kernel(
        coefficients=polynomial.coefficients,
        causal=causal,
        kind=cheapest_kind(q.shape[-2], k.shape[-2], d, degree, v.shape[-1] + 1),
        xp=xp,
    )
    sums = kernel.sums(beta * q, k, jnp.concatenate([v, ones], -1))
    return sums[..., :-1] / sums[..., -1:]


def _performer(method: Performer, call: _Call) -> Array:
    """Weights sum_r exp(w_r . x - |x|^2/2 + w_r . y - |y|^2/2), x = sqrt(beta) q, y likewise."""
    q, k, v, beta, causal, shown, seed = call
    if causal:
        _no("causal=True with Performer")
    rng = np.random.default_rng(_checked(seed, method))
    w = directions(int(q.shape[-1]), method.features, method.kind, method.orthogonal, rng)
    x, y = beta**0.5 * q, beta**0.5 * k
    # |x|^2 is the same for all weights of a row and cancels
    g = x @ jnp.asarray(w.T, x.dtype)
    h = y @ jnp.asarray(w.T, y.dtype) - jnp.sum(y * y, -1, keepdims=True) / 2
    if shown is not None:
        h = jnp.where(shown, h, -jnp.inf)
    top = h.max(-2, keepdims=True)
    values = jnp.concatenate([v, jnp.ones_like(v[..., :1])], -1)
    state = jnp.exp(h - top).swapaxes(-1, -2) @ values
    g = g + top
    sums = jnp.exp(g - g.max(-1, keepdims=True)) @ state
    return sums[..., :-1] / sums[..., -1:]


def _linformer(method: Linformer, call: _Call) -> Array:
    """Softmax attention to combinations of keys and values."""
    q, k, v, beta, causal, shown, seed = call
    if causal or shown is not None:
        _no(f"{'causal=True' if causal else 'key_mask'} with Linformer")
    if method.rank is None or method.key_projection is not None or method.kernel is not None:
        _no("Linformer with projections of your own")
    rank, n = int(method.rank or 0), int(k.shape[-2])
    bias: Any = 0.0
    if method.sketch == "mean-pool":
        pool = mean_pool(np.ones(n, bool), rank)
        blocks, counts = pool.block_of_token()[0], pool.counts
        kept = np.flatnonzero(counts)
        sums = (jax.ops.segment_sum(jnp.moveaxis(x, -2, 0), blocks, rank)[kept] for x in (k, v))
        k, v = (jnp.moveaxis(x, 0, -2) / jnp.asarray(counts[kept], x.dtype)[:, None] for x in sums)
        bias = jnp.log(jnp.asarray(counts[kept], k.dtype))
    elif method.sketch in DRAWS:
        rng = np.random.default_rng(_checked(seed, method))
        e = DRAWS[method.sketch](n, rank, rng).apply(np.eye(n))
        up, down = (1.0, 1.0) if method.delta is None else (method.delta, np.exp(-method.delta))
        k, v = jnp.asarray(up * e, k.dtype) @ k, jnp.asarray(down * e, v.dtype) @ v
    else:
        _no(f"Linformer(sketch={method.sketch!r})")
    return jax.nn.softmax(beta * q @ k.swapaxes(-1, -2) + bias, -1) @ v


def _checked(seed: int | None, method: Any) -> int:
    if seed is None:
        msg = f"{type(method).__name__} draws random numbers: pass seed, an int"
        raise ValueError(msg)
    return int(seed)
