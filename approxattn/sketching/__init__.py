"""Operators that replace n tokens by k: random combinations, sampled rows, pooled blocks.

Each is a frozen record with `apply(x)`, shape (..., n, m) -> (..., k, m), and `adjoint(y)`, shape
(..., k, m) -> (..., n, m), each in the operator's own complexity and never through an n x n array.
Random combinations are drawn by counting (`streams`), where the tokens are: every array library has
the same draws, but for the rounding of normal numbers. Sampled rows are drawn on the host. One draw
serves all leading indices. How far A S^T S B is from A B on average: `moments.second_moment`.
"""

from approxattn.sketching.dense import Dense, DrawnDense, gaussian, rademacher, sparse_signs
from approxattn.sketching.hashed import CountSketch, Hadamard, count_sketch, srht
from approxattn.sketching.moments import second_moment
from approxattn.sketching.pooling import Convolution, MaxPool, MeanPool, max_pool, mean_pool
from approxattn.sketching.sampling import (
    RowSample,
    WeightedRows,
    leverage_probabilities,
    norm_probabilities,
    row_sample,
    weighted_rows,
)
from approxattn.sketching.trees import similar_pool

__all__ = [
    "Convolution",
    "CountSketch",
    "Dense",
    "DrawnDense",
    "Hadamard",
    "MaxPool",
    "MeanPool",
    "RowSample",
    "WeightedRows",
    "count_sketch",
    "gaussian",
    "leverage_probabilities",
    "max_pool",
    "mean_pool",
    "norm_probabilities",
    "rademacher",
    "row_sample",
    "second_moment",
    "similar_pool",
    "sparse_signs",
    "srht",
    "weighted_rows",
]
