"""What Li & Yip 2024 claim that no finite computation can check."""

from __future__ import annotations

from proofs_check.statements.unchecked import Unchecked

UNCHECKED = (
    Unchecked(
        statement="BERT-LSH outperforms the baseline in pretraining and fine-tuning.",
        source="Li & Yip 2024, abstract",
        reason="It is about training, on one seed.",
        instead=(
            "bert-lsh.flops",
            "bert-lsh.honest-flops",
            "bert-lsh.not-subquadratic",
        ),
    ),
)
