"""What Wang et al. 2020 claim that no finite computation can check."""

from __future__ import annotations

from proofs_check.statements.unchecked import ASYMPTOTIC, Unchecked

UNCHECKED = (
    Unchecked(
        statement="Pr(...) > 1 - o(1) with k = Θ(log n), or with k independent of n.",
        source="Wang et al. 2020, Theorems 1 and 2",
        reason=f"1 - o(1) {ASYMPTOTIC}.",
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
            "There exist E and F, which may depend on the data but serve all rows, with which "
            "linear attention is within ε of softmax attention."
        ),
        source="Wang et al. 2020, Theorem 2 read as existence",
        reason=(
            "Neither proved nor refuted here, except for d = 1; no construction is given whose "
            "success could be sampled."
        ),
        instead=(
            "linformer.theorem-2",
            "linformer.theorem-2-existence",
            "ours.mean-pool",
            "ours.row-sample",
        ),
        remark=(
            "The printed construction is refuted; for one row existence is trivial; two "
            "constructions with bounds replace it."
        ),
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
)
