"""vAttention (Desai et al. 2025) on the shipped heads: how often the denominator is off.

The published search of settings for the exact heavy keys has in its middle: 128 sinks and a window
of 128 at 32,768 keys, a twentieth of the keys as heavy ones, a twentieth as base sample,
eps = delta = 0.05. Here n = 256, so that sinks and window are one key each, the window being the
query's own. The heavy keys are the true ones, better than any that are found.

    known   draws from the residual, R keys; budget (z s R / (eps D))^2 with the true s and D,
            z = Phi^-1(1 - delta/2)
    coded   draws from all keys but sinks and window, in which heavy ones count as exact; s and D
            from a base sample of a twentieth, z = Phi^-1(1 - delta), and no fewer draws than the
            base sample has

Fair to the method: where the budget reaches the number of keys, all of them are read, and nothing
is off. Draws count as often as they are drawn (vattention.code-duplicates). A run is a head, a row
and its draws, all uniform.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from proofs_check.papers.desai_2025.source import coded, paper
from proofs_check.statements.experiment import Plan, Sample
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

__all__ = ["Row", "Rule", "Run", "rows", "run"]

Rule = Literal["known", "one-sided", "coded"]
"""The rules above; "one-sided" is "known" with the quantile of the code."""

_TWENTIETH = 0.05


class Row(NamedTuple):
    """One row: its head, weights and values of the keys that sinks and window leave, which of them
    are heavy, and the sums over sinks and window.
    """

    head: int
    weights: np.ndarray
    values: np.ndarray
    heavy: np.ndarray
    denominator: float
    numerator: np.ndarray


class Run(NamedTuple):
    """Relative errors of denominator and output, and the share of the keys that are read."""

    denominator: float
    output: float
    read: float


@functools.cache
def rows() -> Sequence[Row]:
    """Every row of every shipped head."""
    from approxattn.data import minilm_heads

    shipped, found = minilm_heads(), []
    n, d = shipped.q.shape[-2:]
    for head, place in enumerate(np.ndindex(shipped.q.shape[:2])):
        q, k, v = (np.asarray(x[place], np.float64) for x in (shipped.q, shipped.k, shipped.v))
        scores = q @ k.T / math.sqrt(d)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        for i, w in enumerate(weights):
            near = np.zeros(n, bool)
            near[[0, i]] = True
            heavy = np.zeros(n, bool)
            free = np.flatnonzero(~near)
            heavy[free[np.argsort(-w[free], kind="stable")[: int(_TWENTIETH * n)]]] = True
            left = ~near
            sums = float(w[near].sum()), w[near] @ v[near]
            found.append(Row(head, w[left], v[left], heavy[left], *sums))
    return found


def run(row: Row, rng: np.random.Generator, rule: Rule, eps: float, delta: float) -> Run:
    """Sample one row once."""
    pool = np.arange(len(row.weights)) if rule == "coded" else np.flatnonzero(~row.heavy)
    budget = _budget(row, pool, rng, rule, eps, delta)
    size = len(pool)
    draws = pool if budget >= size else pool[rng.integers(0, size, math.ceil(budget))]
    factor = np.where(row.heavy[draws], 0.0, size / len(draws))
    kept = np.flatnonzero(row.heavy)
    met, part = row.weights[kept], row.weights[draws] * factor
    denominator = row.denominator + met.sum() + part.sum()
    numerator = row.numerator + met @ row.values[kept] + part @ row.values[draws]
    exact = row.denominator + row.weights.sum()
    right = (row.numerator + row.weights @ row.values) / exact
    off = np.linalg.norm(numerator / denominator - right) / np.linalg.norm(right)
    read = np.unique(np.append(kept, draws)).size + 2
    return Run(abs(denominator / exact - 1), float(off), read / (len(row.weights) + 2))


def _budget(
    row: Row, pool: np.ndarray, rng: np.random.Generator, rule: Rule, eps: float, delta: float
) -> float:
    from scipy.stats import norm

    size, fixed = len(pool), row.denominator + float(row.weights[row.heavy].sum())
    quantile = float(norm.ppf(1 - (delta / 2 if rule == "known" else delta)))
    if rule != "coded":
        spread, total = float(row.weights[pool].std()), float(row.weights[pool].sum())
        return max((quantile * spread * size / (eps * (fixed + total))) ** 2, 1)
    base = row.weights[rng.integers(0, size, max(2, int(_TWENTIETH * size)))]
    guess = fixed + size * float(base.mean())  # heavy keys count twice in it, as published
    return max((quantile * float(base.std(ddof=1)) * size / (eps * guess)) ** 2, len(base))


def _misses(rng: np.random.Generator, m: int, rule: Rule, level: float) -> np.ndarray:
    every = rows()
    picked = rng.integers(0, len(every), m)
    found = (run(every[i], rng, rule, level, level) for i in picked)
    return np.array([one.denominator > level for one in found])


def _sample(
    rule: Rule,
    *,
    level: float = 0.05,
    claim: Literal["probability <=", "probability >="] = "probability <=",
    target: float = 0.05,
) -> Sample:
    return Sample(
        draw=partial(_misses, rule=rule, level=level),
        claim=claim,
        target=target,
        plan=Plan(n=3000, sampler="rows of the 8 shipped MiniLM heads, n = 256"),
        covers="statement",
        scope=f"ε = δ = {level:g}, a twentieth of the keys exactly, rule: {rule}",
    )


KNOWN = Theorem(
    key="vattention.on-heads",
    title="coverage of the printed budget on real heads, variance known",
    statement=(
        "With the published middle settings, ε = δ = 0.05, and the true variance and denominator "
        "in the budget, the denominator of a row of the shipped heads is off by more than ε with "
        "probability δ at most."
    ),
    source=paper("the (ε, δ) guarantee, in the terms of the theorem on the authors' page"),
    reading=(
        "over heads, rows and draws together; at this ε most budgets reach all of the 256 keys, "
        "where nothing is off"
    ),
    experiments=(_sample("known"),),
    expected=Status.SUPPORTED,
    mutant=_sample("one-sided", level=0.1, target=0.1),
    uses=("vattention.normal-limit",),
    remarks=("Sinks and window are scaled to n = 256; the heavy keys are the true ones.",),
)

CODED = Theorem(
    key="vattention.on-heads-coded",
    title="coverage of the published code's budget on real heads",
    statement=(
        "With ε = δ = 0.1, and variance and denominator from the base sample, as published, the "
        "denominator of a row of the shipped heads is off by more than ε with a probability of at "
        "least 0.12, above δ."
    ),
    source=coded("adaptive_sampling.py: base sample, one-sided quantile"),
    reading=(
        "over heads, rows and draws together; ε and δ from the published search; a twentieth of "
        "254 keys is a base sample of 12, where 32,768 keys have one of 1,600"
    ),
    alternative_readings=(
        "With the variance known the level is kept: vattention.on-heads.",
        "The method is made for contexts of thousands of tokens, of which this says nothing; but "
        "neither page nor code names a least sample.",
    ),
    experiments=(_sample("coded", level=0.1, claim="probability >=", target=0.12),),
    expected=Status.SUPPORTED,
    mutant=_sample("coded", level=0.1, claim="probability >=", target=0.21),
    uses=("vattention.code-quantile",),
    remarks=(
        "A base sample that meets no heavy weight sees no variance, and asks for no more samples.",
    ),
)

THEOREMS = (KNOWN, CODED)
