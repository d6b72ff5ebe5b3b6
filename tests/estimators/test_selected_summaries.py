"""Selected keys and summaries against their definition, key by key; gradients; certificates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn._problem import pose
from approxattn.methods.selected_keys.arrays import take_largest
from approxattn.methods.selected_keys.layout import chunks

Case = tuple[Any, Any, Any, aa.SelectedSummaries, dict[str, Any]]


def one_query(
    query: Any, mean: Any, exact: list[int], pieces: list[list[int]], k: Any, v: Any
) -> Any:
    """Return softmax over keys met exactly and over one summary for each piece."""
    scores, values = [query @ k[j] for j in exact], [v[j] for j in exact]
    for piece in pieces:
        weights = np.exp(k[piece] @ mean)
        mass = weights.sum()
        key = weights @ k[piece] / mass
        scores.append(query @ key + np.log(mass) - mean @ key)
        values.append(weights @ v[piece] / mass)
    e = np.exp(np.array(scores) - max(scores))
    return e @ np.array(values) / e.sum()


def defined(case: Case) -> Any:
    """Return the output by its definition, one query after the other."""
    q, k, v, method, options = case
    causal, n_k = options["causal"], len(k)
    shown = np.ones(n_k, bool) if options["key_mask"] is None else options["key_mask"]
    sinks = np.flatnonzero(shown)[: method.sinks]
    rows, earlier = [], n_k - len(q) if causal else 0
    for chunk in chunks(pose(q, k, v, **options), method.block, method.recent):
        for block in range(chunk.count):
            low, high = chunk.window(block)
            first = chunk.first + block * chunk.rows
            queries = q[first : first + chunk.rows] / np.sqrt(q.shape[1])
            mean = queries.mean(axis=0)
            far = [j for j in np.flatnonzero(shown) if j < low or (j >= high and not causal)]
            others = np.array([j for j in far if j not in sinks], int)
            order = others[np.argsort(-(k[others] @ mean), kind="stable")]
            rest = set(order[method.heavy :].tolist())
            pieces = [
                [j for j in range(*ends) if j in rest] for ends in chunk.pieces(method.summaries)
            ]
            selected = [*order[: method.heavy], *(j for j in sinks if j in far)]
            for i, query in enumerate(queries):
                last = first + i + earlier if causal else n_k
                window = [j for j in range(low, high) if shown[j] and j <= last]
                some = [piece for piece in pieces if piece]
                rows.append(one_query(query, mean, [*window, *selected], some, k, v))
    return np.array(rows)


def cases() -> list[Case]:
    rng, found = np.random.default_rng(1), []
    for number in range(24):
        causal, n_k = bool(number % 2), int(rng.integers(20, 70))
        n_q = n_k if number % 3 else int(rng.integers(1, n_k + 1))
        d, dv = (int(x) for x in rng.integers(1, 6, 2))
        q, k, v = (rng.standard_normal(s) for s in ((n_q, d), (n_k, d), (n_k, dv)))
        heavy, recent, sinks = (int(rng.integers(low, 8)) for low in (0, 0, 1))
        method = aa.SelectedSummaries(
            heavy=heavy,
            recent=recent,
            summaries=int(rng.integers(1, 6)),
            sinks=sinks,
            block=int(rng.integers(1, 9)),
        )
        mask = (rng.random(n_k) < 0.7) | (np.arange(n_k) == 0) if number % 4 > 1 else None
        offset = n_k - n_q if causal else None
        options = {"causal": causal, "key_mask": mask, "query_offset": offset}
        found.append((2 * q, k, v, method, options))
    return found


@pytest.mark.parametrize("number", range(24))
def test_output_is_that_of_the_definition(number: int) -> None:
    q, k, v, method, options = case = cases()[number]
    value = aa.attention(q, k, v, method, **options).value
    np.testing.assert_allclose(value, defined(case), rtol=0, atol=1e-12)


@pytest.mark.parametrize("number", range(24))
def test_gradient_is_that_of_differences(number: int) -> None:
    q, k, v, method, options = cases()[number]
    rng, h = np.random.default_rng(number), 1e-6
    dout = rng.standard_normal((len(q), v.shape[1]))
    found = aa.attention_vjp(q, k, v, dout, method, **options)
    step = [rng.standard_normal(x.shape) for x in (q, k, v)]
    ends = [
        (aa.attention(*moved, method, **options).value * dout).sum()
        for moved in (
            [x + sign * h * dx for x, dx in zip((q, k, v), step, strict=True)] for sign in (1, -1)
        )
    ]
    slope = sum((g * dx).sum() for g, dx in zip((found.dq, found.dk, found.dv), step, strict=True))
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * h), slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("number", range(24))
def test_certificate_holds(number: int) -> None:
    q, k, v, method, options = cases()[number]
    for size in (2.0**-20, 1.0, 2.0**9):
        out = aa.attention(q * size, k, v, method, **options)
        exact = aa.attention(q * size, k, v, aa.Exact(), **options)
        error = np.abs(out.value - exact.value).max(axis=1)
        assert (error <= out.certificate.rows + exact.certificate.rows).all()


def test_near_queries_have_a_small_bound() -> None:
    rng = np.random.default_rng(0)
    q = rng.standard_normal((1, 4)) + 1e-4 * rng.standard_normal((600, 4))
    k, v = rng.standard_normal((2, 600, 4))
    method = aa.SelectedSummaries(heavy=4, recent=8, summaries=4)
    rows = aa.attention(q, k, v, method, causal=True).certificate.rows
    assert rows.max() < 1e-3 * np.ptp(v, axis=0).max()


def test_one_query_a_block_is_exact() -> None:
    q, k, v = np.random.default_rng(0).standard_normal((3, 300, 4))
    method = aa.SelectedSummaries(heavy=2, recent=4, block=1)
    out = aa.attention(q, k, v, method, causal=True)
    exact = aa.attention(q, k, v, aa.Exact(), causal=True)
    assert np.abs(out.value - exact.value).max() < 1e-13
    assert out.certificate.rows.max() < 1e-9


def test_heads_may_share_keys() -> None:
    rng = np.random.default_rng(0)
    q, (k, v) = rng.standard_normal((3, 200, 4)), rng.standard_normal((2, 1, 200, 4))
    method = aa.SelectedSummaries(heavy=8, recent=16, block=16)
    shared = aa.attention(q, k, v, method, causal=True).value
    for head in range(3):
        alone = aa.attention(q[head], k[0], v[0], method, causal=True).value
        np.testing.assert_array_equal(shared[head], alone)


@pytest.mark.parametrize("n", [7, 257, 3000])
@pytest.mark.parametrize("count", [1, 5])
def test_largest_are_the_largest(n: int, count: int) -> None:
    scores = np.random.default_rng(n).integers(0, 50, (4, n)).astype(float)
    places, found, rest = take_largest(scores.copy(), count, np)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(scores, axis=1)[:, -count:])
    np.testing.assert_array_equal(np.take_along_axis(scores, places, axis=1), found)
    assert (np.isinf(rest).sum(axis=1) == count).all()


@pytest.mark.parametrize("name", ["heavy", "recent", "summaries", "sinks", "block"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        replace(aa.SelectedSummaries(), **{name: -1})
    with pytest.raises(TypeError, match=name):
        replace(aa.SelectedSummaries(), **{name: 1.5})
