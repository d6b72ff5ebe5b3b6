"""Statement by statement: what became of the paper of Liang et al.

The paper (version 2) was read to its last appendix.
"""

from __future__ import annotations

from proofs_check.statements.coverage import Place

_SUMS = {6: "D.10", 7: "D.11", 8: "D.12", 2: "D.13", 4: "D.14"}
_FORMS = {6: "E.2", 7: "E.4", 2: "E.7", 4: "E.9"}
_ALMOST_LINEAR = (
    "n^(1+o(1)) and 1/poly(n) are asymptotic; the exact formulas and the constants are the "
    "entries of its lemmas"
)

COVERAGE: tuple[Place, ...] = (
    Place(
        place="Definitions 1.1 to 1.3, 3.1, 3.3, C.3, C.5 to C.12, D.15, F.1, I.2, I.5, J.1, J.2",
        says="the layers, the loss and the parts of the gradient",
        absence="definition",
    ),
    Place(
        place="Theorems 1.4, 4.1, 4.2",
        says="gradients in almost linear time, without a bound on the entries",
        entries=("lss24.bounded-entries",),
    ),
    Place(
        place="Fact C.1",
        says="rules for inner and Hadamard products",
        absence="not checkable",
        why="notation: identities that hold for any vectors and test no idea of the paper",
    ),
    Place(
        place="Fact C.2", says="entrywise product of two products", entries=("lss24.khatri-rao",)
    ),
    Place(
        place="Lemma C.4 (3.4)",
        says="the chain rule through one layer",
        absence="not checkable",
        why="the chain rule itself, used in every entry on a gradient",
    ),
    Place(
        place="After C.3, and F.4",
        says="gradients in W_Q and W_K from that in W",
        entries=("lss24.query-key-weights",),
    ),
    Place(
        place="Definition C.6, Lemma C.13",
        says="low rank of f under |X W|, |X| <= R, scores without 1/d",
        entries=("lss24.score-bound-printed", "lss24.bounded-entries"),
    ),
    Place(place="Lemma C.14", says="error of s", entries=("lss24.output-error",)),
    Place(
        place="Lemmas C.15, C.16",
        says="low rank of p₁ and p₂",
        entries=("as24.error-p1", "as24.error-p2", "as24.p2-corrected"),
    ),
    Place(place="Lemmas C.17, C.19", says="sizes of f and s", entries=("lss24.output-range",)),
    Place(place="Lemma C.18", says="size of h", entries=("lss24.values-size",)),
    Place(
        place="Lemmas D.1 to D.9",
        says="the eight terms of ds/dX, and their sum",
        entries=("lss24.entry-derivatives", "lss24.gradient-t-reading"),
    ),
    *(
        Place(
            place=f"Lemma {lemma}",
            says=f"the sum of the terms B{k} as a product",
            entries=(f"lss24.double-sum-{k}",),
        )
        for k, lemma in _SUMS.items()
    ),
    Place(place="Definition D.16", says="K = (G ∘ s) 1", entries=("lss24.row-sums",)),
    Place(
        place="Lemmas D.17 and E.11 (5.1)",
        says="dL/dX as five products",
        entries=("lss24.gradient", "lss24.gradient-t-printed", "lss24.gradient-t-reading"),
    ),
    Place(place="Lemma E.1", says="K in O(n d)", entries=("lss24.k-cost",)),
    *(
        Place(
            place=f"Lemma {lemma}",
            says=f"low rank of z{k}",
            entries=(f"lss24.low-rank-z{k}",),
        )
        for k, lemma in _FORMS.items()
    ),
    Place(
        place="Lemmas E.3, E.5, E.6, E.8, E.10",
        says="errors of the five terms",
        entries=("lss24.term-error",),
    ),
    Place(
        place="Lemma F.3",
        says="ds/dW entry by entry",
        entries=("as24.entry-derivatives",),
    ),
    Place(place="Lemma F.4", says="dL/dW = Xᵀ p X", entries=("lss24.gradient",)),
    Place(
        place="Lemma F.5 (5.2)",
        says="error n² of dL/dW",
        entries=("as24.error-propagation",),
    ),
    Place(place="Lemmas G.1, G.2", says="ds/dW_V entry by entry", entries=("lss24.values-entry",)),
    Place(
        place="Lemma G.3, Algorithm 1",
        says="dL/dW_V = Xᵀ f G",
        entries=("lss24.gradient-wv-printed", "lss24.gradient"),
    ),
    Place(
        place="Lemma G.4 (5.3)",
        says="error n² of dL/dW_V",
        entries=("as24.error-propagation",),
    ),
    Place(
        place="Lemmas H.1, H.2 (5.4)",
        says="gradient through φ(Z W_g), for any φ",
        entries=("lss24.token-map", "lss24.activation", "lss24.activation-smooth"),
    ),
    Place(
        place="Lemmas H.3, H.4 (5.5)",
        says="error over one and over m layers",
        entries=("lss24.error-over-layers",),
    ),
    Place(
        place="Lemma I.1",
        says="degree and rank, from Alman & Song 2023",
        entries=("as23.degree", "as23.low-rank"),
    ),
    Place(
        place="Lemmas I.3, I.4, Algorithm 2",
        says="causal products by prefix sums in O(n k)",
        entries=("lss24.causal-prefix", "lss24.causal-cost"),
    ),
    Place(
        place="Lemma I.6",
        says="entrywise products under the mask",
        entries=("lss24.causal-hadamard",),
    ),
    Place(
        place="Lemma I.7",
        says="D2, D6, D8 and dL/dW_V under the mask",
        entries=("lss24.causal-dot", "lss24.causal-gradient"),
    ),
    Place(
        place="Lemma I.8",
        says="D4, D7 and dL/dW under the mask",
        entries=("lss24.causal-entrywise", "lss24.causal-gradient"),
    ),
    Place(
        place="Lemma J.3",
        says="gradient through Y = X + H(X); its last line prints poly(n) for 1/poly(n)",
        entries=("lss24.residual",),
    ),
    Place(
        place="Lemmas J.4, J.5",
        says="a layer, and layers, with both residual connections",
        entries=("lss24.residual-layer",),
    ),
    Place(
        place="Definition K.1, Lemma K.2",
        says="gradient through several heads",
        entries=("lss24.multi-head",),
    ),
    Place(
        place="Running times of E.3 to K.2",
        says="each in n^(1+o(1))",
        absence="not checkable",
        why=_ALMOST_LINEAR,
    ),
    Place(
        place="Remark 3.2, appendix B",
        says="losses, prompt tuning, system aspects",
        absence="not checkable",
        why="remarks without a statement of their own",
    ),
    Place(
        place="Published code",
        says="forward pass, and the table of errors",
        entries=("lss24.code-normaliser", "lss24.code-error-metric"),
    ),
)
