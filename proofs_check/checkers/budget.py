"""How much work a run may do, and where its randomness comes from."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Budget = Literal["quick", "full"]
"""The name of a budget."""
BUDGETS: tuple[Budget, ...] = get_args(Budget)
"""The budgets: "quick" for every day, "full" for a longer search."""


def generator(seed: int) -> np.random.Generator:
    """Counter-based generator: the stream depends on the seed alone, not on the order of the
    experiments.
    """
    return np.random.Generator(np.random.Philox(key=seed % 2**128))
