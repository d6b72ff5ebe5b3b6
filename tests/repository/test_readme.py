"""The README and the documentation run: every `pycon` block is a doctest, every relative link leads
somewhere.
"""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = ("statements", "api")
"""Folders of docs that are written with the documentation."""
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(
        page
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if page.relative_to(ROOT / "docs").parts[0] not in (*BUILT, "_build")
    ),
]
RUNNABLE = [page for page in PAGES if "```pycon" in page.read_text(encoding="utf-8")]


def examples(text: str) -> str:
    """Return the `pycon` blocks of a page, everything else blanked so that line numbers
    stay true.
    """
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = line == "```pycon"
            lines.append("")
        else:
            lines.append(line if inside else "")
    return "\n".join(lines) + "\n"


def run(text: str, name: str) -> tuple[doctest.TestResults, str]:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest(
        examples(text), {"__name__": "__main__"}, name, name, 0
    )
    report: list[str] = []
    results = doctest.DocTestRunner(optionflags=flags).run(test, out=report.append)
    return results, "".join(report)


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_examples(page: Path) -> None:
    results, report = run(page.read_text(encoding="utf-8"), page.name)
    assert results.attempted > 0
    assert results.failed == 0, report


def test_the_readme_has_examples() -> None:
    assert ROOT / "README.md" in RUNNABLE


LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")


def links(page: Path) -> list[tuple[Path, str]]:
    """The files of this repository that a page leads to, and the places in them."""
    found = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            found.append(((page.parent / path).resolve() if path else page, anchor))
    return found


def anchors(page: Path) -> set[str]:
    """The places of a page: its labels, and its headings as GitHub and MyST name them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    labels = set(re.findall(r"^\(([^)]+)\)=$", text, re.MULTILINE))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
        labels.add(kept.replace(" ", "-"))
    return labels


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    built = [ROOT / "docs" / folder for folder in BUILT]
    kept = [(path, a) for path, a in links(page) if not set(path.parents) & set(built)]
    assert [path for path, _ in kept if not path.exists()] == []
    there = [(path, a) for path, a in kept if a and path.suffix == ".md"]
    assert [(path.name, a) for path, a in there if a not in anchors(path)] == []


def test_a_wrong_example_is_noticed() -> None:
    text = "Text.\n\n```pycon\n>>> 1 + 1\n3\n```\n\n```sh\n>>> not Python\n```\n"
    results, report = run(text, "wrong.md")
    assert (results.failed, results.attempted) == (1, 1)
    assert "Expected:\n    3" in report
