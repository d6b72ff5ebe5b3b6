"""One checked problem through one method: whether it may, on which values, as what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.attend.forward import in_pieces
from approxattn.attend.grouped import as_rows, folded, folds, unfolded, unfolded_gradients
from approxattn.attend.padded import (
    earlier_cotangent,
    last_gradients,
    last_rows,
    needs_padding,
    with_earlier_queries,
)
from approxattn.bounds.centred_values import middle_of, moved_back, with_values_about_0
from approxattn.bounds.returned import finite_rows, narrow, with_lost_rows
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
    held_to_promise,
    unclaimed,
)
from approxattn.methods.protocol import Differentiable, Method, value_alone, why_no


def approximate(method: Method, problem: Problem, rng: np.random.Generator | None) -> Approximation:
    """Return output and certificate of a checked problem, as `attention` hands them out.

    A method that has no form without a certificate makes one, which is dropped.
    """

    def compute(plain: Problem) -> Approximation:
        return _output(method, plain, rng)

    found = compute(problem) if problem.visibility is None else in_pieces(problem, compute)
    return replace(found, certificate=found.certificate.when_done(problem.q))


def _output(method: Method, problem: Problem, rng: np.random.Generator | None) -> Approximation:
    """Return the result of a plain problem as it is handed out."""
    if folds(method, problem):
        return unfolded(_output(method, folded(problem), rng), problem)
    if needs_padding(method, problem):
        square = _computed(method, with_earlier_queries(problem), rng)
        result = last_rows(square, problem)
    else:
        result = _computed(method, problem, rng)
    if not problem.certify:
        value = _arrays.cast(result.value, problem.out_dtype, problem.xp)
        shape = tuple(value.shape[:-1])
        return replace(result, value=value, certificate=unclaimed(shape, lse=problem.wants_lse))
    result = narrow(result, problem)
    finite = finite_rows(result.value, problem.xp)
    certificate = result.certificate.then(_judged, finite, problem.out_dtype)
    return replace(result, certificate=certificate)


def _judged(certificate: Certificate, finite: Array | None, out_dtype: str) -> Certificate:
    """Return the certificate after a look at the output."""
    return held_to_promise(with_lost_rows(certificate, "the output", finite, out_dtype))


def differentiate(
    method: Differentiable, problem: Problem, dout: Array, rng: np.random.Generator | None
) -> Gradients:
    """Return the gradient of a plain problem in the dtype computed in."""
    if folds(method, problem):
        cotangent = as_rows(dout, problem)
        return unfolded_gradients(differentiate(method, folded(problem), cotangent, rng), problem)
    if not (problem.certify or value_alone(method)):
        problem = problem.asked(certify=True)
    if not needs_padding(method, problem):
        return method.vjp(problem, dout, rng)
    padded = earlier_cotangent(dout, problem)
    return last_gradients(method.vjp(with_earlier_queries(problem), padded, rng), problem)


def _computed(method: Method, problem: Problem, rng: np.random.Generator | None) -> Approximation:
    """Let the method compute, on centred values where its weights sum to 1. A tolerance is judged
    column by column, and by the method alone: its values stay as they are.
    """
    if not (problem.certify or value_alone(method)):
        problem = problem.asked(certify=True)
    promised = getattr(method, "tolerance", None) is not None
    averages = getattr(method, "averages_values", False) and not promised
    averages = averages and problem.sinks is None  # which take a part of each row
    middle = middle_of(problem) if averages else None
    if middle is None:
        return method.compute(problem, rng)
    shifted = with_values_about_0(problem, middle)
    return moved_back(method.compute(shifted, rng), middle, shifted)


def no_gradient(problem: Problem) -> Gradients:
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


def check_call(method: Method, problem: Problem, rng: np.random.Generator | None) -> None:
    """Raise TypeError or ValueError where the method cannot take the problem."""
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
    reason = why_refused(method, problem)
    if reason:
        raise ValueError(reason)


def with_lse(problem: Problem) -> Problem:
    """Return the problem with its log-sum-exps asked for."""
    if problem.sinks is not None:
        msg = (
            "return_lse=True with sinks: parts over different keys would each count the sink; call "
            "without sinks, and multiply the merged output by 1 / (1 + exp(sinks - lse))"
        )
        raise ValueError(msg)
    return problem.asked(wants_lse=True)


def why_refused(method: Method, problem: Problem) -> str:
    """Return why the method has no such form, naming the argument; empty if it has."""
    name, seen = type(method).__name__, problem.visibility
    causal = problem.causal or (seen is not None and seen.causal)
    if causal and method.why_not_causal:
        return f"causal=True with {name}: {method.why_not_causal}"
    asked = {
        "window": None if seen is None or seen.window is None else f"window(={seen.window})",
        "bias": None if problem.bias is None else "bias",
        "softcap": None if problem.softcap is None else f"softcap(={problem.softcap})",
        "sinks": None if problem.sinks is None else "sinks",
        "lse": "return_lse=True" if problem.wants_lse else None,
    }
    for form, argument in asked.items():
        if argument is not None and why_no(method, form):
            return f"{argument} with {name}: {why_no(method, form)}"
    if problem.scale_given and method.why_no_scale:
        return f"scale(={problem.scale}) with {name}: {method.why_no_scale}; leave scale=None"
    return ""


def empty(problem: Problem) -> Approximation:
    """Return the empty output: nothing can be wrong with it."""
    xp = problem.xp
    shape = (*problem.batch, problem.n_q, problem.dv)
    value = xp.zeros(
        shape, dtype=_arrays.dtype_of(problem.out_dtype, xp), device=_arrays.device(problem.q)
    )
    rows = np.zeros(shape[:-1])
    of_lse = rows if problem.wants_lse else None
    return Approximation(
        value=value,
        certificate=Certificate(rows=rows, target=SOFTMAX, theorem="ours.tanh", lse=of_lse),
        lse=xp.reshape(problem.q[..., :0], shape[:-1]) if problem.wants_lse else None,
    )
