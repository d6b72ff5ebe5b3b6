"""Polynomials under causal order with more keys than queries: exact within the bounds, and at the
cost of the queries there are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_attention import gradient, output, visible
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn.monomials import contraction
from approxattn.monomials.kernel import Kernel
from approxattn.monomials.numpy_features import Monomials
from approxattn.monomials.states import states

METHODS = [
    aa.Polynomial(degree=2, basis="taylor"),
    aa.Polynomial(degree=4, basis="taylor", centre="none"),
    aa.Polynomial(degree=5, centre="keys", gradient="plug-in"),
    aa.Polynomial(coefficients=(1.0, 1.0, 0.5, 0.2)),
    aa.Polynomial(tolerance=1e-2),
    aa.Polynomial(tolerance=1e-3, index="anisotropic", fallback=False),
]


def problem(
    seed: int, batch: tuple[int, ...], n_q: int, n_k: int, size: float, dtype: str
) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    rng = np.random.default_rng(seed)
    q, dout = (rng.standard_normal((*batch, n_q, w)) for w in (3, 2))
    k, v = (rng.standard_normal((*batch, n_k, w)) for w in (3, 2))
    q, k, v, dout = (x.astype(dtype) for x in (q * size, k + 1, v, dout))
    return q, k, v, dout


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    batch=st.sampled_from([(), (2,), (2, 0), (1, 2)]),
    n_q=st.integers(1, 9),
    earlier=st.sampled_from([1, 2, 7, 30]),
    size=st.sampled_from([0.0, 1e-20, 1e-3, 0.3, 1.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    method=st.sampled_from(METHODS),
    masked=st.booleans(),
)
def test_within_the_bounds(
    seed: int,
    batch: tuple[int, ...],
    n_q: int,
    earlier: int,
    size: float,
    dtype: str,
    method: aa.Polynomial,
    masked: bool,
) -> None:
    q, k, v, dout = problem(seed, batch, n_q, n_q + earlier, size, dtype)
    options: dict[str, Any] = {"causal": True, "query_offset": earlier}
    if masked:
        options["key_mask"] = np.random.default_rng(seed).random((*batch, n_q + earlier)) < 0.7
        options["key_mask"][..., 0] = True
    see = visible(n_q, n_q + earlier, batch, options)
    out = aa.attention(q, k, v, method, **options)
    error = np.abs(out.value - output(q, k, v, see, 3**-0.5)).max(axis=-1, initial=0)
    assert np.all(error <= out.certificate.rows)
    found = aa.attention_vjp(q, k, v, dout, method, **options)
    for name, wanted in zip(("dq", "dk", "dv"), gradient(q, k, v, dout, see, 3**-0.5), strict=True):
        error = np.abs(getattr(found, name) - wanted).max(axis=-1, initial=0)
        assert np.all(error <= getattr(found.certificate, name))


@pytest.mark.parametrize("method", [METHODS[0], METHODS[1], METHODS[3]])
def test_the_gradient_is_that_of_the_output(method: aa.Polynomial) -> None:
    """By central differences, where the coefficients do not follow the data."""
    q, k, v, dout = problem(3, (), 4, 11, 0.3, "float64")
    options: dict[str, Any] = {"causal": True, "query_offset": 7}
    found = aa.attention_vjp(q, k, v, dout, method, **options)
    rng = np.random.default_rng(0)
    step = [rng.standard_normal(x.shape) for x in (q, k, v)]

    def along(t: float) -> float:
        moved = [x + t * s for x, s in zip((q, k, v), step, strict=True)]
        return float(np.sum(aa.attention(*moved, method, **options).value * dout))

    slope = (along(1e-5) - along(-1e-5)) / 2e-5
    own = sum(np.sum(g * s) for g, s in zip((found.dq, found.dk, found.dv), step, strict=True))
    assert abs(slope - own) < 1e-8 * (1 + abs(own))


def test_queries_that_are_not_there_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = []
    load = Monomials.load
    monkeypatch.setattr(Monomials, "load", lambda s, x: (tokens.append(len(x)), load(s, x))[1])
    q, k, v, _ = problem(0, (), 90, 2000, 0.3, "float64")
    aa.attention(q, k, v, METHODS[0], causal=True, query_offset=1910)
    assert sum(tokens) == 1910 + 90


@pytest.mark.parametrize("library", [x for x in LIBRARIES if x.name != "jax"], ids=str)
@pytest.mark.parametrize("kind", ["features", "scores"])
def test_kernels_agree(kind: str, library: Library) -> None:
    """Earlier keys, and a state to begin with, against one square sum. JAX compiles every step of
    these for seconds.
    """
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((20, 2)), rng.standard_normal((700, 2))
    values = rng.standard_normal((700, 3))
    xp = _arrays.namespace(y=library.put(y))
    kernel = Kernel(coefficients=(1.0, 1.0, 0.5), causal=True, kind=kind, xp=xp)
    wide = np.concatenate([np.zeros((680, 2)), x])
    host = replace(kernel, kind="scores", xp=np)
    wanted, parts, _ = host.sums_with_parts(wide, y, values, (1, 2))
    x, y, values = (library.put(a) for a in (x, y, values))
    begun = states(y[:600, :], values[:600, :], kernel.coefficients, xp)
    ways: list[tuple[Any, dict[str, Any]]] = [
        ((x, y, values), {}),
        ((x, y[600:, :], values[600:, :]), {"initial": begun}),
    ]
    for tokens, more in ways:
        found, own, _ = kernel.sums_with_parts(*tokens, (1, 2), **more)
        np.testing.assert_allclose(library.get(found), wanted[680:], rtol=1e-11, atol=1e-10)
        np.testing.assert_allclose(library.get(own), parts[680:], rtol=1e-11, atol=1e-10)
    assert contraction.chunk_length(2, 2) < 700


@pytest.mark.parametrize(("degree", "width"), [(3, 12), (4, 6), (2, 3)])
def test_a_state_begins_any_scheme(degree: int, width: int) -> None:
    rng = np.random.default_rng(degree)
    y, values = rng.uniform(-0.5, 0.5, (900, width)), rng.standard_normal((900, 2))
    kernel = Kernel(coefficients=(1.0,) * (degree + 1), causal=True, kind="features", xp=np)
    whole, parts, _ = kernel.sums_with_parts(y, y, values, (1, degree))
    begun = states(y[:300], values[:300], kernel.coefficients, np)
    later, own, _ = kernel.sums_with_parts(
        y[300:], y[300:], values[300:], (1, degree), initial=begun
    )
    np.testing.assert_allclose(later, whole[300:], rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(own, parts[300:], rtol=1e-10, atol=1e-9)
