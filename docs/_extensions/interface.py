"""A page for every public name, written when the pages are built: what a package lists in its
`__all__` is public, and nothing else is. The lists are read from the source, so that no package has
to be imported for them. Where it cannot be, because what it needs is not installed, its pages show
signatures and docstrings as they stand in the source.
"""

from __future__ import annotations

import ast
import importlib
import re
from enum import Enum
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

from plots import mentioned

FOLDER = "api"
PACKAGES = ("approxattn", "proofs_check")
_ROOT = Path(__file__).resolve().parents[2]

_STOPS = "BaseException, Enum, Generic, Mapping, Protocol, Sequence, dict, object, str, tuple"
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


def _first(lists: dict[str, list[str]]) -> dict[str, str]:
    """Return, for each public name with its package, the first one of the same thing."""
    first: dict[str, str] = {}
    for module, names in lists.items():
        for name in names:
            path = first.setdefault(origin(module, name), f"{module}.{name}")
            first[f"{module}.{name}"] = path
    return first


def pages() -> dict[str, str]:
    """Return the pages by name: one of each public name, one of each package, and the list."""
    lists = public()
    texts, first = {}, _first(lists)
    for module, names in lists.items():
        paths = {name: first[f"{module}.{name}"] for name in names}
        texts[module] = _package(module, paths)
        for name, path in paths.items():
            again = "" if path == f"{module}.{name}" else path
            texts[stem(module, name)] = _name(module, name, again=again)
    rows = [
        f"| [{module}]({module}.md) | "
        + ", ".join(f"[{name}]({stem(module, name)}.md)" for name in names)
        + " |"
        for module, names in lists.items()
    ]
    listed = "\n".join(["```{toctree}", ":hidden:", "", *lists, "```"])
    table = "\n".join(["| package | public names |", "|---|---|", *rows])
    texts["index"] = f"# Interface\n\nEvery public name has a page.\n\n{table}\n\n{listed}\n"
    return texts


def _package(module: str, names: dict[str, str]) -> str:
    """Return the page of a package: what it says of itself, and its names, which may have been
    described with another package.
    """
    lines = [f"# {module}", ""]
    if _imports(module):
        lines += ["```{eval-rst}", f".. automodule:: {module}", "   :no-members:", ""]
        own = {path: name for name, path in names.items() if path == f"{module}.{name}"}
        entries = [f"   {own.get(path, f'~{path}')}" for path in names.values()]
        lines += [".. autosummary::", "   :nosignatures:", "", *entries, "```", ""]
    else:
        lines += [f"- [{name}]({stem(module, name)}.md)" for name in names] + [""]
    lines += ["```{toctree}", ":hidden:", "", *(stem(module, name) for name in names), "```", ""]
    return "\n".join(lines)


def _name(module: str, name: str, *, again: str) -> str:
    if not _imports(module):
        return _from_source(module, name)
    lines = [f"# {name}", "", "```{eval-rst}", f".. currentmodule:: {module}", ""]
    if name.isupper():
        lines += [f".. autodata:: {name}"]
    elif name.endswith(("Error", "Warning")):
        lines += [f".. autoexception:: {name}", "   :show-inheritance:"]
    elif name[0].isupper():
        lines += [f".. autoclass:: {name}", "   :members:", f"   :inherited-members: {_STOPS}"]
    else:
        lines += [f".. autofunction:: {name}"]
    if again:
        lines += ["   :no-index:", "", f"The same as :py:obj:`{again}`."]
    return "\n".join([*lines, "```", "", *_plots(f"{module}.{name}")])


def _plots(name: str) -> list[str]:
    """Return the plots whose scripts speak of a name."""
    if name not in mentioned(_ROOT / "docs" / "gallery"):
        return []
    return ["## Plots", "", "```{eval-rst}", f".. minigallery:: {name}", "```", ""]


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


def _referred(lines: list[str]) -> None:
    """Make links of the pages that a docstring names as files."""
    for i, line in enumerate(lines):
        lines[i] = re.sub(r"`?\bdocs/([\w/]+)\.md\b`?", r":doc:`/\1`", line)


def _skipped(_: Any, what: str, name: str, member: Any, *_rest: Any) -> bool | None:
    """Leave out what a class holds for its own use: constants, and the fields of a named tuple,
    which its docstring describes as attributes.
    """
    constant = name.isupper() and not isinstance(member, Enum)
    field = (getattr(member, "__doc__", None) or "").startswith("Alias for field number")
    default = isinstance(member, BuiltinFunctionType)  # of a field that takes a function
    return True if what == "class" and (constant or field or default) else None


def _readable(*arguments: Any) -> tuple[str | None, str | None]:
    """Return a signature without Python's own words for defaults: what is made at each call, and
    built-in functions.
    """
    signature, returned = arguments[-2:]
    if signature:
        signature = signature.replace("<factory>", "...")
        signature = re.sub(r"<built-in function (\w+)>", r"\1", signature)
    return signature, returned


def setup(app: Any) -> dict[str, bool]:
    """Register the pages."""
    from written import write

    for change in (_escaped, _referred):
        app.connect(
            "autodoc-process-docstring",
            lambda *arguments, change=change: change(arguments[-1]),
            priority=400,  # before numpydoc
        )
    app.connect("autodoc-skip-member", _skipped)
    app.connect("autodoc-process-signature", _readable)
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / FOLDER, pages()))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
