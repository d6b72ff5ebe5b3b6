"""Checks of the gradients of hashing methods."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from proofs_check.faults.checks._oracles import (
    Complaints,
    Host,
    apart,
    cosine_angles,
    package,
    slopes,
)


def gradients() -> Complaints:
    """Those of expectations and of drawn hashes are slopes of the output; the surrogate is what the
    paper writes, its sample near it.
    """
    aa = package()

    rng = np.random.default_rng(0)
    points = [rng.standard_normal((5, 3)), rng.standard_normal((5, 3)), rng.standard_normal((5, 2))]
    g, mask = rng.standard_normal((5, 2)), np.array([True, True, False, True, True])
    methods: tuple[Any, ...] = (
        aa.YosoExpectation(bits=3),
        aa.YosoExpectation(bits=2, normalize=True),
        *(aa.BertLSH(bits=1, tables=1, fill=fill) for fill in (0.0, -math.inf)),
        aa.BertLSH(bits=1, fidelity="paper-code"),
    )
    for method in methods:
        options: list[dict[str, Any]] = [{}, {"key_mask": mask}]
        options += [{"causal": True}] if getattr(method, "fidelity", "") != "paper-code" else []
        for option in options:
            yield from _one(method, points, g, option)
    yield from _surrogate(points, g)


def _one(method: Any, points: list[Host], g: Host, option: dict[str, Any]) -> Complaints:
    aa = package()

    def drawn() -> dict[str, Any]:
        return {**option, "rng": np.random.default_rng(3) if method.randomised else None}

    found = aa.attention_vjp(*points, g, method, **drawn())
    yield from slopes(
        f"{method}, {list(option)}",
        lambda *x: aa.attention(*x, method, **drawn()).value,
        points,
        (found.dq, found.dk, found.dv),
        g,
        step=1e-4,
        tolerance=1e-5,
    )


def _surrogate(points: list[Host], g: Host) -> Complaints:
    """Zeng et al. (2021): the slope of p in the cosine replaced by (bits / 2) p."""
    aa = package()

    q, k, v = points
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, k))
    p = (1 - cosine_angles(q, k) / math.pi) ** 3
    w, x = g @ v.T * (3 / 2 * p), a @ b.T
    dq = (w @ b - np.sum(w * x, axis=1, keepdims=True) * a) / np.linalg.norm(
        q, axis=1, keepdims=True
    )
    dk = (w.T @ a - np.sum((w * x).T, axis=1, keepdims=True) * b) / np.linalg.norm(
        k, axis=1, keepdims=True
    )
    found = aa.attention_vjp(q, k, v, g, aa.YosoExpectation(bits=3, gradient="surrogate"))
    for name, expected in (("dq", dq), ("dk", dk), ("dv", p.T @ g)):
        yield from apart(f"surrogate {name}", getattr(found, name), expected, 1e-9)
    method = aa.Yoso(bits=3, hashes=4000, gradient="sampled")
    sampled = aa.attention_vjp(q, k, v, g, method, rng=np.random.default_rng(1))
    for name, expected in (("dq", dq), ("dk", dk), ("dv", p.T @ g)):
        yield from apart(f"sampled {name}", getattr(sampled, name), expected, 0.1)
