"""Whole calls of attention in turn with PyTorch's in one process: what several benchmarks time."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import approxattn as aa

Tasks = dict[str, Callable[[], object]]

EXACT = {
    "12 heads of 128, d = 32": ((12, 128, 32), False, 3.0),
    "12 heads of 2,048, d = 32": ((12, 2048, 32), False, 1.5),
    "one head of 2,048, d = 64": ((1, 2048, 64), False, 1.5),
    "one head of 8,192, d = 64, causal": ((1, 8192, 64), True, 1.5),
}
"""Shape, order, and the goal for certified calls over PyTorch's exact attention."""


SELECTED = {32768: 8.0, 65536: 13.0}
"""Tokens of one causal head of width 64, and the goal for PyTorch's time over that of
`SelectedSummaries(heavy=128, recent=192, summaries=16)`.
"""


def in_turn(tasks: Tasks, repeats: int) -> dict[str, list[float]]:
    """Return the processor times of each task, one after the other in every turn."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 1):  # the first warms up
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if turn:
                times[name].append(time.process_time() - start)
    return times


def over(times: dict[str, list[float]], unit: str) -> dict[str, float]:
    """Return the medians of the ratios to one of the tasks, and its own milliseconds."""
    ratios = {
        name: statistics.median(a / b for a, b in zip(spent, times[unit], strict=True))
        for name, spent in times.items()
        if name != unit
    }
    return {f"{unit} ms": 1e3 * min(times[unit]), **ratios}


def calls(method: Any, q: Any, k: Any, v: Any, **options: Any) -> Tasks:
    """Return the call with a certificate whose rows are read, and the one without."""
    return {
        "certified": lambda: aa.attention(q, k, v, method, **options).certificate.rows,
        "value": lambda: aa.attention(q, k, v, method, certify=False, **options),
    }


def exact_line(shape: tuple[int, int, int], causal: bool, repeats: int) -> dict[str, float]:
    """Measure calls of `Exact` over PyTorch's; empty without PyTorch."""
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        return {}
    torch.set_num_threads(1)
    q, k, v = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    tensors = [torch.from_numpy(x)[None] for x in (q, k, v)]
    sdpa = torch.nn.functional.scaled_dot_product_attention
    peer: Tasks = {"torch": lambda: sdpa(*tensors, is_causal=causal)}
    return over(in_turn(peer | calls(aa.Exact(), q, k, v, causal=causal), repeats), "torch")


def selected_line(n: int, repeats: int) -> dict[str, float]:
    """Measure PyTorch's causal attention over that to selected and summary keys; empty without
    PyTorch.
    """
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        return {}
    torch.set_num_threads(1)
    q, k, v = np.random.default_rng(0).standard_normal((3, n, 64)).astype(np.float32)
    tensors = [torch.from_numpy(x)[None, None] for x in (q, k, v)]
    sdpa = torch.nn.functional.scaled_dot_product_attention
    method = aa.SelectedSummaries(heavy=128, recent=192, summaries=16)
    own = calls(method, q, k, v, causal=True)
    times = in_turn({"torch": lambda: sdpa(*tensors, is_causal=True), **own}, repeats)
    found = {
        name: statistics.median(a / b for a, b in zip(times["torch"], times[name], strict=True))
        for name in own
    }
    return {"value ms": 1e3 * min(times["value"]), **found}
