"""J. Alman and Z. Song, "Fast Attention Requires Bounded Entries": rank and error of the output.

NeurIPS 2023, arXiv 2302.13214. Attention can be approximated in almost linear time when the entries
of Q, K, V are o(sqrt(log n)), and under SETH not in subquadratic time beyond that. The algorithm
replaces exp by a polynomial P of low degree, whose matrix P(QK^T/d) factors through monomials.

Here: the rank of that factorisation, and what an entrywise relative error of the attention matrix
does to the output.

Read: the abstract; the lemmas are given as remembered, so no wording of a statement is vouched for
here.

    paper                     here
    A = exp(Q K^T / d)        a_ij = exp(q_i . k_j / d): the scale is 1/d, not 1/sqrt(d)
    D = diag(A 1), D~         row sums D_i; D~_i those used with A~
    |A~ - A| <= eps A         |a~_ij - a_ij| <= eps a_ij
    U1 U2^T, rank r           P(q . k) = sum_alpha c_|alpha| (|alpha|!/alpha!) q^alpha k^alpha,
                              |alpha| <= g
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.alman_song_2023.source import CITATION
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Assumption,
    Comparison,
    Enclose,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- the rank -------------------------------------------------------------------------------------
# (q . k)^t = sum_{|alpha| = t} (t!/alpha!) q^alpha k^alpha (multinomial theorem): one column of U1
# and U2 for every monomial of degree <= g in d variables.


def _exponents(d: int, degree: int) -> list[tuple[int, ...]]:
    return [
        alpha for alpha in itertools.product(range(degree + 1), repeat=d) if sum(alpha) <= degree
    ]


def _features(x: Any, d: int, degree: int) -> list[Any]:
    return [
        math.prod((x[i] ** e for i, e in enumerate(alpha)), start=1 + 0 * x[0])
        for alpha in _exponents(d, degree)
    ]


def _multiplicities(d: int, degree: int) -> list[int]:
    return [
        math.factorial(sum(alpha)) // math.prod(map(math.factorial, alpha))
        for alpha in _exponents(d, degree)
    ]


def _factorisation(skipped: int = 0) -> Iterator[Identity]:
    from sympy import QQ, ring

    for d, degree in ((1, 6), (2, 5), (3, 4), (4, 3)):
        _, *g = ring(
            [
                *(f"q{i}" for i in range(d)),
                *(f"k{i}" for i in range(d)),
                *(f"c{t}" for t in range(degree + 1)),
            ],
            QQ,
        )
        q, k, c = g[:d], g[d : 2 * d], g[2 * d :]
        used = degree - skipped
        coefficients = [
            c[sum(alpha)] * m
            for alpha, m in zip(_exponents(d, used), _multiplicities(d, used), strict=True)
        ]
        features = zip(coefficients, _features(q, d, used), _features(k, d, used), strict=True)
        score = sum(x * y for x, y in zip(q, k, strict=True))
        yield Identity(
            sum(x * y * z for x, y, z in features),
            sum(c[t] * score**t for t in range(degree + 1)),
            f"d = {d}, degree {degree}",
        )


def _ranks() -> Iterator[Identity]:
    """Number of features, and the exact rank of P(QK^T) for as many tokens plus two, P the Taylor
    polynomial (times g!).
    """
    from flint import fmpz_mat

    for d, degree in ((1, 4), (2, 3), (3, 2), (3, 4), (4, 3), (6, 2)):
        r = math.comb(d + degree, degree)
        yield Identity(
            len(_exponents(d, degree)), r, f"number of features, d = {d}, degree {degree}"
        )
        q, k = np.random.default_rng(0).integers(-50, 51, size=(2, r + 2, d)).tolist()
        scores = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in k] for a in q]
        weights = [math.factorial(degree) // math.factorial(t) for t in range(degree + 1)]
        p = fmpz_mat(
            [[sum(w * s**t for t, w in enumerate(weights)) for s in row] for row in scores]
        )
        yield Identity(int(p.rank()), r, f"exact rank, d = {d}, degree {degree}")


def _never_attained(_bits: int) -> list[Comparison]:
    sizes = itertools.product(range(1, 41), repeat=2)
    return [
        Comparison(math.comb(d + g, g) + 1, math.comb(2 * (g + d), 2 * g), f"d = {d}, g = {g}")
        for d, g in sizes
    ]


LOW_RANK = Theorem(
    key="as23.low-rank",
    title="rank of a polynomial of the scores",
    statement=(
        "For P of degree g, P(Q Kᵀ) = U1 U2ᵀ with U1, U2 of C(d+g, g) columns, and no fewer in "
        "general; so C(2(g+d), 2g) is an upper bound, never attained."
    ),
    source=Source(
        citation=CITATION, place="low-rank lemma, r = C(2(g+d), 2g)", fidelity="corrected"
    ),
    reading=(
        "rank over the rationals; d, g >= 1; the factors of one monomial in 2d variables are "
        "counted once, not as a monomial of degree 2g"
    ),
    experiments=(
        Symbolic(
            identities=_factorisation,
            scope="(d, g) = (1, 6), (2, 5), (3, 4), (4, 3), all q, k and coefficients",
        ),
        Symbolic(
            identities=_ranks,
            grade="exact-rational",
            scope=(
                "(d, g) = (1, 4), (2, 3), (3, 2), (3, 4), (4, 3), (6, 2): one Q, K of C(d+g, g) + "
                "2 tokens attains the rank"
            ),
        ),
        Enclose(certify=_never_attained, scope="C(d+g, g) < C(2(g+d), 2g) for d, g = 1, ..., 40"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_factorisation, skipped=1), scope="features of degree g - 1"
    ),
    remarks=("d = 8, g = 4: 495 columns against 735471.",),
)

# --- the error of the output ----------------------------------------------------------------------
# With A~ normalised by its own row sums, in one row:
#
# 1. |out~ - out| <= tau(eps) osc(V) <= 2 tau(eps) max|V| (ours.hilbert).
# 2. Write eps = 2t/(1 + t^2) with t = tau(eps) in (0, 1): eps - t = t (1 - t^2)/(1 + t^2) >= 0.
# 3. So |out~ - out| <= 2 eps max|V|.
#
# With any other normaliser D~, where |D~ - D| <= eps1 D and |a~_j - a_j| <= eps2 a_j:
#
# 4. a~/D~ - a/D = (a~ - a)/D~ + (a/D)(D - D~)/D~.
# 5. The absolute values of the right-hand side sum over the keys to at most (eps1 + eps2) D/D~.


def _two_tau_below_two_eps() -> list[Identity]:
    from sympy import QQ, field

    _, t = field("t", QQ)
    eps, root = 2 * t / (1 + t**2), (1 - t**2) / (1 + t**2)
    return [
        Identity(eps**2 + root**2, 1, "root = sqrt(1 - eps^2)"),
        Identity(eps / (1 + root), t, "tau(eps) = t"),
        Identity(eps - t, t * (1 - t**2) / (1 + t**2), "eps - tau(eps) is positive"),
    ]


def _rows() -> Any:
    """Rows of whole weights a; each is multiplied by 1 + s_j eps, s_j in {-1, 0, 1}, eps = e/64;
    whole values; D~ = D (1 + s eps1), eps1 = e1/64.
    """
    from hypothesis import strategies as st

    def of_length(n: int) -> Any:
        def row(low: int, high: int) -> Any:
            return st.lists(st.integers(low, high), min_size=n, max_size=n)

        rest = {"e": st.integers(1, 63), "e1": st.integers(-63, 63)}
        return st.fixed_dictionaries(
            {"a": row(1, 12), "signs": row(-1, 1), "v": row(-2, 2), **rest}
        )

    return st.integers(1, 4).flatmap(of_length)


def _is_row(instance: Instance) -> bool:
    lengths = {len(instance[name]) for name in ("a", "signs", "v")}
    numbers = all(x > 0 for x in instance["a"]) and all(abs(s) <= 1 for s in instance["signs"])
    return bool(
        len(lengths) == 1 and numbers and 0 < instance["e"] < 64 and abs(instance["e1"]) < 64
    )


_ROW = Assumption(
    text="a_j > 0, |ã_j - a_j| <= ε a_j with 0 < ε < 1, and |D̃ - D| <= ε1 D with ε1 < 1",
    predicate=_is_row,
    generator=_rows,
)


def _output_error(instance: Instance, *, own_sum: bool) -> tuple[Fraction, Fraction, Fraction]:
    """|sum_j (a~_j/D~ - a_j/D) v_j|, eps + eps1 and the largest |v_j|; with own_sum D~ = sum a~ and
    |D~ - D| <= eps D.
    """
    eps, eps1 = Fraction(instance["e"], 64), Fraction(instance["e1"], 64)
    a = [Fraction(x) for x in instance["a"]]
    moved = [x * (1 + s * eps) for x, s in zip(a, instance["signs"], strict=True)]
    normaliser = sum(moved) if own_sum else sum(a) * (1 + eps1)
    error = sum(
        (y / normaliser - x / sum(a)) * v for x, y, v in zip(a, moved, instance["v"], strict=True)
    )
    return (
        abs(Fraction(error)),
        eps + (eps if own_sum else abs(eps1)),
        Fraction(max(abs(v) for v in instance["v"])),
    )


def _confirm(
    instance: Instance, *, own_sum: bool, share: Fraction = Fraction(1)
) -> tuple[Fraction, Fraction]:
    error, eps, largest = _output_error(instance, own_sum=own_sum)
    return error, share * eps * largest


def _error(confirm: Any, instance: Instance) -> float:
    return float(confirm(instance)[0])


def _bound(confirm: Any, instance: Instance) -> float:
    return max(float(confirm(instance)[1]), 1e-300)


def _search(confirm: Any, scope: str, example: Instance | None = None) -> Falsify:
    return Falsify(
        instances=_rows,
        measured=partial(_error, confirm),
        bound=partial(_bound, confirm),
        confirm=confirm,
        assumptions=(_ROW,),
        examples=() if example is None else (example,),
        scope=scope,
        tries=200,
    )


_PLACE = "attention-error lemma (3.6, 3.7)"
_HALF_EXAMPLE = {"a": [4, 12], "signs": [1, -1], "v": [1, -1], "e": 52, "e1": 0}

ATTENTION_ERROR = Theorem(
    key="as23.attention-error",
    title="output error from a relative error of the attention matrix",
    statement=(
        "|ã_ij - a_ij| <= ε a_ij and D̃ = diag(Ã 1) give |D̃⁻¹ Ã V - D⁻¹ A V| <= 2 ε max |V|."
    ),
    source=Source(citation=CITATION, place=_PLACE, fidelity="constants made explicit"),
    reading="entrywise, 0 < ε < 1, D̃ the row sums of Ã themselves",
    alternative_readings=(
        "For an arbitrary D̃ within (1 ± ε) D it is false: as23.normaliser-free.",
    ),
    assumptions=(_ROW,),
    experiments=(
        Symbolic(
            identities=_two_tau_below_two_eps,
            scope="2 τ(ε) <= 2 ε for every ε in (0, 1), any number of keys",
        ),
        _search(
            partial(_confirm, own_sum=True), "up to 4 keys, whole weights and values, ε = e/64 < 1"
        ),
    ),
    expected=Status.PROVED,
    mutant=_search(
        partial(_confirm, own_sum=True, share=Fraction(1, 2)), "ε max |V|", _HALF_EXAMPLE
    ),
    uses=("ours.hilbert",),
    remarks=(
        "Sharp: τ(ε) osc(V), so this is too large by a factor that tends to 2 as ε falls, and by "
        "at least 1.99 for ε <= 0.1, the range of the paper.",
    ),
)

NORMALISER_FREE = Theorem(
    key="as23.normaliser-free",
    title="the same for any normaliser within (1 ± ε1) D",
    statement=(
        "|ã_ij - a_ij| <= ε2 a_ij and |D̃_i - D_i| <= ε1 D_i give |D̃⁻¹ Ã V - D⁻¹ A V| <= (ε1 + "
        "ε2) max |V|."
    ),
    source=Source(citation=CITATION, place=_PLACE, fidelity="constants made explicit"),
    reading="D̃ is any diagonal matrix that satisfies its hypothesis, not necessarily diag(Ã 1)",
    alternative_readings=("With D̃ = diag(Ã 1): as23.attention-error, true.",),
    assumptions=(_ROW,),
    experiments=(
        _search(
            partial(_confirm, own_sum=False),
            "up to 4 keys, whole weights and values, ε1, ε2 < 1 multiples of 1/64",
            {"a": [1], "signs": [1], "v": [1], "e": 6, "e1": -6},
        ),
    ),
    expected=Status.REFUTED,
    mutant=_search(partial(_confirm, own_sum=False, share=Fraction(1, 2)), "half of it"),
    repaired_by="as23.normaliser-corrected",
    by_hand=ByHand(
        instance="n = 1, A = 1, V = 1, Ã = 35/32, D̃ = 29/32, so that ε1 = ε2 = 3/32.",
        shows="|Ã/D̃ - 1| = 6/29 = 0.2069, above ε1 + ε2 = 6/32 = 0.1875.",
    ),
)


def _corrected(constant: int = 1) -> list[Identity]:
    from sympy import QQ, field

    _, a, moved, d, other, e1, e2 = field("a, moved, d, other, e1, e2", QQ)
    return [
        Identity(
            moved / other - a / d, (moved - a) / other + (a / d) * (d - other) / other, "one key"
        ),
        Identity(
            (1 + e2) / (1 - e1) - 1, constant * (e1 + e2) / (1 - e1), "attained by n = 1, v = 1"
        ),
    ]


NORMALISER_CORRECTED = Theorem(
    key="as23.normaliser-corrected",
    title="output error for any normaliser",
    statement=(
        "Under the hypotheses of as23.normaliser-free and ε1 < 1: |D̃⁻¹ Ã V - D⁻¹ A V| <= (ε1 + "
        "ε2) / (1 - ε1) max |V|, attained by n = 1."
    ),
    source=here(__name__),
    reading="entrywise, any number of keys",
    experiments=(
        Symbolic(
            identities=_corrected,
            scope=(
                "any number of keys (triangle inequality over the first identity); attained for "
                "all ε1 < 1 and ε2"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_corrected, constant=2), scope="twice that as the attained value"
    ),
)

THEOREMS = (LOW_RANK, ATTENTION_ERROR, NORMALISER_FREE, NORMALISER_CORRECTED)
