"""For every refuted statement two lines that a reader can follow with pencil and paper, and what to
put in its place where no entry of the catalogue does.

The verdicts do not rest on these lines; the tests compute every number in them anew.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BY_HAND", "ByHand"]


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """A witness in words.

    Parameters
    ----------
    instance : str
        The input, small enough to be written down.
    shows : str
        The two sides there.
    instead : str
        What is true instead, where no `repaired_by` says it in full.
    """

    instance: str
    shows: str
    instead: str = ""


BY_HAND: dict[str, ByHand] = {
    "aa22.degree-formula": ByHand(
        instance="B = 1 and L = 1 + 2⁻²⁴, so δ = e^(-L) = 0.3679 is allowed on [0, 1].",
        shows=(
            "The constant (1 + 1/e)/2 = 0.684 is within 0.316 of e^(-x): degree 0. But L / "
            "log(L/B) = 2²⁴ nearly, and c times that is 16."
        ),
        instead=(
            "The least error E_n(B) of degree n for e^x on [-B, B] lies between two sums of "
            "modified Bessel functions I_k, and this bounds the degree on both sides."
        ),
    ),
    "as23.normaliser-free": ByHand(
        instance="n = 1, A = 1, V = 1, Ã = 35/32, D̃ = 29/32, so that ε1 = ε2 = 3/32.",
        shows="|Ã/D̃ - 1| = 6/29 = 0.2069, above ε1 + ε2 = 6/32 = 0.1875.",
    ),
    "as23.halved-constant": ByHand(
        instance="ε = 1/2, a = (1, 2), ã = (3/2, 1), v = (1, -1).",
        shows="Outputs -1/3 and 1/5: they differ by 8/15 = 0.533, more than ε max |v| = 0.5.",
    ),
    "as23.degree": ByHand(
        instance=(
            "R = 2⁴⁰, b = R², L = b ln R, ln R = 27.7: L / ln(L/R) = 0.89 b, so the maximum is b "
            "and degree 10 b is allowed."
        ),
        shows=(
            "No polynomial of degree n has an error below 2 (b/2)^(n+1)/(n+1)! on [-b, b], which "
            "is (e/20)^(10 b) at n = 10 b, up to factors whose b-th root is 1; permitted is at "
            "most e^(b - L) = (e/R)^b. But (e/20)^10 = 2.15e-9 and e/R = 2.47e-12."
        ),
    ),
    "as24.gradient-printed": ByHand(
        instance=(
            "n = d = 2, all entries 0 but (A1)_11 = (A2)_21 = h_21 = 1; the slope in x = X_11 at X "
            "= 0."
        ),
        shows=(
            "L = f²/2 + 1/8 with f = 1/(1 + e^(-x/2)), so dL/dx = (1/2)(1/4)(1/2) = 1/16. Printed: "
            "1/8."
        ),
    ),
    "as24.q-printed": ByHand(
        instance=(
            "n = d = 2, all entries 0 but (A1)_11 = (A2)_21 = h_21 = 1; the slope in x = X_11 at X "
            "= 0."
        ),
        shows=(
            "c = f h has the rows (1/2, 0), so h cᵀ has the rows (0, 0) and (1/2, 1/2): p = 0, and "
            "the printed slope is 0. The true one is 1/16."
        ),
    ),
    "as24.derivative-printed": ByHand(
        instance=(
            "n = 2, scores (0, 1) in both rows, B = 1, values (0, 1) in each of d = 28 columns, λ "
            "= ln 2."
        ),
        shows=(
            "Every output is 2/3 with derivative 2/9, so f' = 2·28·2·(2/3)(2/9) = 16.59, above 8 B "
            "n = 16."
        ),
    ),
    "as24.hypothesis-printed": ByHand(
        instance=(
            "n = d = 2, B = 1: A₁ has a 1 at (1, 2), X a 4 at (2, 1), A₂ a 1 at (1, 1), all else 0."
        ),
        shows=(
            "A₁ᵀ X = 0 and |A₂| <= 1, but A₁ X has a 4 at (1, 1), and the score there is 4/2 = 2, "
            "above B² = 1."
        ),
    ),
    "as24.p2-printed": ByHand(
        instance="f = [[0.9, 0.1], [0.5, 0.5]], q = [[1, 0], [0, 0]], so r = (0.9, 0).",
        shows=(
            "f diag(r) = [[0.81, 0], [0.45, 0]], but the rows r_i f_i are (0.81, 0.09) and (0, 0)."
        ),
    ),
    "lss24.bounded-entries": ByHand(
        instance=(
            "n = 16, X with rows (i, i², 1), W = 0 but W_11 = 8 and W_32 = -4: the scores are 4 (2 "
            "i j - j²), so f_ij is proportional to e^(-4 (i - j)²)."
        ),
        shows=(
            "tr f = 15.47. Any B within 1/16 of f has tr B >= 14.47 and ‖B‖_F² <= 17.97; as (tr "
            "B)² <= rank(B) ‖B‖_F², its rank is at least 11.65, so 12, where 8 are claimed."
        ),
    ),
    "lss24.score-bound-printed": ByHand(
        instance="n = d = 2, R = 1, X all ones, W the unit matrix.",
        shows=(
            "|X W| = |X| = 1, and every entry of X W Xᵀ is 2, above R² = 1; divided by d it is 1."
        ),
    ),
    "lss24.activation": ByHand(
        instance="n = d = 1, φ = ReLU, Attn = 2⁻³⁰, Attn~ = -2⁻³⁰.",
        shows="φ' is 1 and 0, so |G̃ - G| = 1; C |Attn~ - Attn| = 10⁶ 2⁻²⁹ = 0.0019.",
    ),
    "lss24.gradient-wv-printed": ByHand(
        instance=(
            "n = 2, d = 1, X = (1, 0)ᵀ, W = ln 3, W_V = 1, G = (0, 1)ᵀ, so f = [[3/4, 1/4], [1/2, "
            "1/2]]."
        ),
        shows="L = s_2 = W_V/2, slope 1/2 = Xᵀ fᵀ G. Printed: Xᵀ f G = 1/4.",
    ),
    "lss24.gradient-t-printed": ByHand(
        instance=(
            "n = 2, d = 1, X = (1, 0)ᵀ, W = W_V = 1, G = (0, 1)ᵀ, so f_12 = 1/(1 + e) and f_21 = "
            "f_22 = 1/2; the slope in X_1."
        ),
        shows=(
            "L = s_2 = f_21 X_1 + f_22 X_2, and f_21 does not move with X_1 at X_2 = 0: slope 1/2. "
            "The printed terms add up to f_12 = 0.269."
        ),
    ),
    "lss24.code-normaliser": ByHand(
        instance="A = [[4, 4], [1, 1]], V = (1, 1)ᵀ, D = diag(8, 2).",
        shows=(
            "Row 1 of A D⁻¹ V is 4/8 + 4/2 = 2.5. Softmax attention averages the values, so it is "
            "1."
        ),
        instead=(
            "Row i is divided by its own sum, D⁻¹ A V. Its outputs lie in the range of the values "
            "(lss24.output-range)."
        ),
    ),
    "lss24.code-error-metric": ByHand(
        instance="x = 9, y = 8.",
        shows="The relative error is 1/8, reported is 1/17.",
        instead=(
            "If ‖x - y‖ = t ‖y‖ with t < 2, the reported figure lies between t/(2 + t) and t/(2 - "
            "t): about half of t."
        ),
    ),
    "sata.odd-degree": ByHand(
        instance="Scores -3, -3, -3, 1/2; P_3(x) = 1 + x + x²/2 + x³/6.",
        shows="P_3(-3) = -2 and P_3(1/2) = 1.646, so Z = -4.354.",
    ),
    "sata.convex-hull": ByHand(
        instance="Scores -3, -3, -3, 1/2 and values 1, 2, 3, 10.",
        shows=(
            "The sum of weights is -4.354, that of weights times values 4.458: the output is "
            "-1.02, below every value."
        ),
    ),
    "linformer.theorem-1": ByHand(
        instance="n = 512, k = 250, ε = 1/2, Q = 0 and so P = 11ᵀ/n, w = (1, -1, 1, -1, ...).",
        shows=(
            "P w = 0, so nothing is strictly within ε ‖P w‖ = 0 of it: probability 0. Claimed is "
            "at least 1 - 1024 e^(-250/32) = 0.586."
        ),
    ),
    "linformer.column-normalisation": ByHand(
        instance="A = [[ln 2, 0], [0, 0]], exp(A) = [[2, 1], [1, 1]], column sums 3 and 2.",
        shows="The first row of exp(A) D_A⁻¹ sums to 2/3 + 1/2 = 7/6.",
        instead="softmax(A) = D_A⁻¹ exp(A) with (D_A)_ii = Σ_j exp(A_ij).",
    ),
    "linformer.theorem-2": ByHand(
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
    "linformer.lemma-1-product": ByHand(
        instance="k = 64, ε = 1/2, x = (1, 0), y = (0, 1).",
        shows=(
            "<x, y> = 0, so <Rx, Ry> would have to vanish: probability 0. Claimed is at least 1 - "
            "2 e^(-2) = 0.729."
        ),
    ),
    "linformer.exp-rank": ByHand(
        instance="d = 1, q = k = (0, 1).",
        shows="exp(A) = [[1, 1], [1, e]] has determinant e - 1 = 1.718, rank 2.",
    ),
    "yoso.independent-variance": ByHand(
        instance=(
            "One hash of one bit, two equal keys at a right angle to the query, values 1: p = 1/2."
        ),
        shows=(
            "Both keys collide or none: Ŷ is 0 or 2, Y = 1, so E|Ŷ - Y|² = 1. The formula gives "
            "1/4 + 1/4."
        ),
    ),
    "yoso.l2-hoeffding": ByHand(
        instance=(
            "One hash of one bit, four equal keys at a right angle to the query, values 1, t = 2."
        ),
        shows=(
            "Ŷ is 0 or 4, Y = 2: the deviation is 2 with probability 1. The formula allows 2 "
            "e^(-2) = 0.271."
        ),
    ),
    "yoso.float32-domain": ByHand(
        instance="The row (1, 4), divided by sqrt(17) in binary32: (0.242535636, 0.970142543).",
        shows=(
            "Its product with itself is 1.000000089, in binary32 1 + 2⁻²³; the arc cosine of that "
            "is NaN."
        ),
        instead="With the cosine clipped to [-1, 1] no row is lost.",
    ),
    "yoso.hadamard-collision": ByHand(
        instance=(
            "D = τ = 4 and <x, y> < 0, for example at 120 degrees; M = H D3 H D2 H D1 has MᵀM = 64 "
            "I."
        ),
        shows=(
            "Equal signs in all four rows would make 64 <x, y> = Σ_i (Mx)_i (My)_i positive: "
            "probability 0. Independent hyperplanes give (1/3)⁴ = 0.0123."
        ),
    ),
    "bert-lsh.distinct-qk": ByHand(
        instance="d = 1, q = (1, 1), k = (1, 2); all pairs collide.",
        shows="The code writes q_1 k_2 = 2 at (1, 2) and at (2, 1); there q_2 k_1 = 1 belongs.",
        instead=(
            "The code computes a symmetric matrix: q_min(i,j)·k_max(i,j) at (i, j), where that "
            "pair collides."
        ),
    ),
    "bert-lsh.flops": ByHand(
        instance="K = 2, L = 1, n = 10, 2 heads of width 64.",
        shows=(
            "20 rows times 2 hyperplanes, a multiplication and an addition for each of 64 "
            "entries, 2 heads: 20·2·64·2·2 = 10240, the whole of the claimed 10.24 KFLOP. Scores, "
            "softmax and the product with V are not in it; with the scores of the pairs that "
            "collide we count 13241."
        ),
    ),
}
