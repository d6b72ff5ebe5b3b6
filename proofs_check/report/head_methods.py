"""The methods that are run on the shipped heads, and with which settings."""

from __future__ import annotations

import math
from typing import Any

import approxattn as aa
from approxattn.diagnosis.equal_cost import settings_for
from approxattn.methods import all_methods
from approxattn.methods.protocol import Priced, described

YOSO_BITS = 8

BUDGET = 1 / 4
"""Share of the cost of exact attention that a method gets which has no line of its own below."""


def methods(n: int, width: int = 32) -> tuple[tuple[str, str, str, Any], ...]:
    """(family, label, claim, method) of every setting measured; sketches get n/4 rows.

    The settings chosen stand first. A method that is in none of them follows with its largest
    setting within BUDGET, or, without a price, as it is by default.
    """
    chosen = _chosen(n)
    seen = {type(method) for *_, method in chosen}
    others = [kind for kind in all_methods() if kind not in seen]
    return (*chosen, *(line for kind in others for line in _by_default(kind, n, width)))


def _by_default(kind: type[Any], n: int, width: int) -> list[tuple[str, str, str, Any]]:
    settings = settings_for(kind, n, width, BUDGET)
    if not settings and not issubclass(kind, Priced):
        settings = [kind()]
    return [(kind.__name__, described(method), "", method) for method in settings]


def _chosen(n: int) -> tuple[tuple[str, str, str, Any], ...]:
    k = n // 4
    return (
        ("Exact", "Exact", "code.exact", aa.Exact()),
        *(
            (
                "Polynomial",
                f"Taylor, degree {g}",
                "code.polynomial-taylor",
                aa.Polynomial(degree=g, basis="taylor"),
            )
            for g in (2, 4, 8)
        ),
        *(
            (
                "Polynomial",
                f"minimax, degree {g}",
                "code.polynomial-minimax",
                aa.Polynomial(degree=g),
            )
            for g in (2, 4, 8)
        ),
        *(
            (
                "Polynomial",
                f"fitted, degree {g}",
                "code.fitted-polynomial",
                aa.FittedPolynomial(degree=g),
            )
            for g in (2, 4)
        ),
        ("Linformer", f"Gaussian, k = {k}", "", aa.Linformer(rank=k)),
        ("Linformer", f"Gaussian, k = {k}, δ = 1/{n}", "", aa.Linformer(rank=k, delta=1 / n)),
        (
            "Linformer",
            f"mean pooling, k = {k}",
            "code.linformer-mean-pool",
            aa.Linformer(rank=k, sketch="mean-pool"),
        ),
        (
            "Linformer",
            f"row sampling, k = {k}",
            "code.linformer-row-sample",
            aa.Linformer(rank=k, sketch="row-sample"),
        ),
        (
            "Linformer",
            f"fitted values, k = {k}",
            "code.fitted-linformer",
            aa.FittedLinformer(rank=k),
        ),
        (
            "Clustered",
            f"{n // 8} heavy keys, {_power(n // 16)} means",
            "code.clustered",
            aa.Clustered(heavy=n // 8, key_blocks=_power(n // 16), query_blocks=_power(n // 16)),
        ),
        ("Nyström", f"{k} landmarks", "code.nystrom", aa.Nystrom(landmarks=k)),
        ("Performer", "256 features", "code.performer", aa.Performer(features=256)),
        (
            "YOSO",
            f"expectation, {YOSO_BITS} bits",
            "code.yoso-expectation",
            aa.YosoExpectation(bits=YOSO_BITS),
        ),
        ("YOSO", f"{YOSO_BITS} bits, 32 hashes", "code.yoso", aa.Yoso(bits=YOSO_BITS, hashes=32)),
        ("BERT-LSH", "corrected, logit 0", "code.bert-lsh", aa.BertLSH()),
        ("BERT-LSH", "corrected, no weight", "code.bert-lsh", aa.BertLSH(fill=-math.inf)),
        ("BERT-LSH", "colliding pairs only", "code.bert-lsh-sparse", aa.BertLSH(sparse=True)),
        (
            "BERT-LSH",
            "as the authors' code",
            "code.bert-lsh-paper-code",
            aa.BertLSH(fidelity="paper-code"),
        ),
        ("LSH softmax", "4 bits, 4 tables", "code.lsh-softmax", aa.LSHSoftmax()),
    )


def _power(x: int) -> int:
    """Largest power of two up to x, at least 1."""
    return 1 << (max(x, 1).bit_length() - 1)
