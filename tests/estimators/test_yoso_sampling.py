"""Sampled YOSO: Hadamard hashing against enumeration, the standard error and both Bernstein bounds
against the truth, the NumPy path against the generic one.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from cases import Case, run
from methods import Row
from namespaces import NUMPY, STRICT

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.bounds import concentration
from approxattn.hashing import collision, hadamard
from approxattn.hashing.hyperplanes import codes, draw_hyperplanes
from approxattn.methods.yoso import numpy_tables, sampling


def sampled(**options: Any) -> Row:
    return Row(
        name="sampled",
        method=aa.Yoso(**options),
        target="yoso",
        bits=options.get("bits", 8),
        slack=1e3,
    )


def case(n: int = 12, d: int = 3, dv: int = 2, *, clustered: bool = False) -> Case:
    rng = np.random.default_rng([n, d, dv])
    q, k = rng.standard_normal((2, n, d))
    if clustered:
        q, k = (x[rng.integers(0, 3, n)] + 1e-2 * y for x, y in ((q, k), (q, q)))
    return Case(name="case", q=q, k=k, v=1 + rng.standard_normal((n, dv)))


# --- Hadamard hashing -----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 8, 32])
def test_walsh_hadamard_is_the_matrix(width: int) -> None:
    signs = np.array([[(-1) ** bin(i & j).count("1") for j in range(width)] for i in range(width)])
    np.testing.assert_array_equal(hadamard.walsh_hadamard(np.eye(width)), signs)


def test_rows_are_the_product_of_the_factors() -> None:
    d1, d2, d3 = np.random.default_rng(0).choice([-1.0, 1.0], (3, 8))
    h = hadamard.walsh_hadamard(np.eye(8))
    rows = hadamard.hadamard_rows(np.stack([d1, d2, d3]))
    np.testing.assert_array_equal(rows, h @ np.diag(d3) @ h @ np.diag(d2) @ h @ np.diag(d1))
    np.testing.assert_array_equal(rows @ rows.T, 8**3 * np.eye(8))


@pytest.mark.parametrize(
    ("hashes", "bits", "d", "sizes"),
    [(5, 3, 8, [2, 2, 1]), (4, 8, 5, [1] * 4), (7, 1, 6, [7]), (3, 20, 3, [1] * 3)],
)
def test_blocks(hashes: int, bits: int, d: int, sizes: list[int]) -> None:
    assert hadamard.block_sizes(hashes, bits, d) == sizes
    normals = hadamard.draw_hadamard(
        hashes, bits, np.ones((2, d), np.float32), np.random.default_rng(0)
    )
    assert normals.shape == (hashes, bits, d)
    assert normals.dtype == np.float32


def expectation_by_enumeration(bits: int, x: HostArray) -> HostArray:
    """Return the collision probabilities of rows of width 4 over all 2^12 draws of signs, one code
    of the first block.
    """
    total = np.zeros((len(x), len(x)))
    for signs in itertools.product([-1.0, 1.0], repeat=12):
        met = x @ hadamard.hadamard_rows(np.reshape(signs, (3, 4)))[:bits].T > 0
        total += (met[:, None] == met[None]).all(-1)
    return np.asarray(total / 2**12)


def test_mean_over_draws_is_the_expectation_by_enumeration() -> None:
    """And not (1 - theta/pi)^bits: far pairs collide less often."""
    x, bits, hashes, calls = (
        np.array([[1.0, 0.3, -0.2, 0.4], [-0.5, 1.1, 0.2, 0.7], [0.3, -0.9, 1.3, 0.1]]),
        4,
        2,
        1500,
    )
    p = expectation_by_enumeration(bits, x)
    problem = Case(name="three", q=x, k=x, v=np.eye(3))
    outs = np.stack(
        [
            run(sampled(bits=bits, hashes=hashes, hashing="hadamard"), problem, seed=s).value
            for s in range(calls)
        ]
    )
    z = (outs.mean(axis=0) - p) / np.sqrt(np.maximum(p * (1 - p), 1e-12) / (hashes * calls))
    assert np.abs(z).max() < 4.5
    independent = collision.pair_probability(np.arccos(collision.cosines(x, x, np)), bits)
    off = ~np.eye(3, dtype=bool)
    assert (p[off] < 0.8 * independent[off]).all()


def test_hadamard_certificate_speaks_about_its_own_expectation() -> None:
    x = np.array([[1.0, 0.3, -0.2, 0.4], [-0.5, 1.1, 0.2, 0.7], [0.3, -0.9, 1.3, 0.1]])
    problem = Case(name="three", q=x, k=x, v=np.array([[1.0], [-2.0], [3.0]]))
    target = expectation_by_enumeration(2, x) @ problem.v
    for seed in range(20):
        out = run(sampled(bits=2, hashes=400, hashing="hadamard"), problem, seed=seed)
        assert "Hadamard" in out.certificate.target
        assert (np.abs(out.value - target).max(-1) <= out.certificate.rows).all()
        assert out.certificate.bound < 6 * 0.2


def test_blocks_of_dependent_hashes_widen_the_bound() -> None:
    """Hoeffding counts blocks: two codes of a block are worth one in the worst case."""
    assert concentration.hoeffding([1] * 8, 3, 0.01) == pytest.approx(math.sqrt(math.log(600) / 16))
    assert concentration.hoeffding([2] * 4, 3, 0.01) == pytest.approx(
        min(1, math.sqrt(math.log(600) / 8))
    )
    assert concentration.hoeffding([100] * 40, 3, 0.01) == pytest.approx(
        math.sqrt(math.log(600) / 80)
    )


def test_widths_that_are_no_power_of_two_and_more_bits_than_width() -> None:
    for d, bits in ((1, 1), (3, 2), (5, 20), (100, 7)):
        problem = case(n=9, d=d)
        out = run(sampled(bits=bits, hashes=11, hashing="hadamard"), problem)
        strict = run(sampled(bits=bits, hashes=11, hashing="hadamard"), problem, STRICT)
        np.testing.assert_allclose(out.value, strict.value, atol=1e-12)
        assert np.isfinite(out.certificate.rows).all()


# --- spread ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dv", [1, 40, 100])
@pytest.mark.parametrize("hashing", ["gaussian", "hadamard"])
def test_standard_error_is_that_of_many_calls(hashing: str, dv: int) -> None:
    """Its square is an unbiased estimate of the variance of the row: means over calls agree."""
    problem, calls = case(dv=dv, clustered=True), 300
    method = sampled(bits=2, hashes=6, hashing=hashing)
    outs = [run(method, problem, seed=seed) for seed in range(calls)]
    # (calls, n)
    squares = np.stack([out.certificate.facts["standard error of a row"] for out in outs]) ** 2
    values = np.stack([out.value for out in outs])
    truth = values.var(axis=0, ddof=1).sum(axis=-1)
    spread = np.sqrt(
        ((values - values.mean(0)) ** 2).sum(-1).var(axis=0) / calls + squares.var(axis=0) / calls
    )
    assert (np.abs(squares.mean(axis=0) - truth) < 4.5 * spread + 1e-12).all()


@pytest.mark.parametrize("size", [1e200, 1.0, 1e-200])
def test_standard_error_scales_with_the_values(size: float) -> None:
    problem = case()
    one, out = (
        run(sampled(bits=3, hashes=8), problem.where(v=s * problem.v)).certificate
        for s in (1.0, size)
    )
    name = "standard error of a row"
    np.testing.assert_allclose(out.facts[name] / size, one.facts[name], rtol=1e-9)


def test_one_hash_has_no_standard_error() -> None:
    assert "standard error of a row" not in run(sampled(hashes=1), case()).certificate.facts


def test_group_sizes() -> None:
    assert sampling.group_sizes([1] * 7, 3) == [3, 2, 2]
    assert sampling.group_sizes([1] * 4, 9) == [1] * 4
    assert sampling.group_sizes([5, 5, 2], 2) == [10, 2]
    assert sampling.group_sizes([16], 8) == [16]


def test_groups_of_unequal_size_give_an_unbiased_variance() -> None:
    """Enumerated: three fair bits in groups of 2 and 1."""
    found = []
    for bits in itertools.product([0.0, 1.0], repeat=3):
        sums, sizes = [bits[0] + bits[1], bits[2]], [2, 1]
        mean = sum(bits) / 3
        found.append(sum(m * (s / m - mean) ** 2 for s, m in zip(sums, sizes, strict=True)) / 3)
    assert np.mean(found) == pytest.approx(0.25 / 3)


# --- Bernstein ------------------------------------------------------------------------------------


def test_column_variance_is_the_enumerated_one() -> None:
    """One bit in the plane: a hyperplane is a uniform angle, so a fine grid of angles enumerates
    it.
    """
    angles = np.array([0.3, 1.1, 2.9, 4.0])
    k, q = np.stack([np.cos(angles), np.sin(angles)], -1), np.array([[1.0, 0.0]])
    v = np.array([[1.0, 2.0], [3.0, -1.0], [-2.0, 0.5], [1.0, 1.0]])
    grid = (np.arange(200_000) + 0.5) * (2 * math.pi / 200_000)
    w = np.stack([np.cos(grid), np.sin(grid)])
    sums = ((q @ w > 0) == (k @ w > 0)).T @ v
    np.testing.assert_allclose(
        collision.column_variance(q, k, v, 1, np)[0], sums.var(axis=0), atol=1e-4
    )


@pytest.mark.parametrize("n", [20, 90])  # exact variance, sample variance
def test_bernstein_holds_and_is_the_sharper_one_for_many_hashes(n: int) -> None:
    problem = case(n=n, dv=3)
    target = run(Row(name="e", method=aa.YosoExpectation(bits=5), slack=1e3), problem).value
    for seed in range(5):
        out = run(sampled(bits=5, hashes=3000, bound="bernstein"), problem, seed=seed)
        loose = run(sampled(bits=5, hashes=3000), problem, seed=seed)
        assert out.certificate.theorem == "ours.shared-bernstein"
        assert (np.abs(out.value - target).max(-1) <= out.certificate.rows).all()
        assert (out.certificate.rows < 0.6 * loose.certificate.rows).all()
        np.testing.assert_allclose(out.value, loose.value, atol=1e-11)


def test_bernstein_of_few_hashes_is_no_worse_than_the_width() -> None:
    problem = case(n=90)
    width = np.abs(problem.v).sum(axis=0).max()
    for hashes in (1, 2, 5):
        bound = run(sampled(hashes=hashes, bound="bernstein"), problem).certificate.bound
        assert 0.99 * width < bound < width * (1 + 1e-9)


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_bernstein_scales_with_the_values(size: float) -> None:
    for n in (20, 90):
        problem = case(n=n)
        one, out = (
            run(
                sampled(bits=3, hashes=900, bound="bernstein"), problem.where(v=s * problem.v)
            ).certificate
            for s in (1, size)
        )
        np.testing.assert_allclose(out.rows / size, one.rows, rtol=1e-6)


# --- hashes_for -----------------------------------------------------------------------------------


def test_hashes_for_is_the_least_number_whose_bound_is_within_tolerance() -> None:
    problem = case(n=10, dv=2)
    hashes = aa.Yoso.hashes_for(tolerance=2.0, delta=0.05, v=problem.v)
    enough, few = (
        run(sampled(bits=2, hashes=m, confidence=0.95), problem).certificate.bound
        for m in (hashes, hashes - 2)
    )
    assert enough <= 2.0 * (1 + 1e-9) < few
    assert aa.Yoso.hashes_for(2.0, 0.05, problem.v, queries=1) < hashes
    assert aa.Yoso.hashes_for(1e-9, 0.05, np.zeros((3, 1))) == 1


def test_hashes_for_refuses_what_has_no_answer() -> None:
    v = np.ones((3, 1))
    for tolerance in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"tolerance\(=.*must be a finite positive number"):
            aa.Yoso.hashes_for(tolerance, 0.1, v)
    for delta in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"delta\(=.*must lie strictly between 0 and 1"):
            aa.Yoso.hashes_for(1.0, delta, v)
    with pytest.raises(ValueError, match="no number of hashes will do; use YosoExpectation"):
        aa.Yoso.hashes_for(1e-300, 0.1, v)
    for bad in (np.inf, np.nan):
        with pytest.raises(ValueError, match="v is not finite"):
            aa.Yoso.hashes_for(1.0, 0.1, v * bad)
    with pytest.raises(ValueError, match=r"queries\(=0\) must be at least 1"):
        aa.Yoso.hashes_for(1.0, 0.1, v, queries=0)
    for wrong in ("a", np.ones(2), None):
        with pytest.raises(TypeError, match=r"tolerance\(="):
            aa.Yoso.hashes_for(wrong, 0.1, v)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"v has shape \(3,\)"):
        aa.Yoso.hashes_for(1.0, 0.1, v[:, 0])


def test_one_hash_is_enough_where_nothing_can_be_wrong() -> None:
    for shape in ((3, 0), (0, 2), (0, 3, 1)):
        assert aa.Yoso.hashes_for(1.0, 0.1, np.ones(shape)) == 1
    assert aa.Yoso.hashes_for(1e-140, 0.5, np.ones((1, 1)), queries=np.int8(1)) > 10**279


# --- the NumPy path -------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 16, 17])
def test_packed_codes_are_the_codes(bits: int) -> None:
    rng = np.random.default_rng(bits)
    x = rng.standard_normal((numpy_tables.TOKENS + 3, 4))
    normals = draw_hyperplanes(3, bits, x, rng)
    found = numpy_tables.packed_codes(x, normals)
    np.testing.assert_array_equal(found - (np.arange(3) << bits), codes(x, normals, np).T)


@pytest.mark.parametrize("entrywise", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numpy_path_is_the_generic_one(
    dtype: str, entrywise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of 64 keys and 32 tokens, so that their joints are met."""
    monkeypatch.setattr(numpy_tables, "TOKENS", 32)
    monkeypatch.setattr(numpy_tables, "KEYS", 64)
    rng = np.random.default_rng(1)
    q, k, v = (rng.standard_normal((2, 150, c)).astype(dtype) for c in (4, 4, 3))
    weights = (rng.random((2, 150)) < 0.7).astype(dtype)
    v = v * weights[..., None]
    normals = draw_hyperplanes(9, 3, q, rng)
    xp = __import__("array_api_compat").array_namespace(q)
    options: dict[str, Any] = {"entrywise": entrywise, "xp": xp}
    for groups in ([9], [4, 3, 2], [1] * 9):
        fast = sampling.sample(v, k, q, normals, groups, weights=weights, **options)
        slow = sampling._generic(v, k, q, normals, groups, entrywise, weights, xp)
        tolerance = 1e-12 if dtype == "float64" else 2e-5
        np.testing.assert_allclose(fast.mean, slow.mean, rtol=0, atol=tolerance)
        np.testing.assert_allclose(fast.counts, slow.counts, rtol=1e-12)
        assert fast.mean.dtype == dtype
        if len(groups) > 1:
            np.testing.assert_allclose(fast.squares, slow.squares, rtol=0, atol=10 * tolerance)
        else:
            assert fast.squares is None
            assert slow.squares is None


def test_tables_too_large_to_hold_together_are_taken_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = case()
    whole = run(sampled(bits=6, hashes=5), problem, NUMPY)
    monkeypatch.setattr(numpy_tables, "LARGEST", 10)
    one_by_one = run(sampled(bits=6, hashes=5), problem, NUMPY)
    np.testing.assert_allclose(whole.value, one_by_one.value, rtol=0, atol=1e-13)


def test_float32_sums_of_many_keys_stay_within_the_rounding_bound() -> None:
    """One bucket for all: the hardest sum."""
    n = 60_000
    values = np.random.default_rng(0).standard_normal((n, 2)).astype(np.float32) + 3
    q = np.ones((n, 2), np.float32)
    out = sampling.sample(
        values,
        q,
        q[:1],
        draw_hyperplanes(2, 3, q, np.random.default_rng(0)),
        [1, 1],
        entrywise=False,
        weights=None,
        xp=np,
    )
    exact, width = values.astype(np.float64).sum(0), np.abs(values.astype(np.float64)).sum(0)
    assert (np.abs(out.mean[0] - exact) <= numpy_tables.sum_error(n, 2, 3, 2.0**-24) * width).all()
