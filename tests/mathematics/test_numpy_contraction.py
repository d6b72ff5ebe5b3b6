"""The NumPy ways through the features equal the generic ones: exactly on integers, for every
scheme, chunk, thread and shape.
"""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest

from approxattn.bounds.rounding import blocked_sum_terms
from approxattn.monomials import (
    numpy_adjoint,
    numpy_dense,
    numpy_features,
    numpy_state,
    workers,
)
from approxattn.monomials.device.contraction import contract, contract_gradient
from approxattn.monomials.kernel import Kernel, sum_roundings
from approxattn.monomials.numpy_adjoint import numpy_gradient, numpy_gradients
from approxattn.monomials.numpy_contraction import (
    numpy_sums,
    numpy_sums_and_states,
    numpy_sums_with_parts,
)
from approxattn.monomials.numpy_features import chunk_tokens, plan, tiles
from approxattn.monomials.workers import gather, shares, worker_count

SIZES = [(1, 0, 1), (3, 1, 2), (1, 6, 1), (4, 2, 1), (7, 2, 3), (5, 5, 2), (9, 3, 1), (6, 4, 0)]
"""d, g, m."""


@pytest.fixture(params=["as planned", "full", "tiled", "top", "three threads"])
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Force each scheme in turn, with chunks of 8 tokens and tiles of 5 rows."""
    if request.param != "as planned":
        monkeypatch.setattr(numpy_features, "chunk_tokens", lambda *_: 8)
        for module in (numpy_features, numpy_state, numpy_adjoint):
            monkeypatch.setattr(module, "TILE_ROWS", 5)
    if request.param in ("full", "tiled", "top"):
        monkeypatch.setattr(
            numpy_features, "scheme_for", lambda *sizes: request.param if sizes[2] else "full"
        )
    if request.param == "three threads":

        def three(_: float, tasks: int) -> int:
            return max(1, min(3, tasks))

        monkeypatch.setattr("approxattn.monomials.numpy_contraction.worker_count", three)
        monkeypatch.setattr("approxattn.monomials.numpy_adjoint.worker_count", three)
    return str(request.param)


def tokens(
    d: int, g: int, m: int, n_x: int, n_y: int, batch: tuple[int, ...] = ()
) -> tuple[Any, ...]:
    rng = np.random.default_rng(d + 10 * g + 100 * m)
    x, y = (
        rng.integers(-1, 2, (*batch, n_x, d)).astype(float),
        rng.integers(-1, 2, (*batch, n_y, d)).astype(float),
    )
    left, right = (rng.integers(-3, 4, (*batch, n, m)).astype(float) for n in (n_x, n_y))
    coefficients = tuple(float(c) for c in rng.integers(1, 4, g + 1))
    return x, left, y, right, coefficients


@pytest.mark.parametrize(("d", "g", "m"), SIZES)
@pytest.mark.parametrize("causal", [False, True])
def test_sums_and_gradient_equal_the_generic_ones(
    d: int, g: int, m: int, causal: bool, scheme: str
) -> None:
    x, left, y, right, coefficients = tokens(d, g, m, 43, 43 if causal else 29)
    sums = contract(x, y, right, coefficients, causal, xp)
    np.testing.assert_array_equal(
        numpy_sums(x, y, right, coefficients, causal), sums, err_msg=scheme
    )
    np.testing.assert_array_equal(
        numpy_gradient(x, left, y, right, coefficients, causal),
        contract_gradient(x, left, y, right, coefficients, causal, xp),
    )


@pytest.mark.parametrize(("d", "g", "m"), SIZES)
@pytest.mark.parametrize("kept", [False, True])
def test_three_gradients_at_once_equal_the_generic_ones(
    d: int, g: int, m: int, kept: bool, scheme: str
) -> None:
    x, left, y, right, coefficients = tokens(d, g, m, 43, 29, (2,))
    states = numpy_sums_and_states(x, y, right, coefficients)[1] if kept else None
    for i, item in enumerate(
        zip(*numpy_gradients(x, left, y, right, coefficients, states), strict=True)
    ):
        dx = contract_gradient(x[i], left[i], y[i], right[i], coefficients, False, xp)
        dy = contract_gradient(y[i], right[i], x[i], left[i], coefficients, False, xp)
        dright = contract(y[i], x[i], left[i], coefficients, False, xp)
        for got, expected in zip(item, (dx, dy, dright), strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=scheme)


@pytest.mark.parametrize("batch", [(), (3,), (2, 1, 2), (0,)])
@pytest.mark.parametrize("n_x", [0, 1, 12])
def test_leading_axes_and_no_queries(batch: tuple[int, ...], n_x: int, scheme: str) -> None:
    x, left, y, right, coefficients = tokens(4, 3, 2, n_x, 9, batch)
    p = np.polynomial.polynomial.polyval(x @ np.swapaxes(y, -1, -2), coefficients)
    np.testing.assert_array_equal(
        numpy_sums(x, y, right, coefficients, False), p @ right, err_msg=scheme
    )
    assert [a.shape for a in numpy_gradients(x, left, y, right, coefficients)] == [
        x.shape,
        y.shape,
        right.shape,
    ]


def test_inputs_may_be_views_that_cannot_be_written() -> None:
    x, left, y, right, coefficients = tokens(3, 4, 2, 20, 20)
    views = [np.broadcast_to(a[::-1], (2, 20, a.shape[1])) for a in (x, left, y, right)]
    got = Kernel(coefficients=coefficients, causal=True, kind="features", xp=xp).gradients(*views)
    plain = Kernel(coefficients=coefficients, causal=True, kind="scores", xp=xp).gradients(*views)
    for a, b in zip(got, plain, strict=True):
        np.testing.assert_array_equal(a, b)


def test_each_scheme_has_its_sizes() -> None:
    sizes = {
        (16, 2, 17): "full",
        (64, 2, 65): "tiled",
        (16, 3, 17): "top",
        (32, 3, 33): "top",
        (2, 8, 3): "full",
    }
    for (d, g, m), expected in sizes.items():
        assert plan(d, m, g, 4096, False).scheme == expected


def test_longer_chunks_sum_over_as_many_tokens() -> None:
    """The way back holds two sums a chunk where memory allows; a product sums over no more tokens
    than the rounding analysis counts.
    """
    for (d, g), chunk in {(16, 2): 2048, (32, 3): 2048, (16, 4): 2048, (16, 6): 103}.items():
        once, twice = (plan(d, d + 1, g, 8192, False, together) for together in (1, 2))
        assert once.chunk == once.summed == twice.summed <= chunk_tokens(d, g, False)
        assert twice.chunk == chunk


@pytest.mark.parametrize("height", [1, 3, 1000])
def test_tiles_cover_the_block_once_in_order(height: int) -> None:
    pieces = [piece for tile in tiles(5, 3, height) for piece in tile]
    rows = [
        (piece.i, source)
        for piece in pieces
        for source in range(piece.source.start, piece.source.stop)
    ]
    end, lengths = 21, [15, 10, 6, 3, 1]  # C(5 + 2, 2); monomials of degree 2 in x_i ...
    assert rows == [
        (i, source) for i, length in enumerate(lengths) for source in range(end - length, end)
    ]
    assert all(tile[-1].rows.stop <= height for tile in tiles(5, 3, height))


@pytest.mark.parametrize("n", [1, 64, 65, 5000, 10**6])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_counted_roundings_cover_chunks_and_threads(n: int, threads: int) -> None:
    for d, g in ((16, 2), (16, 4), (4, 7)):
        step = chunk_tokens(d, g, False)
        spans = shares(n, min(threads, -(-n // step)), step)
        assert [i for span in spans for i in (span.start, span.stop)][1:-1:2] == [
            span.start for span in spans[1:]
        ]
        longest = max(-(-(span.stop - span.start) // step) for span in spans)
        joins = longest + len(spans) - 1
        pairs = shares(n, min(threads, -(-n // (2 * step))), 2 * step)  # two products a chunk
        joins = max(
            joins, max(-(-(span.stop - span.start) // step) for span in pairs) + len(pairs) - 1
        )
        counted = sum_roundings("features", n, d, g, causal=False)
        assert min(n, step) + joins <= blocked_sum_terms(n, step) <= counted


def test_threads_follow_the_limit_of_the_blas() -> None:
    with workers._libraries().limit(limits=1, user_api="blas"):
        assert worker_count(1e15, 100) == 1
    assert worker_count(1e15, 1) == worker_count(1, 100) == 1
    assert gather([lambda i=i: i**2 for i in range(5)]) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize(("d", "g"), [(3, 2), (4, 3)])
def test_causal_chunks_that_share_their_work_give_the_same(
    d: int, g: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monomials of one chunk or of several, scores of one chunk or of several: the same integers,
    the last chunk being shorter, and the parts with them.
    """
    monkeypatch.setattr(numpy_features, "chunk_tokens", lambda *_: 8)
    x, _, y, right, coefficients = tokens(d, g, 2, 61, 61)
    degrees = tuple(range(1, g + 1))
    want = contract(x, y, right, coefficients, True, xp, degrees)
    for loaded, scores in ((1, 1), (1, 2**18), (2**10, 1), (2**17, 130), (2**17, 2**18)):
        monkeypatch.setattr(numpy_state, "LOADED", loaded)
        monkeypatch.setattr(numpy_dense, "SCORES", scores)
        sums, parts, _ = numpy_sums_with_parts(x, y, right, coefficients, True, degrees)
        np.testing.assert_array_equal(sums, want[..., :2])
        np.testing.assert_array_equal(parts, want[..., 2:])
