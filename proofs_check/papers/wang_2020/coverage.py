"""What became of each numbered statement of Wang et al. 2020, read in full but for its figures."""

from proofs_check.statements.coverage import Place

_LIMIT = (
    "1 - o(1) says nothing of any finite n; with the constants of the proof it is one of the "
    "entries named elsewhere."
)

COVERAGE = (
    Place(
        place="eq. (2)",
        says="softmax attention of one head",
        absence="definition",
    ),
    Place(
        place="eqs. (4), (15)",
        says="P = exp(A) D_A⁻¹ with column sums",
        entries=("linformer.column-normalisation",),
    ),
    Place(
        place="Theorem 1, eqs. (3), (5), (18) to (20)",
        says="P RᵀR w is within ε of P w",
        entries=("linformer.theorem-1",),
    ),
    Place(
        place="Theorem 1, as existence",
        says="some low-rank matrix reproduces P w",
        entries=("linformer.theorem-1-existence", "linformer.one-matrix-for-all"),
    ),
    Place(
        place="Theorem 1, k = 5 log n/(ε² - ε³) and its probability",
        says="the size of k, and what the union bound leaves",
        entries=("linformer.experiments-k", "linformer.union-bound"),
    ),
    Place(
        place="Lemma 1, eq. (11)",
        says="norm of a projected vector",
        entries=("linformer.lemma-1-norm",),
    ),
    Place(
        place="Lemma 1, eq. (12)",
        says="product of two projected vectors",
        entries=("linformer.lemma-1", "linformer.lemma-1-product"),
    ),
    Place(
        place="Theorem 2, eqs. (8), (10)",
        says="softmax(w Eᵀ) F V is within ε of softmax(w) V",
        entries=(
            "linformer.theorem-2",
            "linformer.theorem-2-existence",
            "linformer.null-baseline",
        ),
    ),
    Place(
        place="eqs. (9), (21), (22a), (24)",
        says="the same before the normaliser, row by row",
        entries=("linformer.unnormalised",),
    ),
    Place(
        place="eqs. (22b), (23)",
        says="exp passes through a projection by Lipschitz continuity",
        entries=("linformer.exp-of-projection",),
    ),
    Place(
        place="appendix B, δ = 1/2ⁿ and δ = θ(1/n)",
        says="a small δ",
        entries=("linformer.delta-limit",),
    ),
    Place(
        place="eqs. (25), (26)",
        says="2d rows determine the others",
        entries=(
            "linformer.row-coefficients",
            "linformer.maximal-volume-rows",
            "linformer.rank-of-exponential",
        ),
    ),
    Place(
        place="appendix B, after eq. (26)",
        says="a sum of norms by the norm of a block",
        entries=("linformer.sum-of-row-norms", "linformer.sum-of-row-norms-corrected"),
    ),
    Place(
        place="appendix B, the union bound over the chosen rows",
        says="25 holds for rows that depend on R",
        absence="not checkable",
        why=(
            "A gap, not a claim: the rows are chosen after R, so a bound for rows fixed beforehand "
            "does not apply to them; the text names no other."
        ),
    ),
    Place(
        place="appendix B, from (24) to (8)",
        says="the normaliser of the softmax",
        absence="not checkable",
        why="A gap, not a claim: the normaliser is not mentioned; (8) has its own entry.",
    ),
    Place(
        place="Theorem 2, min{Θ(9 d log d/ε²), 5 Θ(log n/ε²)}",
        says="k independent of n, and the four sizes of k",
        entries=("linformer.n-independent-branch", "linformer.four-k"),
    ),
    Place(
        place="Theorems 1 and 2, probability 1 - o(1)",
        says="limits as n grows",
        absence="not checkable",
        why=_LIMIT,
    ),
    Place(
        place="Table 1",
        says="complexity per layer",
        entries=("code.cost-linformer-gaussian",),
    ),
    Place(
        place="Figures 1 and 3, Tables 2 and 3",
        says="spectra, perplexity, accuracy, speed",
        absence="not checkable",
        why="Measurements on trained models and one GPU.",
    ),
)
