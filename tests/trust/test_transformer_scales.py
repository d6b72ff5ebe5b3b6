"""Transformers of every size of numbers that a dtype has: no finite bound is below the error, and
nothing that is NaN or infinite has one.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, NamedTuple

import numpy as np
from dense_transformer import extended, random_model, run, whole_gradient

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.transformer import (
    Layer,
    LayerNorm,
    ModelGradients,
    Output,
    Residual,
    Transformer,
    choose_degrees,
    forward,
    gradient,
    parameters,
    with_parameters,
)

MODELS = 100
RANGES = {"float32": (-44.0, 38.0), "float64": (-323.0, 308.0)}
"""Powers of ten of the dtypes, subnormal numbers included."""

ORACLE = 1 + 2.0**-8
"""The oracle computes with 11 bits more than float64, and errs by that much less than the bounds on
rounding in float64 allow for. *Chosen*: a factor 8 for the order of its sums.
"""


class Drawn(NamedTuple):
    model: Transformer
    x: HostArray
    g: HostArray
    mask: HostArray | None
    moments: bool


def draw(seed: int) -> Drawn:
    """Return a small random model with numbers of any size."""
    rng = np.random.default_rng(seed)
    dtype = ("float32", "float64")[seed % 2]
    model = random_model(
        rng,
        layers=int(rng.integers(1, 3)),
        d=int(rng.integers(2, 4)),
        heads=1,
        width=2,
        causal=bool(rng.random() < 0.5),
        residual=bool(rng.random() < 0.6),
        norm=str(rng.choice(["pre", "post", "post", "none"])),
        activation=str(rng.choice(["gelu", "silu", "tanh"])),
        joint=bool(rng.random() < 0.2),
        biases=bool(rng.random() < 0.5),
        project=bool(rng.random() < 0.7),
    )
    n, d = int(rng.integers(1, 5)), model.layers[0].attention.wv.shape[1]
    arrays = dict(parameters(model)) | {"x": rng.standard_normal((n, d))}
    arrays["g"] = rng.standard_normal(run(model, arrays["x"]).shape)
    low, high = RANGES[dtype]
    for name in _resized(sorted(arrays), rng):
        wide = rng.uniform(low, high) if rng.random() < 0.5 else rng.uniform(low, high) / 4
        arrays[name] = _sized(arrays[name], wide, rng)
    arrays = {name: _cast(p, dtype) for name, p in arrays.items()}
    x, g = arrays.pop("x"), arrays.pop("g")
    model = _with_epsilon(model, float(10.0 ** rng.choice([-5, -12, -30, 0, 20])), rng)
    mask = np.arange(n) % 3 != 2 if rng.random() < 0.3 else None
    return Drawn(with_parameters(model, arrays), x, g, mask, bool(rng.random() < 0.5))


def _resized(names: list[str], rng: np.random.Generator) -> list[str]:
    """Choose what is given another size: the tokens, one array, a few of them, all of them."""
    style = rng.integers(0, 4)
    if style == 0:
        return ["x"]
    count = (1, 3, len(names))[style - 1]
    return [str(name) for name in rng.choice(names, size=min(count, len(names)), replace=False)]


def _sized(p: HostArray, exponent: float, rng: np.random.Generator) -> HostArray:
    """Multiply by a power of ten, or one a row."""
    rows = rng.uniform(-8, 0, (*p.shape[:-1], 1)) if rng.random() < 0.3 else 0.0
    return p * np.longdouble(10) ** (exponent + rows)


def _cast(p: HostArray, dtype: str) -> HostArray:
    top = np.finfo(dtype).max
    return np.clip(p, -top, top).astype(dtype)


def _with_epsilon(node: Any, epsilon: float, rng: np.random.Generator) -> Any:
    """Give every LayerNorm another epsilon, or leave it."""
    if isinstance(node, tuple):
        return tuple(_with_epsilon(child, epsilon, rng) for child in node)
    if isinstance(node, LayerNorm):
        return dataclasses.replace(node, epsilon=epsilon) if rng.random() < 0.5 else node
    if isinstance(node, Transformer | Layer | Residual):
        changed = {
            f.name: _with_epsilon(getattr(node, f.name), epsilon, rng)
            for f in dataclasses.fields(node)
        }
        return dataclasses.replace(node, **changed)
    return node


def ratios(drawn: Drawn) -> dict[str, float]:
    """Return error / bound of every finite bound: above `ORACLE` a certificate is wrong."""
    model, x, g, mask, moments = drawn
    own = gradient(model, x, g, aa.Exact(), key_mask=mask, second_moments=moments)
    value = forward(model, x, aa.Exact(), key_mask=mask, second_moments=moments)
    finite_where_bounded(value, own)
    wide = x.astype(np.clongdouble)
    exact = run(extended(model), wide, mask).real
    dx, others = whole_gradient(model, x, g.astype(np.longdouble), mask)
    loss = np.sum(g.astype(np.longdouble) * (own.value.astype(np.longdouble) - exact))
    certificate, mine = own.certificate, parameters(own.model)
    assert certificate is not None
    assert value.certificate is not None
    found = {
        "value": ratio(length(value.value - exact), value.certificate.rows),
        "dx": ratio(np.sum(length(own.dx - dx)), certificate.dx),
        "loss": ratio(np.abs(loss), certificate.loss),
    }
    for name, p in others.items():
        error = length((mine[name] - p).reshape(-1))
        found[name] = ratio(error, certificate.parameters[name])
    return found


def finite_where_bounded(value: Output, own: ModelGradients) -> None:
    """Assert that nothing infinite has a finite bound, and that a missing bound has a reason."""
    assert value.certificate is not None
    assert own.certificate is not None
    bounds = own.certificate
    assert np.isfinite(value.value[np.isfinite(value.certificate.rows)]).all()
    assert np.isfinite(value.certificate.bound) or value.certificate.unmet
    for g, total in zip(own.tokens, bounds.tokens, strict=True):
        assert np.isfinite(g).all() or np.isinf(total)
    assert np.isfinite(own.dx).all() or np.isinf(bounds.dx)
    for name, p in parameters(own.model).items():
        assert np.isfinite(p).all() or np.isinf(bounds.parameters[name]), name
    assert np.isfinite(bounds.tokens[0]) or bounds.unmet


def length(x: Any) -> Any:
    """Return Euclidean norms along the last axis, in extended precision."""
    return np.sqrt(np.sum(np.square(x.astype(np.longdouble)), axis=-1))


def ratio(error: Any, bound: Any) -> float:
    """Return the largest error / bound; where there is no bound, 0."""
    error, bound = np.asarray(error, np.longdouble), np.asarray(bound, np.longdouble)
    return float(np.max(np.where(np.isfinite(bound), error / np.maximum(bound, 1e-320), 0)))


def judged(seed: int) -> dict[str, float] | None:
    """Return the ratios of one model, or None where the package refuses, as it may."""
    try:
        with np.errstate(all="ignore"):
            return ratios(draw(seed))
    except ValueError as error:
        assert ": " in str(error), "not a refusal of ours"  # noqa: PT017
        return None


def test_no_finite_bound_is_below_the_error() -> None:
    found = [judged(seed) for seed in range(MODELS)]
    accepted = [f for f in found if f is not None]
    wrong = {
        seed: {name: r for name, r in f.items() if not r <= ORACLE}
        for seed, f in enumerate(found)
        if f is not None
    }
    assert not any(wrong.values()), {seed: names for seed, names in wrong.items() if names}
    assert len(accepted) > MODELS / 3
    for name in ("value", "dx", "loss"):  # bounds were there to be held against
        assert sum(f[name] > 1e-4 for f in accepted) > MODELS / 10, name


def test_in_silence() -> None:
    """Neither warnings nor errors of floating point, whatever the caller has set."""
    done = 0
    for seed in range(20):
        model, x, g, mask, moments = draw(seed)
        options: dict[str, Any] = {"key_mask": mask, "second_moments": moments}
        with warnings.catch_warnings(), np.errstate(all="raise"):
            warnings.simplefilter("error")
            try:
                forward(model, x, aa.Exact(), **options)
                gradient(model, x, g, aa.Exact(), **options)
                gradient(model, x, g, aa.Exact(), recompute=True, **options)
            except ValueError as error:
                assert ": " in str(error), "not a refusal of ours"  # noqa: PT017
            else:
                done += 1
    assert done > 10
    rng = np.random.default_rng(1)
    model, x, g = random_model(rng, size=0.4), *rng.standard_normal((2, 6, 4))
    with np.errstate(all="raise"):
        assert choose_degrees(model, 1e-20 * x, g, tolerance=1e-2).degrees
