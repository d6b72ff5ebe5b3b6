"""From double sums to products of matrices: lemmas D.10 to D.14 of Liang et al. 2024.

Citation and letters: `gradient`. Each lemma takes terms B_k as given and sums G_{i0,j0} B_k over
i0 and j0. The sums are right whatever f, W and h are; what B_k must be is `entry_terms`.

    lemma   B_k of (i0, j0)                        Σ G_{i0,j0} B_k
    D.10    -s_{i0,j0} f_{*,i0} (W X_{i0,*})^T     -z6 X W^T,  z6 = f diag(K)
    D.11    (f_{*,i0} * h_{*,j0}) (W X_{i0,*})^T   z7 X W^T,   z7 = f * (h G^T)
    D.12    f_{*,i0} (W_V)_{*,j0}^T                f G W_V^T
    D.13    -s_{i0,j0} e_{i0} f_{i0,*}^T X W       -z2 X W,    z2 = diag(K) f
    D.14    e_{i0} (f_{i0,*} * h_{*,j0})^T X W     z4 X W,     z4 = f * (G h^T)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# f, s, h, X, W, W_V and G are all free, so nothing about softmax is used. Degree on either side: G,
# s or h, f, X and W, 5 in all; identity testing errs with probability at most 5/p < 2^-58.

Matrices = dict[str, Any]


def _draw(source: layer.Source, n: int, d: int) -> Matrices:
    tall = {name: source(name, n, d) for name in ("x", "g", "h", "s")}
    return {"f": source("f", n, n), **tall, "w": source("w", d, d), "v": source("v", d, d)}


def _row(m: Matrices, i: int, row: Any) -> Any:
    """e_i times a row."""
    found = 0 * m["x"]
    found[i] = row
    return found


def _term(m: Matrices, k: int, i: int, j: int) -> Any:
    """B_k of (i0, j0) = (i, j), an (n, d) matrix."""
    f, x, w, h, s = (m[name] for name in ("f", "x", "w", "h", "s"))
    turned = np.outer(f[:, i], w @ x[i])
    match k:
        case 6:
            return turned * -s[i, j]
        case 7:
            return np.outer(f[:, i] * h[:, j], w @ x[i])
        case 8:
            return np.outer(f[:, i], m["v"][:, j])
        case 2:
            return _row(m, i, f[i] @ x @ w) * -s[i, j]
        case _:
            return _row(m, i, (f[i] * h[:, j]) @ x @ w)


def _closed(m: Matrices, k: int, *, near: bool) -> Any:
    """The product of matrices, or the variant that puts diag(K) or a factor on the other side."""
    f, x, w, g, h = (m[name] for name in ("f", "x", "w", "g", "h"))
    totals = np.sum(g * m["s"], axis=1)
    by_column, by_row = f * totals[None, :], f * totals[:, None]
    turned, straight = h @ g.T, g @ h.T
    match k:
        case 6:
            return -(by_row if near else by_column) @ x @ w.T
        case 7:
            return (f * (straight if near else turned)) @ x @ w.T
        case 8:
            return (f.T if near else f) @ g @ m["v"].T
        case 2:
            return -(by_column if near else by_row) @ x @ w
        case _:
            return (f * (turned if near else straight)) @ x @ w


def _sums(
    source: layer.Source, n: int, d: int, k: int, *, near: bool = False
) -> Iterator[Identity]:
    m = _draw(source, n, d)
    pairs = itertools.product(range(n), range(d))
    total = sum((_term(m, k, i, j) * m["g"][i, j] for i, j in pairs), 0 * m["x"])
    closed = _closed(m, k, near=near)
    for i, j in itertools.product(range(n), range(d)):
        yield Identity(total[i, j], closed[i, j], f"D{k}, entry {i}, {j}")


def _symbolic(n: int, d: int, k: int, *, near: bool = False) -> Iterator[Identity]:
    shapes = {"f": (n, n), **dict.fromkeys(("x", "g", "h", "s"), (n, d)), "w": (d, d), "v": (d, d)}
    return _sums(layer.indeterminates(shapes), n, d, k, near=near)


_CASES: tuple[tuple[int, str, str], ...] = (
    (6, "D.10", "Σ G_{i0,j0} B₆ = -f diag(K) X Wᵀ, B₆ = -s_{i0,j0} f_{*,i0} (W X_{i0,*})ᵀ"),
    (7, "D.11", "Σ G_{i0,j0} B₇ = (f ∘ (h Gᵀ)) X Wᵀ, B₇ = (f_{*,i0} ∘ h_{*,j0}) (W X_{i0,*})ᵀ"),
    (8, "D.12", "Σ G_{i0,j0} B₈ = f G W_Vᵀ, B₈ = f_{*,i0} (W_V)_{*,j0}ᵀ"),
    (2, "D.13", "Σ G_{i0,j0} e_{i0} B₂ᵀ = -diag(K) f X W, B₂ = -s_{i0,j0} Wᵀ Xᵀ f_{i0,*}"),
    (4, "D.14", "Σ G_{i0,j0} e_{i0} B₄ᵀ = (f ∘ (G hᵀ)) X W, B₄ = Wᵀ Xᵀ (f_{i0,*} ∘ h_{*,j0})"),
)
_VARIANTS = {
    6: "diag(K) f in place of f diag(K)",
    7: "G hᵀ in place of h Gᵀ",
    8: "fᵀ in place of f",
    2: "f diag(K) in place of diag(K) f",
    4: "h Gᵀ in place of G hᵀ",
}


def _theorem(k: int, lemma: str, statement: str) -> Theorem:
    tested: Callable[..., Any] = partial(_sums, k=k)
    return Theorem(
        key=f"lss24.double-sum-{k}",
        title=f"the sum of the terms B{k} as a product of matrices",
        statement=f"{statement}; K_i = <G_i, s_i>.",
        source=Source(
            citation=CITATION,
            place=f"Lemma {lemma}",
            fidelity="constants made explicit",
            wording_verified=True,
        ),
        reading="f, s, h, X, W, W_V and G of any values, since the lemma uses none of their links",
        experiments=(
            Symbolic(
                identities=partial(_symbolic, 3, 2, k),
                covers="statement",
                scope="n = 3, d = 2, all inputs",
            ),
            Symbolic(
                identities=partial(layer.tested, tested, 12, 4),
                grade="pit(2^-58)",
                covers="statement",
                scope="n = 12, d = 4, all inputs",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_symbolic, 2, 1, k, near=True),
            covers="statement",
            scope=_VARIANTS[k],
        ),
        remarks=(
            "The lemma is right; the B it starts from is not the derivative, for which see "
            "lss24.entry-derivatives.",
        ),
    )


THEOREMS = tuple(_theorem(k, lemma, statement) for k, lemma, statement in _CASES)
