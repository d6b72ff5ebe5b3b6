"""Monomials that follow the data: the split sets, their sums, certificates on data with and without
a few strong directions, ranks.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from dense_attention import EXTENDED, exact
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import pose
from approxattn.methods.polynomials.anisotropic import attention as anisotropic_attention
from approxattn.methods.polynomials.centring import centre_scores
from approxattn.monomials import split
from approxattn.monomials.index import rank
from approxattn.monomials.split import SplitKernel, Table, split_rank

TABLE = ((3.0, 1.0, 2.0, 1.0), (1.0, 4.0, 2.0), (2.0,))
PROBLEMS = 120


def kernel(kind: str = "features", causal: bool = False) -> SplitKernel:
    return SplitKernel(table=TABLE, head=2, tail=3, causal=causal, kind=kind, xp=xp)


def dense(x: HostArray, y: HostArray, table: Table = TABLE) -> HostArray:
    head, tail = x[:, :2] @ y[:, :2].T, x[:, 2:] @ y[:, 2:].T
    return sum(np.polynomial.polynomial.polyval(head, c) * tail**h for h, c in enumerate(table))


def test_features_give_the_kernel_and_each_monomial_once() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-2, 3, (7, 5)).astype(float) for _ in range(2))
    k = kernel()
    np.testing.assert_array_equal(
        k.features(x).T @ (k.weights()[:, None] * k.features(y)), dense(x, y)
    )
    monomials = {
        a
        for a in itertools.product(range(4), repeat=5)
        if sum(a[2:]) <= 2 and sum(a[:2]) <= k.degrees[sum(a[2:])]
    }
    assert k.rank == split_rank(2, 3, (3, 2, 0)) == len(monomials) == k.weights().size
    logs = np.log([2.0, 3.0, 5.0, 7.0, 11.0])  # distinct primes tell monomials apart
    found = np.sort(np.log(k.features(np.exp(logs)[None])[:, 0]))
    np.testing.assert_allclose(found, np.sort([np.dot(a, logs) for a in monomials]), rtol=1e-12)
    for a in monomials:
        assert all((*a[:i], a[i] - 1, *a[i + 1 :]) in monomials for i in range(5) if a[i])


@pytest.mark.parametrize("kind", ["features", "scores"])
@pytest.mark.parametrize("causal", [False, True])
def test_sums_equal_dense_ones_for_any_chunk(
    kind: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "LARGEST_CHUNK", 8)
    monkeypatch.setattr(split, "SCORE_BLOCK", 5)
    rng = np.random.default_rng(1)
    x, y, v = (rng.integers(-2, 3, (2, 21, m)).astype(float) for m in (5, 5, 3))
    p = np.stack([dense(*pair) for pair in zip(x, y, strict=True)])
    np.testing.assert_array_equal(
        kernel(kind, causal).sums(x, y, v), (np.tril(p) if causal else p) @ v
    )


@pytest.mark.parametrize("kind", ["features", "scores"])
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_equal_dense_ones_for_any_chunk(
    kind: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "LARGEST_CHUNK", 8)
    monkeypatch.setattr(split, "SCORE_BLOCK", 5)
    rng = np.random.default_rng(1)
    x, y, left, right = (rng.integers(-2, 3, (2, 21, m)).astype(float) for m in (5, 5, 3, 3))
    pair = left @ np.swapaxes(right, -1, -2)
    pair = np.tril(pair) if causal else pair
    by_head = np.stack(
        [
            dense(a, b, tuple(tuple(np.polynomial.polynomial.polyder(c)) for c in TABLE))
            for a, b in zip(x, y, strict=True)
        ]
    )
    by_tail = np.stack(
        [dense(a, b, (TABLE[1], tuple(2 * c for c in TABLE[2]))) for a, b in zip(x, y, strict=True)]
    )
    dx = np.concatenate([(by_head * pair) @ y[..., :2], (by_tail * pair) @ y[..., 2:]], axis=-1)
    turned = [np.swapaxes(a * pair, -1, -2) for a in (by_head, by_tail)]
    dy = np.concatenate([turned[0] @ x[..., :2], turned[1] @ x[..., 2:]], axis=-1)
    k = kernel(kind, causal)
    np.testing.assert_array_equal(k.gradient_x(x, left, y, right), dx)
    np.testing.assert_array_equal(k.gradient_y(x, left, y, right), dy)
    p = np.stack([dense(*ab) for ab in zip(x, y, strict=True)])
    p = np.tril(p) if causal else p
    np.testing.assert_array_equal(k.transposed_sums(x, y, left), np.swapaxes(p, -1, -2) @ left)


@pytest.mark.parametrize("kind", ["features", "scores"])
def test_derivatives_of_the_primitives_are_the_kernel(kind: str) -> None:
    rng = np.random.default_rng(2)
    x, y, left, right = (rng.uniform(-1, 1, (12, m)) for m in (5, 5, 2, 2))
    weight = dense(x, y) * (left @ right.T)
    parts = [
        replace(kernel(kind), table=table).gradient_x(x, left, y, right)
        for table in split.primitives(TABLE)
    ]
    np.testing.assert_allclose(
        np.concatenate([parts[0][:, :2], parts[1][:, 2:]], axis=1), weight @ y, atol=1e-12
    )


def decaying(
    rng: np.random.Generator, n: int, d: int, ratio: float, size: float
) -> tuple[HostArray, ...]:
    """q, k, v with scores of about `size` whose directions fall by `ratio` each, seen from a turned
    basis.
    """
    q, k = rng.standard_normal((2, n, d)) * np.sqrt(ratio ** np.arange(d))
    q, k = (x / np.linalg.norm(x, axis=1).max() * math.sqrt(size) for x in (q, k))
    turn, _ = np.linalg.qr(rng.standard_normal((d, d)))
    return q @ turn, k @ turn, rng.standard_normal((n, 2))


def hunt(seed: int, count: int) -> tuple[float, int, int]:
    """Return the largest error / bound, how many problems were split, and how many of these kept
    their tolerance.
    """
    rng, largest, taken, kept = np.random.default_rng(seed), 0.0, 0, 0
    for _ in range(count):
        n, d = int(rng.integers(1, 40)), int(rng.integers(2, 6))
        q, k, v = decaying(
            rng, n, d, float(rng.choice([0.0, 0.03, 0.3, 1.0])), float(2.0 ** rng.uniform(-2, 2))
        )
        if rng.random() < 0.3:
            q, k = (np.round(4 * x) / 4 for x in (q, k))
        if rng.random() < 0.3:
            q = q + rng.integers(-2, 3, d) / 2
        options: dict[str, object] = {"scale": 1.0}
        if rng.random() < 0.4:
            options["causal"] = True
        if rng.random() < 0.3:
            options["key_mask"] = (rng.random(n) < 0.6) | (np.arange(n) == 0)
        q, k, v = (x.astype(np.float64 if rng.random() < 0.5 else np.float32) for x in (q, k, v))
        q, k, v = (x.astype(min(q.dtype, k.dtype, v.dtype)) for x in (q, k, v))
        tolerance, basis = (
            10.0 ** -int(rng.integers(1, 5)),
            ("taylor", "minimax", "chebyshev")[int(rng.integers(3))],
        )
        method = aa.Polynomial(
            tolerance=tolerance, basis=basis, index="anisotropic", fallback=False
        )
        try:
            out = aa.attention(q, k, v, method, **options)
        except ValueError as refusal:
            assert ": " in str(refusal)  # noqa: PT017 - a refusal with its remedy
            continue
        if out.certificate.facts.get("index") != "anisotropic":
            continue
        taken += 1
        true = exact(q, k, v, **options)
        error = np.abs(out.value.astype(EXTENDED) - true).max(-1)
        largest = max(largest, float(np.max(error / out.certificate.rows)))
        if not out.certificate.unmet:
            kept += 1
            assert error.max() <= tolerance * np.ptp(v.astype(float), axis=0).max() * (1 + 1e-9)
    return largest, taken, kept


def test_no_error_above_its_certificate() -> None:
    largest, taken, kept = hunt(0, PROBLEMS)
    print(largest, taken, kept)
    assert 0.1 < largest <= 1
    assert taken > 0.3 * PROBLEMS
    assert kept > 0.7 * taken


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_fewer_features_where_scores_have_few_directions(causal: bool, dtype: str) -> None:
    rng = np.random.default_rng(3)
    q, k, v = (x.astype(dtype) for x in decaying(rng, 1500, 8, 0.3, 1.0))
    full, few = (
        aa.attention(q, k, v, aa.Polynomial(tolerance=1e-2, index=index), scale=1.0, causal=causal)
        for index in ("full", "anisotropic")
    )
    assert few.certificate.facts["evaluated by"] == "features"
    assert few.certificate.facts["rank"] < 0.4 * full.certificate.facts["rank"]
    assert few.certificate.unmet == ()
    true = exact(q, k, v, 1.0, causal)
    assert np.all(np.abs(few.value.astype(EXTENDED) - true).max(-1) <= few.certificate.rows)


def test_scores_alike_in_all_directions_keep_the_full_set() -> None:
    rng = np.random.default_rng(4)
    q, k, v = decaying(rng, 2000, 4, 1.0, 1.0)
    a, b = (
        aa.attention(q, k, v, aa.Polynomial(tolerance=1e-2, index=index), scale=1.0)
        for index in ("full", "anisotropic")
    )
    np.testing.assert_array_equal(a.value, b.value)
    assert b.certificate.facts["rank"] == rank(4, b.certificate.facts["degree"])


def test_leading_axes_shared_keys_and_vanishing_queries() -> None:
    rng = np.random.default_rng(5)
    q, k, v = decaying(rng, 30, 4, 0.05, 1.0)
    q = np.stack([q, 0.5 * q, q[::-1]])
    method = aa.Polynomial(tolerance=1e-3, index="anisotropic", fallback=False)
    out = aa.attention(q, k[None], v[None], method, scale=1.0)
    assert out.certificate.facts["index"] == "anisotropic"
    for i in range(3):
        assert np.all(
            np.abs(out.value[i] - exact(q[i], k, v, 1.0)).max(-1) <= out.certificate.rows[i]
        )
    nothing = aa.attention(0 * q, k[None], v[None], method, scale=1.0)
    np.testing.assert_allclose(
        nothing.value, np.broadcast_to(v.mean(0), (*q.shape[:2], 2)), atol=1e-12
    )


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_other_libraries_agree_with_numpy(library: Library) -> None:
    q, k, v = decaying(np.random.default_rng(6), 20, 4, 0.05, 1.0)
    method = aa.Polynomial(tolerance=1e-3, index="anisotropic", fallback=False)
    plain = aa.attention(q, k, v, method, scale=1.0, causal=True)
    out = aa.attention(*(library.put(x) for x in (q, k, v)), method, scale=1.0, causal=True)
    assert library.owns(out.value)
    assert out.certificate.facts["index"] == "anisotropic"
    np.testing.assert_allclose(library.get(out.value), plain.value, rtol=0, atol=1e-12)


def test_exact_attention_steps_in_and_what_is_no_choice_is_refused() -> None:
    q, k, v = decaying(np.random.default_rng(7), 30, 4, 0.05, 1.0)
    facts = aa.attention(
        q, k, v, aa.Polynomial(tolerance=1e-6, index="anisotropic"), scale=1.0
    ).certificate.facts
    assert facts["computed by"] == "exact attention"
    with pytest.raises(
        ValueError, match=r"index\(='sparse'\) must be one of 'full', 'anisotropic'"
    ):
        aa.Polynomial(tolerance=0.1, index="sparse")
    with pytest.raises(ValueError, match="give a tolerance"):
        aa.Polynomial(degree=2, index="anisotropic")


def gradient_hunt(seed: int, count: int) -> dict[str, float]:
    """Return the largest error / bound of each gradient over problems that were split."""
    rng, largest = np.random.default_rng(seed), {"dq": 0.0, "dk": 0.0, "dv": 0.0, "taken": 0.0}
    for number in range(count):
        n, d = int(rng.integers(1, 30)), int(rng.integers(2, 6))
        q, k, v = decaying(
            rng, n, d, float(rng.choice([0.0, 0.03, 0.2])), float(2.0 ** rng.uniform(-2, 1.5))
        )
        q = q + (rng.random() < 0.4) * rng.integers(-2, 3, d) / 2
        g = rng.integers(-2, 3, v.shape) * 1.0
        options: dict[str, object] = {"scale": 1.0}
        if rng.random() < 0.4:
            options["causal"] = True
        if rng.random() < 0.3:
            options["key_mask"] = (rng.random(n) < 0.6) | (np.arange(n) == 0)
        dtype: Any = np.float64 if rng.random() < 0.6 else np.float32
        q, k, v, g = (np.asarray(x, dtype) for x in (q, k, v, g))  # type: ignore[assignment]
        tolerance = 10.0 ** -int(rng.integers(1, 5))
        basis, gradient = (
            ("taylor", "minimax")[number % 2],
            ("plug-in", "consistent")[int(rng.integers(2))],
        )
        method = aa.Polynomial(
            tolerance=tolerance, basis=basis, index="anisotropic", fallback=False, gradient=gradient
        )
        try:
            grads = aa.attention_vjp(q, k, v, g, method, **options)
        except ValueError as refusal:
            assert ": " in str(refusal)  # noqa: PT017 - a refusal with its remedy
            continue
        if grads.certificate.facts.get("index") != "anisotropic":
            continue
        largest["taken"] += 1
        for name, true in zip(("dq", "dk", "dv"), exact(q, k, v, **options, dout=g), strict=True):
            bounds = getattr(grads.certificate, name)
            error = np.abs(getattr(grads, name).astype(EXTENDED) - true).max(-1)
            error = np.maximum(error - 1e-17 * (1 + np.abs(true).max()), 0)
            assert np.all(error[bounds == 0] == 0)  # of hidden keys
            ratio = error / np.where(bounds > 0, bounds, 1.0)
            largest[name] = max(largest[name], float(np.max(ratio)))
    return largest


def test_no_gradient_error_above_its_certificate() -> None:
    largest = gradient_hunt(0, PROBLEMS)
    print(largest)
    assert largest.pop("taken") > 0.3 * PROBLEMS
    assert max(largest.values()) <= 1
    assert min(largest.values()) > 1e-3


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", [14, 150])  # by scores, by features
def test_consistent_gradient_passes_a_gradient_check_for_fixed_directions(
    causal: bool, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(8)
    q, k, v = decaying(rng, n, 3, 0.1, 1.5)
    q, g, mask = q + 0.5, rng.standard_normal((n, 2)), np.arange(n) != 5
    method = aa.Polynomial(tolerance=0.02, basis="taylor", index="anisotropic", fallback=False)
    options = {"causal": causal, "key_mask": mask, "scale": 1.0}
    problem = pose(q, k, v, **options)
    used: Any = anisotropic_attention
    first = used.coordinates_of(problem, centre_scores(problem))
    fixed = used.choose_split(problem, first, 0.02, "taylor", 10**6)

    def moved_coordinates(_problem, scores):
        x, y = scores.queries @ first.to_x.T, scores.keys @ first.to_y.T
        return replace(first, x=x, y=y)

    monkeypatch.setattr(anisotropic_attention, "coordinates_of", moved_coordinates)
    monkeypatch.setattr(anisotropic_attention, "choose_split", lambda *_: fixed)
    grads = aa.attention_vjp(q, k, v, g, method, **options)
    assert grads.certificate.facts["index"] == "anisotropic"
    inputs = {"dq": q, "dk": k, "dv": v}
    for name in inputs:
        direction = rng.standard_normal((n, inputs[name].shape[1]))

        def loss(t: float, name: str = name, direction: HostArray = direction) -> float:
            moved = [x + t * direction if key == name else x for key, x in inputs.items()]
            return float(np.sum(g * aa.attention(*moved, method, **options).value))

        slope = (8 * (loss(1e-3) - loss(-1e-3)) - (loss(2e-3) - loss(-2e-3))) / 12e-3
        assert slope == pytest.approx(
            float(np.sum(direction * getattr(grads, name))), rel=1e-7, abs=1e-9
        )
