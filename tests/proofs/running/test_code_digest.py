"""A change of words leaves evidence alone, a change of anything else does not."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from floors import imports

import proofs_check
from proofs_check.running import evidence
from proofs_check.running.code_digest import PROSE, RECORDS, code_digest, without_prose

ROOT = Path(proofs_check.__file__).parents[1]
PACKAGE = ROOT / "proofs_check"
READ_ONLY = {Path(name).stem for name in evidence.READ_ONLY}

PAPER = '''"""A paper."""

from fractions import Fraction
from functools import partial

from proofs_check.papers.shared.source import here
from proofs_check.statements.coverage import Place
from proofs_check.statements.experiment import Assumption, Falsify, Identity, Symbolic
from proofs_check.statements.theorem import ByHand, Theorem
from proofs_check.statements.unchecked import Unchecked

_SEEDS = "only said"
_KIND = "decides"


# Why it holds.
def _sides(x, factor=2, kind=_KIND):
    """Both sides."""
    return Identity(factor * x + 1, 3, "label of the identity")


def _positive(case):
    return case["x"] > 0


_POSITIVE = Assumption(text="x is positive", predicate=_positive)

THEOREMS = (
    Theorem(
        key="a.b",
        title="a title",
        statement="a statement",
        source=here(__name__, how="from nothing"),
        reading="read so",
        alternative_readings=("read otherwise",),
        assumptions=(_POSITIVE,),
        experiments=(Symbolic(identities=partial(_sides, factor=2), scope="all x"),),
        expected="refuted",
        mutant=Symbolic(identities=partial(_sides, factor=3), scope="all x too"),
        uses=("a.c",),
        by_hand=ByHand(instance="x = 1", shows="2 > 1"),
        defence="the text may be meant so",
        remarks=(_SEEDS, "a remark"),
    ),
)
COVERAGE = (Place(place="Lemma 1", says="says as much", entries=("a.b",)),)
UNCHECKED = (Unchecked(statement="too much", source="there", reason="It is infinite."),)
'''

WORDS = {
    "a comment": ("# Why it holds.", "# Why it holds: see above."),
    "no comment": ("# Why it holds.\n", ""),
    "a docstring": ('"""Both sides."""', '"""The left side and the right side."""'),
    "no docstring": ('    """Both sides."""\n', ""),
    "the caption": ('"""A paper."""', '"""Another caption."""'),
    "line breaks": ("_sides(x, factor=2, kind=_KIND)", "_sides(\n    x, factor=2, kind=_KIND,\n)"),
    "parentheses": ("factor * x + 1", "(factor * x) + 1"),
    "quotation marks": ('"label of the identity"', "'label of the identity'"),
    "a broken string": ('"label of the identity"', '"label of " "the identity"'),
    "title": ("a title", "another title"),
    "statement": ("a statement", "a statement in other words"),
    "reading": ("read so", "read like this"),
    "alternative readings": ('("read otherwise",)', '("read otherwise", "or not at all")'),
    "remark": ("a remark", "no remark"),
    "words in a constant": ("only said", "only said in passing"),
    "source": ("from nothing", "from almost nothing"),
    "text of an assumption": ("x is positive", "x > 0"),
    "by hand": ("2 > 1", "2 is above 1"),
    "defence": ("may be meant so", "may well be meant so"),
    "unchecked": ("too much", "far too much"),
    "coverage": ("says as much", "says that much"),
}

CODE = {
    "a number": ("x + 1", "x + 2"),
    "a number that is equal": ("x + 1", "x + 1.0"),
    "an operator": ("factor * x", "factor + x"),
    "a default": ("factor=2, kind", "factor=4, kind"),
    "a fixed argument": ("partial(_sides, factor=2)", "partial(_sides, factor=5)"),
    "the mutant": ("partial(_sides, factor=3)", "partial(_sides, factor=5)"),
    "a predicate": ('case["x"] > 0', 'case["x"] >= 0'),
    "a generator": ("predicate=_positive", "predicate=_positive, generator=_positive"),
    "an assumption less": ("assumptions=(_POSITIVE,)", "assumptions=()"),
    "a string that decides": ('_KIND = "decides"', '_KIND = "decides otherwise"'),
    "a scope, which verdicts repeat": ("all x", "every x"),
    "a label, which verdicts repeat": ("label of the identity", "the identity"),
    "a key": ("a.b", "a.d"),
    "a link": ("a.c", "a.d"),
    "what is expected": ("refuted", "proved"),
    "an import": ("from functools import partial", "from elsewhere import partial"),
    "an experiment more": ('scope="all x"),)', 'scope="all x"),) * 2'),
    "a name": ("_positive", "_above"),
}


def changed(old: str, new: str) -> bytes:
    assert old in PAPER
    return PAPER.replace(old, new).encode()


@pytest.mark.parametrize("kind", WORDS)
def test_words_do_not_count(kind: str) -> None:
    before = code_digest(PAPER.encode(), statements=True)
    assert code_digest(changed(*WORDS[kind]), statements=True) == before


@pytest.mark.parametrize("kind", CODE)
def test_code_counts(kind: str) -> None:
    before = code_digest(PAPER.encode(), statements=True)
    assert code_digest(changed(*CODE[kind]), statements=True) != before


@pytest.mark.parametrize("kind", ["title", "remark", "text of an assumption", "unchecked"])
def test_outside_statements_every_argument_counts(kind: str) -> None:
    before = code_digest(PAPER.encode(), statements=False)
    assert code_digest(changed(*WORDS[kind]), statements=False) != before


def test_a_file_of_citations_is_all_words() -> None:
    one, other = (f'"""Where."""\n\nCITATION = "{c}"\n'.encode() for c in ("A 2020", "B 2021"))
    assert code_digest(one, statements=True) == code_digest(other, statements=True)
    assert code_digest(one, statements=False) != code_digest(other, statements=False)
    assert code_digest(one + b"N = 1\n", statements=True) != code_digest(one, statements=True)


@pytest.mark.parametrize("source", [b"def f(:\n", b"x = 1\0", b"\xff\xfe"])
def test_what_is_no_python_counts_as_it_stands(source: bytes) -> None:
    assert code_digest(source, statements=True) != code_digest(source + b" ", statements=True)


# --- what the rules above rest on -----------------------------------------------------------------


def in_fingerprint() -> list[Path]:
    """Files of the package that count, by names relative to it."""
    files = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]
    return [f for f in files if f.with_suffix("").parts[0] not in READ_ONLY]


def statement_files() -> list[Path]:
    return [f for f in in_fingerprint() if f.parts[0] == "papers"]


def test_nothing_that_counts_imports_a_room_that_does_not() -> None:
    found = []
    for file in in_fingerprint():
        parts = [PACKAGE.name, *file.with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[: -1 if is_package else None])
        source = (PACKAGE / file).read_text(encoding="utf-8")
        for imported in imports(source, module, is_package=is_package):
            room = imported.name.split(".")[1:2]
            idle = imported.name.startswith("proofs_check.") and room[0] in READ_ONLY
            if idle or imported.name.startswith("approxattn.testing"):
                found.append(f"{file}:{imported.line}: {imported.name}")
    assert found == []


def test_records_of_prose_are_the_ones_that_are_meant() -> None:
    """A function of the same name that does something would be left out by mistake."""
    homes = {
        "proofs_check.statements.coverage",
        "proofs_check.statements.theorem",
        "proofs_check.statements.unchecked",
        "proofs_check.papers.shared.source",
    }
    called = set()
    for file in statement_files():
        tree = ast.parse((PACKAGE / file).read_bytes())
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in homes
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = node.func.id
                if name in RECORDS and file != Path("papers/shared/source.py"):
                    assert name in imported, f"{file}:{node.lineno}"
                    called.add(name)
    assert called == RECORDS


def prose_read(source: bytes, *, statements: bool) -> list[str]:
    """Fields of prose that the code takes from an object."""
    text = without_prose(source, statements=statements)
    return re.findall(rf"(?<!Name )'({'|'.join(PROSE)})' Load", text)


def test_no_code_that_counts_reads_prose() -> None:
    assert prose_read(b"x = len(theorem.title)\ntitle = x + title", statements=True) == ["title"]
    defined_here = {Path(f"statements/{name}.py") for name in ("theorem", "unchecked", "coverage")}
    for file in in_fingerprint():
        source = (PACKAGE / file).read_bytes()
        reads = prose_read(source, statements=file.parts[0] == "papers")
        assert not reads or file in defined_here, f"{file}: {reads}"


def test_citations_are_read_in_prose_only() -> None:
    for file in statement_files():
        tree = ast.parse((PACKAGE / file).read_bytes())
        citations = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and str(node.module).endswith(".source")
            and node.module != "proofs_check.papers.shared.source"
            for alias in node.names
        }
        text = without_prose((PACKAGE / file).read_bytes(), statements=True)
        assert [name for name in citations if f"Name '{name}' Load" in text] == [], file


# --- which files count ----------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house with one file a room."""
    for name in (
        "proofs_check/running/evidence.py",
        "proofs_check/papers/a/b.py",
        "proofs_check/report/page.py",
        "proofs_check/kit/tools.py",
        "proofs_check/faults/run.py",
        "proofs_check/__main__.py",
        "proofs_check/commands/show.py",
        "approxattn/methods/exact.py",
        "approxattn/testing/checks.py",
        "approxattn/data/heads.npz",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"NAME = {name!r}\nNUMBER = 1\n")
    monkeypatch.setattr(evidence, "__file__", str(tmp_path / "proofs_check/running/evidence.py"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("proofs_check/running/evidence.py", True),
        ("proofs_check/papers/a/b.py", True),
        ("approxattn/methods/exact.py", True),
        ("approxattn/data/heads.npz", True),
        ("approxattn/testing/checks.py", False),
        ("proofs_check/report/page.py", False),
        ("proofs_check/kit/tools.py", False),
        ("proofs_check/faults/run.py", False),
        ("proofs_check/__main__.py", False),
        ("proofs_check/commands/show.py", False),
    ],
)
def test_the_fingerprint_covers_what_can_change_a_verdict(
    tree: Path, name: str, counts: bool
) -> None:
    before = evidence.fingerprint()
    with (tree / name).open("a") as file:
        file.write("NUMBER = 2\n")
    assert (evidence.fingerprint() != before) == counts


def test_the_fingerprint_notes_new_files_and_other_names(tree: Path) -> None:
    before = evidence.fingerprint()
    paper = tree / "proofs_check/papers/a/b.py"
    (paper.parent / "c.py").write_text("NUMBER = 3\n")
    assert evidence.fingerprint() != before
    (paper.parent / "c.py").unlink()
    assert evidence.fingerprint() == before
    paper.rename(paper.with_name("d.py"))
    assert evidence.fingerprint() != before


def test_a_wording_in_a_paper_keeps_the_fingerprint(tree: Path) -> None:
    paper = tree / "proofs_check/papers/a/b.py"
    paper.write_text(PAPER)
    before = evidence.fingerprint()
    paper.write_bytes(changed(*WORDS["statement"]))
    assert evidence.fingerprint() == before
    paper.write_bytes(changed(*CODE["a number"]))
    assert evidence.fingerprint() != before


def test_a_module_by_name_counts_as_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "a_paper_with_words.py"
    module.write_text(PAPER)
    importlib.invalidate_caches()
    before = evidence.fingerprint([module.stem])
    module.write_bytes(changed(*WORDS["title"]))
    assert evidence.fingerprint([module.stem]) == before
    module.write_bytes(changed(*CODE["a scope, which verdicts repeat"]))
    assert evidence.fingerprint([module.stem]) != before
