"""Windows, packed sequences and padding in transformers: values and gradients against the exact
network, certificates, methods that refuse.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from dense_transformer import extended, random_model, run, whole_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import TABLE
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn.transformer import (
    SelfAttention,
    Transformer,
    choose_degrees,
    forward,
    gradient,
    parameters,
    with_parameters,
)
from approxattn.transformer.sight import largest_of_runs

PACKED = np.array([0, 0, 0, 4, 4, 2, 2])
LEFT = np.array([False, False, True, True, True, False, True])


def case(seed: int = 0, **options: Any) -> tuple[Transformer, Any, Any]:
    """Return a model, seven tokens and a cotangent."""
    rng = np.random.default_rng(seed)
    model = random_model(rng, activation="tanh", **options)
    x, g = rng.standard_normal((2, 7, 4))
    return model, x, g


@pytest.mark.parametrize(
    ("options", "segments", "mask"),
    [
        ({"window": (2, 0)}, None, None),
        ({"window": (1, 1)}, None, LEFT),
        ({"window": (None, 2)}, PACKED, None),
        ({"window": (2, None), "causal": True}, PACKED, LEFT),
        ({}, PACKED, None),
        ({"causal": True, "norm": "post"}, PACKED, LEFT),
        ({"causal": True}, None, LEFT),
    ],
    ids=str,
)
def test_whole_gradient(options: dict[str, Any], segments: Any, mask: Any) -> None:
    model, x, g = case(**options)
    own = gradient(model, x, g, aa.Exact(), key_mask=mask, segments=segments)
    dx, others = whole_gradient(model, x, g, mask, segments)
    exact = run(extended(model), x.astype(np.clongdouble), mask, segments).real
    np.testing.assert_allclose(own.value, exact, atol=1e-12)
    np.testing.assert_allclose(own.dx, dx, atol=1e-10)
    for name, wanted in others.items():
        np.testing.assert_allclose(parameters(own.model)[name], wanted, atol=1e-10, err_msg=name)
    assert own.certificate is not None
    assert np.sum(np.linalg.norm(own.dx - dx, axis=-1)) <= own.certificate.dx < 1e-4


@pytest.mark.parametrize("moments", [False, True])
def test_packed_sequences_are_as_if_each_were_alone(moments: bool) -> None:
    """Values, gradients, and bounds, which know nothing of the other sequences."""
    method = aa.Polynomial(degree=6, basis="taylor", gradient="plug-in")
    model, x, g = case(size=0.5)
    x = x * np.where(PACKED == 4, 3.0, 0.5)[:, None]
    both = {"segments": PACKED, "second_moments": moments}
    value, whole = forward(model, x, method, **both), gradient(model, x, g, method, **both)
    totals = []
    for name in (0, 4, 2):
        own = name == PACKED
        alone = forward(model, x[own], method, second_moments=moments)
        back = gradient(model, x[own], g[own], method, second_moments=moments)
        assert value.certificate is not None
        assert alone.certificate is not None
        assert back.certificate is not None
        np.testing.assert_allclose(value.value[own], alone.value, atol=1e-13)
        np.testing.assert_allclose(whole.dx[own], back.dx, atol=1e-13)
        rows = value.certificate.rows[own]
        # what grows: SVDs and sums over more rows; keys of all sequences balance the queries
        np.testing.assert_allclose(rows, alone.certificate.rows, rtol=0.2)
        totals.append(float(back.certificate.dx))
    assert whole.certificate is not None
    assert whole.certificate.dx >= 0.5 * sum(totals)


SEGMENTED = list({type(row.method): row for row in TABLE if not row.needs_square}.values())
"""One row of each class."""


@pytest.mark.parametrize("row", SEGMENTED, ids=str)
def test_segments_with_every_method(row: Any) -> None:
    """Each sequence is as if it were alone, and no error exceeds its bound."""
    causal = not row.method.why_not_causal and "causal" not in row.exempt
    model, x, _ = case(layers=1, causal=causal, size=0.5)
    attention = model.layers[0].attention
    if row.method.why_no_scale:
        attention = dataclasses.replace(attention, scale=None)
    model = Transformer(layers=(dataclasses.replace(model.layers[0], attention=attention),))
    draws = {"rng": np.random.default_rng(1)} if row.method.randomised else {}
    x = np.concatenate([x, x[:1] / 2])
    segments = np.repeat([0, 1], 4)
    out = forward(model, x, row.method, segments=segments, **draws)
    assert out.certificate is not None
    exact = run(extended(model), x.astype(np.clongdouble), None, segments).real
    errors = np.abs(out.value - exact).max(-1)
    assert np.all(errors <= out.certificate.rows)
    moved = np.where(segments[:, None] == 0, x, 7.0)
    draws = {"rng": np.random.default_rng(1)} if row.method.randomised else {}
    other = forward(model, moved, row.method, segments=segments, **draws)
    assert other.certificate is not None
    bounds = out.certificate.rows + other.certificate.rows  # one polynomial may serve both
    assert np.all(np.abs(other.value - out.value).max(-1)[:4] <= bounds[:4])
    assert np.abs(other.value[4:] - out.value[4:]).max() > 1e-3


@pytest.mark.parametrize(
    ("method", "options", "masks"),
    [
        (aa.Exact(), {"window": (2, 1)}, {"segments": PACKED, "key_mask": LEFT}),
        (
            aa.Polynomial(degree=4, basis="taylor", centre="keys"),
            {"causal": True},
            {"segments": PACKED},
        ),
    ],
    ids=["window", "polynomial"],
)
@pytest.mark.parametrize("recompute", [False, True])
def test_gradient_check(method: Any, options: Any, masks: Any, recompute: bool) -> None:
    rng = np.random.default_rng(7)
    model, x, g = case(3, layers=3, **options)
    more = {**masks, "certify": False}
    found = gradient(model, x, g, method, recompute=recompute, **more)
    own, point = parameters(found.model), parameters(model)
    directions = {name: rng.standard_normal(p.shape) for name, p in point.items()}
    along = rng.standard_normal(x.shape)

    def loss(t: float) -> float:
        moved = with_parameters(model, {k: p + t * directions[k] for k, p in point.items()})
        return float(np.sum(g * forward(moved, x + t * along, method, **more).value))

    slope = (8 * (loss(1e-4) - loss(-1e-4)) - (loss(2e-4) - loss(-2e-4))) / 12e-4
    wanted = sum(float(np.sum(directions[k] * own[k])) for k in own)
    assert slope == pytest.approx(wanted + float(np.sum(along * found.dx)), rel=1e-8)


@pytest.mark.parametrize("library", [x for x in LIBRARIES if str(x) != "jax"], ids=str)
def test_every_array_library(library: Library) -> None:
    model, x, g = case(window=(2, 0))
    there = with_parameters(model, {n: library.put(p) for n, p in parameters(model).items()})
    own = gradient(model, x, g, aa.Exact(), segments=PACKED, second_moments=True)
    other = gradient(
        there,
        library.put(x),
        library.put(g),
        aa.Exact(),
        segments=library.put(PACKED),
        second_moments=True,
    )
    assert own.certificate is not None
    assert other.certificate is not None
    np.testing.assert_allclose(library.get(other.dx), own.dx, atol=1e-11)
    np.testing.assert_allclose(other.certificate.dx, own.certificate.dx, rtol=1e-6)


def test_leading_axes_with_segments_of_their_own() -> None:
    model, x, g = case()
    rng = np.random.default_rng(2)
    xs, gs = rng.standard_normal((2, 2, 7, 4))
    segments = np.stack([PACKED, np.sort(PACKED)[::-1]])
    whole = gradient(model, xs, gs, aa.Exact(), segments=segments)
    parts = [gradient(model, xs[i], gs[i], aa.Exact(), segments=segments[i]) for i in (0, 1)]
    np.testing.assert_allclose(whole.dx, np.stack([p.dx for p in parts]), atol=1e-13)
    assert whole.certificate is not None
    for i, part in enumerate(parts):
        assert part.certificate is not None
        np.testing.assert_allclose(whole.certificate.dx[i], part.certificate.dx, rtol=1e-6)
    del x, g


def test_degrees_for_packed_sequences() -> None:
    model, x, g = case(layers=2, size=0.4, norm="none")
    choice = choose_degrees(model, x, g, tolerance=1e-6, segments=PACKED)
    exact = gradient(model, x, g, aa.Exact(), segments=PACKED)
    assert choice.met
    assert choice.gradients is not None
    gap = np.sum(np.linalg.norm(choice.gradients.dx - exact.dx, axis=-1))
    assert gap <= 1e-6 * np.sum(np.linalg.norm(exact.dx, axis=-1))


def test_a_wide_window_is_none() -> None:
    model, x, g = case(causal=True, window=(6, 0))
    plain = case(causal=True)[0]
    one, two = (gradient(m, x, g, aa.Exact()) for m in (model, plain))
    np.testing.assert_allclose(one.dx, two.dx, atol=1e-14)
    assert one.certificate is not None
    assert two.certificate is not None
    np.testing.assert_allclose(one.certificate.dx, two.certificate.dx, rtol=1e-6)


@given(st.data())
@settings(max_examples=50)
def test_the_largest_of_runs(data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n = data.draw(st.integers(1, 20))
    first = rng.integers(0, n + 1, (3, n))
    stop = np.maximum(first, rng.integers(0, n + 1, (3, n)))
    x = rng.random((3, n))
    wanted = [
        [max(row[a:b], default=0) for a, b in zip(*ends, strict=True)]
        for row, *ends in zip(x, first, stop, strict=True)
    ]
    np.testing.assert_array_equal(largest_of_runs(x, first, stop), wanted)


def test_refusals() -> None:
    model, x, g = case(window=(2, 0))
    with pytest.raises(ValueError, match=r"window\(=\(2, 0\)\) with Polynomial: its sums") as error:
        gradient(model, x, g, aa.Polynomial(degree=2))
    assert "layer 0" in error.value.__notes__[0]
    model = case(causal=True)[0]
    for wrong, kind, words in (
        ([0] * 7, TypeError, "must be one array"),
        ((PACKED, PACKED), TypeError, "must be one array"),
        (PACKED[:6], ValueError, r"segments .* shape \(6,\)"),
        (PACKED / 2, TypeError, "must be integers"),
        (np.array([0, 0, 1, 1, 0, 0, 0]), ValueError, "0 stands in two places"),
    ):
        with pytest.raises(kind, match=words):
            forward(model, x, aa.Exact(), segments=wrong)
    w = np.ones((1, 4, 4))
    with pytest.raises(ValueError, match=r"window\[0\]\(=-1\)"):
        SelfAttention(w=w, wv=w, window=(-1, 0))
    with pytest.raises(TypeError, match="window"):
        SelfAttention(w=w, wv=w, window=3)
