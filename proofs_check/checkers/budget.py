"""How much work a run may do, and where its randomness comes from."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Budget = Literal["quick", "full"]
BUDGETS: tuple[Budget, ...] = get_args(Budget)


def generator(seed: int) -> np.random.Generator:
    """Counter-based generator: the stream depends on the seed alone, not on the order of the
    experiments.
    """
    return np.random.Generator(np.random.Philox(key=seed % 2**128))
