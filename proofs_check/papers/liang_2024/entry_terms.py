"""Derivatives of single output entries in Liang et al. 2024 (appendices D and G), put right.

Citation and letters: `gradient`. The five products of matrices that they sum up to: `double_sums`.

Printed in Lemma D.1 for i1 different from i0:
    C6 = -s_{i0,j0} f_{i1,i0} <W_{j1,*}, X_{i0,*}>,  C7 = f_{i1,i0} h_{i1,j0} <W_{j1,*}, X_{i0,*}>,
    C8 = f_{i1,i0} (W_V)_{j1,j0}.
True: f_{i0,i1} for f_{i1,i0}, and the column W_{*,j1} for the row. Likewise C2 and C4 print the
column W_{*,j1} where the row W_{j1,*} belongs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.liang_2024.source import CITATION
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- in an entry of X -----------------------------------------------------------------------------
# 1. s_{i0,j0} is the loss of the matrix u with row i0 equal to h_{*,j0}^T and 0 elsewhere.
# 2. In the direction E = e_{i1} e_{j1}^T of X: S' = E W X^T + X W E^T, h' = E W_V.
# 3. `layer.attention_loss_slope` has the derivative by the quotient rule.
# 4. Degree: f twice, u once (X, W_V), S' once (X, W): 2 + 2 + 2 = 6 on either side; 6/p < 2^-58.


def _slope(m: dict[str, Any], i0: int, j0: int, i1: int, j1: int) -> Any:
    f, x, w, v = (m[name] for name in ("f", "x", "w", "v"))
    unit = np.zeros_like(x) + 0 * x[0, 0]
    unit[i1, j1] = unit[i1, j1] + 1
    u, moved_u = 0 * f, 0 * f
    u[i0], moved_u[i0] = (x @ v)[:, j0], (unit @ v)[:, j0]
    return layer.attention_loss_slope(f, unit @ w @ x.T + x @ w @ unit.T, u, moved_u)


def _terms(m: dict[str, Any], i0: int, j0: int, i1: int, j1: int, *, printed: bool) -> Any:
    """C6 + C7 + C8, and C2 + C4 besides on the diagonal, corrected or as printed."""
    f, x, w, v = (m[name] for name in ("f", "x", "w", "v"))
    h = x @ v
    s = np.sum(f[i0] * h[:, j0])
    weight = f[i1, i0] if printed else f[i0, i1]
    across = np.sum((w[j1] if printed else w[:, j1]) * x[i0])
    found = weight * (h[i1, j0] - s) * across + weight * v[j1, j0]
    if i1 == i0:
        along = x @ (w[:, j1] if printed else w[j1])
        found = found - s * np.sum(f[i0] * along) + np.sum(f[i0] * along * h[:, j0])
    return found


def _entries(source: layer.Source, n: int, d: int, *, printed: bool = False) -> Iterator[Identity]:
    m = {"f": layer.weights(source("f", n, n - 1)), "x": source("x", n, d)}
    m |= {name: source(name, d, d) for name in ("w", "v")}
    for i0, j0, i1, j1 in itertools.product(range(n), range(d), range(n), range(d)):
        claimed = _terms(m, i0, j0, i1, j1, printed=printed)
        yield Identity(_slope(m, i0, j0, i1, j1), claimed, f"ds_{i0}{j0}/dX_{i1}{j1}")


def _entries_symbolic(n: int, d: int, *, printed: bool = False) -> Iterator[Identity]:
    shapes = {"f": (n, n - 1), "x": (n, d), "w": (d, d), "v": (d, d)}
    return _entries(layer.indeterminates(shapes), n, d, printed=printed)


ENTRIES = Theorem(
    key="lss24.entry-derivatives",
    title="derivative of an output entry in an input entry",
    statement=(
        "ds_{i0,j0}/dX_{i1,j1} = f_{i0,i1} (h_{i1,j0} - s_{i0,j0}) <W_{*,j1}, X_{i0,*}> + "
        "f_{i0,i1} (W_V)_{j1,j0}, and for i1 = i0 besides <f_{i0,*} ∘ (X W_{j1,*}), h_{*,j0}> - "
        "s_{i0,j0} <f_{i0,*}, X W_{j1,*}>."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma D.1, f and W where they belong",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading="f = softmax(X W Xᵀ) as in C.6; exp of the scores as free indeterminates",
    alternative_readings=(
        "The printed terms with W for Wᵀ and f_{*,i0} for row i0 of f as a column: true, these.",
    ),
    experiments=(
        Symbolic(
            identities=partial(_entries_symbolic, 3, 2),
            covers="statement",
            scope="n = 3, d = 2, all entries and inputs",
        ),
        Symbolic(
            identities=partial(layer.tested, _entries, 6, 3),
            grade="pit(2^-58)",
            covers="statement",
            scope="n = 6, d = 3, all entries and inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_entries_symbolic, 2, 1, printed=True),
        covers="statement",
        scope="f_{i1,i0} for f_{i0,i1} and W for Wᵀ, as printed",
    ),
    remarks=(
        "Where lss24.gradient-t-printed begins: from these terms on, D.3 to D.14 carry the slip "
        "along without a new one (lss24.double-sum-6 and its sisters).",
    ),
)

# --- in an entry of W_V ---------------------------------------------------------------------------


def _in_values(n: int, d: int, *, of_key: bool = False) -> Iterator[Identity]:
    source = layer.indeterminates({"f": (n, n - 1), "x": (n, d), "v": (d, d)})
    f, x, v = layer.weights(source("f", n, n - 1)), source("x", n, d), source("v", d, d)
    s = f @ x @ v
    for i2, j2, i1, j1 in itertools.product(range(n), range(d), range(d), range(d)):
        claimed = np.sum((f.T if of_key else f)[i2] * x[:, i1]) if j1 == j2 else 0
        found = s[i2, j2].diff(v[i1, j1])
        yield Identity(found, claimed, f"ds_{i2}{j2}/d(W_V)_{i1}{j1}")


IN_VALUES = Theorem(
    key="lss24.values-entry",
    title="derivative of an output entry in an entry of W_V",
    statement="ds_{i2,j2}/d(W_V)_{i1,j1} is <f_{i2,*}, X_{*,i1}> if j1 = j2, and 0 otherwise.",
    source=Source(
        citation=CITATION,
        place="Lemmas G.1 and G.2",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="true as printed, though the sum in the proof of G.2 runs to d where n is meant",
    experiments=(
        Symbolic(
            identities=partial(_in_values, 3, 2),
            covers="statement",
            scope="n = 3, d = 2, all entries and inputs",
        ),
        Symbolic(
            identities=partial(_in_values, 5, 3),
            covers="statement",
            scope="n = 5, d = 3, all entries and inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_in_values, 2, 1, of_key=True),
        covers="statement",
        scope="a column of f in place of a row",
    ),
    remarks=(
        "Summed with G it is Σ_i f_i G_iᵀ = fᵀ G; Lemma G.3 has f G (lss24.gradient-wv-printed).",
    ),
)

THEOREMS = (ENTRIES, IN_VALUES)
