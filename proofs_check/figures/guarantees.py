"""Promises with a probability, beside what happens: vAttention's budget, and plans."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction
from typing import get_args

import numpy as np

from proofs_check.figures.record import Axis, Figure, Kind, Panel, Series
from proofs_check.papers.desai_2025 import heads
from proofs_check.papers.ours.estimators import plan

_SEED, _EPS = 19, 0.1

_LINES: Mapping[plan.Rule, Kind] = {
    "as stated": "joined",
    "one level": "line",
    "chosen by the same blocks": "dotted",
    "point estimate": "dashed",
}
"""Some rules take bad methods alike: their lines lie on each other."""


def vattention_coverage(tiny: bool = False) -> Figure:
    """How often denominator and output are off, by the level that was asked for."""
    levels = np.array([0.02, 0.1, 0.3] if tiny else [0.01, 0.02, 0.05, 0.1, 0.2, 0.3])
    rng, every = np.random.default_rng(_SEED), heads.rows()
    series, facts = [], {}
    names: dict[heads.Rule, str] = {
        "known": "denominator, variance known, Φ⁻¹(1 - δ/2)",
        "one-sided": "denominator, variance known, Φ⁻¹(1 - δ)",
        "coded": "denominator, as coded: sample of 5 %, Φ⁻¹(1 - δ)",
    }
    for rule, label in names.items():
        missed, outputs = [], []
        for delta in levels:
            picked = rng.integers(0, len(every), 100 if tiny else 2000)
            runs = [heads.run(every[i], rng, rule, _EPS, float(delta)) for i in picked]
            missed.append(np.mean([r.denominator > _EPS for r in runs]))
            outputs.append(np.mean([r.output > _EPS for r in runs]))
        series.append(Series(label=label, x=levels, y=np.maximum(missed, 1e-4)))
        facts[f"{rule}, at 0.1"] = float(missed[list(levels).index(0.1)])
        if rule == "known":
            output = Series(
                label="output, for the first of them", x=levels, y=np.array(outputs), kind="dotted"
            )
    return Figure(
        name="vattention-coverage",
        title=f"How often vAttention is off by over {100 * _EPS:g} %, 8 real heads",
        claims=(
            "vattention.on-heads",
            "vattention.on-heads-coded",
            "vattention.code-quantile",
            "vattention.denominator-only",
        ),
        caption="A twentieth of 256 keys exactly, the heaviest ones; over heads, rows, draws. In "
        "the terms of the printed theorem the level is kept; the one-sided quantile of the code "
        "misses about twice as often, and with its base sample five times at δ = 0.01. The output "
        "has a larger error than the denominator, which alone sets the budget.",
        panels=(
            Panel(
                x=Axis(label="level δ asked for", log=True),
                y=Axis(label="share of runs that are off", log=True),
                series=(
                    *series,
                    output,
                    Series(label="δ itself", x=levels, y=levels, kind="dashed", colour=6),
                ),
                legend="below",
            ),
        ),
        seed=_SEED,
        facts=facts,
    )


def plan_confidence(tiny: bool = False) -> Figure:
    """Probability that a bad method is taken, by the number of bad methods in the list."""
    text, delta = plan.Text(blocks=6, draws=3, most=2), Fraction(3, 10)
    every = [frozenset(x) for x in itertools.combinations(range(6), 3)]
    counts = [1, 2, 3, 5, 20] if tiny else list(range(1, 21))
    series, facts = [], {}
    for rule in get_args(plan.Rule):
        y = [float(plan.taken_bad(text, every[:n], delta, rule)) for n in counts]
        series.append(Series(label=rule, x=counts, y=y, kind=_LINES[rule]))
        facts[rule] = y[-1]
    level = Series(label="δ", x=counts, y=[float(delta)] * len(counts), colour=6)
    return Figure(
        name="plan-confidence",
        title="Plans whose methods are all bad: how likely is one taken?",
        claims=("ours.plan-confidence",),
        caption="6 blocks, of which each method is above on 3 and may be on 2; 3 are drawn, every "
        "sample enumerated. With δ/(i(i + 1)) for the i-th method the plan keeps δ = 0.3, "
        "however many there are.",
        panels=(
            Panel(
                x=Axis(label="bad methods in the list", limits=(0, 20.5)),
                y=Axis(label="probability that one is taken", limits=(0, 1.05)),
                series=(*series, level),
                legend="below",
            ),
        ),
        facts=facts,
    )
