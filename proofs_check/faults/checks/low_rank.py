"""Checks of sketches, of their moments by drawing, of what Linformer, Nystrom and Performer
converge to, and of all their gradients.
"""

from __future__ import annotations

import itertools
import math
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

_SKETCHES = {
    "gaussian": "gaussian",
    "rademacher": "rademacher",
    "sparse": "sparse_signs",
    "count-sketch": "count_sketch",
    "srht": "srht",
}


def _draw(kind: str, n: int, k: int, rng: np.random.Generator, q: Host) -> Any:
    from approxattn import sketching

    return (
        sketching.weighted_rows(q, k, rng)
        if kind == "rows"
        else getattr(sketching, _SKETCHES[kind])(n, k, rng)
    )


def moments() -> Complaints:
    """Draws are unbiased and their second moments are the closed forms, to six standard errors."""
    from approxattn.sketching import second_moment

    n, k, draws, rng = 4, 2, 5000, np.random.default_rng(0)
    a, b = rng.uniform(0.2, 1, (2, n)), rng.uniform(0.2, 1, (n, 2))
    b[0] *= 3
    q = np.array([0.4, 0.3, 0.2, 0.1])
    for kind in (*_SKETCHES, "rows"):
        # (draws, k, n)
        found = np.stack([_draw(kind, n, k, rng, q).apply(np.eye(n)) for _ in range(draws)])
        products = np.matmul(np.swapaxes(found, 1, 2), found)
        off = np.abs(products.mean(axis=0) - np.eye(n)) / (
            products.std(axis=0) / math.sqrt(draws) + 1e-12
        )
        if not np.max(off) <= 6:
            yield f"{kind}: S^T S is {np.max(off):.3g} standard errors from the identity"
        squares = np.sum((a @ products @ b - a @ b) ** 2, axis=(1, 2))
        expected = second_moment(kind, k, a, b, probabilities=q)
        gap = abs(float(squares.mean()) - expected) / (float(squares.std()) / math.sqrt(draws))
        if not gap <= 6:
            yield f"{kind}: second moment {squares.mean():.4g}, closed form {expected:.4g}"


def adjoints() -> Complaints:
    """<S x, y> = <x, S^T y>."""
    from approxattn import sketching

    rng = np.random.default_rng(1)
    n, k = 7, 3
    operators = [_draw(kind, n, k, rng, np.full(n, 1 / n)) for kind in (*_SKETCHES, "rows")]
    operators += [
        sketching.row_sample(np.ones(n, bool), k, rng),
        sketching.mean_pool(np.arange(n) != 2, k),
    ]
    operators += [sketching.Convolution(kernel=np.array([0.5, 1.0, -2.0]), length=n)]
    for operator in operators:
        x = rng.standard_normal((n, 2))
        image = operator.apply(x)
        y = rng.standard_normal(image.shape)
        yield from apart(
            f"adjoint of {type(operator).__name__}",
            np.sum(operator.adjoint(y) * x),
            np.sum(image * y),
            1e-10,
        )


def masks() -> Complaints:
    """Hidden keys and values are never read."""
    aa = package()

    rng = np.random.default_rng(2)
    q, k, v = (rng.standard_normal((8, w)) for w in (3, 3, 2))
    mask = np.arange(8) % 3 != 1
    other = [np.where(mask[:, None], x, 9.0) for x in (k, v)]
    for sketch in ("gaussian", "srht", "count-sketch", "row-sample", "mean-pool", "max-pool"):
        first, second = (
            aa.attention(
                q,
                *kv,
                aa.Linformer(rank=3, sketch=sketch),
                key_mask=mask,
                rng=np.random.default_rng(3),
            ).value
            for kv in ((k, v), other)
        )
        yield from apart(f"{sketch}, hidden keys moved", second, first, 1e-12)


def converges() -> Complaints:
    """Nystrom with a landmark for every token, Performer with forty thousand features."""
    aa = package()

    rng = np.random.default_rng(4)
    q = 3 * np.linalg.qr(rng.standard_normal((6, 6)))[0]
    k, v = q + 0.2 * rng.standard_normal((6, 6)), rng.standard_normal((6, 2))
    exact = dense(q, k, v)
    out = aa.attention(q, k, v, aa.Nystrom(landmarks=6, iterations=14)).value
    yield from apart("Nystrom, iterations to the end", out, exact, 1e-7)
    out = aa.attention(q, k, v, aa.Nystrom(landmarks=6, iterations=4), scale=0.6).value
    yield from apart("Nystrom, four iterations of order four", out, dense(q, k, v, scale=0.6), 1e-2)
    q, k, v = (
        0.7 * rng.standard_normal((5, 3)),
        rng.standard_normal((8, 3)),
        rng.standard_normal((8, 2)),
    )
    k = k / np.linalg.norm(k, axis=1).max()
    exact, features = dense(q, k, v), 40000
    reach = np.sum((q[:, None] + k[None]) ** 2, axis=-1).max(axis=1) / math.sqrt(3)
    deviation = np.sqrt(np.expm1(reach) / features)  # of a weight, relative
    for orthogonal, kind in itertools.product((True, False), ("positive", "hyperbolic")):
        method = aa.Performer(features=features, kind=kind, orthogonal=orthogonal)
        out = aa.attention(q, k, v, method, rng=np.random.default_rng(5)).value
        error = np.max(np.abs(out - exact), axis=-1)
        yield from above(
            f"Performer, {kind}, orthogonal {orthogonal}",
            error,
            4 * deviation * np.ptp(v, axis=0).max() / 2,
        )
        # scores 1 and -1 with the scale 1/100
        two = np.array([[10.0, 0.0, 0.0], [-10.0, 0.0, 0.0]])
        out = aa.attention(
            two[:1], two, np.eye(2), method, scale=0.01, rng=np.random.default_rng(5)
        ).value[0]
        bound = 4 * math.sqrt(math.expm1(4.0) / features) / 2
        yield from above(
            f"Performer with a scale, {kind}", abs(out[0] - 1 / (1 + math.exp(-2.0))), bound
        )


def sampled_rows() -> Complaints:
    """Sampled keys of which a few rare ones carry much of the weight: within the certificate."""
    aa = package()

    rng = np.random.default_rng(13)
    for size in (2.0, 4.0, 7.0):
        k = np.where(np.arange(2000)[:, None] == 0, size, 0.0)
        q, v = np.ones((4, 1)), np.where(np.arange(2000)[:, None] == 0, 1.0, 0.0)
        out = aa.attention(
            q, k, v, aa.Linformer(rank=20000, sketch="row-sample", confidence=1 - 1e-9), rng=rng
        )
        yield from above(
            f"sampled keys, {size}",
            np.max(np.abs(out.value - dense(q, k, v)), axis=-1),
            out.certificate.rows,
        )


def prefix() -> Complaints:
    """A causal row is attention to its prefix, with the same features, over several chunks."""
    aa = package()

    rng = np.random.default_rng(6)
    q, k, v = (rng.standard_normal((300, w)) for w in (2, 2, 2))
    k = k * np.linspace(2, 0.5, 300)[:, None]
    for kind in ("positive", "hyperbolic"):
        method = aa.Performer(features=8, kind=kind)
        whole = aa.attention(q, k, v, method, causal=True, rng=np.random.default_rng(7)).value
        for i in (0, 1, 100, 128, 200, 299):
            part = slice(0, i + 1)
            alone = aa.attention(
                q[part], k[part], v[part], method, rng=np.random.default_rng(7)
            ).value[-1]
            yield from apart(f"causal row {i}, {kind}", whole[i], alone, 1e-9)


def variance() -> Complaints:
    """Relative variance of random features on the line, by quadrature and by drawing."""
    from approxattn.methods.random_features.features import directions, relative_variance

    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    for x, y in ((0.5, 0.3), (0.9, -0.4)):
        z = x + y
        drawn = {
            "positive": np.exp(nodes * z - z * z / 2),
            "hyperbolic": np.cosh(nodes * z) * np.exp(-z * z / 2),
        }
        for kind, estimates in drawn.items():
            one = float(weights @ estimates**2) - 1  # of one vector, or of one pair
            features = 2 if kind == "positive" else 4
            stated = float(relative_variance(np.array((x + y) ** 2), features, kind))
            yield from apart(f"variance, {kind}", stated, one / 2, 1e-6)
    rng = np.random.default_rng(8)
    for d, kind, orthogonal in itertools.product((1, 3), ("positive", "hyperbolic"), (True, False)):
        drawn_vectors = directions(d, 30000, kind, orthogonal, rng)
        for at in np.concatenate([np.eye(d), 0.6 * np.ones((1, d))]):
            found = np.exp(drawn_vectors @ at - at @ at / 2)
            if not abs(found.mean() - 1) <= 5 * found.std() / math.sqrt(len(found)):
                yield (
                    f"features of {kind} kind, orthogonal {orthogonal}, estimate 1 by "
                    f"{found.mean():.5g}"
                )
    w = np.stack([directions(1, 4, "hyperbolic", False, rng)[:, 0] for _ in range(4000)])
    means = np.mean(np.exp(w * 0.8 - 0.32), axis=1)
    stated = float(relative_variance(np.array(0.64), 4, "hyperbolic"))
    yield from apart("drawn variance, hyperbolic", means.var(), stated, 0.25)


def gradients() -> Complaints:
    """Gradients are slopes of the output, draws held fixed."""
    aa = package()

    rng = np.random.default_rng(9)
    short = [rng.standard_normal((8, w)) for w in (3, 3, 2)]
    long = [rng.standard_normal((260, w)) for w in (2, 2, 1)]
    e, f = rng.standard_normal((2, 3, 8))
    cases: list[tuple[Any, list[Host], dict[str, Any]]] = [
        (aa.Linformer(rank=3, delta=0.7), short, {}),
        (aa.Linformer(rank=3, sketch="srht"), short, {}),
        (aa.Linformer(rank=3, sketch="mean-pool"), short, {"scale": 0.3}),
        (aa.Linformer(rank=3, sketch="max-pool"), short, {}),
        (aa.Linformer(rank=5, sketch="row-sample"), short, {}),
        (aa.Linformer(kernel=(0.5, -1.0, 0.2)), short, {}),
        (aa.FittedLinformer(rank=3, rows=5, ridge=0.05), short, {"scale": 0.4}),
        (aa.Nystrom(landmarks=3), short, {}),
        (aa.Nystrom(landmarks=3, rcond=1e-3), short, {"scale": 0.9}),
        (aa.Nystrom(landmarks=3, centred=False), short, {}),
        (aa.Performer(features=6), short, {}),
        (aa.Performer(features=6, kind="hyperbolic"), long, {"causal": True}),
    ]
    masked = {"key_mask": np.arange(8) % 4 != 1}
    cases += [
        (method, points, {**option, **masked})
        for method, points, option in cases
        if points is short
    ]
    for method, points, option in cases:
        yield from _slopes(method, points, option)
    yield from _given(short, e, f)
    yield from _inverse(rng.standard_normal((4, 4)))


def _slopes(method: Any, points: list[Host], option: dict[str, Any]) -> Complaints:
    aa = package()

    g = np.random.default_rng(10).standard_normal(points[0].shape[:1] + points[2].shape[1:])

    def drawn() -> dict[str, Any]:
        return {**option, "rng": np.random.default_rng(11) if method.randomised else None}

    found = aa.attention_vjp(*points, g, method, **drawn())
    yield from slopes(
        f"{method}, {list(option)}",
        lambda *x: aa.attention(*x, method, **drawn()).value,
        points,
        (found.dq, found.dk, found.dv),
        g,
        step=1e-5,
        tolerance=1e-5,
    )


def _inverse(a: Host) -> Complaints:
    """The iteration's own gradient, for a matrix whose rows do not sum to one."""
    from approxattn.methods.low_rank.pseudo_inverse import newton_schulz, newton_schulz_gradient

    g = np.random.default_rng(14).standard_normal((4, 4))
    found = newton_schulz_gradient(a, 3, g, np)
    yield from slopes(
        "Newton-Schulz",
        lambda x: newton_schulz(x, 3, np),
        [a],
        [found],
        g,
        step=1e-5,
        tolerance=1e-5,
    )


def _given(points: list[Host], e: Host, f: Host) -> Complaints:
    """Projections that the user gives have gradients too."""
    aa = package()

    g = np.random.default_rng(12).standard_normal((8, 2))

    def value(e: Host, f: Host) -> Any:
        return aa.attention(*points, aa.Linformer(key_projection=e, value_projection=f)).value

    found = aa.attention_vjp(
        *points, g, aa.Linformer(key_projection=e, value_projection=f)
    ).parameters
    yield from apart(
        "given projections", value(e, f), dense(points[0], e @ points[1], f @ points[2]), 1e-12
    )
    yield from slopes(
        "given projections", value, [e, f], [found["key_projection"], found["value_projection"]], g
    )
