"""The README and the documentation run: every `pycon` block is a doctest, every relative link leads
somewhere.
"""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BUILT = (
    "gallery/gallery.md",
    "statements/index.md",
    "api/index.md",
)  # drawn with the documentation
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [t for t in targets if not re.match(r"[a-z]+:", t) and t not in BUILT]
    missing = [t for t in local if not (page.parent / t).exists()]
    assert not missing


def test_a_wrong_example_is_noticed() -> None:
    text = "Text.\n\n```pycon\n>>> 1 + 1\n3\n```\n\n```sh\n>>> not Python\n```\n"
    results, report = run(text, "wrong.md")
    assert (results.failed, results.attempted) == (1, 1)
    assert "Expected:\n    3" in report
