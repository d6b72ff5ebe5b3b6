"""The floors of both packages: which room may import which.

One table, for the test and for CONTRIBUTING.

`python tests/support/floors.py` writes the table into CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What one package may import.

    Parameters
    ----------
    floors : tuple of tuples of str
        Rooms, bottom up: a module or folder imports only from lower floors. A name with a dot is
        a room inside a room, which stands on that floor by itself.
    libraries : frozenset of str or None
        What is allowed outside the standard library; None: anything.
    lazy : frozenset of str
        Libraries that are allowed inside functions only.
    guests : mapping of str to frozenset of str
        Libraries that one room may import besides, inside functions only.
    walkers : frozenset of str
        Rooms that import by computed names, what lies in their own folder or what a user names.
    extras : mapping of str to frozenset of str
        Rooms that need more libraries, which a user installs with an extra.
    """

    floors: tuple[tuple[str, ...], ...]
    libraries: frozenset[str] | None = None
    lazy: frozenset[str] = frozenset()
    guests: Mapping[str, frozenset[str]] = field(default_factory=dict)
    walkers: frozenset[str] = frozenset()
    extras: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def room(self, parts: tuple[str, ...]) -> str | None:
        """Return the innermost room of the table that holds a module, given by its parts."""
        names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        return next((name for name in names if self.floor(name) is not None), None)

    def floor(self, name: str) -> int | None:
        """Return the number of the floor that a room of the table stands on."""
        return next((i for i, names in enumerate(self.floors) if name in names), None)


COMPUTED = "<computed>"
"""Stands for an import whose name is not written in the source."""

_FAMILIES = (
    "polynomials",
    "low_rank",
    "yoso",
    "colliding_pairs",
    "random_features",
    "selected_keys",
)
_PAPERS = (
    "aggarwal_alman_2022",
    "aliakbarpour_2025",
    "alman_song_2023",
    "alman_song_2024",
    "alman_yu_2024",
    "budzinskiy_2024",
    "castin_2024",
    "chen_2024",
    "gu_2024",
    "gupta_2025",
    "halko_2011",
    "han_2023",
    "haverbeck_2026",
    "heinsen_kozachkov_2026",
    "kacham_2023",
    "kim_2021",
    "li_yip_2024",
    "liang_2024",
    "schroeder_2026",
    "tzachristas_2025",
    "wang_2020",
    "zandieh_2023",
    "zandieh_2024",
    "zeng_2021",
    "our_code",
    "our_code_campaigns",
    "controls",
)

RULES = {
    "approxattn": Rules(
        floors=(
            ("_arrays", "_interrupts", "data", "whole_files"),
            ("_arguments", "_arrays.cuda", "certificate"),
            ("_problem",),
            ("bounds",),
            ("softmax", "exponential", "monomials", "hashing", "sketching"),
            ("methods.costs",),
            ("methods.protocol", "methods.sharded", "methods.states"),
            ("methods.exact_blocks",),
            ("methods.exact",),
            tuple(f"methods.{name}" for name in _FAMILIES),
            ("methods",),
            ("attend", "audit"),
            ("diagnosis", "transformer", "sharding"),
            ("planning",),
            ("torch", "jax", "distributed", "dask"),
            ("__init__",),
            ("testing", "doctor", "completion"),
            ("__main__",),
        ),
        libraries=frozenset({"numpy", "array_api_compat", "threadpoolctl"}),
        lazy=frozenset({"matplotlib", "scipy"}),  # cost up to a second of import time
        guests={
            "_arrays.cuda": frozenset({"cupy"}),
            "testing": frozenset({"hypothesis", "pytest", "torch"}),
        },
        walkers=frozenset({"methods", "testing"}),  # `all_methods`, PACKAGE:FUNCTION
        extras={
            "torch": frozenset({"torch", "transformers"}),
            "jax": frozenset({"jax"}),
            "distributed": frozenset({"dask", "distributed", "zarr"}),
            "dask": frozenset({"dask"}),
        },
    ),
    "proofs_check": Rules(
        floors=(
            ("_interrupts", "statements"),
            ("__init__",),
            ("arithmetic",),
            ("checkers", "papers.shared"),
            ("papers.aggarwal_alman_2022",),
            (
                "papers.ours",
                *(f"papers.{name}" for name in _PAPERS if name != "aggarwal_alman_2022"),
            ),
            ("papers",),
            ("catalogue", "kit", "hunt"),
            ("running", "faults"),
            ("figures",),
            ("report",),
            ("commands",),
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
                    for alias in names:
                        yield Import(name=alias.name, line=child.lineno, lazy=lazy)
                case ast.ImportFrom(module=target, names=names, level=level):
                    if level:
                        parts = module.split(".")
                        base = parts[: len(parts) - level + is_package]
                        target = ".".join([*base, target] if target else base)
                    for alias in names:
                        yield Import(name=f"{target}.{alias.name}", line=child.lineno, lazy=lazy)
                case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module")):
                    argument = child.args[0] if child.args else None
                    name = argument.value if isinstance(argument, ast.Constant) else COMPUTED
                    yield Import(name=str(name), line=child.lineno, lazy=lazy)
                    yield from visit(child, lazy)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                    yield from visit(child, True)
                case ast.If(test=ast.Name("TYPE_CHECKING"), orelse=[]):  # never carried out
                    yield from visit(child, True)
                case _:
                    yield from visit(child, lazy)

    yield from visit(ast.parse(source), False)


def violations(folder: Path, rules: Rules) -> list[str]:
    """Return one sentence for each import in the package `folder` that the rules forbid."""
    complaints = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        own = rules.room(parts[:-1] if is_package and len(parts) > 1 else parts)
        where = path.relative_to(folder.parent).as_posix()
        if own is None:
            complaints.append(f"{where}: {parts[0]} is on no floor, give it one in floors.py")
            continue
        module = ".".join([folder.name, *parts[: -1 if is_package else None]])
        for imported in imports(path.read_text(encoding="utf-8"), module, is_package=is_package):
            complaint = judge(imported, folder.name, own, rules)
            if complaint:
                complaints.append(f"{where}:{imported.line}: imports {imported.name}, {complaint}")
    return complaints


def judge(imported: Import, package: str, own: str, rules: Rules) -> str | None:
    """Say what is wrong with an import by a file of the room `own`; None if nothing is."""
    if imported.name == COMPUTED and own in rules.walkers and imported.lazy:
        return None
    top, *rest = imported.name.split(".")
    if top == package:
        target = rules.room(tuple(rest)) or "__init__"  # a name of the package itself
        here, there = rules.floor(own), rules.floor(target)
        assert here is not None
        assert there is not None
        inside = target == own and own != "__init__"
        return None if there < here or inside else f"which is not below {own}"
    if rules.libraries is None or top in sys.stdlib_module_names or top in rules.libraries:
        return None
    if top in rules.extras.get(own, ()):
        return None
    if top in rules.lazy | rules.guests.get(own, frozenset()):
        return None if imported.lazy else "which belongs inside the function that needs it"
    return "which this package does not depend on"


MARKS = "<!-- floors: written by tests/support/floors.py -->", "<!-- end of floors -->"
PAGE = ROOT / "CONTRIBUTING.md"


def table() -> str:
    """Return the floors as Markdown, from the top down."""
    lines = []
    for package, rules in RULES.items():
        lines += [f"`{package}`, from the top down:", ""]
        for names in reversed(rules.floors):
            words = ", ".join(f"`{name}`" for name in names)
            lines += textwrap.wrap(f"- {words}", width=120, subsequent_indent="  ")
        lines.append("")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Return the page with the table of today between its marks."""
    start, end = (page.index(mark) for mark in MARKS)
    return page[: start + len(MARKS[0])] + "\n\n" + table() + "\n" + page[end:]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
