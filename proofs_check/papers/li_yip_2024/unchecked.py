"""What Li & Yip 2024 claim that no finite computation can check."""

from __future__ import annotations

from proofs_check.statements.unchecked import Unchecked

UNCHECKED = (
    Unchecked(
        statement="Buckets shared across all hash functions; BERT-LSH outperforms in fine-tuning.",
        source="Li & Yip 2024, introduction and abstract",
        reason=(
            "The first contradicts the code, but not at the single table in use; the second is "
            "about training on one seed."
        ),
        instead=(
            "bert-lsh.collision",
            "bert-lsh.flops",
            "bert-lsh.honest-flops",
            "bert-lsh.not-subquadratic",
        ),
    ),
)
