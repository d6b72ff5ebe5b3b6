"""J. Alman and Z. Song on higher-order correlations: attention over pairs of keys.

"How to Capture Higher-Order Correlations? Generalizing Matrix Softmax Attention to Kronecker
Computation", ICLR 2024. Query i weighs the pair (j, l) by exp(sum_c q_ic a_jc b_lc / d); values are
entrywise products. This can be approximated in almost linear time below a threshold on the entries.
Under SETH it cannot be in subcubic time above it.

Here: the factorisation that an implementation of the first half needs.

Read: the abstract; no wording of a statement is vouched for here, and the factorisation is ours.

    paper                         here
    Q, K1, K2, V1, V2             q_i, a_j, b_l, x_j, y_l (rows)
    exp(Q (K1 kr K2)^T / d)       weights of the pairs (j, l); kr: column-wise Kronecker product
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.alman_song_2024.source import TENSOR
from proofs_check.papers.shared import softmax_gradient as layer
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# Let P(t) = sum_p c_p t^p be of degree g, and alpha run through the exponents with |alpha| <= g.
#
# 1. (sum_c q_c a_c b_c)^p = sum_{|alpha| = p} (p!/alpha!) q^alpha a^alpha b^alpha.
# 2. With w_alpha = c_|alpha| |alpha|!/alpha! and the features Phi(A)_j,alpha = a_j^alpha,
#        sum_jl P(<q_i, a_j, b_l>) x_jc y_lc
#            = sum_alpha w_alpha q_i^alpha (Phi(A)^T X)_alpha,c (Phi(B)^T Y)_alpha,c.
# 3. Degree of either side: 3 g + 2, and 1 for c_p. For g <= 3 that is at most 12.
# 4. Identity testing errs with probability at most 12 / p < 2^-57.


def _indices(d: int, g: int) -> list[tuple[int, ...]]:
    return [alpha for alpha in itertools.product(range(g + 1), repeat=d) if sum(alpha) <= g]


def _features(x: Any, indices: list[tuple[int, ...]]) -> Any:
    def power(row: Any, alpha: tuple[int, ...]) -> Any:
        found = row[0] * 0 + 1
        for entry, a in zip(row, alpha, strict=True):
            for _ in range(a):
                found = found * entry
        return found

    return np.array([[power(row, alpha) for alpha in indices] for row in x], dtype=object)


def _factorised(
    source: layer.Source, n: int, d: int, g: int, *, outside: bool = False
) -> Iterator[Identity]:
    q, a, b = (source(name, n, d) for name in ("q", "a", "b"))
    x, y, c = source("x", n, 1), source("y", n, 1), source("c", 1, g + 1)[0]
    indices = _indices(d, g)
    yield Identity(len(indices), math.comb(d + g, g), "number of features")
    counts = [
        math.factorial(sum(alpha)) // math.prod(map(math.factorial, alpha)) for alpha in indices
    ]
    weights = [c[sum(alpha)] * m for alpha, m in zip(indices, counts, strict=True)]
    left, right = _features(a, indices).T @ x, _features(b, indices).T @ y  # (r, 1) each
    state = [
        (left[t, 0] + right[t, 0] if outside else left[t, 0] * right[t, 0]) * weights[t]
        for t in range(len(indices))
    ]
    phi = _features(q, indices)
    for i in range(n):
        whole = c[0] * 0
        for j, l in itertools.product(range(n), repeat=2):
            t, power = np.sum(q[i] * a[j] * b[l]), c[0] * 0 + 1
            for coefficient in c:
                whole = whole + coefficient * power * x[j, 0] * y[l, 0]
                power = power * t
        yield Identity(
            whole, sum((phi[i, t] * state[t] for t in range(len(indices))), c[0] * 0), f"row {i}"
        )


def _symbolic(n: int, d: int, g: int, *, outside: bool = False) -> Iterator[Identity]:
    tall, thin = dict.fromkeys(("q", "a", "b"), (n, d)), dict.fromkeys(("x", "y"), (n, 1))
    return _factorised(
        layer.indeterminates({**tall, **thin, "c": (1, g + 1)}), n, d, g, outside=outside
    )


FEATURES = Theorem(
    key="as24b.tensor-features",
    title="polynomial attention over pairs of keys, factorised",
    statement=(
        "Σ_{jl} P(Σ_c q_ic a_jc b_lc) x_j y_l = Σ_{|α|<=g} c_|α| (|α|!/α!) q_i^α (Σ_j a_j^α "
        "x_j)(Σ_l b_l^α y_l) for P of degree g: numerator and denominator (x = y = 1) of the n × "
        "n² attention in O(n r) operations per column, r = C(d + g, g)."
    ),
    source=Source(
        citation=TENSOR,
        place="the polynomial method for tensor attention, worked out",
        fidelity="ours",
    ),
    reading="any coefficients of P; one column of the values stands for all",
    experiments=(
        Symbolic(
            identities=partial(_symbolic, 2, 2, 2),
            covers="statement",
            scope="n = 2, d = 2, g = 2, all inputs and coefficients",
        ),
        Symbolic(
            identities=partial(layer.tested, _factorised, 4, 3, 3),
            grade="pit(2^-57)",
            covers="statement",
            scope="n = 4, d = 3, g = 3, all inputs and coefficients",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_symbolic, 1, 1, 1, outside=True),
        covers="statement",
        scope="the sum of the two states in place of their product",
    ),
    uses=("as23.low-rank",),
)

THEOREMS = (FEATURES,)
