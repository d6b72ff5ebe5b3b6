"""Around the attention matrix: its output, the query and key weights, the map after it.

Citation and letters: `gradient`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- row sums of p1 -------------------------------------------------------------------------------


def _row_sums(n: int, d: int, *, of_g: bool = False) -> Iterator[Identity]:
    source = layer.indeterminates({"f": (n, n - 1), "g": (n, d), "h": (n, d)})
    f, g, h = layer.weights(source("f", n, n - 1)), source("g", n, d), source("h", n, d)
    p1, k = f * (g @ h.T), np.sum(g * (h if of_g else f @ h), axis=1)
    for i in range(n):
        yield Identity(np.sum(p1[i]), k[i], f"K_{i}")
        yield Identity(np.sum((p1 - k[:, None] * f)[i]), 0, f"row {i} of p = p1 - p2 sums to 0")


ROW_SUMS = Theorem(
    key="lss24.row-sums",
    title="row sums of the gradient's core matrix",
    statement=(
        "K = (G ∘ s) 1 equals p1 1 for p1 = f ∘ (G hᵀ), and the rows of p = p1 - diag(K) f sum to "
        "0."
    ),
    source=Source(
        citation=CITATION, place="D.16", fidelity="constants made explicit", wording_verified=True
    ),
    reading="any weights f whose rows sum to 1; so K costs O(n d) once s is known",
    experiments=(
        Symbolic(
            identities=partial(_row_sums, 3, 2),
            covers="statement",
            scope="n = 3, d = 2, all inputs",
        ),
        Symbolic(
            identities=partial(_row_sums, 6, 3),
            covers="statement",
            scope="n = 6, d = 3, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_row_sums, 2, 1, of_g=True), covers="statement", scope="h in place of s"
    ),
)

# --- the range of the output ----------------------------------------------------------------------


def _range(n: int, weight: int = 1) -> Iterator[Identity]:
    source = layer.indeterminates({"f": (1, n - 1), "h": (n, 1), "lo": (1, 1), "hi": (1, 1)})
    f, h = layer.weights(source("f", 1, n - 1)), source("h", n, 1)
    low, high = source("lo", 1, 1)[0, 0], source("hi", 1, 1)[0, 0]
    s = (f @ h)[0, 0]
    yield Identity(
        s - weight * low, sum((f[0, j] * (h[j, 0] - low) for j in range(n)), 0 * low), "s - min h"
    )
    yield Identity(
        high - s, sum((f[0, j] * (high - h[j, 0]) for j in range(n)), 0 * low), "max h - s"
    )


OUTPUT_RANGE = Theorem(
    key="lss24.output-range",
    title="the output lies among the values",
    statement=(
        "min_j h_jc <= s_ic <= max_j h_jc for every row i and column c; in particular ‖s‖∞ <= ‖h‖∞."
    ),
    source=Source(
        citation=CITATION,
        place="C.17 to C.19, which have ‖s‖ <= poly(n)",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading=(
        "f positive with rows that sum to 1: s - min h and max h - s are sums of weights times "
        "numbers that are not negative"
    ),
    experiments=(
        Symbolic(
            identities=partial(_range, 6),
            covers="statement",
            scope="n = 6, one row and column, all inputs",
        ),
    ),
    expected=Status.PROVED,
    bookkeeping=True,
    mutant=Symbolic(
        identities=partial(_range, 3, 2), covers="statement", scope="2 min h in place of min h"
    ),
    remarks=("It fails for an approximation whose weights can be negative: sata.convex-hull.",),
)

# --- W_Q and W_K ----------------------------------------------------------------------------------
# W = W_Q W_K^T. In the direction Z of W_Q, W moves by Z W_K^T, so L by <A, Z W_K^T> for A = dL/dW;
# in that of W_K, by <A, W_Q Z^T>.


def _query_key(d: int, width: int, *, swapped: bool = False) -> Iterator[Identity]:
    source = layer.indeterminates(
        {"a": (d, d), "wq": (d, width), "wk": (d, width), "z": (d, width)}
    )
    a, wq, wk, z = (
        source("a", d, d),
        source("wq", d, width),
        source("wk", d, width),
        source("z", d, width),
    )
    yield Identity(np.sum(a * (z @ wk.T)), np.sum(((a.T if swapped else a) @ wk) * z), "dL/dW_Q")
    yield Identity(np.sum(a * (wq @ z.T)), np.sum((a.T @ wq) * z), "dL/dW_K")


QUERY_KEY = Theorem(
    key="lss24.query-key-weights",
    title="gradients in the query and key weights",
    statement="dL/dW_Q = (dL/dW) W_K and dL/dW_K = (dL/dW)ᵀ W_Q for W = W_Q W_Kᵀ.",
    source=Source(
        citation=CITATION,
        place="F.4 and its remark on W_Q; W_K is ours",
        fidelity="corrected",
        wording_verified=True,
    ),
    experiments=(
        Symbolic(
            identities=partial(_query_key, 2, 2),
            covers="statement",
            scope="d = 2, width 2, all inputs and directions",
        ),
        Symbolic(
            identities=partial(_query_key, 5, 3),
            covers="statement",
            scope="d = 5, width 3, all inputs and directions",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_query_key, 2, 1, swapped=True), covers="statement", scope="(dL/dW)ᵀ W_K"
    ),
    uses=("lss24.gradient",),
)

# --- the map after the attention ------------------------------------------------------------------
# g(Z) = phi(Z W_g) entrywise, phi a cubic with free coefficients: its derivative is read off as the
# coefficient of t in phi(Y + t E W_g).


def _token_map(n: int, d: int, *, transposed: bool = False) -> Iterator[Identity]:
    shapes = {"z": (n, d), "w": (d, d), "b": (n, d), "e": (n, d), "c": (1, 4), "t": (1, 1)}
    source = layer.indeterminates(shapes)
    z, w, b, e = (source(name, *shapes[name]) for name in "zwbe")
    c, t = source("c", 1, 4)[0], source("t", 1, 1)[0, 0]
    y, moved = z @ w, (z + e * t) @ w
    change = sum((np.sum(b * (moved**k - y**k)) * c[k] for k in range(1, 4)), 0 * t)
    g = (b * (y**2 * (3 * c[3]) + y * (2 * c[2]) + c[1])) @ (w if transposed else w.T)
    yield Identity(change.diff(t).subs(t, 0), np.sum(g * e), "<G, E>")


MLP = Theorem(
    key="lss24.token-map",
    title="gradient through the map after the attention",
    statement="For g(Z) = φ(Z W_g) entrywise and B = dL/dg: dL/dZ = (B ∘ φ'(Z W_g)) W_gᵀ.",
    source=Source(
        citation=CITATION,
        place="H.1, H.2",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "φ any cubic (free coefficients), which takes any value and slope at one point; Z the "
        "exact output of the attention"
    ),
    experiments=(
        Symbolic(
            identities=partial(_token_map, 1, 2),
            covers="statement",
            scope="n = 1, d = 2, all inputs and directions",
        ),
        Symbolic(
            identities=partial(_token_map, 2, 2),
            covers="statement",
            scope="n = 2, d = 2, all inputs and directions",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_token_map, 1, 2, transposed=True),
        covers="statement",
        scope="W_g in place of its transpose",
    ),
    uses=("lss24.activation-smooth",),
)

THEOREMS = (ROW_SUMS, OUTPUT_RANGE, QUERY_KEY, MLP)
