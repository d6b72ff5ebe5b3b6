"""How far a sketched product is from the product, on average: exact second moments.

Symbols. S is the k x n matrix of an operator with E S^T S = 1, A of shape (m, n) has the columns
a_j, B of shape (n, q) the rows b_j, and Sigma = sum_j |a_j|^2 |b_j|^2. Then E A S^T S B = A B. With
mu = E r^4 of an entry r, E ||A S^T S B - A B||_F^2 is

    entries r/sqrt(k) iid, E r = 0, E r^2 = 1:
        ( ||A||^2 ||B||^2 + ||AB||^2 + (mu - 3) Sigma ) / k;
        mu = 3 Gaussian, 1 signs, s sparse signs
    CountSketch with k buckets:  the same with mu = 1
    Hadamard, k of N rows:  the same with mu = 1, times (N - k)/(N - 1)
    k rows drawn with probabilities q_j:  ( sum_j |a_j|^2 |b_j|^2 / q_j - ||AB||^2 ) / k.

Proofs (proved here).

1. Independent entries: E r_a r_b r_c r_d = [ab][cd] + [ac][bd] + [ad][bc] + (mu - 3)[a = b = c = d]
   gives E ||A r r^T B||^2. k rows divide the variance by k.
2. CountSketch: A S^T S B - A B = sum_{a != b} s_a s_b [same bucket] a_a b_b^T. Only the pairs (a,
   b), (a, b) and (a, b), (b, a) have a mean, 1/k each.
3. Hadamard: a row of H D is a vector of independent signs, so one row has mu = 1. Given D, the mean
   over all N rows is A B exactly. k draws without repetition have (N - k)/(N - 1) of the variance
   of k independent ones.
4. Rows: sum_j q_j |a_j|^2 |b_j|^2 / q_j^2.
"""

from __future__ import annotations

import numpy as np

from approxattn._arguments import check_choice
from approxattn._arrays import HostArray

FOURTH_MOMENTS = {
    "gaussian": 3.0,
    "rademacher": 1.0,
    "sparse": 3.0,
    "count-sketch": 1.0,
    "srht": 1.0,
}


def second_moment(
    kind: str,
    k: int,
    a: HostArray,
    b: HostArray,
    *,
    probabilities: HostArray | None = None,
    spread: int = 3,
) -> float:
    """Return E ||A S^T S B - A B||_F^2.

    Parameters
    ----------
    kind : {"gaussian", "rademacher", "sparse", "count-sketch", "srht", "rows"}
        The operator.
    k : int
        Its number of rows.
    a, b : ndarray, shapes (m, n), (n, q)
        The factors.
    probabilities : ndarray, shape (n,), optional
        For "rows": q_j; uniform if None.
    spread : int
        For "sparse": one entry of so many is not 0.

    Returns
    -------
    float
        The exact expectation.

    Raises
    ------
    ValueError
        For an unknown kind.
    """
    check_choice("kind", kind, (*FOURTH_MOMENTS, "rows"))
    n = a.shape[1]
    columns, rows = np.sum(a**2, axis=0), np.sum(b**2, axis=1)
    product = float(np.sum((a @ b) ** 2))
    if kind == "rows":
        q = np.full(n, 1 / n) if probabilities is None else probabilities
        both = columns * rows
        return (float(np.sum(both[both > 0] / q[both > 0])) - product) / k
    mu = float(spread) if kind == "sparse" else FOURTH_MOMENTS[kind]
    total = (
        float(np.sum(columns) * np.sum(rows)) + product + (mu - 3) * float(np.sum(columns * rows))
    )
    length = 1 << max(0, n - 1).bit_length()
    share = (length - k) / max(1, length - 1) if kind == "srht" else 1.0
    return total * share / k
