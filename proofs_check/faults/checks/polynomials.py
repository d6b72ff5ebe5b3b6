"""Checks of polynomial attention: by features and by scores, its slopes, its rounding, other array
libraries, states, fits, pairs of keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs_check.faults.checks._oracles import (
    Complaints,
    Host,
    above,
    apart,
    dense,
    package,
    slopes,
)


def _problem(seed: int, n: int, d: int, dv: int, size: float) -> list[Host]:
    """Queries and keys whose scores are of about `size`."""
    rng = np.random.default_rng(seed)
    unit = [x / np.linalg.norm(x, axis=1).max() for x in rng.standard_normal((2, n, d))]
    return [size * np.sqrt(d) * unit[0], unit[1], rng.standard_normal((n, dv))]


_SHAPES = ((400, 3, 2, 4), (1100, 4, 1, 4), (1024, 64, 1, 2), (40, 3, 2, 4))
"""n, d, dv, degree: features held whole, the highest degree coordinate by coordinate, in tiles;
scores.
"""


def forward() -> Complaints:
    """Values within certificates that are far from vacuous, however the sums are taken."""
    aa = package()

    for seed, (n, d, dv, degree) in enumerate(_SHAPES):
        q, k, v = _problem(seed, n, d, dv, 0.3)
        q = q + 3 * (seed % 2)  # so far off 0 that centring the queries pays
        mask = np.random.default_rng(seed).random(n) < 0.7
        mask[0] = True
        for causal, hidden in ((False, False), (False, True), (True, True)):
            if causal and d > 4:
                continue
            shown = mask if hidden else None
            out = aa.attention(
                q, k, v, aa.Polynomial(degree=degree, basis="taylor"), causal=causal, key_mask=shown
            )
            error = np.max(np.abs(out.value - dense(q, k, v, causal=causal, mask=shown)), axis=-1)
            yield from above(
                f"n={n}, d={d}, degree {degree}, causal {causal}, mask {hidden}",
                error,
                out.certificate.rows,
            )
            if not np.max(out.certificate.rows) < 0.05 * np.ptp(v):
                yield f"n={n}, d={d}: bound {np.max(out.certificate.rows):.3g} says nothing"


def both_ways() -> Complaints:
    """Sums by features and by scores are the same sums: queries in opposite pairs, so that a few of
    them have the centre of all.
    """
    aa = package()

    for seed, (n, d, dv, degree) in enumerate((*_SHAPES[:3], (1100, 3, 1, 6), (900, 4, 5, 2))):
        q, k, v = _problem(seed, n, d, dv, 2.0)
        q[1::2] = -q[: 2 * (n // 2) : 2]
        method = aa.Polynomial(degree=degree, basis="taylor")
        whole, few = (
            aa.attention(q, k, v, method),
            aa.attention(np.repeat(q[:2], 3, axis=0), k, v, method),
        )
        ways = [x.certificate.facts["evaluated by"] for x in (whole, few)]
        if ways != ["features", "scores"]:
            yield f"n={n}, d={d}: evaluated by {ways}: nothing was compared"
        yield from apart(
            f"n={n}, d={d}, degree {degree}, both ways", whole.value[:2], few.value[::3], 1e-10
        )


def slopes_of_output() -> Complaints:
    """The consistent gradient is that of the output."""
    aa = package()

    shapes = (*_SHAPES[:2], (700, 3, 1, 4), (7, 2, 2, 4), (400, 3, 2, 1), (400, 3, 2, 2))
    for seed, (n, d, dv, degree) in enumerate(shapes):
        points = _problem(seed, n, d, dv, 0.5)
        points[0] = points[0] + 2 * (seed % 2)
        g = np.random.default_rng(seed).standard_normal((n, dv))
        basis = "taylor" if degree % 2 == 0 else "minimax"
        method = aa.Polynomial(degree=degree, basis=basis)
        if basis == "minimax":
            # The interval is a step function of the data: the small moves here stay off a step.
            points[0] = points[0] * 0.93
        mask = np.arange(n) % 5 != 2
        options: list[dict[str, Any]] = [{}, {"causal": True}, {"key_mask": mask}, {"scale": 0.4}]
        for option in options[: 4 if n < 500 else 2]:
            found = aa.attention_vjp(*points, g, method, **option)
            yield from slopes(
                f"n={n}, d={d}, degree {degree}, {list(option)}",
                lambda *x, m=method, o=option: aa.attention(*x, m, **o).value,
                points,
                (found.dq, found.dk, found.dv),
                g,
                step=1e-4,
                tolerance=1e-5,
            )


def rounding() -> Complaints:
    """Sums in float32: the truncation is nothing, the rounding is all."""
    aa = package()

    method = aa.Polynomial(degree=40, basis="taylor")
    for seed in range(12):
        q, k, v = (x.astype(np.float32) for x in _problem(seed, 8, 2, 2, 4.0 + 0.25 * seed))
        out = aa.attention(q, k, v, method)
        yield from above(
            "float32, degree 40",
            np.max(np.abs(out.value - dense(q, k, v)), axis=-1),
            out.certificate.rows,
        )
        # early rows see large negative scores only, where the terms of the polynomial cancel
        along: Host = np.linspace(-1, 1, 8, dtype=np.float32)[:, None] * (1 + k[:, :1] / 32)
        either: Host = ((5 + seed % 4) * (1 - 2 * (np.arange(8)[:, None] % 2))).astype(np.float32)
        out = aa.attention(either, along, v, method, causal=True)
        error = np.max(np.abs(out.value - dense(either, along, v, causal=True)), axis=-1)
        yield from above("float32, degree 40, causal", error, out.certificate.rows)


def generic() -> Complaints:
    """The code for other array libraries gives what the definition says, forward and gradient."""
    aa = package()
    from proofs_check.arithmetic.counting import Tally

    for n, causal in ((300, False), (1100, True)):
        points = _problem(n, n, 2, 1, 0.5)
        g = np.random.default_rng(n).standard_normal((n, 1))
        method, tally = aa.Polynomial(degree=6, basis="taylor"), Tally()
        arrays = [tally.array(x) for x in points]
        out = aa.attention(*arrays, method, causal=causal)
        error = np.max(np.abs(_bare(out.value) - dense(*points, causal=causal)), axis=-1)
        yield from above(f"other libraries, causal {causal}", error, out.certificate.rows)
        found = aa.attention_vjp(*arrays, tally.array(g), method, causal=causal)
        yield from slopes(
            f"other libraries, causal {causal}",
            lambda *x, m=method, c=causal: aa.attention(*x, m, causal=c).value,
            points,
            [_bare(x) for x in (found.dq, found.dk, found.dv)],
            g,
            step=1e-4,
            tolerance=1e-5,
        )


def _bare(x: Any) -> Host:
    return np.asarray(x)


def states() -> Complaints:
    """States made in parts: attention to all keys seen, within the certificate of the query."""
    aa = package()

    for first, second, query in (
        (1.0, 0.0, 0.9),
        (1.0, 0.0, -0.9),
        (0.0, 1.0, 0.9),
        (0.0, 1.0, -0.9),
    ):  # as coarse as can be
        method = aa.Polynomial(degree=2, basis="taylor")
        parts = [
            method.state(np.array([[x]]), np.array([[y]]), scale=1.0)
            for x, y in ((1.0, first), (-1.0, second))
        ]
        out = parts[0].merge(parts[1]).query(np.array([[query]]))
        true = dense(
            np.array([[query]]), np.array([[1.0], [-1.0]]), np.array([[first], [second]]), scale=1.0
        )
        yield from above(
            "state of two keys", np.max(np.abs(out.value - true), axis=-1), out.certificate.rows
        )
    for seed in range(20):
        rng = np.random.default_rng(seed)
        q, k, v = (rng.uniform(-1, 1, (n, w)) for n, w in ((6, 2), (9, 2), (9, 2)))
        k[4:] *= 2
        v[4:] = v[4:] * 3 - 1
        for method, reach in (
            (aa.Polynomial(degree=2, basis="taylor"), None),
            (aa.Polynomial(degree=4), 1.2),
        ):
            first, second = (
                method.state(k[part], v[part], scale=0.9, half_range=reach)
                for part in (slice(4), slice(4, 9))
            )
            for name, whole in (
                ("merged", first.merge(second)),
                ("extended", first.extend(k[4:], v[4:])),
            ):
                out = whole.query(q)
                error = np.max(np.abs(out.value - dense(q, k, v, scale=0.9)), axis=-1)
                yield from above(f"{name} state", error, out.certificate.rows)


def fitted() -> Complaints:
    """Fits that have all the freedom they need find the attention; those of the values are the
    least squares they claim to be.
    """
    aa = package()

    q, k, v = _problem(5, 200, 3, 2, 0.8)
    queries, keys = q + 1.5, k + 0.3
    exact = dense(queries, keys, v)
    out = aa.attention(queries, keys, v, aa.FittedPolynomial(degree=6)).value
    yield from apart("fitted polynomial of degree 6", out, exact, 1e-3)
    q, k, v = (x[:64] for x in (4 * q, 4 * k, v))
    out = aa.attention(q, k, v, aa.FittedLinformer(rank=8, rows=64, ridge=1e-3)).value
    means, start = k.reshape(8, 8, -1).mean(axis=1), v.reshape(8, 8, -1).mean(axis=1)
    w = dense(q, means, np.eye(8)).astype(np.float64)
    system = w.T @ w + 1e-3 / 8 * np.sum(w * w) * np.eye(8)
    values = start + np.linalg.solve(system, w.T @ (dense(q, k, v).astype(np.float64) - w @ start))
    yield from apart("fitted values", out, w @ values, 1e-9)


def fitted_laws() -> Complaints:
    """Rows of a fitted polynomial stay among the values."""
    aa = package()

    for seed in range(30):
        rng = np.random.default_rng(seed)
        q, k = (3 * rng.standard_normal((n, 2)) for n in (10, 7))
        v = rng.standard_normal((7, 2))
        out = aa.attention(q, k, v, aa.FittedPolynomial(degree=3)).value
        outside = max(float(np.max(out - v.max(axis=0))), float(np.max(v.min(axis=0) - out)))
        if not outside <= 1e-12:
            yield f"{outside:.3g} outside the values"


def tensor() -> Complaints:
    """Attention to all pairs of keys, by its definition."""
    aa = package()

    for seed in range(60):
        rng = np.random.default_rng(seed)
        n1, n2, d = (int(x) for x in rng.integers(1, 4, 3))
        q, k1, k2 = (
            rng.choice([0.5, 1.5]) * rng.choice([-1.0, 1.0, 0.3], (n, d)) for n in (3, n1, n2)
        )
        v1, v2 = rng.uniform(0.5, 2, (n1, 2)), rng.uniform(-2, 2, (n2, 2))
        out = aa.tensor_attention(q, k1, k2, v1, v2, degree=2, basis="taylor")
        pairs = (k1[:, None] * k2[None]).reshape(-1, d)
        true = dense(q, pairs, (v1[:, None] * v2[None]).reshape(-1, 2), scale=1 / d)
        yield from above(
            "tensor attention", np.max(np.abs(out.value - true), axis=-1), out.certificate.rows
        )
