"""The two tables about certificates and real heads, as records of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from approxattn.certificate import SOFTMAX
from proofs_check.papers.our_code import certificates as code_certificates
from proofs_check.report.real_heads import DTYPES, Line, Measurement, Run
from proofs_check.report.records import number
from proofs_check.running.campaign import Result

MEANINGFUL = 0.5
"""A bound below this share of the trivial one is called informative. *Chosen*."""


@dataclass(frozen=True, kw_only=True)
class CertificateRow:
    """One method: largest error / bound found by the search, by dtype, and on the real heads.
    `target` is empty where the bound is one on the distance to softmax attention.
    """

    key: str
    method: str
    target: str
    searched: tuple[str, ...]
    tried: int
    heads: str
    settings: str
    violated: bool


def certificate_rows(results: Sequence[Result], measurement: Measurement) -> list[CertificateRow]:
    """Every claim about the certificates of the float code in this run."""
    claims = {theorem.key for theorem in code_certificates.THEOREMS}
    return [_certificate_row(r, measurement) for r in results if r.theorem.key in claims]


def _certificate_row(result: Result, measurement: Measurement) -> CertificateRow:
    lines = [x for x in measurement.lines if x.claim == result.theorem.key]
    ratios = [x.ratio for x in lines if x.ratio is not None]
    searched = [v.tightness for v in result.verdicts]
    target = next((x.target for x in lines if x.target), "")
    return CertificateRow(
        key=result.theorem.key,
        method=result.theorem.title.removesuffix(" stays within its certificate"),
        target="" if target == SOFTMAX else target,
        searched=tuple(_ratio(t) or "–" for t in searched),
        tried=sum(int(v.facts.get("tried", 0)) for v in result.verdicts),
        heads=_ratio(max(ratios)) if ratios else "–",
        settings="; ".join(dict.fromkeys(x.label for x in lines if x.label != x.family)),
        violated=any(not t <= 1 for t in [*ratios, *(s for s in searched if s is not None)]),
    )


def _ratio(x: float | None) -> str:
    """Below 1 by nothing that three digits show is below 1 all the same."""
    return number(x, near_one="< 1" if x is not None and x < 1 else "")


@dataclass(frozen=True, kw_only=True)
class HeadRow:
    """One method on all heads."""

    family: str
    label: str
    method: str
    errors: tuple[str, ...]
    rescaled: str
    useless: bool
    shares: tuple[str, ...]
    informative: bool
    ratio: str
    violated: bool
    target: str
    kind: str
    refused: str
    reasons: tuple[str, ...]
    each: tuple[str, ...]


def head_rows(measurement: Measurement) -> list[HeadRow]:
    """One per method; float64 and float32 side by side."""
    double, single = ([x for x in measurement.lines if x.dtype == dtype] for dtype in DTYPES)
    return [_head_row(a, b, measurement) for a, b in zip(double, single, strict=True)]


def _head_row(double: Line, single: Line, measurement: Measurement) -> HeadRow:
    ratios = [x.ratio for x in (double, single) if x.ratio is not None]
    refused = sum(run.refused for run in double.runs)
    beaten = [
        run.error >= null
        for run, null in zip(double.runs, measurement.mean_of_v, strict=True)
        if not run.refused
    ]
    share = double.summary("share")
    return HeadRow(
        family=double.family,
        label=double.label,
        method=double.method,
        errors=(*_pair(double.summary("error")), _pair(single.summary("error"))[1]),
        rescaled=_pair(double.summary("rescaled"))[1],
        useless=sum(beaten) * 2 >= len(beaten) > 0,
        shares=tuple(
            "–" if x is None else number(x[0], near_one="≈ 1")
            for x in (share, single.summary("share"))
        ),
        informative=share is not None and share[0] < MEANINGFUL,
        ratio=number(max(ratios)) if ratios else "–",
        violated=any(not r <= 1 for r in ratios),
        target=double.target,
        kind=double.kind,
        refused=f"refused on {refused} of {len(double.runs)} heads" if refused else "",
        reasons=_distinct([*double.reasons, *single.reasons]),
        each=tuple(_one(run) for run in double.runs),
    )


def _distinct(reasons: Sequence[str]) -> tuple[str, ...]:
    """One reason of each kind: those that differ in figures only (before the colon) count once."""
    kinds: dict[str, str] = {}
    for reason in reasons:
        kinds.setdefault("".join(c for c in reason if not c.isdigit()), reason)
    return tuple(kinds.values())


def _pair(numbers: tuple[float, float] | None) -> tuple[str, str]:
    return ("–", "–") if numbers is None else (number(numbers[0]), number(numbers[1]))


def _one(run: Run) -> str:
    return "refused" if run.refused else number(run.error)


def null_rows(measurement: Measurement) -> list[HeadRow]:
    """The zero output and the mean of V, in the form of the methods; the best multiple of nothing
    is nothing.
    """
    nulls = (
        ("zero output", [1.0] * len(measurement.heads)),
        ("mean of V", list(measurement.mean_of_v)),
    )
    rows = []
    for label, errors in nulls:
        middle, worst = number(_median(errors)), number(max(errors))
        rows.append(
            HeadRow(
                family="No attention",
                label=label,
                method="",
                errors=(middle, worst, worst),
                rescaled="–",
                useless=False,
                shares=("–", "–"),
                informative=False,
                ratio="–",
                violated=False,
                target="",
                kind="",
                refused="",
                reasons=(),
                each=tuple(map(number, errors)),
            )
        )
    return rows


def _median(numbers: list[float]) -> float:
    ordered, half = sorted(numbers), len(numbers) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _useful(rows: Sequence[HeadRow]) -> list[str]:
    """Methods whose bounds on the distance to softmax attention say something."""
    return [
        f"{r.family} ({r.label})" if r.family != r.label else r.family
        for r in rows
        if r.ratio != "–" and r.informative and r.target == SOFTMAX
    ]


def conclusion(rows: Sequence[HeadRow], measurement: Measurement) -> str:
    """What to do about it, in two sentences for the first screen."""
    return (
        f"On {len(measurement.heads)} heads of a trained model a bound on the distance to softmax "
        f"attention says something, in the median, for {_join(_useful(rows))}. Every other method "
        "is to be judged there by its measured error, on heads of your own"
    )


def heads_sentence(rows: Sequence[HeadRow]) -> str:
    """What the certificates are worth on these heads, counted."""
    bounded = [row for row in rows if row.ratio != "–"]
    informative = [row for row in bounded if row.informative]
    softmax = _useful(rows)
    other = [f"{r.family} ({r.label})" for r in informative if r.target != SOFTMAX]
    text = (
        f"Of {len(bounded)} settings with a finite certificate, {len(informative)} have one below "
        f"{MEANINGFUL:g} of what is known without computing anything (median over the heads): "
        f"towards softmax attention {_join(softmax)}, towards their own expectation "
        f"{_join(other)}. "
    )
    return text + (
        "The other certificates hold, and say next to nothing: the scores of a trained model "
        "lie outside the range in which these theorems help."
    )


def _join(names: list[str]) -> str:
    return (
        "none"
        if not names
        else names[0]
        if len(names) == 1
        else f"{', '.join(names[:-1])} and {names[-1]}"
    )
