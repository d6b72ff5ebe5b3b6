"""What sums over features need of the memory, said before the work begins."""

from __future__ import annotations

from approxattn._arguments import memory
from approxattn.monomials.index import rank
from approxattn.monomials.numpy_features import SMALLEST_CHUNK

LARGEST_STATE = 2**34
"""Bytes that states and what makes them may take at most. *Chosen*: 16 GiB, more than most machines
give to one call; never more than half of what this machine has.
"""


def state_bytes(d: int, degree: int, columns: int, items: int, width: int) -> int:
    """Return about the bytes that the states of `items` leading indices take while they are made.

    r monomials of d variables, with `columns` values each, of `width` bytes: the states themselves,
    two more while chunks of keys are added, the monomials of the shortest chunk, and six numbers of
    8 bytes a monomial for multiplicities and weights.
    """
    return rank(d, degree) * (width * (columns * (items + 2) + SMALLEST_CHUNK) + 48)


def refuse_memory(what: str, size: int, remedy: str) -> None:
    """Raise MemoryError where `size` bytes are more than a call may take."""
    limit = min(LARGEST_STATE, memory() / 2)
    if size > limit:
        msg = (
            f"{what} would take {size} bytes ({size / 2**30:.3g} GiB; the limit is "
            f"{limit / 2**30:.3g} GiB): {remedy}"
        )
        raise MemoryError(msg)
