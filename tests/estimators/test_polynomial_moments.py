"""Certificates from moments (T5) against extended precision: outputs and gradients of
`Polynomial`, where weights may be negative, scores huge or tiny, and keys hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import Problem, pose
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.exponential import one_sided, taylor
from approxattn.exponential.majorants import WIDEST
from approxattn.methods.polynomials.centring import CentredScores, centre_scores
from approxattn.methods.polynomials.crossing.gradient_certificate import (
    polynomial_gradient_bounds,
)
from approxattn.methods.polynomials.forward import Forward, forward
from approxattn.methods.polynomials.moment_error import BY_DIFFERENCE, degrees_summed

WIDE = np.longdouble


@dataclass(frozen=True, kw_only=True)
class Example:
    """A problem with a leading axis of heads, and its cotangent."""

    q: HostArray
    k: HostArray
    v: HostArray
    dout: HostArray
    causal: bool
    key_mask: HostArray | None

    @property
    def options(self) -> dict[str, Any]:
        hidden = {} if self.key_mask is None else {"key_mask": self.key_mask}
        return {"scale": 1.0, "causal": self.causal, **hidden}


def example(seed: int, dtype: str, largest: float, kind: str = "normal") -> Example:
    """Heads with a largest centred score of about `largest`, of one kind of data."""
    rng = np.random.default_rng(seed)
    heads, n, d, dv = 6, int(rng.integers(1, 14)), int(rng.integers(1, 5)), 2
    n_q = n if seed % 3 == 0 else int(rng.integers(1, 8))
    q, k = rng.normal(size=(heads, n_q, d)), rng.normal(size=(heads, n, d))
    v = rng.normal(size=(heads, n, dv))
    if kind == "ties":
        q, k, v = np.round(q), np.round(k), np.sign(v)
    elif kind == "offset":
        q, k, v = q / 5 + 3, k + 50, v + 100
    elif kind == "one heavy key":
        k[:, 0] *= 12
    elif kind == "one side":  # all scores negative: where one-sided polynomials turn negative
        q, k, v = np.abs(q), -np.abs(k) + 0 * k.mean(), np.sign(v)
    centred = k - k.mean(axis=-2, keepdims=True)
    top = np.max(np.abs(q @ np.swapaxes(centred, -1, -2)), axis=(-2, -1), keepdims=True)
    k = k * largest / np.where(top > 0, top, 1.0)
    mask = None
    if seed % 2:
        mask = rng.random((heads, n)) < 0.7
        mask[:, 0] = True
    q, k, v, dout = (x.astype(dtype) for x in (q, k, v, rng.normal(size=(heads, n_q, dv))))
    return Example(q=q, k=k, v=v, dout=dout, causal=seed % 3 == 0, key_mask=mask)


def truth(e: Example) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """Output, dq, dk, dv in extended precision."""
    q, k, v, g = (x.astype(WIDE) for x in (e.q, e.k, e.v, e.dout))
    scores = q @ np.swapaxes(k, -1, -2)
    seen = np.ones(scores.shape, bool)
    if e.key_mask is not None:
        seen = seen & e.key_mask[..., None, :]
        v = np.where(e.key_mask[..., None], v, 0)
    if e.causal:
        seen = seen & np.tril(np.ones(scores.shape[-2:], bool))
    top = np.max(np.where(seen, scores, -np.inf), axis=-1, keepdims=True)
    weights = np.where(seen, np.exp(np.where(seen, scores - top, 0)), 0)
    f = weights / weights.sum(axis=-1, keepdims=True)
    z = g @ np.swapaxes(v, -1, -2)
    p = f * (z - np.sum(f * z, axis=-1, keepdims=True))
    transposed = np.swapaxes(p, -1, -2)
    return f @ v, p @ k, transposed @ q, np.swapaxes(f, -1, -2) @ g


def noise(e: Example) -> tuple[Any, Any, Any, Any]:
    """What extended precision itself may be off by, for output, dq, dk, dv; a head a number."""
    q, k, v, g = (np.max(np.abs(x), axis=(-2, -1)).astype(float) for x in (e.q, e.k, e.v, e.dout))
    d, dv, n_q = e.q.shape[-1], e.v.shape[-1], e.q.shape[-2]
    unit = 1e-18 * (1 + d * q * k)[:, None]
    pair = (8 * dv * g * v)[:, None]
    columns = (x[:, None] for x in (q, k, v, g))
    q, k, v, g = columns
    return unit * v, unit * pair * k, unit * pair * q * n_q, unit * g * n_q


def excess(bound: HostArray, got: HostArray, want: HostArray, off: Any) -> float:
    """Largest error over bound; what extended precision does not know is not counted."""
    error = np.max(np.abs(got.astype(WIDE) - want), axis=-1) - off
    with np.errstate(invalid="ignore"):
        ratio = np.where(error > 0, error / np.maximum(bound, 5e-324), 0)
    return float(np.max(np.where(np.isinf(bound), 0, ratio), initial=0))


def all_excesses(e: Example, method: aa.Polynomial) -> list[float]:
    """Of the output and of dq, dk, dv."""
    want, off = truth(e), noise(e)
    out = aa.attention(e.q, e.k, e.v, method, **e.options)
    found = aa.attention_vjp(e.q, e.k, e.v, e.dout, method, **e.options)
    bounds = (out.certificate.rows, *(getattr(found.certificate, x) for x in ("dq", "dk", "dv")))
    got = (out.value, found.dq, found.dk, found.dv)
    return [excess(*four) for four in zip(bounds, got, want, off, strict=True)]


METHODS = [
    *(aa.Polynomial(degree=g, basis="taylor") for g in (2, 4, 8)),
    *(aa.Polynomial(degree=g, basis="one-sided") for g in (1, 2, 5, 8)),
    aa.Polynomial(degree=4, basis="taylor", gradient="plug-in", centre="keys"),
    aa.Polynomial(degree=3, basis="one-sided", gradient="plug-in", centre="none"),
    aa.Polynomial(degree=6, basis="one-sided", centre="none"),
]


def name_of(method: aa.Polynomial) -> str:
    return f"{method.basis}-{method.degree}-{method.gradient}-{method.centre}"


KINDS = ("normal", "ties", "offset", "one heavy key", "one side")
LARGEST = (1e-9, 0.05, 1.0, 4.0, 12.0, 30.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_no_error_is_above_its_certificate(method: aa.Polynomial, kind: str) -> None:
    turn = METHODS.index(method) + KINDS.index(kind)
    for seed, largest in list(enumerate(LARGEST))[turn % 2 :: 2]:
        dtype = ("float32", "float64")[(turn // 2 + seed // 2) % 2]
        e = example(seed, dtype, largest, kind)
        if method.basis == "one-sided" and float(np.max(centred(e, method).bound)) > WIDEST:
            with pytest.raises(ValueError, match="one-sided"):
                all_excesses(e, method)
            continue
        found = all_excesses(e, method)
        assert max(found) <= 1, (found, seed, largest)


def test_the_certificates_are_not_idle() -> None:
    """Error over bound comes near 1 somewhere, for the output and for dv."""
    near = np.zeros(4)
    for seed in range(12):
        e = example(seed, "float64", 1.0, "ties")
        near = np.maximum(near, all_excesses(e, aa.Polynomial(degree=2, basis="taylor")))
    assert near[0] > 0.05
    assert near[3] > 0.05


@pytest.mark.parametrize("degree", range(1, 8))
@pytest.mark.parametrize("centre", ["none", "keys", "both"])
def test_negative_weights_do_not_escape(degree: int, centre: str) -> None:
    """Where P < 0 for some keys, outputs leave the range of the values: no total variation is
    at most 1 there, no weight at least 0.
    """
    rng, method = (
        np.random.default_rng(degree),
        aa.Polynomial(degree=degree, basis="one-sided", centre=centre),
    )
    outside = 0
    for b in (2.0, 4.0, 8.0, 16.0) * (12 if centre == "none" and degree == 4 else 4):
        n = int(rng.integers(2, 8))
        q, k = np.array([[[b], [b / 3]]]), -rng.uniform(0, 1, (1, n, 1))
        k[:, 0] = -1
        v, dout = rng.choice([-1.0, 1.0], (1, n, 1)), rng.uniform(-0.1, 0.1, (1, 2, 1))
        e = Example(q=q, k=k, v=v, dout=dout, causal=False, key_mask=None)
        assert max(all_excesses(e, method)) <= 1
        out = aa.attention(q, k, v, method, scale=1.0).value
        outside += int(np.max(np.abs(out)) > 1)
    assert outside or centre != "none" or degree > 5  # the case is met


def centred(e: Example, method: aa.Polynomial) -> CentredScores:
    return centre_scores(problem_of(e), method.centre)


def run_of(e: Example, degree: int) -> Forward:
    problem = problem_of(e)
    scores = centre_scores(problem)
    return forward(problem, scores, taylor(degree))


def problem_of(e: Example) -> Problem:
    return pose(e.q, e.k, e.v, causal=e.causal, scale=1.0, key_mask=e.key_mask)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gradient", ["consistent", "plug-in"])
def test_no_bound_is_above_that_from_the_range(kind: str, gradient: str) -> None:
    for seed, largest in enumerate(LARGEST):
        e = example(seed, "float64", largest, kind)
        for degree in ((2, 6), (4,))[seed % 2]:
            new = run_of(e, degree)
            old = replace(new, parts=None)
            assert np.all(np.isinf(old.mu))
            assert np.all(new.tv <= tv_from_log_ratio(new.log_ratio))
            both = (polynomial_gradient_bounds(run, e.dout, gradient) for run in (new, old))
            for after, before in zip(*both, strict=True):
                assert np.all(after <= before * (1 + 1e-12))


def test_the_bound_from_moments_is_far_below_that_from_the_range() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.uniform(-1, 1, (3, 1, 400, 8))
    e = Example(q=q / np.sqrt(8), k=k, v=v, dout=v, causal=False, key_mask=None)
    run = run_of(e, 8)
    assert np.median(run.mu) < np.median(tv_from_log_ratio(run.log_ratio)) / 50
    scores = centre_scores(problem_of(e))
    s = scores.queries @ np.swapaxes(scores.keys, -1, -2)
    w = np.ones_like(s) if scores.weights is None else np.swapaxes(scores.weights, -1, -2)
    off = np.sum(
        w * np.abs(np.polynomial.polynomial.polyval(s, run.polynomial.coefficients) - np.exp(s)), -1
    )
    assert np.all(run.mu * run.host_denominator >= off * (1 - 1e-6))
    assert np.median(run.mu * run.host_denominator / off) < 20


@pytest.mark.parametrize("basis", ["taylor", "one-sided"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_degenerate_problems_have_true_certificates(basis: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=(1, 5, 2))
    shapes = {
        "one key": (base, base[:, :1], base[:, :1]),
        "equal keys": (base, np.repeat(base[:, :1], 5, axis=1), base),
        "keys of zeros": (base, 0 * base, base),
        "queries of zeros": (0 * base, base, base),
        "equal values": (base, base, np.ones_like(base)),
        "values of zeros": (base, base, 0 * base),
        "opposite keys": (
            base,
            np.concatenate([base, -base], axis=1),
            np.concatenate([base] * 2, 1),
        ),
        "huge queries, tiny keys": (1e12 * base, 1e-12 * base, base),
        "subnormal scores": (1e-30 * base, 1e-12 * base, base),
    }
    for name, (q, k, v) in shapes.items():
        q, k, v = (x.astype(dtype) for x in (q, k, v))
        dout = np.ones((1, q.shape[1], v.shape[2]), dtype)
        e = Example(q=q, k=k, v=v, dout=dout, causal=False, key_mask=None)
        for degree in (2, 4):
            found = all_excesses(e, aa.Polynomial(degree=degree, basis=basis))
            assert max(found) <= 1, (name, found)


@pytest.mark.parametrize("basis", ["taylor", "one-sided"])
@pytest.mark.parametrize("tolerance", [0.1, 1e-3])
def test_a_tolerance_is_kept_below_the_degree_of_the_range(basis: str, tolerance: float) -> None:
    method = aa.Polynomial(tolerance=tolerance, basis=basis, fallback=False)
    for seed, largest in enumerate((0.1, 0.5, 1.0, 2.0)):
        e = example(seed, "float64", largest)
        result = aa.attention(e.q, e.k, e.v, method, **e.options)
        v = e.v if e.key_mask is None else np.where(e.key_mask[..., None], e.v, np.nan)
        width = np.nanmax(v, axis=-2) - np.nanmin(v, axis=-2)
        error = np.max(np.abs(result.value - truth(e)[0]), axis=-2)
        assert np.all(error <= tolerance * width + 1e-15)
        assert excess(result.certificate.rows, result.value, truth(e)[0], noise(e)[0]) <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("degree", [2, 3])
def test_the_last_part_is_what_the_others_leave(degree: int, dtype: str) -> None:
    """It is within its own error of the exact part, which is far below the bound it serves."""
    for seed, largest in enumerate((1e-3, 1.0, 4.0)):
        e = example(seed, dtype, largest, "ties" if seed else "normal")
        problem = problem_of(e)
        scores = centre_scores(problem)
        run = forward(problem, scores, one_sided(degree, float(np.max(scores.bound)), 0.5))
        parts = run.host_parts
        assert parts is not None
        assert run.parts is not None
        assert run.parts.shape[-1] == degree - 1
        queries, keys = (x.astype(WIDE) for x in (run.queries, run.keys))
        s = queries @ np.swapaxes(keys, -1, -2)
        w = np.broadcast_to(np.swapaxes(run.values[..., -1:], -1, -2).astype(WIDE), s.shape)
        w = np.tril(w) if e.causal else w
        exact = run.polynomial.coefficients[-1] * np.sum(w * s**degree, axis=-1)
        error = np.abs(parts.found[..., -1] - exact).astype(float)
        fine = ~np.isnan(error)  # a denominator lost to rounding leaves nothing
        assert np.any(fine)
        assert parts.of_last is not None
        assert np.all(error[fine] <= parts.of_last[fine])


@pytest.mark.parametrize("basis", ["taylor", "one-sided"])
def test_degrees_of_the_parts_summed(basis: str) -> None:
    for degree in (2, 3, 4):
        if basis == "taylor" and degree % 2:
            continue
        p = taylor(degree) if basis == "taylor" else one_sided(degree, 2.0, 0.5)
        assert p.moments is not None
        whole = basis == "one-sided" and degree <= BY_DIFFERENCE
        assert degrees_summed(p) == (p.moments.degrees[:-1] if whole else p.moments.degrees)
