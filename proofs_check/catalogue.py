"""All theorems, collected by explicit import, so that what is checked can be read off this page."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType

from proofs_check.papers import (
    aggarwal_alman_2022,
    aggarwal_alman_2022_degrees,
    aggarwal_alman_2022_elementary,
    alman_song_2023,
    alman_song_2023_constant,
    alman_song_2023_degree,
    alman_song_2023_lemmas,
    alman_song_2024,
    alman_song_2024_bounds,
    alman_song_2024_lemmas,
    alman_song_2024_tensor,
    code_certificates,
    code_cost,
    code_cost_hashing,
    code_cost_layers,
    code_cost_low_rank,
    code_gradients,
    code_hashing_cases,
    code_low_rank_cases,
    code_scaling,
    controls,
    halko_2011,
    heinsen_kozachkov_2026,
    li_yip_2024,
    li_yip_2024_cost,
    li_yip_2024_work,
    liang_2024,
    liang_2024_bounds,
    liang_2024_causal,
    liang_2024_code,
    liang_2024_hypotheses,
    liang_2024_layer,
    liang_2024_printed,
    ours_conditioning,
    ours_estimators,
    ours_even_taylor,
    ours_gradient,
    ours_gradient_layer,
    ours_hashing,
    ours_identities,
    ours_layers,
    ours_low_rank,
    ours_matrices,
    ours_partial,
    ours_sampling,
    ours_scores,
    ours_taylor,
    ours_weights,
    wang_2020,
    wang_2020_constants,
    wang_2020_lemma,
    wang_2020_linear,
    wang_2020_more,
    zeng_2021,
    zeng_2021_gradient,
    zeng_2021_hashes,
    zeng_2021_more,
    zeng_2021_variance,
)
from proofs_check.theorem import Theorem

__all__ = ["PAPERS", "TIMED", "close_matches", "collect", "is_control", "load", "theorem", "theorems"]

PAPERS: tuple[ModuleType, ...] = (
    controls,
    aggarwal_alman_2022,
    aggarwal_alman_2022_degrees,
    aggarwal_alman_2022_elementary,
    alman_song_2023,
    alman_song_2023_constant,
    alman_song_2023_lemmas,
    alman_song_2023_degree,
    alman_song_2024,
    alman_song_2024_lemmas,
    alman_song_2024_tensor,
    alman_song_2024_bounds,
    liang_2024,
    liang_2024_layer,
    liang_2024_causal,
    liang_2024_hypotheses,
    liang_2024_printed,
    liang_2024_bounds,
    liang_2024_code,
    heinsen_kozachkov_2026,
    wang_2020,
    wang_2020_linear,
    wang_2020_lemma,
    wang_2020_constants,
    wang_2020_more,
    zeng_2021,
    zeng_2021_variance,
    zeng_2021_gradient,
    zeng_2021_hashes,
    zeng_2021_more,
    li_yip_2024,
    li_yip_2024_cost,
    li_yip_2024_work,
    ours_weights,
    ours_partial,
    ours_scores,
    ours_even_taylor,
    ours_taylor,
    ours_gradient,
    ours_gradient_layer,
    ours_layers,
    ours_identities,
    ours_estimators,
    ours_sampling,
    ours_hashing,
    ours_low_rank,
    ours_matrices,
    ours_conditioning,
    halko_2011,
    code_certificates,
    code_gradients,
    code_cost,
    code_cost_hashing,
    code_cost_layers,
    code_cost_low_rank,
)
"""One module per paper, each with its ``THEOREMS``."""

TIMED: tuple[ModuleType, ...] = (code_scaling, code_hashing_cases, code_low_rank_cases)
"""Modules whose experiments read a clock, or run the code tens of thousands of times: only campaigns with the full budget carry them out."""


def theorems(*, timed: bool = False) -> dict[str, Theorem]:
    """Every theorem by key, in the order of `PAPERS`; with those of `TIMED` if asked for."""
    return collect((*PAPERS, *TIMED) if timed else PAPERS)


def load(modules: Iterable[str]) -> dict[str, Theorem]:
    """Theorems of the modules named; a worker process finds its work this way."""
    return collect(importlib.import_module(name) for name in modules)


def collect(papers: Iterable[ModuleType]) -> dict[str, Theorem]:
    """Theorems of the modules by key.

    Raises
    ------
    ValueError
        When a key occurs twice, or `uses` or `repaired_by` name what does not exist or lead round in a circle.
    """
    found: dict[str, Theorem] = {}
    for paper in papers:
        for entry in paper.THEOREMS:
            if entry.key in found:
                msg = f"key(={entry.key!r}) occurs twice, the second time in {paper.__name__}: rename one"
                raise ValueError(msg)
            found[entry.key] = entry
    _check_links(found)
    return found


def _check_links(found: Mapping[str, Theorem]) -> None:
    for entry in found.values():
        for name in (*entry.uses, *([entry.repaired_by] if entry.repaired_by else [])):
            if name not in found:
                msg = f"theorem {entry.key} refers to {name!r}, which does not exist{_suggestion(name, found)}"
                raise ValueError(msg)
    settled: set[str] = set()
    for key in found:
        _visit(key, found, settled, ())


def _visit(key: str, found: Mapping[str, Theorem], settled: set[str], path: tuple[str, ...]) -> None:
    if key in path:
        msg = f"uses lead round in a circle: {' -> '.join((*path[path.index(key) :], key))}"
        raise ValueError(msg)
    if key in settled:
        return
    for used in found[key].uses:
        _visit(used, found, settled, (*path, key))
    settled.add(key)


def theorem(key: str) -> Theorem:
    """One theorem of the catalogue.

    Raises
    ------
    KeyError
        When there is none; the message names close matches.
    """
    found = theorems(timed=True)
    if key not in found:
        msg = f"no theorem {key!r}{_suggestion(key, found)}"
        raise KeyError(msg)
    return found[key]


def close_matches(key: str, keys: Iterable[str]) -> list[str]:
    """Return up to three keys that look like the one given, by spelling or as a part."""
    pool = list(keys)
    return (difflib.get_close_matches(key, pool, n=3, cutoff=0.5) or [k for k in pool if key in k])[:3]


def _suggestion(key: str, keys: Iterable[str]) -> str:
    matches = close_matches(key, keys)
    return f": did you mean {' or '.join(matches)}?" if matches else ""


def is_control(key: str) -> bool:
    """Whether the key names a control, whose verdict decides whether the run can be trusted."""
    return key.startswith("controls.")
