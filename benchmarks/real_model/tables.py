"""Tables and the picture of docs/language_model.md, from the records of the benchmark."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from real_model import goals
from real_model.readings import Records, cells, on_heads, signed


def table(head: str, rows: list[list[str]]) -> str:
    """Return a Markdown table; `head` has its columns separated by bars."""
    columns = [c.strip() for c in head.split("|")]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plan_table(records: Records) -> str:
    """Return what plans chose: heads left exact, and what that does to the loss."""
    rows = []
    for n, settings in cells(records).items():
        for setting, by_text in settings.items():
            for text, record in by_text.items():
                if "settings" in record:
                    rows.append(
                        [
                            f"{n:,}",
                            setting,
                            " and ".join(record["planned on"]),
                            text,
                            str(record["heads left exact"]),
                            signed(record["change"]),
                        ]
                    )
    return table(
        "n | plan | made on | judged on | heads left exact | change in nats a token",
        rows,
    )


def curve_table(records: Records) -> str:
    """Return heads left exact against heads above the error on the other text."""
    found = [(name.split(" | "), r) for name, r in records.items() if " | curve | " in name]
    rows = [
        [
            f"{int(parts[0]):,}",
            parts[2],
            parts[3],
            f"{point['exact']:.3g}",
            f"{100 * point['above']:.0f} %",
            f"{100 * point['cost']:.0f} %",
            f"{100 * point['time']:.0f} %",
        ]
        for parts, point in sorted(found, key=lambda x: int(x[0][0]))
    ]
    return table(
        "n | plan | margin | heads left exact | heads above the error on the other text | "
        "multiply-adds | time over that of Exact",
        rows,
    )


def model_table(records: Records) -> str:
    """Return the table of whole models: change in nats a token for each text, cost and speed."""
    every = cells(records)
    texts = list(dict.fromkeys(t for rows in every.values() for row in rows.values() for t in row))
    rows = []
    for n, settings in every.items():
        for setting, by_text in settings.items():
            rows.append([f"{n:,}", setting, *(_change(by_text.get(t)) for t in texts)])
            rows[-1] += [_copies(by_text), *_spent(list(by_text.values()))]
    heads = " | ".join(f"{t}, nats a token" for t in texts)
    return table(
        f"n | attention in all heads | {heads} | second copies, nats | multiply-adds | "
        "times PyTorch's speed | processor s of the row",
        rows,
    )


def _change(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return ""
    if record["change"] == 0:
        return f"{record['nats a token']:.4f}"
    return f"{signed(record['change'])} ± {record['standard error']:.4f}"


def _copies(by_text: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the loss on second copies, and its change."""
    record = next((r for r in by_text.values() if "second copies" in r), None)
    if record is None:
        return ""
    if record["change on second copies"] == 0:
        return f"{record['second copies']:.3f}"
    return f"{signed(record['change on second copies'], 3)} ± {record['its standard error']:.3f}"


def _spent(records: list[dict[str, Any]]) -> list[str]:
    """Return multiply-adds over exact, speed over PyTorch, and what the row took to measure."""
    share = np.mean([r["multiply-adds over exact"] for r in records])
    pairs = [(r["seconds"], r["seconds of PyTorch"]) for r in records]
    timed = [(own, theirs) for own, theirs in pairs if own and theirs]
    speed = sum(t for _, t in timed) / sum(o for o, _ in timed) if timed else None
    whole = sum(r["processor seconds, all"] for r in records)
    return [f"{100 * share:.1f} %", f"{speed:.2f}" if speed else "", f"{whole:,.0f}"]


def heads_table(records: Records) -> str:
    """Return the table of single heads: error quantiles over heads and texts, and cost."""
    rows = []
    for (n, family), settings in sorted(on_heads(records).items(), key=lambda x: x[0][0]):
        for setting, found in settings.items():
            errors = np.concatenate([r["errors"] for r in found])
            cost = np.mean([r["cost"] for r in found])
            quantiles = [f"{x:.3f}" for x in (*np.quantile(errors, [0.5, 0.9]), errors.max())]
            rows.append([f"{n:,}", family, setting, f"{100 * cost:.1f} %", *quantiles])
    return table(
        "n | rule | setting | multiply-adds | error: median head | 90 % of heads | worst", rows
    )


def goals_table(records: Records) -> str:
    """Return what was to be reached, what was found, and why it is missed."""
    return table("to reach | goal | found | so", goals.rows(records))


def check_table(records: Records) -> str:
    """Return the comparison with transformers."""
    found = records.get("check", {})
    rows = [[name, f"{value:,.6g}"] for name, value in found.items()]
    return table("against transformers | value", rows)


TABLES: dict[str, Callable[[Records], str]] = {
    "goals": goals_table,
    "check": check_table,
    "model": model_table,
    "heads": heads_table,
    "plans": plan_table,
    "curve": curve_table,
}


def filled(page: str, records: Records) -> str:
    """Return a page with what stands between `<!-- NAME -->` and `<!-- end NAME -->` made anew.

    Raises
    ------
    ValueError
        If the page lacks the place of a table.
    """
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            msg = f"the page must have one place {begin.strip()} ... {end} for its table"
            raise ValueError(msg)
        before = page[: page.index(begin) + len(begin)]
        page = before + make(records) + "\n" + page[page.index(end) :]
    return page


def picture(records: Records, path: Path) -> None:
    """Draw the error of the median head over the cost, one line a family, one panel a length."""
    found = on_heads(records)
    lengths = sorted({n for n, _ in found})
    if not lengths:
        return
    pyplot = importlib.import_module("matplotlib.pyplot")
    importlib.import_module("matplotlib").rcParams["svg.hashsalt"] = "language model"
    figure, axes = pyplot.subplots(
        1, len(lengths), figsize=(1 + 5.5 * len(lengths), 5), squeeze=False, sharey=True
    )
    for axis, n in zip(axes[0], lengths, strict=True):
        for colour, family in enumerate(dict.fromkeys(f for _, f in found)):
            settings = found.get((n, family), {}).values()
            points = sorted(
                (
                    np.mean([r["cost"] for r in each]),
                    np.median(np.concatenate([r["errors"] for r in each])),
                )
                for each in settings
            )
            if points:
                axis.plot(*zip(*points, strict=True), "o-", color=f"C{colour}", label=family)
        axis.set(xscale="log", yscale="log", title=f"n = {n:,}")
        axis.set_xlabel("multiply-adds over those of exact causal attention")
    axes[0][0].set_ylabel("relative error of the median head")
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
