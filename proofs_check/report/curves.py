"""The numbers behind the figures: small computations with public functions of `approxattn`, no
drawing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import approxattn as aa
from approxattn.data import minilm_heads

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class DegreeCurve:
    """Bound and true error of polynomial attention by degree, both over max - min of V."""

    basis: str
    degrees: list[int]
    bounds: list[float]
    errors: list[float]


def degree_curves(*, n: int = 256, d: int = 16, half_range: float = 2.0) -> list[DegreeCurve]:
    """Queries and keys of one length, so that all scores lie in [-half_range, half_range]."""
    rng = np.random.default_rng(7)
    q, k = (
        x * np.sqrt(half_range) / np.linalg.norm(x, axis=1, keepdims=True)
        for x in rng.normal(size=(2, n, d))
    )
    v = rng.uniform(-1, 1, (n, 4))
    exact = aa.attention(q, k, v, aa.Exact(), scale=1.0).value
    spread = float(np.max(np.ptp(v, axis=0)))
    curves = []
    for basis, degrees in (("taylor", range(0, 17, 2)), ("minimax", range(17))):
        outputs = [
            aa.attention(q, k, v, aa.Polynomial(degree=g, basis=basis), scale=1.0) for g in degrees
        ]
        bounds = [float(out.certificate.bound) / spread for out in outputs]
        errors = [float(np.max(np.abs(out.value - exact))) / spread for out in outputs]
        curves.append(DegreeCurve(basis=basis, degrees=list(degrees), bounds=bounds, errors=errors))
    return curves


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """Collision probability and exponential of a cosine, and where they cross inside (-1, 1)."""

    bits: int
    x: Array
    collision: Array
    exponential: Array
    crossings: list[float]


def kernels(bits: int) -> Kernels:
    """(1 - arccos(x)/pi)^bits against exp(bits (x - 1))."""
    from scipy.optimize import brentq

    # Fine near 1, where the arccos is steep: x = cos t.
    x = np.cos(np.linspace(np.pi, 0, 2001))

    def collision(x: Array) -> Array:
        return np.asarray((1 - np.arccos(x) / np.pi) ** bits)

    def exponential(x: Array) -> Array:
        return np.asarray(np.exp(bits * (x - 1)))

    gap = collision(x) - exponential(x)
    # both are 1 at x = 1, which is no crossing
    change = np.flatnonzero(gap[1:-2] * gap[2:-1] < 0) + 1
    crossings = [
        float(brentq(lambda t: float(collision(t) - exponential(t)), x[i], x[i + 1]))
        for i in change
    ]
    return Kernels(
        bits=bits, x=x, collision=collision(x), exponential=exponential(x), crossings=crossings
    )


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """Total variation against ln rho: of random rows, of extremal pairs, and the bound."""

    log_rho: Array
    bound: Array
    random: tuple[Array, Array]
    extremal: tuple[Array, Array]


def sharpness() -> Sharpness:
    """Rows of 2 to 12 weights, moved by random factors in [1, rho]; and two tokens of masses 1/(1 +
    r), r/(1 + r), r^2 = rho.
    """
    rng, x = np.random.default_rng(3), np.linspace(0, 10, 201)
    random = [_random_row(rng, rng.uniform(0, 10)) for _ in range(600)]
    ends = np.linspace(0.5, 10, 20)
    pairs = [_moved(np.array([1.0, np.exp(t / 2)]), np.array([np.exp(t), 1.0])) for t in ends]
    return Sharpness(
        log_rho=x,
        bound=np.tanh(x / 4),
        random=(np.array([r[0] for r in random]), np.array([r[1] for r in random])),
        extremal=(np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])),
    )


def _random_row(rng: np.random.Generator, size: float) -> tuple[float, float]:
    n = int(rng.integers(2, 13))
    weights = np.exp(rng.normal(0, size / 3, n))
    spread = rng.choice([rng.uniform(0, 1, n), rng.integers(0, 2, n).astype(float)])
    return _moved(weights, np.exp(size * spread))


def _moved(weights: Array, factors: Array) -> tuple[float, float]:
    """(ln rho, total variation) of a row whose weights are multiplied by the factors."""
    moved = weights * factors
    tv = float(np.sum(np.abs(moved / moved.sum() - weights / weights.sum())) / 2)
    return float(np.ptp(np.log(factors))), tv


@dataclass(frozen=True, kw_only=True)
class HashCurve:
    """Error of sampled YOSO by number of hashes, relative to its expectation; slope of the log-log
    fit.
    """

    hashes: list[int]
    errors: list[list[float]]
    slope: float


def hash_curve(*, bits: int = 8, repeats: int = 6) -> HashCurve:
    """Layer 3, head 0 of the shipped heads, with independent hashes in each repeat."""
    heads = minilm_heads()
    q, k, v = (x[2, 0].astype(np.float64) for x in (heads.q, heads.k, heads.v))
    expected = aa.attention(q, k, v, aa.YosoExpectation(bits=bits)).value
    hashes = [2**i for i in range(9)]
    errors = []
    for m in hashes:
        outputs = [
            aa.attention(q, k, v, aa.Yoso(bits=bits, hashes=m), rng=np.random.default_rng([m, i]))
            for i in range(repeats)
        ]
        errors.append(
            [
                float(np.linalg.norm(out.value - expected) / np.linalg.norm(expected))
                for out in outputs
            ]
        )
    means = np.sqrt(np.mean(np.square(errors), axis=1))
    slope = float(np.polyfit(np.log(hashes), np.log(means), 1)[0])
    return HashCurve(hashes=hashes, errors=errors, slope=slope)
