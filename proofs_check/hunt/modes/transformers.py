"""The modes of networks: forward and gradient through layer normalisation, linear maps, perceptrons
and attention, at all sizes.

The oracle's own error is estimated, not proved: *chosen*, 64 times what a change of all inputs in
the last places of the extended format changes, and 2^-56 of the value. What is not decided so, and
every violation, is looked at in balls.
"""

from __future__ import annotations

from collections.abc import Callable
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
        **_order(rng, row, n),
    }
    weights = _weights(rng, plan, d, heads, cell.dtype)
    count = 16 if forward else 6
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
        singly=index % (8 if forward else 4) == 3,
        seed=int(rng.integers(0, 2**31)),
        extra={"plan": plan, "weights": weights},
    )


def _order(rng: np.random.Generator, row: Row, n: int) -> dict[str, Any]:
    """Return a window of every layer, where the method takes one, and numbers of packed sequences;
    None in most networks.
    """
    window = segments = None
    if not getattr(row.method, "why_no_window", "not known") and rng.integers(0, 3) == 0:
        sides = (None, 0, 1, 2)
        window = tuple(sides[int(i)] for i in rng.integers(0, len(sides), 2))
    if not row.square and rng.integers(0, 4) == 0:
        segments = np.sort(rng.integers(0, 3, n)).tolist()
    return {"window": window, "segments": segments}


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
    window = None if plan.get("window") is None else tuple(plan["window"])  # of JSON: a list
    layers = []
    for i in range(plan["layers"]):
        at, mlp = f"layers.{i}", f"layers.{i}.then.1.maps.0"
        names = ("wq", "wk", "wv", "wo", "bq", "bk", "bv", "bo")
        attention = tf.SelfAttention(
            causal=plan["causal"],
            window=window,
            **{n: p[f"{at}.attention.{n}"] for n in names},
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
    segments = posed.extra["plan"].get("segments")
    if segments is not None:
        options["segments"] = put(np.array(segments))
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
    """Call `transformer.gradient` once; parameters get the sum over all matrices of tokens."""
    plan, w = posed.extra["plan"], posed.extra["weights"]
    grads = tf.gradient(
        model_of(plan, w, lib.put),
        arrays["x"],
        arrays["g"],
        row.method,
        **_options(row, posed, lib.put),
    )
    certificate: Any = grads.certificate  # there is one unless certify=False
    found = {name: lib.get(a)[None, None] for name, a in tf.parameters(grads.model).items()}
    values = {"x": lib.get(grads.dx), **found}
    bounds = {"x": np.asarray(certificate.dx), **certificate.parameters}
    case, seen = _case(posed), Seen()
    truth, near = networks.slopes(plan, [case, _case(_shaken_posed(posed))], posed.mask)
    for name, value in values.items():
        rows = value if name == "x" else value.reshape(1, 1, -1)
        exact = truth[name].reshape(rows.shape), near[name].reshape(rows.shape)
        bound = np.reshape(bounds[name], (len(rows), 1))
        seen.claims.append(_norm_claim(name, rows, bound, exact, _in_balls(posed, name)))
        seen.dtypes.append((name, str(value.dtype), str(posed.arrays["x"].dtype)))
    return seen


def _case(posed: Posed) -> networks.Case:
    return networks.Case(posed.extra["weights"], posed.arrays["x"], posed.arrays["g"])


def _shaken_posed(posed: Posed) -> Posed:
    rng = np.random.default_rng(0)
    weights = {n: _shaken(rng, a) for n, a in posed.extra["weights"].items()}
    arrays = {n: _shaken(rng, a) for n, a in posed.arrays.items()}
    return replace(posed, arrays=arrays, extra={**posed.extra, "weights": weights})


def _in_balls(posed: Posed, name: str) -> Callable[[int], Rows]:
    """Return what finds slopes in balls: of one item's tokens, or of a parameter, summed."""
    plan, case = posed.extra["plan"], _case(posed)

    def one(item: int) -> Rows:
        mask = None if posed.mask is None else posed.mask[item]
        tokens = case.x[item], case.dout[item]
        return slope_rows(plan, case.w, *tokens, name, mask, PRECISIONS[0])

    def total(_: int) -> Rows:
        with precision(PRECISIONS[0]):
            parts = [np.array(one(item), object) for item in range(posed.count)]
            rows: Rows = np.sum(parts, axis=0).tolist()
            return rows

    return one if name == "x" else total


def _norm_claim(
    name: str, value: Host, bounds: Host, slopes: tuple[Host, Host], make: Callable[[int], Rows]
) -> Claim:
    """Return the claim about sums over rows of Euclidean errors of rows, one for each item.

    `slopes` are the exact ones and those of inputs that were shaken, of the shape of the value,
    (items, rows, columns); `make` finds them in balls.
    """
    truth, again = slopes
    finite = np.asarray(np.isfinite(value).all(axis=(-2, -1)))
    with np.errstate(all="ignore"):
        error = _lengths(np.where(np.isfinite(value), value, 0) - truth)
        slack = 64 * _lengths(again - truth) + np.ldexp(_lengths(truth), -56)
        low, high = np.maximum(error - slack, 0), error + slack

    def enclose(item: int) -> Ends:
        low, high = _ball_length(value[item], make(item))
        return np.array([low]), np.array([high])

    return Claim(
        part=name,
        bounds=bounds,
        finite=finite[:, None],
        low=np.where(np.isnan(low), 0, low)[:, None],
        high=np.where(np.isnan(high), np.inf, high)[:, None],
        enclose=enclose,
        proved=False,
    )


def _lengths(a: Host) -> Host:
    return np.asarray(np.sum(np.sqrt(np.sum(a * a, axis=-1)), axis=-1))


def _ball_length(value: Host, rows: Rows) -> tuple[float, float]:
    from flint import arb

    with precision(PRECISIONS[0]):
        total = arb(0)
        for line, exact in zip(value, rows, strict=True):
            gaps = [arb(float(x)) - b for x, b in zip(line, exact, strict=True)]
            total += sum((gap * gap for gap in gaps), arb(0)).sqrt()
        low, high = enclosing_interval(total)
        return max(low, 0.0), high
