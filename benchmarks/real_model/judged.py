"""The whole model with other attention: loss, loss on second copies, time and multiply-adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from real_model.network import Attend, Network, forward, losses
from real_model.swaps import HeadAttention, Swap, exact_multiply_adds
from real_model.texts import Text

Losses = npt.NDArray[np.float64]
BLOCK = 128
"""Tokens of a block, whose losses are averaged for the standard error. *Chosen*."""


def run(
    network: Network,
    text: Text,
    choose: Callable[[int, int], HeadAttention],
    exact: Losses | None,
    *,
    beside: int = 5,
    watch: Callable[[Attend], Attend] = lambda attend: attend,
) -> tuple[dict[str, Any], Losses]:
    """Return what one forward pass shows, and its losses.

    Parameters
    ----------
    network, text
        The model, and what it reads.
    choose : callable
        Attention of a layer and a head.
    exact : array, shape (n - 1,), or None
        Losses of exact attention, to compare with; None where this is exact attention.
    beside : int
        PyTorch's attention is timed in every so many layers, where it is installed.
    watch : callable
        Wraps the attention, as `Capture` does.
    """
    attend = Swap(network, choose, beside=beside)
    start = time.process_time()
    found = losses(network, forward(network, text.tokens, watch(attend)), text.tokens)
    spent = time.process_time() - start
    n = len(text.tokens)
    whole = network.layers * network.heads * exact_multiply_adds(n, network.width)
    record: dict[str, Any] = {
        "nats a token": float(found.mean()),
        "seconds": attend.seconds if attend.timed else None,
        "seconds of PyTorch": attend.torch_seconds,
        "multiply-adds over exact": attend.multiply_adds / whole,
        "processor seconds, all": spent,
    }
    if text.seconds:
        record |= {
            "second copies": float(found[text.places()].mean()),
            "first copies": float(found[text.places(second=False)].mean()),
        }
    return record | compared(found, found if exact is None else exact, text), found


def compared(found: Losses, exact: Losses, text: Text) -> dict[str, float]:
    """Return the change of the loss and its standard error, from means of neighbouring tokens."""
    change = found - exact
    step = min(BLOCK, max(1, len(change) // 2))
    blocks = change[: len(change) // step * step].reshape(-1, step).mean(axis=1)
    record = {
        "change": float(change.mean()),
        "standard error": float(blocks.std(ddof=1) / np.sqrt(len(blocks))),
    }
    if text.seconds:
        passages = change[text.places()].reshape(len(text.seconds), -1).mean(axis=1)
        record |= {
            "change on second copies": float(passages.mean()),
            "its standard error": float(passages.std(ddof=1) / np.sqrt(len(passages))),
            "largest change of a passage": float(passages.max()),
        }
    return record
