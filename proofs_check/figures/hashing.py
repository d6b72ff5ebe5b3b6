"""YOSO and BERT-LSH: the weight, its derivative, the error by hashes, and operations."""

from __future__ import annotations

import numpy as np

import approxattn as aa
from proofs_check.figures.record import Axis, Figure, Mark, Panel, Printed, Series

_SEED = 15


def yoso_weight(tiny: bool = False) -> Figure:
    """Collision probability and exponential, and the derivative beside its two surrogates."""
    tau = 8
    theta = np.linspace(np.pi, 0, 41 if tiny else 801)
    x, p = np.cos(theta), 1 - theta / np.pi
    inside = slice(1, -1)  # the derivative is infinite at 1
    slope = tau * p[inside] ** (tau - 1) / (np.pi * np.sin(theta[inside]))
    # the derivative over τ p is 1 / ((π - θ) sin θ)
    best = float(1 / np.max((np.pi - theta) * np.sin(theta)))
    apart = p - np.exp(x - 1)
    change = np.flatnonzero(apart[1:-2] * apart[2:-1] < 0) + 1
    ends = [float(x[i] - apart[i] * (x[i + 1] - x[i]) / (apart[i + 1] - apart[i])) for i in change]
    marks = tuple(Mark(text=f"x = {e:.4f}", x=e) for e in ends)
    return Figure(
        name="yoso-weight",
        title=f"The weight of YOSO and the exponential, τ = {tau}",
        claims=("yoso.softmax-shape", "yoso.surrogate-gradient"),
        caption="The hash weight is the larger one between the two crossings, whatever τ. On the "
        "right its derivative, the surrogate τ p / 2 of the paper, a lower bound of it, and the "
        "largest constant in place of 1/2 that still bounds it.",
        panels=(
            Panel(
                x=Axis(label="cosine x of query and key"),
                y=Axis(label="weight of a key", log=True, limits=(1e-8, 2)),
                series=(
                    Series(label="(1 - arccos(x)/π)^τ", x=x, y=p**tau),
                    Series(label="exp(τ (x - 1))", x=x, y=np.exp(tau * (x - 1)), kind="dashed"),
                ),
                marks=marks,
            ),
            Panel(
                x=Axis(label="cosine x of query and key"),
                y=Axis(label="derivative of the weight by x", log=True, limits=(1e-6, 30)),
                series=(
                    Series(label="derivative", x=x[inside], y=slope),
                    Series(label="τ p / 2, the surrogate", x=x, y=tau * p**tau / 2, kind="dashed"),
                    Series(label=f"{best:.4f} τ p", x=x, y=best * tau * p**tau, kind="dotted"),
                ),
            ),
        ),
        of_paper="YOSO, figure of the kernel and of its derivative with the lower bound",
        facts={"largest constant": best, **{f"crossing {i}": e for i, e in enumerate(ends)}},
    )


def yoso_error(tiny: bool = False) -> Figure:
    """Error by number of hashes, with the slope -1/2 of the variance, on a real head."""
    from approxattn.data import minilm_heads

    heads, n = minilm_heads(), 64 if tiny else 256
    q, k, v = (np.asarray(x[2, 0, :n], np.float64) for x in (heads.q, heads.k, heads.v))
    bits, repeats = 8, 2 if tiny else 6
    expected = aa.attention(q, k, v, aa.YosoExpectation(bits=bits)).value
    hashes = [2**i for i in range(3 if tiny else 9)]
    errors = np.array(
        [[_distance(_drawn(q, k, v, bits, m, i), expected) for i in range(repeats)] for m in hashes]
    )
    mean = np.sqrt(np.mean(errors**2, axis=1))
    slope = float(np.polyfit(np.log(hashes), np.log(mean), 1)[0])
    line = mean[-1] / np.sqrt(np.array(hashes) / hashes[-1])
    places = np.repeat(hashes, repeats)
    return Figure(
        name="yoso-error",
        title="Sampled YOSO against its expectation",
        claims=("yoso.variance", "yoso.error-in-hashes"),
        caption=f"A head of layer 3 of a real encoder. The slope of a fit is {slope:.2f}; the "
        f"exact variance says -1/2. Hashes are "
        "shared by all queries and keys of a draw.",
        panels=(
            Panel(
                x=Axis(label="hashes m", log=True, base=2),
                y=Axis(label="relative Frobenius error", log=True),
                series=(
                    Series(label="draws", x=places, y=errors.ravel(), kind="points"),
                    Series(label="root mean square", x=hashes, y=mean),
                    Series(label="slope -1/2", x=hashes, y=line, kind="dashed"),
                ),
            ),
        ),
        seed=_SEED,
        of_paper="YOSO, figure of the error of YOSO-m against YOSO-E",
        facts={"slope": slope},
    )


def _drawn(q: np.ndarray, k: np.ndarray, v: np.ndarray, bits: int, m: int, i: int) -> np.ndarray:
    rng = np.random.default_rng([_SEED, m, i])
    return np.asarray(aa.attention(q, k, v, aa.Yoso(bits=bits, hashes=m), rng=rng).value)


def _distance(value: np.ndarray, right: np.ndarray) -> float:
    return float(np.linalg.norm(value - right) / np.linalg.norm(right))


def bert_lsh_flops(tiny: bool = False) -> Figure:
    """The reported operations against counted ones."""
    from proofs_check.papers.li_yip_2024.reported_cost import layer_flops, score_flops

    settings = [(k, tables) for k in (2, 4, 8) for tables in (1, 2, 4)][: 2 if tiny else None]
    names = tuple(f"K={k}, L={tables}" for k, tables in settings)
    sizes = [10 * k + tables for k, tables in settings]
    reported = np.array([5.12 * k * tables for k, tables in settings])
    scores, layer = (np.array([f(s) / 1e3 for s in sizes]) for f in (score_flops, layer_flops))
    x = np.arange(len(settings))
    return Figure(
        name="bert-lsh-flops",
        title="BERT-LSH: operations of a layer",
        claims=("bert-lsh.flops", "bert-lsh.flops-hash-only", "bert-lsh.honest-flops"),
        caption="10 tokens, 2 heads of width 64. The reported 5.12 K L KFLOP is the cost of the "
        "hash products exactly. Scores of "
        "colliding pairs, and then the dense softmax and product with V, come on top; the "
        "baseline's 25.6 has Q K^T only.",
        panels=(
            Panel(
                x=Axis(label="", names=names),
                y=Axis(label="KFLOP a layer"),
                series=(
                    Series(label="hashing, as reported", x=x, y=reported, kind="bars"),
                    Series(label="scores", x=x, y=scores, low=reported, kind="bars"),
                    Series(label="softmax and values", x=x, y=layer, low=scores, kind="bars"),
                ),
                marks=(Mark(text="baseline\n25.6", y=25.6),),
            ),
        ),
        printed=(
            Printed(
                what=f"{names[0]}, whole layer",
                source=f"{reported[0]:.2f} KFLOP",
                ours=f"{layer[0]:.2f} KFLOP",
            ),
        ),
        of_paper="BERT-LSH, figure of KFLOPs",
        seed=0,
        facts={"reported": float(reported[0]), "layer": float(layer[0])},
    )


def yoso_tokens(tiny: bool = False) -> Figure:
    """Relative error by number of tokens: hashes are shared, so tokens do not average it away."""
    n = [8, 32] if tiny else [2**i for i in range(3, 13)]
    bits, m, draws = 1, 32, 4 if tiny else 60
    error = [_half_at_a_right_angle(x, bits, m, draws) for x in n]
    exact = 1 / (3 * np.sqrt(m))
    own = [float(np.sqrt(_independent(x, m))) for x in n]
    return Figure(
        name="yoso-tokens",
        title="Error of sampled YOSO by the number of tokens",
        claims=("yoso.floor-in-tokens", "yoso.independent-variance", "yoso.variance"),
        caption=f"Half of the keys equal the query, half are at a right angle; values 1, τ = 1, "
        f"m = {m} hashes. All keys share the hash, so the exact relative error is "
        "1 / (3 sqrt m) for every n. Keys with hashes of their own would average it away.",
        panels=(
            Panel(
                x=Axis(label="tokens n", log=True, base=2),
                y=Axis(label="relative error, root mean square", log=True),
                series=(
                    Series(label="measured", x=n, y=error, kind="rings"),
                    Series(label="exact, shared hash", x=n, y=[exact] * len(n), colour=0),
                    Series(label="if hashes were independent", x=n, y=own, kind="dashed"),
                ),
            ),
        ),
        seed=_SEED,
        of_paper="YOSO, figure of the error by sequence length",
        facts={"exact": float(exact), "last": error[-1], "last, independent": own[-1]},
    )


def _half_at_a_right_angle(n: int, bits: int, m: int, draws: int) -> float:
    q = np.array([[1.0, 0.0]])
    k = np.repeat([[1.0, 0.0], [0.0, 1.0]], n // 2, axis=0)
    method = aa.Yoso(bits=bits, hashes=m)
    right = 0.75 * n  # n/2 times 1 and n/2 times 1/2
    found = [
        aa.attention(q, k, np.ones((n, 1)), method, rng=np.random.default_rng([_SEED, n, i])).value
        for i in range(draws)
    ]
    return float(np.sqrt(np.mean([(x.item() / right - 1) ** 2 for x in found])))


def _independent(n: int, m: int) -> float:
    """Variance of n/2 independent indicators of probability 1/2, over the square of 3 n / 4."""
    return n / 8 / m / (0.75 * n) ** 2
