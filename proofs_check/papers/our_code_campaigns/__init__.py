"""Claims about the code of approxattn that read a clock or run it tens of thousands of times."""

from proofs_check.papers.our_code_campaigns import (
    gpu_time,
    many_cases_hashing,
    many_cases_low_rank,
    running_time,
)

THEOREMS = (
    *running_time.THEOREMS,
    *gpu_time.THEOREMS,
    *many_cases_hashing.THEOREMS,
    *many_cases_low_rank.THEOREMS,
)
