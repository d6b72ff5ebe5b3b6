"""The table of methods: one row each (several for a method with several faces).

Every law runs over it; a new method adds its rows here.

A row claims every law of the suite. Where a method does not obey one, `exempt` names the law and
the reason, and the law's own test demands that the method then breaks it on some case: an exemption
cannot outlive its reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import approxattn as aa
from approxattn.methods.protocol import Method


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method under test.

    Attributes
    ----------
    name : str
        Identifier of the tests.
    method : Method
        The instance.
    target : {"softmax", "yoso", "hadamard"}
        What its certificate speaks about; "hadamard" is the expectation over all draws of signs.
    bits : int
        Hyperplanes of one hash, for the targets "yoso" and "hadamard".
    normalize : bool
        Whether the target "yoso" is normalised row by row.
    exempt : mapping of str to str
        Law -> the reason why it does not hold.
    needs_square : bool
        Whether it needs as many queries as keys.
    slack : float
        A certificate divided by this much is caught by the hunt: how far from sharp we let it be.
        inf: there is no finite certificate.
    every : int
        The hunt tries it on every so many-th problem: 1, unless a problem costs it a search among
        polynomials (a second or more).
    """

    name: str
    method: Method
    target: Literal["softmax", "yoso", "hadamard"] = "softmax"
    bits: int = 0
    normalize: bool = False
    exempt: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    needs_square: bool = False
    slack: float
    every: int = 1

    def __str__(self) -> str:
        return self.name


_WHOLE_CALL = (
    "the interval of the scores comes from the whole call, and the polynomial from the interval"
)
_CENTRES = MappingProxyType(
    {"causal prefix": "the centre of the keys comes from all keys, later ones included"}
)
_FITS = MappingProxyType({**_CENTRES, "batch": _WHOLE_CALL})

_MIRRORED = "logits below the diagonal are copied from above it, so positions matter"
_NO_DENOMINATOR = "YOSO divides by no sum of weights, and those of a row do not sum to 1"
_HASHES_KEYS = MappingProxyType({"key shift": "the codes of the shifted keys differ"})
_YOSO = MappingProxyType(
    {"ones": _NO_DENOMINATOR, "key shift": "angles to the shifted keys differ"}
)
_UNIT_ROWS = MappingProxyType(
    {
        **_YOSO,
        "linear": "rows are divided by their length",
        "power of two": "rows of unit length stay so, whatever the size of V",
    }
)
_SAMPLED = MappingProxyType({"key permutation": "the draws choose positions"})
_DENSE_DRAWS = MappingProxyType(
    {
        "key permutation": "each position has its own column of random numbers",
        "padding": "so has each masked position, and shifts the draws of the others",
        "key shift": "the rows of E do not sum to 1",
        "ones": "the rows of F do not sum to 1",
    }
)
_LANDMARKS = MappingProxyType(
    {
        "key permutation": "landmarks are means of neighbours",
        "query permutation": "landmarks are means of neighbours, of queries too",
    }
)
_FEATURES = MappingProxyType(
    {"key shift": "the features of the shifted keys differ by more than a factor"}
)
_MEAN_QUERY = MappingProxyType(
    {
        "key permutation": "windows and pieces hold neighbours",
        "query permutation": "windows and blocks hold neighbours",
        "padding": "masked keys have places too",
        "causal prefix": "the mean query of a block comes from its later queries too",
    }
)
_SURE = 1 - 1e-9
"""A confidence at which no failure will be seen."""

TABLE: tuple[Row, ...] = (
    Row(name="exact", method=aa.Exact(), slack=20),
    Row(name="taylor-4", method=aa.Polynomial(degree=4, basis="taylor"), exempt=_CENTRES, slack=2),
    Row(
        name="taylor-1e-4",
        method=aa.Polynomial(tolerance=1e-4, basis="taylor", fallback=False),
        exempt=_FITS,
        slack=2,
    ),
    Row(
        name="anisotropic-1e-4",
        method=aa.Polynomial(tolerance=1e-4, basis="taylor", index="anisotropic", fallback=False),
        exempt=_FITS,
        slack=2,
    ),
    Row(
        name="chebyshev-2e-1",
        method=aa.Polynomial(tolerance=0.2, basis="chebyshev", fallback=False),
        exempt=_FITS,
        slack=2,
        every=25,
    ),
    Row(name="minimax-5", method=aa.Polynomial(degree=5), exempt=_FITS, slack=2),
    Row(
        name="minimax-1e-1",
        method=aa.Polynomial(tolerance=0.1, fallback=False),
        exempt=_FITS,
        slack=2,
        every=25,
    ),
    Row(
        name="mean-pool-3",
        method=aa.Linformer(rank=3, sketch="mean-pool"),
        exempt={"key permutation": "blocks hold neighbours"},
        slack=2,
    ),
    Row(
        name="row-sample-40",
        method=aa.Linformer(rank=40, sketch="row-sample"),
        exempt=_SAMPLED,
        slack=20,
    ),
    Row(
        name="row-sample-sure",
        method=aa.Linformer(rank=200, sketch="row-sample", confidence=_SURE),
        exempt=_SAMPLED,
        slack=20,
    ),
    Row(
        name="linformer-gaussian", method=aa.Linformer(rank=4), exempt=_DENSE_DRAWS, slack=math.inf
    ),
    Row(
        name="linformer-paper",
        method=aa.Linformer(rank=5, delta=0.1),
        exempt=_DENSE_DRAWS,
        slack=math.inf,
    ),
    Row(
        name="max-pool-3",
        method=aa.Linformer(rank=3, sketch="max-pool"),
        exempt={
            "key permutation": "blocks hold neighbours",
            "linear": "the largest value of a block is not linear in the values",
        },
        slack=20,
    ),
    Row(
        name="count-sketch-4",
        method=aa.Linformer(rank=4, sketch="count-sketch"),
        exempt=_DENSE_DRAWS,
        slack=math.inf,
    ),
    Row(name="nystrom-3", method=aa.Nystrom(landmarks=3), exempt=_LANDMARKS, slack=20),
    Row(
        name="nystrom-4-cut",
        method=aa.Nystrom(landmarks=4, rcond=0.05),
        exempt=_LANDMARKS,
        slack=20,
    ),
    Row(
        name="fitted-3",
        method=aa.FittedLinformer(rank=3, rows=4, ridge=1e-2),
        exempt={
            "key permutation": "blocks hold neighbours",
            "query permutation": "queries are picked by their places",
        },
        slack=20,
    ),
    Row(
        name="clustered-2",
        method=aa.Clustered(heavy=2, key_blocks=2, query_blocks=2),
        exempt={
            "key permutation": "of keys with equal scores the earlier ones are heavy",
            "query permutation": (
                "queries that tie are split by their places, and then the means of their blocks "
                "differ"
            ),
        },
        slack=2,
    ),
    Row(
        name="clustered-means", method=aa.Clustered(heavy=0, key_blocks=4, query_blocks=1), slack=2
    ),
    Row(
        name="summaries-1",
        method=aa.SelectedSummaries(heavy=0, recent=0, summaries=1, sinks=1, block=3),
        exempt=_MEAN_QUERY,
        slack=20,
    ),
    Row(
        name="selected-only-1",
        method=aa.SelectedSummaries(heavy=1, recent=0, summaries=0, sinks=1, block=3),
        exempt=_MEAN_QUERY,
        slack=20,
    ),
    Row(
        name="fitted-polynomial-2",
        method=aa.FittedPolynomial(degree=2, rows=4),
        exempt={
            **_CENTRES,
            "query permutation": "queries are picked by their places",
            "linear": "the coefficients are fitted to the outputs",
        },
        slack=20,
    ),
    Row(name="performer-8", method=aa.Performer(features=8), exempt=_FEATURES, slack=20),
    Row(
        name="performer-sure",
        method=aa.Performer(features=6, kind="hyperbolic", orthogonal=False, confidence=_SURE),
        exempt=_FEATURES,
        slack=20,
    ),
    Row(
        name="yoso",
        method=aa.Yoso(bits=4, hashes=16, zero_rows="orthogonal"),
        target="yoso",
        bits=4,
        exempt=_YOSO,
        slack=20,
    ),
    Row(
        name="yoso-sure",
        method=aa.Yoso(bits=8, hashes=16, zero_rows="orthogonal", confidence=_SURE),
        target="yoso",
        bits=8,
        exempt=_YOSO,
        slack=20,
    ),
    Row(
        name="yoso-unit-sure",
        method=aa.Yoso(bits=3, hashes=20, normalize=True, zero_rows="orthogonal", confidence=_SURE),
        target="yoso",
        bits=3,
        normalize=True,
        exempt=_UNIT_ROWS,
        slack=20,
    ),
    Row(
        name="yoso-bernstein-sure",
        method=aa.Yoso(
            bits=2, hashes=24, bound="bernstein", zero_rows="orthogonal", confidence=_SURE
        ),
        target="yoso",
        bits=2,
        exempt=_YOSO,
        slack=20,
        every=4,
    ),
    Row(
        name="yoso-hadamard-sure",
        method=aa.Yoso(
            bits=2, hashes=24, hashing="hadamard", zero_rows="orthogonal", confidence=_SURE
        ),
        target="hadamard",
        bits=2,
        exempt=_YOSO,
        slack=20,
        every=25,
    ),
    Row(
        name="yoso-expectation",
        method=aa.YosoExpectation(bits=8, zero_rows="orthogonal"),
        target="yoso",
        bits=8,
        exempt=_YOSO,
        slack=1e3,
    ),
    Row(
        name="yoso-expectation-unit",
        method=aa.YosoExpectation(bits=3, normalize=True, zero_rows="orthogonal"),
        target="yoso",
        bits=3,
        normalize=True,
        exempt=_UNIT_ROWS,
        slack=1e3,
    ),
    Row(name="bert-lsh", method=aa.BertLSH(), exempt=_HASHES_KEYS, slack=2),
    Row(
        name="bert-lsh-only",
        method=aa.BertLSH(bits=3, tables=2, fill=-math.inf),
        exempt=_HASHES_KEYS,
        slack=2,
    ),
    Row(
        name="bert-lsh-sparse",
        method=aa.BertLSH(bits=3, tables=2, fill=-math.inf, sparse=True),
        exempt=_HASHES_KEYS,
        slack=20,
    ),
    Row(
        name="bert-lsh-sparse-filled", method=aa.BertLSH(sparse=True), exempt=_HASHES_KEYS, slack=2
    ),
    Row(name="lsh-softmax", method=aa.LSHSoftmax(bits=2, tables=3), exempt=_HASHES_KEYS, slack=20),
    Row(
        name="lsh-softmax-ball",
        method=aa.LSHSoftmax(bits=3, radius=1, tables=2),
        exempt=_HASHES_KEYS,
        slack=20,
    ),
    Row(
        name="bert-lsh-paper",
        method=aa.BertLSH(table_size=4, fidelity="paper-code"),
        exempt={
            **_HASHES_KEYS,
            "query permutation": _MIRRORED,
            "key permutation": _MIRRORED,
            "causal": "later keys would be seen",
        },
        needs_square=True,
        slack=2,
    ),
)


def obeying(law: str) -> list[Row]:
    """Return the rows that claim a law."""
    return [row for row in TABLE if law not in row.exempt]


def exempt_from(law: str) -> list[Row]:
    """Return the rows that do not, each with its reason in `exempt`."""
    return [row for row in TABLE if law in row.exempt]
