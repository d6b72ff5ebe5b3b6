"""Claims about the running time of our own code as n grows.

It is measured: so only in campaigns with the full budget, and never a proof.

Timing separates n from n^1.4 and n²; the operations themselves are counted in `our_code/cost.py`.
Queries and keys are uniform, d = dv = 16, float32, one head, one thread for matrix products.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from proofs_check.papers.shared.source import our_code
from proofs_check.statements.experiment import Scale
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_LONG, _SHORT = (
    (2**14, 23170, 2**15, 46340, 2**16, 92680, 2**17, 185360, 2**18),
    (2896, 4096, 5793, 8192, 11585, 16384, 23170),
)
_LIKE_N, _LIKE_N_SQUARED = (0.5, 1.1), (1.4, 2.6)
"""Slopes. *Chosen*: apart, so that no method can be both. From n = 2^14 on, n log n has 1.10 and
less; a slope below 1 is that of a constant part which still shows.
"""

_METHODS: tuple[tuple[str, str, Mapping[str, Any], tuple[int, ...], tuple[float, float]], ...] = (
    ("exact", "Exact", {}, _SHORT, _LIKE_N_SQUARED),
    ("polynomial", "Polynomial", {"degree": 2, "basis": "taylor"}, _LONG, _LIKE_N),
    ("linformer", "Linformer", {"rank": 64, "sketch": "mean-pool"}, _LONG, _LIKE_N),
    ("yoso", "Yoso", {"bits": 8, "hashes": 8}, _LONG, _LIKE_N),
    ("nystrom", "Nystrom", {"landmarks": 64}, _LONG, _LIKE_N),
    ("performer", "Performer", {"features": 64}, _LONG, _LIKE_N),
)
"""Key, class, settings, sizes, claimed interval of the slope."""


def _workload(name: str, settings: Mapping[str, Any], size: int) -> Callable[[], object]:
    from threadpoolctl import threadpool_limits

    import approxattn

    method, rng = getattr(approxattn, name)(**settings), np.random.default_rng(0)
    q, k, v = rng.uniform(-1, 1, (3, size, 16)).astype(np.float32)

    def work() -> object:
        draws = np.random.default_rng(0) if method.randomised else None
        with threadpool_limits(1):  # threads that wait for each other use processor time too
            return approxattn.attention(q, k, v, method, rng=draws)

    return work


def _theorem(
    key: str,
    name: str,
    settings: Mapping[str, Any],
    sizes: tuple[int, ...],
    slope: tuple[float, float],
) -> Theorem:
    order = "like n²" if slope == _LIKE_N_SQUARED else "like n or slower"
    plan: dict[str, Any] = {
        "workload": functools.partial(_workload, name, settings),
        "sizes": sizes,
        "repeats": 3,
    }
    scope = f"{name}, forward, processor time, float32, d = dv = 16"
    return Theorem(
        key=f"code.scaling-{key}",
        title=f"running time of {name}",
        statement=(
            f"The processor time of {name} grows {order}: the slope of log time against log n lies "
            f"in [{slope[0]:g}, {slope[1]:g}]."
        ),
        source=our_code(f"approxattn.{name}"),
        reading=(
            "Theil-Sen slope with its 95 % interval, the fastest of several runs a size; "
            "certificate included"
        ),
        experiments=(Scale(**plan, slope=slope, covers="statement", scope=scope),),
        expected=Status.SUPPORTED,
        remarks=(
            "An interval that reaches beyond the claimed one, as on a busy machine, makes the "
            "verdict inconclusive.",
        ),
        mutant=Scale(
            **plan,
            slope=_LIKE_N_SQUARED if slope == _LIKE_N else _LIKE_N,
            covers="statement",
            scope="like n instead of n²" if slope == _LIKE_N_SQUARED else "like n² instead of n",
        ),
    )


THEOREMS = tuple(_theorem(*row) for row in _METHODS)
