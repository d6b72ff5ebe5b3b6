"""Any method under jax's transformations: the host computes, and a custom gradient joins it.

`jax.pure_callback` hands the numbers to the package, so what runs is the method itself with all its
checks. The gradient is `attention_vjp` for the same draws; saved for it are the inputs alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from approxattn import attend as core
from approxattn._arguments import check_choice, check_flag
from approxattn._arrays import Array, HostArray
from approxattn.methods.naming import method_of, name_of
from approxattn.methods.protocol import Method

GRADIENTS = ("output", "method")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a compiled call holds fixed."""

    method: str
    scale: float | None
    causal: bool
    query_offset: int | None
    window: tuple[int | None, int | None] | None
    gradient: str
    certify: bool = True
    bounds: bool = False


def attention(
    q: Array,
    k: Array,
    v: Array,
    method: Method | str,
    *,
    scale: float | None = None,
    causal: bool = False,
    query_offset: int | None = None,
    window: tuple[int | None, int | None] | None = None,
    segments: Array | tuple[Array, Array] | None = None,
    key_mask: Array | None = None,
    key: Any = None,
    gradient: str = "output",
    certify: bool = True,
    return_bounds: bool = False,
) -> Any:
    """Compute attention by a method, where jit, grad and vmap may pass.

    Parameters
    ----------
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Queries, keys, values, as in `approxattn.attention`.
    method : Method or str
        The method, or the text of one: "Polynomial(degree=4)".
    scale, causal, query_offset, window, segments, key_mask
        As in `approxattn.attention`. Rows without keys give 0. The first four are fixed under jit,
        masks and segments may be traced.
    key : int or key of jax.random, optional
        Needed by randomised methods: their draws follow from it, in the gradient as in the output.
    gradient : {"output", "method"}
        "output" refuses gradients that are not those of the output returned (plug-in polynomials,
        sampled hashes ...); "method" takes what `approxattn.attention_vjp` has for the method.

    certify : bool
        False: the same value without its bounds, and for `Exact()` and
        ``Polynomial(degree=g, basis="taylor")`` without a look at the numbers: NaN then gives NaN,
        not an error. See `approxattn.attention`.
    return_bounds : bool
        Whether the bound of each row is returned too: `certificate.rows`, an array that passes
        through jit and vmap as the output does.

    Returns
    -------
    array, shape (..., n_q, dv)
        In the dtype of the input; with `return_bounds` a pair of it and the bounds, shape
        (..., n_q), rounded up to JAX's dtype of floats, without a gradient. For the whole
        certificate, which says what the bounds speak of and with which probability they fail, call
        `approxattn.attention` outside of jit.

    Raises
    ------
    TypeError, ValueError
        What `approxattn.attention` refuses, bounds with certify=False; under jit numbers are looked
        at when the program runs, and the error comes from there.

    Notes
    -----
    The host computes, on its processor, whatever device the arrays lie on. `traced_attention` stays
    on the device, for some methods.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from approxattn.jax import attention
    >>> q, k, v = jax.random.uniform(jax.random.key(0), (3, 50, 8))
    >>> loss = lambda q: attention(q, k, v, "Polynomial(degree=4, basis='taylor')").sum()
    >>> jax.jit(jax.grad(loss))(q).shape
    (50, 8)
    """
    check_choice("gradient", gradient, GRADIENTS)
    check_flag("certify", certify)
    check_flag("return_bounds", return_bounds)
    if return_bounds and not certify:
        msg = "return_bounds=True with certify=False: there are none; leave one of them out"
        raise ValueError(msg)
    settings = Settings(
        method=name_of(method),
        scale=scale,
        causal=bool(causal),
        query_offset=None if query_offset is None else int(query_offset),
        window=None if window is None else (window[0], window[1]),
        gradient=gradient,
        certify=certify,
        bounds=return_bounds,
    )
    masks = {"key_mask": key_mask, **_segments(segments), "seed": _seed(settings, key)}
    arrays = (jnp.asarray(x) for x in (q, k, v))
    present = {name: jnp.asarray(x) for name, x in masks.items() if x is not None}
    return _joined(settings, *arrays, present)


def _segments(given: Any) -> dict[str, Array | None]:
    queries, keys = given if isinstance(given, tuple | list) else (given, given)
    return {"query_segments": queries, "key_segments": keys}


def _seed(settings: Settings, key: Any) -> Array | None:
    """Return words that the draws follow from."""
    method = method_of(settings.method)
    if not method.randomised:
        return None
    if key is None or isinstance(key, bool):
        msg = f"{settings.method} draws random numbers: pass key, an int or a key of jax.random"
        raise ValueError(msg)
    if isinstance(key, int | np.integer):
        words = [int(key) >> shift & 0xFFFFFFFF for shift in (0, 32)]
        return np.array(words, np.uint32)
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(key) if typed else key


def _value(settings: Settings, q: Array, k: Array, v: Array, masks: dict[str, Array]) -> Any:
    batch = jnp.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    shape: Any = jax.ShapeDtypeStruct((*batch, q.shape[-2], v.shape[-1]), _out_dtype(q.dtype))
    if settings.bounds:
        shape = shape, jax.ShapeDtypeStruct((*batch, q.shape[-2]), jnp.result_type(float))
    return _on_host(_host_value(settings), shape, q, k, v, masks)


def _forward(
    settings: Settings, q: Array, k: Array, v: Array, masks: dict[str, Array]
) -> tuple[Any, Any]:
    of_output = getattr(method_of(settings.method), "gradient_of_output", False)
    if settings.gradient == "output" and not of_output:
        msg = (
            f"the gradient of {settings.method} is not that of its output: pass gradient='method' "
            "to train with it all the same"
        )
        raise ValueError(msg)
    return _value(settings, q, k, v, masks), (q, k, v, masks)


def _backward(settings: Settings, saved: Any, douts: Any) -> tuple[Any, ...]:
    q, k, v, masks = saved
    dout = douts[0] if settings.bounds else douts  # bounds have no gradient
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, k, v))
    dq, dk, dv = _on_host(_host_gradient(settings), shapes, q, k, v, dout, masks)
    return dq, dk, dv, dict.fromkeys(masks)


def _on_host(call: Callable[..., Any], shape: Any, *arrays: Any) -> Any:
    """Return what the host computes. `vmap` calls it for one item after the other: some methods
    choose a polynomial for the whole call, and `vmap` promises what a loop returns.
    """
    return jax.pure_callback(call, shape, *arrays, vmap_method="sequential")


def _out_dtype(dtype: Any) -> Any:
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)


_joined: Any = jax.custom_vjp(_value, nondiff_argnums=(0,))
_joined.defvjp(_forward, _backward)


@functools.lru_cache(maxsize=256)
def _host_value(settings: Settings) -> Callable[..., Any]:
    """Return the call of the host: one for each setting, so that nothing compiles twice."""

    def call(q: Any, k: Any, v: Any, masks: dict[str, Any]) -> Any:
        q, k, v = (np.asarray(x) for x in (q, k, v))
        method = method_of(settings.method)
        found = core.attention(q, k, v, method, **_keywords(settings, masks))
        value = np.asarray(found.value, _out_dtype(q.dtype))
        if not settings.bounds:
            return value
        return value, _rounded_up(found.certificate.rows, jnp.result_type(float))

    return call


def _rounded_up(bounds: HostArray, dtype: Any) -> HostArray:
    """Return bounds in a narrower dtype, none of them smaller."""
    near = bounds.astype(dtype)
    return np.where(near < bounds, np.nextafter(near, np.asarray(np.inf, dtype)), near)


@functools.lru_cache(maxsize=256)
def _host_gradient(settings: Settings) -> Callable[..., tuple[HostArray, ...]]:
    def call(q: Any, k: Any, v: Any, dout: Any, masks: dict[str, Any]) -> tuple[HostArray, ...]:
        q, k, v, dout = (np.asarray(x) for x in (q, k, v, dout))
        method = method_of(settings.method)
        keywords = _keywords(settings, masks) | {"certify": False}  # nobody would see the bounds
        found = core.attention_vjp(q, k, v, dout, method, **keywords)
        return np.asarray(found.dq), np.asarray(found.dk), np.asarray(found.dv)

    return call


def _keywords(settings: Settings, masks: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of the core."""
    given = {name: np.asarray(x) for name, x in masks.items()}
    found: dict[str, Any] = {
        "scale": settings.scale,
        "causal": settings.causal,
        "window": settings.window,
        "query_offset": settings.query_offset,
        "empty_rows": "zero",
        "certify": settings.certify,
    }
    if "key_mask" in given:
        found["key_mask"] = given["key_mask"].astype(bool)
    if "query_segments" in given:
        found["segments"] = given["query_segments"], given["key_segments"]
    if "seed" in given:
        found["rng"] = np.random.default_rng([int(word) for word in given["seed"].ravel()])
    return found
