"""Our own small facts about softmax attention and its estimators, each decided exactly.

Letters: s_j scores of one row, f = softmax(s); a, b vectors; U the event that a pair collides in a
hash, P its probability.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__)

# --- shifts of the keys ---------------------------------------------------------------------------
# q . (k_j + c) = q . k_j + q . c. So every weight e^{s_j} of the row is multiplied by the same
# t = e^{q . c}, a free indeterminate here.


def _shift(n: int, *, one_row: bool = False) -> Iterator[Identity]:
    from sympy import QQ, field

    _, *symbols = field([*(f"w{j}" for j in range(n)), "t"], QQ)
    w, t = symbols[:-1], symbols[-1]
    moved = [w[0], *(x * t for x in w[1:])] if one_row else [x * t for x in w]
    for j in range(n):
        yield Identity(moved[j] / sum(moved), w[j] / sum(w), f"weight {j}")


KEY_SHIFT = Theorem(
    key="ours.key-shift",
    title="the keys may be centred",
    statement=(
        "softmax attention with keys k_j + c is that with keys k_j, for every c: all weights of a "
        "row gain the factor exp(β q_i·c)."
    ),
    source=_HERE,
    reading=(
        "so the smallest half range that a shift of the keys allows is what a polynomial has to "
        "serve"
    ),
    experiments=(
        Symbolic(
            identities=partial(_shift, 5),
            covers="statement",
            scope="n = 5 keys, all weights and factors",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_shift, 2, one_row=True),
        covers="statement",
        scope="one key left out of the shift",
    ),
    bookkeeping=True,
)

# --- two directions -------------------------------------------------------------------------------
# Let r = |a|, s = |b|, and x the cosine of a and b.
#
# 1. |a/r - b/s|^2 = 2 - 2x.
# 2. |a - b|^2 = r^2 + s^2 - 2 r s x.
# 3. 4 |a - b|^2 - (r + s)^2 (2 - 2x) = 2 (1 + x)(r - s)^2 >= 0.


def _directions(factor: int = 4) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, r, s, x = ring("r s x", QQ)
    gap = factor * (r**2 + s**2 - 2 * r * s * x) - (r + s) ** 2 * (2 - 2 * x)
    yield Identity(gap, 2 * (1 + x) * (r - s) ** 2, "4 |a - b|^2 - (|a| + |b|)^2 |a/|a| - b/|b||^2")


DUNKL_WILLIAMS = Theorem(
    key="ours.dunkl-williams",
    title="how far directions move",
    statement=(
        "|a/|a| - b/|b|| <= 2 |a - b|/(|a| + |b|) for vectors a, b ≠ 0; equality exactly when |a| "
        "= |b| or b = -t a, t > 0."
    ),
    source=Source(
        citation="Dunkl & Williams, A simple norm inequality, Amer. Math. Monthly 71 (1964)",
        place="the inequality in a Hilbert space",
        fidelity="ours",
    ),
    reading="what the row normalisation of YOSO does to an error of the row; cosine x >= -1",
    experiments=(
        Symbolic(identities=_directions, covers="statement", scope="all lengths and cosines"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_directions, 3), covers="statement", scope="sqrt 3 in place of 2"
    ),
)

# --- a union of tables ----------------------------------------------------------------------------
# L independent tables; in each, key j collides with probability p_j, key l with p_l, both with
# p_jl.


def _union(tables: int, *, independent: bool = False) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, pj, pl, both = ring("p_j p_l p_jl", QQ)
    outcomes = {(1, 1): both, (1, 0): pj - both, (0, 1): pl - both, (0, 0): 1 - pj - pl + both}
    single, joint = 0 * pj, 0 * pj
    for chosen in itertools.product(outcomes, repeat=tables):
        probability = math.prod((outcomes[o] for o in chosen), start=0 * pj + 1)
        hit = any(o[0] for o in chosen), any(o[1] for o in chosen)
        single, joint = single + probability * hit[0], joint + probability * (hit[0] and hit[1])
    yield Identity(single, 1 - (1 - pj) ** tables, f"one key, L = {tables}")
    pair = 1 - (1 - pj) ** tables - (1 - pl) ** tables + (1 - pj - pl + both) ** tables
    claimed = (1 - (1 - pj) ** tables) * (1 - (1 - pl) ** tables) if independent else pair
    yield Identity(joint, claimed, f"two keys, L = {tables}")


def _unions(*, independent: bool = False) -> Iterator[Identity]:
    for tables in (1, 2, 4):
        yield from _union(tables, independent=independent)


UNION = Theorem(
    key="ours.union-of-tables",
    title="collisions in a union of tables",
    statement=(
        "In the union of L tables: Pr[j] = 1 - (1 - p_j)^L and Pr[j and l] = 1 - (1 - p_j)^L - (1 "
        "- p_l)^L + (1 - p_j - p_l + p_jl)^L."
    ),
    source=_HERE,
    reading=(
        "independent tables; p_j, p_l, p_jl the probabilities in one of them (K-th powers of those "
        "of one hyperplane)"
    ),
    experiments=(
        Symbolic(
            identities=_unions,
            covers="statement",
            scope="L = 1, 2, 4, all outcomes enumerated, any p_j, p_l, p_jl",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_unions, independent=True),
        covers="statement",
        scope="as if the two keys were independent",
    ),
    uses=("yoso.triple",),
)

# --- collisions in any of m hashes ----------------------------------------------------------------


def _any_of(m: int, *, averaged: bool = False) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, p, g = ring("p g", QQ)
    mean = 0 * p
    for hits in itertools.product((0, 1), repeat=m):
        probability = math.prod((p if h else 1 - p for h in hits), start=0 * p + 1)
        mean += probability * g * (QQ(sum(hits), m) if averaged else int(any(hits)))
    yield Identity(mean, g * (1 - (1 - p) ** m), f"m = {m}")


def _any_of_cases() -> Iterator[Identity]:
    for m in (1, 2, 5, 8):
        yield from _any_of(m)


ANY_OF = Theorem(
    key="yoso.second-version-bias",
    title="the gradient of the second version of the authors' code",
    statement=(
        "Adding the exact derivative g of a pair once if it collides in any of m hashes has the "
        "mean g (1 - (1 - p)^m): pairs with m p << 1 are lost."
    ),
    source=Source(
        citation=(
            "Zeng, Xiong, Ravi, Acharya, Fung & Singh, YOSO, ICML 2021 (arXiv 2111.09714), code "
            "mlpen/YOSO"
        ),
        place="yoso_v2, backward kernel",
        fidelity="constants made explicit",
    ),
    reading=(
        "the estimator per distinct pair, without overflow of its workspace and without the "
        "interpolation of its derivative"
    ),
    experiments=(
        Symbolic(
            identities=_any_of_cases,
            covers="statement",
            scope="m = 1, 2, 5, 8, all outcomes enumerated, any p and g",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_any_of, 2, averaged=True),
        covers="statement",
        scope="averaged over the hashes",
    ),
    uses=("yoso.collision",),
)

# --- tables of outer products ---------------------------------------------------------------------


def _table_trick(n: int, d: int, *, swapped: bool = False) -> Iterator[Identity]:
    from sympy import QQ, ring

    names = [f"{x}{i}{c}" for x in "gvk" for i in range(n) for c in range(d)]
    _, *symbols = ring(names, QQ)
    g, v, k = (
        np.array(symbols[t * n * d : (t + 1) * n * d], dtype=object).reshape(n, d) for t in range(3)
    )
    for codes in itertools.product(range(2), repeat=2 * n):
        q_code, k_code = codes[:n], codes[n:]
        tables = {  # by code and value column: d-vectors
            (code, c): sum((k[j] * v[j, c] for j in range(n) if k_code[j] == code), k[0] * 0)
            for code in range(2)
            for c in range(d)
        }
        for i in range(n):
            direct = sum(
                (k[j] * np.sum(g[i] * v[j]) for j in range(n) if k_code[j] == q_code[i]), k[0] * 0
            )
            looked_up = sum(
                (tables[k_code[i] if swapped else q_code[i], c] * g[i, c] for c in range(d)),
                k[0] * 0,
            )
            for a in range(d):
                yield Identity(direct[a], looked_up[a], f"codes {codes}, query {i}, coordinate {a}")


TABLE_TRICK = Theorem(
    key="yoso.sampled-gradient",
    title="sampled gradient by tables",
    statement=(
        "Σ_j B_ij <G_i, V_j> K_j = Σ_c G_ic T_c[h(q_i)] with T_c[b] = Σ_{h(k_j) = b} V_jc K_j: dv "
        "passes over tables of d-vectors, O(n m d dv)."
    ),
    source=Source(
        citation=(
            "Zeng, Xiong, Ravi, Acharya, Fung & Singh, YOSO, ICML 2021 (arXiv 2111.09714), code "
            "mlpen/YOSO"
        ),
        place="backward kernel, first version",
        fidelity="constants made explicit",
    ),
    experiments=(
        Symbolic(
            identities=partial(_table_trick, 2, 2),
            covers="statement",
            scope="n = 2, d = dv = 2, two buckets, all codes, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_table_trick, 2, 1, swapped=True),
        covers="statement",
        scope="looked up with the code of the key",
    ),
)

# --- singular values of exp(A) --------------------------------------------------------------------
# 1. P_t(A) has rank at most r = C(d + t, t) (as23.low-rank).
# 2. So sigma_{r+1}(exp A) <= |exp A - P_t(A)|_2 (Eckart-Young).
# 3. |exp A - P_t(A)|_2 <= n max |e^x - P_t(x)| over [-B, B].
# 4. That maximum is e^B - P_t(B): the remainder is a power series with positive coefficients,
#    largest
#    in size at x = B.


def _remainders(_bits: int, part: Fraction = Fraction(1)) -> list[Comparison]:
    comparisons = []
    for b, t in itertools.product(
        (Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4)), (0, 1, 3, 6, 12)
    ):
        error = ball(b).exp() - ball(
            sum((b**i / math.factorial(i) for i in range(t + 1)), Fraction(0))
        )
        order = t + 1
        comparisons.append(
            Comparison(
                error,
                ball(b**order / math.factorial(order) / part) * ball(b).exp(),
                f"B = {b}, t = {t}",
            )
        )
    return comparisons


def _ranks() -> Iterator[Identity]:
    """P_t(Q K^T) at whole points, exactly: the rank is C(d + t, t) when there are that
    many tokens.
    """
    from flint import fmpq, fmpq_mat

    rng = np.random.default_rng(0)
    for d, t in ((1, 3), (2, 2), (2, 3), (3, 2), (3, 3)):
        r = math.comb(d + t, t)
        q, k = (rng.integers(-9, 10, (r + 3, d)) for _ in range(2))
        scores = (q @ k.T).tolist()
        entries = [
            sum((fmpq(int(x)) ** p / math.factorial(p) for p in range(t + 1)), fmpq(0))
            for row in scores
            for x in row
        ]
        yield Identity(int(fmpq_mat(r + 3, r + 3, entries).rank()), r, f"rank at d = {d}, t = {t}")


RANK_BOUND = Theorem(
    key="ours.polynomial-rank-bound",
    title="singular values of the exponential of a low-rank matrix",
    statement=(
        "σ_{r+1}(exp A) <= n B^(t+1) e^B/(t + 1)! with r = C(d + t, t), for A = Q Kᵀ of width d "
        "with |A_ij| <= B: low rank is real for bounded scores."
    ),
    source=_HERE,
    reading=(
        "by Eckart-Young and ‖M‖₂ <= n max|M_ij|, steps 1 to 3; decided are the remainder on [-B, "
        "B], and that the Taylor matrix has rank r and no less"
    ),
    experiments=(
        Enclose(
            certify=_remainders,
            bits=192,
            covers="step",
            scope="e^B - P_t(B), B = 1/2, 1, 2, 4, t = 0, 1, 3, 6, 12",
        ),
        Symbolic(
            identities=_ranks,
            grade="exact-rational",
            covers="step",
            scope=(
                "rank of P_t(Q Kᵀ) at r + 3 whole tokens, (d, t) = (1, 3), (2, 2), (2, 3), (3, "
                "2), (3, 3)"
            ),
        ),
    ),
    expected=Status.ARGUED,
    mutant=Enclose(
        certify=partial(_remainders, part=Fraction(13, 10)),
        bits=192,
        covers="step",
        scope="the remainder bound divided by 1.3: the largest remainder is 0.79 of it",
    ),
    uses=("as23.low-rank",),
)

THEOREMS = (KEY_SHIFT, DUNKL_WILLIAMS, UNION, ANY_OF, TABLE_TRICK, RANK_BOUND)
