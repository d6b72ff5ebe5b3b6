"""The gradients of one causal layer in almost linear time (Liang et al. 2024, I.7 and I.8).

Citation and letters: `gradient`; the mask M and running sums: `causal`. The paper multiplies by the
masked f alone, hence by prefix sums alone; with f^T where it belongs, suffix sums come in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.liang_2024.causal import running_sums
from proofs_check.papers.liang_2024.gradient import five_terms, slopes
from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def _source(place: str) -> Source:
    return Source(citation=CITATION, place=place, fidelity="corrected", wording_verified=True)


def _pair(
    symbolic: Callable[..., Any], tested: Callable[..., Any], scope: str
) -> tuple[Symbolic, Symbolic]:
    """All inputs of a small size by computer algebra, of a larger one by identity testing.

    Degrees are at most 11 on either side: 11/p < 2^-57.
    """
    return (
        Symbolic(identities=symbolic, covers="statement", scope="n = 4, d = 2, all inputs"),
        Symbolic(identities=tested, grade="pit(2^-57)", covers="statement", scope=scope),
    )


# --- the formulas under a mask --------------------------------------------------------------------
# Row i has weights on its first i keys only. The quotient rule and the formulas hold row by row for
# any set of keys, so they hold with the weights of the other keys set to 0.


def _masked_weights(rest: Any) -> Any:
    n = len(rest)
    kept = rest * np.tril(np.ones((n, n - 1), dtype=int), -1)
    first = np.array([[1 - sum(row, 0 * row[0])] for row in kept.tolist()], dtype=object)
    return np.concatenate([first, kept], axis=1)


def _formulas(source: layer.Source, n: int, d: int, *, prefix: bool = False) -> Iterator[Identity]:
    m: dict[str, Any] = {name: source(name, d, d) for name in ("w", "v", "zw", "zv")}
    m |= {name: source(name, n, d) for name in ("x", "g", "zx")}
    m |= {"f": _masked_weights(source("f", n, n - 1)), "beta": source("beta", 1, 1)}
    f, x, g, h = m["f"], m["x"], m["g"], m["x"] @ m["v"]
    p = f * (g @ h.T - np.sum(g * (f @ h), axis=1)[:, None])
    claimed = {
        "X": (five_terms(m), "zx"),
        "W": (m["beta"] * (x.T @ p @ x), "zw"),
        "W_V": (x.T @ (f if prefix else f.T) @ g, "zv"),
    }
    found = slopes(m)
    for name, (gradient, direction) in claimed.items():
        yield Identity(found[name], np.sum(gradient * m[direction]), f"dL/d{name}, n = {n}")


def _formulas_symbolic(n: int, d: int, *, prefix: bool = False) -> Iterator[Identity]:
    shapes = {**dict.fromkeys(("w", "v", "zw", "zv"), (d, d)), "f": (n, n - 1), "beta": (1, 1)}
    shapes |= dict.fromkeys(("x", "g", "zx"), (n, d))
    return _formulas(layer.indeterminates(shapes), n, d, prefix=prefix)


MASKED = Theorem(
    key="lss24.causal-gradient",
    title="gradients of a layer under the causal mask",
    statement=(
        "The formulas of lss24.gradient for dL/dX, dL/dW and dL/dW_V hold with f = D⁻¹(M ∘ exp(β X "
        "W Xᵀ)), D its row sums."
    ),
    source=_source("Definition I.5 with F.4, G.3 and D.17, put right"),
    reading="every β and every direction; exp of the seen scores as free indeterminates",
    experiments=_pair(
        partial(_formulas_symbolic, 4, 2),
        partial(layer.tested, _formulas, 24, 6),
        "n = 24, d = 6, all inputs",
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_formulas_symbolic, 2, 1, prefix=True),
        covers="statement",
        scope="f in place of fᵀ in dL/dW_V, as I.7 has it",
    ),
    uses=("lss24.gradient",),
)

# --- products with f and its transpose ------------------------------------------------------------
# f = C (M * U V^T), C = D^-1 any diagonal matrix. Prefix sums give f H = running(C U, V; H), suffix
# sums f^T H = running(V, C U; H) from the last token to the first.


def _prefix(left: Any, right: Any, h: Any) -> Any:
    return running_sums(left, right, h)


def _suffix(left: Any, right: Any, h: Any) -> Any:
    """(M * left right^T)^T H."""
    return running_sums(right[::-1], left[::-1], h[::-1])[::-1]


def _draw(source: layer.Source, n: int, k: int, d: int) -> dict[str, Any]:
    m: dict[str, Any] = {name: source(name, n, k) for name in ("u", "v0")}
    m |= {name: source(name, n, d) for name in ("x", "g", "h")}
    m |= {name: source(name, n, 1) for name in ("c", "k")} | {"w": source("w", d, d)}
    m["f"] = m["c"] * (np.tril(np.ones((n, n), dtype=int)) * (m["u"] @ m["v0"].T))
    return m


def _from_shapes(n: int, k: int, d: int) -> layer.Source:
    shapes = {**dict.fromkeys(("u", "v0"), (n, k)), **dict.fromkeys(("x", "g", "h"), (n, d))}
    return layer.indeterminates({**shapes, "c": (n, 1), "k": (n, 1), "w": (d, d)})


def _compare(pairs: dict[str, tuple[Any, Any]]) -> Iterator[Identity]:
    for name, (found, claimed) in pairs.items():
        for index in np.ndindex(found.shape):
            yield Identity(found[index], claimed[index], f"{name}, entry {index}")


def _dot(
    source: layer.Source, n: int, k: int, d: int, *, prefix: bool = False
) -> Iterator[Identity]:
    m = _draw(source, n, k, d)
    f, x, g, w, total = (m[name] for name in ("f", "x", "g", "w", "k"))
    left, turned = m["c"] * m["u"], _prefix if prefix else _suffix
    on_values = turned(left, m["v0"], g)
    yield from _compare(
        {
            "D2": (-(total * f) @ x @ w.T, -(total * _prefix(left, m["v0"], x)) @ w.T),
            "D6": (-(f.T @ (total * x)) @ w, -turned(left, m["v0"], total * x) @ w),
            "f^T G": (f.T @ g, on_values),
            "dL/dW_V": (x.T @ f.T @ g, x.T @ on_values),
        }
    )


def _dot_symbolic(n: int, k: int, d: int, *, prefix: bool = False) -> Iterator[Identity]:
    return _dot(_from_shapes(n, k, d), n, k, d, prefix=prefix)


DOT = Theorem(
    key="lss24.causal-dot",
    title="the terms with one product, by running sums",
    statement=(
        "For f = D⁻¹(M ∘ U₀V₀ᵀ): D2 = -diag(K) f X Wᵀ by prefix sums; D6 = -fᵀ diag(K) X W, D8 = "
        "fᵀ G W_Vᵀ and dL/dW_V = Xᵀ fᵀ G by suffix sums; β left out."
    ),
    source=_source("Lemma I.7, which has prefix sums and f for fᵀ throughout"),
    reading="any U₀, V₀ and any diagonal D⁻¹; sums are those of lss24.causal-prefix",
    experiments=_pair(
        partial(_dot_symbolic, 4, 2, 2),
        partial(layer.tested, _dot, 24, 6, 4),
        "n = 24, width 6, d = 4, all inputs",
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_dot_symbolic, 2, 1, 1, prefix=True),
        covers="statement",
        scope="prefix sums for D6, D8 and dL/dW_V",
    ),
    uses=("lss24.causal-prefix", "lss24.causal-gradient"),
)


def _khatri_rao(a: Any, b: Any) -> Any:
    return np.concatenate([a[:, i : i + 1] * b for i in range(a.shape[1])], axis=1)


def _entrywise(
    source: layer.Source, n: int, k: int, d: int, *, prefix: bool = False
) -> Iterator[Identity]:
    m = _draw(source, n, k, d)
    f, x, g, h, w = (m[name] for name in ("f", "x", "g", "h", "w"))
    left, ones = m["c"] * m["u"], 0 * x[:, :1] + 1
    wide = (_khatri_rao(left, g), _khatri_rao(m["v0"], h))
    p1 = f * (g @ h.T)
    sums = _prefix(*wide, ones)
    inner = _prefix(*wide, x) - sums * _prefix(left, m["v0"], x)
    yield from _compare(
        {
            "D4": (p1 @ x @ w.T, _prefix(*wide, x) @ w.T),
            "D7": (p1.T @ x @ w, (_prefix if prefix else _suffix)(*wide, x) @ w),
            "p1 1": (np.sum(p1, axis=1)[:, None], sums),
            "dL/dW": (x.T @ (p1 - np.sum(p1, axis=1)[:, None] * f) @ x, x.T @ inner),
        }
    )


def _entrywise_symbolic(n: int, k: int, d: int, *, prefix: bool = False) -> Iterator[Identity]:
    return _entrywise(_from_shapes(n, k, d), n, k, d, prefix=prefix)


ENTRYWISE = Theorem(
    key="lss24.causal-entrywise",
    title="the terms with an entrywise product, by running sums",
    statement=(
        "For f = D⁻¹(M ∘ U₀V₀ᵀ), p₁ = f ∘ (G hᵀ) = M ∘ (D⁻¹U₀ ⊘ G)(V₀ ⊘ h)ᵀ: D4 = p₁ X Wᵀ, p₁ 1 "
        "and dL/dW = Xᵀ(p₁ - diag(p₁ 1) f) X by prefix sums, D7 = p₁ᵀ X W by suffix sums; no β."
    ),
    source=_source("Lemma I.8, which has prefix sums and f for fᵀ in D7"),
    reading="any U₀, V₀, G, h and any diagonal D⁻¹; ⊘: row-wise Khatri-Rao product",
    experiments=_pair(
        partial(_entrywise_symbolic, 4, 2, 2),
        partial(layer.tested, _entrywise, 24, 6, 4),
        "n = 24, width 6, d = 4, all inputs",
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_entrywise_symbolic, 2, 1, 1, prefix=True),
        covers="statement",
        scope="prefix sums for D7",
    ),
    uses=("lss24.causal-hadamard", "lss24.causal-gradient"),
)

THEOREMS = (MASKED, DOT, ENTRYWISE)
