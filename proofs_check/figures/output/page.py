"""The page of the gallery in Markdown: every figure with what it shows and how to make it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proofs_check.figures.record import Figure

_HEAD = """# Gallery

Plots of theorems. Every number is computed when the figure is made; beside each picture lies its
table (CSV), and in every file stand theorem, seed, versions and commit. All of them:

```sh
.venv/bin/python -m proofs_check figures --out figures
```

One of them, as a picture for a paper: `python -m proofs_check figures degrees --format svg`.
"""


def page(figures: Iterable[Figure], origin: Mapping[str, str]) -> str:
    """Return the page; pictures lie beside it as NAME.svg, tables as NAME.csv."""
    figures = list(figures)
    redrawn = [f for f in figures if f.of_paper]
    lines = [_HEAD, "## Figures of the papers, redrawn", ""]
    lines += ["| figure of the paper | command | picture |", "|---|---|---|"]
    lines += [
        f"| {f.of_paper} | `python -m proofs_check figures {f.name}` | [{f.name}](#{f.name}) |"
        for f in redrawn
    ]
    for figure in figures:
        lines += ["", *_section(figure)]
    made = f"Made with {origin['versions']} from the source at {origin['commit']}."
    return "\n".join([*lines, "", made, ""])


def _section(figure: Figure) -> list[str]:
    """Return heading, picture, caption, and the source's numbers beside ours."""
    shown = ", ".join(f"`{key}`" for key in figure.claims)
    lines = [
        f"({figure.name})=",
        f"## {figure.title}",
        "",
        f"![{figure.title}]({figure.name}.svg)",
        "",
        f"{figure.caption} Shows {shown}. [Numbers]({figure.name}.csv), "
        f"`python -m proofs_check figures {figure.name}`.",
    ]
    if figure.printed:
        lines += ["", "| | source | here |", "|---|---|---|"]
        lines += [f"| {row.what} | {row.source} | {row.ours} |" for row in figure.printed]
    return lines
