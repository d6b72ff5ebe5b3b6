"""How far normalised weights move: the sharp bound, and the bound from moments."""

from __future__ import annotations

import numpy as np

import approxattn as aa
from proofs_check.figures.record import Axis, Figure, Panel, Printed, Series

_SEED = 5


def total_variation(tiny: bool = False) -> Figure:
    """Total variation of rows whose weights are off by a relative eps, under the sharp bound."""
    rng = np.random.default_rng(_SEED)
    eps = np.linspace(0, 1, 21 if tiny else 101)
    near_one = np.sin(np.pi / 2 * eps)  # the curve is vertical at 1
    tau = _tau(near_one)
    cloud = np.array([_moved_row(rng) for _ in range(40 if tiny else 900)])
    worst = np.array([_extremal(e) for e in eps[1:-1:5]])
    half = 0.5
    sharp = float(_tau(np.array(half)))
    return Figure(
        name="total-variation",
        title="Softmax rows whose weights are off by a relative ε",
        claims=("ours.hilbert", "as23.attention-error", "as23.halved-constant"),
        caption="The error of an output is at most twice this times the half range of V. τ(ε) is "
        "attained by two tokens (rings). AS23's 2 ε max|V| is the line above; half of it, the line "
        "ε / 2, looks right for small ε and is too small for each ε.",
        panels=(
            Panel(
                x=Axis(label="relative error ε of the weights"),
                y=Axis(label="total variation"),
                series=(
                    Series(label="random rows", x=cloud[:, 0], y=cloud[:, 1], kind="points"),
                    Series(label="τ(ε) = ε / (1 + sqrt(1 - ε²))", x=near_one, y=tau),
                    Series(label="attained", x=worst[:, 0], y=worst[:, 1], kind="rings", colour=1),
                    Series(label="ε, as in AS23", x=eps, y=eps, kind="dashed"),
                    Series(label="ε / 2, refuted", x=eps, y=eps / 2, kind="dotted", colour=6),
                ),
            ),
        ),
        printed=(Printed(what="ε = 1/2", source="at most 0.5", ours=f"at most {sharp:.4f}"),),
        seed=_SEED,
        facts={
            "largest share": float(np.max(cloud[:, 1] / _tau(cloud[:, 0]))),
            "attained share": float(np.min(worst[:, 1] / _tau(worst[:, 0]))),
        },
    )


def _tau(eps: np.ndarray) -> np.ndarray:
    return np.asarray(eps / (1 + np.sqrt(1 - eps**2)))


def _moved_row(rng: np.random.Generator) -> tuple[float, float]:
    n, eps = int(rng.integers(2, 13)), rng.uniform(0.01, 1)
    weights = np.exp(rng.normal(0, rng.uniform(0, 2), n))
    signs = rng.choice([-1.0, 1.0], n) if rng.random() < 0.5 else rng.uniform(-1, 1, n)
    return eps, _change(weights, 1 + eps * signs)


def _extremal(eps: float) -> tuple[float, float]:
    """Two tokens of masses sqrt(1 - eps), sqrt(1 + eps), the lighter one raised."""
    weights = np.sqrt(np.array([1 - eps, 1 + eps]))
    return eps, _change(weights, np.array([1 + eps, 1 - eps]))


def _change(weights: np.ndarray, factors: np.ndarray) -> float:
    moved = weights * factors
    return float(np.sum(np.abs(moved / moved.sum() - weights / weights.sum())) / 2)


def moments(tiny: bool = False) -> Figure:
    """Certificates by degree: from the range of the scores, from their moments, and the error."""
    rng = np.random.default_rng(_SEED)
    n, d = (60, 4) if tiny else (1500, 8)
    q, k, v = rng.uniform(-1, 1, (3, n, d))
    exact = aa.attention(q, k, v, aa.Exact()).value
    spread = float(np.max(np.ptp(v, axis=0)))
    degrees = [2, 4] if tiny else [2, 4, 6, 8]
    rows: dict[str, list[float]] = {n: [] for n in ("range", "taylor", "one-sided", "error")}
    for g in degrees:
        by_range = aa.attention(q, k, v, aa.Polynomial(degree=g, basis="minimax"))
        taylor = aa.attention(q, k, v, aa.Polynomial(degree=g, basis="taylor"))
        sided = aa.attention(q, k, v, aa.Polynomial(degree=g, basis="one-sided"))
        for name, out in (("range", by_range), ("taylor", taylor), ("one-sided", sided)):
            rows[name].append(float(np.median(out.certificate.rows)) / spread)
        rows["error"].append(float(np.median(np.max(np.abs(taylor.value - exact), 1))) / spread)
    names = {
        "range": "minimax, from the range of the scores",
        "taylor": "Taylor, from their moments",
        "one-sided": "one-sided, from their moments",
    }
    bounds = (Series(label=names[x], x=degrees, y=rows[x], kind="joined") for x in names)
    return Figure(
        name="moments",
        title="Certificates of polynomial attention by degree",
        claims=("ours.moments", "ours.moments-distance", "ours.hilbert"),
        caption=f"Median over the rows, uniform data, n = {n}, d = {d}. What the moments of a "
        f"row's scores know, which come with its denominator, is "
        "orders of magnitude more than what their range knows.",
        panels=(
            Panel(
                x=Axis(label="degree"),
                y=Axis(label="bound or error / (max - min of V)", log=True),
                series=(
                    *bounds,
                    Series(
                        label="error, Taylor", x=degrees, y=rows["error"], kind="rings", colour=1
                    ),
                ),
            ),
        ),
        seed=_SEED,
        facts={"gain at the last degree": rows["range"][-1] / rows["one-sided"][-1]},
    )


def gradient_rows(tiny: bool = False) -> Figure:
    """Change of a row of the plug-in gradient, against the bound T3."""
    rng = np.random.default_rng(_SEED)
    cloud = np.array([_moved_gradient(rng) for _ in range(60 if tiny else 1500)])
    sizes = np.linspace(0.05, 3.5, 8 if tiny else 40)
    worst = np.array([_balanced_gradient(s) for s in sizes])
    end = float(max(cloud[:, 0].max(), sizes[-1]))
    share = np.concatenate([cloud, worst])
    return Figure(
        name="gradient-rows",
        title="Rows of a gradient whose weights are off",
        claims=("ours.gradient", "ours.hilbert"),
        caption="P = f ∘ (z - <f, z>) is the row that every gradient of attention goes through, "
        "f̃ are the computed weights, ω the oscillation of z and ln ρ that of ln(f̃ / f). The "
        "bound (ω/4) ln ρ is approached by four keys (rings): the largest share of it here is "
        f"{np.max(share[:, 1] / share[:, 0] * 4):.4f}. The papers say ε / poly(n).",
        panels=(
            Panel(
                x=Axis(label="ln ρ, oscillation of ln(f̃ / f)"),
                y=Axis(label="|P̃ - P|₁ / ω"),
                series=(
                    Series(label="random rows", x=cloud[:, 0], y=cloud[:, 1], kind="points"),
                    Series(label="bound, ln ρ / 4", x=[0, end], y=[0, end / 4]),
                    Series(
                        label="four keys, tanh(ln ρ / 4)",
                        x=worst[:, 0],
                        y=worst[:, 1],
                        kind="rings",
                        colour=1,
                    ),
                ),
            ),
        ),
        seed=_SEED,
        facts={"largest share": float(np.max(share[:, 1] / share[:, 0] * 4))},
    )


def _moved_gradient(rng: np.random.Generator) -> tuple[float, float]:
    """ln rho and |P~ - P|_1 / omega of a random row."""
    n = int(rng.integers(2, 9))
    f, moved = (np.exp(rng.normal(0, rng.uniform(0, 1.5), n)) for _ in range(2))
    z = rng.choice([0.0, 1.0], n) if rng.random() < 0.5 else rng.uniform(0, 1, n)
    if np.ptp(z) == 0:
        z[0] = 1 - z[0]
    strength = rng.uniform(0.1, 1)
    return _gradient_change(f, f * moved**strength, z)


def _balanced_gradient(size: float) -> tuple[float, float]:
    """Four keys: the weights of two fall from exp(s/2) to exp(-s/2), and z is 0, 1 in either pair.
    Then <f, z> stays 1/2, and the change is tanh(s/4).
    """
    exponents = np.array([0, 0, size / 2, size / 2])
    return _gradient_change(np.exp(exponents), np.exp(-exponents), np.array([0.0, 1, 0, 1]))


def _gradient_change(f: np.ndarray, moved: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    change = np.sum(np.abs(_gradient_row(moved, z) - _gradient_row(f, z))) / np.ptp(z)
    return float(np.ptp(np.log(moved / f))), float(change)


def _gradient_row(weights: np.ndarray, z: np.ndarray) -> np.ndarray:
    f = weights / weights.sum()
    return np.asarray(f * (z - f @ z))
