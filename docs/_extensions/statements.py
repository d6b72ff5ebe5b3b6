"""A page of the statements of each source, written when the pages are built, and the role that
refers to them: {claim}`ours.hilbert`. A key that the catalogue does not have is a warning, with
which `./run.sh docs` ends. On every page, also a generated one or that of a public name, code that
is a key is a link too.
"""

from __future__ import annotations

import functools
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxRole

FOLDER = "statements"

_HEAD = """# Statements

Every statement of the catalogue, by source, typeset as the report does it, with the verdict that is
expected of it. `python -m proofs_check show KEY` adds the experiments, `replay KEY` runs them.

"""


def pages() -> dict[str, str]:
    """Return the pages by name: one of each source, and the list of them."""
    from proofs_check import catalogue

    sources: dict[str, list[Any]] = {}
    for theorem in catalogue.theorems(timed=True).values():
        sources.setdefault(theorem.key.split(".")[0], []).append(theorem)
    texts = {name: _page(name, found) for name, found in sources.items()}
    rows = [f"| [{n}]({n}.md) | {len(f)} | {_citation(f)} |" for n, f in sources.items()]
    table = "\n".join(["| keys begin with | statements | source |", "|---|---|---|", *rows])
    listed = "\n".join(["```{toctree}", ":hidden:", "", *sources, "```"])
    texts["index"] = f"{_HEAD}{table}\n\n{listed}\n"
    return texts


def _citation(theorems: list[Any]) -> str:
    found = dict.fromkeys(t.source.citation for t in theorems)
    return "; ".join(found)


def _page(name: str, theorems: list[Any]) -> str:
    lines = [f"# Statements: {name}", "", _citation(theorems), ""]
    for theorem in theorems:
        lines += [f"({theorem.key})=", f"## {theorem.key}", "", *_body(theorem), ""]
    return "\n".join(lines)


def _body(theorem: Any) -> list[str]:
    """Return what is said of one statement, as HTML."""
    from proofs_check.report.mathml import html

    kind = f", {theorem.kind}" if theorem.kind else ""
    rows = [f"<p><strong>{html(theorem.title)}</strong> (expected: {theorem.expected}{kind})</p>"]
    rows.append(f'<p class="statement">{html(theorem.statement)}</p>')
    if theorem.reading:
        rows.append(f"<p><em>Read as:</em> {html(theorem.reading)}</p>")
    rows.append(f"<p><em>Source:</em> {escape(str(theorem.source))}</p>")
    return ["".join(rows)]


def _link(key: str, page: str) -> pending_xref:
    """Return the link to a statement; Sphinx resolves it, or warns."""
    return pending_xref(
        "",
        nodes.literal(text=key),
        refdomain="std",
        reftype="ref",
        reftarget=key,
        refexplicit=True,
        refwarn=True,
        refdoc=page,
    )


class Claim(SphinxRole):
    """A key as a link to its statement."""

    def run(self) -> tuple[list[nodes.Node], list[Any]]:
        """Return the link."""
        return [_link(self.text, self.env.docname)], []


def _linked(app: Any, document: nodes.document) -> None:
    """Make links of the keys that stand as code, but for headings and what is a link already."""
    keys = _keys()
    for code in list(document.findall(nodes.literal)):
        closed = isinstance(code.parent, nodes.title | nodes.reference | pending_xref)
        if code.astext() in keys and not closed:
            code.replace_self(_link(code.astext(), app.env.docname))


@functools.cache
def _keys() -> frozenset[str]:
    from proofs_check import catalogue

    return frozenset(catalogue.theorems(timed=True))


def setup(app: Any) -> dict[str, bool]:
    """Register the pages, the role, and the links."""
    from written import write

    app.add_role("claim", Claim())
    app.connect("doctree-read", _linked)
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / FOLDER, pages()))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
