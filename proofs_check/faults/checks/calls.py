"""Checks of what all methods share: long inputs, narrow dtypes, inputs repeated along leading axes,
the kit's laws, the audit.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np

from proofs_check.faults.checks._oracles import (
    Complaints,
    Host,
    above,
    apart,
    dense,
    dense_gradient,
    dense_weights,
    package,
    slopes,
)


def exact_long() -> Complaints:
    """Exact over several blocks of keys, scores growing and falling along them."""
    aa = package()

    rng = np.random.default_rng(0)
    q, k, v, g = (rng.standard_normal((n, 2)) for n in (40, 2500, 2500, 40))
    for name, slant in (
        ("rising", np.linspace(0.1, 4, 2500)),
        ("falling", np.linspace(4, 0.1, 2500)),
    ):
        keys = k * slant[:, None]
        yield from apart(
            f"{name} scores", aa.attention(q, keys, v, aa.Exact()).value, dense(q, keys, v), 1e-11
        )
        steep = aa.attention(q, 100 * keys, v, aa.Exact()).value
        yield from apart(f"steep {name} scores", steep, dense(q, 100 * keys, v), 1e-11)
        found = aa.attention_vjp(q, keys, v, g, aa.Exact())
        for part, expected in zip(("dq", "dk", "dv"), dense_gradient(q, keys, v, g), strict=True):
            yield from apart(f"{name} scores, {part}", getattr(found, part), expected, 1e-11)
    queries = rng.standard_normal((2100, 2))
    found_causal = aa.attention(queries, k[:2100], v[:2100], aa.Exact(), causal=True).value[-30:]
    mask = np.arange(2100) <= np.arange(2070, 2100)[:, None]
    yield from apart(
        "causal", found_causal, dense(queries[-30:], k[:2100], v[:2100], mask=mask), 1e-11
    )


def exact_sums() -> Complaints:
    """Errors within certificates where a sum drifts: about a thousand equal numbers in float32, all
    of whose roundings go the same way, and a zero that makes the values oscillate.

    Rounded scores explain about half of what happens here.
    """
    aa = package()

    rng = np.random.default_rng(5)
    q, k = np.zeros((1, 2), np.float32), np.zeros((1024, 2), np.float32)
    for _ in range(20):
        v = np.tile(rng.uniform(0.9, 1, 8).astype(np.float32), (1024, 1))
        v[-1] = 0
        mean = np.array([math.fsum(column) for column in v.astype(np.float64).T]) / 1024
        out = aa.attention(q, k, v, aa.Exact())
        error = np.max(np.abs(out.value.astype(np.float64) - mean), axis=-1)
        yield from above("a sum that drifts", error, out.certificate.rows)


def float16() -> Complaints:
    """Errors within certificates for half precision."""
    aa = package()

    rng = np.random.default_rng(1)
    for size in (1.0, 30.0):
        q, k = (rng.standard_normal((9, 3)).astype(np.float16) for _ in range(2))
        v = (size * rng.standard_normal((9, 4))).astype(np.float16)
        out = aa.attention(q, k, v, aa.Exact())
        yield from above(
            "float16", np.max(np.abs(out.value - dense(q, k, v)), axis=-1), out.certificate.rows
        )


def broadcast() -> Complaints:
    """Gradients of inputs that were repeated along leading axes are sums."""
    aa = package()

    rng = np.random.default_rng(2)
    points = [rng.standard_normal(shape) for shape in ((2, 3, 4, 2), (3, 5, 2), (1, 5, 3))]
    g = rng.standard_normal((2, 3, 4, 3))
    found = aa.attention_vjp(*points, g, aa.Exact())
    yield from slopes(
        "broadcast",
        lambda *x: aa.attention(*x, aa.Exact()).value,
        points,
        (found.dq, found.dk, found.dv),
        g,
    )


def kit_exact() -> Complaints:
    """The kit examines Exact, forward and gradient."""
    aa = package()
    from proofs_check.kit import check_attention

    def function(
        q: Host, k: Host, v: Host, *, causal: bool = False, key_mask: Host | None = None
    ) -> Host:
        return np.asarray(aa.attention(q, k, v, aa.Exact(), causal=causal, key_mask=key_mask).value)

    def gradient(q: Host, k: Host, v: Host, g: Host) -> tuple[Host, ...]:
        found = aa.attention_vjp(q, k, v, g, aa.Exact())
        return found.dq, found.dk, found.dv

    for finding in check_attention(function, gradient=gradient).findings:
        if finding.held is False:
            yield f"kit: {finding.name}: {finding.detail}"


def audit_errors() -> Complaints:
    """Recomputed rows: errors neither below the true ones nor far above, and the shares of the
    keys.
    """
    aa = package()

    rng = np.random.default_rng(3)
    for causal, off in itertools.product((False, True), (0.0, 0.1)):
        q, k, v = (rng.standard_normal((12, w)) for w in (3, 3, 2))
        value = aa.attention(
            q, k, v, aa.Exact(), scale=0.7, causal=causal
        ).value + off * rng.standard_normal((12, 2))
        found = aa.audit(value, q, k, v, rows=12, rng=rng, scale=0.7, causal=causal)
        true = np.max(np.abs(value - dense(q, k, v, scale=0.7, causal=causal)), axis=-1).astype(
            np.float64
        )
        yield from above(f"audit, causal {causal}", true, found.errors)
        yield from apart(
            f"audit, causal {causal}: reported errors", found.errors - true, 0 * true + 1e-12, 1.0
        )
        p = dense(q, k, np.eye(12), scale=0.7, causal=causal)
        share = 1 / np.sum(p * p, axis=-1) / (np.arange(1, 13) if causal else 12)
        yield from apart("audit, effective share of keys", found.concentration, share, 1e-9)
    q, k, v = (rng.standard_normal((2500, 2)) for _ in range(3))
    k *= np.linspace(0.5, 3, 2500)[:, None]
    found = aa.audit(v, q, k, v, rows=6, rng=rng)
    own = found.rows[:, 0]
    p = dense_weights(q[own], k)
    yield from apart(
        "audit of many keys", found.errors, np.max(np.abs(v[own] - p @ v), axis=-1), 1e-9
    )
    yield from apart(
        "audit of many keys, effective share",
        found.concentration,
        1 / np.sum(p * p, axis=-1) / 2500,
        1e-9,
    )


def audit_coverage() -> Complaints:
    """What the sample proves of the other rows: ranks by counting, rows without repetition."""
    aa = package()
    from approxattn.bounds.order_statistics import order_for

    for rows, drawn, fraction, confidence in itertools.product(
        (10, 23), (3, 7, 9), (0.5, 0.9), (0.8, 0.95)
    ):
        marked = math.ceil(Fraction(str(fraction)) * rows) - 1
        ways = [
            math.comb(marked, j) * math.comb(rows - marked, drawn - j) for j in range(drawn + 1)
        ]
        allowed = (1 - Fraction(str(confidence))) * math.comb(rows, drawn)
        least = next(r for r in range(drawn + 2) if sum(ways[r:]) <= allowed)
        if order_for(rows, drawn, fraction, confidence) != least:
            yield (
                f"rank for {rows} rows, {drawn} drawn, {fraction} of them at {confidence}: not "
                f"{least}"
            )
    rng = np.random.default_rng(4)
    q, k, v = (rng.standard_normal((20, 2)) for _ in range(3))
    for _ in range(5):
        found = aa.audit(v, q, k, v, rows=15, rng=rng, confidence=0.9)
        if len(np.unique(found.rows, axis=0)) != 15:
            yield "rows are drawn twice"
        if not math.isclose((1 - found.exceeding) ** 15, 1 - 0.9, rel_tol=1e-9):
            yield f"exceeding is {found.exceeding}: (1 - it)^15 is not 1 - 0.9"
