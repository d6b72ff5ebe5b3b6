"""Queries, keys, values and cotangents of extreme sizes, each by itself: no bound below the error,
no crash, no warning.

Steps of the check.

1. Let q, k, v, G have moderate entries and let a, b, c, e be integers. Scores depend on q and k
   through their products only. So q 2^a, k 2^b has the weights of q 2^h, k 2^(a + b - h), for
   every h.
2. The output is linear in v, the gradients are linear in v and in G. Hence powers of two turn the
   output and the gradients of the balanced problem into those of the extreme one: the output times
   2^c; dq times 2^(b - (a + b - h) + c + e); dk times 2^(a - h + c + e); dv times 2^e.
3. Methods that see directions only do not care for h at all: dq times 2^(h - a + c + e), and alike
   for dk.
4. Codes depend on signs, which powers of two leave alone: both problems draw the same pairs.
5. The balanced problem has a certificate too. Errors are then at most the sum of the two bounds.
   Long doubles hold all powers of two that occur.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import HostArray

SURE = 1 - 1e-9
METHODS: dict[str, Any] = {
    "mean-pool": aa.Linformer(rank=3, sketch="mean-pool"),
    "max-pool": aa.Linformer(rank=3, sketch="max-pool"),
    "row-sample": aa.Linformer(rank=40, sketch="row-sample", confidence=SURE),
    "gaussian": aa.Linformer(rank=4),
    "kernel": aa.Linformer(kernel=(0.5, 0.25, 0.25)),
    "fitted": aa.FittedLinformer(rank=3, rows=4, ridge=1e-2),
    "nystrom": aa.Nystrom(landmarks=3),
    "nystrom-cut": aa.Nystrom(landmarks=4, rcond=0.0),
    "clustered": aa.Clustered(heavy=2, key_blocks=2, query_blocks=2),
    "performer": aa.Performer(features=8, confidence=SURE),
    "yoso": aa.Yoso(bits=4, hashes=16),
    "yoso-bernstein": aa.Yoso(bits=2, hashes=60, bound="bernstein"),
    "yoso-unit": aa.Yoso(bits=3, hashes=9, normalize=True),
    "yoso-sampled": aa.Yoso(bits=2, hashes=9, gradient="sampled"),
    "yoso-sampled-unit": aa.Yoso(bits=2, hashes=9, gradient="sampled", normalize=True),
    "yoso-expectation": aa.YosoExpectation(bits=8),
    "yoso-expectation-unit": aa.YosoExpectation(bits=3, normalize=True),
    "yoso-surrogate": aa.YosoExpectation(bits=3, gradient="surrogate"),
    "bert-lsh": aa.BertLSH(),
    "bert-lsh-paper": aa.BertLSH(fidelity="paper-code"),
    "bert-lsh-only": aa.BertLSH(bits=3, tables=2, fill=-math.inf),
    "bert-lsh-sparse": aa.BertLSH(bits=3, tables=2, fill=-math.inf, sparse=True),
    "bert-lsh-sparse-filled": aa.BertLSH(sparse=True),
    "lsh-softmax": aa.LSHSoftmax(bits=2, tables=3),
    "lsh-softmax-ball": aa.LSHSoftmax(bits=3, radius=1, tables=2),
}
CERTIFIED_GRADIENTS = tuple(name for name in METHODS if name.startswith(("yoso", "bert", "lsh")))
PROBLEMS = 40


class Problem(NamedTuple):
    """Moderate arrays, the exponents of the extreme problem and the options of the call."""

    arrays: tuple[HostArray, HostArray, HostArray, HostArray]
    exponents: tuple[int, int, int, int]
    options: dict[str, Any]

    def scaled(self, *exponents: int) -> list[HostArray]:
        """Return the arrays times powers of two, in their own dtype."""
        with np.errstate(under="ignore", over="ignore"):
            return [np.ldexp(x, e) for x, e in zip(self.arrays, exponents, strict=True)]


def draw(seed: int, *, causal: bool) -> Problem:
    """Draw sizes, dtype, masks and exponents; the scores are moderate or nearly nothing."""
    rng = np.random.default_rng(seed)
    dtype = ("float32", "float64")[seed % 2]
    reach = 110 if dtype == "float32" else 960
    batch = ((), (2,), (2, 1))[rng.integers(3)]
    n, d, dv = rng.integers(2, 9), rng.integers(1, 4), rng.integers(1, 4)
    arrays = [rng.standard_normal((*batch, n, m)).astype(dtype) for m in (d, d, dv, dv)]
    a = int(rng.integers(-reach, reach + 1))
    b = -a if rng.random() < 0.7 else max(-a - int(rng.integers(0, 60)), -reach)
    c, e = (int(x) for x in rng.integers(-reach, reach + 1, 2))
    if rng.random() < 0.5:
        c = 0
    if rng.random() < 0.5:
        e = 0
    options: dict[str, Any] = {"causal": True} if causal else {}
    if rng.random() < 0.4:
        mask = rng.random((*batch, n)) < 0.7
        mask[..., 0] = True
        options["key_mask"] = mask
    q, k, v, g = arrays
    return Problem((q, k, v, g), (a, b, c, e), options)


def balanced(problem: Problem) -> tuple[int, int]:
    """Return exponents of q and k with the same sum, as equal as can be."""
    a, b = problem.exponents[:2]
    return (a + b) // 2, a + b - (a + b) // 2


def call(method: Any, arrays: list[HostArray], options: dict[str, Any], *, vjp: bool) -> Any:
    """Return the result, None where the method refuses with a remedy; every warning is an error."""
    verb: Any = aa.attention_vjp if vjp else aa.attention
    given = arrays if vjp else arrays[:3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return verb(*given, method, rng=np.random.default_rng(3), **options)
        except ValueError as refusal:
            if "could overflow" not in str(refusal):
                raise
            return None


def off(value: HostArray, wanted: HostArray, exponent: int) -> HostArray:
    """Return the largest distance of each row of `value` to `wanted` times a power of two."""
    truth = np.ldexp(wanted.astype(np.longdouble), exponent)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.max(np.abs(value.astype(np.longdouble) - truth), axis=-1))


def holds(
    what: str, value: HostArray, bound: HostArray, ref: HostArray, ref_bound: HostArray, power: int
) -> int:
    """Check one array against the balanced one; return how many rows had a bound."""
    known = np.isfinite(bound) & np.isfinite(ref_bound)
    assert np.isfinite(value[known]).all(), f"{what}: a row with a bound is not finite"
    allowed = bound + np.ldexp(ref_bound.astype(np.longdouble), power)
    error = off(value, ref, power)
    assert (error[known] <= allowed[known]).all(), (what, error[known], allowed[known])
    return int(known.sum())


@pytest.mark.parametrize("name", METHODS)
def test_outputs(name: str) -> None:
    method, known = METHODS[name], 0
    for seed in range(PROBLEMS):
        causal = seed % 3 == 0 and not method.why_not_causal and name != "bert-lsh-paper"
        problem = draw(seed, causal=causal)
        c = problem.exponents[2]
        out = call(method, problem.scaled(*problem.exponents), problem.options, vjp=False)
        ref = call(method, problem.scaled(*balanced(problem), 0, 0), problem.options, vjp=False)
        if out is None or ref is None:
            continue
        rows, bounds = out.certificate.rows, ref.certificate.rows
        assert np.isfinite(rows).all() or out.certificate.unmet, "no bound and no reason"
        if name != "performer":  # its output depends on the lengths, not on the products alone
            known += holds("output", out.value, rows, ref.value, bounds, 0 if "unit" in name else c)
        if "yoso" not in name:
            exact = call(
                aa.Exact(), problem.scaled(*balanced(problem), 0, 0), problem.options, vjp=False
            )
            holds("softmax", out.value, rows, exact.value, exact.certificate.rows, c)
    assert known or name in ("gaussian", "kernel", "performer")


@pytest.mark.parametrize("name", METHODS)
def test_gradients(name: str) -> None:
    method, known = METHODS[name], 0
    for seed in range(PROBLEMS):
        causal = seed % 3 == 0 and not method.why_not_causal and name != "bert-lsh-paper"
        problem = draw(1000 + seed, causal=causal)
        a, b, c, e = problem.exponents
        h, i = balanced(problem)
        out = call(method, problem.scaled(a, b, c, e), problem.options, vjp=True)
        ref = call(method, problem.scaled(h, i, 0, 0), problem.options, vjp=True)
        if out is None or ref is None:
            continue
        bounds, near = out.certificate, ref.certificate
        if not all(np.isfinite(x).all() for x in (bounds.dq, bounds.dk, bounds.dv)):
            assert bounds.unmet, "no bound and no reason"
        both = e if "unit" in name else c + e
        powers = (h - a + both, i - b + both) if "yoso" in name else (b - i + both, a - h + both)
        for what, power in zip(
            ("dq", "dk", "dv"), (*powers, e - c if "unit" in name else e), strict=True
        ):
            rows = (getattr(x, what) for x in (out, bounds, ref, near))
            value, bound, wanted, allowed = rows
            known += holds(what, value, bound, wanted, allowed, power)
        if name == "mean-pool":
            exact = call(aa.Exact(), problem.scaled(h, i, 0, 0), problem.options, vjp=True)
            for what, power in zip(("dq", "dk", "dv"), (*powers, e), strict=True):
                args = getattr(exact, what), getattr(exact.certificate, what), power
                holds(what, getattr(out, what), getattr(bounds, what), *args)
    assert known or name not in (*CERTIFIED_GRADIENTS, "mean-pool")


@pytest.mark.parametrize("garbage", [math.nan, -math.inf, 1e37, 0.0])
@pytest.mark.parametrize("name", METHODS)
def test_what_stands_behind_the_mask_is_never_read(name: str, garbage: float) -> None:
    """Same bits, bounds included."""
    method = METHODS[name]
    q, k, v, g = np.random.default_rng(5).standard_normal((4, 2, 7, 3)).astype("float32")
    mask = np.array([[True, False, True, True, False, True, True], [True] * 6 + [False]])
    other = [np.where(mask[..., None], x, np.float32(garbage)) for x in (k, v)]
    causal = not method.why_not_causal and name != "bert-lsh-paper"
    for options in ({}, {"causal": True}) if causal else ({},):
        given = {"key_mask": mask, **options}
        for vjp in (False, True):
            first, second = (call(method, [q, *kv, g], given, vjp=vjp) for kv in ((k, v), other))
            assert first is not None
            assert second is not None, "refused for what nobody may see"
            for what in ("dq", "dk", "dv") if vjp else ("value",):
                np.testing.assert_array_equal(getattr(first, what), getattr(second, what))
            for what in ("dq", "dk", "dv") if vjp else ("rows",):
                np.testing.assert_array_equal(
                    getattr(first.certificate, what), getattr(second.certificate, what)
                )
