"""Gradients of YOSO: the exact one against differences, all against formulas in extended precision,
the sampled one against its exact variance.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn.hashing import collision
from approxattn.hashing.hyperplanes import codes, draw_hyperplanes

NAMES = ("dq", "dk", "dv")
PI = np.longdouble("3.14159265358979323846264338327950288")


def arrays(
    kind: str = "random", n: int = 23, d: int = 4, dv: int = 3, dtype: str = "float64"
) -> list[HostArray]:
    rng = np.random.default_rng([n, d])
    q, k, v, g = (rng.standard_normal((n, width)) for width in (d, d, dv, dv))
    if kind == "near":  # angles from 1 down to 1e-9 against q_0, and nearly opposite rows
        k[: n // 2] = 3 * q[0] + np.logspace(0, -9, n // 2)[:, None] * k[: n // 2]
        k[-1] = -q[1] + 1e-4 * k[-1]
    if kind == "sizes":
        q, k = (x * 2.0 ** rng.integers(-30, 30, (n, 1)) for x in (q, k))
    return [x.astype(dtype) for x in (q, k, v, g)]


def formula(
    inputs: list[HostArray],
    bits: int,
    kind: str,
    *,
    normalize: bool = False,
    causal: bool = False,
    mask: Any = None,
) -> list[HostArray]:
    """Return dq, dk, dv by explicit pairs, angles by half-angle formula, all in extended
    precision.
    """
    q, k, v, g = (x.astype(np.longdouble) for x in inputs)
    length = [np.sqrt((x * x).sum(-1, keepdims=True)) for x in (q, k)]
    a, b = q / length[0], k / length[1]
    apart, sum_ = (np.sqrt(((a[:, None] + sign * b) ** 2).sum(-1)) for sign in (-1, 1))
    theta = 2 * np.arctan2(apart, sum_)
    keep = np.ones(theta.shape, bool) if mask is None else np.broadcast_to(mask, theta.shape)
    keep = np.tril(keep) if causal else keep
    p = (1 - theta / PI) ** bits * keep
    if normalize:
        out = p @ v
        size = np.sqrt((out * out).sum(-1, keepdims=True))
        g = (g - (g * out).sum(-1, keepdims=True) * out / size**2) / size
    s, x = np.sin(theta), np.cos(theta)
    slope = p * bits / 2
    if kind == "exact":
        slope = np.where(
            s > 0, bits / PI * (1 - theta / PI) ** (bits - 1) / np.where(s > 0, s, 1), 0
        )
    w = (g @ v.T * keep * slope)[..., None]
    dq = (w * (b - x[..., None] * a[:, None])).sum(1) / length[0]
    dk = (w * (a[:, None] - x[..., None] * b)).sum(0) / length[1]
    return [dq, dk, p.T @ g]


def check(grads: aa.Gradients, reference: list[HostArray]) -> None:
    for name, true in zip(NAMES, reference, strict=True):
        error = np.abs(getattr(grads, name).astype(np.longdouble) - true).max(-1)
        bound = getattr(grads.certificate, name)
        assert (error <= bound).all(), f"{name}: {float((error / bound).max()):.3g} times the bound"


# --- the expectation ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "options",
    [{}, {"causal": True}, {"key_mask": np.arange(23) % 4 != 1}],
    ids=["", "causal", "mask"],
)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", ["exact", "surrogate"])
@pytest.mark.parametrize("data", ["random", "near", "sizes"])
def test_gradient_is_the_formula_within_the_certificate(
    data: str, kind: str, normalize: bool, options: dict[str, Any], dtype: str
) -> None:
    for bits in (1, 2, 9):
        inputs = arrays(data, dtype=dtype)
        method = aa.YosoExpectation(bits=bits, normalize=normalize, gradient=kind)
        grads = aa.attention_vjp(*inputs, method, **options)
        reference = formula(
            inputs,
            bits,
            kind,
            normalize=normalize,
            causal=bool(options.get("causal")),
            mask=options.get("key_mask"),
        )
        check(grads, reference)
        assert grads.certificate.kind == "surely"
        assert grads.certificate.target == f"the {kind} gradient of YOSO-E"
        if "key_mask" in options:
            assert not grads.dk[1::4].any()
            assert not grads.dv[1::4].any()


def test_bounds_are_near_rounding_away_from_parallel_rows() -> None:
    for kind in ("exact", "surrogate"):
        grads = aa.attention_vjp(*arrays(d=16), aa.YosoExpectation(bits=8, gradient=kind))
        assert max(getattr(grads.certificate, name).max() for name in NAMES) < 1e-10


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("bits", [1, 3])
def test_exact_gradient_passes_a_gradient_check(bits: int, normalize: bool) -> None:
    q, k, v, g = arrays(n=9)
    method = aa.YosoExpectation(bits=bits, normalize=normalize)
    grads = aa.attention_vjp(q, k, v, g, method)
    rng = np.random.default_rng(2)
    for name, x in zip(NAMES, (q, k, v), strict=True):
        direction: HostArray = np.asarray(rng.standard_normal(x.shape))

        def loss(t: float, name: str = name, direction: HostArray = direction) -> float:
            moved = [
                y + t * direction if own == name else y
                for own, y in zip(NAMES, (q, k, v), strict=True)
            ]
            return float(np.sum(g * aa.attention(*moved, method).value))

        slope = (8 * (loss(1e-4) - loss(-1e-4)) - (loss(2e-4) - loss(-2e-4))) / 12e-4
        assert slope == pytest.approx(
            float(np.sum(direction * getattr(grads, name))), rel=1e-6, abs=1e-8
        )


def test_exact_gradient_is_bounded_where_the_derivative_diverges() -> None:
    """One pair at angle theta: |dq| = (bits/pi) (1 - theta/pi)^(bits - 1) |z|/|q| down to the cone
    point, where it is taken to be 0.
    """
    bits, length = 4, 2.0
    for theta in (1.0, 1e-2, 1e-4, 1e-6):
        q, k = length * np.array([[1.0, 0.0]]), np.array([[math.cos(theta), math.sin(theta)]])
        grads = aa.attention_vjp(
            q, k, np.array([[3.0]]), np.ones((1, 1)), aa.YosoExpectation(bits=bits)
        )
        size = bits / math.pi * (1 - theta / math.pi) ** (bits - 1) * 3.0 / length
        assert np.linalg.norm(grads.dq) == pytest.approx(size, rel=1e-3 if theta < 1e-5 else 1e-6)
    same = aa.attention_vjp(
        q, 5 * q, np.ones((1, 1)), np.ones((1, 1)), aa.YosoExpectation(bits=bits)
    )
    assert not same.dq.any()
    assert 0.1 < same.certificate.dq[0] < 2, (
        "rounding cannot tell a parallel pair from a nearly parallel one"
    )


def test_surrogate_is_a_lower_bound_by_the_factor_of_the_angle() -> None:
    """exact / surrogate = 2 / ((pi - theta) sin theta) for one pair, at least 1.0990788 and that
    near x = 0.442121.
    """
    for theta in (0.3, 1.112835, 2.5):
        q, k = np.array([[1.0, 0.0]]), np.array([[math.cos(theta), math.sin(theta)]])
        one = np.ones((1, 1))
        exact, surrogate = (
            aa.attention_vjp(q, k, one, one, aa.YosoExpectation(bits=7, gradient=kind)).dq[0, 1]
            for kind in ("exact", "surrogate")
        )
        assert exact / surrogate == pytest.approx(
            2 / ((math.pi - theta) * math.sin(theta)), rel=1e-12
        )
        assert exact / surrogate >= 1.0990787


@pytest.mark.parametrize("gradient", ["exact", "surrogate", "sampled"])
def test_zero_rows_have_no_gradient_and_move_nothing(gradient: str) -> None:
    q, k, v, g = arrays(n=6)
    q[2], k[4] = 0, 0
    method: Any = aa.Yoso(bits=3, gradient=gradient)
    with pytest.raises(ValueError, match="zero_rows='orthogonal'"):
        aa.attention_vjp(q, k, v, g, method, rng=np.random.default_rng(0))
    method = aa.Yoso(bits=3, gradient=gradient, zero_rows="orthogonal")
    grads = aa.attention_vjp(q, k, v, g, method, rng=np.random.default_rng(0))
    assert not grads.dq[2].any()
    assert not grads.dk[4].any()
    if gradient != "sampled":
        others = np.arange(6) != 2, np.arange(6) != 4
        q2, k2, v2, g2 = q[others[0]], k[others[1]], v[others[1]], g[others[0]]
        alone = aa.attention_vjp(q2, k2, v2, g2, aa.YosoExpectation(bits=3, gradient=gradient))
        np.testing.assert_allclose(grads.dq[others[0]], alone.dq, atol=1e-12)
        np.testing.assert_allclose(grads.dk[others[1]], alone.dk, atol=1e-12)


def test_blocks_of_queries_join() -> None:
    """1100^2 pairs are taken in two blocks; a causal mask must fit them."""
    inputs = arrays(n=1100, d=3, dv=1)
    for causal in (False, True):
        grads = aa.attention_vjp(*inputs, aa.YosoExpectation(bits=3), causal=causal)
        check(grads, formula(inputs, 3, "exact", causal=causal))


def test_output_without_length_has_no_bound_and_says_why() -> None:
    q, k, _, g = arrays(n=5)
    grads = aa.attention_vjp(q, k, np.zeros((5, 3)), g, aa.YosoExpectation(normalize=True))
    assert np.isinf(grads.certificate.dv).all()
    assert "cannot be told from zero" in str(grads.certificate)
    assert np.isfinite(grads.dq).all()


# --- sampled --------------------------------------------------------------------------------------


def collisions(q: HostArray, k: HostArray, bits: int, hashes: int, seed: int) -> HostArray:
    normals = draw_hyperplanes(hashes, bits, q, np.random.default_rng(seed))
    a, b = (codes(x, normals, np) for x in (q, k))
    return a[..., :, None] == b[..., None, :]


@pytest.mark.parametrize("bits", [1, 4])
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_sampled_gradient_is_the_sum_over_collisions(library: Library, bits: int) -> None:
    q, k, v, g = arrays(n=40, d=3, dv=5)
    mask = np.arange(40) % 5 != 2
    met = collisions(q, k, bits, 6, 5).mean(axis=0) * mask
    w = bits / 2 * met * (g @ v.T)
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    linear = w @ b, w.T @ a
    dq, dk = (
        (x - (x * unit).sum(-1, keepdims=True) * unit)
        / np.linalg.norm(rows, axis=-1, keepdims=True)
        for x, unit, rows in zip(linear, (a, b), (q, k), strict=True)
    )
    put = [library.put(x) for x in (q, k, v, g)]
    method = aa.Yoso(bits=bits, hashes=6, gradient="sampled")
    grads = aa.attention_vjp(*put, method, key_mask=library.put(mask), rng=np.random.default_rng(5))
    for name, true in zip(NAMES, (dq, dk, met.T @ g), strict=True):
        assert library.owns(getattr(grads, name))
        np.testing.assert_allclose(library.get(getattr(grads, name)), true, rtol=0, atol=1e-12)


def test_sampled_gradient_is_unbiased_with_the_variance_of_shared_hashes() -> None:
    """Every entry of dq is a sum of collisions times fixed numbers, whose variance
    `collision.column_variance` knows.
    """
    bits, hashes, calls = 2, 2, 600
    q, k, v, g = arrays(n=7, d=3, dv=2)
    method = aa.Yoso(bits=bits, hashes=hashes, gradient="sampled")
    draws = [
        aa.attention_vjp(q, k, v, g, method, rng=np.random.default_rng(seed))
        for seed in range(calls)
    ]
    target = aa.attention_vjp(q, k, v, g, aa.YosoExpectation(bits=bits, gradient="surrogate"))
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    z, cosine = g @ v.T, a @ b.T
    for name in NAMES:
        found = np.stack([getattr(grads, name) for grads in draws])
        for i in range(7):
            if name == "dq":
                terms = (
                    bits
                    / 2
                    * z[i][:, None]
                    * (b - cosine[i][:, None] * a[i])
                    / np.linalg.norm(q[i])
                )
            elif name == "dk":
                terms = (
                    bits
                    / 2
                    * z[:, i][:, None]
                    * (a - cosine[:, i][:, None] * b[i])
                    / np.linalg.norm(k[i])
                )
            else:
                terms = g
            one, others = (q[i : i + 1], k) if name == "dq" else (k[i : i + 1], q)
            deviation = np.sqrt(collision.column_variance(one, others, terms, bits, np)[0] / hashes)
            mean = getattr(target, name)[i]
            assert (
                np.abs(found[:, i].mean(axis=0) - mean) < 4.5 * deviation / math.sqrt(calls)
            ).all()
            np.testing.assert_allclose(found[:, i].std(axis=0), deviation, rtol=0.2)


@pytest.mark.parametrize("hashing", ["gaussian", "hadamard"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sampled_gradient_is_within_its_certificate(dtype: str, hashing: str) -> None:
    inputs = arrays(n=12, d=3, dtype=dtype)
    reference = formula(inputs, 2, "surrogate")
    for seed in range(4):
        method = aa.Yoso(
            bits=2, hashes=4000, gradient="sampled", hashing=hashing, confidence=0.9999
        )
        grads = aa.attention_vjp(*inputs, method, rng=np.random.default_rng(seed))
        if hashing == "gaussian":
            check(grads, reference)
            assert grads.certificate.target == "the sampled surrogate gradient of YOSO-E"
        assert grads.certificate.failure == pytest.approx(1e-4)
        assert "Hadamard" in grads.certificate.target or hashing == "gaussian"
        assert np.isfinite(grads.certificate.dq).all()


def test_sampled_gradient_of_the_normalised_output() -> None:
    """With many hashes the bound is finite and holds; with few, rows cannot be told from zero, and
    it says so.
    """
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(0.2, 1, (4, 3)) for _ in range(4)]
    reference = formula(inputs, 1, "surrogate", normalize=True)
    many = aa.Yoso(bits=1, hashes=20_000, gradient="sampled", normalize=True)
    grads = aa.attention_vjp(*inputs, many, rng=rng)
    check(grads, reference)
    assert np.isfinite(grads.certificate.dq).all()
    assert np.abs(grads.dq - reference[0]).max() < 0.05 * np.abs(reference[0]).max()
    few = aa.Yoso(bits=1, hashes=2, gradient="sampled", normalize=True)
    assert "cannot be told from zero" in str(aa.attention_vjp(*inputs, few, rng=rng).certificate)


def test_all_tokens_in_one_bucket() -> None:
    """n^2 collisions, O(n d dv) operations: the sums are those of n equal pairs."""
    n = 3000
    q = np.tile([[1.0, 2.0]], (n, 1))
    v, g = np.ones((2, n, 1))
    grads = aa.attention_vjp(
        q, q, v, g, aa.Yoso(bits=8, hashes=2, gradient="sampled"), rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(grads.dv, n, rtol=1e-14)
    np.testing.assert_allclose(grads.dq, 0, atol=1e-9)  # all rows are parallel


@pytest.mark.parametrize(
    "method",
    [
        aa.YosoExpectation(bits=3),
        aa.YosoExpectation(bits=3, gradient="surrogate"),
        aa.Yoso(bits=3, gradient="sampled"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_libraries_and_batches_agree(library: Library, method: Any) -> None:
    items = [arrays(n=7), arrays("near", n=7)]
    batch = [np.stack(pair) for pair in zip(*items, strict=True)]
    rng = np.random.default_rng
    grads = aa.attention_vjp(*(library.put(x) for x in batch), method, rng=rng(3))
    for index, item in enumerate(items):
        alone = aa.attention_vjp(*item, method, rng=rng(3))
        for name in NAMES:
            found = library.get(getattr(grads, name))[index]
            allowed = getattr(alone.certificate, name) if not method.randomised else 1e-11
            assert (np.abs(found - getattr(alone, name)).max(-1) <= allowed).all()


# --- peers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
def test_transformers_agree_with_the_surrogate(normalize: bool) -> None:
    """`YosoCumulation` of the transformers library: forward pass and backward pass through its unit
    rows, unmasked, in float64.
    """
    torch = pytest.importorskip("torch")
    yoso = pytest.importorskip("transformers.models.yoso.modeling_yoso")
    bits, (q, k, v, g) = 9, arrays(n=12, d=16, dv=8)
    tensors = [torch.tensor(x, requires_grad=True) for x in (q, k, v)]
    unit = [torch.nn.functional.normalize(x, dim=-1)[None] for x in tensors[:2]]
    mask = torch.ones(1, 12, dtype=torch.float64)
    out = yoso.YosoCumulation.apply(mask, mask, *unit, tensors[2][None], {"hash_code_len": bits})
    out = torch.nn.functional.normalize(out, dim=-1) if normalize else out
    out.backward(torch.tensor(g)[None])
    method = aa.YosoExpectation(bits=bits, gradient="surrogate", normalize=normalize)
    np.testing.assert_allclose(
        aa.attention(q, k, v, method).value, out[0].detach().numpy(), rtol=0, atol=1e-12
    )
    grads = aa.attention_vjp(q, k, v, g, method)
    for name, tensor in zip(NAMES, tensors, strict=True):
        np.testing.assert_allclose(getattr(grads, name), tensor.grad.numpy(), rtol=0, atol=1e-12)


def test_facts_name_the_gradient() -> None:
    inputs = arrays(n=5)
    for method in (aa.YosoExpectation(gradient="surrogate"), aa.Yoso(gradient="surrogate")):
        grads = aa.attention_vjp(*inputs, method, rng=np.random.default_rng(0))
        assert grads.certificate.facts["gradient"] == "surrogate"
        assert _arrays.dtype_name(grads.dq) == "float64"
