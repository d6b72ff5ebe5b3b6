"""Our own statements about random and low-rank estimators, the audit and plans."""

from proofs_check.papers.ours.estimators import (
    audit,
    eckart_young,
    hashing,
    kept_keys,
    landmarks_and_features,
    matrices,
    plan,
    random_features,
    sampling,
    sketches,
)

THEOREMS = (
    *sketches.THEOREMS,
    *sampling.THEOREMS,
    *audit.THEOREMS,
    *plan.THEOREMS,
    *hashing.THEOREMS,
    *kept_keys.THEOREMS,
    *landmarks_and_features.THEOREMS,
    *random_features.THEOREMS,
    *matrices.THEOREMS,
    *eckart_young.THEOREMS,
)
