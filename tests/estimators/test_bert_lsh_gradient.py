"""The gradient of BERT-LSH for the hashes drawn: against loops in extended precision, against
differences, within its certificate.
"""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from colliding import OPTIONS, ROWS, met_pairs, problem, read_keys
from methods import Row
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.hashing.hyperplanes import codes, draw_hyperplanes

NAMES = ("dq", "dk", "dv")
GRADIENT_ROWS = {name: row for name, row in ROWS.items() if name != "everything collides"}


def cotangent(n: int = 17, dv: int = 3) -> HostArray:
    return np.random.default_rng(n).standard_normal((n, dv))


def written_out(method: aa.BertLSH, case: Any, g: HostArray, seed: int = 5) -> list[HostArray]:
    """Return dq, dk, dv of one head by loops over pairs, in extended precision."""
    met = met_pairs(method, case, seed)
    q, k, v, g = (x.astype(np.longdouble) for x in (case.q, read_keys(case), case.v, g))
    n = len(k)
    beta = np.longdouble(case.options.get("scale") or 1 / math.sqrt(case.q.shape[1]))
    mask = case.options.get("key_mask", np.ones(n, bool))
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for i in range(len(q)):
        seen = [j for j in range(n) if mask[j] and (j <= i or not case.options.get("causal"))]
        pair = {
            j: (min(i, j), max(i, j)) if method.fidelity == "paper-code" else (i, j) for j in seen
        }
        logits = np.array(
            [
                beta * (q[pair[j][0]] @ k[pair[j][1]])
                if met[pair[j]]
                else np.longdouble(method.fill)
                for j in seen
            ]
        )
        if np.isneginf(logits).all():
            logits[:] = 0
        w = np.exp(logits - logits.max())
        w /= w.sum()
        z = v[seen] @ g[i]
        p = w * (z - w @ z)
        for slope, weight, j in zip(p, w, seen, strict=True):
            dv[j] += weight * g[i]
            if met[pair[j]]:
                a, b = pair[j]
                dq[a] += beta * slope * k[b]
                dk[b] += beta * slope * q[a]
    return [dq, np.where(mask[:, None], dk, 0), dv]


def suited(row: Row, options: str) -> dict[str, Any]:
    return {
        name: x for name, x in OPTIONS[options].items() if name != "causal" or not row.needs_square
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", GRADIENT_ROWS)
def test_gradient_is_written_out_within_the_certificate(
    name: str, options: str, dtype: str
) -> None:
    row = GRADIENT_ROWS[name]
    assert isinstance(row.method, aa.BertLSH)
    for kind in ("random", "clustered"):
        case = problem(kind).where(options=suited(row, options)).astype(dtype)
        g = cotangent().astype(dtype)
        grads = aa.attention_vjp(
            case.q, case.k, case.v, g, row.method, rng=np.random.default_rng(5), **case.options
        )
        for field, true in zip(NAMES, written_out(row.method, case, g), strict=True):
            error = np.abs(getattr(grads, field).astype(np.longdouble) - true).max(-1)
            bound = getattr(grads.certificate, field)
            assert (error <= bound).all()
            assert bound.max() < (1e-9 if dtype == "float64" else 1), "so wide as to say nothing"
        assert "hashes drawn" in grads.certificate.target
        assert grads.certificate.kind == "surely"


@pytest.mark.parametrize("name", ["default", "no fill", "paper code", "sparse", "sparse, no fill"])
def test_gradient_passes_a_gradient_check(name: str) -> None:
    """Codes do not change over so small a step, so differences see the same hashes."""
    method, case, g = GRADIENT_ROWS[name].method, problem("random"), cotangent()
    inputs = {"dq": case.q, "dk": case.k, "dv": case.v}
    grads = aa.attention_vjp(*inputs.values(), g, method, rng=np.random.default_rng(1))
    rng = np.random.default_rng(2)
    for field in NAMES:
        direction: HostArray = np.asarray(rng.standard_normal(inputs[field].shape))

        def loss(t: float, field: str = field, direction: HostArray = direction) -> float:
            moved = [x + t * direction if own == field else x for own, x in inputs.items()]
            return float(
                np.sum(g * aa.attention(*moved, method, rng=np.random.default_rng(1)).value)
            )

        slope = (8 * (loss(1e-5) - loss(-1e-5)) - (loss(2e-5) - loss(-2e-5))) / 12e-5
        assert slope == pytest.approx(
            float(np.sum(direction * getattr(grads, field))), rel=1e-6, abs=1e-8
        )


@pytest.mark.parametrize("name", ["default", "paper code"])
def test_blocks_of_queries_join(name: str) -> None:
    """1100^2 pairs are taken in two blocks: against the sums over two halves of the cotangent,
    which is linear.
    """
    rng = np.random.default_rng(1)
    q, k, v, g = rng.standard_normal((4, 1100, 2))
    method = GRADIENT_ROWS[name].method

    def grads(cotangent: HostArray) -> aa.Gradients:
        return aa.attention_vjp(q, k, v, cotangent, method, rng=np.random.default_rng(3))

    first, second = (
        grads(g * keep[:, None]) for keep in (np.arange(1100) < 300, np.arange(1100) >= 300)
    )
    whole = grads(g)
    for field in NAMES:
        np.testing.assert_allclose(
            getattr(first, field) + getattr(second, field), getattr(whole, field), atol=1e-12
        )
    one = np.zeros_like(g)
    one[1000] = g[1000]
    alone = written_row(method, q, k, g[1000], 1000)
    np.testing.assert_allclose(grads(one).dv, alone, atol=1e-12)


def written_row(method: Any, q: HostArray, k: HostArray, g: HostArray, i: int) -> HostArray:
    """Return dv for the cotangent of row i alone: its weights times g."""
    unit = aa.attention(q, k, np.eye(len(k)), method, rng=np.random.default_rng(3)).value[i]
    return np.outer(unit, g)


@pytest.mark.parametrize(
    "name", ["default", "no fill", "paper code, 4 bits", "sparse", "sparse, no fill"]
)
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_libraries_and_batches_agree(library: Library, name: str) -> None:
    method = GRADIENT_ROWS[name].method
    items = [problem("random", n=8), problem("clustered", n=8)]
    batch = [np.stack([getattr(item, x) for item in items]) for x in "qkv"]
    g = np.stack([cotangent(8), cotangent(8)[::-1]])
    grads = aa.attention_vjp(
        *(library.put(x) for x in (*batch, g)), method, rng=np.random.default_rng(5)
    )
    for index in range(2):
        alone = aa.attention_vjp(
            *(x[index] for x in batch), g[index], method, rng=np.random.default_rng(5)
        )
        for field in NAMES:
            np.testing.assert_allclose(
                library.get(getattr(grads, field))[index], getattr(alone, field), atol=1e-12
            )


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("fill", [0.0, -math.inf])
@pytest.mark.parametrize(
    "shape",
    [{"bits": 1}, {"bits": 4, "tables": 3}, {"bits": 12, "table_size": 2**20}, {"table_size": 1}],
    ids=str,
)
def test_sparse_gradient_is_the_dense_one(shape: dict[str, int], fill: float, options: str) -> None:
    case, g = problem("random"), cotangent()
    dense, sparse = (
        aa.attention_vjp(
            case.q,
            case.k,
            case.v,
            g,
            aa.BertLSH(fill=fill, sparse=s, **shape),
            rng=np.random.default_rng(5),
            **OPTIONS[options],
        )
        for s in (False, True)
    )
    for field in NAMES:
        np.testing.assert_allclose(
            getattr(sparse, field), getattr(dense, field), rtol=0, atol=1e-13
        )
    mask = OPTIONS[options].get("key_mask", np.ones(17, bool))
    for grads in (dense, sparse):
        assert not grads.dk[~mask].any()
        assert not grads.dv[~mask].any()


def test_sparse_gradient_forms_the_pairs_only() -> None:
    """6,000 tokens, about ten keys each: the score matrix alone would take 288 MB."""
    rng = np.random.default_rng(0)
    q, k, v, g = rng.standard_normal((4, 6_000, 8))
    for fill in (0.0, -math.inf):
        method = aa.BertLSH(bits=10, table_size=2**30, fill=fill, sparse=True)
        tracemalloc.start()
        grads = aa.attention_vjp(q, k, v, g, method, rng=np.random.default_rng(1))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100e6
        assert np.isfinite(grads.certificate.dq).all()
    row = 1234  # the last fill, -inf: this row alone, by its own pairs
    normals = draw_hyperplanes(1, 10, q, np.random.default_rng(1))
    met = (codes(q[row : row + 1], normals, np)[0] == codes(k, normals, np)[0]).nonzero()[0]
    w = np.exp(q[row] @ k[met].T / math.sqrt(8))
    w /= w.sum()
    z = v[met] @ g[row]
    np.testing.assert_allclose(grads.dq[row], (w * (z - w @ z)) @ k[met] / math.sqrt(8), atol=1e-13)


def test_too_many_pairs_are_announced_by_the_gradient_too() -> None:
    q = np.ones((200_000, 1))
    for method in (aa.BertLSH(sparse=True), aa.LSHSoftmax()):
        with pytest.raises(MemoryError, match=r"max_pairs\(=67108864\): \d+ collisions"):
            aa.attention_vjp(q, q, q, q, method, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    "sizes", [(-1060, 10, 20), (-1070, 0, 40), (0, -1072, 30), (-530, -540, 60), (-3, -3, -1060)]
)
@pytest.mark.parametrize("name", ["default", "no fill", "sparse", "sparse, no fill", "paper code"])
def test_underflow_is_within_the_certificate(name: str, sizes: tuple[int, int, int]) -> None:
    row, base = GRADIENT_ROWS[name], problem("random")
    assert isinstance(row.method, aa.BertLSH)
    q, k, v = (x * 2.0**size for x, size in zip((base.q, base.k, base.v), sizes, strict=True))
    for scale in (2.0**-8, 50.0):
        case, g = base.where(q=q, k=k, v=v, options={"scale": scale}), cotangent() * 2.0**10
        grads = aa.attention_vjp(q, k, v, g, row.method, rng=np.random.default_rng(5), scale=scale)
        for field, true in zip(NAMES, written_out(row.method, case, g), strict=True):
            error = np.abs(getattr(grads, field).astype(np.longdouble) - true).max(-1)
            assert (error <= getattr(grads.certificate, field)).all()
