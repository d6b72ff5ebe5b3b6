"""Every method that works in blocks of tokens: the outputs and the bounds of a call in memory, true
bounds at any scale, the same bits whoever does the work.
"""

from __future__ import annotations

import itertools
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dense_attention import output, row_errors, tokens

import approxattn as aa
from approxattn import distributed
from approxattn._problem import pose
from approxattn.bounds.elsewhere import beside, extent_of
from approxattn.bounds.scores import score_bound, value_spread
from approxattn.certificate import SOFTMAX
from approxattn.methods.low_rank.blocks.combining import DRAWN, Drawn
from approxattn.methods.sharded import Answer, Call, Pass
from approxattn.sharding.support import TABLE, printed

SUMMARIES = aa.SelectedSummaries(heavy=3, recent=5, summaries=4, sinks=2, block=4)
SAME = [
    aa.Exact(),
    SUMMARIES,
    aa.Performer(features=32),
    aa.Performer(features=20_000, kind="hyperbolic", orthogonal=False),
    aa.Linformer(rank=7, sketch="mean-pool"),
    aa.Linformer(rank=300, sketch="max-pool"),
    aa.Linformer(rank=9, sketch="row-sample"),
    aa.Nystrom(landmarks=6),
    aa.Nystrom(landmarks=40, rcond=1e-3, centred=False),
    aa.Yoso(bits=3, hashes=40),
    aa.Yoso(bits=3, hashes=25, hashing="hadamard", normalize=True),
    aa.Yoso(bits=2, hashes=30, bound="bernstein"),
]
"""Methods whose draws are those of a call in memory with the same seed."""

DRAWS = [
    aa.Linformer(rank=5, sketch=name)
    for name in ("gaussian", "rademacher", "sparse", "count-sketch", "srht")
]
CAUSAL = [aa.Exact(), SUMMARIES, aa.Performer(features=32)]
ORDERS = [(method, False) for method in SAME] + [(method, True) for method in CAUSAL]


def seed_of(method) -> int | None:
    return 3 if method.randomised else None


def both(method, arrays, *, shard: int = 40, **options):
    """Return the output in blocks and that in memory."""
    found = distributed.attention(*arrays, method, shard=shard, seed=seed_of(method), **options)
    rng = np.random.default_rng(3) if method.randomised else None
    return found, aa.attention(*arrays, method, rng=rng, **options)


@pytest.mark.parametrize(("method", "causal"), ORDERS, ids=str)
@pytest.mark.parametrize("size", [1e-3, 0.5, 3.0])
def test_outputs_and_bounds_are_those_in_memory(method, causal: bool, size: float) -> None:
    found, want = both(method, tokens(3, (150, 5), 1, size, "f8"), causal=causal)
    assert found.value == pytest.approx(want.value, rel=1e-9, abs=1e-9)
    of_one, of_other = found.certificate, want.certificate
    assert (of_one.target, of_one.theorem) == (of_other.target, of_other.theorem)
    exact = isinstance(method, aa.Exact)  # whose bound is rounding, counted in other blocks
    assert (of_one.rows <= of_other.rows * (2 if exact else 1 + 1e-6) + 1e-9).all()
    if not causal:  # where no block knows the values of later ones, and rows gain by it
        assert (of_one.rows >= of_other.rows * (0.5 if exact else 1 - 1e-6) - 1e-9).all()
    assert of_one.failure <= 1.0001 * max(of_other.failure, 1 - getattr(method, "confidence", 1))


@pytest.mark.parametrize(("method", "causal"), ORDERS, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_bounds_hold_at_any_scale(method, causal: bool, dtype: str) -> None:
    seed = seed_of(method)
    for n, size in enumerate((1e-30, 1e-6, 0.3, 8.0, 150.0)):
        if dtype == "float16" and size < 1e-6:
            continue
        arrays = tokens(3, (70, 3), 10 + n, size, dtype)
        arrays[1][5:20] = arrays[1][4]  # equal keys, equal values, and values that are large
        arrays[2][:, 1] = 7
        arrays[2][60:, 2] *= 100
        out = distributed.attention(*arrays, method, causal=causal, shard=16, seed=seed)
        if out.certificate.target == SOFTMAX:
            want = output(*arrays, causal=causal)
            assert (row_errors(out.value, want) <= out.certificate.rows).all(), size


@pytest.mark.parametrize(("method", "causal"), ORDERS, ids=str)
def test_large_queries_and_small_keys_are_no_large_scores(method, causal: bool) -> None:
    q, k, v = tokens(3, (40, 3), 20, 1.0, "f8")
    arrays = [x.astype("f4") for x in (1e25 * q, 1e-26 * k, v)]
    out = distributed.attention(
        *arrays, method, causal=causal, shard=16, seed=seed_of(method), scale=None
    )
    if out.certificate.target == SOFTMAX:
        want = output(*arrays, causal=causal)
        assert (row_errors(out.value, want) <= out.certificate.rows).all()


class Mean:
    """A method of one's own: the mean of all values, whatever queries and keys are."""

    randomised, why_no_scale, why_not_causal = False, "", "it looks at all values"

    def compute(self, problem, rng=None):
        raise NotImplementedError

    def shards(self, call):
        return MeanShards(call)


@dataclass(frozen=True)
class Total:
    """A sum of values."""

    sum: np.ndarray

    def merge(self, other: Total) -> Total:
        return Total(self.sum + other.sum)


@dataclass(frozen=True)
class MeanShards:
    """One call of it."""

    call: Call
    scan = None

    @property
    def passes(self):
        return (Pass(name="mean", takes=("v",), fold=self.fold, settle=self.settle),)

    @property
    def answers(self):
        return (Answer(name="out", takes=("q",), give=self.give),)

    def fold(self, known, first, v):
        assert not known
        assert (v[..., 0] == np.arange(first, first + v.shape[-2])).all()
        return Total(v.sum(axis=-2, keepdims=True))

    def settle(self, known, total):
        assert not known
        return total.sum / self.call.keys

    def give(self, known, first, q):
        assert first % 7 == 0
        rows = np.full(q.shape[:-1], np.inf)
        value = np.broadcast_to(known["mean"], (*q.shape[:-1], self.call.dv)).copy()
        certificate = aa.Certificate(rows=rows, target=SOFTMAX, theorem="none", unmet=("mine",))
        return {"value": aa.Approximation(value=value, certificate=certificate)}


def test_a_method_of_ones_own() -> None:
    q, k, v = tokens(3, (30, 2), 21, 1.0, "f8")
    v[:, 0] = np.arange(30)
    out = distributed.attention(q, k, v, Mean(), shard=7)
    assert out.value == pytest.approx(np.broadcast_to(v.mean(axis=0), (30, 2)))
    assert out.certificate.unmet == ("mine",)
    with pytest.raises(ValueError, match="it looks at all values"):
        distributed.attention(q, k, v, Mean(), causal=True)
    with pytest.raises(TypeError, match="it has no `gradient_shards`"):
        distributed.attention_vjp(q, k, v, v, Mean())


def test_sampled_hashes_are_within_their_bound_of_the_expectation() -> None:
    arrays = tokens(3, (200, 4), 2, 1.0, "f8")
    found = distributed.attention(*arrays, aa.Yoso(bits=2, hashes=300), shard=64, seed=5)
    want = aa.attention(*arrays, aa.YosoExpectation(bits=2))
    error = row_errors(found.value, want.value)
    assert (error <= found.certificate.rows).all()
    assert error.max() > 0


@pytest.mark.parametrize(("method", "causal"), ORDERS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (2, 3, 17, 3)])
@pytest.mark.parametrize("dtype", ["float16", "float64", "int64"])
def test_shapes_and_dtypes(method, causal: bool, shape: tuple[int, ...], dtype: str) -> None:
    arrays = tokens(3, shape, 3, 2.0, dtype)
    arrays = [np.where(x == 0, 1, x).astype(dtype) for x in arrays]  # Yoso needs directions
    given = [x.copy() for x in arrays]
    for x in arrays:
        x.setflags(write=False)
    found, want = both(method, arrays, causal=causal, shard=8)
    assert (found.value.shape, found.value.dtype) == (want.value.shape, want.value.dtype)
    assert found.certificate.rows.shape == want.certificate.rows.shape
    close = {"rel": 1e-2, "abs": 1e-2} if dtype == "float16" else {"rel": 1e-8, "abs": 1e-8}
    if method is SUMMARIES and dtype == "int64":  # of equal scores others may count as heavy
        close = {"rel": 0, "abs": (found.certificate.rows + want.certificate.rows).max()}
    assert found.value == pytest.approx(want.value, **close)
    assert all((a == b).all() for a, b in zip(arrays, given, strict=True))


@pytest.mark.parametrize("method", DRAWS, ids=str)
@pytest.mark.parametrize("n", [3, 90, DRAWN + 100])
def test_combinations_are_drawn_block_by_block(method, n: int) -> None:
    arrays = tokens(3, (n, 3), 4, 1.0, "f8")
    if method.sketch == "srht" and n == 3:
        with pytest.raises(ValueError, match=r"rank\(=5\) exceeds the 4 rows"):
            distributed.attention(*arrays, method, seed=1)
        return
    drawn = Drawn(kind=method.sketch, rank=5, n=n, seed=1)
    matrix = drawn.add(0, np.eye(n))
    assert matrix.shape == (5, n)
    want = aa.attention(*arrays, aa.Linformer(key_projection=matrix))
    for shard in (n, 200):
        found = distributed.attention(*arrays, method, shard=shard, seed=1)
        assert found.value == pytest.approx(want.value, rel=1e-7, abs=1e-7)
        assert np.isinf(found.certificate.rows).all()
        assert "refuted" in found.certificate.unmet[0]
    one = (slice(None), slice(n // 3, n // 2))
    assert (drawn.add(n // 3, np.eye(n)[one[1]])[:, one[1]] == matrix[one]).all()


def test_draws_follow_from_the_seed_and_have_the_moments_of_the_sketch() -> None:
    for name in ("gaussian", "rademacher", "sparse", "count-sketch", "srht"):
        drawn = [Drawn(kind=name, rank=8, n=700, seed=seed) for seed in (0, 1)]
        found = [one.add(0, np.eye(700)) for one in drawn]
        assert not (found[0] == found[1]).all()
        gram = found[0].T @ found[0]
        assert np.trace(gram) / 700 == pytest.approx(1, abs=0.05)
        off = gram[np.triu_indices(700, 1)]
        assert abs(off.mean()) < 0.02
        assert (off**2).mean() == pytest.approx(1 / 8, abs=0.02)


@pytest.mark.parametrize("method", [*SAME, *DRAWS], ids=str)
def test_threads_and_files_have_the_same_bits(method, tmp_path: Path) -> None:
    arrays, seed = tokens(3, (90, 4), 5, 1.0, "f4"), seed_of(method)
    want = distributed.attention(*arrays, method, shard=20, seed=seed)
    with ThreadPoolExecutor(2) as pool:
        out = distributed.attention(
            *arrays, method, shard=20, seed=seed, executor=pool, out=tmp_path / "o.npy"
        )
    assert (out.value == want.value).all()
    assert (out.rows == want.certificate.rows).all()


def test_processes_have_the_same_bits() -> None:
    arrays = tokens(4, (90, 4), 6, 0.5, "f4")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        for method in (SAME[0], SUMMARIES, SAME[2], SAME[4], SAME[7], SAME[9], DRAWS[0]):
            options = {"shard": 20, "seed": seed_of(method)}
            want = distributed.attention(*arrays[:3], method, **options)
            out = distributed.attention(*arrays[:3], method, **options, executor=pool)
            assert (out.value == want.value).all(), method
        for method, causal in itertools.product((aa.Polynomial(degree=3), aa.Exact()), (0, 1)):
            options = {"shard": 20, "causal": bool(causal)}
            grads = distributed.attention_vjp(*arrays, method, **options)
            again = distributed.attention_vjp(*arrays, method, **options, executor=pool)
            for name in ("dq", "dk", "dv"):
                assert (getattr(again, name) == getattr(grads, name)).all(), method


@pytest.mark.parametrize(
    ("method", "options", "match"),
    [
        (aa.Performer(features=4), {}, "pass seed=0"),
        (aa.Performer(features=4), {"seed": -1}, r"seed\(=-1\)"),
        (aa.Performer(features=4), {"seed": True}, "seed"),
        (aa.Nystrom(landmarks=2), {"causal": True}, "landmarks mix"),
        (aa.Nystrom(landmarks=2, mask_queries=True), {}, "mask_queries"),
        (aa.Yoso(bits=2, hashes=2), {"seed": 0, "scale": 1.0}, "directions only"),
        (aa.Yoso(bits=20, hashes=200), {"seed": 0}, "have tables of"),
        (aa.Linformer(kernel=(1.0,)), {}, "kernel of Linformer"),
        (aa.Linformer(key_projection=np.eye(6)), {}, "key_projection of Linformer"),
    ],
)
def test_refusals(method, options, match: str) -> None:
    q, k, v = tokens(3, (6, 2), 7, 1.0, "f8")
    with pytest.raises((TypeError, ValueError), match=match):
        distributed.attention(q[:5], k, v, method, **options) if "mask" in match else (
            distributed.attention(q, k, v, method, **options)
        )


def test_zero_rows_and_bad_numbers_are_named() -> None:
    q, k, v = tokens(3, (6, 2), 8, 1.0, "f8")
    k[3] = 0
    with pytest.raises(ValueError, match="zero row"):
        distributed.attention(q, k, v, aa.Yoso(bits=2, hashes=3), seed=0)
    orthogonal = aa.Yoso(bits=2, hashes=3, zero_rows="orthogonal")
    found, want = both(orthogonal, (q, k, v))
    assert found.value == pytest.approx(want.value)
    v[2, 1] = np.inf
    for method in (*SAME, DRAWS[0]):
        with pytest.raises(ValueError, match="finite"):
            distributed.attention(q, k + 1, v, method, seed=0)


def test_what_stands_for_keys_elsewhere_says_the_same() -> None:
    for size in (1e-30, 1.0, 1e10):
        q, k, v = tokens(3, (2, 30, 3), 9, size, "f4")
        whole = pose(q, k, v)
        part = beside(q, extent_of(whole), None)
        assert part.n_k == 30
        assert (score_bound(part) >= score_bound(whole)).all()
        assert score_bound(part) == pytest.approx(score_bound(whole), rel=1e-5)
        assert (value_spread(part).osc == value_spread(whole).osc).all()
        assert (value_spread(part).top == value_spread(whole).top).all()
        halves = [extent_of(pose(q, k[:, s], v[:, s])) for s in (slice(0, 7), slice(7, 30))]
        merged = halves[0].merge(halves[1])
        assert merged.keys == 30
        assert (merged.high == v.max(axis=1)).all()
        assert (merged.low == v.min(axis=1)).all()


def test_the_table_covers_all_methods_and_the_page_prints_it() -> None:
    methods = {name for name in aa.__all__ if hasattr(getattr(aa, name), "compute")}
    assert set(TABLE) == methods
    for name, support in TABLE.items():
        kind = getattr(aa, name)
        assert hasattr(kind, "shards") == (not support.output)
        assert hasattr(kind, "gradient_shards") == (not support.gradient)
        if kind.why_not_causal and not support.output:
            assert support.causal
    page = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")
    inside = re.search(r"<!-- table: .*? -->\n\n(.*?)\n\n<!-- end", page, re.DOTALL)
    assert inside is not None
    assert inside[1] == printed()
