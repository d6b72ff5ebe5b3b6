"""Counts and largest ratios of a hunt as Markdown, for docs/generated/hunt.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from proofs_check.hunt.campaign import findings_of, improbable
from proofs_check.hunt.chunk import cell_of
from proofs_check.hunt.methods import MODES, TABLE, Cell

_HEAD = """# The hunt for a certificate below the error

`python -m proofs_check hunt` poses problems that are made to hurt: ties, duplicates, zeros, huge
and tiny numbers over the whole range of the dtype, rubbish behind masks. It looks for a certificate
that is smaller than the true error. This page is written by `python -m proofs_check hunt --table`.
"""

_LIMITS = """## What it cannot see

- Gradients certified towards the method's own output (`Yoso`, `YosoExpectation`, `BertLSH`,
  `LSHSoftmax`), and Yoso with Hadamard hashing: only NaN under a bound, crashes, warnings and
  dtypes are judged there. Gradients of the method's own arrays (`Gradients.parameters`) are not.
- A fault smaller than the slack of a bound. A tenth of the bound is caught at once for most rows;
  a hundredth is needed for `minimax-5`, `taylor-2-plug-in` and the gradient of `Exact`. The bounds
  of networks are hundreds of times too large, and so would a fault have to be.
- Of 29 deliberate faults in what all methods share (softmax, scores, bounds) it found 23 by itself,
  with 25 s for each. Missed: sums over more than one block of keys (three faults), a width of
  columns that only sampled hashes use, exact gradients without rounding, a causal audit.
- A mask that `Nystrom` ignores: its bound is the range of the values, and covers that.
- Certificates that hold with a probability (`row-sample`, `yoso`): single events prove nothing.
  Calls are counted, and an exact test judges the whole hunt. Their ratios stand as 0 above.
- Sums of gradients over broadcast axes have no enclosure in balls: the oracle of extended precision
  decides alone. For networks its own error is estimated; doubt is settled in balls, for slopes by
  central differences there.
- Large problems: there are at most 64 tokens and nine columns. Rows that search for a polynomial
  (`minimax-1e-1`, `tensor-1e-2`) meet scores below 2^5 only. States with a mask are folded in one
  part. Of `--problems` these rows get half the share of others, and gradients of networks a
  quarter; `--each` counts every cell alike.
"""


def markdown(records: Sequence[dict[str, Any]]) -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_ratios(records), "", *_counts(records), "", *_findings(records)])


def _ratios(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    modes = [m for m in MODES if any(record["mode"] == m for record in records)]
    best: dict[tuple[str, str], float] = {}
    for record in records:
        key = record["row"], record["mode"]
        best[key] = max(best.get(key, 0.0), record["ratio"])
    yield "## Largest error divided by its bound"
    yield ""
    yield "Where the certificate holds surely. Above 1 it is false; 0: no row had a finite bound."
    yield ""
    yield f"| row | {' | '.join(modes)} |"
    yield f"|---|{'---:|' * len(modes)}"
    for row in TABLE:
        shown = [best.get((row.name, mode)) for mode in modes]
        if any(x is not None for x in shown):
            cells = ("" if x is None else f"{x:.2g}" for x in shown)
            yield f"| {row.name} | {' | '.join(cells)} |"


def _counts(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Counts"
    yield ""
    yield "| mode | cells | problems | fewest in a cell | refused | bounded rows | without | open |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    names = ("problems", "refused", "rows", "unbounded", "undecided")
    for mode in (*MODES, "all"):
        own = [r for r in records if mode in ("all", r["mode"])]
        if own:
            done: Counter[Cell] = Counter()
            for r in own:
                done[cell_of(r)] += r["problems"]
            total, *rest = (sum(r[name] for r in own) for name in names)
            shown = (len(done), total, min(done.values()), *rest)
            yield f"| {mode} | {' | '.join(f'{number:,}' for number in shown)} |"
    yield ""
    yield "A cell is a row of the first table in one mode, one dtype and one array library. Rows of"
    yield "results are bounded where the certificate is finite; open: problems no oracle decided."
    yield "A problem of networks is one matrix of tokens: 16 share a network, 6 that of gradients."


def _findings(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    lines, odd = findings_of(records), improbable(records)
    yield "## Findings"
    yield ""
    if not lines and not odd:
        yield "None."
        yield ""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for f in lines:
        groups.setdefault((f["kind"], f["row"], f["mode"]), []).append(f)
    if groups:
        yield "| kind | row | mode | found | largest ratio | one of them |"
        yield "|---|---|---|---:|---:|---|"
    for (kind, row, mode), group in groups.items():
        worst = max(f["ratio"] for f in group)
        one = f"{group[0]['part']}: {group[0]['detail']}".replace("|", "\\|")[:60]
        yield f"| {kind} | {row} | {mode} | {len(group)} | {worst:.3g} | {one} |"
    for test in odd:
        told = f"{test['failed']} of {test['calls']} calls failed where {test['allowed']:g}"
        yield f"- improbable: {test['row']}: {told} is allowed (p = {test['p']:.2g})"
    yield ""
    yield _LIMITS
