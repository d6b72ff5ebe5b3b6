"""The floors: a file imports only from lower ones.

Read from the source by `ast`, so nothing has to be imported.
"""

from pathlib import Path

import pytest
from floors import PAGE, ROOT, RULES, violations, with_table


@pytest.mark.parametrize("package", sorted(RULES))
def test_floors(package: str) -> None:
    assert (ROOT / package / "__init__.py").is_file()
    found = violations(ROOT / package, RULES[package])
    assert not found, "\n".join(found)


def test_the_table_in_contributing_is_the_one_enforced() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run `python tests/support/floors.py`"


# --- the test itself can fail ---------------------------------------------------------------------

GOOD = {
    "testing/marking.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pytest\n"
        "def f(name):\n    import importlib, hypothesis\n    importlib.import_module(name)\n"
    ),
    "__init__.py": "from approxattn.attend import attention\n",
    "_arrays.py": "import sys\nimport numpy as np\nfrom array_api_compat import array_namespace\n",
    "attend.py": "from approxattn import _arrays\nfrom approxattn.methods.exact import Exact\n",
    "methods/__init__.py": "from approxattn.methods.exact import Exact\n",
    "methods/protocol.py": "from .. import _arrays\n",
    "methods/exact.py": "from .protocol import Method\ndef f():\n    import scipy.special\n",
    "torch/ops.py": "import torch\nfrom approxattn.attend import attention\n",
}


def write_package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "approxattn" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "approxattn"


def test_a_clean_package_passes(tmp_path: Path) -> None:
    assert violations(write_package(tmp_path, GOOD), RULES["approxattn"]) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("methods/exact.py", "from approxattn.attend import attention", "not below methods"),
        ("methods/exact.py", "import approxattn.attend", "not below methods"),
        ("methods/exact.py", "def f():\n    from approxattn import attend", "not below methods"),
        ("methods/exact.py", "from ..attend import attention", "not below methods"),
        ("methods/__init__.py", "from ..attend import attention", "not below methods"),
        ("methods/exact.py", "from approxattn import attention", "not below methods"),
        ("_arrays.py", "from .certificate import Certificate", "not below _arrays"),
        ("audit.py", "from approxattn.attend import attention", "not below audit"),
        ("bounds/rounding.py", "import approxattn.softmax.rows as p", "not below bounds"),
        (
            "methods/yoso/yoso.py",
            "from approxattn.methods.low_rank import nystrom",
            "not below methods.yoso",
        ),
        (
            "methods/exact.py",
            "from approxattn.methods.yoso.yoso import Yoso",
            "not below methods.exact",
        ),
        ("stray.py", "", "on no floor"),
        ("_arrays.py", "import cupy", "does not depend on"),
        ("attend.py", "def f():\n    import torch", "does not depend on"),
        ("torch/ops.py", "import jax", "does not depend on"),
        ("attend.py", "import approxattn.torch.ops", "not below attend"),
        ("attend.py", "def f():\n    import proofs_check.statements.theorem", "does not depend on"),
        (
            "attend.py",
            ("class A:\n    def f(self):\n        from sympy import Symbol"),
            "does not depend on",
        ),
        ("attend.py", "if True:\n    import hypothesis", "does not depend on"),
        ("attend.py", "def f():\n    import pytest", "does not depend on"),
        ("testing/marking.py", "import pytest", "inside the function"),
        (
            "attend.py",
            ("import importlib\nimportlib.import_module('pandas.plotting')"),
            "does not depend on",
        ),
        ("attend.py", "__import__('cu' + 'py')", "does not depend on"),
        ("methods/exact.py", "import scipy.special", "inside the function"),
        ("methods/exact.py", "class A:\n    from scipy import special", "inside the function"),
    ],
)
def test_a_planted_violation_is_found(file: str, text: str, complaint: str, tmp_path: Path) -> None:
    found = violations(write_package(tmp_path, GOOD | {file: text}), RULES["approxattn"])
    assert len(found) == 1
    assert found[0].startswith(f"approxattn/{file}")
    assert complaint in found[0]
