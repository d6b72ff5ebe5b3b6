"""Certificates of transformers: random models held against the exact network in extended precision,
how far from sharp, and what is refused.
"""

from __future__ import annotations

import dataclasses
import os
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from dense_transformer import extended, random_model, run, whole_gradient

import approxattn as aa
from approxattn.exponential.minimax import MinimaxRefusedError
from approxattn.transformer import Layer, Transformer, forward, gradient, parameters
from approxattn.transformer.sight import Sight

MODELS = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "full" else 48
METHODS: tuple[Any, ...] = (
    aa.Exact(),
    aa.Polynomial(degree=2, basis="taylor", gradient="plug-in"),
    aa.Polynomial(degree=4, basis="taylor", gradient="consistent"),
    aa.Polynomial(degree=6, basis="taylor", gradient="plug-in"),
    aa.Polynomial(degree=3, gradient="plug-in"),
)


def draw(seed: int) -> dict[str, Any]:
    """Return a random model, input, cotangent, masks and method: small, so that every entry of the
    exact gradient can be had.
    """
    rng = np.random.default_rng(seed)
    dtype = (np.float64, np.float32)[seed % 2]
    heads = int(rng.integers(1, 3))
    joint = bool(rng.random() < 0.3)
    model = random_model(
        rng,
        layers=int(rng.integers(1, 4)),
        d=2,
        heads=heads,
        width=int(rng.integers(1, 3)),
        causal=bool(rng.random() < 0.5),
        residual=bool(rng.random() < 0.6),
        norm=str(rng.choice(["pre", "post", "none", "none"])),
        activation=str(rng.choice(["gelu", "silu", "tanh"])),
        joint=joint,
        biases=bool(rng.random() < 0.5),
        project=bool(rng.random() < 0.7),
        size=float(rng.choice([0.1, 0.5, 1.0, 2.0])),
        dtype=dtype,
    )
    n = int(rng.integers(1, 6))
    x, g = (rng.choice([0.01, 1.0, 5.0]) * rng.standard_normal((2, n, 2))).astype(dtype)
    mask = None
    if rng.random() < 0.3:
        mask = rng.random(n) < 0.6
        mask[0] = True
    return {
        "model": model,
        "x": x,
        "g": g,
        "masks": {"mask": mask},
        "method": METHODS[int(rng.integers(len(METHODS)))],
        "moments": bool(rng.random() < 0.7),
    }


def draw_masked(seed: int) -> dict[str, Any]:
    """Return the same with a window, packed sequences, padding anywhere, or several of these."""
    case, rng = draw(seed), np.random.default_rng(seed)
    model, n = case["model"], len(case["x"])
    if rng.random() < 0.5:
        sides = (None, 0, 1, 2)
        window = sides[int(rng.integers(4))], sides[int(rng.integers(4))]
        layers = [windowed(layer, window) for layer in model.layers]
        case |= {"model": dataclasses.replace(model, layers=tuple(layers)), "method": aa.Exact()}
    mask = rng.random(n) < 0.6
    mask[int(rng.integers(n))] = True
    segments = np.sort(rng.integers(0, 3, n))
    case["masks"] = {
        "mask": mask if rng.random() < 0.6 else None,
        "segments": segments if rng.random() < 0.6 else None,
    }
    return case


def windowed(layer: Layer, window: Any) -> Layer:
    return dataclasses.replace(layer, attention=dataclasses.replace(layer.attention, window=window))


def ratios(case: dict[str, Any]) -> dict[str, float]:
    """Return error / bound for the value and for every gradient; more than 1 is a wrong
    certificate.
    """
    model, x, g, masks = (case[name] for name in ("model", "x", "g", "masks"))
    options = {"key_mask": masks["mask"], "segments": masks.get("segments")}
    options |= {"second_moments": case["moments"]}
    own = gradient(model, x, g, case["method"], **options)
    value = forward(model, x, case["method"], **options)
    wide = x.astype(np.clongdouble)
    found = {}
    assert value.certificate is not None
    assert own.certificate is not None
    exact = run(extended(model), wide, **masks).real
    found["value"] = _ratio(np.max(np.abs(value.value - exact), axis=-1), value.certificate.rows)
    for i in range(len(model.layers)):
        part = run(
            extended(Transformer(first=model.first, layers=model.layers[: i + 1])), wide, **masks
        ).real
        found[f"T_{i + 1}"] = _ratio(
            np.linalg.norm((value.tokens[i + 1] - part).astype(float), axis=-1), value.layers[i].out
        )
    dx, others = whole_gradient(model, x, g.astype(np.longdouble), **masks)
    # The oracle's own rounding, far below what is bounded unless all of a gradient cancels:
    # *chosen*, 100 units of extended precision.
    noise = 1e-17 * max(float(np.max(np.abs(p))) for p in (dx, g, *others.values()))
    found["dx"] = _ratio(_total(own.dx - dx) - noise, own.certificate.dx)
    size = float(np.sum(np.abs(g) * np.abs(exact)))  # the oracle of the loss rounds too
    found["loss"] = _ratio(
        abs(np.sum(g.astype(np.longdouble) * (own.value - exact))) - 1e-17 * size,
        own.certificate.loss,
    )
    mine = parameters(own.model)
    assert others.keys() == own.certificate.parameters.keys()
    for name, p in others.items():
        found[name] = _ratio(
            np.sqrt(np.sum((mine[name] - p) ** 2)) - noise, own.certificate.parameters[name]
        )
    return found


def _total(error: Any) -> Any:
    return np.sum(np.sqrt(np.sum(error * error, axis=-1)), axis=-1)


def _ratio(error: Any, bound: Any) -> float:
    error, bound = np.asarray(error, float), np.asarray(bound, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.max(np.where(error > 0, error / bound, 0.0)))


def test_errors_stay_within_the_certificates() -> None:
    largest: dict[str, float] = {}
    refused = 0
    for seed in range(MODELS):
        try:
            found = ratios(draw(seed))
        except MinimaxRefusedError:  # scores that no float64 polynomial of that basis follows
            refused += 1
            continue
        wrong = {name: r for name, r in found.items() if not r <= 1}
        assert not wrong, f"seed {seed}: {wrong}"
        for name, r in found.items():
            kind = name.rpartition(".")[2]
            largest[kind] = max(largest.get(kind, 0.0), r)
    # No certificate is vacuous: on some model each kind is within a factor 1000 of the error.
    # (dL/db_K is 0: it only meets rounding.)
    assert min(r for kind, r in largest.items() if kind != "bk") > 1e-3, largest
    assert largest["value"] > 1 / 6
    assert refused < MODELS / 20


def test_errors_stay_within_the_certificates_under_masks() -> None:
    for seed in range(MODELS // 2):
        try:
            found = ratios(draw_masked(seed))
        except MinimaxRefusedError:
            continue
        wrong = {name: r for name, r in found.items() if not r <= 1}
        assert not wrong, f"seed {seed}: {wrong}"


def test_between_the_layers() -> None:
    """The bounds on dL/dT_i, against the exact gradient of what follows at the exact T_i."""
    rng = np.random.default_rng(1)
    model, (x, g) = (
        random_model(rng, layers=3, d=2, heads=1, size=0.4),
        rng.standard_normal((2, 4, 2)),
    )
    own = gradient(model, x, g, aa.Polynomial(degree=4, basis="taylor", gradient="plug-in"))
    assert own.certificate is not None
    for i in range(3):
        at = run(
            extended(Transformer(first=model.first, layers=model.layers[:i])),
            x.astype(np.clongdouble),
        ).real
        exact, _ = whole_gradient(Transformer(layers=model.layers[i:]), at, g)
        assert 0 < float(_total(own.tokens[i] - exact)) <= own.certificate.tokens[i]
    assert own.certificate.tokens[3] == 0


def test_a_bound_grows_with_depth_and_falls_with_the_degree() -> None:
    rng = np.random.default_rng(2)
    model, (x, g) = random_model(rng, layers=4, size=0.3), rng.standard_normal((2, 20, 4))

    def bound(layers: int, degree: int) -> tuple[float, float]:
        part = Transformer(first=model.first, layers=model.layers[:layers])
        own = gradient(part, x, g, aa.Polynomial(degree=degree, basis="taylor", gradient="plug-in"))
        assert own.certificate is not None
        return float(own.layers[-1].out.max()), float(own.certificate.dx)

    by_depth = [bound(m, 8) for m in (1, 2, 3, 4)]
    assert all(a < b for low, high in pairwise(by_depth) for a, b in zip(low, high, strict=True))
    by_degree = [bound(4, d) for d in (4, 6, 8)]
    assert all(
        a > 5 * b for low, high in pairwise(by_degree) for a, b in zip(low, high, strict=True)
    )


def test_the_loss_is_certified_more_sharply_than_the_output() -> None:
    """Weighed by the measured gradient, the errors of the layers are not multiplied by Lipschitz
    constants, to first order.
    """
    rng = np.random.default_rng(6)
    model, (x, g) = (
        random_model(rng, layers=4, size=0.4, norm="none"),
        rng.uniform(-1, 1, (2, 20, 4)),
    )
    own = gradient(model, x, g, aa.Polynomial(degree=14, basis="taylor", gradient="plug-in"))
    exact = forward(model, x, aa.Exact()).value
    assert own.certificate is not None
    by_output = float(np.sum(np.linalg.norm(g, axis=-1) * own.layers[-1].out))
    assert abs(np.sum(g * (own.value - exact))) <= own.certificate.loss < by_output / 3


def test_second_moments_make_the_bounds_through_layers_smaller() -> None:
    rng = np.random.default_rng(7)
    model, (x, g) = (
        random_model(rng, layers=5, d=6, width=6, heads=1, size=0.8, norm="none"),
        rng.uniform(-1, 1, (2, 60, 6)),
    )
    plug_in = aa.Polynomial(degree=14, basis="taylor", gradient="plug-in")
    true = gradient(model, x, g, aa.Exact())
    plain, sharp = (
        gradient(model, x, g, plug_in, second_moments=moments) for moments in (False, True)
    )
    assert plain.certificate is not None
    assert sharp.certificate is not None
    np.testing.assert_array_equal(plain.dx, sharp.dx)
    assert float(_total(sharp.dx - true.dx)) <= sharp.certificate.dx < plain.certificate.dx / 4
    assert np.all(sharp.layers[-1].out < plain.layers[-1].out)


def test_second_moments_are_those_of_the_exact_weights() -> None:
    """Held against the covariance about its own mean, entry by entry, and not far above the second
    moment about the centre.
    """
    rng = np.random.default_rng(8)
    attention = (
        random_model(rng, layers=1, d=5, heads=2, width=3, size=1.0, causal=True)
        .layers[0]
        .attention
    )
    u, mask = rng.standard_normal((30, 5)), rng.random(30) < 0.8
    mask[0] = True
    run = attention.attend(
        u, aa.Polynomial(degree=12, basis="taylor"), Sight(mask=mask), None, True
    )
    assert run.spread is not None
    visible = np.tril(np.ones((30, 30), bool)) & mask
    weights = np.where(visible, np.exp(attention.beta * run.q @ np.swapaxes(run.k, -1, -2)), 0.0)
    weights /= weights.sum(axis=-1, keepdims=True)
    steered = run.k @ np.swapaxes(attention.wq, -1, -2)
    for found, of in (
        (run.spread.keys, run.k),
        (run.spread.steered, steered),
        (run.spread.values, run.v),
    ):
        off = of[:, None] - (weights @ of)[:, :, None]  # (heads, query, key, width)
        covariance = np.swapaxes(weights[..., None] * off, -1, -2) @ off
        sigma = np.sqrt(np.linalg.eigvalsh(covariance)[..., -1])
        assert np.all(sigma <= found)
        assert np.median(found[:, 10:] / sigma[:, 10:]) < 1.5


class Failing:
    """Exact attention, whose certificate may fail with probability 1/8."""

    randomised, why_not_causal, why_no_scale = False, "", ""

    def compute(self, *arguments: Any) -> Any:
        out = aa.Exact().compute(*arguments)
        return dataclasses.replace(
            out, certificate=dataclasses.replace(out.certificate, failure=1 / 8)
        )


def test_second_moments_may_fail_too() -> None:
    rng = np.random.default_rng(9)
    model, x = random_model(rng, layers=2, heads=1), rng.standard_normal((6, 4))
    failing: Any = Failing()
    for moments, failure in ((False, 2 / 8), (True, 4 / 8)):
        certificate = forward(model, x, failing, second_moments=moments).certificate
        assert certificate is not None
        assert certificate.failure == failure


def test_a_method_with_another_target_promises_nothing() -> None:
    rng = np.random.default_rng(3)
    model, x = random_model(rng, layers=2), rng.standard_normal((6, 4))
    out = forward(model, x, [aa.Exact(), aa.YosoExpectation(bits=4)])
    assert out.certificate is not None
    assert np.isfinite(out.layers[0].out).all()
    assert np.isinf(out.certificate.bound)
    assert "not softmax attention" in out.certificate.unmet[-1]
    assert "No bound" in str(out.certificate)


def test_what_certificates_say() -> None:
    rng = np.random.default_rng(4)
    model, (x, g) = random_model(rng, layers=2), rng.standard_normal((2, 6, 4))
    own = gradient(model, x, g, aa.Exact())
    assert str(own.certificate).startswith("dL/dX is within")
    assert own.certificate is not None
    assert own.certificate.kind == "surely"
    without = gradient(model, x, g, aa.Exact(), certify=False)
    assert without.certificate is None
    assert without.layers == ()
    np.testing.assert_array_equal(without.dx, own.dx)
    with pytest.raises(TypeError):
        own.certificate.parameters["x"] = 0.0  # type: ignore[index]
