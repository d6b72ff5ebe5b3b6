"""The floors: a file imports only from lower ones. Read from the source by `ast`, so nothing has to be imported."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What one package may import. Steps are listed bottom up; a name is a module or a folder below the package."""

    steps: tuple[tuple[str, ...], ...]
    libraries: frozenset[str] | None = None  # allowed outside the standard library; None: any
    lazy: frozenset[str] = frozenset()  # allowed inside functions only

    def step(self, name: str) -> int | None:
        return next((i for i, names in enumerate(self.steps) if name in names), None)


RULES = {
    "approxattn": Rules(
        steps=(
            # floor 0: ground
            ("_arrays", "data"),
            ("certificate",),
            ("_problem",),
            # floor 1: mathematics
            ("rounding",),
            ("perturbation", "order_statistics"),
            ("score_bounds",),
            ("scores",),
            ("sampled_rows", "softmax", "gradient_bounds", "value_range"),
            ("sketching", "exponential", "monomials", "hashing"),
            ("low_rank", "random_features"),
            ("polynomial",),
            # floor 2: estimators
            ("methods",),
            # floor 3: what a user calls
            ("candidates",),
            ("comparison",),
            ("attend", "audit", "regime", "tensor"),
            ("page", "files"),
            ("transformer",),
            # floor 4: the command line, above the public names
            ("__init__",),
            ("__main__",),
        ),
        libraries=frozenset({"numpy", "array_api_compat", "threadpoolctl"}),
        lazy=frozenset({"scipy"}),  # costs up to a second of import time
    ),
    "proofs_check": Rules(
        steps=(
            # floor 0: pure data
            ("serial",),
            ("verdict",),
            ("experiment",),
            ("theorem",),
            ("__init__",),  # its public names are those of floor 0
            # floor 1: tools
            ("counting_array",),
            ("enclosure", "counting", "instances", "statistics", "eprocesses"),
            ("supnorm", "gradient_enclosure", "real_heads"),
            # floor 2: checkers and statements
            ("checkers", "papers"),
            # floor 3: all theorems, runs and pages
            ("catalogue", "evidence", "kit", "unchecked", "by_hand"),
            ("unit_process",),
            ("workers", "dask_workers"),
            ("campaign",),
            ("replay", "errata", "export", "progress", "faults"),
            ("real_heads",),
            ("report",),
            # floor 4: the command line
            ("__main__",),
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported dotted name, and whether it is imported inside a function."""

    name: str
    line: int
    lazy: bool


def imports(source: str, module: str, *, is_package: bool) -> Iterator[Import]:
    """Yield every import of a module, relative ones resolved; `from a import b` gives a.b."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Import(names=names):
                    yield from (Import(name=alias.name, line=child.lineno, lazy=lazy) for alias in names)
                case ast.ImportFrom(module=target, names=names, level=level):
                    if level:
                        parts = module.split(".")
                        base = parts[: len(parts) - level + is_package]
                        target = ".".join([*base, target] if target else base)
                    for alias in names:
                        yield Import(name=f"{target}.{alias.name}", line=child.lineno, lazy=lazy)
                case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module")):
                    argument = child.args[0] if child.args else None
                    name = argument.value if isinstance(argument, ast.Constant) else "<computed>"
                    yield Import(name=str(name), line=child.lineno, lazy=lazy)
                    yield from visit(child, lazy)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                    yield from visit(child, True)
                case _:
                    yield from visit(child, lazy)

    yield from visit(ast.parse(source), False)


def violations(folder: Path, rules: Rules) -> list[str]:
    """Return one sentence for each import in the package `folder` that the rules forbid."""
    package, found = folder.name, []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        own, here = parts[0], rules.step(parts[0])
        where = path.relative_to(folder.parent).as_posix()
        if here is None:
            found.append(f"{where}: {own} is on no floor, give it one in RULES")
            continue
        is_package = parts[-1] == "__init__"
        module = ".".join([package, *parts[: -1 if is_package else None]])
        for imported in imports(path.read_text(encoding="utf-8"), module, is_package=is_package):
            complaint = judge(imported, package, own, here, rules)
            if complaint:
                found.append(f"{where}:{imported.line}: imports {imported.name}, {complaint}")
    return found


def judge(imported: Import, package: str, own: str, here: int, rules: Rules) -> str | None:
    """Say what is wrong with an import by a file of `own` on step `here`; None if nothing is."""
    top, *rest = imported.name.split(".")
    if top == package:
        target = rest[0] if rest and rules.step(rest[0]) is not None else "__init__"  # a name of the package itself
        step = rules.step(target)
        assert step is not None
        return None if step < here or (target == own and own != "__init__") else f"which is not below {own}"
    if rules.libraries is None or top in sys.stdlib_module_names or top in rules.libraries:
        return None
    if top in rules.lazy:
        return None if imported.lazy else "which belongs inside the function that needs it"
    return "which this package does not depend on"


@pytest.mark.parametrize("package", sorted(RULES))
def test_floors(package: str) -> None:
    assert (ROOT / package / "__init__.py").is_file()
    found = violations(ROOT / package, RULES[package])
    assert not found, "\n".join(found)


# --- the test itself can fail ------------------------------------------------------------------------------------------

GOOD = {
    "__init__.py": "from approxattn.attend import attention\n",
    "_arrays.py": "import sys\nimport numpy as np\nfrom array_api_compat import array_namespace\n",
    "attend.py": "from approxattn import _arrays\nfrom approxattn.methods.exact import Exact\n",
    "methods/__init__.py": "from approxattn.methods.exact import Exact\n",
    "methods/_protocol.py": "from .. import _arrays\n",
    "methods/exact.py": "from ._protocol import Method\ndef f():\n    import scipy.special\n",
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
        ("rounding.py", "import approxattn.perturbation as p", "not below rounding"),
        ("stray.py", "", "on no floor"),
        ("_arrays.py", "import cupy", "does not depend on"),
        ("attend.py", "def f():\n    import proofs_check.theorem", "does not depend on"),
        ("attend.py", "class A:\n    def f(self):\n        from sympy import Symbol", "does not depend on"),
        ("attend.py", "if True:\n    import hypothesis", "does not depend on"),
        ("attend.py", "import importlib\nimportlib.import_module('matplotlib.pyplot')", "does not depend on"),
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
