"""How many launches a call makes by the array library alone.

Counted with a small device at two lengths, and extrapolated to 8 heads of 2^20 tokens on one of 80
GiB: a step takes what its share of the memory holds, so as many steps go through n tokens on a
device of so much memory as through n / 64 on one of a 64th. The counts are fixed here, so that no
change adds some unseen.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_cupy import TRAFFIC

import approxattn as aa
from approxattn._arrays import portions
from approxattn.softmax import scores

N, HEADS, MEMORY = 2**20, 8, 80 * 2**30
GOAL = 10_000
WAYS = {"forward": (0, 0), "causal": (0, 1), "gradient": (1, 0), "causal gradient": (1, 1)}

# method, d, parts that the device is smaller by, lengths, power of n that steps grow with; 0 where
# steps have a fixed length, for all heads at a time
CASES: dict[str, tuple[Any, int, int, tuple[int, int], int]] = {
    "polynomial 64 2": (aa.Polynomial(degree=2), 64, 2**6, (2**13, 2**14), 1),
    "polynomial 16 4": (aa.Polynomial(degree=4), 16, 2**6, (2**13, 2**14), 1),
    "polynomial 32 2": (aa.Polynomial(degree=2), 32, 2**8, (2**12, 2**13), 1),
    "exact": (aa.Exact(), 64, 2**9, (2**10, 2**11), 2),
    "linformer": (aa.Linformer(rank=256), 64, 2**8, (2**9, 2**10), 1),
    "nystrom": (aa.Nystrom(landmarks=64), 64, 1, (2**11, 2**12), 0),
    "performer": (aa.Performer(features=128), 64, 1, (2**11, 2**12), 0),
    "yoso": (aa.Yoso(bits=8, hashes=32), 64, 2**9, (2**10, 2**11), 2),
}
MANY = {"polynomial 64 2", "polynomial 16 4"}
"""Those that take long to count."""

# launches extrapolated: forward, causal, gradient, causal gradient
ALLOWED = {
    "polynomial 64 2": (455, 677, 1415, 3301),
    "polynomial 16 4": (1124, 1966, 5096, 9310),
    "polynomial 32 2": (353, 477, 873, 1491),
    "exact": (791951, 660905, 1600264, 1436482),
    "linformer": (334, 0, 372, 0),
    "nystrom": (16521, 0, 49608, 0),
    "performer": (107, 87076, 168, 182299),
    "yoso": (871, 0, 6095188, 0),
}
ABOVE = {("exact", way) for way in WAYS} | {("yoso", "gradient")}
ABOVE |= {("performer", "causal"), ("performer", "causal gradient")}
ABOVE |= {("nystrom", "forward"), ("nystrom", "gradient")}
"""Exact attention and the gradient of Yoso look at n^2 pairs: a launch of theirs takes longer than
a launch costs. A step of Performer under a causal mask takes 1,024 tokens, and one of the landmarks
of Nystrom 1,024 keys, because bounds count so many.
"""


def launches(
    cupy: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, gradient: bool, causal: bool
) -> int:
    """Return the launches of 8 heads of 2^20 tokens, from those of one head."""
    method, d, smaller, lengths, power = CASES[name]
    monkeypatch.setattr(portions, "room", lambda _: MEMORY // portions.SHARE // smaller)
    monkeypatch.setattr(scores, "SCORES_AT_ONCE", 1)  # the small device alone decides
    counts = []
    for n in lengths:
        arrays = np.random.default_rng(1).uniform(-0.1, 0.1, (4, 1, n, d)).astype("f4")
        q, k, v, g = map(cupy.asarray, arrays)
        options: dict[str, Any] = {"causal": True} if causal else {}
        options |= {"rng": np.random.default_rng(0)} if method.randomised else {}
        TRAFFIC.clear()
        if gradient:
            aa.attention_vjp(q, k, v, g, method, **options)
        else:
            aa.attention(q, k, v, method, **options)
        counts.append(TRAFFIC.launches.total())
    (less, more), (few, many) = lengths, counts
    if power == 0:
        return round(few + (many - few) / (more - less) * (N - less))
    slope = (many - few) / (more**power - less**power)
    return round(few - slope * less**power + slope * N**power * HEADS / smaller)


def table() -> list[Any]:
    found = []
    for name, (method, *_) in CASES.items():
        marks = [pytest.mark.long] if name in MANY else []
        for way, (_, causal) in WAYS.items():
            if not (causal and method.why_not_causal):
                found.append(pytest.param(name, way, marks=marks))
    return found


@pytest.mark.parametrize(("name", "way"), table())
def test_launches(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, way: str) -> None:
    monkeypatch.setenv("APPROXATTN_KERNELS", "off")
    found = launches(cupy, monkeypatch, name, *map(bool, WAYS[way]))
    allowed = ALLOWED[name][list(WAYS).index(way)]
    assert found <= allowed, dict(TRAFFIC.launches.most_common(12))
    assert found > 0.5 * allowed, f"{found} is far below {allowed}: lower the table"
    assert (found > GOAL) == ((name, way) in ABOVE)
