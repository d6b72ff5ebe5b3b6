"""What became of each statement of Li & Yip 2024, read on arXiv and in the authors' code."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="modeling_lsh_bert.py, class LSH",
        says="a random subset sum of sign bits modulo the table size",
        entries=("bert-lsh.collision",),
    ),
    Place(
        place='introduction, "common buckets across all hash functions"',
        says="a pair is kept when it collides in all tables",
        entries=("bert-lsh.all-tables",),
    ),
    Place(
        place='introduction, "retaining the distinct Q and K matrices"',
        says="logits of colliding pairs",
        entries=("bert-lsh.distinct-qk",),
    ),
    Place(
        place="the logit 0 elsewhere",
        says="what the dropped scores cost",
        entries=("bert-lsh.oscillation",),
    ),
    Place(
        place="lsh-params.txt and the KFLOPs figure",
        says="5.12 K L KFLOP a layer against 25.6",
        entries=("bert-lsh.flops", "bert-lsh.flops-hash-only", "bert-lsh.break-even"),
    ),
    Place(
        place="title and abstract, reduced absolute compute",
        says="the work of attention as a whole",
        entries=("bert-lsh.honest-flops", "bert-lsh.not-subquadratic"),
    ),
    Place(
        place="pretraining loss, SST-2, SQuAD",
        says="accuracies",
        absence="not checkable",
        why="Training, on one seed each.",
    ),
)
