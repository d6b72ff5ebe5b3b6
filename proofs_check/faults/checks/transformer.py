"""Checks of transformers: values by the definition, gradients as slopes, certificates against the
exact network.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from proofs_check.faults.checks._oracles import (
    Complaints,
    Host,
    above,
    apart,
    dense,
    package,
    slope,
)

STEEP = 3.0

_ERF: Any = np.frompyfunc(math.erf, 1, 1)

_ACTIVATIONS: dict[str, Any] = {
    "gelu": lambda x: x * (1 + _ERF(np.asarray(x, float) / math.sqrt(2)).astype(float)) / 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def model(
    seed: int,
    *,
    size: float = 1.0,
    steep: float = 1.0,
    epsilon: float = 1e-5,
    dtype: Any = np.float64,
) -> Any:
    """A small transformer: all kinds of maps, one or two layers, joint or separate projections,
    with or without norms and residuals.
    """
    from approxattn.transformer import (
        Layer,
        LayerNorm,
        Linear,
        Mlp,
        Residual,
        SelfAttention,
        Transformer,
    )

    rng = np.random.default_rng(seed)

    def w(*shape: int) -> Host:
        return (
            size * rng.standard_normal(shape) / math.sqrt(shape[-2] if len(shape) > 1 else 4)
        ).astype(dtype)

    def norm() -> Any:
        return LayerNorm(gain=(1 + 0.2 * w(4)).astype(dtype), shift=w(4), epsilon=epsilon)

    layers = []
    for i in range(1 + seed % 3):
        mlp = Mlp(
            w1=w(4, 6),
            b1=w(6),
            w2=w(6, 4),
            b2=w(4),
            activation=("gelu", "silu", "tanh")[(seed + i) % 3],
        )
        joint = (seed + i) % 4 == 3
        lift = dtype(steep if i else 1.0)
        pair: dict[str, Any] = (
            {"w": lift * w(2, 4, 4), "bq": w(2, 4), "bk": w(2, 4)}
            if joint
            else {"wq": lift * w(2, 4, 3), "wk": w(2, 4, 3), "bq": w(2, 3), "bk": w(2, 3)}
        )
        attention = SelfAttention(
            **pair, wv=w(2, 4, 2), bv=w(2, 2), wo=w(4, 4), bo=w(4), causal=seed % 2 == 1
        )
        own = norm() if seed % 4 < 2 else None
        chains: tuple[tuple[Any, ...], ...] = (
            (Residual(maps=(norm(), mlp)),),
            (mlp,),
            (mlp, norm()),
            (),
            (Linear(w=w(4, 4), b=w(4)), mlp),
        )
        then = chains[(seed // 5) % 5]
        layers.append(
            Layer(attention=attention, norm=own, residual=(seed // 2) % 2 == 0, then=then)
        )
    return Transformer(first=(Linear(w=w(4, 4), b=w(4)),), layers=tuple(layers))


def _input(seed: int, dtype: Any = np.float64) -> tuple[Host, Host, Host | None]:
    rng = np.random.default_rng(1000 + seed)
    mask = np.arange(5) % 3 != 2 if seed % 3 == 1 else None
    x, g = rng.standard_normal((2, 5, 4)).astype(dtype)
    return x, g, mask


def _map(g: Any, x: Host) -> Host:
    """One function of a token, by what its parameters are called."""
    if hasattr(g, "maps"):
        y = x
        for inner in g.maps:
            y = _map(inner, y)
        return np.asarray(x + y)
    if hasattr(g, "gain"):
        c = x - x.mean(axis=-1, keepdims=True)
        return np.asarray(
            g.gain * c / np.sqrt((c * c).mean(axis=-1, keepdims=True) + g.epsilon) + g.shift
        )
    if hasattr(g, "w1"):
        return np.asarray(_ACTIVATIONS[g.activation](x @ g.w1 + g.b1) @ g.w2 + g.b2)
    return np.asarray(x @ g.w + g.b)


def network(m: Any, x: Host, mask: Host | None) -> Host:
    """The exact network, by its definition; rows of masked tokens are 0."""
    for g in m.first:
        x = _map(g, x)
    for layer in m.layers:
        a, u = layer.attention, x if layer.norm is None else _map(layer.norm, x)
        heads = []
        for h in range(a.wv.shape[0]):
            q = u @ (a.wq if a.w is None else a.w)[h] + a.bq[h]
            k = (u if a.wk is None else u @ a.wk[h]) + a.bk[h]
            heads.append(
                dense(q, k, u @ a.wv[h] + a.bv[h], causal=a.causal, mask=mask).astype(float)
            )
        y = np.concatenate(heads, axis=-1) @ a.wo + a.bo
        x = x + y if layer.residual else y
        for g in layer.then:
            x = _map(g, x)
    return x if mask is None else np.where(mask[:, None], x, 0.0)


def value() -> Complaints:
    """Outputs against the definition; an embedding by its rows."""
    aa = package()
    from approxattn.transformer import Embedding, forward

    for seed in range(12):
        m, (x, _, mask) = model(seed, epsilon=0.1), _input(seed)
        found = forward(m, x, aa.Exact(), key_mask=mask)
        yield from apart(f"network {seed}", found.value, network(m, x, mask), 1e-11)
    table, places = np.random.default_rng(0).standard_normal((2, 7, 4))
    ids = np.array([3, 1, 1])
    yield from apart(
        "embedding", Embedding(tokens=table, positions=places)(ids), table[ids] + places[:3], 1e-15
    )


def gradients() -> Complaints:
    """Gradients with respect to the input and to every parameter are slopes of the output."""
    rng = np.random.default_rng(1)
    for seed in range(12):
        yield from _gradients_of(seed, rng)


def _gradients_of(seed: int, rng: np.random.Generator) -> Complaints:
    """One network; the first takes the names of tokens in place of vectors."""
    aa = package()
    from approxattn.transformer import Embedding, forward, gradient, parameters, with_parameters

    m, (x, g, mask) = model(seed), _input(seed)
    inputs = x
    if seed == 0:
        embedding = Embedding(tokens=x, positions=rng.standard_normal((6, 4)))
        m = type(m)(first=(embedding,), layers=m.layers)
        inputs, g = np.array([[0, 2, 2], [1, 1, 4]]), rng.standard_normal((2, 3, 4))

    def loss(moved: Any) -> float:
        out = forward(moved, inputs, aa.Exact(), key_mask=mask, certify=False)
        return float(np.sum(g * out.value))

    found = gradient(m, inputs, g, aa.Exact(), key_mask=mask, certify=False)
    own, told = parameters(m), parameters(found.model)
    for name, value in own.items():
        step = rng.standard_normal(value.shape)
        along = partial(_moved_by, loss, partial(with_parameters, m), name, value, step)
        yield from _agree(f"network {seed}, {name}", told[name], step, slope(along))
    if found.dx is not None:
        d = rng.standard_normal(x.shape)
        exact = slope(lambda t: float(np.sum(g * network(m, x + t * d, mask))))
        yield from _agree(f"network {seed}, input", found.dx, d, exact)


def _moved_by(
    loss: Any, with_parameters: Any, name: str, value: Host, step: Host, t: float
) -> float:
    """The loss with one parameter moved by t times a step."""
    return loss(with_parameters({name: value + t * step}))  # type: ignore[no-any-return]


def _agree(label: str, gradient: Any, direction: Any, expected: float) -> Complaints:
    found = float(np.sum(gradient * direction))
    if not abs(found - expected) <= 1e-6 * (1 + abs(expected)):
        yield f"{label}: the slope is {expected:.8g}, the gradient says {found:.8g}"


def certificates() -> Complaints:
    """Errors of values, of all gradients and of the loss stay within their bounds, for coarse
    polynomials and for float32.
    """
    aa = package()

    methods = (
        aa.Polynomial(degree=2, basis="taylor", gradient="plug-in"),
        aa.Polynomial(degree=4, basis="taylor"),
        aa.Exact(),
    )
    with np.errstate(over="ignore"):
        for seed in range(60):
            dtype, size = (np.float64, np.float32)[seed % 2], (0.2, 0.5, 1.0, 2.0, 4.0)[seed % 5]
            m, wide = (
                model(seed, size=size, dtype=dtype),
                _like(model(seed, size=size), model(seed, size=size, dtype=dtype)),
            )
            yield from _bounds(f"network {seed}", m, wide, methods[seed % 3], *_input(seed, dtype))
            # an error of the first layer that the scores of the others magnify
            if len(m.layers) > 1:
                m = model(seed, steep=STEEP)
                own = [methods[1], *(methods[2] for _ in m.layers[1:])]
                yield from _bounds(f"steep network {seed}", m, m, own, *_input(seed))


def scores() -> Complaints:
    """Two tokens, two layers: the first errs as much as its bound allows, the second answers by its
    scores more than by its values, or by its perceptron.
    """
    aa = package()
    from approxattn.transformer import Layer, Mlp, SelfAttention, Transformer, forward

    for a in (0.2, 0.3, 0.5):
        x, one = np.array([[a], [-a]]), np.ones((1, 1, 1))
        u = x + dense(x, x, x, scale=1.0).astype(float)
        steep = 0.9 / float(u[0, 0]) ** 2  # where u tanh(steep u^2) has the slope 1.6
        first, second = SelfAttention(w=one, wv=one), SelfAttention(w=steep * one, wv=one)
        m = Transformer(layers=(Layer(attention=first, residual=True), Layer(attention=second)))
        out = forward(m, x, [aa.Polynomial(degree=0, basis="taylor"), aa.Exact()])
        true = dense(u * steep, u, u, scale=1.0)
        rows = 0 * a if out.certificate is None else out.certificate.rows
        yield from above(f"two tokens, {a}", np.linalg.norm(out.value - true, axis=-1), rows)
        mlp = Mlp(w1=one[0], w2=one[0], activation="tanh")
        m = Transformer(layers=(Layer(attention=first, residual=True, then=(mlp,)),))
        out = forward(m, x, aa.Polynomial(degree=0, basis="taylor"))
        rows = 0 * a if out.certificate is None else out.certificate.rows
        yield from above(
            f"two tokens and a perceptron, {a}",
            np.linalg.norm(out.value - np.tanh(u), axis=-1),
            rows,
        )


def _bounds(
    name: str, m: Any, wide: Any, method: Any, x: Host, g: Host, mask: Host | None
) -> Complaints:
    """Compare one model with the same in float64 and exact attention, whose own bounds are those of
    its rounding.
    """
    aa = package()
    from approxattn.transformer import forward, gradient, parameters

    out, exact = forward(m, x, method, key_mask=mask), network(wide, x.astype(float), mask)
    off = out.value.astype(float) - exact
    rows = np.linalg.norm(off, axis=-1)
    yield from above(
        f"{name}, value",
        rows,
        0 * rows if out.certificate is None else out.certificate.rows,
        slack=1e-6,
    )
    found = gradient(m, x, g, method, key_mask=mask)
    true = gradient(wide, x.astype(float), g.astype(float), aa.Exact(), key_mask=mask)
    stated, own = found.certificate, true.certificate
    if stated is None or own is None or stated.dx is None or own.dx is None or stated.loss is None:
        yield f"{name}: a certificate is missing"
        return
    pairs: list[tuple[Any, ...]] = [("dx", found.dx, true.dx, stated.dx + own.dx)]
    pairs += [
        (f"cotangent {i}", *three)
        for i, three in enumerate(
            zip(found.tokens, true.tokens, np.add(stated.tokens, own.tokens), strict=True)
        )
    ]
    for what, a, b, bound in pairs:
        yield from above(
            f"{name}, {what}", np.sum(np.linalg.norm(a - b, axis=-1)), bound, slack=1e-6
        )
    told, exactly = parameters(found.model), parameters(true.model)
    for key, limit in stated.parameters.items():
        gap = np.linalg.norm(told[key] - exactly[key])
        yield from above(f"{name}, {key}", gap, limit + own.parameters[key], slack=1e-6)
    loss = abs(float(np.sum(g.astype(float) * off)))
    yield from above(f"{name}, loss", loss, stated.loss, slack=1e-6)


def _like(wide: Any, narrow: Any) -> Any:
    """The narrow model's numbers in float64."""
    from approxattn.transformer import parameters, with_parameters

    return with_parameters(
        wide, {name: p.astype(np.float64) for name, p in parameters(narrow).items()}
    )
