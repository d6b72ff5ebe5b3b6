"""Nystrom attention: against the formula with NumPy's pseudo-inverse, its exact limit, its
gradient, masks, and the residual of the iteration.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from gradient_check import check_gradient
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.data import minilm_heads
from approxattn.methods.low_rank import pseudo_inverse


def problem(seed: int, shape: tuple[int, ...] = (2, 12, 3), size: float = 1.0) -> list[HostArray]:
    return list(np.random.default_rng(seed).uniform(-size, size, (3, *shape)))


def softmax(s: HostArray) -> HostArray:
    w = np.exp(s - s.max(axis=-1, keepdims=True))
    return np.asarray(w / w.sum(axis=-1, keepdims=True))


def means(x: HostArray, count: int) -> HostArray:
    """Return the means of blocks that share the tokens as evenly as integers allow."""
    edges = np.arange(count + 1) * len(x) // count
    return np.stack([x[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])


def by_formula(
    q: HostArray, k: HostArray, v: HostArray, marks: int, iterations: int | None
) -> tuple[HostArray, HostArray]:
    """Return the output as published (no centring) and the matrix in place of the softmax, for one
    item.
    """
    beta = q.shape[-1] ** -0.5
    qm, km = means(q, min(marks, len(q))), means(k, min(marks, len(k)))
    f, a, b = softmax(beta * q @ km.T), softmax(beta * qm @ km.T), softmax(beta * qm @ k.T)
    if iterations is None:
        z = np.linalg.pinv(a, rcond=1e-12)
    else:
        z = a.T / (np.abs(a).sum(axis=0).max() * np.abs(a).sum(axis=1).max())
        eye = np.eye(len(a))
        for _ in range(iterations):
            z = z @ (13 * eye - a @ z @ (15 * eye - a @ z @ (7 * eye - a @ z))) / 4
    return f @ z @ b @ v, f @ z @ b


@pytest.mark.parametrize("iterations", [0, 6, None])
@pytest.mark.parametrize("marks", [1, 4, 5, 40])
def test_the_formula(marks: int, iterations: int | None) -> None:
    q, k, v = problem(0, (2, 12, 3), 2.0)
    k, v = k[:, :11], v[:, :11]
    options = {"rcond": 1e-12} if iterations is None else {"iterations": iterations}
    plain = aa.attention(q, k, v, aa.Nystrom(landmarks=marks, centred=False, **options)).value
    centred = aa.attention(q, k, v, aa.Nystrom(landmarks=marks, **options)).value
    for i in range(2):
        out, matrix = by_formula(q[i], k[i], v[i], marks, iterations)
        np.testing.assert_allclose(plain[i], out, rtol=1e-7, atol=1e-9)
        mean = v[i].mean(axis=0)
        np.testing.assert_allclose(centred[i], matrix @ (v[i] - mean) + mean, rtol=1e-7, atol=1e-9)


def test_all_tokens_as_landmarks_is_exact_attention() -> None:
    q, k, v = problem(1, (2, 6, 4), 1.5)
    for centred in (False, True):
        out = aa.attention(q, k, v, aa.Nystrom(landmarks=6, rcond=0.0, centred=centred)).value
        np.testing.assert_allclose(out, aa.attention(q, k, v, aa.Exact()).value, atol=1e-9)


def test_rows_sum_to_one_and_entries_can_be_negative() -> None:
    q, k, _ = problem(2, (12, 3), 3.0)
    _, matrix = by_formula(q, k, np.eye(12), 4, None)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-9)
    found = aa.attention(q, k, np.eye(12), aa.Nystrom(landmarks=4, rcond=1e-12)).value
    assert found.min() < 0
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-9)


def test_one_item_does_not_change_another() -> None:
    q, k, v = problem(3, (2, 9, 3))
    q[1] *= 30
    both = aa.attention(q, k, v, aa.Nystrom(landmarks=4)).value
    alone = aa.attention(q[0], k[0], v[0], aa.Nystrom(landmarks=4)).value
    np.testing.assert_allclose(both[0], alone, rtol=1e-12)


def test_residual_of_one_iteration() -> None:
    """Eigenvalue e of I - AZ becomes 3 e^3/4 + e^4/4."""
    rng = np.random.default_rng(4)
    a = rng.uniform(0, 1, (5, 5))
    a = a @ a.T + np.eye(5)
    residuals = [
        np.sort(np.linalg.eigvals(np.eye(5) - a @ pseudo_inverse.newton_schulz(a, t, np)).real)
        for t in range(5)
    ]
    for before, after in itertools.pairwise(residuals):
        np.testing.assert_allclose(after, np.sort(0.75 * before**3 + 0.25 * before**4), atol=1e-12)
    assert (residuals[0] >= 0).all()
    assert (residuals[0] < 1).all()


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (2, 4)])
@pytest.mark.parametrize("rank", [2, 5])
def test_gradients_of_the_inverses(shape: tuple[int, int], rank: int) -> None:
    rng = np.random.default_rng(5)
    a = (
        rng.uniform(-1, 1, shape)
        if rank == 5
        else rng.normal(size=(shape[0], 2)) @ rng.normal(size=(2, shape[1]))
    )
    dz, direction = rng.normal(size=shape[::-1]), rng.normal(size=shape)
    pairs = [
        (
            lambda x: pseudo_inverse.newton_schulz(x, 4, np),
            pseudo_inverse.newton_schulz_gradient(a, 4, dz, np),
        ),
        (
            lambda x: pseudo_inverse.truncated_inverse(x, 0.2, np),
            pseudo_inverse.truncated_inverse_gradient(a, 0.2, dz, np),
        ),
    ]
    for f, gradient in pairs:
        h = 1e-6
        slope = np.sum(dz * (f(a + h * direction) - f(a - h * direction))) / (2 * h)
        assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-5)


METHODS = [
    aa.Nystrom(landmarks=3),
    aa.Nystrom(landmarks=4, centred=False, iterations=3),
    aa.Nystrom(landmarks=3, rcond=1e-2),
    aa.Nystrom(landmarks=20, iterations=2),
]
MASK = np.array([[1, 1, 0, 1, 1, 1, 0, 1], [0, 0, 1, 1, 0, 0, 0, 0]], bool)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_gradient(method: aa.Nystrom, masked: bool) -> None:
    q, k, v = problem(6, (2, 8, 3), 1.5)
    dout = np.random.default_rng(7).normal(size=v.shape)
    grads = check_gradient(
        method, {"q": q, "k": k, "v": v}, dout, **({"key_mask": MASK} if masked else {})
    )
    assert grads.certificate.unmet
    if masked:
        assert not grads.dk[~MASK].any()
        assert not grads.dv[~MASK].any()


def test_masked_queries_make_no_landmarks() -> None:
    q, k, v = problem(8, (2, 8, 3))
    method = aa.Nystrom(landmarks=3, mask_queries=True)
    spoilt = np.where(MASK[..., None], q, 50.0)
    out, other = (aa.attention(x, k, v, method, key_mask=MASK).value for x in (q, spoilt))
    np.testing.assert_array_equal(out[MASK], other[MASK])
    tokens = np.flatnonzero(MASK[0])
    packed = aa.attention(q[0, tokens], k[0, tokens], v[0, tokens], aa.Nystrom(landmarks=3)).value
    np.testing.assert_allclose(out[0, tokens], packed, rtol=1e-10, atol=1e-12)
    check_gradient(
        method,
        {"q": q, "k": k, "v": v},
        np.random.default_rng(9).normal(size=v.shape),
        key_mask=MASK,
    )
    with pytest.raises(ValueError, match="mask_queries=True with 5 queries and 8 keys"):
        aa.attention(q[:, :5], k, v, method)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("method", METHODS[:3], ids=repr)
def test_every_library_gives_the_same(library: Library, method: aa.Nystrom) -> None:
    arrays = [*problem(10, (2, 8, 3)), np.random.default_rng(11).normal(size=(2, 8, 3))]

    def both(place: Library) -> tuple[Any, Any]:
        q, k, v, dout = (place.put(x) for x in arrays)
        mask = place.put(MASK)
        return aa.attention(q, k, v, method, key_mask=mask).value, aa.attention_vjp(
            q, k, v, dout, method, key_mask=mask
        ).dk

    for found, host in zip(both(library), both(NUMPY), strict=True):
        assert library.owns(found)
        np.testing.assert_allclose(library.get(found), host, rtol=1e-8, atol=1e-10)


def test_real_heads_and_the_certificate() -> None:
    heads = minilm_heads()
    exact = aa.attention(heads.q, heads.k, heads.v, aa.Exact()).value
    norm = np.linalg.norm(exact, axis=(-2, -1))
    for method, low, high in (
        (aa.Nystrom(landmarks=64), 0.2, 0.45),
        (aa.Nystrom(landmarks=64, rcond=1e-2), 0.2, 0.45),
        (aa.Nystrom(landmarks=64, iterations=20), 0.5, 2.0),  # more iterations, larger error
    ):
        out = aa.attention(heads.q, heads.k, heads.v, method)
        error = out.value - exact
        assert low < np.median(np.linalg.norm(error, axis=(-2, -1)) / norm) < high
        assert (np.abs(error).max(axis=-1) <= out.certificate.rows).all()
        assert out.certificate.theorem == "ours.value-range"


def test_the_bound_of_the_range_is_attained() -> None:
    q, k, v = np.zeros((1, 1)), np.array([[0.0], [-200.0]]), np.array([[1.0], [0.0]])
    out = aa.attention(q + 1, k, v, aa.Nystrom(landmarks=1))  # one landmark: the mean of the values
    error = abs(out.value[0, 0] - 1.0)
    assert out.certificate.rows[0] == pytest.approx(max(out.value[0, 0], 1 - out.value[0, 0]))
    assert error <= out.certificate.rows[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"landmarks": 2.0}, TypeError, r"landmarks\(=2.0\) must be an int"),
        ({"landmarks": 0}, ValueError, r"landmarks\(=0\) must be at least 1"),
        (
            {"landmarks": 2, "iterations": -1},
            ValueError,
            r"iterations\(=-1\) must lie in \[0, 1000\]",
        ),
        ({"landmarks": 2, "iterations": True}, TypeError, r"iterations\(=True\) must be an int"),
        ({"landmarks": 2, "rcond": 1.0}, ValueError, r"rcond\(=1.0\) must lie in \[0, 1\)"),
        ({"landmarks": 2, "rcond": float("nan")}, ValueError, "rcond"),
    ],
)
def test_bad_parameters(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        aa.Nystrom(**arguments)


def test_no_causal_form() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="mix earlier tokens with later ones"):
        aa.attention(x, x, x, aa.Nystrom(landmarks=2), causal=True)
