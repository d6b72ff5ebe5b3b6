"""YOSO attention, sampled and in expectation: against each other, against sums written out, against
ball arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cases import Case, run
from methods import Row
from namespaces import LIBRARIES, STRICT, Library
from oracle import enclose, row_errors

import approxattn as aa
from approxattn._arrays import HostArray


def expectation(bits: int = 8, **options: Any) -> Row:
    normalize = bool(options.get("normalize"))
    method = aa.YosoExpectation(bits=bits, **options)
    return Row(
        name="expectation", method=method, target="yoso", bits=bits, normalize=normalize, slack=1e3
    )


def sampled(bits: int = 3, **options: Any) -> Row:
    normalize = bool(options.get("normalize"))
    return Row(
        name="sampled",
        method=aa.Yoso(bits=bits, **options),
        target="yoso",
        bits=bits,
        normalize=normalize,
        slack=1e3,
    )


def problem(kind: str, n: int = 24, d: int = 4, dv: int = 3) -> Case:
    """Return a problem without leading axes: random, clustered, or made of what breaks angles."""
    rng = np.random.default_rng([n, d])
    q, k, v = rng.standard_normal((n, d)), rng.standard_normal((n, d)), rng.standard_normal((n, dv))
    if kind == "clustered":
        centres = rng.standard_normal((3, d))
        q, k = (centres[rng.integers(0, 3, n)] + 1e-3 * x for x in (q, k))
    if kind == "adversarial":
        k = q * rng.choice([-1.0, 1.0, 3.0, -0.1], (n, 1))  # parallel, opposite, of other lengths
        k[::3] = k[0] * (1 + 1e-15)
        q, k = q * 2.0 ** rng.integers(-30, 30, (n, 1)), k * 2.0 ** rng.integers(-30, 30, (n, 1))
        v = v * 2.0 ** rng.integers(-20, 20, (n, 1))
    return Case(name=kind, q=q, k=k, v=v)


KINDS = ("random", "clustered", "adversarial")


def written_out(case: Case, bits: int) -> HostArray:
    """Return YOSO-E by loops over queries and keys, angles by the stable half-angle formula."""
    out = np.zeros((len(case.q), case.v.shape[1]))
    for i, x in enumerate(case.q):
        for y, v in zip(case.k, case.v, strict=True):
            a, b = x / np.linalg.norm(x), y / np.linalg.norm(y)
            theta = 2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b))
            out[i] += (1 - theta / math.pi) ** bits * v
    return out


# --- the expectation ------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 5, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_expectation_is_the_sum_written_out(kind: str, bits: int) -> None:
    case = problem(kind)
    np.testing.assert_allclose(
        run(expectation(bits), case).value,
        written_out(case, bits),
        rtol=0,
        atol=1e-7 * np.abs(case.v).sum(),
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("bits", [1, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_expectation_is_within_its_certificate(
    kind: str, bits: int, normalize: bool, dtype: str
) -> None:
    case, row = problem(kind).astype(dtype), expectation(bits, normalize=normalize)
    out = run(row, case)
    errors = row_errors(out.value, enclose(row, case))
    assert out.certificate.kind == "surely"
    assert (errors <= out.certificate.rows).all()
    assert out.certificate.bound <= 1e-4 * (1 if normalize else np.abs(case.v).sum()), (
        "so wide as to say nothing"
    )


def test_certificate_is_sharp_away_from_parallel_rows() -> None:
    """No cosine beyond 0.99: the bound is near the rounding unit; one parallel pair costs half of
    the digits, for its own row only.
    """
    case = problem("random", d=16)
    far = run(expectation(8), case).certificate.rows
    assert far.max() < 1e-12 * np.abs(case.v).sum()
    rows = run(
        expectation(8), case.where(k=np.concatenate([case.q[:1], case.k[1:]]))
    ).certificate.rows
    assert rows[0] > 1e-8
    assert rows[1:].max() < 1e-12 * np.abs(case.v).sum()


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_parallel_and_opposite_vectors(sign: float, n: int) -> None:
    """Cosines that rounding pushes beyond 1: weight 1 for parallel rows, 0 for opposite ones, never
    NaN.
    """
    for d in (1, 3, 64):
        q = np.random.default_rng(d).standard_normal((n, d)) if d > 1 else np.full((n, 1), 0.3)
        q = np.broadcast_to(q[:1], (n, d))
        value = run(expectation(4), Case(name="same", q=q, k=sign * 7 * q, v=np.ones((n, 2)))).value
        np.testing.assert_allclose(value, n if sign > 0 else 0, atol=1e-7 * n)


def test_gram_of_many_rows_has_no_nan() -> None:
    x = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    value = run(expectation(9), Case(name="gram", q=x, k=x, v=np.ones((300, 1), np.float32))).value
    assert (value >= 1 - 1e-5).all(), "every row meets itself with weight 1"


def test_orthogonal_keys_weigh_two_to_the_minus_bits() -> None:
    out = run(expectation(5), Case(name="axes", q=np.eye(3), k=np.eye(3), v=np.eye(3)))
    np.testing.assert_allclose(out.value, np.where(np.eye(3), 1, 2.0**-5), rtol=1e-14)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_masks_leave_keys_out(library: Library, causal: bool) -> None:
    case = problem("random", n=9)
    mask = np.array([True, False, True, True, False, True, True, False, True])
    out = run(expectation(3), case.where(options={"key_mask": mask, "causal": causal}), library)
    for i in range(9):
        seen = np.flatnonzero(mask & (np.arange(9) <= i if causal else True))
        alone = case.where(q=case.q[i : i + 1], k=case.k[seen], v=case.v[seen])
        np.testing.assert_allclose(out.value[i : i + 1], written_out(alone, 3), atol=1e-7)


def test_blocks_of_queries_join() -> None:
    """More pairs than are taken at a time: 1100^2 > 2^20, so that blocks and their causal masks
    must fit together.
    """
    rng = np.random.default_rng(1)
    q, k = rng.standard_normal((2, 1100, 3))
    case = Case(name="long", q=q, k=k, v=np.ones((1100, 1)), options={"causal": True})
    value = run(expectation(2), case).value
    for i in (0, 952, 953, 954, 1099):
        alone = Case(name="row", q=q[i : i + 1], k=k[: i + 1], v=case.v[: i + 1])
        np.testing.assert_allclose(value[i : i + 1], written_out(alone, 2), rtol=1e-10)


# --- the sampled method ---------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_sampled_is_within_its_certificate(kind: str, dtype: str, normalize: bool) -> None:
    case = problem(kind).astype(dtype)
    row = sampled(4, hashes=300, normalize=normalize)
    enclosure = enclose(row, case)
    for seed in range(5):
        out = run(row, case, seed=seed)
        assert out.certificate.target == "YOSO-E"
        assert out.certificate.failure == pytest.approx(0.01)
        assert (row_errors(out.value, enclosure) <= out.certificate.rows).all()


def test_bound_is_hoeffding_with_the_l1_width() -> None:
    case = problem("random", n=10, dv=2)
    found = run(sampled(2, hashes=5000, confidence=0.9), case).certificate.bound
    width = np.abs(case.v).sum(axis=0).max()
    expected = width * math.sqrt(math.log(2 * 10 * 2 / 0.1) / (2 * 5000))
    assert expected < found < expected * (1 + 1e-9)
    assert width < run(sampled(2, hashes=1), case).certificate.bound < width * (1 + 1e-9), (
        "never beyond the width itself"
    )


def test_equal_keys_refute_a_bound_for_independent_keys() -> None:
    """64 equal keys at a right angle, one bit: the l2 form of Hoeffding fails in half of the draws,
    the l1 form in none of 200.
    """
    n, hashes, delta = 64, 16, 0.01
    case = Case(
        name="equal", q=np.array([[1.0, 0.0]]), k=np.tile([[0.0, 1.0]], (n, 1)), v=np.ones((n, 1))
    )
    outs = [run(sampled(1, hashes=hashes), case, seed=seed) for seed in range(200)]
    errors = np.array([abs(out.value[0, 0] - n / 2) for out in outs])
    assert all(error <= out.certificate.bound for error, out in zip(errors, outs, strict=True))
    independent = math.sqrt(n) * math.sqrt(math.log(2 / delta) / (2 * hashes))
    assert (errors > independent).mean() > 0.3


def test_mean_over_draws_is_the_expectation_and_its_error_the_fact() -> None:
    case, hashes, calls = problem("clustered", n=8), 4, 400
    outs = [run(sampled(3, hashes=hashes), case, seed=seed) for seed in range(calls)]
    values = np.stack([out.value for out in outs])
    target = run(expectation(3), case).value
    z = (values.mean(axis=0) - target) / (values.std(axis=0) / math.sqrt(calls) + 1e-12)
    assert np.abs(z).max() < 4.5
    fact = outs[0].certificate.facts["root mean square error of a row before normalising"]
    squares = ((values - target) ** 2).sum(axis=-1)
    assert (
        np.abs(squares.mean(axis=0) - fact**2) < 4.5 * squares.std(axis=0) / math.sqrt(calls)
    ).all()


def test_facts_count_collisions() -> None:
    case = Case(
        name="two",
        q=np.array([[1.0], [-1.0]]),
        k=np.array([[2.0], [3.0], [-4.0]]),
        v=np.ones((3, 1)),
    )
    facts = run(sampled(4, hashes=3), case).certificate.facts
    assert facts["collided fraction"] == pytest.approx(0.5)
    assert facts["rows without collision"] == 0
    alone = run(sampled(4, hashes=3, normalize=True), case.where(k=np.array([[2.0], [3.0], [4.0]])))
    assert alone.certificate.facts["rows without collision"] == 1
    assert alone.value.tolist() == [[1.0], [0.0]], "a row without collision stays zero"
    assert (
        "root mean square error of a row before normalising"
        not in run(sampled(4), problem("random", n=80)).certificate.facts
    )


def test_masked_keys_are_not_in_the_tables() -> None:
    case, mask = problem("random", n=12), np.arange(12) % 3 > 0
    masked = run(sampled(3), case.where(options={"key_mask": mask}))
    short = run(sampled(3), case.where(k=case.k[mask], v=case.v[mask]))
    np.testing.assert_allclose(masked.value, short.value, rtol=0, atol=1e-13)
    np.testing.assert_allclose(masked.certificate.rows, short.certificate.rows, rtol=1e-9)
    assert masked.certificate.facts["collided fraction"] == pytest.approx(
        short.certificate.facts["collided fraction"]
    )


@pytest.mark.parametrize(
    "row",
    [sampled(3), sampled(3, normalize=True), expectation(3), expectation(3, normalize=True)],
    ids=str,
)
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_libraries_and_batches_agree(library: Library, row: Row) -> None:
    items = [problem("random", n=7), problem("adversarial", n=7)]
    mask = np.array([[True, False, True, True, True, True, True], [True] * 7])
    batch = Case(
        name="batch",
        **{x: np.stack([getattr(item, x) for item in items]) for x in "qkv"},
        options={"key_mask": mask},
    )
    out = run(row, batch, library)
    assert library.owns(out.array)
    for index, item in enumerate(items):
        alone = run(row, item.where(options={"key_mask": mask[index]}))
        size = 1 if row.normalize else np.abs(item.v).sum()
        np.testing.assert_allclose(out.value[index], alone.value, rtol=0, atol=1e-7 * size)
        np.testing.assert_allclose(
            out.certificate.rows[index], alone.certificate.rows, rtol=1e-5, atol=1e-12 * size
        )


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("d", [1, 2])
def test_few_tokens(n: int, d: int) -> None:
    case = problem("random", n=n, d=d, dv=1)
    for row in (sampled(2, hashes=4), expectation(2)):
        assert (
            row_errors(run(row, case).value, enclose(row, case)) <= run(row, case).certificate.rows
        ).all()


@pytest.mark.parametrize("size", [1e305, 1e-250, 0.0])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("make", [sampled, expectation])
def test_values_of_any_size(make: Any, normalize: bool, size: float) -> None:
    """Nothing overflows, nothing underflows unseen: the result scales with the values, and so does
    its bound.
    """
    case = problem("random", n=6)
    row = make(3, normalize=normalize)
    one, out = run(row, case), run(row, case.where(v=size * case.v))
    factor = (1.0 if size else 0.0) if normalize else size
    np.testing.assert_allclose(out.value, factor * one.value, rtol=1e-7, atol=1e-300)
    assert np.isfinite(out.certificate.rows).all()
    if not normalize and size:
        np.testing.assert_allclose(out.certificate.rows / size, one.certificate.rows, rtol=1e-6)


# --- zero rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [sampled, expectation])
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_zero_rows(library: Library, make: Any) -> None:
    case = problem("random", n=5, d=2)
    for name in "qk":
        x = getattr(case, name).copy()
        x[3] = 0
        zero = case.where(**{name: x})
        with pytest.raises(ValueError, match=rf"{name}\[3\] is a zero row.*zero_rows='orthogonal'"):
            run(make(3), zero, library)
        row = make(3, zero_rows="orthogonal")
        out = run(row, zero, library)
        assert (row_errors(out.value, enclose(row, zero)) <= out.certificate.rows).all()
    mask = np.array([True, True, True, False, True])
    # a key that nobody sees needs no direction
    run(make(3), zero.where(options={"key_mask": mask}), library)


def test_zero_rows_in_the_sample_have_the_expectation_promised() -> None:
    q, k = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [2.0, -1.0]])
    case = Case(name="zero", q=q, k=k, v=np.eye(2))
    target = run(expectation(2, zero_rows="orthogonal"), case)
    np.testing.assert_allclose(target.value[0], [1, 0.25], rtol=1e-14)
    np.testing.assert_allclose(target.value[1, 0], 0.25, rtol=1e-14)
    found = run(sampled(2, hashes=20_000, zero_rows="orthogonal"), case).value
    assert found[0, 0] == 1
    assert np.abs(found - target.value).max() < 4 * math.sqrt(0.25 * 0.75 / 20_000)


def test_strict_library_gives_the_sample_of_numpy() -> None:
    case = problem("random")
    np.testing.assert_allclose(
        run(sampled(5), case, STRICT).value, run(sampled(5), case).value, rtol=0, atol=1e-13
    )
