"""Plans on the arrays of any library, in torch's graph, and what certificates of heads say
together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from known_errors import smooth
from namespaces import LIBRARIES, Library

import approxattn as aa

WINDOW = aa.SelectedSummaries(heavy=0, recent=16, summaries=2)


def made(arrays: tuple, *methods: object, **options: object) -> aa.Plan:
    settings = {"relative_error": 0.1, "causal": True, "order": "cost"}
    rng = np.random.default_rng(0)
    return aa.plan(*arrays, rng=rng, candidates=methods or [WINDOW], **(settings | options))


@pytest.mark.parametrize("library", [x for x in LIBRARIES if x.name != "jax"], ids=str)
def test_in_any_library(library: Library) -> None:
    host = smooth(2, 200, 4)
    arrays = tuple(map(library.put, host))
    found = made(arrays)
    for own, same in zip(found.heads, made(host).heads, strict=True):
        assert own.method == same.method
        assert own.errors == pytest.approx(same.errors, rel=1e-9)
    mixed = replace(found, heads=(found.heads[0], found.wider(found.heads[1], exact=True)))
    out = mixed.attention(*arrays, audit=20, rng=np.random.default_rng(1))
    wanted = mixed.attention(*host, audit=20, rng=np.random.default_rng(1))
    assert library.owns(out.value)
    np.testing.assert_allclose(library.get(out.value), wanted.value, rtol=1e-10)
    np.testing.assert_allclose(out.certificate.rows, wanted.certificate.rows, rtol=1e-6)
    assert [c.error for c in out.checks] == pytest.approx(
        [c.error for c in wanted.checks], abs=1e-9
    )


def test_gradients_of_torch_pass_through_all_heads() -> None:
    torch = pytest.importorskip("torch")
    host = smooth(2, 100, 4)
    q, k, v = (torch.tensor(x, requires_grad=True) for x in host)
    found = made((q, k, v))
    mixed = replace(found, heads=(found.heads[0], found.wider(found.heads[1], exact=True)))
    mixed.attention(q, k, v, audit=5, rng=np.random.default_rng(0)).value.sum().backward()
    for number, head in enumerate(mixed.heads):
        dout = np.ones((100, 4))
        own = [x[number] for x in host]
        grads = aa.attention_vjp(*own, dout, head.method, causal=True)
        np.testing.assert_allclose(q.grad[number].numpy(), grads.dq, atol=1e-12)
        np.testing.assert_allclose(v.grad[number].numpy(), grads.dv, atol=1e-12)


def test_promises_and_reasons_of_a_head_are_kept() -> None:
    """One head by a method that promises a tolerance, another by one that does not."""
    arrays = smooth(3, 60, 2)
    promise = aa.Polynomial(tolerance=1e-3)
    found = made(arrays, causal=False)
    heads = [
        replace(h, method=m, candidate=0)
        for h, m in zip(found.heads, (WINDOW, promise, WINDOW), strict=True)
    ]
    out = replace(found, heads=tuple(heads)).attention(*arrays)
    alone = aa.attention(*(x[1] for x in arrays), promise)
    np.testing.assert_allclose(
        out.certificate.promised, [np.inf, alone.certificate.promised, np.inf]
    )
    assert any(name.startswith("Polynomial(tolerance=0.001): ") for name in out.certificate.facts)
    assert alone.certificate.theorem in out.certificate.theorem
    # every head by the promise: it stays a promise, in the plan's own shape
    heads = [replace(h, method=promise, candidate=0) for h in found.heads]
    grid = replace(found, shape=(3, 1), heads=tuple(heads))
    whole = grid.attention(*(x[:, None] for x in arrays))
    assert whole.certificate.promised.shape == whole.certificate.bound.shape == (3, 1)


def test_without_certificates() -> None:
    arrays = smooth(2, 100, 4)
    out = made(arrays).attention(*arrays, certify=False)
    assert np.isinf(out.certificate.rows).all()
    with_them = made(arrays).attention(*arrays)
    np.testing.assert_array_equal(out.value, with_them.value)


def test_draws_of_random_methods_need_a_generator() -> None:
    arrays = smooth(2, 100, 4)
    drawn = aa.Performer(features=8)
    found = made(arrays, drawn, relative_error=5.0, causal=False)
    assert found.heads[0].method == drawn
    with pytest.raises(TypeError, match="pass rng"):
        found.attention(*arrays)
    assert found.attention(*arrays, rng=np.random.default_rng(0)).value.shape == (2, 100, 4)
