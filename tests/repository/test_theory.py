"""The pages of theory: statements that they name exist, formulas can be typeset."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from proofs_check import catalogue

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "theory.md", *sorted((ROOT / "docs" / "theory").glob("*.md"))]
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, ROOT / "docs" / "_extensions" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TYPESET = extension("typeset")


def formulas(text: str) -> tuple[list[str], list[str]]:
    """Those of their own and those within lines."""
    text = CODE.sub("", text)
    own = re.findall(r"\$\$(.+?)\$\$", text, re.DOTALL)
    rest = re.sub(r"\$\$.+?\$\$", "", text, flags=re.DOTALL)
    return own, re.findall(r"\$(.+?)\$", rest, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_statements_exist_and_formulas_can_be_read(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\{claim\}`([^`]+)`", text))
    assert named <= set(catalogue.theorems(timed=True)), named
    assert named
    own, within = formulas(text)
    assert len(own) + len(within) > 5
    assert all('<path d="M' in TYPESET.display(tex) for tex in own)
    assert all('<path d="M' in TYPESET.inline(tex) for tex in within)


def test_what_cannot_be_read_is_an_error_that_shows_it() -> None:
    with pytest.raises(ValueError, match=r"cannot be read: \\nothing"):
        TYPESET.inline(r"\nothing{x}")


def test_lines_and_fractions_of_a_formula_of_its_own() -> None:
    two = TYPESET.display(r"\frac{a}{b} \\ c")
    assert two.count("<svg") == 2
    assert r"\dfrac" in two


def test_statements_have_a_page_each_source_and_every_key_a_target() -> None:
    pytest.importorskip("sphinx")
    texts = extension("statements").pages()
    for key in catalogue.theorems(timed=True):
        assert f"({key})=\n## {key}\n" in texts[key.split(".")[0]]
    assert all(f"[{name}]({name}.md)" in texts["index"] for name in texts if name != "index")


def test_keys_that_stand_as_code_are_links() -> None:
    pytest.importorskip("sphinx")
    nodes = pytest.importorskip("docutils.nodes")

    key = next(iter(catalogue.theorems()))
    other, heading = nodes.literal(text="nothing"), nodes.title("", "", nodes.literal(text=key))
    section = nodes.section("", heading, nodes.paragraph("", "", nodes.literal(text=key), other))
    document = SimpleNamespace(findall=section.findall)
    app = SimpleNamespace(env=SimpleNamespace(docname="page"))
    extension("statements")._linked(app, document)
    (link,) = (x for x in section.findall() if x.tagname == "pending_xref")
    assert (link["reftarget"], link.astext(), link.parent.tagname) == (key, key, "paragraph")
