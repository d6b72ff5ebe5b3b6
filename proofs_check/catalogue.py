"""All theorems, and all statements left out, collected by explicit import.

What is checked can be read off this page.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType

from proofs_check.papers import (
    aggarwal_alman_2022,
    aliakbarpour_2025,
    alman_song_2023,
    alman_song_2024,
    alman_yu_2024,
    budzinskiy_2024,
    castin_2024,
    chen_2024,
    controls,
    desai_2025,
    gu_2024,
    gupta_2025,
    halko_2011,
    han_2023,
    haverbeck_2026,
    heinsen_kozachkov_2026,
    kacham_2023,
    kim_2021,
    li_yip_2024,
    liang_2024,
    our_code,
    our_code_campaigns,
    ours,
    schroeder_2026,
    tzachristas_2025,
    wang_2020,
    zandieh_2023,
    zandieh_2024,
    zeng_2021,
)
from proofs_check.statements.coverage import Place
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.unchecked import Unchecked

__all__ = [
    "LEFT_OUT",
    "OWN",
    "PAPERS",
    "TIMED",
    "close_matches",
    "collect",
    "coverage",
    "is_control",
    "is_erratum",
    "is_statement",
    "load",
    "select",
    "theorem",
    "theorem_among",
    "theorems",
    "unchecked",
]

PAPERS: tuple[ModuleType, ...] = (
    controls,
    aggarwal_alman_2022,
    alman_song_2023,
    alman_song_2024,
    liang_2024,
    heinsen_kozachkov_2026,
    wang_2020,
    zeng_2021,
    li_yip_2024,
    ours,
    halko_2011,
    kim_2021,
    zandieh_2023,
    han_2023,
    castin_2024,
    kacham_2023,
    zandieh_2024,
    gu_2024,
    budzinskiy_2024,
    alman_yu_2024,
    chen_2024,
    gupta_2025,
    aliakbarpour_2025,
    tzachristas_2025,
    desai_2025,
    schroeder_2026,
    haverbeck_2026,
    our_code,
)
"""One folder a source, each with its ``THEOREMS``."""

OWN: tuple[ModuleType, ...] = (controls, ours, our_code)
"""Those that are no paper. Every other one has its ``COVERAGE``, place by place."""

LEFT_OUT: tuple[ModuleType, ...] = (
    aggarwal_alman_2022,
    alman_song_2023,
    liang_2024,
    alman_song_2024,
    wang_2020,
    zeng_2021,
    li_yip_2024,
)
"""Those with statements that cannot be checked, ``UNCHECKED``, in the order of the errata page."""

TIMED: tuple[ModuleType, ...] = (our_code_campaigns,)
"""Experiments that read a clock or run the code tens of thousands of times: for the full budget
only.
"""


def theorems(*, timed: bool = False) -> dict[str, Theorem]:
    """Every theorem by key, in the order of `PAPERS`; with those of `TIMED` if asked for."""
    return collect((*PAPERS, *TIMED) if timed else PAPERS)


def unchecked() -> tuple[Unchecked, ...]:
    """Every statement that a paper makes and that cannot be checked, in the order of `LEFT_OUT`."""
    return tuple(item for paper in LEFT_OUT for item in paper.UNCHECKED)


def coverage() -> dict[str, tuple[Place, ...]]:
    """What became of each numbered statement of a paper, by the name of its room."""
    return {
        paper.__name__.rsplit(".", 1)[-1]: paper.COVERAGE for paper in PAPERS if paper not in OWN
    }


def load(modules: Iterable[str]) -> dict[str, Theorem]:
    """Theorems of the modules named; a worker process finds its work this way."""
    return collect(importlib.import_module(name) for name in modules)


def collect(papers: Iterable[ModuleType]) -> dict[str, Theorem]:
    """Theorems of the modules by key.

    Raises
    ------
    ValueError
        When a key occurs twice, or `uses` or `repaired_by` name what does not exist or lead round
        in a circle.
    """
    by_key: dict[str, Theorem] = {}
    for paper in papers:
        for entry in paper.THEOREMS:
            if entry.key in by_key:
                msg = (
                    f"key(={entry.key!r}) occurs twice, the second time in {paper.__name__}: "
                    "rename one"
                )
                raise ValueError(msg)
            by_key[entry.key] = entry
    _check_links(by_key)
    return by_key


def _check_links(by_key: Mapping[str, Theorem]) -> None:
    for entry in by_key.values():
        for name in (*entry.uses, *([entry.repaired_by] if entry.repaired_by else [])):
            if name not in by_key:
                msg = (
                    f"theorem {entry.key} refers to {name!r}, which does not "
                    f"exist{_suggestion(name, by_key)}"
                )
                raise ValueError(msg)
    settled: set[str] = set()
    for key in by_key:
        _visit(key, by_key, settled, ())


def _visit(
    key: str, by_key: Mapping[str, Theorem], settled: set[str], path: tuple[str, ...]
) -> None:
    if key in path:
        msg = f"uses lead round in a circle: {' -> '.join((*path[path.index(key) :], key))}"
        raise ValueError(msg)
    if key in settled:
        return
    for used in by_key[key].uses:
        _visit(used, by_key, settled, (*path, key))
    settled.add(key)


def theorem(key: str) -> Theorem:
    """One theorem of the catalogue.

    Raises
    ------
    KeyError
        When there is none; the message names close matches.
    """
    return theorem_among(theorems(timed=True), key)


def theorem_among(every: Mapping[str, Theorem], key: str) -> Theorem:
    """One theorem of those given.

    Raises
    ------
    KeyError
        When there is none; the message names close matches.
    """
    if key not in every:
        msg = f"no theorem {key!r}{_suggestion(key, every)}"
        raise KeyError(msg)
    return every[key]


def select(every: Mapping[str, Theorem], names: Iterable[str]) -> dict[str, Theorem]:
    """Return the theorems with these keys, or whose keys begin so, in the order of `every`.

    A name that is a key means that theorem alone. One with *, ? or [ is a pattern for whole keys.
    No name means all of them.

    Raises
    ------
    KeyError
        When no key begins with a name; the message names close matches.
    """
    names, wanted = tuple(names), set[str]()
    for name in names:
        if any(sign in name for sign in "*?["):
            found = set(fnmatch.filter(every, name))
        else:
            found = {name} if name in every else {key for key in every if key.startswith(name)}
        if not found or not name:
            groups = sorted({key.partition(".")[0] for key in every})
            near = _suggestion(name, every, groups)
            msg = f"no theorem {name!r}, nor one whose key begins so or fits it{near}"
            raise KeyError(msg)
        wanted |= found
    return {key: t for key, t in every.items() if not names or key in wanted}


def sort_of(theorem: Theorem) -> str:
    """Return what sort of refuted statement it is, or what it is besides a statement."""
    if is_control(theorem.key):
        return "control"
    return "bookkeeping" if theorem.bookkeeping else theorem.kind or ""


def close_matches(key: str, keys: Iterable[str]) -> list[str]:
    """Return up to three keys that look like the one given, by spelling or as a part."""
    pool = list(keys)
    return (difflib.get_close_matches(key, pool, n=3, cutoff=0.5) or [k for k in pool if key in k])[
        :3
    ]


def _suggestion(key: str, keys: Iterable[str], groups: Iterable[str] = ()) -> str:
    matches = close_matches(key, groups) + close_matches(key, keys)
    return f": did you mean {' or '.join(matches)}?" if matches else ": `list` shows all"


def is_control(key: str) -> bool:
    """Whether the key names a control, whose verdict decides whether the run can be trusted."""
    return key.startswith("controls.")


def is_statement(theorem: Theorem) -> bool:
    """Whether the theorem counts among the statements: no control, no bookkeeping."""
    return not is_control(theorem.key) and not theorem.bookkeeping


def is_erratum(theorem: Theorem) -> bool:
    """Whether a refuted statement stands in a source as it is: in its text or in its code."""
    return theorem.kind in ("printed", "code")
