"""The one verb: check the input, let the method compute, return value and certificate together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from approxattn._arguments import check_choice, check_flag
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Problem, Scoring, pose, quietly
from approxattn._problem.cotangent import check_cotangent
from approxattn._problem.input import NotFiniteError, quarantine
from approxattn._problem.visible import Window
from approxattn.attend.calls import (
    approximate,
    check_call,
    differentiate,
    empty,
    no_gradient,
    with_lse,
)
from approxattn.attend.gradient import gradient_in_pieces, with_own_sinks
from approxattn.bounds.returned import as_input, poison
from approxattn.certificate import Approximation, Gradients, unclaimed_gradient
from approxattn.methods.memory_limit import check_max_memory
from approxattn.methods.protocol import Differentiable, Method, value_alone


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
    query_offset: int | None = None,
    window: Window | None = None,
    segments: Any = None,
    empty_rows: str = "raise",
    bias: Array | Callable[[Array, Array], Array] | None = None,
    softcap: float | None = None,
    sinks: Array | None = None,
    rng: np.random.Generator | None = None,
    nan_policy: str = "raise",
    max_memory: float | None = None,
    return_lse: bool = False,
    certify: bool = True,
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
        Query i sees keys 0..i + query_offset only.
    key_mask : array of bool, broadcastable to (..., n_k), optional
        True where a key takes part. What stands in k and v behind a False does not matter, be it
        NaN. (B, n) for inputs of (B, B, n, d) is refused: write key_mask[:, None, :] for one mask
        an item.
    query_offset : int, optional
        Position of query 0 among the keys, for `causal` and `window`: 0 aligns the upper left
        corner, n_k - n_q the lower right one (decoding with a cache). None: 0 where n_q = n_k, and
        refused elsewhere.
    window : (int or None, int or None), optional
        Keys before and after its own position that a query sees; None: no limit on that side.
        (255, 0) is a causal window of 256 keys. For `Exact` only.
    segments : array of int, broadcastable to (..., n), or a pair of them, optional
        Number of the sequence that each token belongs to, where several are packed one after
        another: queries see keys of their own number. A pair is for (queries, keys).
    empty_rows : {"raise", "zero"}
        What happens to a query that sees no key, as under padding on the left: an error, or an
        output of 0 with bound 0 and gradient 0.
    bias : array of floats, broadcastable to (..., n_q, n_k), or callable, optional
        Added to the scores, as positions are in T5 and ALiBi; -inf hides a pair. For `Exact` only.
        A function ``bias(rows, columns)`` gets positions among the keys as arrays of int64, shapes
        (r, 1) for queries (`query_offset` counted in) and (1, c) for keys, and returns the numbers
        of these pairs, broadcastable to (..., r, c); no array of all pairs is made. Its numbers are
        taken as they are, it may be called more than once for a pair, and nothing is differentiated
        through it. `ALiBi` is one.
    softcap : float, optional
        c of the scores c tanh(score / c), taken before bias and masks, as Gemma 2 does. For `Exact`
        only.
    sinks : array of floats, broadcastable to the leading axes, optional
        One logit a head that joins every denominator, with the value 0, as gpt-oss has them. For
        `Exact` only.
    rng : numpy.random.Generator, optional
        Needed by randomised methods. Draws are made on the host and shared by all leading indices.
    nan_policy : {"raise", "propagate"}
        With "propagate" a batch item that holds NaN or infinity gives an output of NaN only, with
        bound inf, instead of an error.
    max_memory : float, optional
        Bytes that the call may hold beside its input, by the estimate of `method.cost`: within a
        factor of two. None: no limit.
    return_lse : bool
        Whether `lse`, the logarithm of every query's sum of e^score, is wanted too, by which parts
        over different keys merge; `certificate.lse` bounds its error. For `Exact` only.
    certify : bool
        False: the same value, to the bit, and a certificate without bounds. `Exact` and
        ``Polynomial(degree=g, basis="taylor")`` then do nothing else but what the value needs:
        numbers are not looked at. In the place of an error NaN gives NaN in the value; infinities
        and overflow give NaN or infinity, or a score of -inf, which has no weight. Other methods,
        and those with a `tolerance`, which need their bounds to choose, compute and check as ever.

    Returns
    -------
    Approximation
        `value`, shape (..., n_q, dv), in the input's library, device and dtype (float64 for
        integers), and `certificate`; also `lse`, shape (..., n_q), where it was asked for.

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
    check_flag("return_lse", return_lse)
    check_flag("certify", certify)
    check_choice("nan_policy", nan_policy, ("raise", "propagate"))
    bad: HostArray = np.zeros((), bool)
    if nan_policy == "propagate":
        q, k, v, bad = quarantine(q, k, v, key_mask)
    order = query_offset, window, segments, empty_rows
    scoring = Scoring(scale, causal, key_mask, *order, bias, softcap, sinks)
    try:
        problem = pose(q, k, v, scoring, numbers=certify or not value_alone(method))
    except NotFiniteError as error:
        error.add_note("nan_policy='propagate' makes NaN of such batch items, and of no others")
        raise
    problem = problem if certify else problem.asked(certify=False)
    if return_lse:
        problem = with_lse(problem)
    check_call(method, problem, rng)
    check_max_memory(max_memory, method, problem)
    if math.prod((*problem.batch, problem.n_q, problem.dv or int(return_lse))) == 0:
        return empty(problem)
    result = approximate(method, problem, rng)
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
    query_offset: int | None = None,
    window: Window | None = None,
    segments: Any = None,
    empty_rows: str = "raise",
    bias: Array | Callable[[Array, Array], Array] | None = None,
    softcap: float | None = None,
    sinks: Array | None = None,
    rng: np.random.Generator | None = None,
    max_memory: float | None = None,
    certify: bool = True,
) -> Gradients:
    """Compute the gradient of attention by `method` for one cotangent of its output, with a
    certificate.

    Parameters
    ----------
    q, k, v, method, scale, rng, max_memory, certify
        As for `attention`; numbers are checked without a certificate too. Give a randomised method
        a generator in the state it had for the forward pass to repeat its draws.
    causal, key_mask, query_offset, window, segments, empty_rows, bias, softcap, sinks
        As for `attention`; there is no gradient with respect to the bias.
    dout : array, shape (..., n_q, dv)
        G = dL/dout, same library, device and dtype as q.

    Returns
    -------
    Gradients
        `dq`, `dk`, `dv` in the shapes of q, k, v (summed over leading axes that were broadcast),
        `certificate`, and `parameters`: gradients with respect to the method's own arrays, if it
        has any, and to the sinks, without a bound on their rounding.

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
    order = query_offset, window, segments, empty_rows
    scoring = Scoring(scale, causal, key_mask, *order, bias, softcap, sinks)
    check_flag("certify", certify)
    problem = pose(q, k, v, scoring, beside=dout).asked(certify=certify)
    check_call(method, problem, rng)
    if not isinstance(method, Differentiable):
        msg = (
            f"{type(method).__name__} has no gradient: use a method that has one, such as Exact() "
            "or Polynomial(...)"
        )
        raise TypeError(msg)
    check_max_memory(max_memory, method, problem, gradient=True)
    cotangent = check_cotangent(dout, problem, q, problem.largest_beside)
    if math.prod((*problem.batch, problem.n_q, problem.dv)) == 0:
        result = no_gradient(problem)
    else:

        def vjp(plain: Problem, dout: Array) -> Gradients:
            return differentiate(method, plain, dout, rng)

        if problem.visibility is None:
            result = vjp(problem, cotangent)
        else:
            result = gradient_in_pieces(problem, cotangent, vjp)
    if sinks is not None:
        result = with_own_sinks(result, sinks, problem)
    result = as_input(result, (q, k, v), problem)
    if certify:
        return replace(result, certificate=result.certificate.when_done(problem.q))
    shapes = (tuple(x.shape[:-1]) for x in (result.dq, result.dk, result.dv))
    return replace(result, certificate=unclaimed_gradient(result.certificate.target, *shapes))
