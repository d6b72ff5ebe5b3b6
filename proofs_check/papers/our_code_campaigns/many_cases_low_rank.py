"""Claims about our low-rank code, each held against ten thousand problems by a binomial test.

The problems are random and adversarial; the test is exact.

Problems, targets and what counts as a failure are those of `many_cases_hashing`: duplicate,
clustered and antipodal keys, zero rows, sizes from 2^-40 to 2^40, masks, arrays that are not
contiguous, float32 and float64. Row sampling may fail in at most 1 - confidence of them; means of
blocks and heavy keys with means never.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from proofs_check.papers.our_code_campaigns.many_cases_hashing import (
    CASES,
    STYLES,
    draw,
    output_fails,
)
from proofs_check.papers.shared.source import our_code
from proofs_check.statements.experiment import Plan, Sample
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

Settings = tuple[Mapping[str, Any], ...]

ROW_SAMPLE: Settings = tuple(
    {"name": "Linformer", "sketch": "row-sample", "rank": k} for k in (1, 16, 256, 4096)
)
MEAN_POOL: Settings = tuple(
    {"name": "Linformer", "sketch": "mean-pool", "rank": k} for k in (1, 2, 5, 16)
)
HEAVY: Settings = tuple(
    {"name": "Clustered", "heavy": t, "key_blocks": k, "query_blocks": c}
    for t, k, c in ((0, 1, 1), (0, 8, 1), (1, 1, 2), (4, 4, 4), (12, 2, 2), (24, 1, 1))
)
"""Settings that the problems are tried with."""


def _theorem(
    key: str, what: str, methods: Settings, target: float, divisor: int, uses: tuple[str, ...]
) -> Theorem:
    plan: dict[str, Any] = {"claim": "probability <=", "target": target, "chunk": 500}
    sampler = f"{CASES} problems of {len(STYLES)} styles and the draws of each"
    return Theorem(
        key=f"code.low-rank-{key}",
        title=f"{what}: ten thousand problems",
        statement=(
            f"The output of {what} is a number and within its certificate except with probability "
            f"at most {target:g}, over random and adversarial problems and the draws."
        ),
        source=our_code(f"approxattn.{methods[0]['name']}"),
        reading="one event a problem: any NaN, or any row above its bound",
        experiments=(
            Sample(
                draw=functools.partial(draw, output_fails, methods, 1),
                plan=Plan(n=CASES, sampler=sampler, fixed=True),
                covers="statement",
                scope="n up to 24, float32 and float64",
                **plan,
            ),
        ),
        expected=Status.SUPPORTED,
        mutant=Sample(
            draw=functools.partial(draw, output_fails, methods, divisor),
            plan=Plan(n=600, sampler=sampler),
            covers="statement",
            scope=f"the certificate divided by {divisor}",
            **plan,
        ),
        uses=uses,
    )


THEOREMS = (
    _theorem(
        "row-sample", "Linformer with sampled rows", ROW_SAMPLE, 0.01, 16, ("ours.row-sample",)
    ),
    _theorem(
        "mean-pool", "Linformer with means of blocks", MEAN_POOL, 0.001, 4, ("ours.mean-pool",)
    ),
    _theorem("heavy", "Clustered", HEAVY, 0.001, 4, ("ours.tanh-part", "ours.value-range")),
)
