"""Rules that keep the house readable: sizes, arrows, captions, names, lines."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from floors import ROOT, RULES, imports

PACKAGES = tuple(sorted(RULES))
LOOSE = 10
"""Python files at the top of a package, at most."""
ROOM = 16
"""Python files in one folder, at most."""

LARGE_ROOMS = {
    "approxattn/transformer": "one file a kind of layer",
    "proofs_check/report": "one file a form of the report or a part of its page",
    "tests/estimators": "one file or more a method",
}
"""Folders that may hold more, each with its reason."""

ARROWS = {"approxattn": 78, "proofs_check": 40}
"""Arrows between the rooms of a package, at most; those of front ends, which nothing imports, are
not counted."""


def python_files(top: str) -> list[Path]:
    return sorted((ROOT / top).rglob("*.py"))


def test_few_files_in_a_room() -> None:
    counts: dict[str, int] = {}
    for top in (*PACKAGES, "tests", "examples", "benchmarks"):
        for path in python_files(top):
            folder = path.parent.relative_to(ROOT).as_posix()
            counts[folder] = counts.get(folder, 0) + 1
    limits = {folder: LOOSE if folder in PACKAGES else ROOM for folder in counts}
    crowded = {f: n for f, n in counts.items() if n > limits[f] and f not in LARGE_ROOMS}
    assert not crowded, f"split these folders, or give a reason in LARGE_ROOMS: {crowded}"
    needless = [f for f in LARGE_ROOMS if counts.get(f, 0) <= ROOM]
    assert not needless, f"these need no exception any more: {needless}"


def rooms(package: str) -> dict[str, set[str]]:
    """Return for every room of a package the rooms that it imports from."""
    graph: dict[str, set[str]] = {}
    for path in python_files(package):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        room = parts[0]
        if room in ("__init__", "__main__"):
            continue
        text, module = path.read_text(encoding="utf-8"), ".".join((package, *parts))
        for imported in imports(text, module, is_package=parts[-1] == "__init__"):
            top, *rest = imported.name.split(".")
            if top == package and rest and rest[0] != room and exists(package, rest[0]):
                graph.setdefault(room, set()).add(rest[0])
    return graph


def exists(package: str, name: str) -> bool:
    return (ROOT / package / name).is_dir() or (ROOT / package / f"{name}.py").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_few_arrows_between_rooms_and_no_circle(package: str) -> None:
    graph = rooms(package)
    front_ends = set(RULES[package].extras)
    assert front_ends.isdisjoint(set().union(*graph.values()))
    count = sum(len(targets) for room, targets in graph.items() if room not in front_ends)
    assert 10 < count <= ARROWS[package], f"{count} arrows"
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError at a circle


@pytest.mark.parametrize("top", [*PACKAGES, "tests", "examples", "benchmarks"])
def test_every_file_says_what_it_is(top: str) -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in python_files(top)
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent, f"begin these with a sentence: {silent}"


def private_imports(package: str) -> Iterator[str]:
    for path in python_files(package):
        parts = path.relative_to(ROOT).with_suffix("").parts
        for imported in imports(
            path.read_text(encoding="utf-8"), ".".join(parts), is_package=False
        ):
            target = imported.name.split(".")
            own = list(parts[:-1])
            hidden = next((i for i, name in enumerate(target) if is_private(name)), None)
            if hidden is None or target[0] not in PACKAGES:
                continue
            if target[:hidden] != own[:hidden]:  # not in the folder that the name belongs to
                yield f"{'/'.join(parts)}.py:{imported.line}: {imported.name}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("package", [*PACKAGES, "examples", "benchmarks"])
def test_no_private_name_leaves_its_folder(package: str) -> None:
    found = list(private_imports(package))
    assert not found, "\n".join(found)


def tracked(pattern: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return [p for p in ROOT.rglob(pattern) if not {".venv", "_build"} & set(p.parts)]
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_python_lines_have_at_most_100_columns() -> None:
    """The linter says so too; this also sees to it that nothing is kept from the formatter."""
    long, skipped = [], []
    for path in tracked("*.py"):
        name = path.relative_to(ROOT).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            long += [f"{name}:{number}"] if len(line) > 100 else []
            keeps = line.rstrip().endswith("# fmt: " + "skip")
            data = name.startswith("proofs_check/faults/listed/")
            skipped += [f"{name}:{number}"] if keeps and not data else []
    assert not long
    assert not skipped, f"only tables of data may be kept from the formatter: {skipped}"


def test_markdown_lines_have_at_most_120_columns() -> None:
    long = []
    for path in tracked("*.md"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            table_or_link = line.lstrip().startswith(("|", "[")) or "](" in line
            if len(line) > 120 and not table_or_link:
                long.append(f"{path.relative_to(ROOT).as_posix()}:{number}")
    assert not long, f"wrap these: {long}"


def test_both_packages_ship_their_types() -> None:
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)
