"""Every operation is priced or refused, the results are NumPy's, and real code runs on the
arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proofs_check.arithmetic.counting import CountingArray, Tally, UnpricedOperation


def softmax_attention(q: CountingArray, k: CountingArray, v: CountingArray) -> CountingArray:
    xp = q.__array_namespace__()
    scores = q @ k.T
    weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    result: CountingArray = (weights @ v) / xp.sum(weights, axis=-1, keepdims=True)
    return result


@pytest.mark.parametrize(("n", "m", "d", "dv"), [(1, 1, 1, 1), (3, 5, 2, 4), (8, 8, 4, 4)])
def test_softmax_attention_costs_what_the_formula_says(n: int, m: int, d: int, dv: int) -> None:
    tally, rng = Tally(), np.random.default_rng(1)
    q, k, v = (tally.array(rng.normal(size=shape)) for shape in ((n, d), (m, d), (m, dv)))
    result = softmax_attention(q, k, v)
    assert dict(+tally.counts) == {
        name: count
        for name, count in {
            "multiply": n * m * d + n * m * dv,
            "add": n * m * (d - 1) + n * m + n * (m - 1) * dv + n * (m - 1),
            "exp": n * m,
            "compare": n * (m - 1),
            "divide": n * dv,
        }.items()
        if count
    }
    assert tally.flops == sum(tally.counts.values()) - tally.counts["compare"]
    plain = Tally()
    again = softmax_attention(*(plain.array(x.data) for x in (q, k, v)))
    assert np.array_equal(again.data, result.data)


def test_values_are_those_of_numpy() -> None:
    tally, x = Tally(), np.random.default_rng(1).normal(size=(3, 4))
    a: Any = tally.array(x)
    assert np.array_equal((2.0 * a - a / 3 + 1).data, 2.0 * x - x / 3 + 1)
    assert np.array_equal((np.float64(2) * a).data, 2 * x)
    assert np.array_equal(tally.cumulative_sum(a, axis=1).data, np.cumsum(x, axis=1))
    assert np.array_equal(tally.where(a > 0, a, -a).data, abs(x))
    assert np.array_equal(tally.concat([a, a[:1, :]], axis=0).data, np.concatenate([x, x[:1]]))
    assert np.array_equal(tally.tensordot(a, a, axes=([0, 1], [0, 1])).data, np.tensordot(x, x))
    assert np.array_equal(tally.vecdot(a, a).data, (x * x).sum(-1))
    assert np.array_equal(tally.clip(a, -1, 1).data, np.clip(x, -1, 1))
    assert np.array_equal(tally.mean(a, axis=0).data, x.mean(axis=0))


@pytest.mark.parametrize(
    ("operation", "counts"),
    [
        (lambda xp, a: xp.sum(a), {"add": 11}),
        (lambda xp, a: xp.sum(a, axis=1), {"add": 9}),
        (lambda xp, a: xp.mean(a, axis=1), {"add": 9, "divide": 3}),
        (lambda xp, a: xp.cumulative_sum(a, axis=1), {"add": 9}),
        (lambda xp, a: xp.vecdot(a, a), {"multiply": 12, "add": 9}),
        (lambda xp, a: xp.tensordot(a, a, axes=2), {"multiply": 12, "add": 11}),
        (lambda xp, a: xp.clip(a, 0, 1), {"compare": 24}),
        (lambda xp, a: xp.permute_dims(xp.reshape(a, (4, 3)), (1, 0))[0, :], {}),
        (lambda xp, a: xp.astype(a, xp.float32), {}),
        (lambda _, a: a[None, ...] + a, {"add": 12}),
        (lambda _, a: a**2, {"pow": 12}),
        (lambda _, a: abs(-a), {"sign": 24}),
        (lambda _, a: float(a[0, 0]) + bool(a[0, 1] == 0), {"transfer": 2, "compare": 1}),
        (lambda _, a: np.asarray(a), {"transfer": 12}),
        (lambda xp, a: xp.sort(a), {"sort": 3 * 4 * 2}),
        (lambda xp, a: xp.argsort(a, axis=0), {"sort": 4 * 3 * 2}),
        (lambda xp, a: xp.searchsorted(a[0, :], a[1, :]), {"sort": 4 * 3}),
        (lambda xp, a: xp.linalg.svd(a), {"svd": 3 * 4 * 3}),
        (
            lambda xp, a: xp.linalg.solve(a[:, :3] + xp.eye(3), a),
            {"add": 9 + 5 + 4 * 6, "multiply": 8 + 4 * 9},
        ),
    ],
)
def test_prices(operation, counts) -> None:  # type: ignore[no-untyped-def]
    tally = Tally()
    operation(tally, tally.array(np.arange(12.0).reshape(3, 4)))
    assert dict(+tally.counts) == counts


def test_sorting_and_solving_give_what_numpy_gives() -> None:
    tally, x = Tally(), np.random.default_rng(2).integers(0, 5, (4, 6))
    a = tally.array(x)
    assert np.array_equal(tally.sort(a).data, np.sort(x))
    assert np.array_equal(tally.argsort(a).data, np.argsort(x, stable=True))
    line = tally.sort(a[0, :])
    assert np.array_equal(
        tally.searchsorted(line, a[1, :], side="right").data,
        np.searchsorted(line.data, x[1], "right"),
    )
    square = tally.array(np.random.default_rng(3).normal(size=(3, 3)))
    assert np.array_equal(
        tally.linalg.solve(square, square).data, np.linalg.solve(square.data, square.data)
    )
    u, s, vh = tally.linalg.svd(square)
    assert np.allclose((u.data * s.data) @ vh.data, square.data)


def test_elimination_takes_what_solve_is_priced_at() -> None:
    """Gaussian elimination and back substitution written out, multiplications and divisions counted
    one by one.
    """
    for k, columns in ((1, 1), (2, 3), (5, 2)):
        multiplied = sum(
            (k - 1 - i) * (1 + (k - 1 - i) + columns) for i in range(k)
        )  # a factor, a row of A, a row of B
        # back: i products and one division a column
        multiplied += sum(columns * (1 + i) for i in range(k))
        added = sum((k - 1 - i) * ((k - 1 - i) + columns) for i in range(k)) + sum(
            columns * i for i in range(k)
        )
        tally = Tally()
        tally.linalg.solve(tally.array(np.eye(k)), tally.array(np.ones((k, columns))))
        assert (tally.counts["multiply"], tally.counts["add"]) == (multiplied, added)


def test_what_has_no_price_is_refused() -> None:
    tally = Tally()
    a = tally.array(np.arange(4.0))
    for name in ("unique_values", "eigh", "einsum", "det"):
        with pytest.raises(UnpricedOperation, match=name):
            getattr(tally, name)
    with pytest.raises(UnpricedOperation, match="in-place"):
        a[0] = 1.0
    with pytest.raises(TypeError, match="ufunc"):
        np.exp(a)  # type: ignore[call-overload]


def test_the_projects_own_code_runs_on_it() -> None:
    """The streaming softmax, untouched, gives its own result and a count that contains the two
    products.
    """
    import approxattn as aa

    tally, rng, n, d = Tally(), np.random.default_rng(1), 8, 4
    q, k, v = (rng.normal(size=(n, d)) for _ in range(3))
    out = aa.attention(*(tally.array(x) for x in (q, k, v)), aa.Exact())
    assert isinstance(out.value, CountingArray)
    own = aa.attention(q, k, v, aa.Exact())  # NumPy's sums have an order of their own
    assert np.all(np.abs(out.value.data - own.value).max(axis=-1) <= 2 * own.certificate.rows)
    assert tally.counts["exp"] >= n * n
    assert tally.counts["multiply"] >= 2 * n * n * d
