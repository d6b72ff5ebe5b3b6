"""The table of what is hunted: every public method in several settings.

`HUNTED`, `APART` and `ELSEWHERE` together name all that `approxattn` makes public; a test compares
them with its `__all__`, so that a new name cannot be forgotten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import approxattn as aa
from approxattn.methods.protocol import Differentiable

MODES = (
    "plain",
    "causal",
    "mask",
    "order",
    "variant",
    "batch",
    "gradient",
    "state",
    "network",
    "network-gradient",
    "tensor",
    "audit",
)
DTYPES = ("float16", "float32", "float64")

SURE = 1 - 1e-9
"""*Chosen*: a confidence at which no failure will be seen."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting of one method, or a function that is no method.

    Attributes
    ----------
    name : str
        Identifier.
    method : Method or None
        The instance; None for the rows of `tensor_attention` and `audit`.
    modes : tuple of str
        What it is hunted in.
    target : {"softmax", "yoso", "none"}
        What the certificate of its output speaks about; "none": something this package has no
        oracle for, so that only values, warnings and errors are judged.
    bits : int
        Hyperplanes of one hash, for the target "yoso".
    normalize : bool
        Whether the target "yoso" is normalised row by row.
    square : bool
        Whether it needs as many queries as keys.
    options : tuple of (str, object)
        Arguments of the function, where there is no method.
    costly : bool
        Whether a call may search for a polynomial for seconds: then scores stay below 2^5, a call
        that is refused is not taken apart, and half the problems will do.
    """

    name: str
    method: Any = None
    modes: tuple[str, ...]
    target: str = "softmax"
    bits: int = 0
    normalize: bool = False
    square: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    costly: bool = False

    def __str__(self) -> str:
        return self.name


def _row(name: str, method: Any, **more: Any) -> Row:
    """Return a row in every mode that the method has."""
    modes = ["plain", "mask", "order", "batch", "network"]
    if not method.why_not_causal and not more.get("square"):
        modes.append("causal")
    if isinstance(method, Differentiable):
        modes += ["gradient", "network-gradient"]
    if not getattr(method, "why_no_bias", "not known"):
        modes.append("variant")
    if _has_state(method):
        modes.append("state")
    if more.get("target", "softmax") != "softmax" or more.get("costly"):
        modes = [mode for mode in modes if not mode.startswith("network")]
    return Row(name=name, method=method, modes=tuple(m for m in MODES if m in modes), **more)


def _has_state(method: Any) -> bool:
    """Tell whether `method.state` serves these settings."""
    if isinstance(method, aa.Polynomial):
        return method.index == "full" and method.basis != "one-sided"
    if isinstance(method, aa.Linformer):
        return method.sketch == "mean-pool"
    if isinstance(method, aa.Yoso):
        return not method.normalize and method.bound != "bernstein"
    return isinstance(method, aa.Performer)


_NEVER = -math.inf
_TENSOR = ("tensor",)

_POLYNOMIALS = (
    _row("exact", aa.Exact()),
    _row("taylor-4", aa.Polynomial(degree=4, basis="taylor")),
    _row("taylor-2-plug-in", aa.Polynomial(degree=2, basis="taylor", gradient="plug-in")),
    _row("taylor-4-uncentred", aa.Polynomial(degree=4, basis="taylor", centre="none")),
    _row("taylor-1e-4", aa.Polynomial(tolerance=1e-4, basis="taylor", fallback=False)),
    _row("taylor-1e-3-falls-back", aa.Polynomial(tolerance=1e-3, basis="taylor")),
    _row(
        "anisotropic-1e-4",
        aa.Polynomial(tolerance=1e-4, basis="taylor", index="anisotropic", fallback=False),
    ),
    _row("chebyshev-4", aa.Polynomial(degree=4, basis="chebyshev", centre="keys")),
    _row("minimax-5", aa.Polynomial(degree=5)),
    _row("minimax-3-plug-in", aa.Polynomial(degree=3, gradient="plug-in")),
    _row("one-sided-4", aa.Polynomial(degree=4, basis="one-sided")),
    _row("one-sided-1e-3", aa.Polynomial(tolerance=1e-3, basis="one-sided", fallback=False)),
    _row("tolerance-1e-2", aa.Polynomial(tolerance=1e-2), costly=True),
    _row("minimax-1e-1", aa.Polynomial(tolerance=0.1, fallback=False), costly=True),
    _row("fitted-polynomial-2", aa.FittedPolynomial(degree=2, rows=4)),
)
_LOW_RANK = (
    _row("mean-pool-3", aa.Linformer(rank=3, sketch="mean-pool")),
    _row("max-pool-3", aa.Linformer(rank=3, sketch="max-pool")),
    _row("row-sample-40", aa.Linformer(rank=40, sketch="row-sample")),
    _row("row-sample-sure", aa.Linformer(rank=200, sketch="row-sample", confidence=SURE)),
    _row("linformer-gaussian", aa.Linformer(rank=4)),
    _row("linformer-paper", aa.Linformer(rank=5, delta=0.1)),
    _row("count-sketch-4", aa.Linformer(rank=4, sketch="count-sketch")),
    _row("fitted-3", aa.FittedLinformer(rank=3, rows=4, ridge=1e-2)),
    _row("nystrom-3", aa.Nystrom(landmarks=3)),
    _row("nystrom-4-cut", aa.Nystrom(landmarks=4, rcond=0.05)),
    _row("clustered-2", aa.Clustered(heavy=2, key_blocks=2, query_blocks=2)),
    _row("clustered-means", aa.Clustered(heavy=0, key_blocks=4, query_blocks=1)),
    _row(
        "selected-summaries",
        aa.SelectedSummaries(heavy=2, recent=2, summaries=2, sinks=1, block=3),
    ),
    _row("summaries-only", aa.SelectedSummaries(heavy=0, recent=0, summaries=3, block=4)),
    _row(
        "selected-only",
        aa.SelectedSummaries(heavy=1, recent=1, summaries=0, sinks=1, block=2),
    ),
    _row("performer-8", aa.Performer(features=8)),
    _row(
        "performer-sure",
        aa.Performer(features=6, kind="hyperbolic", orthogonal=False, confidence=SURE),
    ),
)
_PAIRS = (
    _row("bert-lsh", aa.BertLSH()),
    _row("bert-lsh-only", aa.BertLSH(bits=3, tables=2, fill=_NEVER)),
    _row("bert-lsh-sparse", aa.BertLSH(bits=3, tables=2, fill=_NEVER, sparse=True)),
    _row("bert-lsh-sparse-filled", aa.BertLSH(sparse=True)),
    _row("bert-lsh-paper", aa.BertLSH(table_size=4, fidelity="paper-code"), square=True),
    _row("lsh-softmax", aa.LSHSoftmax(bits=2, tables=3)),
    _row("lsh-softmax-ball", aa.LSHSoftmax(bits=3, radius=1, tables=2)),
)


def _yoso(name: str, method: Any, target: str = "yoso") -> Row:
    return _row(name, method, target=target, bits=method.bits, normalize=method.normalize)


def _sampled(**settings: Any) -> aa.Yoso:
    return aa.Yoso(zero_rows="orthogonal", **settings)


_YOSO = (
    _yoso("yoso", _sampled(bits=4, hashes=16)),
    _yoso("yoso-sure", _sampled(bits=8, hashes=32, confidence=SURE)),
    _yoso("yoso-unit-sure", _sampled(bits=3, hashes=40, normalize=True, confidence=SURE)),
    _yoso("yoso-bernstein-sure", _sampled(bits=2, hashes=60, bound="bernstein", confidence=SURE)),
    _yoso("yoso-sampled", _sampled(bits=3, hashes=16, gradient="sampled")),
    _yoso("yoso-hadamard", _sampled(bits=2, hashes=32, hashing="hadamard"), target="none"),
    _yoso("yoso-expectation", aa.YosoExpectation(bits=8, zero_rows="orthogonal")),
    _yoso(
        "yoso-expectation-unit",
        aa.YosoExpectation(bits=3, normalize=True, zero_rows="orthogonal", gradient="surrogate"),
    ),
)
_FUNCTIONS = (
    Row(name="tensor-taylor-4", modes=_TENSOR, options=(("degree", 4), ("basis", "taylor"))),
    Row(name="tensor-minimax-3", modes=_TENSOR, options=(("degree", 3),)),
    Row(name="tensor-1e-2", modes=_TENSOR, options=(("tolerance", 1e-2),), costly=True),
    Row(name="audit", modes=("audit",)),
)

TABLE: tuple[Row, ...] = (*_POLYNOMIALS, *_LOW_RANK, *_PAIRS, *_YOSO, *_FUNCTIONS)
ROWS = {row.name: row for row in TABLE}

HUNTED = frozenset(
    {type(row.method).__name__ for row in TABLE if row.method is not None}
    | {"attention", "attention_vjp", "audit", "tensor_attention"}
    | {"LinformerState", "MomentState", "PerformerState", "PolynomialState", "YosoState"}
)
"""Public names that the table covers."""

APART = frozenset(
    {
        "Approximation",
        "Audit",
        "Certificate",
        "Cost",
        "GradientCertificate",
        "Gradients",
        "Regime",
        "diagnose",
        "weights",
        *("ALiBi", "HeadCheck", "HeadPlan", "PlanFileError", "PlanWarning"),
        "PlannedApproximation",
    }
)
"""Public names without a certificate of their own: records of results, advice, and `attention` of
the identity.
"""

ELSEWHERE = frozenset({"Auto", "Plan", "plan"})
"""Public names with certificates that `tests/planning` hunts for."""


@dataclass(frozen=True, order=True)
class Cell:
    """Where problems are counted: a row, a mode, a dtype, an array library."""

    row: str
    mode: str
    dtype: str
    library: str = "numpy"

    def __str__(self) -> str:
        return f"{self.row} {self.mode} {self.dtype} {self.library}"


def cells(
    *,
    methods: tuple[str, ...] = (),
    modes: tuple[str, ...] = (),
    dtypes: tuple[str, ...] = (),
    library: str = "numpy",
) -> list[Cell]:
    """Return the cells asked for; all where nothing is.

    Parameters
    ----------
    methods : tuple of str
        Rows of the table; a name that ends in a star stands for all that begin so.
    modes, dtypes : tuple of str
        Some of `MODES` and `DTYPES`.
    library : str
        "numpy" or "torch".

    Raises
    ------
    ValueError
        For a name that is not there, or when nothing is left.
    """
    rows = [row for row in TABLE if not methods or any(_named(row.name, m) for m in methods)]
    for given in methods:
        if not any(_named(row.name, given) for row in TABLE):
            msg = f"methods(={given!r}) is no row of the table: choose from {', '.join(ROWS)}"
            raise ValueError(msg)
    for name, given_names, known in (("modes", modes, MODES), ("dtypes", dtypes, DTYPES)):
        for given in given_names:
            if given not in known:
                msg = f"{name}(={given!r}) must be one of {', '.join(known)}: correct the name"
                raise ValueError(msg)
    found = [
        Cell(row.name, mode, dtype, library)
        for row in rows
        for mode in row.modes
        for dtype in DTYPES
        if (not modes or mode in modes) and (not dtypes or dtype in dtypes)
        if not (mode.startswith("network") and dtype == "float16")  # weights are not half precision
    ]
    if not found:
        msg = f"modes(={modes}) leaves nothing of methods {methods}: no such row has such a mode"
        raise ValueError(msg)
    return found


def _named(name: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern
