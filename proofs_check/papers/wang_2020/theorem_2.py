"""Theorem 2 of Linformer, the projection inside the softmax, and its criterion on real heads.

Citation and letters: `theorem_1`.

Four different k are printed: O(d/eps^2), 5 ln(n)/eps^2, 5 ln(nd)/(eps^2 - eps^3) and
9 d ln(d)/eps^2. The minimum with the branch free of n is never the latter for d >= 8, unless
n > e^29. The proof takes E = delta R, F = e^-delta R with delta "a small constant", 1/2^n and
Theta(1/n).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.shared.gaussian_projection import claimed_success, normal_between
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.papers.wang_2020.source import CITATION
from proofs_check.papers.wang_2020.theorem_1 import HALF
from proofs_check.statements.experiment import (
    Assumption,
    Comparison,
    Enclose,
    Falsify,
    Identity,
    Instance,
    Plan,
    Sample,
    Symbolic,
)
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- Theorem 2, the construction ------------------------------------------------------------------
# 1. Let Q = 0 and V = 1 (d = 1). Exact attention is 1, and epsilon |softmax(w)| |V| =
#    epsilon (1/sqrt n) sqrt n = epsilon.
# 2. softmax(w E^T) = 1^T/k, whatever K and E.
# 3. The output e^-delta 1^T R 1 / k is N(0, e^{-2 delta} n / k^2).
# 4. With c = k e^delta / sqrt n it is Z / c, Z standard normal. Success is |Z/c - 1| <= epsilon.
# 5. It has probability Phi((1 + epsilon) c) - Phi((1 - epsilon) c).


def _sizes() -> Any:
    from hypothesis import strategies as st

    deltas = st.sampled_from((0.5, 2.0**-4, 2.0**-10, 2.0**-64))
    return st.fixed_dictionaries(
        {"n": st.integers(1, 4096), "k": st.integers(1, 512), "delta": deltas}
    )


def _fits(instance: Instance) -> bool:
    return bool(1 <= instance["k"] <= instance["n"] and 0 < instance["delta"] <= 1)


def true_success(n: int, k: int, delta: Any) -> Any:
    """Return the probability of step 5 for epsilon = 1/2, as a ball."""
    from flint import arb

    c = k * arb(delta).exp() / arb(n).sqrt()
    return normal_between(c / 2, 3 * c / 2)


def _probabilities(instance: Instance, factor: Fraction = Fraction(1)) -> tuple[Any, Any]:
    """Claimed, with a multiple of the exponent, and the true one."""
    n, k = instance["n"], instance["k"]
    return claimed_success(factor * k, HALF, events=n), true_success(n, k, instance["delta"])


def _sampled_rows(instance: Instance) -> tuple[Any, int]:
    """Claimed, and the true one with k sampled keys in place of E and F: the output is 1."""
    return claimed_success(instance["k"], HALF, events=instance["n"]), 1


def _growing(_bits: int) -> list[Comparison]:
    """The paper's own k and delta = 1/n, for n up to 2^60: 1 - o(1) is not approached but left."""
    from flint import arb, fmpq

    comparisons = []
    for exponent in (60, 40, 30, 20, 16, 12, 9):
        n, k = 2**exponent, math.ceil(40 * math.log(2) * exponent)  # 5 ln(n) / (1/4 - 1/8)
        comparisons.append(
            Comparison(
                claimed_success(k, HALF, events=n),
                true_success(n, k, arb(fmpq(1, n))),
                f"n = 2^{exponent}, k = {k}",
            )
        )
    return comparisons


def _draw_success(rng: np.random.Generator, m: int) -> np.ndarray:
    """The construction itself at n = 512, k = 250, delta = 1/n."""
    n, k = 512, 250
    outcomes = []
    for _ in range(m):
        r = rng.standard_normal((k, n)) / np.sqrt(k)
        weights = np.exp(r @ np.zeros(n) / n)  # the scores of the query 0, whatever the keys
        out = weights @ (math.exp(-1 / n) * (r @ np.ones(n))) / np.sum(weights)
        outcomes.append(abs(float(out) - 1) <= 1 / 2)
    return np.array(outcomes)


_SHAPE = Assumption(text="1 <= k <= n, 0 < δ <= 1", predicate=_fits)

_EXAMPLES: tuple[Instance, ...] = ({"n": 512, "k": 250, "delta": 2.0**-10},)


def _construction(confirm: Any) -> Falsify:
    return search_by(
        confirm,
        instances=_sizes,
        assumptions=(_SHAPE,),
        examples=_EXAMPLES,
        tries=150,
        scope="Q = 0, V = 1, any K: claimed probability against the exact one",
    )


THEOREM_2 = Theorem(
    key="linformer.theorem-2",
    title="linear self-attention by projected keys and values",
    statement=(
        "Pr(‖softmax(w Eᵀ) F V - softmax(w) V‖ <= ε ‖softmax(w)‖ ‖V‖) >= 1 - 2n exp(-(ε² - "
        "ε³)k/4) for every row w of the scores, with E = δR, F = exp(-δ)R."
    ),
    source=Source(
        citation=CITATION,
        place="Theorem 2, eqs. (8), (9), (21), and its proof",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "the construction of the proof; one row and one column of V (d = 1), for which all norms "
        "of V agree; 1 - o(1) with the weakest constants of the proof, a union bound over n rows; "
        "ε = 1/2"
    ),
    alternative_readings=(
        "As existence of E and F for each row it is true and empty: linformer.theorem-2-existence.",
        (
            "As existence of E and F that depend on Q, K and V but serve all rows it is neither "
            "proved nor refuted here."
        ),
        "Without the normaliser (eqs. 9, 21, 24) it is refuted too: linformer.unnormalised.",
    ),
    assumptions=(_SHAPE,),
    experiments=(
        _construction(_probabilities),
        Enclose(
            certify=_growing,
            covers="statement",
            scope="Q = 0, V = 1, δ = 1/n, k = 5 ln n/(ε² - ε³), n = 2^60 down to 2^9",
        ),
        Sample(
            draw=_draw_success,
            claim="probability >=",
            target=0.58,
            plan=Plan(n=200, sampler="Gaussian R of shape (250, 512)"),
            chunk=100,
            covers="statement",
            scope="Q = 0, V = 1, n = 512, k = 250, δ = 1/n, where at least 0.585 is claimed",
        ),
    ),
    expected=Status.REFUTED,
    mutant=_construction(partial(_probabilities, factor=Fraction(11, 10))),
    repaired_by="ours.row-sample",
    repaired=_construction(_sampled_rows),
    kind="printed",
    by_hand=ByHand(
        instance=(
            "n = 512, k = 250, ε = 1/2, d = 1, Q = 0, V = 1 and δ = 2⁻¹⁰: the exact output is 1, "
            "and 1/2 is permitted."
        ),
        shows=(
            "All k weights are 1/k, so the output is normal with mean 0 and standard deviation "
            "e^(-δ) sqrt(n)/k = 0.0904; 1/2 is 5.5 of these away: probability 1.6e-8. Claimed is "
            "at least 1 - 1024 e^(-250/32) = 0.586."
        ),
    ),
    defence=(
        "The theorem is stated as existence, and trained E and F do well in practice; nothing here "
        "speaks against either. What is refuted is the construction by which the paper proves it, "
        "with the paper's k and every δ it names."
    ),
    remarks=(
        (
            "No choice of n, k and δ helps: the probability never exceeds 0.2422 "
            "(ours.projection-ceiling)."
        ),
        (
            "As δ → 0 the output (1/k) 1ᵀRV does not depend on Q and K at all. Lipschitz "
            "continuity cannot exchange exp with a linear map, as step (23) does."
        ),
    ),
)

# --- Theorem 2 without the normaliser -------------------------------------------------------------
# 1. Same input, x a row of scores 0 and y = V = 1: exp(x) y = n, and epsilon |exp(x)| |y| =
#    epsilon n.
# 2. exp(x E^T) F y = e^-delta 1^T R 1, which is N(0, e^{-2 delta} n).
# 3. With c = e^delta sqrt n it is within epsilon n of n exactly when Z/c is within epsilon of 1.


def _products(instance: Instance, factor: Fraction = Fraction(1)) -> tuple[Any, Any]:
    """Claimed for one row and one column, and the true probability."""
    from flint import arb

    n, k, delta = instance["n"], instance["k"], instance["delta"]
    c = arb(delta).exp() * arb(n).sqrt()
    return claimed_success(factor * k, HALF, events=1), normal_between(c / 2, 3 * c / 2)


UNNORMALISED = Theorem(
    key="linformer.unnormalised",
    title="projected keys and values before the normaliser",
    statement=(
        "Pr(‖exp(x Eᵀ) F y - exp(x) y‖ <= ε ‖exp(x)‖ ‖y‖) >= 1 - 2 exp(-(ε² - ε³)k/4) with E = "
        "δR, F = exp(-δ)R."
    ),
    source=Source(
        citation=CITATION,
        place="eqs. (9), (21), (24)",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="one row x of the scores, one column y of V; ε = 1/2; the weaker right side of (22)",
    alternative_readings=("With ε |exp(x) y| on the right, as (21) has it: the same at x = 0.",),
    assumptions=(_SHAPE,),
    experiments=(_construction(_products),),
    expected=Status.REFUTED,
    mutant=_construction(partial(_products, factor=Fraction(11, 10))),
    repaired_by="ours.row-sample",
    repaired=_construction(_sampled_rows),
    kind="printed",
    by_hand=ByHand(
        instance="n = 512, k = 250, ε = 1/2, Q = 0 and y = (1, ..., 1): exp(x) y = 512.",
        shows=(
            "exp(x Eᵀ) F y = e^(-δ) 1ᵀR1 is normal with mean 0 and standard deviation below "
            "sqrt(512) = 22.6; 256 is over 11 of these away. Claimed is at least 1 - 2 e^(-250/32) "
            "= 0.999."
        ),
    ),
    defence=(
        "(9) is Lemma 1 applied to exp(x) Rᵀ R y, for which it is right: linformer.lemma-1. The "
        'text then puts exp(δ x Rᵀ) for exp(δ x) Rᵀ "by Lipschitz continuity", and no Lipschitz '
        "constant does that: linformer.exp-of-projection."
    ),
)

# --- Theorem 2, existence -------------------------------------------------------------------------
# 1. With k = 1 the softmax of the one score w E^T is 1, whatever E is.
# 2. F = softmax(w) then gives the exact output.


def _one_projected_key(power: int = 1) -> Iterator[Identity]:
    """Three keys and two columns; t_j = e^{w_j}, F made of the t_j to a power, z = e^{w E^T}."""
    from sympy import QQ, field

    _, z, *s = field(
        [*"z", *(f"t{j}" for j in range(3)), *(f"v{j}{c}" for j in range(3) for c in range(2))], QQ
    )
    t, v = s[:3], [s[3 + 2 * j : 5 + 2 * j] for j in range(3)]
    f = [x**power / sum(y**power for y in t) for x in t]
    for c in range(2):
        projected = sum(x * row[c] for x, row in zip(f, v, strict=True))
        exact = sum(x * row[c] for x, row in zip(t, v, strict=True)) / sum(t)
        yield Identity(z / z * projected, exact, f"column {c}")


EXISTENCE_2 = Theorem(
    key="linformer.theorem-2-existence",
    title="one projected key reproduces a row",
    statement=(
        "For every row w of the scores there are E and F of one row, k = 1, with softmax(w Eᵀ) F V "
        "= softmax(w) V exactly: any E, and F = softmax(w)."
    ),
    source=Source(
        citation=CITATION,
        place="Theorem 2, read as existence for each row",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "E and F may depend on w, a weaker statement than the printed one, in which they serve all "
        "rows"
    ),
    experiments=(
        Symbolic(
            identities=_one_projected_key,
            covers="statement",
            scope="3 keys, 2 columns of V, all scores and values",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_one_projected_key, power=2),
        covers="statement",
        scope="F = softmax(2 w)",
    ),
    remarks=("True for a trivial reason, as linformer.theorem-1-existence is.",),
)

# --- what the criterion asks on real heads --------------------------------------------------------
# |o_i| <= epsilon |p_i| |V|_F. Both sides carry the same normaliser, so with unnormalised weights
# e_ij: |sum_j e_ij v_j| <= epsilon |e_i| |V|_F.


def _worst_ratio(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Any:
    """Ball around max_i |o_i| / (|p_i| |V|_F) of one head."""
    from flint import arb, arb_mat

    from proofs_check.arithmetic.balls import matrix

    n = len(q)
    scores = (matrix(q) * matrix(k).transpose() / arb(q.shape[1]).sqrt()).tolist()
    shifts = [max(row, key=float).mid() for row in scores]
    weights = [[(s - shift).exp() for s in row] for row, shift in zip(scores, shifts, strict=True)]
    outputs = (arb_mat(n, n, [e for row in weights for e in row]) * matrix(v)).tolist()
    size = sum((arb(x) ** 2 for x in v.ravel().tolist()), arb(0))
    worst = arb(0)
    for out, row in zip(outputs, weights, strict=True):
        worst = worst.max(sum((x * x for x in out), arb(0)) / sum((e * e for e in row), arb(0)))
    return (worst / size).sqrt()


def _zero_output(_bits: int, epsilon: Fraction = HALF) -> list[Comparison]:
    from approxattn.data import minilm_heads

    heads = minilm_heads()
    return [
        Comparison(
            _worst_ratio(heads.q[a, b], heads.k[a, b], heads.v[a, b]),
            epsilon,
            f"layer {layer}, head {head}",
        )
        for a, layer in enumerate(heads.layers)
        for b, head in enumerate(heads.heads)
    ]


NULL_BASELINE = Theorem(
    key="linformer.null-baseline",
    title="the zero output passes Theorem 2's criterion on real heads",
    statement=(
        "‖0 - softmax(w_i) V‖ <= ε ‖softmax(w_i)‖ ‖V‖_F with ε = 1/2 for every one of the 8 x 256 "
        "rows of the shipped MiniLM heads."
    ),
    source=here(__name__, how="the shipped heads, approxattn.data.minilm_heads()"),
    reading=(
        "the criterion of linformer.theorem-2 with the Frobenius norm of V; with the spectral norm "
        "about 4 % of the rows fail it"
    ),
    experiments=(
        Enclose(
            certify=_zero_output,
            bits=64,
            covers="statement",
            scope="every row of 8 heads of all-MiniLM-L6-v2, n = 256, d = 32",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_zero_output, epsilon=Fraction(1, 4)),
        bits=64,
        covers="statement",
        scope="ε = 1/4",
    ),
    remarks=(
        "An output that ignores its input meets the criterion, so meeting it says little: report "
        "errors relative to the output, with null baselines.",
    ),
)

THEOREMS = (THEOREM_2, UNNORMALISED, EXISTENCE_2, NULL_BASELINE)
