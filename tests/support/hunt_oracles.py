"""Numbers of extended precision with claimed errors, held against balls."""

from __future__ import annotations

import numpy as np

from proofs_check.arithmetic.balls import Rows, max_error, precision
from proofs_check.hunt.oracles.softmax import Exact


def check_item(exact: Exact, item: int, rows: Rows, bits: int = 2600) -> float:
    """Hold every entry of one item against its ball; return the largest share of the error used."""
    used = 0.0
    for i, row in enumerate(rows):
        for c, enclosed in enumerate(row):
            value, error = exact.value[item, i, c], exact.error[item, i, c]
            if not np.isfinite(error):
                continue
            # an 80-bit number is the sum of two of 53 bits
            top = float(value)
            rest = float(value - np.longdouble(top))
            if not np.isfinite(top):
                continue
            with precision(bits):
                gap = enclosed - top - rest
            lower, _ = max_error(np.array([[0.0]]), [[gap]], bits=bits)
            assert lower <= error, (item, i, c, lower, error)
            used = max(used, lower / float(error)) if float(error) > 0 else used
    return used
