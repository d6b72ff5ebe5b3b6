"""Counted cost of tensor attention and of a transformer.

What is counted: `counted`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs_check.arithmetic.counting import Tally
from proofs_check.papers.our_code.counted import Cost, Settings, Work, moments, rank, shape


def _tensor(settings: Settings, _gradient: bool, size: int) -> Tally:
    import approxattn

    n, d, dv = shape(size)
    tally, rng = Tally(), np.random.default_rng(0)
    tokens = (tally.array(rng.uniform(-1, 1, (n, w))) for w in (d, d, d, dv, dv))
    approxattn.tensor_attention(*tokens, degree=settings["degree"], basis="taylor")
    return tally


def _transformer(settings: Settings, gradient: bool, size: int) -> Tally:
    """Run layers of multi-head attention with a residual, tokens of width d, heads of width dv,
    without certificates.
    """
    from approxattn import transformer as t

    n, d, width = shape(size)
    tally, rng, heads = Tally(), np.random.default_rng(0), settings["heads"]

    def drawn(*sizes: int) -> Any:
        return tally.array(rng.uniform(-0.25, 0.25, sizes))

    wq, wk, wv = (drawn(heads, d, width) for _ in range(3))
    layer = t.Layer(
        attention=t.SelfAttention(wq=wq, wk=wk, wv=wv, wo=drawn(heads * width, d)), residual=True
    )
    model = t.Transformer(layers=(layer,) * settings["layers"])
    if gradient:
        t.gradient(model, drawn(n, d), drawn(n, d), _method(settings), certify=False)
    else:
        t.forward(model, drawn(n, d), _method(settings), certify=False)
    return tally


def _method(settings: Settings) -> Any:
    import approxattn

    return (
        approxattn.Exact()
        if settings["method"] == "Exact"
        else approxattn.Polynomial(degree=2, basis="taylor")
    )


def _attention(n: Any, p: Any, s: Settings) -> tuple[Any, Any]:
    """Products of one head of width p, forward and gradient: those of code.cost-exact and
    code.cost-polynomial.
    """
    if s["method"] == "Exact":
        return 2 * n**2 * p, 7 * n**2 * p
    r, centring = rank(p, 2), 4 * n * p**2
    # one product of features each way is for the moment of the certificate
    back = 2 * p * (p + 1) ** 2  # the states of degree 1 turned, for dq and for dk
    return n * r * (2 * (p + 1) + 1) + centring, n * (r * (6 * (p + 1) + 5) + back) + centring


def _layers(n: Any, d: Any, p: Any, s: Settings) -> Any:
    return s["layers"] * s["heads"] * (4 * n * d * p + _attention(n, p, s)[0])


def _layers_back(n: Any, d: Any, p: Any, s: Settings) -> Any:
    own = sum(_attention(n, p, s))
    return s["layers"] * s["heads"] * (12 * n * d * p + own)


_SHAPES = ({"heads": 2, "layers": 2}, {"heads": 3, "layers": 1})

COSTS = (
    Cost(
        name="tensor-attention",
        method="tensor_attention",
        place="approxattn.tensor_attention",
        run=_tensor,
        settings=tuple({"degree": g} for g in (2, 4, 6)),
        gradient=None,
        statement=(
            "Tensor attention of even degree g over n² pairs of keys: n r (3 (dv + 1) + e) "
            "multiplications, r = C(d + g, g), no exponential; e is 1 for g = 2, 4 for g = 4 and 3 "
            "beyond, the moments of the certificate."
        ),
        forward=Work(
            products=lambda n, d, dv, s: (
                n * rank(d, s["degree"]) * (3 * (dv + 1) + moments(s["degree"]))
            )
        ),
        uses=("as24b.tensor-features",),
    ),
    Cost(
        name="transformer",
        method="Transformer",
        place="approxattn.transformer",
        run=_transformer,
        sizes=(3242, 6442, 3282, 3244),
        settings=tuple({**own, "method": "Exact"} for own in _SHAPES),
        statement=(
            "m layers of h heads of width p over tokens of width d, exact attention: m h (4 n d p "
            "+ 2 n² p) multiplications and m h n² exponentials forward; m h (12 n d p + 9 n² p) "
            "and 3 m h n² for the whole gradient, forward pass included."
        ),
        forward=Work(
            products=_layers,
            functions=lambda n, _d, _p, s: s["layers"] * s["heads"] * n**2,
            exponent=2,
        ),
        gradient=Work(
            products=_layers_back,
            functions=lambda n, _d, _p, s: 3 * s["layers"] * s["heads"] * n**2,
            exponent=2,
        ),
        remarks=("Without certificates. In the sizes the last digit is p.",),
    ),
    Cost(
        name="transformer-polynomial",
        method="Transformer",
        place="approxattn.transformer",
        run=_transformer,
        sizes=(32042, 64042, 32082, 32043),
        settings=tuple({**own, "method": "Polynomial"} for own in _SHAPES),
        statement=(
            "The same with polynomial attention of degree 2, r = C(p + 2, 2): m h (4 n d p + n r "
            "(2 (p + 1) + 1) + 4 n p²) multiplications forward, m h (12 n d p + n r (8 (p + 1) + "
            "6) + 2 n p (p + 1)² + 8 n p²) for the whole gradient; no exponential."
        ),
        forward=Work(products=_layers),
        gradient=Work(products=_layers_back),
        uses=("code.cost-polynomial",),
        remarks=(
            "Without certificates: linear in n through all layers. In the sizes the last digit is "
            "p.",
        ),
    ),
)

THEOREMS = tuple(cost.theorem() for cost in COSTS)
