"""Every public name has a page of the documentation, and nothing else has."""

import importlib
import importlib.util
import sys
import time
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"approxattn.dask": "dask", "approxattn.jax": "jax", "approxattn.torch": "torch"}


def extension() -> ModuleType:
    folder = ROOT / "docs" / "_extensions"
    spec = importlib.util.spec_from_file_location("interface", folder / "interface.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


INTERFACE = extension()


@pytest.mark.parametrize("module", INTERFACE.public())
def test_what_a_package_lists_has_a_page(module: str) -> None:
    if module in NEEDS and find_spec(NEEDS[module]) is None:
        pytest.skip(f"{module} needs {NEEDS[module]}")
    pages = INTERFACE.pages()
    names = importlib.import_module(module).__all__
    assert names == INTERFACE.public()[module]
    for name in names:
        text = pages[INTERFACE.stem(module, name)]
        assert f".. currentmodule:: {module}\n" in text
        found = getattr(importlib.import_module(module), name)
        if isinstance(found, type):
            kind = "autoexception" if issubclass(found, BaseException) else "autoclass"
            assert f".. {kind}:: {name}\n" in text
        assert f":: {name}\n" in text
        assert INTERFACE.stem(module, name) in pages[module].split("toctree")[1].split()


def test_there_are_no_other_pages() -> None:
    lists = INTERFACE.public()
    names = {INTERFACE.stem(module, name) for module, found in lists.items() for name in found}
    assert set(INTERFACE.pages()) == names | set(lists) | {"index"}
    assert {"approxattn", "approxattn.torch", "proofs_check", "proofs_check.kit"} <= set(lists)
    lower = [page.lower() for page in INTERFACE.pages()]
    assert len(set(lower)) == len(lower)  # file systems that take no notice of case


def test_a_name_that_two_packages_have_is_described_once() -> None:
    pages = INTERFACE.pages()
    assert ":no-index:" in pages["proofs_check.kit.Finding-class"]
    assert "`approxattn.testing.Finding`" in pages["proofs_check.kit.Finding-class"]
    assert "\n   ~approxattn.testing.Finding\n" in pages["proofs_check.kit"]
    assert ":no-index:" not in pages["approxattn.testing.Finding-class"]


def test_bars_are_escaped_outside_of_code() -> None:
    lines = ["|x| <= `|y|`", ">>> a | b"]
    INTERFACE._escaped(lines)
    assert lines == [r"\|x\| <= `|y|`", ">>> a | b"]
    lines = [
        "|x| in ``|y| of",
        "|z|`` and |x|",
        "``|y|",
        "",
        "|x|",
    ]  # code over lines; one unclosed
    INTERFACE._escaped(lines)
    assert lines == [r"\|x\| in ``|y| of", r"|z|`` and \|x\|", "``|y|", "", r"\|x\|"]


def test_pages_of_a_package_that_cannot_be_imported_come_from_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(INTERFACE, "_imports", lambda module: module != "approxattn.torch")
    pages = INTERFACE.pages()
    text = pages["approxattn.torch.scaled_dot_product_attention"]
    assert "approxattn.torch.scaled_dot_product_attention(query" in text
    assert "Parameters\n----------" in text
    assert "Returns" in text
    assert "autosummary" not in pages["approxattn.torch"]
    assert all("```" in page for name, page in pages.items() if name.startswith("approxattn.torch"))


def test_files_of_pages_become_links() -> None:
    lines = ["See `docs/methods.md` and docs/theory/moments.md.", "docs/results/a.json"]
    INTERFACE._referred(lines)
    assert lines[0] == "See :doc:`/methods` and :doc:`/theory/moments`."
    assert lines[1] == "docs/results/a.json"


def test_signatures_hold_no_words_of_python_for_defaults() -> None:
    taken = "(*, facts=<factory>, clock=<built-in function process_time>)"
    assert INTERFACE._readable(taken, "int") == ("(*, facts=..., clock=process_time)", "int")
    assert INTERFACE._readable(None, None) == (None, None)


def test_members_for_a_class_of_its_own_use_are_left_out() -> None:
    class Colour(Enum):
        RED = 1

    class Pair(NamedTuple):
        first: int

    skipped = [("FILE", 3), ("first", Pair.first), ("clock", time.process_time)]
    shown = [("RED", Colour.RED), ("of", Pair._make), ("name", property())]
    assert all(INTERFACE._skipped(None, "class", *member) for member in skipped)
    assert not any(INTERFACE._skipped(None, "class", *member) for member in shown)
    assert INTERFACE._skipped(None, "module", "FILE", 3) is None
