"""Write the tables of docs/transformers.md from the result files in docs/results.

python examples/training_tables.py            # after new results were put there; a test says when
    they are stale
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"


def signed(x: float, digits: int = 3) -> str:
    """Return a number with its sign, typeset."""
    return f"{x:+.{digits}f}".replace("-", "−")


def table(head: str, rows: list[list[str]]) -> str:
    """Return a Markdown table; `head` has its columns separated by bars."""
    columns = [c.strip() for c in head.split("|")]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def gap(figures: Mapping[str, float], digits: int = 3, unit: float = 1.0) -> str:
    """Return a paired difference to exact attention with its interval; nothing for exact attention
    itself.
    """
    difference, half = (
        unit * figures[k] for k in ("difference to exact", "half width of the difference")
    )
    return f"{signed(difference, digits)} ± {half:.{digits}f}" if half else "0"


def characters(result: Mapping[str, Any]) -> str:
    lines, rows = result["summary"], []
    # results kept from before it was measured lack it
    ahead = all("profit from later text" in line for line in lines)
    for line in lines:
        figures = {
            "difference to exact": line["difference to exact"],
            "half width of the difference": line["95% half width"],
        }
        row = [
            line["method"],
            f"{line['held-out loss']:.3f}",
            gap(figures),
            f"{line['with exact attention instead']:.3f}",
        ]
        row += [profit(line["profit from later text"])] if ahead else []
        bound = line["score bound"]
        rows.append(
            [
                *row,
                f"{bound:,.0f}" if bound >= 100 else f"{bound:.3g}",
                f"{line['processor seconds']:.0f}",
            ]
        )
    middle = " | profit from later text" if ahead else ""
    head = (
        "attention trained with | held-out loss | difference to exact | exact attention put in "
        "afterwards"
    )
    return table(f"{head}{middle} | bound on scores | processor seconds", rows)


def profit(x: float) -> str:
    return "0" if abs(x) < 5e-5 else signed(x, 4)


def listops(result: Mapping[str, Any]) -> str:
    rows = []
    for line in result["summary"]:
        accuracy = f"{100 * line['accuracy']:.1f} ± {100 * line['half width']:.1f}"
        if "processor seconds" in line:
            rows.append(
                [line["method"], accuracy, gap(line, 1, 100), f"{line['processor seconds']:.0f}"]
            )
        else:
            rows.append(
                [
                    f"*{line['method']}*",
                    accuracy if line["half width"] else accuracy.split()[0],
                    "",
                    "",
                ]
            )
    return table("attention | accuracy, % | difference to exact | processor seconds", rows)


def masked(result: Mapping[str, Any]) -> str:
    rows = []
    for line in result["summary"]:
        loss, accuracy = line["loss"], line["accuracy"]
        rows.append(
            [
                line["method"],
                f"{loss['loss']:.3f} ± {loss['half width']:.3f}",
                gap(loss),
                f"{100 * accuracy['accuracy']:.1f}",
                gap(accuracy, 1, 100),
                line["verdict"],
                f"{line['processor seconds']:.0f}",
            ]
        )
    rows.append(
        [
            "*frequencies of characters alone*",
            f"{result['loss of the frequencies']:.3f}",
            "",
            "",
            "",
            "",
            "",
        ]
    )
    return table(
        (
            "attention | held-out loss | difference to exact | accuracy, % | difference to exact | "
            "hence | processor seconds"
        ),
        rows,
    )


def minilm(result: Mapping[str, Any]) -> str:
    rows = [
        [
            line["method"],
            *(
                f"{line[k]:.3f}"
                for k in ("cosine", "least cosine", "rank correlation", "cosine, passages")
            ),
            f"{line['cost']:.2f}",
        ]
        for line in result["figures"]
    ]
    return table(
        (
            "attention in all layers | mean cosine | least cosine | rank correlation | mean "
            "cosine, passages | cost"
        ),
        rows,
    )


def minilm_single(result: Mapping[str, Any]) -> str:
    layers = len(result["figures"][0]["cosine, one layer"])
    rows = [
        [line["method"], *(f"{x:.3f}" for x in line["cosine, one layer"])]
        for line in result["figures"]
    ]
    return table(" | ".join(["attention in one layer", *map(str, range(1, layers + 1))]), rows)


TABLES: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "characters": ("characters-small.json", characters),
    "listops": ("listops-small.json", listops),
    "masked": ("masked-small.json", masked),
    "minilm": ("minilm-layers.json", minilm),
    "minilm-single": ("minilm-layers.json", minilm_single),
}


def filled(page: str, results: Path) -> str:
    """Return a page with what stands between `<!-- NAME -->` and `<!-- end NAME -->` made anew, for
    the results that are there.

    Raises
    ------
    ValueError
        If the page lacks the place of a table.
    """
    for name, (file, make) in TABLES.items():
        if not (results / file).exists():
            continue
        body = make(json.loads((results / file).read_text(encoding="utf-8")))
        begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            msg = f"the page must have one place {begin.strip()} ... {end} for its table"
            raise ValueError(msg)
        page = page[: page.index(begin) + len(begin)] + body + "\n" + page[page.index(end) :]
    return page


def main() -> int:
    path = DOCS / "transformers.md"
    path.write_text(filled(path.read_text(encoding="utf-8"), DOCS / "results"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
