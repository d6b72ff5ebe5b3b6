"""The modes of networks: forward and gradient through layer normalisation, linear maps, perceptrons
and attention, at all sizes.

The oracle's own error is estimated, not proved: *chosen*, 64 times what a change of all inputs in
the last places of the extended format changes, and 2^-56 of the value. What is not decided so, and
every violation, is looked at in balls.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from approxattn import transformer as tf
from proofs_check.arithmetic.balls import Rows, enclosing_interval, precision
from proofs_check.hunt import scales
from proofs_check.hunt.claims import Claim, Ends, Seen, row_claim
from proofs_check.hunt.methods import Cell, Row
from proofs_check.hunt.modes.calls import Library
from proofs_check.hunt.oracles import networks
from proofs_check.hunt.oracles.enclosures import PRECISIONS, ends
from proofs_check.hunt.oracles.network_balls import slope_rows, value_rows
from proofs_check.hunt.oracles.softmax import Exact, Long
from proofs_check.hunt.problems import Posed
from proofs_check.hunt.structures import stack

Host = np.ndarray[Any, Any]


def draw(rng: np.random.Generator, cell: Cell, index: int, row: Row) -> Posed:
    """Return matrices of tokens for one random network."""
    forward = cell.mode == "network"
    n, d, heads = int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    plan = {
        "layers": 1 if rng.integers(0, 2) else 2,
        "causal": "causal" in row.modes and bool(rng.integers(0, 2)),
        "pre": bool(rng.integers(0, 4)),
        "residual": bool(rng.integers(0, 2)),
        "activation": str(rng.choice(["gelu", "silu", "tanh"])),
    }
    weights = _weights(rng, plan, d, heads, cell.dtype)
    count = 16 if forward else 3
    low, high = scales.RANGES[cell.dtype]
    sizes = scales.ordinary(rng, count, cell.dtype)
    exponents = sizes.q
    if rng.integers(0, 2):  # the norms take any size to one, so nothing bounds it from above
        exponents = rng.integers(low, high, count)
    arrays = {
        "x": scales.sized(stack(rng, count, n, d), exponents, cell.dtype),
        "g": scales.sized(stack(rng, count, n, d), sizes.g, cell.dtype),
    }
    mask, rubbish = None, False
    if rng.integers(0, 3) == 0:
        mask = rng.random((count, n)) < 0.6
        mask[:, 0] = True
        if rubbish := bool(rng.integers(0, 4) == 0):
            top = float(np.finfo(cell.dtype).max)
            what = float(rng.choice([np.nan, np.inf, min(1e37, top), min(1e300, top)]))
            arrays["x"] = np.where(mask[..., None], arrays["x"], what).astype(cell.dtype)
    return Posed(
        arrays=arrays,
        mask=mask,
        rubbish=rubbish,
        singly=not forward or index % 8 == 7,
        seed=int(rng.integers(0, 2**31)),
        extra={"plan": plan, "weights": weights},
    )


def _weights(
    rng: np.random.Generator, plan: dict[str, Any], d: int, heads: int, dtype: str
) -> dict[str, Host]:
    """Return the arrays of a network by name; in one of four, one of them is huge or tiny."""
    shapes: dict[str, tuple[int, ...]] = {"first.0.w": (d, d), "first.0.b": (d,)}
    for i in range(plan["layers"]):
        at = f"layers.{i}"
        names = ("norm", "then.0") if plan["pre"] else ("then.0",)
        for name in names:
            shapes |= {f"{at}.{name}.gain": (d,), f"{at}.{name}.shift": (d,)}
        shapes |= {f"{at}.attention.{w}": (heads, d, 2) for w in ("wq", "wk", "wv")}
        shapes |= {f"{at}.attention.{b}": (heads, 2) for b in ("bq", "bk", "bv")}
        shapes |= {f"{at}.attention.wo": (2 * heads, d), f"{at}.attention.bo": (d,)}
        mlp = f"{at}.then.1.maps.0"
        shapes |= {f"{mlp}.w1": (d, 3), f"{mlp}.b1": (3,), f"{mlp}.w2": (3, d), f"{mlp}.b2": (d,)}
    size = float(rng.choice([0.1, 0.5, 1.0, 2.0]))
    found = {n: (size * rng.standard_normal(s)).astype(dtype) for n, s in shapes.items()}
    if rng.integers(0, 3) == 0:
        low, high = scales.RANGES[dtype]
        name = str(rng.choice(list(found)))
        with np.errstate(all="ignore"):
            found[name] = np.ldexp(found[name], int(rng.integers(low // 2, high - 4))).astype(dtype)
    return found


def model_of(plan: dict[str, Any], w: dict[str, Host], put: Any) -> tf.Transformer:
    """Return the package's network of a plan and its arrays."""
    p = {name: put(a) for name, a in w.items()}
    layers = []
    for i in range(plan["layers"]):
        at, mlp = f"layers.{i}", f"layers.{i}.then.1.maps.0"
        names = ("wq", "wk", "wv", "wo", "bq", "bk", "bv", "bo")
        attention = tf.SelfAttention(
            causal=plan["causal"], **{n: p[f"{at}.attention.{n}"] for n in names}
        )
        perceptron = tf.Mlp(
            activation=plan["activation"], **{n: p[f"{mlp}.{n}"] for n in ("w1", "b1", "w2", "b2")}
        )
        then = (_norm(p, f"{at}.then.0"), tf.Residual(maps=(perceptron,)))
        layers.append(
            tf.Layer(
                attention=attention,
                norm=_norm(p, f"{at}.norm") if plan["pre"] else None,
                residual=plan["residual"],
                then=then,
            )
        )
    first = (tf.Linear(w=p["first.0.w"], b=p["first.0.b"]),)
    return tf.Transformer(first=first, layers=tuple(layers))


def _norm(p: dict[str, Any], at: str) -> tf.LayerNorm:
    return tf.LayerNorm(gain=p[f"{at}.gain"], shift=p[f"{at}.shift"], epsilon=networks.EPSILON)


def _shaken(rng: np.random.Generator, a: Host) -> Host:
    """Change an array in the last places of the extended format."""
    return np.asarray(a.astype(Long) * (1 + np.ldexp(Long(1), -63) * rng.integers(-1, 2, a.shape)))


def _options(row: Row, posed: Posed, put: Any) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if posed.mask is not None:
        options["key_mask"] = put(posed.mask)
    if row.method.randomised:
        options["rng"] = np.random.default_rng(posed.seed)
    return options


def forward(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Call `transformer.forward` once."""
    plan, w, x = posed.extra["plan"], posed.extra["weights"], posed.arrays["x"]
    out = tf.forward(
        model_of(plan, w, lib.put), arrays["x"], row.method, **_options(row, posed, lib.put)
    )
    value = lib.get(out.value)
    truth, rng = networks.value(plan, w, x, posed.mask), np.random.default_rng(0)
    moved = np.zeros_like(truth)
    for _ in range(2):
        near = {n: _shaken(rng, a) for n, a in w.items()}
        again = networks.value(plan, near, _shaken(rng, x), posed.mask)
        moved = np.maximum(moved, np.abs(again - truth))
    with np.errstate(all="ignore"):
        worst = np.max(moved, axis=(-2, -1), keepdims=True)
        slack = 64 * worst + np.ldexp(np.abs(truth), -56)
    slack = np.where(np.isnan(slack), Long(np.inf), slack)

    def enclose(item: int) -> Ends:
        mask = None if posed.mask is None else posed.mask[item]
        return ends(value[item], lambda bits: value_rows(plan, w, x[item], mask, bits))

    certificate: Any = out.certificate  # there is one unless certify=False
    claim = row_claim(
        "out",
        value,
        certificate.rows,
        Exact(truth, slack),
        failure=certificate.failure,
        enclose=enclose,
    )
    claim = replace(claim, proved=False)
    return Seen(claims=[claim], dtypes=[("out", str(value.dtype), str(x.dtype))])


def backward(row: Row, posed: Posed, lib: Library, arrays: dict[str, Any]) -> Seen:
    """Call `transformer.gradient` once, for one matrix of tokens."""
    plan, w = posed.extra["plan"], posed.extra["weights"]
    model = model_of(plan, w, lib.put)
    grads = tf.gradient(
        model,
        arrays["x"],
        arrays["g"],
        row.method,
        **_options(row, posed, lib.put),
    )
    certificate: Any = grads.certificate  # there is one unless certify=False
    found = {name: lib.get(a) for name, a in tf.parameters(grads.model).items()}
    values = {"x": lib.get(grads.dx)[0], **found}
    bounds = {"x": float(certificate.dx[0]), **certificate.parameters}
    near, seen = _shaken_posed(posed), Seen()
    for name, value in values.items():
        claim = _norm_claim(name, value, bounds[name], posed, near)
        seen.claims.append(claim)
        seen.dtypes.append((name, str(value.dtype), str(posed.arrays["x"].dtype)))
    return seen


def _shaken_posed(posed: Posed) -> Posed:
    rng = np.random.default_rng(0)
    weights = {n: _shaken(rng, a) for n, a in posed.extra["weights"].items()}
    arrays = {n: _shaken(rng, a) for n, a in posed.arrays.items()}
    return replace(posed, arrays=arrays, extra={**posed.extra, "weights": weights})


def _norm_claim(name: str, value: Host, bound: float, posed: Posed, near: Posed) -> Claim:
    """Return the claim about a sum over rows of Euclidean errors of rows; a parameter is one row.

    The only item of the claim has one row.
    """
    plan, w = posed.extra["plan"], posed.extra["weights"]
    x, g = posed.arrays["x"][0], posed.arrays["g"][0]
    mask = None if posed.mask is None else posed.mask[0]
    truth = networks.slopes(plan, w, x, g, name, mask)
    moved = near.extra["weights"], near.arrays["x"][0], near.arrays["g"][0]
    again = networks.slopes(plan, *moved, name, mask)
    shape = value.shape if name == "x" else (1, value.size)
    finite = bool(np.isfinite(value).all())
    with np.errstate(all="ignore"):
        error = _length(
            np.where(np.isfinite(value), value, 0).reshape(shape) - truth.reshape(shape)
        )
        slack = 64 * _length((again - truth).reshape(shape)) + np.ldexp(
            _length(truth.reshape(shape)), -56
        )
        low, high = np.maximum(error - slack, 0), error + slack

    def enclose(_: int) -> Ends | None:
        make = slope_rows(plan, w, x, g, name, mask, PRECISIONS[0])
        low, high = _ball_length(value.reshape(shape), make)
        return np.array([low]), np.array([high])

    return Claim(
        part=name,
        bounds=np.array([[bound]]),
        finite=np.array([[finite]]),
        low=np.array([[0 if np.isnan(low) else low]]),
        high=np.array([[np.inf if np.isnan(high) else high]]),
        enclose=enclose,
        proved=False,
    )


def _length(a: Host) -> Long:
    return np.longdouble(np.sum(np.sqrt(np.sum(a * a, axis=-1))))


def _ball_length(value: Host, rows: Rows) -> tuple[float, float]:
    from flint import arb

    with precision(PRECISIONS[0]):
        total = arb(0)
        for line, exact in zip(value, rows, strict=True):
            gaps = [arb(float(x)) - b for x, b in zip(line, exact, strict=True)]
            total += sum((gap * gap for gap in gaps), arb(0)).sqrt()
        low, high = enclosing_interval(total)
        return max(low, 0.0), high
