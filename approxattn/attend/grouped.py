"""Heads that share keys, taken as one head with all their queries: what is made of keys is made
once a group.

Symbols. G heads of n queries each share n_k keys; head g, query i becomes row g n + i.

1. Rows do not depend on each other but through what a method chooses from all queries, such as a
   mean: it then chooses for the group.
2. Under causal order the row sees the keys that query i sees: `Problem.heads` says that there are G
   runs of queries.
3. Gradients with respect to keys and values are sums over the heads already, as the caller wants
   them: they are handed on as those of the first head, and 0 for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.certificate import Approximation, Certificate, GradientCertificate, Gradients


def folds(method: Any, problem: Problem) -> bool:
    """Return whether the heads of a problem share keys, and the method takes them as one."""
    way = "folds_causal_heads" if problem.causal else "folds_heads"
    return problem.group > 1 and bool(getattr(method, way, False))


def folded(problem: Problem) -> Problem:
    """Return the problem of one head a group."""
    mask = problem.key_mask
    return replace(
        problem,
        q=as_rows(problem.q, problem),
        k=problem.k[..., 0, :, :],
        v=problem.v[..., 0, :, :],
        key_mask=None if mask is None else mask[..., 0, :],
        group=1,
        heads=problem.group if problem.causal else 1,
    )


def as_rows(x: Array, problem: Problem) -> Array:
    """Return an array of queries, shape (..., G, n, w) -> (..., G n, w)."""
    rows = problem.group * problem.n_q
    return problem.xp.reshape(x, (*problem.batch[:-1], rows, x.shape[-1]))


def unfolded(result: Approximation, problem: Problem) -> Approximation:
    """Return the result for the heads of `problem`, from that of the one."""
    shape, lse = (*problem.batch, problem.n_q), result.lse
    return replace(
        result,
        value=problem.xp.reshape(result.value, (*shape, result.value.shape[-1])),
        certificate=result.certificate.then(_of_heads, shape),
        lse=None if lse is None else problem.xp.reshape(lse, shape),
    )


def _of_heads(certificate: Certificate, shape: tuple[int, ...]) -> Certificate:
    """Return the certificate for rows of shape (..., G, n)."""
    of_lse = certificate.lse
    return replace(
        certificate,
        rows=np.reshape(certificate.rows, shape),
        facts=_facts(certificate.facts, shape),
        promised=_repeated(certificate.promised, shape),
        lse=None if of_lse is None else np.reshape(of_lse, shape),
    )


def unfolded_gradients(result: Gradients, problem: Problem) -> Gradients:
    """Return the gradients for the heads of `problem`, from those of the one."""
    xp, group = problem.xp, problem.group
    return replace(
        result,
        dq=xp.reshape(result.dq, problem.q.shape),
        dk=_first(result.dk, group, xp),
        dv=_first(result.dv, group, xp),
        certificate=result.certificate.then(_gradients_of_heads, (*problem.batch, problem.n_q)),
    )


def _gradients_of_heads(
    certificate: GradientCertificate, shape: tuple[int, ...]
) -> GradientCertificate:
    """Return the certificate for queries of shape (..., G, n)."""
    dk, dv = (_first(x[..., None], shape[-2], np)[..., 0] for x in (certificate.dk, certificate.dv))
    facts = _facts(certificate.facts, shape)
    return replace(certificate, dq=np.reshape(certificate.dq, shape), dk=dk, dv=dv, facts=facts)


def _first(x: Array, group: int, xp: Any) -> Array:
    """Return x, shape (..., n, w), for the first head and 0 for the others."""
    rest = xp.zeros_like(x)
    return xp.stack([x, *[rest] * (group - 1)], axis=-3)


def _facts(facts: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Return facts of rows and of leading indices as those of the heads, rows (..., G, n)."""
    *lead, group, n_q = shape
    rows = (*lead, group * n_q)
    shaped = {}
    for name, fact in facts.items():
        shaped[name] = fact
        if isinstance(fact, np.ndarray) and fact.shape == rows:
            shaped[name] = fact.reshape(shape)
        elif isinstance(fact, np.ndarray) and fact.shape == rows[:-1]:
            shaped[name] = _repeated(fact, shape)
    return shaped


def _repeated(x: HostArray | None, shape: tuple[int, ...]) -> HostArray | None:
    return None if x is None else np.broadcast_to(x[..., None], shape[:-1])
