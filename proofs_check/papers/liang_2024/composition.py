"""Layers put together (Liang et al. 2024, appendices H, J, K): heads, residuals, errors.

Citation and letters: `gradient`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.liang_2024.gradient import five_terms, slopes
from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def _source(place: str, fidelity: Any = "corrected") -> Source:
    return Source(citation=CITATION, place=place, fidelity=fidelity, wording_verified=True)


def _pair(symbolic: Any, tested: Any, small: str, large: str) -> tuple[Symbolic, Symbolic]:
    """All inputs of a small size by computer algebra, of a larger one by identity testing.

    Degrees are at most 12 on either side: 12/p < 2^-57.
    """
    return (
        Symbolic(identities=symbolic, covers="statement", scope=f"{small}, all inputs"),
        Symbolic(
            identities=tested,
            grade="pit(2^-57)",
            covers="statement",
            scope=f"{large}, all inputs",
        ),
    )


# --- the reading under which D.17 is right --------------------------------------------------------
# D.1 has f_{*,i0} where row i0 of f, written as a column, is meant, and W where W^T is. So let the
# scores be X W^T X^T, and put f^T for f in D6, D7 and D8: exactly `five_terms` with W^T for W.


def _read(source: layer.Source, n: int, d: int, *, turned: bool = True) -> Iterator[Identity]:
    square = {name: source(name, d, d) for name in ("w", "v")}
    tall = {name: source(name, n, d) for name in ("x", "g", "zx")}
    m: dict[str, Any] = {**square, **tall, "f": layer.weights(source("f", n, n - 1))}
    m |= {"beta": source("beta", 1, 1), "zw": 0 * m["w"], "zv": 0 * m["v"]}
    h, k = m["x"] @ m["v"], np.sum(m["g"] * (m["f"] @ m["x"] @ m["v"]), axis=1)[:, None]
    first = (m["f"] * (m["g"] @ h.T) - k * m["f"]) @ m["x"] @ m["w"]
    f = m["f"].T if turned else m["f"]
    second = (f * (h @ m["g"].T) - f * k.T) @ m["x"] @ m["w"].T
    claimed = m["beta"] * (first + second) + f @ m["g"] @ m["v"].T
    found = slopes({**m, "w": m["w"].T})["X"]
    yield Identity(found, np.sum(claimed * m["zx"]), f"n = {n}, d = {d}")


def _read_symbolic(n: int, d: int, *, turned: bool = True) -> Iterator[Identity]:
    shapes = {**dict.fromkeys(("w", "v"), (d, d)), **dict.fromkeys(("x", "g", "zx"), (n, d))}
    source = layer.indeterminates({**shapes, "f": (n, n - 1), "beta": (1, 1)})
    return _read(source, n, d, turned=turned)


READING = Theorem(
    key="lss24.gradient-t-reading",
    title="the five terms read with rows of f and the transpose of W",
    statement=(
        "For scores β X Wᵀ Xᵀ: dL/dX = D2 + D4 + D6 + D7 + D8 with D2 and D4 as in Lemma D.17 and "
        "fᵀ for f in D6, D7, D8, each but D8 times β."
    ),
    source=_source(
        "Lemma D.17, f_{*,i0} read as row i0 of f (as Definition C.8 writes rows) and W as Wᵀ"
    ),
    reading="every β and every direction of X; no mask; K_i = <G_i, s_i>",
    experiments=_pair(
        partial(_read_symbolic, 3, 2),
        partial(layer.tested, _read, 24, 6),
        "n = 3, d = 2",
        "n = 24, d = 6",
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_read_symbolic, 2, 1, turned=False),
        covers="statement",
        scope="f in place of fᵀ",
    ),
    uses=("lss24.gradient",),
)

# --- several heads --------------------------------------------------------------------------------
# <G, [s_1, ..., s_h]> = sum_l <G_l, s_l> with G_l the columns of head l; each head has its own f, W
# and W_V of d/h columns. Degree as in `gradient`: 9.


def _heads(
    source: layer.Source, n: int, d: int, heads: int, *, whole: int = 0
) -> Iterator[Identity]:
    width = d // heads
    x, zx, g = source("x", n, d), source("zx", n, d), source("g", n, d)
    total = claimed = 0 * source("beta", 1, 1)[0, 0]
    for l in range(heads):
        m = {"x": x, "zx": zx, "beta": source("beta", 1, 1), "w": source(f"w{l}", d, d)}
        m |= {"f": layer.weights(source(f"f{l}", n, n - 1)), "v": source(f"v{l}", d, width)}
        m |= {"g": g[:, l * width : (l + 1) * width], "zw": 0 * m["w"], "zv": 0 * m["v"]}
        total = total + slopes(m)["X"]
        part = m if l >= whole else {**m, "g": g[:, -width:]}
        claimed = claimed + np.sum(five_terms(part) * zx)
    yield Identity(total, claimed, f"{heads} heads")


def _heads_symbolic(n: int, d: int, heads: int, *, whole: int = 0) -> Iterator[Identity]:
    shapes = {**dict.fromkeys(("x", "zx", "g"), (n, d)), "beta": (1, 1)}
    for l in range(heads):
        shapes |= {f"w{l}": (d, d), f"f{l}": (n, n - 1), f"v{l}": (d, d // heads)}
    return _heads(layer.indeterminates(shapes), n, d, heads, whole=whole)


HEADS = Theorem(
    key="lss24.multi-head",
    title="gradient through several heads",
    statement=(
        "For s = [f₁ X W_V1, ..., f_h X W_Vh] with f_l = softmax(β X W_l Xᵀ): dL/dX is the sum "
        "over the heads of lss24.gradient with G_l, the columns of G that belong to head l."
    ),
    source=_source("Definition K.1 and Lemma K.2, the gradient of one head put right"),
    reading="β = h/d in the paper, here any; no output projection, as in K.1",
    experiments=_pair(
        partial(_heads_symbolic, 2, 2, 2),
        partial(layer.tested, _heads, 12, 6, 3),
        "n = 2, d = 2, two heads",
        "n = 12, d = 6, three heads",
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_heads_symbolic, 2, 2, 2, whole=1),
        covers="statement",
        scope="the first head with the columns of the last",
    ),
    uses=("lss24.gradient",),
)

# --- residual connections -------------------------------------------------------------------------
# Z = X + s(X) and T = Z + phi(Z W_g). P stands for phi'(Z W_g), which takes any values.
#
# 1. In the direction E of X: Z' = E + s', with s' column by column by the quotient rule.
# 2. <B, T'> = <B, Z'> + <B, P * (Z' W_g)> for B = dL/dT.
# 3. Claimed: G = B + (B * P) W_g^T and dL/dX = G + the five terms for G.


def _output_slope(m: dict[str, Any]) -> Any:
    f, x, w, v, e, beta = (m[name] for name in ("f", "x", "w", "v", "zx", "beta"))
    moved = f * (beta * (e @ w @ x.T + x @ w @ e.T))
    return moved @ x @ v - np.sum(moved, axis=1)[:, None] * (f @ x @ v) + f @ e @ v


def _residual(source: layer.Source, n: int, d: int, *, skip: bool = True) -> Iterator[Identity]:
    m: dict[str, Any] = {name: source(name, d, d) for name in ("w", "v", "wg")}
    m |= {name: source(name, n, d) for name in ("x", "zx", "b", "p")}
    m |= {"f": layer.weights(source("f", n, n - 1)), "beta": source("beta", 1, 1)}
    moved = m["zx"] + _output_slope(m)
    slope = np.sum(m["b"] * moved) + np.sum(m["b"] * m["p"] * (moved @ m["wg"]))
    inner = (m["b"] * m["p"]) @ m["wg"].T
    g = m["b"] + inner if skip else inner
    claimed = g + five_terms({**m, "g": g})
    yield Identity(slope, np.sum(claimed * m["zx"]), f"n = {n}, d = {d}")


def _residual_symbolic(n: int, d: int, *, skip: bool = True) -> Iterator[Identity]:
    shapes = {**dict.fromkeys(("w", "v", "wg"), (d, d)), "f": (n, n - 1), "beta": (1, 1)}
    shapes |= dict.fromkeys(("x", "zx", "b", "p"), (n, d))
    return _residual(layer.indeterminates(shapes), n, d, skip=skip)


RESIDUAL_LAYER = Theorem(
    key="lss24.residual-layer",
    title="gradient of a layer with both residual connections",
    statement=(
        "For Z = X + Attn(X), T = Z + φ(Z W_g) and B = dL/dT: dL/dX = G + (the five terms of "
        "lss24.gradient for G), with G = dL/dZ = B + (B ∘ φ'(Z W_g)) W_gᵀ."
    ),
    source=_source("Definitions J.1, J.2 and the four steps of Lemma J.4; more layers: J.5"),
    reading="φ' at the point as a matrix of any values; every direction of X",
    experiments=_pair(
        partial(_residual_symbolic, 2, 2),
        partial(layer.tested, _residual, 12, 4),
        "n = 2, d = 2",
        "n = 12, d = 4",
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_residual_symbolic, 2, 1, skip=False),
        covers="statement",
        scope="without the residual connection of the second map",
    ),
    uses=("lss24.gradient", "lss24.token-map"),
)

# --- errors over many layers ----------------------------------------------------------------------
# With slacks r_k = L e_{k-1} + delta - e_k >= 0:
#     L^m e_0 + delta (1 + L + ... + L^{m-1}) - e_m = sum_k L^{m-k} r_k.
# All slacks 0 attain it.


def _over_layers(dropped: int = 0) -> Iterator[Identity]:
    from sympy import QQ, ring

    for m in (1, 2, 5, 12):
        _, top, delta, *e = ring(["L", "delta", *(f"e{k}" for k in range(m + 1))], QQ)
        bound = top**m * e[0] + delta * sum((top**i for i in range(m - dropped)), 0 * top)
        slack = sum(
            (top ** (m - k) * (top * e[k - 1] + delta - e[k]) for k in range(1, m + 1)), 0 * top
        )
        yield Identity(bound - e[m], slack, f"m = {m}")


OVER_LAYERS = Theorem(
    key="lss24.error-over-layers",
    title="error of the gradient after m layers",
    statement=(
        "e_k <= L e_{k-1} + δ for k = 1, ..., m implies e_m <= L^m e_0 + δ (1 + L + ... + "
        "L^{m-1}), with equality for equalities."
    ),
    source=_source(
        "proof of Lemma H.4: one layer multiplies the error by at most poly(n)",
        "constants made explicit",
    ),
    reading="L >= 0 the factor of a layer, δ what its own approximation adds",
    experiments=(
        Symbolic(
            identities=_over_layers,
            covers="statement",
            scope="m = 1, 2, 5, 12, all L, δ and errors",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_over_layers, dropped=1),
        covers="statement",
        scope="one power of L fewer",
    ),
    remarks=(
        "With L = n^c the error is 1/poly(n) only if δ is below n^(-c m): for m = O(1) that is "
        "again 1/poly(n), for m growing with n it is not. H.4 says 1/poly(n) after every step of "
        "its induction and does not follow the exponent.",
    ),
)

THEOREMS = (READING, HEADS, RESIDUAL_LAYER, OVER_LAYERS)
