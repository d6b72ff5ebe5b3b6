"""The methods that are run on the shipped heads, and with which settings."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import approxattn as aa
from approxattn.diagnosis.equal_cost import settings_for
from approxattn.methods import all_methods
from approxattn.methods.protocol import Priced, described

Line: TypeAlias = tuple[str, str, str, Any]
"""Family, label, claim and method."""

YOSO_BITS = 8

BUDGET = 1 / 4
"""Share of the cost of exact attention that a method gets which has no line of its own below."""


def methods(n: int, width: int = 32) -> tuple[Line, ...]:
    """Return the line of every setting measured; sketches get n/4 rows.

    The settings chosen stand first. A method that is in none of them follows with its largest
    setting within BUDGET, or, without a price, as it is by default.
    """
    chosen = _chosen(n)
    seen = {type(method) for *_, method in chosen}
    others = [kind for kind in all_methods() if kind not in seen]
    return (*chosen, *(line for kind in others for line in _by_default(kind, n, width)))


def _by_default(kind: type[Any], n: int, width: int) -> list[Line]:
    settings = settings_for(kind, n, width, BUDGET)
    if not settings and not issubclass(kind, Priced):
        settings = [kind()]
    return [(kind.__name__, described(method), "", method) for method in settings]


def _chosen(n: int) -> tuple[Line, ...]:
    exact = ("Exact", "Exact", "code.exact", aa.Exact())
    performer = ("Performer", "256 features", "code.performer", aa.Performer(features=256))
    low_rank = (*_linformers(n), *_landmarks(n))
    return (exact, *_polynomials(), *low_rank, performer, *_hashed())


def _polynomials() -> list[Line]:
    taylor, minimax = "code.polynomial-taylor", "code.polynomial-minimax"
    fitted = "code.fitted-polynomial"
    lines: list[Line] = []
    for g in (2, 4, 8):
        method = aa.Polynomial(degree=g, basis="taylor")
        lines.append(("Polynomial", f"Taylor, degree {g}", taylor, method))
    for g in (2, 4, 8):
        lines.append(("Polynomial", f"minimax, degree {g}", minimax, aa.Polynomial(degree=g)))
    for g in (2, 4):
        lines.append(("Polynomial", f"fitted, degree {g}", fitted, aa.FittedPolynomial(degree=g)))
    return lines


def _linformers(n: int) -> list[Line]:
    k = n // 4
    pooled, sampled = (aa.Linformer(rank=k, sketch=x) for x in ("mean-pool", "row-sample"))
    fitted = aa.FittedLinformer(rank=k)
    return [
        ("Linformer", f"Gaussian, k = {k}", "", aa.Linformer(rank=k)),
        ("Linformer", f"Gaussian, k = {k}, δ = 1/{n}", "", aa.Linformer(rank=k, delta=1 / n)),
        ("Linformer", f"mean pooling, k = {k}", "code.linformer-mean-pool", pooled),
        ("Linformer", f"row sampling, k = {k}", "code.linformer-row-sample", sampled),
        ("Linformer", f"fitted values, k = {k}", "code.fitted-linformer", fitted),
    ]


def _landmarks(n: int) -> list[Line]:
    heavy, means = n // 8, _power(n // 16)
    clustered = aa.Clustered(heavy=heavy, key_blocks=means, query_blocks=means)
    nystrom = aa.Nystrom(landmarks=n // 4)
    selected = aa.SelectedSummaries(heavy=n // 16, recent=n // 16, summaries=4, block=n // 8)
    return [
        ("Clustered", f"{heavy} heavy keys, {means} means", "code.clustered", clustered),
        ("Nyström", f"{n // 4} landmarks", "code.nystrom", nystrom),
        ("Selected keys", f"{n // 16} heavy, 4 summaries", "code.selected-summaries", selected),
    ]


def _hashed() -> list[Line]:
    expected = aa.YosoExpectation(bits=YOSO_BITS)
    yoso = aa.Yoso(bits=YOSO_BITS, hashes=32)
    as_published = aa.BertLSH(fidelity="paper-code")
    return [
        ("YOSO", f"expectation, {YOSO_BITS} bits", "code.yoso-expectation", expected),
        ("YOSO", f"{YOSO_BITS} bits, 32 hashes", "code.yoso", yoso),
        ("BERT-LSH", "corrected, logit 0", "code.bert-lsh", aa.BertLSH()),
        ("BERT-LSH", "corrected, no weight", "code.bert-lsh", aa.BertLSH(fill=-math.inf)),
        ("BERT-LSH", "colliding pairs only", "code.bert-lsh-sparse", aa.BertLSH(sparse=True)),
        ("BERT-LSH", "as the authors' code", "code.bert-lsh-paper-code", as_published),
        ("LSH softmax", "4 bits, 4 tables", "code.lsh-softmax", aa.LSHSoftmax()),
    ]


def _power(x: int) -> int:
    """Largest power of two up to x, at least 1."""
    return 1 << (max(x, 1).bit_length() - 1)
