"""The hunt for a certificate below the error: structured problems, one check for all methods, and a
ledger of the largest ratios.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from cases import Case, run, suits
from hypothesis import strategies as st
from methods import Row
from oracle import enclose, row_errors
from scipy.stats import binomtest

from approxattn._arrays import HostArray
from proofs_check.arithmetic.balls import Rows

# --- problems: everything small integers times powers of two, so that a failure reads well --------

DTYPES = ("float64", "float32")

SIZES = (1, 1, 2, 2, 2, 3, 3, 4, 5, 7)
"""Numbers of tokens, as often as they are tried; one problem in 24 is larger, up to 64."""


def _matrix(draw: st.DrawFn, n: int, d: int, dtype: str) -> HostArray:
    """Draw n rows: small integers, drawn one by one where that is cheap; duplicated rows, scaled
    rows, a common offset, by choice.
    """
    if n * d <= 24:
        entries = np.array(
            draw(st.lists(st.integers(-4, 4), min_size=n * d, max_size=n * d)), float
        ).reshape(n, d)
    else:
        rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        entries = (
            rng.integers(-4, 5, (n, d)).astype(float)
            if draw(st.booleans())
            else rng.standard_normal((n, d))
        )
    style = draw(
        st.sampled_from(
            (
                "plain",
                "plain",
                "fraction",
                "tied",
                "mixed rows",
                "mixed entries",
                "offset",
                "zero rows",
            )
        )
    )
    if style == "plain":
        return entries
    seed = np.random.default_rng(draw(st.integers(0, 2**16)))
    low = -40 if dtype == "float32" else -300
    if style == "fraction":
        return entries / 3.0 + seed.uniform(-1, 1, (n, d))
    if style == "tied":
        return entries[seed.integers(0, min(n, 3), n)]
    if style == "mixed rows":
        return entries * np.exp2(seed.integers(low, 3, (n, 1)))
    if style == "mixed entries":
        return entries * np.exp2(seed.integers(low, 3, (n, d)))
    if style == "offset":
        return entries + np.exp2(seed.integers(-2, 8, (1, d)))
    return np.where(seed.random((n, 1)) < 0.5, 0.0, entries)


@st.composite
def problems(draw: st.DrawFn) -> Case:
    """Draw q, k, v, scale, causal and mask: ties, zeros, duplicates, huge, tiny and mixed
    magnitudes, n from 1 to 64, float32 or float64.
    """
    dtype = draw(st.sampled_from(DTYPES))
    n = draw(st.sampled_from(SIZES)) if draw(st.integers(0, 23)) else draw(st.integers(8, 64))
    n_q = n if draw(st.booleans()) else draw(st.integers(1, 3))
    d, dv = draw(st.sampled_from((1, 1, 2, 2, 3, 4))), draw(st.sampled_from((1, 1, 2, 3)))
    q, k, v = (_matrix(draw, *shape, dtype) for shape in ((n_q, d), (n, d), (n, dv)))
    # Sizes of scores: huge, ordinary, tiny, vanishing; the size of the values is another matter.
    size_q, size_k, size_v = (
        draw(st.sampled_from(s))
        for s in ((0, 0, -2, -9, 5), (0, 0, -2, 9, -60), (0, 0, -30, 30, -120))
    )
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["scale"] = draw(st.sampled_from((1.0, 0.1, 2.0**-10, 3.7, 50.0)))
    if n_q == n and draw(st.booleans()):
        options["causal"] = True
    if draw(st.integers(0, 2)) == 0:
        mask = np.random.default_rng(draw(st.integers(0, 2**16))).random(n) < 0.6
        mask[0] = True
        options["key_mask"] = mask
    case = Case(
        name="hunted", q=q * 2.0**size_q, k=k * 2.0**size_k, v=v * 2.0**size_v, options=options
    )
    return case.astype(dtype)


# --- the check ------------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What was seen so far, by method and dtype.

    Attributes
    ----------
    largest : dict
        Largest ratio of error to bound.
    checked, failed, refused : Counter
        Rows of output checked; calls with a row above its bound; calls that the method refused with
        a ValueError.
    """

    largest: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    checked: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = ["largest error / bound, rows checked, calls, refusals"]
        for key in sorted(self.calls):
            lines.append(
                f"  {key[0]:>22} {key[1]}: {self.largest[key]:8.2g} {self.checked[key]:7} "
                f"{self.calls[key]:6} {self.refused[key]:5}"
            )
        return "\n".join(lines)


def guilty(rows: Iterable[Row], ledger: Ledger) -> list[str]:
    """Return the methods whose failures their certificates do not allow: any, or more than chance
    explains (one-sided exact test, level 1e-6).
    """
    found = []
    for row in rows:
        allowed = 1 - getattr(row.method, "confidence", 1.0) if row.method.randomised else 0.0
        failed = sum(ledger.failed[row.name, dtype] for dtype in DTYPES)
        calls = sum(ledger.calls[row.name, dtype] for dtype in DTYPES)
        if failed and binomtest(failed, calls, allowed, alternative="greater").pvalue < 1e-6:
            found.append(f"{row}: {failed} of {calls} calls had a row above its bound")
    return found


def target_case(row: Row, case: Case) -> Case:
    """Return the case as the method takes it: without a scale for methods of directions."""
    if not row.method.why_no_scale:
        return case
    return replace(case, options={name: x for name, x in case.options.items() if name != "scale"})


def ratios(row: Row, case: Case, enclosure: Rows, *, seed: int = 5) -> HostArray:
    """Return error / bound for every row that has a bound, the error rounded up; 0/0 is 0."""
    out = run(row, case, seed=seed)
    rows = out.certificate.rows
    bounded = np.isfinite(rows)
    assert np.isfinite(out.value[bounded]).all(), "a row with a bound is not finite"
    errors = row_errors(np.where(bounded[:, None], out.value, 0.0), enclosure)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = np.where(errors > 0, errors / rows, 0.0)
    return np.where(bounded, found, 0.0)[bounded]


def check(rows: Iterable[Row], case: Case, ledger: Ledger, *, seed: int = 5) -> list[str]:
    """Hold every method against one problem; return what is wrong. Each target is enclosed once."""
    enclosures: dict[tuple[Any, ...], Rows] = {}
    wrong = []
    for row in rows:
        tried = target_case(row, case)
        if not suits(row, tried):
            continue
        key = (row.name, str(case.q.dtype))
        if seed % row.every:
            continue
        ledger.calls[key] += 1
        target = (row.target, row.bits, row.normalize)
        if target not in enclosures:
            enclosures[target] = enclose(row, tried)
        try:
            found = ratios(row, tried, enclosures[target], seed=seed)
        except ValueError as error:
            if ": " not in str(error):
                raise  # a refusal of ours ends with its remedy
            ledger.refused[key] += 1
            continue
        ledger.checked[key] += found.size
        worst = float(found.max(initial=0.0))
        ledger.largest[key] = max(ledger.largest[key], worst)
        if worst > 1:
            ledger.failed[key] += 1
            wrong.append(f"{row}: error / bound = {worst:.6g}")
    return wrong
