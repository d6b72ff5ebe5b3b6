"""One file makes a method: everything that lists methods finds it, and every law takes it.

The file is written as a contributor would write it, into a family folder of its own that stands
beside those of the package.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import methods as law_table
import numpy as np
import pytest
from floors import ROOT

import approxattn as aa
import approxattn.methods
from approxattn.diagnosis.page import page
from approxattn.methods import all_methods
from approxattn.methods.protocol import described
from proofs_check.report import head_methods

SOURCE = '''
"""The mean of the first visible values, whatever the query: not good, but certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn._problem import Problem
from approxattn.bounds.values import range_bound
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.methods.costs import Costed, Size
from approxattn.methods.protocol import Sizes


@dataclass(frozen=True, kw_only=True)
class Lazy(Costed):
    """Every row is the mean of all visible values, counted `repeats` times.

    Parameters
    ----------
    repeats : int
        Times that the sum is taken, to have something to pay for.
    """

    repeats: int = 1

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = "it looks at all keys"
    why_no_scale: ClassVar[str] = ""

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings compared."""
        return (Sizes(make=lambda repeats: cls(repeats=repeats)),)

    def _multiply_adds(self, size: Size) -> float:
        """Return dv a key and repetition."""
        return self.repeats * size.dv * size.items * size.n_k

    def _bytes(self, size: Size) -> float:
        """Return those of the output and of its certificate."""
        return size.held(0, 2, double=2)

    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the mean in every row, and what the range of v implies."""
        xp = problem.xp
        total = xp.sum(problem.shown(problem.v), axis=-2, keepdims=True)
        if problem.key_mask is None:
            mean = total / problem.n_k
        else:
            count = xp.sum(xp.astype(problem.key_mask, total.dtype), axis=-1)
            mean = total / count[..., None, None]
        value = mean + xp.zeros_like(problem.q[..., :1])
        certificate = Certificate(
            rows=range_bound(value, problem), target=SOFTMAX, theorem="ours.value-range"
        )
        return Approximation(value=value, certificate=certificate)
'''


PLUGIN = """
import approxattn.methods
approxattn.methods.__path__.append({folder!r})
import methods
from approxattn.methods.toys.lazy import Lazy
methods.TABLE += (methods.Row(name="lazy", method=Lazy(), slack=2),)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the family."""
    family = tmp_path / "toys"
    family.mkdir()
    (family / "__init__.py").write_text('"""Toys."""\n', encoding="utf-8")
    (family / "lazy.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def lazy(folder: Path) -> Iterator[type[Any]]:
    """Add it to the package, and take it away again."""
    approxattn.methods.__path__.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module("approxattn.methods.toys.lazy").Lazy
    finally:
        approxattn.methods.__path__.remove(str(folder))
        for name in [n for n in sys.modules if n.startswith("approxattn.methods.toys")]:
            del sys.modules[name]
        vars(approxattn.methods).pop("toys", None)


def test_every_shipped_method_is_found_and_public() -> None:
    found = {kind.__name__ for kind in all_methods()}
    assert {"Exact", "Polynomial", "Linformer", "Yoso", "BertLSH", "Performer"} <= found
    assert found <= set(aa.__all__)
    assert {type(row.method).__name__ for row in law_table.TABLE} == found


def test_it_is_found(lazy: type[Any]) -> None:
    assert lazy in all_methods()


def test_it_is_compared_and_drawn(lazy: type[Any]) -> None:
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 64, 4))
    regime = aa.diagnose(q, k, v, compare_methods=True)
    trials = [t for t in regime.trials if type(t.method) is lazy]
    assert [t.name for t in trials] == [f"Lazy(repeats={n})" for n in (8, 16, 32, 64)]
    assert all(t.error <= t.certified for t in trials)
    assert "Lazy(repeats=8)" in str(regime)
    assert page(regime, "title").count("Lazy") > len(trials)


def test_it_stands_in_the_report(lazy: type[Any]) -> None:
    lines = [line for line in head_methods.methods(256) if type(line[3]) is lazy]
    assert [(family, label) for family, label, _, _ in lines] == [("Lazy", "Lazy(repeats=128)")]


def test_one_row_of_the_table_brings_every_law(folder: Path) -> None:
    """The row is added before the laws are collected, as it would be in the table's own file."""
    (folder / "toy_row.py").write_text(PLUGIN.format(folder=str(folder)), encoding="utf-8")
    path = os.pathsep.join([str(folder), str(ROOT / "tests" / "support"), str(ROOT)])
    command = [sys.executable, "-m", "pytest", "-p", "toy_row", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-v", "-k", "lazy", "tests/laws"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = set(re.findall(r"(test_law_\w+)\.py::\S*lazy\S* PASSED", done.stdout))
    laws = {p.stem for p in (ROOT / "tests" / "laws").glob("test_law_*.py")}
    assert passed == laws


def test_names_show_what_differs_from_the_defaults() -> None:
    assert described(aa.Exact()) == "Exact()"
    assert described(aa.Polynomial(degree=4, basis="taylor")) == (
        "Polynomial(degree=4, basis='taylor')"
    )
    assert described(aa.Clustered(heavy=64)) == "Clustered()"
    given = aa.Linformer(key_projection=np.ones((2, 3)))
    assert described(given).startswith("Linformer(key_projection=array(")
