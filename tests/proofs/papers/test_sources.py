"""Sources that are no paper name files that exist, none of them typed by hand."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

import proofs_check
from proofs_check import catalogue
from proofs_check.papers.shared.source import here, our_code

ROOT = Path(proofs_check.__file__).parents[1]
THEOREMS = catalogue.theorems(timed=True)
PROVED_HERE = [k for k, t in THEOREMS.items() if t.source.citation == "proved here"]
ABOUT_OUR_CODE = [k for k, t in THEOREMS.items() if t.source.citation.startswith("approxattn ")]


@pytest.mark.parametrize("key", PROVED_HERE)
def test_a_proof_stands_in_files_that_exist(key: str) -> None:
    files = re.findall(r"[a-z_0-9]+(?:/[a-z_0-9]+)+\.py", THEOREMS[key].source.place)
    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_no_path_is_typed_by_hand() -> None:
    typed = re.compile(r"""(?:place|how)=[^,]*(?:proofs_check|approxattn)/""")
    papers = sorted((ROOT / "proofs_check" / "papers").rglob("*.py"))
    assert len(papers) > 50
    assert [p.name for p in papers if typed.search(p.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("key", ABOUT_OUR_CODE)
def test_a_claim_about_our_code_names_its_version(key: str) -> None:
    version = importlib.metadata.version("approxattn")
    named = re.match(r"approxattn (\d+\.\d+) ", THEOREMS[key].source.citation)
    assert named is not None
    assert version.startswith(f"{named[1]}.")


def test_places() -> None:
    assert here("a.b").place == "comments of a/b.py"
    assert here("a.b", "c.d").place == "comments of a/b.py and c/d.py"
    assert here("a.b", how="from x.y").place == "from x.y, in a/b.py"
    assert our_code("approxattn.Exact").fidelity == "ours"
