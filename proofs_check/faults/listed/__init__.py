"""The faults, chosen before it was known which of them the checks catch."""

from __future__ import annotations

from proofs_check.faults.fault import Fault
from proofs_check.faults.listed import (
    hashing,
    low_rank,
    masks,
    polynomials,
    softmax,
    transformer,
    trust,
    variants,
)

FAULTS: dict[str, Fault] = {
    fault.key: fault
    for module in (softmax, polynomials, hashing, low_rank, transformer, trust, masks, variants)
    for fault in module.FAULTS
}
"""By key, in the order of the lists."""

REASONS: dict[str, str] = {}
"""Why a fault survives, as far as is known; by its key."""

__all__ = ["FAULTS", "REASONS"]
