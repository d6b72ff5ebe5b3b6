"""Y. Liang et al. on multi-layer transformers: the gradients of one attention layer.

Y. Liang, Z. Sha, Z. Shi, Z. Song and Y. Zhou, "Multi-Layer Transformers Gradient Can be
Approximated in Almost Linear Time", arXiv 2408.13233v2 (2024). The paper backpropagates through a
stack of attention layers in almost linear time. Every gradient of a layer is a sum of products with
the attention matrix, or with its entrywise product by a matrix of rank d. The attention matrix has
low rank up to a small error when its entries are bounded.

Here: the gradients of one layer as they must be, and as they are printed.

Read: the paper's text.

    paper                        here
    T_{i-1}, W = W_Q W_K^T       X, W; scores S = beta X W X^T
                                 (beta = 1/d in Definition 1.2, 1 in C.6)
    f, h = X W_V, s = f h        the same; Attn(X) = s
    G_i = dL / dAttn_i           G; near the point L = <G, s> up to a constant,
                                 so a linear loss is no restriction
    K = (G * s) 1 (D.16)         K_i = <G_i, s_i>
    z6, z7, z2, z4, D2, ..., D8  the five terms of dL/dX (E.11)
    p = p1 - p2                  P = f * (G h^T - K 1^T)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

Inputs = Mapping[str, Any]
"""Matrices f (n, n), x (n, d), w (d, d), v (d, d) for W_V, g (n, d), the scale beta (1, 1), and
directions zx, zw, zv.
"""

# 1. Derivatives in the directions Z of X, W, W_V, with U = G h^T (the loss is sum_ij f_ij U_ij):
#        X:    S' = beta (Z W X^T + X W Z^T),  U' = G (Z W_V)^T
#        W:    S' = beta X Z X^T,              U' = 0
#        W_V:  S' = 0,                         U' = G (X Z)^T
# 2. Total degree of the residues: two f, one U (G, X, W_V) and one S' (beta, X, W, Z). That is at
#    most 2 + 3 + 4 = 9 on either side.
# 3. Identity testing errs with probability at most 9 / p < 2^-57.


def slopes(m: Inputs) -> dict[str, Any]:
    """The three directional derivatives by the quotient rule."""
    f, x, w, v, g, beta = (m[name] for name in ("f", "x", "w", "v", "g", "beta"))
    u, zero = g @ (x @ v).T, 0 * f
    moved = m["zx"] @ w @ x.T + x @ w @ m["zx"].T
    return {
        "X": layer.attention_loss_slope(f, beta * moved, u, g @ (m["zx"] @ v).T),
        "W": layer.attention_loss_slope(f, beta * (x @ m["zw"] @ x.T), u, zero),
        "W_V": layer.attention_loss_slope(f, zero, u, g @ (x @ m["zv"]).T),
    }


def five_terms(m: Inputs) -> Any:
    """dL/dX as it must be: D2 + D4 + D6 + D7 + D8 with f^T and W where they belong."""
    f, x, w, v, g, beta = (m[name] for name in ("f", "x", "w", "v", "g", "beta"))
    h = x @ v
    k = np.sum(g * (f @ h), axis=1)[:, None]  # (n, 1)
    d2, d4 = -(k * f) @ x @ w.T, (f * (g @ h.T)) @ x @ w.T
    d6, d7 = -(f.T @ (k * (x @ w))), (f.T * (h @ g.T)) @ x @ w
    return beta * (d2 + d4 + d6 + d7) + f.T @ g @ v.T


def five_printed_terms(m: Inputs) -> Any:
    """D.17 and E.11 as printed, beta where Definition 1.2 puts it."""
    f, x, w, v, g, beta = (m[name] for name in ("f", "x", "w", "v", "g", "beta"))
    h = x @ v
    k = np.sum(g * (f @ h), axis=1)[:, None]
    d2, d4 = -(k * f) @ x @ w, (f * (g @ h.T)) @ x @ w
    d6, d7 = -(f * k.T) @ x @ w.T, (f * (h @ g.T)) @ x @ w.T
    return beta * (d2 + d4 + d6 + d7) + f @ g @ v.T


def _gradients(m: Inputs) -> dict[str, Any]:
    f, x, g, h = m["f"], m["x"], m["g"], m["x"] @ m["v"]
    k = np.sum(g * (f @ h), axis=1)[:, None]
    p = f * (g @ h.T - k)
    return {"X": five_terms(m), "W": m["beta"] * (x.T @ p @ x), "W_V": x.T @ f.T @ g}


def _with_f_for_its_transpose(m: Inputs) -> dict[str, Any]:
    return {
        **_gradients(m),
        "X": five_terms(m) - m["f"].T @ m["g"] @ m["v"].T + m["f"] @ m["g"] @ m["v"].T,
    }


def _draw(source: layer.Source, n: int, d: int) -> Inputs:
    square = {name: source(name, d, d) for name in ("w", "v", "zw", "zv")}
    tall = {name: source(name, n, d) for name in ("x", "g", "zx")}
    return {
        **square,
        **tall,
        "f": layer.weights(source("f", n, n - 1)),
        "beta": source("beta", 1, 1),
    }


def _identities(
    source: layer.Source, n: int, d: int, gradients: Any = _gradients
) -> Iterator[Identity]:
    m = _draw(source, n, d)
    found, claimed = slopes(m), gradients(m)
    for name, direction in (("X", "zx"), ("W", "zw"), ("W_V", "zv")):
        yield Identity(
            found[name], np.sum(claimed[name] * m[direction]), f"dL/d{name}, n = {n}, d = {d}"
        )


def _symbolic(n: int, d: int, gradients: Any = _gradients) -> Iterator[Identity]:
    square = dict.fromkeys(("w", "v", "zw", "zv"), (d, d))
    tall = dict.fromkeys(("x", "g", "zx"), (n, d))
    shapes = {"f": (n, n - 1), "beta": (1, 1), **square, **tall}
    return _identities(layer.indeterminates(shapes), n, d, gradients)


GRADIENT = Theorem(
    key="lss24.gradient",
    title="gradients of one self-attention layer",
    statement=(
        "With S = β X W Xᵀ, f = softmax(S), h = X W_V, s = f h, G = dL/ds, K_i = <G_i, s_i>, P = "
        "f ∘ (G hᵀ - K 1ᵀ): dL/dW = β Xᵀ P X, dL/dW_V = Xᵀ fᵀ G, dL/dX = D2 + D4 + D6 + D7 + D8 = "
        "β (P X Wᵀ + Pᵀ X W) + fᵀ G W_Vᵀ, where D2 = -β diag(K) f X Wᵀ, D4 = β (f ∘ (G hᵀ)) X Wᵀ, "
        "D6 = -β fᵀ diag(K) X W, D7 = β (fᵀ ∘ (h Gᵀ)) X W, D8 = fᵀ G W_Vᵀ."
    ),
    source=Source(
        citation=CITATION,
        place="F.4 (dL/dW), G.3 (dL/dW_V), D.17 and E.11 (dL/dX), put right",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading="every β and every direction at once; exp(S_ij) as free indeterminates; no mask",
    experiments=(
        Symbolic(
            identities=partial(_symbolic, 3, 2),
            covers="statement",
            scope="n = 3, d = 2, all inputs and every β",
        ),
        Symbolic(
            identities=partial(_symbolic, 5, 2),
            covers="statement",
            scope="n = 5, d = 2, all inputs and every β",
        ),
        Symbolic(
            identities=partial(layer.tested, _identities, 32, 8),
            grade="pit(2^-57)",
            covers="statement",
            scope="n = 32, d = 8, all inputs and every β",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_symbolic, 2, 1, _with_f_for_its_transpose),
        covers="statement",
        scope="f in place of fᵀ in D8",
    ),
    remarks=(
        "Three of the five terms multiply by fᵀ: with a causal mask they are suffix sums, of which "
        "the paper has none.",
    ),
)

# --- one Khatri-Rao product -----------------------------------------------------------------------
# 1. Row i of (U kr A) holds all products U_ia A_ib.
# 2. So (U kr A)(V kr B)^T = (U V^T) * (A B^T) entrywise; take A = [G, -K], B = [h, 1].
# 3. Degree 4 on either side (U, V, G, h): identity testing errs with probability at most
#    4 / p < 2^-58.


def _khatri_rao(u: Any, a: Any) -> Any:
    return np.concatenate([u[:, i : i + 1] * a for i in range(u.shape[1])], axis=1)


def _one_product(
    source: layer.Source, n: int, d: int, r: int, sign: int = -1
) -> Iterator[Identity]:
    u, v = source("u", n, r), source("v", n, r)
    g, h, k = source("g", n, d), source("h", n, d), source("k", n, 1)
    ones = 0 * k + 1
    left, right = (
        _khatri_rao(u, np.concatenate([g, sign * k], axis=1)),
        _khatri_rao(v, np.concatenate([h, ones], axis=1)),
    )
    yield Identity(left.shape[1], r * (d + 1), "width")
    found, claimed = left @ right.T, (u @ v.T) * (g @ h.T - k)
    for i in range(n):
        for j in range(n):
            yield Identity(found[i, j], claimed[i, j], f"entry {i}, {j}")


def _one_product_symbolic(n: int, d: int, r: int, sign: int = -1) -> Iterator[Identity]:
    shapes = {"u": (n, r), "v": (n, r), "g": (n, d), "h": (n, d), "k": (n, 1)}
    return _one_product(layer.indeterminates(shapes), n, d, r, sign)


KHATRI_RAO = Theorem(
    key="lss24.khatri-rao",
    title="the gradient's core matrix as one low-rank product",
    statement=(
        "For f̃ = U Vᵀ of rank r: f̃ ∘ (G hᵀ - K 1ᵀ) = (U ⊘ [G, -K]) (V ⊘ [h, 1])ᵀ, of rank at "
        "most r (d + 1). (⊘: row-wise Khatri-Rao product.)"
    ),
    source=Source(
        citation=CITATION,
        place="C.2 (also Alman & Song 2024, A.2), applied to p1 and p2 at once",
        fidelity="ours",
        wording_verified=True,
    ),
    reading="p1 and p2 in one product; U, V, G, K, h of any values",
    experiments=(
        Symbolic(
            identities=partial(_one_product_symbolic, 6, 3, 3),
            covers="statement",
            scope="n = 6, d = 3, r = 3, all inputs",
        ),
        Symbolic(
            identities=partial(layer.tested, _one_product, 32, 8, 5),
            grade="pit(2^-58)",
            covers="statement",
            scope="n = 32, d = 8, r = 5, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_one_product_symbolic, 2, 1, 1, 1),
        covers="statement",
        scope="K in place of -K",
    ),
)

THEOREMS = (GRADIENT, KHATRI_RAO)
