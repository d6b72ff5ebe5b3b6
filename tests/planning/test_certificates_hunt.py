"""Bounds of plans against exact attention: any heads, dtypes, scales, masks, items and checks."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn.planning.candidates import Candidate

METHODS = (
    aa.SelectedSummaries(heavy=2, recent=2, summaries=2, sinks=1, block=3),
    aa.SelectedSummaries(heavy=0, recent=4, summaries=0, block=4),
    aa.Polynomial(degree=4, basis="taylor"),
)


def heads(rng: np.random.Generator) -> tuple[Any, ...]:
    """Return q, k, v and a key mask or None, with items before the heads or not."""
    count, n, d = (int(rng.integers(1, high)) for high in (5, 24, 4))
    lead = (int(rng.integers(1, 3)),) if rng.random() < 0.5 else ()
    keys = count if rng.random() < 0.5 else 1
    dtype = rng.choice(["float16", "float32", "float64"])
    size, values = 10 ** rng.uniform(-4, 1.2), 10 ** rng.uniform(-3, 3)
    shapes = ((count, size), (keys, size), (keys, values))
    arrays = [(rng.normal(size=(*lead, h, n, d)) * s).astype(dtype) for h, s in shapes]
    for x in arrays:
        x.setflags(write=False)
    mask = rng.random((*lead, 1, n) if rng.random() < 0.5 else (n,)) < 0.8
    mask[..., 0] = True
    return *arrays, mask if rng.random() < 0.5 else None


def drawn_plan(q: Any, rng: np.random.Generator) -> aa.Plan:
    """Return a plan of any methods, whatever their errors are."""
    given = (q[0] if q.ndim == 4 else q,) * 3
    settings = {"relative_error": float(rng.uniform(0.01, 0.5)), "order": "cost"}
    made = aa.plan(*given, rng=rng, candidates=METHODS, causal=bool(rng.random() < 0.5), **settings)
    chosen = [int(rng.integers(-1, len(METHODS))) for _ in made.heads]
    return replace(
        made,
        candidates=tuple(Candidate(method=m, seconds=1.0, cost=0.5) for m in METHODS),
        heads=tuple(
            aa.HeadPlan.exact("drawn")
            if number < 0
            else aa.HeadPlan(method=METHODS[number], candidate=number)
            for number in chosen
        ),
    )


@pytest.mark.parametrize("seed", range(60))
def test_no_bound_is_too_small(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, v, mask = heads(rng)
    plan = drawn_plan(q, rng)
    rows = int(rng.integers(1, 50)) if rng.random() < 0.6 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", aa.PlanWarning)
        out = plan.attention(q, k, v, key_mask=mask, audit=rows, rng=rng)
    wide = (x.astype("float64") for x in (q, k, v))
    exact = aa.attention(*wide, aa.Exact(), causal=plan.causal, key_mask=mask)
    assert (out.value.shape, out.value.dtype) == (exact.value.shape, q.dtype)
    gaps = abs(out.value.astype("float64") - exact.value).max(-1)
    assert (gaps <= out.certificate.rows + exact.certificate.rows).all()
    assert all(c.error <= plan.relative_error or c.method == "Exact()" for c in out.checks)
