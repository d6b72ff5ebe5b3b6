"""Hyperplane codes, collision probabilities and tables of bucket sums, against enumeration, closed
forms and fixed draws.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from namespaces import LIBRARIES, Library

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._arrays.segments import segment_sum
from approxattn.hashing import collision
from approxattn.hashing.directions import normalised_error, over_largest, unit_rows
from approxattn.hashing.hyperplanes import (
    codes,
    draw_hyperplanes,
    modular_codes,
    pack,
    sign_bits,
    wrong_bit_probability,
)
from approxattn.methods.yoso.sampling import sample
from approxattn.methods.yoso.tables import collided_sums
from proofs_check.arithmetic.balls import ball, precision

DRAWS = 10_000  # hashes: the standard error of a frequency is at most 0.005


def hash_codes(x: HostArray, bits: int, hashes: int = DRAWS, seed: int = 1) -> HostArray:
    """Return codes of the rows of x in many hashes, shape (hashes, n)."""
    return np.asarray(codes(x, draw_hyperplanes(hashes, bits, x, np.random.default_rng(seed)), np))


def z_score(hits: HostArray, p: float) -> float:
    """Return how many standard errors a frequency is from a probability in (0, 1)."""
    return float((hits.mean() - p) / math.sqrt(p * (1 - p) / hits.size))


# --- segment sums and tables ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_segment_sum_is_the_loop(library: Library, batch: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(3)
    n, c, segments = 17, 3, 7
    values, ids = (
        rng.standard_normal((*batch, n, c)).astype(dtype),
        rng.integers(0, segments - 2, (*batch, n)),
    )
    expected = np.zeros((*batch, segments, c))
    for index in np.ndindex(*batch):
        for j in range(n):
            expected[index][ids[index][j]] += values[index][j]
    array = segment_sum(library.put(values), library.put(ids), segments)
    found = library.get(array)
    assert library.owns(array)
    assert found.dtype == np.float64
    assert np.max(np.abs(found - expected)) <= 2 * n * 2.0**-52 * np.abs(values).sum(axis=-2).max()
    assert (found[..., -2:, :] == 0).all(), "an id that does not occur gives 0 exactly"


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_segment_sum_of_a_large_item_leaves_its_neighbour_alone(library: Library) -> None:
    values = np.stack([np.full((4, 1), 1e30), np.full((4, 1), 1e-30)])
    found = library.get(
        segment_sum(library.put(values), library.put(np.array([[0, 1, 0, 1]] * 2)), 2)
    )
    np.testing.assert_allclose(found[1], 2e-30, rtol=1e-15)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_eight_keys_in_four_buckets(library: Library) -> None:
    """The toy example of a figure in the authors' repository: which values each query reads."""
    reads = [(0, 1, 5), (3,), (4, 6), (3,), (3,), (2, 7), (0, 1, 5), (4, 6)]
    put = library.put
    key_codes, query_codes = np.array([3, 3, 1, 2, 0, 3, 0, 1]), np.array([3, 2, 0, 2, 2, 1, 3, 0])
    values = np.eye(8)
    found = library.get(
        collided_sums(
            put(values), put(key_codes), put(query_codes), 4, _arrays.namespace(v=put(values))
        )
    )
    assert [tuple(np.flatnonzero(row)) for row in found] == reads
    assert set(found.ravel()) == {0.0, 1.0}


def test_tables_are_the_mean_of_the_collision_matrices() -> None:
    rng = np.random.default_rng(8)
    q, k, v = rng.standard_normal((3, 2, 13, 3))
    normals = draw_hyperplanes(9, 3, q, rng)
    key_codes, query_codes = codes(k, normals, np), codes(q, normals, np)
    matrices = query_codes[..., :, None] == key_codes[..., None, :]  # (hashes, 2, n_q, n_k)
    found = sample(
        v, k, q, normals, [4, 5], entrywise=False, weights=None, xp=_arrays.namespace(v=v)
    )
    np.testing.assert_allclose(found.mean, matrices.mean(axis=0) @ v, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.counts, matrices.mean(axis=0).sum(axis=-1), rtol=0, atol=1e-14)


# --- codes ----------------------------------------------------------------------------------------


def test_codes_number_the_bit_patterns() -> None:
    patterns = np.array(list(itertools.product([0, 1], repeat=4)))
    assert sorted(pack(patterns, np)) == list(range(16))
    assert pack(np.array([[1, 0, 0, 1]]), np)[0] == 9


def test_bits_are_signs_and_zero_has_none() -> None:
    bits = sign_bits(
        np.array([[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [-0.0, 0.0]]),
        np.array([[1.0, 5.0], [-1.0, 2.0]]),
        np,
    )
    assert bits.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_codes_see_directions_only(dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal((40, 5)).astype(dtype)
    plain = hash_codes(x, bits=6, hashes=50)
    limits = np.finfo(dtype)
    for factor in (limits.smallest_subnormal * 2**30, 2.0**-30, 2.0**40, limits.max / 16):
        scaled = (x / np.abs(x).max(axis=-1, keepdims=True) * factor).astype(dtype)
        same = hash_codes(scaled, bits=6, hashes=50) == plain
        # a subnormal row keeps 30 bits, so few of the signs can differ
        assert same.mean() > 1 - 50 * 2.0**-20
    opposite = hash_codes(-x, bits=6, hashes=50)
    assert (opposite + plain == 2**6 - 1).all(), "all bits of -x differ from those of x"


def test_draws_are_the_same_in_every_library() -> None:
    x = np.ones((3, 4), np.float32)
    host = draw_hyperplanes(2, 5, x, np.random.default_rng(6))
    assert host.shape == (2, 5, 4)
    assert host.dtype == np.float32
    for library in LIBRARIES:
        array = draw_hyperplanes(2, 5, library.put(x), np.random.default_rng(6))
        assert library.owns(array)
        assert (library.get(array) == host).all()


def test_wrong_bits_are_rarer_than_the_bound() -> None:
    """In half precision, where rounding is coarse enough to be seen: products summed one after the
    other, against float64.
    """
    rng, d = np.random.default_rng(2), 8
    x, normals = rng.standard_normal((40, d)).astype(np.float16), rng.standard_normal((5_000, d))
    scaled, narrow = over_largest(x, np), normals.astype(np.float16)
    total = np.zeros((len(x), len(normals)), np.float16)
    for t in range(d):
        total = total + scaled[:, None, t] * narrow[None, :, t]
    wrong = float(((total > 0) != (x.astype(np.float64) @ normals.T > 0)).mean())
    assert wrong_bit_probability(d, "float16") / 1000 < wrong < wrong_bit_probability(d, "float16")


def test_wrong_bits_at_the_ends() -> None:
    assert wrong_bit_probability(1, "float64") < 1e-300, "one dimension: a sign is exact"
    assert wrong_bit_probability(2**24, "float32") == 1.0, "a sum too long for the dtype"


# --- probabilities --------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("theta", [0.1, 1.0, math.pi / 2, 2.5])
def test_pair_probability_is_the_frequency(theta: float, bits: int) -> None:
    x = np.array([[1.0, 0.0, 0.0], [math.cos(theta), math.sin(theta), 0.0]])
    found = hash_codes(x, bits)
    p = collision.pair_probability(theta, bits)
    assert p == pytest.approx((1 - theta / math.pi) ** bits, rel=1e-14)
    assert abs(z_score(found[:, 0] == found[:, 1], p)) < 4


def test_zero_rows_collide_as_if_orthogonal() -> None:
    x = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]])
    found = hash_codes(x, bits=3)
    assert (found[:, 0] == found[:, 1]).all()
    assert abs(z_score(found[:, 0] == found[:, 2], 2.0**-3)) < 4
    assert collision.cosines(x, x, np)[0].tolist() == [1, 1, 0]


@pytest.mark.parametrize("bits", [1, 2])
def test_triple_probability_is_the_frequency(bits: int) -> None:
    x = np.random.default_rng(9).standard_normal((3, 3))
    theta = np.arccos(collision.cosines(x, x, np))
    p = float(collision.triple_probability(theta[0, 1], theta[0, 2], theta[1, 2], bits, np))
    found = hash_codes(x, bits)
    together = (found[:, 0] == found[:, 1]) & (found[:, 0] == found[:, 2])
    assert abs(z_score(together, p)) < 4
    independent = float(
        collision.pair_probability(theta[0, 1], bits)
        * collision.pair_probability(theta[0, 2], bits)
    )
    assert abs(z_score(together, independent)) > 10, "the keys of a query collide dependently"


def test_triple_probability_is_exact_in_the_plane() -> None:
    """In the plane a hyperplane is a uniform angle: enumerate the arcs on which no pair is
    split.
    """
    a, b = 0.7, 1.9  # directions 0, a, b: split for normals within arcs of total share (b - 0)/pi
    assert collision.triple_probability(a, b, b - a, 1, np) == pytest.approx(
        1 - b / math.pi, rel=1e-15
    )
    third = 2 * math.pi / 3
    assert collision.triple_probability(third, third, third, 5, np) == pytest.approx(0, abs=1e-70)


@pytest.mark.parametrize(("bits", "tables", "size"), [(2, 1, 256), (3, 2, 4), (2, 3, 1)])
def test_union_of_modular_tables_is_the_frequency(bits: int, tables: int, size: int) -> None:
    rng, theta = np.random.default_rng(4), 1.3
    x = np.array([[1.0, 0.0], [math.cos(theta), math.sin(theta)]])
    normals, coefficients = (
        draw_hyperplanes(DRAWS * tables, bits, x, rng),
        rng.integers(0, size, (DRAWS * tables, bits)),
    )
    found = modular_codes(x, normals, coefficients, size, np)
    met = (found[:, 0] == found[:, 1]).reshape(DRAWS, tables).any(axis=1)
    p = collision.union_probability(
        collision.modular_probability(collision.pair_probability(theta, bits), size), tables
    )
    assert p == 1 if size == 1 else abs(z_score(met, p)) < 4
    assert met.all() or size > 1


def test_modular_probability_by_enumeration() -> None:
    """All coefficients, all pairs of different patterns: codes agree in exactly 1/T of the
    cases.
    """
    size, bits = 3, 3
    patterns = np.array(list(itertools.product([0, 1], repeat=bits)))
    for a, b in itertools.permutations(patterns, 2):
        agree = [
            ((a - b) @ np.array(c)) % size == 0 for c in itertools.product(range(size), repeat=bits)
        ]
        assert np.mean(agree) == pytest.approx(1 / size, rel=1e-15)
    assert collision.modular_probability(0.25, 4) == 0.25 + 0.75 / 4


@pytest.mark.parametrize("hashes", [1, 3])
def test_root_mean_square_error_is_that_of_many_draws(hashes: int) -> None:
    rng, bits = np.random.default_rng(5), 2
    q, v = rng.standard_normal((2, 3)), 2 + rng.standard_normal((6, 2))
    # two clusters
    k = np.repeat(rng.standard_normal((2, 3)), 3, axis=0) + 0.1 * rng.standard_normal((6, 3))
    normals = draw_hyperplanes(DRAWS * hashes, bits, q, rng)
    met = codes(q, normals, np)[:, :, None] == codes(k, normals, np)[:, None, :]
    means = (met @ v).reshape(DRAWS, hashes, 2, 2).mean(axis=1)
    p = collision.pair_probability(np.arccos(collision.cosines(q, k, np)), bits)
    squares = ((means - p @ v) ** 2).sum(axis=-1)  # (draws, n_q)
    exact = collision.root_mean_square_error(q, k, v, bits, hashes, np) ** 2
    assert (np.abs(squares.mean(axis=0) - exact) < 4 * squares.std(axis=0) / math.sqrt(DRAWS)).all()
    independent = (p * (1 - p)) @ (v**2).sum(axis=-1) / hashes
    assert (exact > 1.5 * independent).all(), (
        "clustered keys: what independence would give is far too small"
    )


def test_root_mean_square_error_of_equal_keys() -> None:
    """All keys equal: the row is n times one Bernoulli variable, so its variance is n^2 p (1 - p)
    |v|^2 / m; at any size of the values.
    """
    q, k, v = np.array([[1.0, 0.0]]), np.tile([[0.0, 2.0]], (5, 1)), np.ones((5, 1))
    for size in (1.0, 1e300, 1e-300, 0.0):
        found = collision.root_mean_square_error(q, k, size * v, 1, 4, np)
        np.testing.assert_allclose(found, [size * math.sqrt(25 * 0.25 / 4)], rtol=1e-14)


# --- angles and directions ------------------------------------------------------------------------


def test_angles_are_within_their_bounds() -> None:
    """Against ball arithmetic: nearly parallel, nearly opposite and ordinary pairs, rows of any
    length.
    """
    rng, d = np.random.default_rng(7), 5
    a = rng.standard_normal((30, d)) * 10.0 ** rng.integers(-200, 200, (30, 1))
    sizes = 10.0 ** rng.integers(-17, 1, (30, 1))
    b = a * rng.choice([-1.0, 1.0, 3.7], (30, 1)) * (1 + sizes * rng.standard_normal((30, d)))
    cosine = collision.cosines(a, b, np)
    apart, anywhere = collision.angle_errors(d)
    assert apart < 1e-13 < anywhere < 2e-7
    seen = 0.0
    with precision(400):
        for i in range(30):
            x, y = ([ball(float(t)) for t in row] for row in (a[i], b[i]))
            inner, square_x, square_y = (
                sum(s * t for s, t in zip(r, w, strict=True)) for r, w in ((x, y), (x, x), (y, y))
            )
            exact = (inner / (square_x * square_y).sqrt()).acos()
            error = abs(float((exact - ball(float(np.arccos(cosine[i, i])))).mid()))
            assert error <= (apart if abs(cosine[i, i]) <= collision.NEAR else anywhere)
            seen = max(seen, error)
    assert seen > 1e-9, "no pair was near enough to be hard"


def test_angles_of_extreme_rows_are_numbers() -> None:
    rows = np.array(
        [[1.0, 1.0], [1e-300, 1e-300], [1e300, 1e300], [-3.0, -3.0], [5e-324, 5e-324], [0.1, 0.1]]
    )
    theta = np.arccos(collision.cosines(rows, rows, np))
    signs = np.array([0, 0, 0, 1, 0, 0])
    np.testing.assert_allclose(theta, np.abs(signs[:, None] - signs) * math.pi, atol=1e-7)
    equal = np.random.default_rng(0).standard_normal((100, 3))
    assert np.isfinite(np.arccos(collision.cosines(equal, equal, np))).all(), (
        "a cosine beyond 1 has no angle"
    )


def test_unit_rows_are_unit() -> None:
    rows = np.array([[3e200, 4e200], [3e-320, 4e-320], [0.0, 0.0]])
    np.testing.assert_allclose(unit_rows(rows, np), [[0.6, 0.8], [0.6, 0.8], [0, 0]], rtol=1e-3)
    np.testing.assert_allclose(unit_rows(rows[:1], np), [[0.6, 0.8]], rtol=1e-15)


def test_normalised_error_bounds_directions() -> None:
    rng = np.random.default_rng(3)
    b = rng.standard_normal((3000, 3)) * 10.0 ** rng.integers(-3, 3, (3000, 1))
    a = b + rng.standard_normal((3000, 3)) * 10.0 ** rng.integers(-3, 3, (3000, 1))
    a[:1000] = -b[:1000] * 0.9  # the worst case: opposite
    error = np.linalg.norm(a - b, axis=-1) * (1 + 1e-15)
    ratio = np.linalg.norm(unit_rows(a, np) - unit_rows(b, np), axis=-1) / normalised_error(
        b, error, np
    )
    assert ratio.max() <= 1
    assert ratio.max() > 0.99
    zero = normalised_error(np.zeros((2, 3)), np.array([0.0, 1.0]), np)
    assert zero[0] < 1e-14
    assert zero[1] >= 2
