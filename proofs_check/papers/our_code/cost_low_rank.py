"""Counted cost of low-rank methods: every sketch, fitted values, landmarks, random features.

What is counted: `counted`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs_check.arithmetic.counting import Tally
from proofs_check.papers.our_code.counted import Cost, Formula, Settings, Work, attend, bits, shape

_RANKS = ({"rank": 4}, {"rank": 7})


def _sketched(sketch: str) -> tuple[Settings, ...]:
    return tuple({"rank": k, "sketch": sketch} for k in (4, 7))


def _per_key(a: int, b: int, c: int = 0) -> Formula:
    """Return n k (a d + b dv + c)."""
    return lambda n, d, dv, s: n * s["rank"] * (a * d + b * dv + c)


def _softmax(passes: int) -> Formula:
    return lambda n, _d, _dv, s: passes * n * s["rank"]


def _hashed(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """Twice (keys and values): sort the buckets of n tokens, find both ends of k buckets."""
    return 2 * (n * bits(n - 1) + 2 * s["rank"] * bits(n))


def _scattered(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """Twice (keys and values): sort k places, find both ends of n tokens among them."""
    return 2 * (s["rank"] * bits(s["rank"] - 1) + 2 * n * bits(s["rank"]))


def _transformed(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """Twice (keys and values): sort k places, find both ends of n' of them, n' the power of two
    from n on.
    """
    return 2 * (s["rank"] * bits(s["rank"] - 1) + 2 * 2 ** bits(n - 1) * bits(s["rank"]))


def _largest(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """Twice (keys and values): sort the places of k blocks of ceil(n/k), find both ends of n tokens
    among them.
    """
    places = s["rank"] * -(-n // s["rank"])
    return 2 * (places * bits(places - 1) + 2 * n * bits(places))


def _fitted_back(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """Sort 4 k picked queries, find both ends of n."""
    return 4 * s["rank"] * bits(4 * s["rank"] - 1) + 2 * n * bits(4 * s["rank"])


def _nystrom(c: tuple[int, int, int, int], *, cut: bool = False) -> Formula:
    """Return n k (c0 d + c1 dv) + c2 k^2 (d + dv) + c3 t k^3; t = 1 where the pseudo-inverse is by
    singular values.
    """

    def formula(n: Any, d: Any, dv: Any, s: Settings) -> Any:
        k, t = s["landmarks"], 1 if cut else s["iterations"]
        return n * k * (c[0] * d + c[1] * dv) + c[2] * k**2 * (d + dv) + c[3] * t * k**3

    return formula


def _landmarks(passes: int) -> Formula:
    return lambda n, _d, _dv, s: passes * n * s["landmarks"] + s["landmarks"] ** 2


def _values(times: int) -> Formula:
    return lambda _n, _d, _dv, s: times * s["landmarks"] ** 3


def _performer(a: int, b: int, c: int) -> Formula:
    return lambda n, d, dv, s: n * s["features"] * (a * d + b * dv + c)


def _fitted(c: tuple[int, int, int], kd: int, kv: int, solves: int) -> Formula:
    """Return n k (c0 d + c1 dv + c2) + k^2 (kd d + kv dv) + 4 solves k^3 + solves (k^3 - k)/3."""

    def formula(n: Any, d: Any, dv: Any, s: Settings) -> Any:
        k = s["rank"]
        return (
            n * k * (c[0] * d + c[1] * dv + c[2])
            + k**2 * (kd * d + kv * dv)
            + solves * (4 * k**3 + (k**3 - k) // 3)
        )

    return formula


def _given(settings: Settings, gradient: bool, size: int) -> Tally:
    """Run Linformer with projections of one's own, E = F."""
    n, d, dv = shape(size)
    tally, rng = Tally(), np.random.default_rng(0)
    q, k, v, g = (tally.array(rng.uniform(-1, 1, (n, w))) for w in (d, d, dv, dv))
    own = {
        "name": "Linformer",
        "key_projection": tally.array(rng.uniform(0, 1 / n, (settings["rank"], n))),
    }
    return attend(tally, (q, k, v), g if gradient else None, own)


def _heavy(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """Order n keys for each block of queries, where there are heavy ones."""
    return s["query_blocks"] * n * bits(n - 1) if s["heavy"] else 0


def _heavy_back(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """And twice (keys and values): sort C T places, find both ends of n keys among them."""
    places = s["query_blocks"] * s["heavy"]
    return _heavy(n, 0, 0, s) + 2 * (places * bits(places - 1) + 2 * n * bits(places)) * (
        places > 0
    )


def _clustered(a: int, b: int, c: int, shared: int) -> Formula:
    """Return n (T + K)(a d + b dv + c) + C n d + shared C T K (d + dv), without C n d for T = 0."""

    def formula(n: Any, d: Any, dv: Any, s: Settings) -> Any:
        t, k, blocks = s["heavy"], s["key_blocks"], s["query_blocks"]
        sought = blocks * n * d if t else 0
        return n * (t + k) * (a * d + b * dv + c) + sought + shared * blocks * t * k * (d + dv)

    return formula


def _met(passes: int) -> Formula:
    return lambda n, _d, _dv, s: passes * n * (s["heavy"] + s["key_blocks"])


_SPARSE = Work(products=_per_key(1, 1), functions=_softmax(1))

COSTS = (
    Cost(
        name="linformer-gaussian",
        method="Linformer",
        settings=(
            *_RANKS,
            {"rank": 5, "delta": 0.1},
            *_sketched("rademacher"),
            *_sketched("sparse"),
        ),
        statement=(
            "Linformer with a dense sketch of rank k (Gaussian, signs, or their sparse form): 2 n "
            "k (d + dv) multiplications and n k exponentials forward, n k (6d + 5 dv) and 2 n k "
            "for the gradient."
        ),
        forward=Work(products=_per_key(2, 2), functions=_softmax(1)),
        gradient=Work(products=_per_key(6, 5), functions=_softmax(2)),
    ),
    Cost(
        name="linformer-count-sketch",
        method="Linformer",
        settings=_sketched("count-sketch"),
        statement=(
            "Linformer with CountSketch: n k (d + dv) multiplications, n k exponentials and 2n "
            "⌈log₂ n⌉ + 4k ⌈log₂(n + 1)⌉ comparisons forward; n k (4d + 3 dv) and 2 n k for the "
            "gradient."
        ),
        forward=Work(products=_per_key(1, 1), functions=_softmax(1), sorting=_hashed),
        gradient=Work(products=_per_key(4, 3), functions=_softmax(2), sorting=_hashed),
    ),
    Cost(
        name="linformer-srht",
        method="Linformer",
        settings=_sketched("srht"),
        sizes=(1623, 3223, 3243, 3225, 4023),
        statement=(
            "Linformer with sampled rows of a Hadamard transform: n k (d + dv) multiplications and "
            "n k exponentials forward, n k (4d + 3 dv) and 2 n k for the gradient."
        ),
        forward=_SPARSE,
        gradient=Work(products=_per_key(4, 3), functions=_softmax(2), sorting=_transformed),
        remarks=(
            "The transform itself consists of additions, n' log₂ n' a column, which are no "
            "products.",
        ),
    ),
    Cost(
        name="linformer-row-sample",
        method="Linformer",
        settings=_sketched("row-sample"),
        statement=(
            "Linformer with k sampled rows: n k (d + dv) multiplications and n k exponentials "
            "forward, n k (4d + 3 dv) and 2 n k for the gradient."
        ),
        forward=_SPARSE,
        gradient=Work(products=_per_key(4, 3), functions=_softmax(2), sorting=_scattered),
    ),
    Cost(
        name="linformer-mean-pool",
        method="Linformer",
        settings=_sketched("mean-pool"),
        statement=(
            "Linformer with k block means: n k (d + dv) multiplications and n k exponentials "
            "forward, n k (4d + 3 dv + 4) and 2 n k for the gradient."
        ),
        forward=_SPARSE,
        gradient=Work(products=_per_key(4, 3, 4), functions=_softmax(2)),
        remarks=(
            "The 4 n k are products with the blocks' spreads, for the certificate of the gradient.",
        ),
    ),
    Cost(
        name="linformer-max-pool",
        method="Linformer",
        settings=_sketched("max-pool"),
        statement=(
            "Linformer with k block maxima: n k (d + dv) multiplications and n k exponentials "
            "forward, n k (4d + 3 dv) and 2 n k for the gradient."
        ),
        forward=_SPARSE,
        gradient=Work(products=_per_key(4, 3), functions=_softmax(2), sorting=_largest),
    ),
    Cost(
        name="linformer-given",
        method="Linformer",
        settings=_RANKS,
        run=_given,
        statement=(
            "Linformer with E = F given: 2 n k (d + dv) multiplications and n k exponentials "
            "forward; n k (7d + 6 dv) and 2 n k for the gradient, that of E included."
        ),
        forward=Work(products=_per_key(2, 2), functions=_softmax(1)),
        gradient=Work(products=_per_key(7, 6), functions=_softmax(2)),
    ),
    Cost(
        name="fitted-linformer",
        method="FittedLinformer",
        settings=({"rank": 3}, {"rank": 5}),
        sizes=(3223, 6423, 6443, 6425),
        statement=(
            "FittedLinformer of rank k with 4k fitted rows: 5 n k (d + dv) + k² (4d + 9 dv) + 4k³ "
            "+ (k³ - k)/3 multiplications and 5 n k + 4k² exponentials forward; n k (24d + 19 dv "
            "+ 4) + k² (12d + 27 dv) + 8k³ + 2(k³ - k)/3 and 14 n k + 4k² for the gradient."
        ),
        forward=Work(
            products=_fitted((5, 5, 0), 4, 9, 1),
            functions=lambda n, _d, _dv, s: 5 * n * s["rank"] + 4 * s["rank"] ** 2,
        ),
        gradient=Work(
            products=_fitted((24, 19, 4), 12, 27, 2),
            functions=lambda n, _d, _dv, s: 14 * n * s["rank"] + 4 * s["rank"] ** 2,
            sorting=_fitted_back,
        ),
        remarks=("The solutions of the k equations count as Gaussian elimination.",),
    ),
    Cost(
        name="nystrom",
        method="Nystrom",
        settings=({"landmarks": 4, "iterations": 6}, {"landmarks": 5, "iterations": 3}),
        statement=(
            "Nystrom with k landmarks and t iterations: 2 n k (d + dv) + k² (d + dv) + 4 t k³ "
            "multiplications and 2 n k + k² exponentials forward; n k (9d + 7 dv) + 3 k² (d + dv) "
            "+ 19 t k³ and 5 n k + k² for the gradient."
        ),
        forward=Work(products=_nystrom((2, 2, 1, 4)), functions=_landmarks(2)),
        gradient=Work(products=_nystrom((9, 7, 3, 19)), functions=_landmarks(5)),
    ),
    Cost(
        name="nystrom-cut",
        method="Nystrom",
        settings=({"landmarks": 4, "rcond": 0.05}, {"landmarks": 3, "rcond": 0.05}),
        statement=(
            "Nystrom with k landmarks and cut singular values: 2 n k (d + dv) + k² (d + dv) + k³ "
            "multiplications and one decomposition forward; n k (9d + 7 dv) + 3 k² (d + dv) + 5 "
            "k³ and two for the gradient."
        ),
        forward=Work(
            products=_nystrom((2, 2, 1, 1), cut=True), functions=_landmarks(2), values=_values(1)
        ),
        gradient=Work(
            products=_nystrom((9, 7, 3, 5), cut=True), functions=_landmarks(5), values=_values(2)
        ),
    ),
    Cost(
        name="performer",
        method="Performer",
        settings=(
            {"features": 8},
            {"features": 11},
            {"features": 6, "kind": "hyperbolic", "orthogonal": False},
        ),
        statement=(
            "Performer with m features: 2 n m (d + dv + 1) multiplications and 2 n m exponentials "
            "and n logarithms forward, n m (8d + 7 dv + 6), 6 n m and n for the gradient."
        ),
        forward=Work(
            products=_performer(2, 2, 2),
            functions=lambda n, _d, _dv, s: n * (2 * s["features"] + 1),
        ),
        gradient=Work(
            products=_performer(8, 7, 6),
            functions=lambda n, _d, _dv, s: n * (6 * s["features"] + 1),
        ),
    ),
    Cost(
        name="clustered",
        method="Clustered",
        sizes=(3223, 6423, 7223, 6433, 6425),
        settings=tuple(
            {"heavy": t, "key_blocks": k, "query_blocks": c}
            for t, k, c in ((2, 4, 2), (5, 8, 4), (0, 4, 1))
        ),
        statement=(
            "Clustered with T heavy keys, K blocks of keys and C of queries: n (T + K)(d + dv + "
            "1) + C n d + C T K (d + dv) multiplications, n (T + K) exponentials and C n ⌈log₂ n⌉ "
            "comparisons forward; n (T + K)(4d + 3 dv + 4) + C n d + 2 C T K (d + dv) and 2n (T + "
            "K) for the gradient. C n d is 0 for T = 0."
        ),
        forward=Work(products=_clustered(1, 1, 1, 1), functions=_met(1), sorting=_heavy),
        gradient=Work(products=_clustered(4, 3, 4, 2), functions=_met(2), sorting=_heavy_back),
        remarks=(
            "n is a multiple of C; else blocks of queries are padded.",
            (
                "Sorting for the heavy keys and for the way back to the tokens; the blocks "
                "themselves are found on the host, which is not counted."
            ),
        ),
    ),
)

THEOREMS = tuple(cost.theorem() for cost in COSTS)
