"""Attention block by block: as near to the exact one as its certificate says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import approxattn as aa
from approxattn import distributed
from approxattn.methods.sharded import Call
from approxattn.sharding.plan import Graph, Ref, filled, needed, reduced, scanned, spans

METHODS = [
    aa.Polynomial(degree=3),
    aa.Polynomial(degree=2, basis="taylor", centre="none"),
    aa.Polynomial(degree=9, basis="chebyshev"),
    aa.Polynomial(tolerance=0.1),
    aa.Polynomial(coefficients=(1.0, 1.0, 0.5)),
]


def tokens(shape: tuple[int, ...], seed: int, size: float = 1.0, dtype: str = "f4") -> Iterator:
    rng = np.random.default_rng(seed)
    for shift in (0.0, 0.5, 1.0):
        yield (size * (rng.standard_normal(shape) + shift)).astype(dtype)


def exact(q, k, v, *, causal: bool = False, scale: float | None = None) -> np.ndarray:
    q, k, v = (x.astype(np.longdouble) for x in (q, k, v))
    scores = (q @ np.swapaxes(k, -1, -2)) * (scale or 1 / np.sqrt(np.longdouble(q.shape[-1])))
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (weights @ v) / weights.sum(axis=-1, keepdims=True)


def errors(out, want) -> np.ndarray:
    return np.abs(out.value.astype(np.longdouble) - want).max(axis=-1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("size", [1e-3, 0.4, 0.7])
def test_the_certificate_holds(method, causal: bool, size: float) -> None:
    q, k, v = tokens((150, 5), 1, size)
    out = distributed.attention(q, k, v, method, causal=causal, shard=40)
    want = exact(q, k, v, causal=causal)
    assert (errors(out, want) <= out.certificate.rows).all()


def test_the_certificate_is_that_of_one_state_of_all_keys() -> None:
    q, k, v = tokens((150, 5), 1, 0.4)
    method, centre = aa.Polynomial(degree=3), k.mean(axis=0, keepdims=True)
    lengths = [np.linalg.norm(x, axis=-1).max() for x in (q, k - centre)]
    half_range = float(np.prod(lengths) / np.sqrt(5)) * 1.0001
    want = method.state(k, v, centre=centre, half_range=half_range).query(q).certificate
    for shard in (40, 150, 7):
        found = distributed.attention(q, k, v, method, shard=shard).certificate
        assert found.rows == pytest.approx(want.rows, rel=1e-2)
    causal = distributed.attention(q, k, v, method, shard=40, causal=True).certificate
    assert causal.bound <= 1.01 * want.bound


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (7, 3), (2, 3, 50, 4), (1, 0, 5, 2), (33, 1)])
def test_shapes_and_dtypes(shape: tuple[int, ...], dtype: str, causal: bool) -> None:
    q, k, v = tokens(shape, 2, 1.0 if dtype == "int64" else 0.5, dtype)
    method = aa.Polynomial(degree=4)
    if 0 in shape:
        with pytest.raises(ValueError, match="no entry"):
            distributed.attention(q, k, v, method)
        return
    out = distributed.attention(q, k, v, method, causal=causal, shard=8)
    whole = aa.attention(q, k, v, method, causal=causal)
    assert (out.value.shape, out.value.dtype) == (whole.value.shape, whole.value.dtype)
    assert out.certificate.rows.shape == whole.certificate.rows.shape
    assert (errors(out, exact(q, k, v, causal=causal)) <= out.certificate.rows).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [1e-30, 3.0])
def test_scales_and_other_numbers_of_queries(scale: float, causal: bool) -> None:
    q, k, v = tokens((60, 3), 3, 0.4)
    if not causal:
        q = q[:17]
    given = [x.copy() for x in (q, k, v)]
    out = distributed.attention(
        q, k, v, aa.Polynomial(degree=6), causal=causal, scale=scale, shard=13
    )
    want = exact(q, k, v, causal=causal, scale=scale)
    assert (errors(out, want) <= out.certificate.rows).all()
    assert all((a == b).all() for a, b in zip((q, k, v), given, strict=True))


def test_equal_keys_zero_rows_and_values_that_overflow_half_precision() -> None:
    q, k, v = (np.full((9, 2), x, "float16") for x in (0, 1, 6e4))
    out = distributed.attention(q, k, v, aa.Polynomial(degree=2), shard=2)
    assert (errors(out, exact(q, k, v)) <= out.certificate.rows).all()


def test_a_query_beyond_what_was_measured_never_gets_a_bound_too_small() -> None:
    q, k, v = tokens((40, 3), 4)
    shards = aa.Polynomial(degree=3).shards(Call(queries=40, keys=40, d=3, dv=3, dtype="float32"))
    known: dict = {}
    for one in shards.passes:
        state = one.fold(known, 0, *({"q": q, "k": k, "v": v}[name] for name in one.takes))
        known[one.name] = state if one.settle is None else one.settle(known, state)
    out = shards.query(known, 0, 50 * q)["value"]
    assert np.isinf(out.certificate.rows).all()
    assert "beyond" in out.certificate.unmet[0]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 64, 100])
def test_trees_hold_every_block_once_and_in_order(n: int) -> None:
    graph: Graph = {f"leaf-{i}": (lambda i=i: (i,),) for i in range(n)}
    leaves = [Ref(key) for key in graph]
    root = reduced(graph, "sum", lambda a, b: a + b, leaves)
    assert computed(graph, root) == tuple(range(n))
    merges = {"merge": 0}

    class Run(tuple):
        def merge(self, other: Run) -> Run:
            merges["merge"] += 1
            return Run((*self, *other))

    graph = {f"leaf-{i}": (lambda i=i: Run((i,)),) for i in range(n)}
    before = scanned(graph, "state", leaves)
    assert before[0] is None
    results: dict = {}
    for key, task in needed(graph, [ref for ref in before if ref]).items():
        function, *arguments = filled(task, results)
        results[key] = function(*arguments)
    for i, ref in enumerate(before[1:], 1):
        assert results[ref.key] == tuple(range(i))
    assert merges["merge"] <= 2 * n


def computed(graph: Graph, ref: Ref):
    results: dict = {}
    for key, task in needed(graph, [ref]).items():
        function, *arguments = filled(task, results)
        results[key] = function(*arguments)
    return results[ref.key]


def test_spans() -> None:
    assert spans(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert spans(0, 4) == []


@pytest.mark.parametrize(
    ("method", "options", "match"),
    [
        (aa.Polynomial, {}, "method is .* must be an instance"),
        (aa.YosoExpectation(bits=4), {}, "YosoExpectation cannot be taken in blocks"),
        (aa.Polynomial(degree=3, basis="one-sided"), {}, "basis"),
        (aa.Polynomial(tolerance=0.1, index="anisotropic"), {}, "index"),
        (aa.Polynomial(degree=3), {"shard": 0}, r"shard\(=0\)"),
        (aa.Polynomial(degree=3), {"scale": -1.0}, "scale"),
        (aa.Polynomial(degree=3), {"causal": 1}, "causal"),
        (aa.Polynomial(degree=3), {"executor": 3}, "executor"),
        (aa.Polynomial(degree=3), {"out": "o.txt"}, "must end in"),
    ],
)
def test_refusals(method, options, match: str) -> None:
    q, k, v = tokens((6, 2), 5)
    with pytest.raises((TypeError, ValueError), match=match):
        distributed.attention(q, k, v, method, **options)


def test_arrays_that_do_not_fit() -> None:
    q, k, v = tokens((6, 2), 6)
    method = aa.Polynomial(degree=3)
    for bad, match in [
        ((q[:5], k, v, True), "as many"),
        ((q, k[:5], v, False), "every key needs one value"),
        ((q[None], k, v, False), "leading axes"),
        ((q, k.astype("f8"), v, False), "dtypes"),
        ((q[0], k, v, False), "needs"),
        (([1], k, v, False), "give a path"),
    ]:
        with pytest.raises((TypeError, ValueError), match=match):
            distributed.attention(*bad[:3], method, causal=bad[3])
    spoilt = v.copy()
    spoilt[4, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        distributed.attention(q, k, spoilt, method)
