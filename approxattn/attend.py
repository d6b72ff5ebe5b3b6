"""The one verb: check the input, let the method compute, return value and certificate together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, check_cotangent, pose, quarantine
from approxattn.bounds.rounding import gamma, up
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
)
from approxattn.methods.protocol import Differentiable, Method


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
        True where a key takes part.
    rng : numpy.random.Generator, optional
        Needed by randomised methods. Draws are made on the host and shared by all leading indices.
    nan_policy : {"raise", "propagate"}
        With "propagate" a batch item that holds NaN or infinity gives an output of NaN only, with
        bound inf, instead of an error.

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

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 100, 8))
    >>> out = aa.attention(q, k, v, aa.Polynomial(tolerance=1e-3))
    >>> out.value.shape, bool(out.certificate.bound < 1e-3 * 2)
    ((100, 8), True)
    """
    if nan_policy not in ("raise", "propagate"):
        msg = f"nan_policy(={nan_policy!r}) must be 'raise' or 'propagate'"
        raise ValueError(msg)
    bad: HostArray = np.zeros((), bool)
    if nan_policy == "propagate":
        q, k, v, bad = quarantine(q, k, v)
    problem = pose(q, k, v, scale=scale, causal=causal, key_mask=key_mask)
    _check_call(method, problem, rng)
    if math.prod((*problem.batch, problem.n_q, problem.dv)) == 0:
        return _empty(problem)
    result = method.compute(problem, rng)
    result = _narrow(result, problem)
    return _poison(result, bad, problem) if bad.any() else result


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
) -> Gradients:
    """Compute the gradient of attention by `method` for one cotangent of its output, with a
    certificate.

    Parameters
    ----------
    q, k, v, method, scale, causal, key_mask, rng
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
    cotangent = check_cotangent(dout, problem, q)
    if math.prod((*problem.batch, problem.n_q, problem.dv)) == 0:
        result = _no_gradient(problem)
    else:
        result = method.vjp(problem, cotangent, rng)
    return _as_input(result, (q, k, v), problem)


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


def _as_input(result: Gradients, inputs: tuple[Array, Array, Array], problem: Problem) -> Gradients:
    """Return gradients in the shapes and the dtype of the inputs; sums over broadcast axes and the
    narrowing join the certificate.
    """
    certificate = result.certificate
    dq, dq_rows = _returned(result.dq, certificate.dq, inputs[0], problem)
    dk, dk_rows = _returned(result.dk, certificate.dk, inputs[1], problem)
    dv, dv_rows = _returned(result.dv, certificate.dv, inputs[2], problem)
    certificate = replace(certificate, dq=dq_rows, dk=dk_rows, dv=dv_rows)
    return replace(result, dq=dq, dk=dk, dv=dv, certificate=certificate)


def _returned(
    value: Array, rows: HostArray, original: Array, problem: Problem
) -> tuple[Array, HostArray]:
    return _narrowed(*_unbroadcast(value, rows, tuple(original.shape[:-2]), problem), problem)


def _unbroadcast(
    value: Array, rows: HostArray, leading: tuple[int, ...], problem: Problem
) -> tuple[Array, HostArray]:
    """Sum over the leading axes along which the input was repeated."""
    padded = (1,) * (len(problem.batch) - len(leading)) + leading
    axes = tuple(
        i for i, (have, want) in enumerate(zip(problem.batch, padded, strict=True)) if have != want
    )
    if axes:
        count = math.prod(problem.batch[i] for i in axes)
        size = _arrays.to_host(
            problem.xp.max(problem.xp.abs(value), axis=(*axes, value.ndim - 1), keepdims=True)
        )[..., 0]
        rows = up(
            np.sum(rows, axis=axes, keepdims=True)
            + gamma(count + 2, problem.u) * count * size.astype(np.float64)
        )
        value = problem.xp.sum(value, axis=axes, keepdims=True)
    return problem.xp.reshape(value, (*leading, *value.shape[-2:])), np.reshape(
        rows, (*leading, rows.shape[-1])
    )


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


def _narrow(result: Approximation, problem: Problem) -> Approximation:
    """Return the result in the caller's dtype; the rounding of a narrower one joins the
    certificate.
    """
    if problem.out_dtype == problem.dtype:
        return result
    value, rows = _narrowed(result.value, result.certificate.rows, problem)
    return Approximation(value=value, certificate=replace(result.certificate, rows=rows))


def _narrowed(value: Array, rows: HostArray, problem: Problem) -> tuple[Array, HostArray]:
    """Cast to the caller's dtype and add the rounding of that to the bounds of the rows."""
    if problem.out_dtype == problem.dtype or 0 in value.shape:
        return _arrays.cast(value, problem.out_dtype, problem.xp), rows
    xp, u = problem.xp, _arrays.unit_roundoff(problem.out_dtype)
    size = _arrays.to_host(xp.max(xp.abs(value), axis=-1)).astype(np.float64)
    rows = up(rows + 2 * u * size + 2 * _arrays.smallest_normal(problem.out_dtype))
    rows = np.where(size < _arrays.largest(problem.out_dtype), rows, np.inf)
    return _arrays.cast(value, problem.out_dtype, xp), rows


def _poison(result: Approximation, bad: HostArray, problem: Problem) -> Approximation:
    """Return NaN, with no bound, for the batch items that held NaN or infinity."""
    bad = np.broadcast_to(bad, problem.batch)
    mask = _arrays.from_host(np.array(bad)[..., None, None], problem.q)
    value = problem.xp.where(mask, problem.xp.full_like(result.value, problem.xp.nan), result.value)
    certificate = replace(
        result.certificate,
        rows=np.where(bad[..., None], np.inf, result.certificate.rows),
        unmet=(*result.certificate.unmet, f"{int(bad.sum())} batch item(s) hold NaN or infinity"),
    )
    return Approximation(value=value, certificate=certificate)
