"""Every public name has a page of the documentation, and nothing else has."""

import importlib
import importlib.util
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"approxattn.dask": "dask", "approxattn.jax": "jax", "approxattn.torch": "torch"}


def extension() -> ModuleType:
    path = ROOT / "docs" / "_extensions" / "interface.py"
    spec = importlib.util.spec_from_file_location("interface", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
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
        kind = "class" if isinstance(getattr(importlib.import_module(module), name), type) else ""
        assert kind in text
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
