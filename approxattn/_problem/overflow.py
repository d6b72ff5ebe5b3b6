"""Inputs whose sums could overflow are refused before anything is computed."""

from __future__ import annotations

from approxattn import _arrays


def check_magnitudes(tops: list[float], d: int, n: int, beta: float, compute: str) -> None:
    """Refuse what could overflow: a score is at most beta d max|q| max|k|, a centred key twice its
    size, a value sum n max|v|.
    """
    top_q, top_k, top_v = tops
    score = 2 * max(beta, 1.0) * d * max(top_q, 1.0) * max(top_k, 1.0)
    for what, size in (
        ("beta d max|q| max|k|", score),
        ("n max|k|", 2 * n * top_k),
        ("n max|v|", 2 * n * top_v),
    ):
        refuse_overflow(what, size, compute)


def refuse_overflow(what: str, size: float, dtype: str) -> None:
    """Raise ValueError where a sum of that size could overflow.

    The limit is a sixteenth of the largest number of the dtype. *Chosen*: room for the few
    operations that follow.
    """
    limit = _arrays.largest(dtype) / 16
    if not size <= limit:
        msg = (
            f"{what} = {size:.3g} could overflow {dtype} (limit {limit:.3g}): rescale the "
            "input or use float64"
        )
        raise ValueError(msg)
