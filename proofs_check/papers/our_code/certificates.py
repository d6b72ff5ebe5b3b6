"""Claims about our own code: what `approxattn.attention` returns is within its certificate.

Each is a claim about the target of the method, in float64 and in float32.

A theorem about the mathematics and a claim about code are two things; these are the latter. For
each method with a finite certificate, instances are searched for one whose error, measured against
ball arithmetic, exceeds the bound. Such a search refutes or says "not refuted in N tries"; it never
proves. The largest error / bound it found is the tightness of the line: how much of the certificate
is used.

Each mutant claims a certificate smaller by a fixed factor, and must be refuted. The factors are
*chosen*, as near to 1 as a thousand tries allow: where the search reaches the bound, 9/8 or 5/4;
where it does not, somewhat more than the inverse of the largest error / bound it found.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from proofs_check.arithmetic.balls import upper
from proofs_check.papers.our_code import calls as problems
from proofs_check.papers.shared.source import our_code
from proofs_check.statements.experiment import Assumption, Falsify, Instance
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

DTYPES = ("float64", "float32")
"""The experiments of each theorem, in this order."""

TRIES = 1000
"""Of each dtype: two thousand a method."""


def measured(instance: Instance) -> float:
    """Error / bound where it is largest, rounded up."""
    return upper(problems.worst(instance))


def whole(instance: Instance) -> float:
    """Return 1: an error may use its bound up."""
    del instance
    return 1.0


def confirm(instance: Instance) -> tuple[Any, Any]:
    """The same, as a ball."""
    return problems.worst(instance), 1


_ACCEPTED = Assumption(
    text=(
        "the method accepts the problem: it refuses scores so large that its sums overflow or its "
        "coefficients cannot be held"
    ),
    predicate=problems.accepted,
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One method: its settings (one drawn for each problem), what problems it takes, and the
    divisor and the dtype of its mutant, the one in which the search comes nearer to the bound.
    """

    name: str
    title: str
    methods: tuple[Mapping[str, Any], ...]
    target: str = "softmax attention"
    divisor: int | Fraction
    mutant_dtype: str = "float64"
    uses: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    options: Mapping[str, Any]
    remarks: tuple[str, ...] = ()

    def experiment(self, dtype: str, divisor: int | Fraction = 1) -> Falsify:
        """Search in one dtype for an error above the certificate divided by `divisor`."""
        return Falsify(
            instances=functools.partial(
                problems.problems, self.methods, dtype, divisor=divisor, **self.options
            ),
            measured=measured,
            bound=whole,
            confirm=confirm,
            assumptions=self.assumptions,
            tries=TRIES,
            covers="statement",
            scope=(
                f"{dtype}; n from 1 to 64, d from 1 to 4: integers and thirds times powers of two, "
                "ties, zero rows, masks"
            ),
        )

    def theorem(self) -> Theorem:
        """Entry of the catalogue."""
        return Theorem(
            key=f"code.{self.name}",
            title=f"{self.title} stays within its certificate",
            statement=(
                f"The computed output of {self.title} is within its certificate of {self.target}, "
                "row by row, in float64 and float32."
            ),
            source=our_code(f"approxattn.{self.methods[0]['name']}"),
            reading=(
                "max over entries of |computed - enclosure| / bound of the row <= 1; a row without "
                "a finite bound claims nothing"
            ),
            assumptions=self.assumptions,
            experiments=tuple(self.experiment(dtype) for dtype in DTYPES),
            expected=Status.INCONCLUSIVE,  # a search that finds nothing proves nothing
            mutant=self.experiment(self.mutant_dtype, self.divisor),
            uses=self.uses,
            remarks=(*self.remarks, f"Mutant: the certificate divided by {self.divisor}."),
        )


_SURELY_ENOUGH = 1 - 1e-9
"""Confidence of randomised methods: with it no failure is expected in all tries together."""

_SEEDS = (
    "The bound holds with probability 1 - 1e-9 for each problem and seed; the search moves the "
    "seed as well as the problem."
)

CLAIMS = (
    Claim(
        name="exact",
        uses=("ours.tanh",),
        title="Exact",
        methods=({"name": "Exact"},),
        divisor=16,
        options={},
    ),
    Claim(
        name="polynomial-taylor",
        uses=("ours.even-taylor", "ours.moments"),
        title="Polynomial with an even Taylor basis",
        divisor=Fraction(9, 8),
        assumptions=(_ACCEPTED,),
        methods=tuple({"name": "Polynomial", "basis": "taylor", "degree": g} for g in (2, 4, 8)),
        options={},
    ),
    Claim(
        name="polynomial-minimax",
        uses=("ours.hilbert",),
        title="Polynomial with a minimax basis",
        divisor=Fraction(9, 8),
        assumptions=(_ACCEPTED,),
        methods=tuple({"name": "Polynomial", "basis": "minimax", "degree": g} for g in (1, 4)),
        options={"exponents": (0, -1, -3)},
    ),
    Claim(
        name="linformer-mean-pool",
        uses=("ours.mean-pool",),
        title="Linformer with mean pooling",
        divisor=Fraction(9, 8),
        options={"causal": False},
        methods=tuple({"name": "Linformer", "sketch": "mean-pool", "rank": k} for k in (1, 2, 5)),
    ),
    Claim(
        name="clustered",
        uses=("ours.tanh-part", "ours.value-range"),
        title="Clustered",
        divisor=Fraction(5, 4),
        options={"causal": False},
        methods=tuple(
            {"name": "Clustered", "heavy": t, "key_blocks": k, "query_blocks": c}
            for t, k, c in ((0, 2, 1), (1, 1, 2), (3, 4, 2), (64, 1, 1))
        ),
    ),
    Claim(
        name="selected-summaries",
        uses=("ours.tanh", "ours.tanh-part", "ours.value-range"),
        title="SelectedSummaries",
        divisor=Fraction(5, 4),
        options={},
        methods=tuple(
            {
                "name": "SelectedSummaries",
                "heavy": t,
                "recent": r,
                "summaries": g,
                "sinks": 1,
                "block": b,
            }
            for t, r, g, b in ((0, 0, 1, 4), (1, 0, 2, 3), (1, 2, 0, 4), (2, 1, 1, 1))
        ),
    ),
    Claim(
        name="linformer-row-sample",
        uses=("ours.row-sample",),
        title="Linformer with sampled rows",
        divisor=Fraction(5, 4),
        options={"causal": False},
        methods=tuple(
            {"name": "Linformer", "sketch": "row-sample", "rank": k, "confidence": _SURELY_ENOUGH}
            for k in (1, 8, 256)
        ),
        remarks=(_SEEDS,),
    ),
    Claim(
        name="yoso-expectation",
        uses=("yoso.collision",),
        title="YosoExpectation",
        target="YOSO-E",
        divisor=Fraction(5, 4),
        mutant_dtype="float32",
        options={"scaled": False},
        methods=tuple(
            {"name": "YosoExpectation", "bits": b, "zero_rows": "orthogonal"} for b in (1, 2, 8)
        ),
    ),
    Claim(
        name="yoso",
        uses=("ours.l1-hoeffding",),
        title="Yoso",
        target="YOSO-E",
        divisor=Fraction(5, 2),
        options={"causal": False, "scaled": False},
        remarks=(_SEEDS,),
        methods=tuple(
            {
                "name": "Yoso",
                "bits": b,
                "hashes": m,
                "zero_rows": "orthogonal",
                "confidence": _SURELY_ENOUGH,
            }
            for b, m in ((1, 16), (2, 32), (8, 16))
        ),
    ),
    Claim(
        name="bert-lsh",
        uses=("ours.oscillation",),
        title="BertLSH, corrected",
        divisor=Fraction(5, 4),
        options={},
        methods=tuple(
            {"name": "BertLSH", "bits": b, "tables": t, "fill": f}
            for b, t in ((1, 1), (2, 2))
            for f in (0.0, float("-inf"))
        ),
    ),
    Claim(
        name="bert-lsh-paper-code",
        uses=("ours.oscillation",),
        title="BertLSH as the authors' code computes it",
        divisor=Fraction(5, 4),
        options={"causal": False, "square": True},
        methods=tuple(
            {"name": "BertLSH", "bits": b, "tables": t, "fidelity": "paper-code"}
            for b, t in ((1, 1), (2, 2))
        ),
    ),
    Claim(
        name="bert-lsh-sparse",
        uses=("ours.filled-keys", "ours.reweighted-keys"),
        title="BertLSH over colliding pairs only",
        divisor=Fraction(5, 4),
        options={},
        methods=tuple(
            {"name": "BertLSH", "sparse": True, "bits": b, "tables": t, "fill": f}
            for b, t in ((1, 1), (2, 2))
            for f in (0.0, float("-inf"))
        ),
    ),
    Claim(
        name="nystrom",
        uses=("ours.value-range",),
        title="Nystrom",
        divisor=Fraction(5, 4),
        options={"causal": False},
        methods=tuple(
            {"name": "Nystrom", "landmarks": k, "centred": c}
            for k in (1, 2, 5)
            for c in (True, False)
        ),
    ),
    Claim(
        name="performer",
        uses=("ours.positive-features", "ours.value-range"),
        title="Performer",
        divisor=Fraction(5, 4),
        options={},
        remarks=(_SEEDS,),
        methods=tuple(
            {"name": "Performer", "features": m, "kind": kind, "confidence": _SURELY_ENOUGH}
            for m in (2, 64)
            for kind in ("positive", "hyperbolic")
        ),
    ),
    Claim(
        name="fitted-polynomial",
        uses=("ours.value-range", "ours.moments"),
        title="FittedPolynomial",
        divisor=Fraction(5, 4),
        assumptions=(_ACCEPTED,),
        options={},
        methods=tuple({"name": "FittedPolynomial", "degree": g} for g in (0, 1, 4)),
    ),
    Claim(
        name="fitted-linformer",
        uses=("ours.value-range",),
        title="FittedLinformer",
        divisor=Fraction(5, 4),
        options={"causal": False},
        methods=tuple({"name": "FittedLinformer", "rank": k} for k in (1, 2, 5)),
    ),
    Claim(
        name="lsh-softmax",
        uses=("ours.reweighted-keys",),
        title="LSHSoftmax",
        divisor=Fraction(5, 4),
        options={},
        methods=tuple(
            {"name": "LSHSoftmax", "bits": b, "tables": t, "radius": r}
            for b, t, r in ((1, 1, 0), (2, 2, 0), (4, 8, 0), (5, 4, 1))
        ),
    ),
)

THEOREMS = tuple(claim.theorem() for claim in CLAIMS)
