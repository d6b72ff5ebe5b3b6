"""The one verb: check the input, let the method compute, return value and certificate together."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_choice
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Problem, check_cotangent, pose, quietly
from approxattn._problem.input import NotFiniteError, quarantine
from approxattn.bounds.centred_values import middle_of, moved_back, with_values_about_0
from approxattn.bounds.returned import as_input, looked_at, narrow, poison
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
    held_to_promise,
)
from approxattn.methods.memory_limit import check_max_memory
from approxattn.methods.protocol import Differentiable, Method


def _vjp(*given: Any, **options: Any) -> Gradients:
    return attention_vjp(*given, **options)


@public(vjp=_vjp)
@quietly
def attention(
    q: Array,
    k: Array,
    v: Array,
    method: Method,
    *,
    scale: float | None = None,
    causal: bool = False,
    key_mask: Array | None = None,
    rng: np.random.Generator | None = None,
    nan_policy: str = "raise",
    max_memory: float | None = None,
) -> Approximation:
    """Compute attention by `method`, with a certificate of its distance to the exact answer.

    Parameters
    ----------
    q, k, v : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, dv)
        Queries, keys, values of any array-API library; one dtype, one device. Leading axes
        broadcast. Half precisions are computed in float32, integers and bool in float64. Inputs are
        never written to.
    method : Method
        `Exact()`, `Polynomial(...)`, `Linformer(...)`, `Nystrom(...)`, `Performer(...)`,
        `Yoso(...)` and the others of `docs/methods.md`.
    scale : float, optional
        Factor of q . k; None means 1/sqrt(d). Alman & Song (2023) use 1/d.
    causal : bool
        Query i sees keys 0..i only; needs n_q = n_k.
    key_mask : array of bool, broadcastable to (..., n_k), optional
        True where a key takes part. What stands in k and v behind a False does not matter, be it
        NaN. (B, n) for inputs of (B, B, n, d) is refused: write key_mask[:, None, :] for one mask
        an item.
    rng : numpy.random.Generator, optional
        Needed by randomised methods. Draws are made on the host and shared by all leading indices.
    nan_policy : {"raise", "propagate"}
        With "propagate" a batch item that holds NaN or infinity gives an output of NaN only, with
        bound inf, instead of an error.
    max_memory : float, optional
        Bytes that the call may hold beside its input, by the estimate of `method.cost`: within a
        factor of two. None: no limit.

    Returns
    -------
    Approximation
        `value`, shape (..., n_q, dv), in the input's library, device and dtype (float64 for
        integers), and `certificate`.

    Raises
    ------
    TypeError
        No arrays, mixed libraries, devices or dtypes, complex input, a mask that is not bool, a
        randomised method without `rng`.
    ValueError
        Shapes that do not fit, no keys, NaN or infinity, a query without keys, scores that could
        overflow, a causal or scaled call of a method that has no such form.
    MemoryError
        Where the method would hold more than `max_memory`; raised before it starts.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 100, 8))
    >>> out = aa.attention(q, k, v, aa.Polynomial(tolerance=1e-3))
    >>> out.value.shape, bool(out.certificate.bound < 1e-3 * 2)
    ((100, 8), True)
    """
    check_choice("nan_policy", nan_policy, ("raise", "propagate"))
    bad: HostArray = np.zeros((), bool)
    if nan_policy == "propagate":
        q, k, v, bad = quarantine(q, k, v, key_mask)
    try:
        problem = pose(q, k, v, scale=scale, causal=causal, key_mask=key_mask)
    except NotFiniteError as error:
        error.add_note("nan_policy='propagate' makes NaN of such batch items, and of no others")
        raise
    _check_call(method, problem, rng)
    check_max_memory(max_memory, method, problem)
    if math.prod((*problem.batch, problem.n_q, problem.dv)) == 0:
        return _empty(problem)
    result = narrow(_computed(method, problem, rng), problem)
    rows, reasons = looked_at("the output", result.value, result.certificate.rows, problem)
    unmet = (*result.certificate.unmet, *reasons)
    certificate = held_to_promise(replace(result.certificate, rows=rows, unmet=unmet))
    result = Approximation(value=result.value, certificate=certificate)
    return poison(result, bad, problem) if bad.any() else result


@public()
@quietly
def attention_vjp(
    q: Array,
    k: Array,
    v: Array,
    dout: Array,
    method: Method,
    *,
    scale: float | None = None,
    causal: bool = False,
    key_mask: Array | None = None,
    rng: np.random.Generator | None = None,
    max_memory: float | None = None,
) -> Gradients:
    """Compute the gradient of attention by `method` for one cotangent of its output, with a
    certificate.

    Parameters
    ----------
    q, k, v, method, scale, causal, key_mask, rng, max_memory
        As for `attention`. Give a randomised method a generator in the state it had for the forward
        pass to repeat its draws.
    dout : array, shape (..., n_q, dv)
        G = dL/dout, same library, device and dtype as q.

    Returns
    -------
    Gradients
        `dq`, `dk`, `dv` in the shapes of q, k, v (summed over leading axes that were broadcast),
        `certificate`, and `parameters`: gradients with respect to the method's own arrays, if it
        has any.

    Raises
    ------
    TypeError, ValueError
        As `attention`; also when `dout` does not fit the output, or the method has no gradient.
    MemoryError
        Where the method would hold more than `max_memory`; raised before it starts.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v, dout = np.random.default_rng(0).uniform(-1, 1, (4, 100, 8))
    >>> grads = aa.attention_vjp(q, k, v, dout, aa.Polynomial(degree=6, gradient="plug-in"))
    >>> exact = aa.attention_vjp(q, k, v, dout, aa.Exact())
    >>> error = abs(grads.dq - exact.dq).max(axis=-1)
    >>> bool((error <= grads.certificate.dq + exact.certificate.dq).all())
    True
    """
    problem = pose(q, k, v, scale=scale, causal=causal, key_mask=key_mask)
    _check_call(method, problem, rng)
    if not isinstance(method, Differentiable):
        msg = (
            f"{type(method).__name__} has no gradient: use a method that has one, such as Exact() "
            "or Polynomial(...)"
        )
        raise TypeError(msg)
    check_max_memory(max_memory, method, problem, gradient=True)
    cotangent = check_cotangent(dout, problem, q)
    if math.prod((*problem.batch, problem.n_q, problem.dv)) == 0:
        result = _no_gradient(problem)
    else:
        result = method.vjp(problem, cotangent, rng)
    return as_input(result, (q, k, v), problem)


def _computed(method: Method, problem: Problem, rng: np.random.Generator | None) -> Approximation:
    """Let the method compute, on centred values where its weights sum to 1. A tolerance is judged
    column by column, and by the method alone: its values stay as they are.
    """
    promised = getattr(method, "tolerance", None) is not None
    averages = getattr(method, "averages_values", False) and not promised
    middle = middle_of(problem) if averages else None
    if middle is None:
        return method.compute(problem, rng)
    shifted = with_values_about_0(problem, middle)
    return moved_back(method.compute(shifted, rng), middle, shifted)


def _no_gradient(problem: Problem) -> Gradients:
    """Return zeros: an empty output depends on nothing."""
    xp, batch = problem.xp, problem.batch
    dq, dk, dv = (xp.zeros_like(x) for x in (problem.q, problem.k, problem.v))
    certificate = GradientCertificate(
        dq=np.zeros((*batch, problem.n_q)),
        dk=np.zeros((*batch, problem.n_k)),
        dv=np.zeros((*batch, problem.n_k)),
        target=SOFTMAX_GRADIENT,
        theorem="ours.gradient",
    )
    return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)


def _check_call(method: Method, problem: Problem, rng: np.random.Generator | None) -> None:
    name = type(method).__name__
    if not hasattr(method, "compute") or isinstance(method, type):
        msg = (
            f"method is {method!r}: it must be an instance such as Exact() or Polynomial(degree=4)"
        )
        raise TypeError(msg)
    if method.randomised and not isinstance(rng, np.random.Generator):
        msg = (
            f"{name} draws random numbers: pass rng=numpy.random.default_rng(seed), not {rng!r}; "
            "there is no hidden default"
        )
        raise TypeError(msg)
    if problem.causal and method.why_not_causal:
        msg = f"causal=True with {name}: {method.why_not_causal}"
        raise ValueError(msg)
    if problem.scale_given and method.why_no_scale:
        msg = f"scale(={problem.scale}) with {name}: {method.why_no_scale}; leave scale=None"
        raise ValueError(msg)


def _empty(problem: Problem) -> Approximation:
    """Return the empty output: nothing can be wrong with it."""
    xp = problem.xp
    shape = (*problem.batch, problem.n_q, problem.dv)
    value = xp.zeros(
        shape, dtype=_arrays.dtype_of(problem.out_dtype, xp), device=_arrays.device(problem.q)
    )
    return Approximation(
        value=value,
        certificate=Certificate(rows=np.zeros(shape[:-1]), target=SOFTMAX, theorem="ours.tanh"),
    )
