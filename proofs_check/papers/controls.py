"""Known answers that run with every campaign, so that one can tell whether it can be trusted.

If one of them comes out otherwise, nothing the run says can be trusted.

Source: elementary facts, each proved in the comment above its experiment. For every kind of
experiment that can decide there is one statement known to be true and one known to be false.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Assumption,
    Count,
    Enclose,
    Experiment,
    Falsify,
    Identity,
    Plan,
    Sample,
    Symbolic,
)
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

# Softmax as a rational function: e^{s_1}, e^{s_2} are free indeterminates a, b, and a / (a + b) + b
# / (a + b) = 1.


def _softmax_row(total: int) -> Iterable[Identity]:
    from sympy import QQ, field

    _, a, b = field("a, b", QQ)
    return [Identity(a / (a + b) + b / (a + b), total, "row sum")]


_SYMBOLIC = Symbolic(
    identities=partial(_softmax_row, total=1), covers="statement", scope="n = 2 keys, all weights"
)
_SYMBOLIC_FALSE = Symbolic(
    identities=partial(_softmax_row, total=2), covers="statement", scope="n = 2 keys, all weights"
)

# e^x = 1 + x + x^2/2 + e^xi x^3/6 with xi between 0 and x, so 1 + x + x^2/2 <= e^x for x >= 0; and
# 1 + x + x^2 > e^x at x = 1.


def _exp(x: Any) -> Any:
    return x.exp()


def _quadratic(x: Any, divisor: int) -> Any:
    return 1 + x + x * x / divisor


_BOX = ((Fraction(1, 8), Fraction(4)),)
_ENCLOSE = Enclose(
    lhs=partial(_quadratic, divisor=2),
    rhs=_exp,
    box=_BOX,
    covers="statement",
    scope="for all x in [1/8, 4]",
)
_ENCLOSE_FALSE = Enclose(
    lhs=partial(_quadratic, divisor=1),
    rhs=_exp,
    box=_BOX,
    covers="statement",
    scope="for all x in [1/8, 4]",
)

# Two-key attention lies between its values, so |out| <= max|v|; it exceeds max|v| / 2, for example
# where both values are 1.


def _two_keys() -> Any:
    from hypothesis import strategies as st

    small = st.integers(-3, 3).map(float)
    return st.fixed_dictionaries({"s": small, "v1": small, "v2": small})


def _output(case: Any) -> float:
    p = 1 / (1 + np.exp(-case["s"]))
    return float(abs(p * case["v1"] + (1 - p) * case["v2"]))


def _largest_value(case: Any, divisor: int = 1) -> float:
    return float(max(abs(case["v1"]), abs(case["v2"]))) / divisor


def _enclose_output(case: Any) -> Any:
    from flint import arb

    p = 1 / (1 + (-arb(case["s"])).exp())
    return abs(p * arb(case["v1"]) + (1 - p) * arb(case["v2"]))


def confirm_output(case: Any, divisor: int = 1) -> tuple[Any, Any]:
    """|out| against a part of max|v|, in balls."""
    from flint import arb

    return _enclose_output(case), arb(_largest_value(case)) / divisor


def values_are_bounded(case: Any) -> bool:
    """Scores and values lie in [-3, 3]."""
    return all(abs(case[name]) <= 3 for name in ("s", "v1", "v2"))


_BOUNDED = Assumption(
    text="the score and both values lie in [-3, 3]",
    predicate=values_are_bounded,
    generator=_two_keys,
)
_FALSIFY = Falsify(
    instances=_two_keys,
    measured=_output,
    bound=_largest_value,
    confirm=confirm_output,
    assumptions=(_BOUNDED,),
    covers="statement",
    scope="two keys, score and values in [-3, 3]",
    tries=50,
)
_FALSIFY_FALSE = replace(
    _FALSIFY, bound=partial(_largest_value, divisor=2), confirm=partial(confirm_output, divisor=2)
)

# A Gaussian hyperplane separates orthogonal vectors with probability arccos(0) / pi = 1/2 (Goemans
# & Williamson 1995, wording unverified).


def _separated(rng: np.random.Generator, m: int) -> np.ndarray:
    normal = rng.normal(size=(m, 2))
    return np.asarray((normal[:, 0] > 0) != (normal[:, 1] > 0))


_PLAN = Plan(n=2000, alpha=1e-6, sampler="Gaussian hyperplanes through the origin of the plane")
_SAMPLE = Sample(
    draw=_separated,
    claim="probability <=",
    target=0.6,
    plan=_PLAN,
    covers="statement",
    scope="q = (1, 0), k = (0, 1)",
)
_SAMPLE_FALSE = replace(_SAMPLE, target=0.4)


def _separated_or_not(rng: np.random.Generator, m: int) -> np.ndarray:
    return np.where(_separated(rng, m), 1.0, 0.0)


_MEAN_PLAN = replace(_PLAN, margin=0.1)
_MEAN = Sample(
    draw=_separated_or_not,
    claim="mean =",
    target=0.5,
    plan=_MEAN_PLAN,
    bounds=(0.0, 1.0),
    covers="statement",
    scope="q = (1, 0), k = (0, 1)",
)
_MEAN_FALSE = replace(_MEAN, target=0.8)

# (m, k) by (k, n): m n dot products of k multiplications and k - 1 additions.


def _matmul_flops(n: int) -> int:
    from proofs_check.arithmetic.counting import Tally

    tally = Tally()
    a, b = tally.array(np.ones((n, 3))), tally.array(np.ones((3, n)))
    tally.matmul(a, b)
    return tally.flops


def _per_entry(n: int, operations: int) -> int:
    return operations * n * n


_COUNT = Count(
    measured=_matmul_flops,
    formula=partial(_per_entry, operations=5),
    sizes=(1, 2, 5),
    covers="statement",
    scope="(n, 3) times (3, n)",
)
_COUNT_FALSE = replace(_COUNT, formula=partial(_per_entry, operations=6))


def _pair(
    name: str,
    true: str,
    false: str,
    statement: Experiment,
    mutant: Experiment,
    expected: Status,
    assumptions: tuple[Assumption, ...] = (),
) -> tuple[Theorem, Theorem]:
    source = here(__name__)
    shared: dict[str, Any] = {"source": source, "mutant": mutant, "assumptions": assumptions}
    return (
        Theorem(
            key=f"controls.{name}-true",
            title=f"known to be true ({name})",
            statement=true,
            experiments=(statement,),
            expected=expected,
            **shared,
        ),
        Theorem(
            key=f"controls.{name}-false",
            title=f"known to be false ({name})",
            statement=false,
            experiments=(mutant,),
            expected=Status.REFUTED,
            repaired_by=f"controls.{name}-true",
            **shared,
        ),
    )


THEOREMS = (
    *_pair(
        "symbolic",
        "a softmax row sums to 1",
        "a softmax row sums to 2",
        _SYMBOLIC,
        _SYMBOLIC_FALSE,
        Status.PROVED,
    ),
    *_pair(
        "enclose",
        "1 + x + x²/2 <= e^x",
        "1 + x + x² <= e^x",
        _ENCLOSE,
        _ENCLOSE_FALSE,
        Status.PROVED,
    ),
    *_pair(
        "falsify",
        "|out| <= max |v|",
        "|out| <= max |v| / 2",
        _FALSIFY,
        _FALSIFY_FALSE,
        Status.INCONCLUSIVE,
        (_BOUNDED,),
    ),
    *_pair(
        "sample",
        "P[separated] <= 0.6 for orthogonal vectors",
        "P[separated] <= 0.4 for orthogonal vectors",
        _SAMPLE,
        _SAMPLE_FALSE,
        Status.SUPPORTED,
    ),
    *_pair(
        "mean",
        "E[separated] = 0.5 up to 0.1 for orthogonal vectors",
        "E[separated] = 0.8 up to 0.1 for orthogonal vectors",
        _MEAN,
        _MEAN_FALSE,
        Status.SUPPORTED,
    ),
    *_pair(
        "count",
        "(n, 3) times (3, n) costs 5 n² operations",
        "(n, 3) times (3, n) costs 6 n² operations",
        _COUNT,
        _COUNT_FALSE,
        Status.PROVED,
    ),
)
