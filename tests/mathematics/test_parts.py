"""Sums split by degree: for every kind, scheme, mask and library the parts are what the monomials
of one degree give of the last column, and the sums are those without parts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import array_api_compat.numpy as xp
import array_api_strict
import numpy as np
import pytest

from approxattn._arrays import HostArray
from approxattn.monomials import numpy_contraction, numpy_features, numpy_state
from approxattn.monomials.device import blocks
from approxattn.monomials.kernel import Kernel, parts_underflow, sum_roundings, underflow
from approxattn.monomials.numpy_features import Plan
from approxattn.monomials.numpy_state import Summation
from approxattn.monomials.parts import cuts, dense
from approxattn.monomials.parts.cuts import rows_of
from approxattn.monomials.parts.powers import powers, scales, steps
from approxattn.monomials.states import read_states, read_states_with_parts, states

SIZES = [(1, 1, 1), (3, 1, 2), (1, 6, 1), (4, 2, 1), (7, 2, 3), (5, 5, 2), (9, 3, 1), (3, 4, 30)]
"""d, g, m."""


def subsets(g: int) -> list[tuple[int, ...]]:
    """All, none, the two that a certificate needs most, the lowest, a middle one."""
    found = {tuple(range(1, g + 1)), (), tuple(sorted({min(2, g), g})), (1,), ((g + 1) // 2,)}
    return sorted(found)


@pytest.fixture(params=["as planned", "full", "tiled", "top", "three threads"])
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Force each scheme in turn, with chunks of 8 tokens and tiles of 5 rows."""
    if request.param != "as planned":
        monkeypatch.setattr(numpy_features, "chunk_tokens", lambda *_: 8)
        for module in (numpy_features, numpy_state):
            monkeypatch.setattr(module, "TILE_ROWS", 5)
    if request.param in ("full", "tiled", "top"):
        monkeypatch.setattr(numpy_features, "scheme_for", lambda *_: request.param)
    if request.param == "three threads":
        monkeypatch.setattr(numpy_contraction, "worker_count", lambda _, n: max(1, min(3, n)))
    return str(request.param)


@pytest.fixture(params=[0, 4, 10**9], ids=["cut", "as chosen", "thin"])
def worth_a_cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Cut every degree out, those that are worth it, or none."""
    monkeypatch.setattr(cuts, "WORTH_A_CUT", request.param)
    cuts.cuts.cache_clear()
    yield request.param
    cuts.cuts.cache_clear()


def integers(
    d: int, g: int, m: int, n_x: int, n_y: int, batch: tuple[int, ...] = ()
) -> tuple[HostArray, HostArray, HostArray, tuple[float, ...]]:
    rng = np.random.default_rng(d + 10 * g + 100 * m)
    x, y = (rng.integers(-1, 2, (*batch, n, d)).astype(float) for n in (n_x, n_y))
    values = rng.integers(-3, 4, (*batch, n_y, m)).astype(float)
    return x, y, values, tuple(float(c) for c in rng.integers(1, 4, g + 1))


def expected(
    x: Any,
    y: Any,
    values: Any,
    coefficients: tuple[float, ...],
    causal: bool,
    degrees: tuple[int, ...],
) -> tuple[HostArray, HostArray]:
    """Sums and parts term by term, in float64: exact for integers."""
    x, y, values = (np.asarray(a, np.float64) for a in (x, y, values))
    s = x @ np.swapaxes(y, -1, -2)
    seen = np.tril(np.ones(s.shape[-2:], bool)) if causal else np.ones(s.shape[-2:], bool)
    terms = [np.where(seen, c * s**t, 0) for t, c in enumerate(coefficients)]
    sums = sum(terms) @ values
    parts = [(terms[t] @ values[..., -1:])[..., 0] for t in degrees]
    shape = (*s.shape[:-1], len(degrees))
    return sums, np.stack(parts, axis=-1) if parts else np.zeros(shape)


@pytest.mark.usefixtures("worth_a_cut")
@pytest.mark.parametrize(("d", "g", "m"), SIZES)
@pytest.mark.parametrize("causal", [False, True])
def test_parts_are_exact_on_integers_for_every_scheme(
    d: int, g: int, m: int, causal: bool, scheme: str
) -> None:
    x, y, values, coefficients = integers(d, g, m, 43, 43 if causal else 29)
    kernel = Kernel(coefficients=coefficients, causal=causal, kind="features", xp=xp)
    for degrees in subsets(g):
        sums, parts, kept = kernel.sums_with_parts(x, y, values, degrees)
        of_terms = expected(x, y, values, coefficients, causal, degrees)
        np.testing.assert_array_equal(sums, of_terms[0], err_msg=f"{scheme} {degrees}")
        np.testing.assert_array_equal(parts, of_terms[1], err_msg=f"{scheme} {degrees}")
        assert kept is None


@pytest.mark.parametrize(("d", "g", "m"), SIZES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("block", [5, 512])
def test_parts_by_scores_are_exact_on_integers(
    d: int, g: int, m: int, causal: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "SCORE_BLOCK", block)
    x, y, values, coefficients = integers(d, g, m, 23, 23 if causal else 12, (2,))
    kernel = Kernel(coefficients=coefficients, causal=causal, kind="scores", xp=xp)
    for degrees in subsets(g):
        sums, parts, _ = kernel.sums_with_parts(x, y, values, degrees)
        of_terms = expected(x, y, values, coefficients, causal, degrees)
        np.testing.assert_array_equal(sums, of_terms[0])
        np.testing.assert_array_equal(parts, of_terms[1])


@pytest.mark.parametrize("kind", ["features", "scores"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("batch", [(), (2, 1)])
@pytest.mark.parametrize("chunk", [3, 512])
def test_parts_need_only_the_standard(
    kind: str, causal: bool, batch: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "chunk_length", lambda *_: chunk)
    monkeypatch.setattr(dense, "SCORE_BLOCK", chunk)
    x, y, values, coefficients = integers(3, 4, 2, 11, 11, batch)
    strict = [array_api_strict.asarray(a) for a in (x, y, values)]
    kernel = Kernel(coefficients=coefficients, causal=causal, kind=kind, xp=array_api_strict)
    for degrees in subsets(4):
        sums, parts, kept = kernel.sums_with_parts(*strict, degrees, keep=True)
        of_terms = expected(x, y, values, coefficients, causal, degrees)
        np.testing.assert_array_equal(np.asarray(sums), of_terms[0])
        np.testing.assert_array_equal(np.asarray(parts), of_terms[1])
        assert kept is None


@pytest.mark.parametrize("library", [xp, array_api_strict], ids=["numpy", "strict"])
@pytest.mark.parametrize("kind", ["features", "scores"])
@pytest.mark.parametrize("batch", [(), (3,), (0,)])
@pytest.mark.parametrize(("n_x", "n_y"), [(0, 9), (1, 1), (12, 9), (4, 0)])
def test_leading_axes_and_few_tokens(
    library: Any, kind: str, batch: tuple[int, ...], n_x: int, n_y: int
) -> None:
    x, y, values, coefficients = integers(4, 3, 2, n_x, n_y, batch)
    arrays = [library.asarray(a) for a in (x, y, values)]
    kernel = Kernel(coefficients=coefficients, causal=False, kind=kind, xp=library)
    sums, parts, _ = kernel.sums_with_parts(*arrays, (1, 3))
    of_terms = expected(x, y, values, coefficients, False, (1, 3))
    np.testing.assert_array_equal(np.asarray(sums), of_terms[0])
    np.testing.assert_array_equal(np.asarray(parts), of_terms[1])


@pytest.mark.parametrize("library", [xp, array_api_strict], ids=["numpy", "strict"])
@pytest.mark.parametrize(("d", "g", "m"), SIZES)
def test_states_that_outlive_a_call(library: Any, d: int, g: int, m: int) -> None:
    x, y, values, coefficients = integers(d, g, m, 13, 17, (2,))
    x, y, values = (library.asarray(a) for a in (x, y, values))
    state = states(y, values, coefficients, library)
    for degrees in subsets(g):
        sums, parts = read_states_with_parts(x, state, g, library, degrees)
        of_terms = expected(x, y, values, coefficients, False, degrees)
        np.testing.assert_array_equal(
            np.asarray(sums), np.asarray(read_states(x, state, g, library))
        )
        np.testing.assert_array_equal(np.asarray(parts), of_terms[1])


@pytest.mark.parametrize("batch", [(), (2,)])
def test_kept_states_serve_the_gradients(batch: tuple[int, ...], scheme: str) -> None:
    x, y, values, coefficients = integers(5, 4, 2, 21, 19, batch)
    kernel = Kernel(coefficients=coefficients, causal=False, kind="features", xp=xp)
    _, kept = kernel.sums_and_states(x, y, values)
    _, _, too = kernel.sums_with_parts(x, y, values, (2, 4), keep=True)
    np.testing.assert_array_equal(too, kept, err_msg=scheme)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["features", "scores"])
@pytest.mark.parametrize(("d", "g", "n"), [(1, 5, 600), (6, 4, 530), (8, 2, 700), (20, 3, 520)])
def test_parts_and_sums_stay_within_the_rounding_counted(
    d: int, g: int, n: int, kind: str, causal: bool, dtype: str
) -> None:
    """Relative to sum_j |c_t| (|x_i| |y_j|)^t |v_j|, term by term: parts near 0 are
    held to the same rule.
    """
    rng = np.random.default_rng(d + g)
    x, y = (rng.standard_normal((n, d)).astype(dtype) / d**0.5 for _ in range(2))
    x, y = x.astype(dtype), y.astype(dtype)
    values = np.concatenate([rng.standard_normal((n, 2)), np.ones((n, 1))], axis=1).astype(dtype)
    coefficients = tuple(1 / math.factorial(t) for t in range(g + 1))
    degrees = tuple(range(1, g + 1))
    kernel = Kernel(coefficients=coefficients, causal=causal, kind=kind, xp=xp)
    sums, parts, _ = kernel.sums_with_parts(x, y, values, degrees)
    of_terms = expected(x, y, values, coefficients, causal, degrees)
    lengths = np.linalg.norm(x.astype(float), axis=1), np.linalg.norm(y.astype(float), axis=1)
    size = np.multiply.outer(*lengths) * (np.tri(n) if causal else 1.0)
    unit = sum_roundings(kind, n, d, g, causal) * float(np.finfo(dtype).eps)
    for k, t in enumerate(degrees):
        allowed = unit * coefficients[t] * np.sum(size**t, axis=1)
        assert np.all(np.abs(parts[:, k] - of_terms[1][:, k]) <= allowed)
    total = sum(c * size**t for t, c in enumerate(coefficients)) @ np.abs(values)
    assert np.all(np.abs(sums - of_terms[0]) <= unit * total)
    assert np.all(np.abs(sums - kernel.sums(x, y, values)) <= 2 * unit * total)


def test_a_part_is_not_a_difference() -> None:
    """Scores of size 1e-6: degree 4 gives 1e-24 of a sum of 1, which a difference would lose."""
    rng = np.random.default_rng(0)
    x, y = (1e-3 * rng.uniform(1, 2, (300, 6)) for _ in range(2))
    ones = np.ones((300, 1))
    for kind, causal in itertools.product(("features", "scores"), (False, True)):
        kernel = Kernel(coefficients=(1.0,) * 5, causal=causal, kind=kind, xp=xp)
        _, parts, _ = kernel.sums_with_parts(x, y, ones, (2, 4))
        _, exact = expected(x, y, ones, (1.0,) * 5, causal, (2, 4))
        np.testing.assert_allclose(parts, exact.astype(float), rtol=1e-12)


@pytest.mark.parametrize("degrees", [(1,), (2, 4), (2, 7), (1, 2, 3, 4, 5), (3, 5, 6, 13), (35,)])
def test_powers_by_few_products(degrees: tuple[int, ...]) -> None:
    y = np.array([2.0, -1.0, 3.0])
    place = np.empty_like(y)
    found = [z.copy() for z in powers(y, degrees, lambda a, b: np.multiply(a, b, out=place))]
    np.testing.assert_array_equal(found, [y**t for t in degrees])
    np.testing.assert_array_equal(y, [2.0, -1.0, 3.0])
    count = sum(len(path) for _, path in steps(degrees))
    assert count <= min(degrees[-1] - 1, sum(2 * t.bit_length() for t in degrees))


def test_every_pair_of_powers() -> None:
    """Where going on and starting anew take equally many products, too."""
    y = np.array([2.0, -1.0, 3.0])
    place = np.empty_like(y)
    for degrees in itertools.combinations(range(1, 21), 2):
        found = [z.copy() for z in powers(y, degrees, lambda a, b: np.multiply(a, b, out=place))]
        np.testing.assert_array_equal(found, [y**t for t in degrees])


def test_powers_stay_within_float32_where_those_of_the_scores_do_not() -> None:
    """20^35 is 3e45; 20^35 / 35! is 3e5."""
    coefficients = tuple(1 / math.factorial(t) for t in range(36))
    x, ones = np.full((3, 1), 20.0, np.float32), np.ones((3, 1), np.float32)
    one = np.ones((3, 1), np.float32)
    for library in (xp, array_api_strict):
        arrays = [library.asarray(a) for a in (x, one, ones)]
        kernel = Kernel(coefficients=coefficients, causal=False, kind="scores", xp=library)
        _, parts, _ = kernel.sums_with_parts(*arrays, (1, 20, 35))
        exact = [3 * 20.0**t / math.factorial(t) for t in (1, 20, 35)]
        np.testing.assert_allclose(np.asarray(parts), [exact] * 3, rtol=1e-4)


@pytest.mark.parametrize("kind", ["features", "scores"])
@pytest.mark.parametrize("size", [1e-19, 3e-11, 1e-7, 1e-5])
def test_underflow_takes_no_more_than_is_said(kind: str, size: float) -> None:
    """In float32, with powers far below its smallest normal number."""
    rng = np.random.default_rng(1)
    x, y = (size * rng.uniform(1, 2, (2, 40, 3)).astype(np.float32)).astype(np.float32)
    ones, g, tiny = np.ones((40, 1), np.float32), 12, float(np.finfo(np.float32).tiny)
    coefficients = tuple(1 / math.factorial(t) for t in range(g + 1))
    degrees = tuple(range(1, g + 1))
    kernel = Kernel(coefficients=coefficients, causal=False, kind=kind, xp=xp)
    _, parts, _ = kernel.sums_with_parts(x, y, ones, degrees)
    _, exact = expected(x, y, ones, coefficients, False, degrees)
    bound = np.max(np.linalg.norm(x, axis=1)) * np.max(np.linalg.norm(y, axis=1))
    rounding = sum_roundings(kind, 40, 3, g, causal=False) * float(np.finfo(np.float32).eps)
    sizes = kind, coefficients, np.asarray(bound), float(np.max(x)), float(np.max(y)), 3, tiny
    lost = parts_underflow(underflow(*sizes), coefficients, np.asarray(bound), tiny)
    assert np.all(np.abs(parts - exact) <= 40 * lost + rounding * exact)
    assert lost >= underflow(*sizes)


@pytest.mark.parametrize("degrees", [(0,), (4,), (2, 1), (1, 1), (1.0,), (-1, 2)])
@pytest.mark.parametrize("kind", ["features", "scores"])
def test_degrees_that_mean_nothing_are_refused(kind: str, degrees: tuple[Any, ...]) -> None:
    x, y, values, coefficients = integers(2, 3, 2, 4, 4)
    kernel = Kernel(coefficients=coefficients, causal=False, kind=kind, xp=xp)
    with pytest.raises(ValueError, match="degrees"):
        kernel.sums_with_parts(x, y, values, degrees)
    with pytest.raises(ValueError, match="degrees"):
        read_states_with_parts(x, states(y, values, coefficients, xp), 3, xp, degrees)
    with pytest.raises(ValueError, match="no column"):
        kernel.sums_with_parts(x, y, values[:, :0], (1,))


@pytest.mark.parametrize("degrees", [(), (2,), (1, 2), (1, 3), (1, 2, 3, 4)])
def test_pieces_hold_every_row_once_and_never_less(degrees: tuple[int, ...]) -> None:
    """The products of the pieces are no longer, added up, than the one of all rows."""
    for depth in (3, 4):
        found = cuts.cuts(6, 2, depth, degrees)
        rows = [i for span, _ in found.pieces for i in range(span.start, span.stop)]
        assert rows == list(range(math.comb(6 + depth, depth)))
        told = sorted([k for _, k in found.pieces if k is not None] + [k for _, k in found.thin])
        assert told == [k for k, t in enumerate(degrees) if t <= depth]
        for span, k in (*found.pieces, *found.thin):
            assert k is None or span == rows_of(6, degrees[k])


def test_scales_are_coefficients_in_the_radix() -> None:
    coefficients = (1.0, 1.0, 0.0, 2.0**-9)
    y = np.array([5.0]) / 8  # the radix is 2^3
    terms = [y**t * c for t, c in zip((1, 2, 3), scales(coefficients, (1, 2, 3)), strict=True)]
    np.testing.assert_array_equal(terms, [[5.0], [0.0], [125 * 2.0**-9]])


def test_no_part_is_paid_for_that_nobody_asked_for() -> None:
    p = Plan(d=5, m=3, degree=4, scheme="top", chunk=8, summed=8)
    plain = Summation(p, np.dtype(float))
    assert len(plain.cuts.pieces) == 1
    assert not plain.cuts.thin
    assert not plain.highest
