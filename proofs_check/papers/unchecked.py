"""Statements of the papers that no finite computation can check, with the reason, and the finite
statement that stands in for each.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["UNCHECKED", "Unchecked"]


@dataclass(frozen=True, kw_only=True)
class Unchecked:
    """One statement left out of the catalogue on purpose.

    Parameters
    ----------
    statement : str
        What is claimed.
    source : str
        Where.
    reason : str
        Why it cannot be checked.
    instead : tuple of str
        Keys of the theorems that say something finite in its place; may be empty.
    remark : str
        What those say of it.
    """

    statement: str
    source: str
    reason: str
    instead: tuple[str, ...] = ()
    remark: str = ""


_SETH = "rests on the Strong Exponential Time Hypothesis, and on all algorithms"
_ASYMPTOTIC = "is asymptotic: no finite n can refute or support it"

UNCHECKED: tuple[Unchecked, ...] = (
    Unchecked(
        statement="d(e^-x) = Θ(max{sqrt(B L), L/log(L/B)}), d(e^x) = Θ(max{B, L/log(L/B)}).",
        source="Aggarwal & Alman 2022, abstract",
        reason=f"A Θ without constants {_ASYMPTOTIC}.",
        instead=(
            "aa22.minimax-bounds",
            "aa22.minimal-degrees-table",
            "aa22.elementary-bounds",
            "aa22.leading-coefficient",
            "aa22.degree-formula",
        ),
        remark=(
            "Two-sided bounds with constants, exact values in 132 cells, and the formula refuted "
            "literally next to L = B."
        ),
    ),
    Unchecked(
        statement=(
            "Batch Gaussian kernel density estimation in n^(1+o(1)) for B = o(log n), and in "
            "n^(2-o(1)) at least for B = ω(log n)."
        ),
        source="Aggarwal & Alman 2022, abstract",
        reason=f"The first half {_ASYMPTOTIC}; the second {_SETH}.",
        instead=("aa22.minimal-degrees-table",),
        remark="The degree, on which the running time depends, is exact.",
    ),
    Unchecked(
        statement=(
            "No O(n^(2-q)) algorithm approximates attention with entries of C sqrt(log n), for any "
            "q > 0."
        ),
        source="Alman & Song 2023, lower bound; Alman & Song 2024, Theorem 1.5 for the gradient",
        reason=f"It {_SETH}.",
    ),
    Unchecked(
        statement=(
            "Attention with d = O(log n) and entries o(sqrt(log n)) in time n^(1+o(1)) with error "
            "1/poly(n)."
        ),
        source=(
            "Alman & Song 2023, upper bound; Alman & Song 2024, Theorem 1.6; Liang et al. 2024, "
            "Theorem 4.1"
        ),
        reason=f"n^(1+o(1)) {_ASYMPTOTIC}.",
        instead=(
            "as23.low-rank",
            "as23.attention-error",
            "as23.degree-corrected",
            "as23.score-bound",
            "as24.error-propagation",
            "code.cost-regime",
            "code.cost-regime-degree",
        ),
        remark=(
            "Rank, degree and error with constants; with d = log n the exponent is above 1 for "
            "every n that fits a machine."
        ),
    ),
    Unchecked(
        statement="An (ε, r)-approximation has g = O(max{log(1/ε)/log(log(1/ε)/R), R²}).",
        source="Alman & Song 2023, Lemma 3.4",
        reason=f"The O {_ASYMPTOTIC}; the printed ratio is refuted with a constant.",
        instead=("as23.degree", "as23.degree-corrected"),
    ),
    Unchecked(
        statement="The gradient of m = n^(o(1)) layers in m n^(1+o(1)) with error 1/poly(n).",
        source="Liang et al. 2024, Theorem 4.2 and H.4",
        reason=(
            f"It {_ASYMPTOTIC}; the induction of H.4 multiplies the error by poly(n) per layer, "
            "which it does not track."
        ),
        instead=(
            "lss24.gradient",
            "lss24.khatri-rao",
            "lss24.causal-prefix",
            "lss24.token-map",
            "lss24.activation-smooth",
        ),
        remark=(
            "One layer exactly; across layers a Lipschitz constant per layer is needed, which the "
            "paper does not assume."
        ),
    ),
    Unchecked(
        statement=(
            "The constants of the lower bound's family of instances, such as a(λ, i) <= n² e^(2 B "
            "λ)."
        ),
        source="Alman & Song 2024, E.3",
        reason=(
            "The definitions of the family were not at hand; a factor d is missing at least once, "
            "harmlessly for d = O(log n)."
        ),
        instead=("as24.derivative-printed", "as24.derivative-bound", "as24.riemann-sum"),
        remark=(
            "The bound of the derivative, refuted without the width of V and proved with it; the "
            "lemma E.4 that uses it, with the sharp constant."
        ),
    ),
    Unchecked(
        statement=(
            "Tensor attention below the threshold o((log n)^(1/3)) in n^(1+o(1)), above it not in "
            "n^(3-δ)."
        ),
        source="Alman & Song 2024 (ICLR), abstract",
        reason=f"The first half {_ASYMPTOTIC}; the second {_SETH}.",
        instead=("as24b.tensor-features",),
        remark="The factorisation that the first half needs, with its number of features.",
    ),
    Unchecked(
        statement="Pr(...) > 1 - o(1) with k = Θ(log n), or with k independent of n.",
        source="Wang et al. 2020, Theorems 1 and 2",
        reason=f"1 - o(1) {_ASYMPTOTIC}.",
        instead=(
            "linformer.theorem-1",
            "linformer.theorem-2",
            "linformer.union-bound",
            "linformer.n-independent-branch",
        ),
        remark=(
            "With the constants of the proofs both are refuted as constructed; where the "
            "probability is vacuous, and where the branch begins."
        ),
    ),
    Unchecked(
        statement=(
            "There exist E and F, which may depend on the data, with which linear attention is "
            "within ε of softmax attention."
        ),
        source="Wang et al. 2020, Theorem 2 read as existence",
        reason=(
            "Neither proved nor refuted here, except for d = 1; no construction is given whose "
            "success could be sampled."
        ),
        instead=("linformer.theorem-2", "ours.mean-pool", "ours.row-sample"),
        remark="The printed construction is refuted; two constructions with bounds replace it.",
    ),
    Unchecked(
        statement=(
            "Linformer and YOSO reach the accuracy of standard transformers on the benchmarks of "
            "the papers."
        ),
        source="Wang et al. 2020, Table 2; Zeng et al. 2021, experiments; Li & Yip 2024, results",
        reason="It is about training, on single seeds, and was not repeated.",
        instead=("linformer.null-baseline",),
        remark=(
            "On heads of an untouched model the criterion of Theorem 2 is passed by the zero "
            "output."
        ),
    ),
    Unchecked(
        statement="Attention estimation in linear time.",
        source="Zeng et al. 2021, abstract",
        reason=f"O(n) {_ASYMPTOTIC}; the constant 2^τ m matters at every n in use.",
        instead=(
            "code.cost-yoso",
            "code.cost-yoso-sampled",
            "code.cost-regimes",
            "yoso.variance",
            "yoso.sampled-gradient",
        ),
        remark=(
            "Counted operations of our own code and their exponent in n; the exact variance at "
            "given m, and the gradient by tables."
        ),
    ),
    Unchecked(
        statement="Buckets shared across all hash functions; BERT-LSH outperforms in fine-tuning.",
        source="Li & Yip 2024, introduction and abstract",
        reason=(
            "The first contradicts the code, but not at the single table in use; the second is "
            "about training on one seed."
        ),
        instead=(
            "bert-lsh.collision",
            "bert-lsh.flops",
            "bert-lsh.honest-flops",
            "bert-lsh.not-subquadratic",
        ),
    ),
)
