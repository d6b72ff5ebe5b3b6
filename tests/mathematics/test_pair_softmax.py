"""Attention over colliding pairs: the sparse BERT-LSH against the dense one, certificates of both
and of LSHSoftmax, the refusals.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cases import Case, run
from colliding import case
from methods import Row
from namespaces import LIBRARIES, Library
from oracle import enclose, row_errors

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.methods.colliding_pairs import pairs

NEVER = -math.inf


def bert(fill: float = NEVER, **options: Any) -> Row:
    return Row(name="bert", method=aa.BertLSH(fill=fill, **options), slack=1e3)


MASK = np.arange(19) % 4 != 0
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": True},
    "mask": {"key_mask": MASK},
    "causal mask": {"causal": True, "key_mask": np.arange(19) % 4 != 1, "scale": 0.3},
}

# --- pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("buckets", [1, 3, 50])
def test_pairs_are_those_of_the_loop(buckets: int, causal: bool) -> None:
    rng = np.random.default_rng(buckets)
    q_codes, k_codes = rng.integers(0, buckets, (2, 3, 12))
    shown = np.array([0, 1, 3, 4, 5, 8, 9, 11])
    found = pairs.colliding_pairs(q_codes, k_codes[:, shown], shown, causal=causal)
    expected = [
        [j for j in shown if (q_codes[:, i] == k_codes[:, j]).any() and (j <= i or not causal)]
        for i in range(12)
    ]
    assert [
        found.keys[found.starts[i] : found.starts[i + 1]].tolist() for i in range(12)
    ] == expected
    assert pairs.count_collisions(q_codes, k_codes) == sum(
        int((a[:, None] == b).sum()) for a, b in zip(q_codes, k_codes, strict=True)
    )


def test_blocks_hold_every_pair_once_and_at_most_double_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pairs, "ENTRIES", 64)
    counts = np.array([0, 1, 5, 0, 8, 3, 9, 2, 2])
    made = pairs.Pairs(
        starts=np.concatenate([[0], np.cumsum(counts)]), keys=np.arange(counts.sum())
    )
    seen: dict[int, list[int]] = {}
    for block in pairs.row_blocks(made, 4):
        assert block.keys.shape == block.present.shape
        assert block.present.size < 2 * block.present.sum()
        assert block.present.size <= 16 or len(block.rows) == 1
        for row, keys, present in zip(block.rows, block.keys, block.present, strict=True):
            assert row not in seen
            seen[int(row)] = keys[present].tolist()
    assert sorted(seen) == np.flatnonzero(counts).tolist()
    assert [key for row in sorted(seen) for key in seen[row]] == list(range(counts.sum()))


@pytest.mark.parametrize("causal", [False, True])
def test_work_is_linear_in_the_batch(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch item counts the keys it sees for itself, and nobody counts those of all items
    again for each of them.
    """
    counted = []

    def counting(problem: Problem) -> HostArray:
        counted.append(math.prod(problem.batch) * problem.n_q)
        return visible(problem)

    facts: Any = Problem
    visible = facts.visible_keys.func
    monkeypatch.setattr(Problem, "visible_keys", property(counting))
    totals = []
    for items in (4, 8):
        q, k, v, g = np.random.default_rng(0).standard_normal((4, items, 6, 2))
        mask = np.arange(6) != 3
        for method in (aa.BertLSH(sparse=True), aa.LSHSoftmax(bits=2)):
            for verb, arrays in ((aa.attention, (q, k, v)), (aa.attention_vjp, (q, k, v, g))):
                rng = np.random.default_rng(1)
                verb(*arrays, method, causal=causal, key_mask=mask, rng=rng)
        totals.append(sum(counted))
        counted.clear()
    assert 0 < totals[1] == 2 * totals[0]


# --- sparse BERT-LSH ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "shape",
    [{"bits": 1}, {"bits": 4, "tables": 3}, {"bits": 12, "table_size": 2**20}, {"table_size": 1}],
    ids=str,
)
@pytest.mark.parametrize("fill", [NEVER, 0.0])
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_sparse_is_dense(
    library: Library, fill: float, shape: dict[str, int], options: str, dtype: str
) -> None:
    problem = case().where(options=OPTIONS[options]).astype(dtype)
    dense, sparse = (
        run(bert(fill=fill, sparse=s, **shape), problem, library) for s in (False, True)
    )
    assert library.owns(sparse.array)
    np.testing.assert_allclose(
        sparse.value, dense.value, rtol=0, atol=1e-13 if dtype == "float64" else 1e-5
    )
    for fact in ("collided fraction", "rows without collision", "expected collided fraction"):
        assert sparse.certificate.facts[fact] == dense.certificate.facts[fact]
    if dtype == "float64" and fill == NEVER:
        assert (sparse.certificate.rows >= dense.certificate.rows * (1 - 1e-9)).all(), (
            "it knows less"
        )


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "row",
    [
        bert(bits=3, sparse=True),
        bert(fill=0.0, bits=3, sparse=True),
        bert(fill=0.0, bits=1, tables=4, sparse=True),
        Row(name="ht", method=aa.LSHSoftmax(bits=2, tables=2), slack=1e3),
    ],
    ids=str,
)
def test_error_is_within_the_certificate(row: Row, options: str) -> None:
    for dtype in ("float64", "float32"):
        problem = case().where(options=OPTIONS[options]).astype(dtype)
        enclosure = enclose(row, problem)
        for seed in range(4):
            out = run(row, problem, seed=seed)
            assert out.certificate.kind == "surely"
            assert (row_errors(out.value, enclosure) <= out.certificate.rows).all()


def test_everything_collides_is_exact_attention() -> None:
    """One bucket: no key is dropped, so only rounding is left, for both."""
    problem = case()
    exact = run(Row(name="exact", method=aa.Exact(), slack=1e3), problem)
    out = run(bert(table_size=1, sparse=True), problem)
    np.testing.assert_allclose(out.value, exact.value, rtol=0, atol=1e-14)
    assert out.certificate.bound < 1e-12
    same = problem.where(
        k=np.tile([[1.0, 2.0, 3.0, 4.0]], (19, 1)), q=np.tile([[1.0, 2.0, 3.0, 4.0]], (19, 1))
    )
    np.testing.assert_allclose(
        run(Row(name="ht", method=aa.LSHSoftmax(), slack=1), same).value,
        same.v.mean(axis=0)[None].repeat(19, 0),
        atol=1e-14,
    )


def test_filled_row_is_within_its_bound_however_extreme_the_scores() -> None:
    """Nearly all keys collide with scores of -hundreds, so that the one other key decides, or one
    collides with a huge score.
    """
    rng = np.random.default_rng(3)
    for n, size in ((2, 3.0), (30, 30.0), (30, -30.0), (200, -300.0), (200, 300.0)):
        k = np.concatenate([np.ones((n - 1, 1)), -np.ones((1, 1))])
        problem = Case(
            name="extreme",
            q=np.array([[1.0]]),
            k=size * k,
            v=rng.standard_normal((n, 2)) * 10.0 ** rng.integers(-3, 4, (n, 1)),
        )
        enclosure = enclose(bert(), problem)
        for dtype in ("float64", "float32"):
            for seed in range(3):
                out = run(
                    bert(fill=0.0, bits=30, table_size=2**40, sparse=True),
                    problem.astype(dtype),
                    seed=seed,
                )
                dense = run(
                    bert(fill=0.0, bits=30, table_size=2**40), problem.astype(dtype), seed=seed
                )
                scale = np.finfo(dtype).eps * n * np.abs(problem.v).max()
                np.testing.assert_allclose(out.value, dense.value, rtol=0, atol=8 * n * scale)
                assert (
                    row_errors(out.value, enclose(bert(), problem.astype(dtype)))
                    <= out.certificate.rows
                ).all()
    assert len(enclosure) == 1
    q = np.array([[2048.0], [2080.0]])  # every key collides, and e^-2048 underflows
    near = aa.attention(
        q,
        np.array([[-1.0]]),
        np.ones((1, 1)),
        aa.BertLSH(table_size=1, sparse=True),
        rng=np.random.default_rng(0),
    )
    np.testing.assert_array_equal(near.value, 1.0)
    assert near.certificate.bound < 1e-10


def test_filled_bound_is_sharp_for_small_scores() -> None:
    """Two keys +-a, neither of which collides: TV <= tanh(a/2), and the weights 1/2, 1/2 are off by
    tanh(a)/2.
    """
    problem = Case(
        name="two",
        q=np.array([[0.1]]),
        k=np.array([[1.0], [-1.0]]),
        v=np.array([[1.0], [0.0]]),
        options={"scale": 1.0},
    )
    one = problem.where(k=np.array([[-1.0], [-0.9]]))
    out = run(bert(fill=0.0, bits=60, table_size=2**40, sparse=True), one)
    assert out.certificate.facts["rows without collision"] == 1
    assert out.certificate.bound == pytest.approx(math.tanh(0.05), rel=1e-9)
    both = run(bert(fill=0.0, bits=60, table_size=2**40, sparse=True), problem)
    assert both.certificate.facts["rows without collision"] == 0
    # b = 1/(1 + Z), Z = e^0.1 for the key that met; the other has at least weight e^-0.1 and at
    # most e^0.1
    z, b, t = math.exp(0.1), 1 / (1 + math.exp(0.1)), math.tanh(0.05)
    high, low = math.exp(0.1) / (math.exp(0.1) + z), math.exp(-0.1) / (math.exp(-0.1) + z)
    assert both.certificate.bound == pytest.approx(
        min(t, max(high - b + b * t, b - low + low * t)), rel=1e-9
    )
    assert both.certificate.theorem == "ours.filled-keys"


def test_dropped_mass_is_the_bound_where_scores_are_equal() -> None:
    """Two keys of the largest score, one opposite: mu <= D e^B / (D e^B + Z) with Z = e^B for the
    kept one.
    """
    problem = Case(
        name="two", q=np.array([[2.0]]), k=np.array([[3.0], [-3.0]]), v=np.array([[1.0], [0.0]])
    )
    out = run(bert(bits=20, table_size=2**30, sparse=True), problem)
    assert out.value[0, 0] == 1
    assert out.certificate.bound == pytest.approx(0.5, rel=1e-9)


def test_too_many_pairs_are_announced_before_they_are_formed() -> None:
    n = 200_000  # n^2 = 4e10 pairs in one bucket: forming them would take terabytes
    q = np.ones((n, 1))
    for method in (aa.BertLSH(fill=NEVER, sparse=True), aa.LSHSoftmax()):
        with pytest.raises(
            MemoryError,
            match=(
                r"max_pairs\(=67108864\): \d+ collisions \(100 % of the pairs of a table\) "
                r"would need about \d.*GiB"
            ),
        ):
            aa.attention(q, q, q, method, rng=np.random.default_rng(0))
    small = case()
    with pytest.raises(MemoryError, match=r"max_pairs\(=3\)"):
        run(bert(sparse=True, max_pairs=3), small)


def test_work_is_in_proportion_to_the_pairs() -> None:
    """Reported count: 2 x 2n d K L; everything: scores, softmax and product with V of the pairs,
    not of n^2.
    """
    n, d, dv = 300, 16, 5
    problem = case(n=n, d=d, dv=dv)
    dense, sparse = (run(bert(bits=8, sparse=s), problem).certificate.facts for s in (False, True))
    met = round(sparse["collided fraction"] * n * n)
    assert sparse["flops of hashing"] == dense["flops of hashing"] == 2 * 2 * n * d * 8
    assert sparse["flops"] == 4 * n * d * 8 + met * (2 * d + 4 + 2 * dv) + n * dv
    assert dense["flops"] == 4 * n * d * 8 + met * 2 * d + n * n * (4 + 2 * dv) + n * dv
    paper = run(
        Row(name="paper", method=aa.BertLSH(fidelity="paper-code"), slack=1), case(n=10, d=64)
    ).certificate.facts
    assert 2 * paper["flops of hashing"] == 10_240, "5.12 K L KFLOP for two heads, as reported"


def test_bad_arguments() -> None:
    with pytest.raises(
        ValueError, match=r"sparse=True with fidelity='paper-code'.*use fidelity='corrected'"
    ):
        aa.BertLSH(sparse=True, fidelity="paper-code")
    with pytest.raises(TypeError, match=r"sparse\(=1\) must be True or False"):
        aa.BertLSH(sparse=1, fill=NEVER)  # type: ignore[arg-type]
    for method in (aa.BertLSH, aa.LSHSoftmax):
        with pytest.raises(ValueError, match=r"max_pairs\(=0\) must lie in \[1, "):
            method(max_pairs=0)
    with pytest.raises(ValueError, match=r"bits\(=63\) must lie in \[1, 62\]"):
        aa.LSHSoftmax(bits=63)
    with pytest.raises(ValueError, match=r"radius\(=2\) must lie in \[0, 1\]"):
        aa.LSHSoftmax(radius=2)
