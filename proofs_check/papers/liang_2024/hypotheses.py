"""Hypotheses that statements of Liang, Sha, Shi, Song & Zhou (2024) need and do not state.

Citation and letters: `gradient`.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball, precision
from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Assumption,
    Enclose,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- bounded entries ------------------------------------------------------------------------------
# 1. X has rows (i, i^2, 1), i = 1, ..., n, and W has 2 lambda at (1, 1), -lambda at (3, 2). So
#    S_ij = lambda (2 i j - j^2).
# 2. Hence f_ij is proportional to e^{-lambda (i-j)^2}, and f is close to the identity. The entries
#    have O(log n) bits. (With 1/d in the scores, multiply W by 3.)
# 3. For every B, (tr B)^2 <= rank(B) |B|_F^2: the trace is at most the sum of singular values.
# 4. For any B within 1/n of f in every entry, tr B >= tr f - 1 and |B|_F^2 <= sum_ij (f_ij +
#    1/n)^2.
# 5. So rank(B) >= (tr f - 1)^2 / sum_ij (f_ij + 1/n)^2.


def _sizes() -> Any:
    from hypothesis import strategies as st

    return st.fixed_dictionaries({"n": st.integers(2, 24), "lambda": st.integers(0, 8)})


def _is_size(instance: Instance) -> bool:
    return bool(instance["n"] >= 1 and instance["lambda"] >= 0)


_SIZES = Assumption(
    text="n >= 1 tokens; X, W of O(log n)-bit entries as in the comment, whole λ >= 0",
    predicate=_is_size,
    generator=_sizes,
)


def _least_rank(instance: Instance, share: Fraction) -> tuple[Any, Fraction]:
    """The bound of step 5, against a share of n."""
    n, strength = instance["n"], instance["lambda"]
    powers = [ball(-strength * t * t).exp() for t in range(n)]
    rows = [[powers[abs(i - j)] for j in range(n)] for i in range(n)]
    f = [[x / sum(row, ball(0)) for x in row] for row in rows]
    trace = sum((f[i][i] for i in range(n)), ball(0)) - 1
    size = sum((sum(((x + ball(Fraction(1, n))) ** 2 for x in row), ball(0)) for row in f), ball(0))
    return trace.max(ball(0)) ** 2 / size, share * n


_SHARP: tuple[Instance, ...] = ({"n": 16, "lambda": 4}, {"n": 100, "lambda": 4})


def _rank_search(confirm: Any, scope: str) -> Falsify:
    return search_by(
        confirm,
        instances=_sizes,
        assumptions=(_SIZES,),
        tries=30,
        examples=_SHARP,
        scope=scope,
    )


BOUNDED_ENTRIES = Theorem(
    key="lss24.bounded-entries",
    title="missing hypothesis: low rank without bounded entries",
    statement=(
        "For every X and W with O(log n)-bit entries there are U1, V1 with n/2 columns and |f - U1 "
        "V1ᵀ| <= 1/n in every entry."
    ),
    source=Source(
        citation=CITATION,
        place=(
            "Theorems 1.4, 4.1, 4.2 rest on Lemma C.13 but do not repeat its hypothesis |X W|, |X| "
            "<= o(sqrt(log n))"
        ),
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "the low-rank step of the theorems under their stated hypotheses alone; n/2 columns stand "
        "for the n^{o(1)} of the lemma, 1/n for 1/poly(n)"
    ),
    alternative_readings=(
        "That some other algorithm reaches almost linear time without bounded entries "
        "contradicts SETH (Alman & Song 2024), which no computation settles.",
    ),
    assumptions=(_SIZES,),
    experiments=(
        _rank_search(
            partial(_least_rank, share=Fraction(1, 2)),
            "f_ij ∝ exp(-λ (i - j)²), n <= 24; least possible rank against n/2",
        ),
    ),
    expected=Status.REFUTED,
    mutant=_rank_search(partial(_least_rank, share=Fraction(7, 10)), "7n/10 columns"),
    repaired_by="as23.degree-corrected",
    repaired=_rank_search(partial(_least_rank, share=Fraction(1)), "n columns, as any matrix has"),
    kind="implied",
    defence=(
        "The theorems say that they follow from the lemmas, and Lemma C.13 has the hypothesis R = "
        "o(sqrt(log n)); the introduction speaks of it too. But Theorems 1.4, 4.1 and 4.2 list "
        "their assumptions and have none on the size of the entries, only on their number of bits. "
        "The size n/2 and the error 1/n are ours, hence no erratum."
    ),
    by_hand=ByHand(
        instance=(
            "n = 16, X with rows (i, i², 1), W = 0 but W_11 = 8 and W_32 = -4: the scores are 4 (2 "
            "i j - j²), so f_ij is proportional to e^(-4 (i - j)²)."
        ),
        shows=(
            "tr f = 15.47. Any B within 1/16 of f has tr B >= 14.47 and ‖B‖_F² <= 17.97; as (tr "
            "B)² <= rank(B) ‖B‖_F², its rank is at least 11.65, so 12, where 8 are claimed."
        ),
    ),
    remarks=(
        "Under the hypothesis: a polynomial of degree g by as23.degree-corrected, of rank C(d+g, "
        "g) by as23.low-rank.",
    ),
)

# --- activations ----------------------------------------------------------------------------------
# 1. G_{i} = (upstream * phi'(Attn_i W_g)) W_g^T (H.1).
# 2. With n = d = 1, W_g = 1 and upstream 1 it is phi'(Attn_i), so an error of Attn_i enters through
#    phi'.


def _two_sides() -> Any:
    from hypothesis import strategies as st

    number = st.builds(
        lambda sign, e: sign * 2.0**-e, st.sampled_from((1.0, -1.0)), st.integers(0, 60)
    )
    return st.fixed_dictionaries({"exact": number, "approximate": number})


def _relu_slope(x: Any) -> int:
    return 1 if x > 0 else 0


def _jump(instance: Instance, factor: int = 10**6) -> tuple[Fraction, Fraction]:
    a, b = Fraction(instance["exact"]), Fraction(instance["approximate"])
    return Fraction(abs(_relu_slope(a) - _relu_slope(b))), factor * abs(a - b)


def _smooth_jump(instance: Instance, percent: int = 77) -> tuple[Any, Fraction]:
    """The same for tanh, whose slope 1 - tanh^2 has the Lipschitz constant 0.7699."""
    a, b = Fraction(instance["exact"]), Fraction(instance["approximate"])
    with precision(256):
        return abs(ball(b).tanh() ** 2 - ball(a).tanh() ** 2), Fraction(percent, 100) * abs(a - b)


def _nonzero(instance: Instance) -> bool:
    return bool(instance["exact"] != 0 and instance["approximate"] != 0)


_SMOOTH_THERE = Assumption(
    text="φ is differentiable at both arguments", predicate=_nonzero, generator=_two_sides
)
_SIDES: tuple[Instance, ...] = (
    {"exact": 2.0**-30, "approximate": -(2.0**-30)},
    {"exact": 0.65, "approximate": 0.6640625},
)


def _slope_search(confirm: Any, scope: str) -> Falsify:
    return search_by(
        confirm,
        instances=_two_sides,
        assumptions=(_SMOOTH_THERE,),
        examples=_SIDES,
        scope=scope,
    )


ACTIVATION = Theorem(
    key="lss24.activation",
    title="gap: any activation after an approximate attention layer",
    statement=(
        "|G̃ - G| <= C |Attn~ - Attn| for G = (upstream ∘ φ'(Attn W_g)) W_gᵀ and every activation "
        "φ, C = 10⁶, W_g = 1, upstream 1."
    ),
    source=Source(
        citation=CITATION,
        place=(
            "Lemmas 5.4, H.2 and H.3, for any element-wise activation: what they need once the "
            "forward values are approximate"
        ),
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "φ = ReLU, n = d = 1; the constant is chosen, and no other one helps: the left side is 1 "
        "for arguments of different sign however close"
    ),
    alternative_readings=(
        'The proof of H.3 says "there is no approximation error when computing G₁": it takes the '
        "exact Attn, and then nothing is wrong with H.1 and H.2. Exact forward values cost n² "
        "operations, so the time bound needs approximate ones.",
    ),
    assumptions=(_SMOOTH_THERE,),
    experiments=(_slope_search(_jump, "φ = ReLU, powers of two of both signs"),),
    expected=Status.REFUTED,
    mutant=_slope_search(partial(_smooth_jump, percent=76), "φ = tanh and C = 0.76"),
    repaired_by="lss24.activation-smooth",
    repaired=_slope_search(_smooth_jump, "φ = tanh and C = 0.77"),
    kind="implied",
    by_hand=ByHand(
        instance="n = d = 1, φ = ReLU, Attn = 2⁻³⁰, Attn~ = -2⁻³⁰.",
        shows="φ' is 1 and 0, so |G̃ - G| = 1; C |Attn~ - Attn| = 10⁶ 2⁻²⁹ = 0.0019.",
    ),
    remarks=(
        "Nobody prints this bound. It is the hypothesis that is missing between H.2 and an almost "
        "linear time.",
    ),
)

# --- activations with a Lipschitz derivative ------------------------------------------------------
# 1. tanh'' = -2 t (1 - t^2) with t = tanh x in (-1, 1). So |tanh''| <= 0.77 on all of R follows
#    from one inequality on [-1, 1]; the least constant is 4/(3 sqrt(3)) = 0.7698.
# 2. GELU'' = (2 - x^2) e^{-x^2/2} / sqrt(2 pi). With y = x^2/2 >= 0 and w = 1/(1 + y) in (0, 1],
#    e^{-y} <= w, and |1 - y| w = |2 w - 1|.
# 3. So |GELU''| <= (2/sqrt(2 pi)) |2 w - 1|, and one inequality on [0, 1] gives 0.798 on all of R;
#    the least constant is 2/sqrt(2 pi) = 0.79788, at x = 0.


def _tanh_curvature(t: Any) -> Any:
    return abs(2 * t * (1 - t * t))


def _gelu_majorant(w: Any) -> Any:
    from flint import arb

    return 2 * abs(2 * w - 1) / (2 * arb.pi()).sqrt()


def _gelu_curvature(x: Any) -> Any:
    """|phi''| = |2 - x^2| e^{-x^2/2} / sqrt(2 pi) for phi(x) = x Phi(x)."""
    from flint import arb

    return abs(2 - x * x) * (-x * x / 2).exp() / (2 * arb.pi()).sqrt()


def _constant(x: Any, thousandths: int) -> Any:
    return (0 * x + thousandths) / 1000


def _substitution() -> list[Identity]:
    from sympy import QQ, field

    _, w = field("w", QQ)
    y = 1 / w - 1
    return [Identity((1 - y) * w, 2 * w - 1, "(1 - y) w"), Identity((1 + y) * w, 1, "w = 1/(1+y)")]


_TANH: dict[str, Any] = {"lhs": _tanh_curvature, "box": ((-1, 1),)}

ACTIVATION_SMOOTH = Theorem(
    key="lss24.activation-smooth",
    title="activations with a Lipschitz derivative",
    statement=(
        "|φ'(ã) - φ'(a)| <= L |ã - a| for all real a, ã, with L = 0.77 for φ = tanh and L = 0.798 "
        "for φ = GELU."
    ),
    source=here(__name__, how="mean value theorem: |φ''| <= L"),
    reading="the hypothesis that lss24.activation lacks, with its constant for two activations",
    experiments=(
        Enclose(
            rhs=partial(_constant, thousandths=770),
            covers="statement",
            scope="|tanh''| <= 0.77 on all of R, as 2 |t (1 - t²)| <= 0.77 for all t in [-1, 1]",
            **_TANH,
        ),
        Enclose(
            lhs=_gelu_majorant,
            rhs=partial(_constant, thousandths=798),
            box=((0, 1),),
            covers="statement",
            scope="|GELU''| <= 0.798 on all of R, as (2/sqrt(2π)) |2w - 1| <= 0.798 on [0, 1]",
        ),
        Symbolic(
            identities=_substitution, covers="step", scope="the substitution w = 1/(1 + x²/2)"
        ),
        Enclose(
            lhs=_gelu_curvature,
            rhs=partial(_constant, thousandths=798),
            box=((-8, 8),),
            covers="step",
            scope="|GELU''(x)| <= 0.798 for all x in [-8, 8], once more without the substitution",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        rhs=partial(_constant, thousandths=769),
        covers="statement",
        scope="|tanh''| <= 0.769",
        **_TANH,
    ),
)

THEOREMS = (BOUNDED_ENTRIES, ACTIVATION, ACTIVATION_SMOOTH)
