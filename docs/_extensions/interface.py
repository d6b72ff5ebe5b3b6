"""A page for every public name, written when the pages are built: what a package lists in its
`__all__` is public, and nothing else is. The lists are read from the source, so that no package has
to be imported for them. Where it cannot be, because what it needs is not installed, its pages show
signatures and docstrings as they stand in the source.
"""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from plots import mentioned

FOLDER = "api"
PACKAGES = ("approxattn", "proofs_check")
_ROOT = Path(__file__).resolve().parents[2]

_STOPS = "BaseException, Enum, Generic, Protocol, dict, object, str, tuple"
"""Parents whose members are Python's own."""


def public() -> dict[str, list[str]]:
    """Return the public names of every package that lists them, packages in order."""
    found = {}
    for package in PACKAGES:
        for path in [_ROOT / package, *sorted((_ROOT / package).iterdir())]:
            source = path / "__init__.py"
            if path.name.startswith("_") or not source.is_file():
                continue
            names = _listed(ast.parse(source.read_text(encoding="utf-8")))
            if names:
                found[".".join(path.relative_to(_ROOT).parts)] = names
    return found


def _listed(module: ast.Module) -> list[str]:
    for step in module.body:
        if isinstance(step, ast.Assign) and ast.unparse(step.targets[0]) == "__all__":
            return list(ast.literal_eval(step.value))
    return []


def stem(module: str, name: str) -> str:
    """Return the page of a name; that of a class and of a function differ where a file system
    takes no notice of case.
    """
    return f"{module}.{name}" + ("-class" if name[0].isupper() else "")


def origin(module: str, name: str) -> str:
    """Return where a package takes a name from."""
    source = _ROOT.joinpath(*module.split("."), "__init__.py").read_text(encoding="utf-8")
    for step in ast.parse(source).body:
        if isinstance(step, ast.ImportFrom) and name in {alias.name for alias in step.names}:
            return f"{step.module}.{name}"
    return f"{module}.{name}"


def pages() -> dict[str, str]:
    """Return the pages by name: one of each public name, one of each package, and the list."""
    texts, lists, seen = {}, public(), set()
    for module, names in lists.items():
        texts[module] = _package(module, names)
        for name in names:
            home = origin(module, name)
            texts[stem(module, name)] = _name(module, name, again=home in seen)
            seen |= {home, f"{module}.{name}"}
    rows = [f"| [{module}]({module}.md) | {', '.join(names)} |" for module, names in lists.items()]
    listed = "\n".join(["```{toctree}", ":hidden:", "", *lists, "```"])
    table = "\n".join(["| package | public names |", "|---|---|", *rows])
    texts["index"] = f"# Interface\n\nEvery public name has a page.\n\n{table}\n\n{listed}\n"
    return texts


def _package(module: str, names: list[str]) -> str:
    lines = [f"# {module}", ""]
    if _imports(module):
        lines += ["```{eval-rst}", f".. automodule:: {module}", "   :no-members:", ""]
        entries = [f"   {name}" for name in names]
        lines += [".. autosummary::", "   :nosignatures:", "", *entries, "```", ""]
    else:
        lines += [f"- [{name}]({stem(module, name)}.md)" for name in names] + [""]
    lines += ["```{toctree}", ":hidden:", "", *(stem(module, name) for name in names), "```", ""]
    return "\n".join(lines)


def _name(module: str, name: str, *, again: bool) -> str:
    if not _imports(module):
        return _from_source(module, name)
    lines = [f"# {name}", "", "```{eval-rst}", f".. currentmodule:: {module}", ""]
    if name.isupper():
        lines += [f".. autodata:: {name}"]
    elif name[0].isupper():
        lines += [f".. autoclass:: {name}", "   :members:", f"   :inherited-members: {_STOPS}"]
    else:
        lines += [f".. autofunction:: {name}"]
    lines += ["   :no-index:"] * again
    return "\n".join([*lines, "```", "", *_plots(f"{module}.{name}")])


def _plots(name: str) -> list[str]:
    """Return the plots whose scripts speak of a name."""
    if name not in mentioned(_ROOT / "docs" / "gallery"):
        return []
    return ["## Plots", "", "```{minigallery} " + name, "```", ""]


@cache
def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _from_source(module: str, name: str) -> str:
    """Return the page of a name whose package cannot be imported here."""
    home = origin(module, name).rpartition(".")[0]
    place = _ROOT.joinpath(*home.split("."))
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    kinds = ast.FunctionDef, ast.ClassDef
    for step in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(step, kinds) and step.name == name:
            taken = f"({ast.unparse(step.args)})" if isinstance(step, ast.FunctionDef) else ""
            text = ast.get_docstring(step) or ""
            return f"# {name}\n\n```text\n{module}.{name}{taken}\n\n{text}\n```\n"
    return f"# {name}\n\n`{module}.{name}`\n"


def _escaped(lines: list[str]) -> None:
    """Let bars be bars, outside of code: |x| is a size here, not a substitution."""
    fence = ""  # the backticks that opened the code in which a line begins, if any
    for i, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = re.split("(`+)", line)
        fence = fence if line.strip() else ""
        for j, part in enumerate(parts):
            if part.startswith("`"):
                fence = "" if part == fence else fence or part
            elif not fence:
                parts[j] = part.replace("|", r"\|")
        lines[i] = "".join(parts)


def setup(app: Any) -> dict[str, bool]:
    """Register the pages."""
    from written import write

    app.connect(
        "autodoc-process-docstring",
        lambda *arguments: _escaped(arguments[-1]),
        priority=400,  # before numpydoc
    )
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / FOLDER, pages()))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
