"""Error of a deep network with polynomial attention: measured, bounded from local constants (what
the package reports), from second moments besides, from global constants.

    python examples/error_through_layers.py

The measured errors are against exact attention in every layer. T4 with global constants, R = max
|row of T|, W = W_Q W_K^T, reads for one head with residual

    e' = e + sqrt(dv) (certificate of the method) + |W_V| (e + 2 R tanh(beta |W| (2 R e + e^2) /
        2)),     and |g(x') - g(x)| <= Lip(g) |x' - x|.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import approxattn as aa
from approxattn.transformer import (
    Layer,
    Mlp,
    Output,
    Residual,
    SelfAttention,
    Transformer,
    forward,
    gradient,
)

GELU_SLOPE = 1.1289041451852


def model(
    layers: int, d: int, rng: np.random.Generator, *, scores: float, gain: float
) -> Transformer:
    """Return residual layers of one head and a perceptron; |W| = scores, |W_V| =
    |W_1||W_2| = gain.
    """

    def matrix(rows: int, columns: int, norm: float) -> Any:
        w = rng.standard_normal((rows, columns))
        return norm * w / np.linalg.norm(w, 2)

    def layer() -> Layer:
        attention = SelfAttention(
            w=matrix(d, d, scores)[None], wv=matrix(d, d, gain)[None], scale=1 / d
        )
        mlp = Mlp(w1=matrix(d, 2 * d, 1.0), w2=matrix(2 * d, d, gain))
        return Layer(attention=attention, residual=True, then=(Residual(maps=(mlp,)),))

    return Transformer(layers=tuple(layer() for _ in range(layers)))


def textbook(net: Transformer, out: Output) -> list[float]:
    """Return T4 with global constants after each layer."""
    e, found = 0.0, []
    for layer, x, reported in zip(net.layers, out.tokens, out.layers, strict=False):
        a = layer.attention
        radius = float(np.max(np.linalg.norm(x, axis=-1))) + e  # of the exact rows too
        w, wv = np.linalg.norm(a.to_queries[0], 2), np.linalg.norm(a.wv[0], 2)
        method = np.sqrt(a.wv.shape[-1]) * float(np.max(reported.certificate.bound))
        e = e + method + wv * (e + 2 * radius * np.tanh(a.beta * w * (2 * radius * e + e * e) / 2))
        mlp = layer.then[0].maps[0]  # type: ignore[attr-defined]
        e *= 1 + GELU_SLOPE * np.linalg.norm(mlp.w1, 2) * np.linalg.norm(mlp.w2, 2)
        found.append(float(e))
    return found


def compare(
    layers: int,
    degree: int,
    *,
    n: int = 200,
    d: int = 8,
    scores: float = 2.0,
    gain: float = 0.3,
    seed: int = 0,
) -> dict[str, Any]:
    """Return measured errors and both bounds after each layer, and those of the gradient before
    each layer.
    """
    rng = np.random.default_rng(seed)
    net, (x, g) = model(layers, d, rng, scores=scores, gain=gain), rng.uniform(-1, 1, (2, n, d))
    method = aa.Polynomial(degree=degree, basis="taylor", gradient="plug-in")
    out, exact = (forward(net, x, m) for m in (method, aa.Exact()))
    back, true = (gradient(net, x, g, m) for m in (method, aa.Exact()))
    sharp = gradient(net, x, g, method, second_moments=True)
    assert back.certificate is not None  # noqa: S101 - certify=True
    assert sharp.certificate is not None  # noqa: S101 - certify=True
    rows = [
        float(np.max(np.linalg.norm(a - b, axis=-1)))
        for a, b in zip(out.tokens[1:], exact.tokens[1:], strict=True)
    ]
    sums = [
        np.sum(np.linalg.norm(a - b, axis=-1))
        for a, b in zip(back.tokens, true.tokens, strict=True)
    ]
    sizes = [np.sum(np.linalg.norm(t, axis=-1)) for t in true.tokens]
    return {
        "degree": degree,
        "largest score": float(np.max(out.layers[0].certificate.facts["score bound"])),
        "measured": rows,
        "bound, local constants": [float(layer.out.max()) for layer in out.layers],
        "bound, second moments": [float(layer.out.max()) for layer in sharp.layers],
        "bound, global constants": textbook(net, out),
        "gradient, relative: measured": [float(s / t) for s, t in zip(sums, sizes, strict=True)][
            :-1
        ],
        "gradient, relative: bound": [
            float(b / t) for b, t in zip(back.certificate.tokens, sizes, strict=True)
        ][:-1],
        "gradient, relative: bound, second moments": [
            float(b / t) for b, t in zip(sharp.certificate.tokens, sizes, strict=True)
        ][:-1],
        "loss: measured": float(abs(np.sum(g * (out.value - exact.value)))),
        "loss: bound": float(_known(back.certificate.loss)),
        "loss: bound by the output": float(np.sum(np.linalg.norm(g, axis=-1) * out.layers[-1].out)),
    }


def _known(bound: Any) -> Any:
    assert bound is not None  # noqa: S101 - certify=True
    return bound


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--degrees", default="4,8,12")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file")
    chosen = parser.parse_args(arguments)
    results = [
        compare(chosen.layers, int(degree), n=chosen.n) for degree in chosen.degrees.split(",")
    ]
    for r in results:
        print(f"degree {r['degree']}, |score| <= {r['largest score']:.2f}")
        print(
            "after  measured     local  moments    global   before  dL/dT measured     bound   "
            "moments  bound/measured"
        )
        for i in range(chosen.layers):
            measured, local, moments, wide = (
                r[k][i]
                for k in (
                    "measured",
                    "bound, local constants",
                    "bound, second moments",
                    "bound, global constants",
                )
            )
            found, bound, sharp = (
                r[f"gradient, relative: {k}"][i]
                for k in ("measured", "bound", "bound, second moments")
            )
            print(
                f"{i + 1:>5}  {measured:8.2g}  {local:8.2g} {moments:8.2g}  {wide:8.2g}  "
                f"{i + 1:>6}  {found:14.2g}  {bound:8.2g}  {sharp:8.2g}  {bound / found:8.2g} -> "
                f"{sharp / found:.2g}"
            )
        print(
            f"loss: measured {r['loss: measured']:.2g}, bound {r['loss: bound']:.2g}, by the bound "
            f"on the output {r['loss: bound by the output']:.2g}"
        )
    if chosen.out is not None:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / "error-through-layers.json").write_text(
            json.dumps(results, indent=1) + "\n", encoding="utf-8"
        )
    return results


if __name__ == "__main__":
    main()
