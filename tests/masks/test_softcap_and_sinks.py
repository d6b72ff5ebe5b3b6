"""Soft caps and sinks: outputs, gradients, audits and certificates under any masks and at any
scale.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from masked_attention import EXTENDED, Masked, gradient, masked_problems, output, weights

import approxattn as aa

EXACT = aa.Exact()
Q, K, V = np.random.default_rng(0).normal(size=(3, 2, 5, 4))


@st.composite
def cases(draw):
    """Return a masked problem, what kind of softmax it asks for, and a cotangent."""
    problem = draw(masked_problems(dtype=draw(st.sampled_from([np.float64, np.float32]))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind: dict = {}
    if draw(st.booleans()):
        kind["softcap"] = draw(st.sampled_from([1e-3, 0.7, 3.0, 50.0, 1e6]))
    if "softcap" not in kind or draw(st.booleans()):
        lead = draw(st.sampled_from([(), problem.batch, problem.batch[-1:]]))
        kind["sinks"] = rng.normal(size=lead) * draw(st.sampled_from([0.0, 1.0, 30.0]))
    shape = (*problem.batch, problem.q.shape[-2], problem.v.shape[-1])
    return problem, kind, rng.normal(size=shape).astype(problem.q.dtype)


def truth(problem: Masked, kind, g):
    given = problem.q, problem.k, problem.v
    rest = problem.see, problem.scale, problem.bias
    return [output(*given, *rest, **kind), *gradient(*given, g, *rest, **kind)]


@given(cases())
def test_no_error_above_its_certificate(case) -> None:
    problem, kind, g = case
    given = problem.q, problem.k, problem.v
    out = aa.attention(*given, EXACT, **problem.options, **kind)
    grads = aa.attention_vjp(*given, g, EXACT, **problem.options, **kind)
    found = [out.value, grads.dq, grads.dk, grads.dv]
    of = grads.certificate
    bounds = [out.certificate.rows, of.dq, of.dk, of.dv]
    for a, exact, bound in zip(found, truth(problem, kind, g), bounds, strict=True):
        assert np.all(np.abs(a - exact).max(-1) <= bound)


@given(cases())
def test_the_gradient_of_sinks(case) -> None:
    problem, kind, g = case
    if "sinks" not in kind:
        return
    given = problem.q, problem.k, problem.v
    grads = aa.attention_vjp(*given, g, EXACT, **problem.options, **kind)
    f = weights(problem.q, problem.k, problem.see, problem.scale, problem.bias, **kind)
    of_sink = np.where(problem.see.any(-1), 1 - f.sum(-1), 0)
    exact = -(of_sink * (g * (f @ problem.v.astype(EXTENDED))).sum(-1)).sum(-1)
    missing = exact.ndim - kind["sinks"].ndim
    exact = exact.sum(tuple(range(missing))) if missing else exact
    size = 1e-12 if problem.q.dtype == np.float64 else 1e-3
    assert isinstance(grads.parameters["sinks"], np.ndarray)
    assert grads.parameters["sinks"].dtype == kind["sinks"].dtype
    np.testing.assert_allclose(
        grads.parameters["sinks"], exact.astype(float), atol=size * (1 + abs(problem.v).max()) * 50
    )


@given(cases())
def test_audit_recomputes_them(case) -> None:
    """What it says an output errs by is at least what it errs by, and not much more."""
    problem, kind, g = case
    exact = truth(problem, kind, g)[0]
    given = problem.q, problem.k, problem.v
    value = exact.astype(problem.q.dtype)
    options = {**problem.options, **kind}
    report = aa.audit(value, *given, rows=10**6, rng=np.random.default_rng(0), **options)
    errors = np.abs(value - exact).max(-1).reshape(-1)
    assert np.all(report.errors >= errors)
    allowed = 1e-9 if problem.q.dtype == np.float64 else 1e-2
    assert np.all(report.errors <= errors + allowed)


@pytest.mark.parametrize("seed", range(5))
def test_audit_counts_the_rounding_of_a_bias_to_the_dtype_of_the_tokens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    zeros, v = np.zeros((40, 2), np.float32), rng.normal(size=(40, 3)).astype(np.float32)
    bias = 50_000 + rng.normal(size=(40, 40))
    exact = output(zeros, zeros, v, np.True_, 1.0, bias)
    value = exact.astype(float)
    report = aa.audit(value, zeros, zeros, v, rows=40, rng=np.random.default_rng(0), bias=bias)
    assert np.all(report.errors >= np.abs(value - exact).max(-1))
    other = aa.attention(zeros, zeros, v, EXACT, bias=bias.astype(np.float32)).value
    report = aa.audit(other, zeros, zeros, v, rows=40, rng=np.random.default_rng(0), bias=bias)
    assert np.all(report.errors >= np.abs(other - exact).max(-1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1e-30, 1.0, 100.0, 1e6])
@pytest.mark.parametrize("softcap", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("sink", [-1e30, 0.0, 1e4])
def test_at_all_scales(dtype, size: float, softcap: float, sink: float) -> None:
    rng = np.random.default_rng(3)
    q, k, v, g = (rng.normal(size=(7, 3)).astype(dtype) for _ in range(4))
    q, v = (q * size).astype(dtype), v + dtype(1e3)
    kind = {"softcap": softcap, "sinks": np.asarray(sink)}
    out = aa.attention(q, k, v, EXACT, **kind)
    grads = aa.attention_vjp(q, k, v, g, EXACT, **kind)
    of = grads.certificate
    found = [out.value, grads.dq, grads.dk, grads.dv]
    bounds = [out.certificate.rows, of.dq, of.dk, of.dv]
    exact = truth(Masked(q=q, k=k, v=v), kind, g)
    for a, x, bound in zip(found, exact, bounds, strict=True):
        assert np.all(np.abs(a - x).max(-1) <= bound)


@pytest.mark.parametrize("softcap", [1e-4, 1e-3, 2.0])
@pytest.mark.parametrize("seed", range(8))
def test_scores_that_cancel_below_the_cap(softcap: float, seed: int) -> None:
    """Products are 1,000 times the score and the cap: what rounds is their size, not the cap's. Few
    keys, so that sums add nothing to the bound that could cover it.
    """
    rng = np.random.default_rng(seed)
    q = np.tile(np.float32([1000, 1000]), (8, 1))
    a = rng.uniform(1, 2, 3).astype(np.float32)
    near = rng.normal(size=3) * softcap / 1000
    k = np.stack([a, (near - a).astype(np.float32)], axis=-1)
    v, g = (rng.normal(size=(n, 3)).astype(np.float32) for n in (3, 8))
    kind = {"softcap": softcap}
    out = aa.attention(q, k, v, EXACT, **kind)
    grads = aa.attention_vjp(q, k, v, g, EXACT, **kind)
    of = grads.certificate
    found = [out.value, grads.dq, grads.dk, grads.dv]
    bounds = [out.certificate.rows, of.dq, of.dk, of.dv]
    exact = truth(Masked(q=q, k=k, v=v), kind, g)
    for x, want, bound in zip(found, exact, bounds, strict=True):
        assert np.all(np.abs(x - want).max(-1) <= bound)


def test_over_many_blocks_of_keys() -> None:
    rng = np.random.default_rng(4)
    q, k, v = (rng.normal(size=(n, 8)) for n in (20, 2500, 2500))
    kind = {"softcap": 2.0, "sinks": np.asarray(6.0)}
    out = aa.attention(q, k, v, EXACT, **kind)
    exact = output(q, k, v, np.True_, 8**-0.5, **kind)
    error = np.abs(out.value - exact).max(-1)
    assert np.all(error <= out.certificate.rows)
    assert out.certificate.bound < 1e-11
    plain = aa.attention(q, k, v, EXACT).value
    assert np.abs(plain - out.value).max() > 0.01


def test_a_huge_cap_and_no_sink_are_nothing() -> None:
    plain = aa.attention(Q, K, V, EXACT).value
    capped = aa.attention(Q, K, V, EXACT, softcap=1e8, sinks=np.asarray(-1e3)).value
    np.testing.assert_allclose(capped, plain, rtol=1e-12)


REFUSED = [
    ({"softcap": 0.0}, ValueError, "softcap"),
    ({"softcap": np.inf}, ValueError, "softcap"),
    ({"softcap": "50"}, TypeError, "softcap"),
    ({"sinks": np.zeros(3)}, ValueError, r"sinks has shape \(3,\).*leading axes \(2,\)"),
    ({"sinks": np.zeros(2, int)}, TypeError, "sinks has dtype int64"),
    ({"sinks": np.array([0, np.nan])}, ValueError, "sinks must be finite"),
    ({"sinks": np.zeros(2), "return_lse": True}, ValueError, "each count the sink"),
]


@pytest.mark.parametrize(("options", "error", "words"), REFUSED)
def test_refusals(options, error, words) -> None:
    with pytest.raises(error, match=words):
        aa.attention(Q, K, V, EXACT, **options)


def test_other_methods_say_why_not() -> None:
    for options in ({"softcap": 5.0}, {"sinks": np.zeros(2)}):
        with pytest.raises(ValueError, match=r"with Polynomial: .* use Exact"):
            aa.attention(Q, K, V, aa.Polynomial(degree=2), **options)


def test_torch_trains_sinks() -> None:
    torch = pytest.importorskip("torch")
    q, k, v = (torch.from_numpy(x).requires_grad_() for x in (Q, K, V))
    sinks = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)

    def attend(*given):
        return aa.attention(*given[:3], EXACT, sinks=given[3], softcap=2.0).value

    assert torch.autograd.gradcheck(attend, (q, k, v, sinks))
