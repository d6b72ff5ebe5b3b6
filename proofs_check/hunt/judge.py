"""Carry out one posed problem, or many at once, and say what is wrong with what came back."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from proofs_check.hunt.claims import Claim, Seen
from proofs_check.hunt.methods import Cell, Row
from proofs_check.hunt.modes import calls, states, transformers, variants
from proofs_check.hunt.modes.calls import Library
from proofs_check.hunt.problems import Posed

Host = np.ndarray[Any, Any]
Mode = Callable[[Row, Posed, Library, dict[str, Any]], Seen]

KINDS = ("violation", "nan", "dtype", "crash", "warning", "written")
BALLS = 12
"""Items of one call that are looked at in balls, the worst first; others stay undecided."""

_OF_OURS_BUT_RAW = ("of a certificate must be non-negative",)
"""Messages in the form of a refusal that no input should lead to."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    item : int
        The problem of the chunk.
    part : str
        What it concerns: "out", "dq" and so on.
    detail : str
        One sentence.
    ratio : float
        Error divided by bound, for a violation.
    """

    kind: str
    item: int
    part: str
    detail: str
    ratio: float = 0.0


@dataclass(kw_only=True)
class Judgement:
    """What one or many calls came to.

    Attributes
    ----------
    ratios : array, shape (items,)
        Largest certain error divided by its bound, where the certificate holds surely; 0 where
        there is no bound.
    findings : list of Finding
        What is wrong.
    refused, rows, unbounded, undecided : int
        Problems refused; rows with a finite bound, and without; items that no oracle decided.
    trials : dict
        For certificates that hold with a probability: (failure allowed to one call) -> calls and
        calls that failed.
    """

    ratios: Host
    findings: list[Finding] = field(default_factory=list)
    refused: int = 0
    rows: int = 0
    unbounded: int = 0
    undecided: int = 0
    trials: Counter[tuple[float, str]] = field(default_factory=Counter)

    def add(self, other: Judgement, places: Host) -> None:
        """Join what other calls came to, for the items at these places."""
        self.ratios[places] = other.ratios
        for found in other.findings:
            at = int(places[min(found.item, len(places) - 1)])
            self.findings.append(replace(found, item=at))
        self.refused += other.refused
        self.rows += other.rows
        self.unbounded += other.unbounded
        self.undecided += other.undecided
        self.trials += other.trials


def mode_of(cell: Cell, row: Row, posed: Posed) -> Mode:
    """Return what carries out problems of a cell."""
    if cell.mode in ("batch", "order", "variant"):  # every other one asks for a gradient if it can
        there, back = _BOTH_WAYS.get(cell.mode, (calls.forward, calls.backward))
        return back if posed.seed % 2 and "gradient" in row.modes else there
    table: dict[str, Mode] = {
        "gradient": calls.backward,
        "state": states.queried,
        "network": transformers.forward,
        "network-gradient": transformers.backward,
        "tensor": calls.tensor,
        "audit": calls.audited,
    }
    return table.get(cell.mode, calls.forward)


_BOTH_WAYS: dict[str, tuple[Mode, Mode]] = {
    "variant": (variants.varied_forward, variants.varied_backward)
}


def judge(cell: Cell, row: Row, posed: Posed, lib: Library) -> Judgement:
    """Carry out problems, one call for all or one each, and judge them."""
    total = Judgement(ratios=np.zeros(posed.count))
    everything = np.arange(posed.count)
    if posed.singly and not posed.outer:
        for i in everything:
            part = replace(posed.take([int(i)]), seed=posed.seed + int(i))
            total.add(_one_call(cell, row, part, lib), everything[i : i + 1])
        return total
    waiting = [everything]
    while waiting:
        places = waiting.pop()
        found = _one_call(cell, row, posed if posed.outer else posed.take(places), lib)
        whole = posed.outer or posed.rubbish or row.costly or len(places) == 1
        if found.refused and not whole:  # the item that is too large spoils the others: bisect
            half = len(places) // 2
            waiting += [places[half:], places[:half]]
        else:
            total.add(found, places)
    return total


def _one_call(cell: Cell, row: Row, posed: Posed, lib: Library) -> Judgement:
    found = Judgement(ratios=np.zeros(posed.count))
    arrays = {name: lib.put(a) for name, a in posed.arrays.items()}
    mode = mode_of(cell, row, posed)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            seen = mode(row, posed, lib, arrays)
        except (ValueError, TypeError, MemoryError) as error:
            if _is_refusal(error):
                found.refused = posed.count
            else:
                found.findings.append(_crash(error))
            seen = Seen()
        except Exception as error:  # noqa: BLE001  what else comes out is what is hunted
            found.findings.append(_crash(error))
            seen = Seen()
    found.findings += _warned(told)
    found.findings += _written(posed, arrays, lib)
    for part, got, wanted in seen.dtypes:
        if got != wanted:
            said = f"dtype {got} where {wanted} is promised"
            found.findings.append(Finding(kind="dtype", item=0, part=part, detail=said))
    for claim in seen.claims:
        _hold(claim, found)
    return found


def _is_refusal(error: Exception) -> bool:
    """Tell whether an error has the form of a refusal: what is wrong, a colon, a remedy."""
    said = str(error)
    return ": " in said and not any(raw in said for raw in _OF_OURS_BUT_RAW)


def _crash(error: BaseException) -> Finding:
    said = f"{type(error).__name__}: {error}"[:300]
    trace, where = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "approxattn" in code.co_filename:
            name = code.co_filename.rpartition("approxattn")[2].lstrip("/\\")
            where = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return Finding(kind="crash", item=0, part=where, detail=said)


def _warned(told: list[warnings.WarningMessage]) -> Iterator[Finding]:
    for warning in told:
        path = str(warning.filename).replace("\\", "/")
        if "/proofs_check/" in path:
            continue  # the hunter's own
        inside = "/approxattn/" in path
        name = path.rpartition("/approxattn/" if inside else "/")[2]
        said = f"{warning.category.__name__}: {warning.message}"
        yield Finding(kind="warning", item=0, part=f"{name}:{warning.lineno}", detail=said[:300])


def _written(posed: Posed, arrays: dict[str, Any], lib: Library) -> Iterator[Finding]:
    for name, a in posed.arrays.items():
        if lib.get(arrays[name]).tobytes() != a.tobytes():
            yield Finding(kind="written", item=0, part=name, detail="an input was written to")


def _hold(claim: Claim, found: Judgement) -> None:
    """Judge one claim: NaN under a bound, errors above it, and how near the others came."""
    bounded = np.isfinite(claim.bounds)
    found.rows += int(bounded.sum())
    found.unbounded += int((~bounded).sum())
    for item in np.unique(np.nonzero(bounded & ~claim.finite)[0]):
        least = claim.bounds[item][bounded[item]].min()
        said = f"NaN or infinity in a row with the bound {least:.6g}"
        found.findings.append(Finding(kind="nan", item=int(item), part=claim.part, detail=said))
    judged = bounded & claim.finite
    low, wrong = _decided(claim, judged, found)
    if claim.failure > 0:
        _count(claim, wrong, found)
        return
    with np.errstate(all="ignore"):
        ratio = np.where(judged & (low > 0), low / claim.bounds, 0).astype(float)
    worst = ratio.max(axis=1, initial=0.0)
    if len(worst) == len(found.ratios):
        found.ratios = np.maximum(found.ratios, worst)
    elif worst.size:
        found.ratios = np.maximum(found.ratios, worst.max())
    for item in np.unique(np.nonzero(wrong)[0]):
        r = int(np.argmax(np.where(wrong[item], ratio[item], -1)))
        said = f"row {r}: error >= {float(low[item, r]):.6g}, bound {claim.bounds[item, r]:.6g}"
        found.findings.append(
            Finding(
                kind="violation",
                item=int(item),
                part=claim.part,
                detail=said,
                ratio=float(ratio[item, r]),
            )
        )


def _decided(claim: Claim, judged: Host, found: Judgement) -> tuple[Host, Host]:
    """Return certain errors, and where they exceed their bounds; balls where there is doubt."""
    low, high = np.array(claim.low), np.array(claim.high)
    open_rows = judged & (high > claim.bounds)
    if claim.enclose is None:
        found.undecided += int((open_rows & ~(low > claim.bounds)).any(axis=1).sum())
        return low, judged & (low > claim.bounds)
    items, sure = np.unique(np.nonzero(open_rows)[0]), np.full(len(low), claim.proved)
    with np.errstate(all="ignore"):
        excess = np.where(open_rows, low / claim.bounds, 0)
    worst = np.nan_to_num(excess.max(axis=1, initial=0.0), nan=0.0, posinf=1e300)[items]
    for item in items[np.argsort(-worst.astype(float), kind="stable")][:BALLS]:
        ends = claim.enclose(int(item))
        if ends is not None:
            low[item], high[item] = ends
            sure[item] = True
    wrong = judged & (low > claim.bounds) & sure[:, None]
    low = np.where(wrong | (low <= claim.bounds), low, 0)  # what is not sure is no ratio either
    found.undecided += int((judged & (high > claim.bounds) & ~wrong).any(axis=1).sum())
    return low, wrong


def _count(claim: Claim, wrong: Host, found: Judgement) -> None:
    """Count one trial of a certificate that may fail.

    The event is fixed beforehand: any item fails, of probability at most items times failure, where
    that is small; else the first item fails, since items of a call share their draws.
    """
    items = wrong.shape[0]
    together = claim.failure * items
    failed = bool(wrong.any()) if together <= 0.1 else bool(wrong[0].any())
    allowed = float(together if together <= 0.1 else claim.failure)
    found.trials[allowed, "calls"] += 1
    found.trials[allowed, "failed"] += int(failed)
