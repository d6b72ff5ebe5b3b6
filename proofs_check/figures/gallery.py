"""All figures by name, collected by explicit import."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from proofs_check.figures import (
    costs,
    exponential,
    gradients,
    guarantees,
    hashing,
    heads,
    linformer_table,
    low_rank,
    published_code,
    summaries,
    training,
    weights,
)
from proofs_check.figures.record import Figure

Build: TypeAlias = Callable[[bool], Figure]
"""Computes a figure; true asks for sizes that take a moment."""

FIGURES: Mapping[str, Build] = {
    "degrees": exponential.degrees,
    "least-error": exponential.least_error,
    "as23-degree": exponential.as23_degree,
    "ranks": exponential.ranks,
    "even-and-odd": exponential.even_and_odd,
    "total-variation": weights.total_variation,
    "moments": weights.moments,
    "gradient-rows": weights.gradient_rows,
    "printed-gradients": gradients.printed_gradients,
    "riemann-points": gradients.riemann_points,
    "layers": gradients.layers,
    "training": training.training,
    "published-table": published_code.published_table,
    "linformer-success": low_rank.linformer_success,
    "linformer-savings": linformer_table.linformer_savings,
    "spectra": low_rank.spectra,
    "range-finder": low_rank.range_finder,
    "yoso-weight": hashing.yoso_weight,
    "yoso-error": hashing.yoso_error,
    "yoso-tokens": hashing.yoso_tokens,
    "bert-lsh-flops": hashing.bert_lsh_flops,
    "heads-cost": heads.heads_cost,
    "heads-null": heads.heads_null,
    "summary-cell": summaries.summary_cell,
    "summary-row": summaries.summary_row,
    "cell-geometry": summaries.cell_geometry,
    "mean-query-sample": summaries.mean_query_sample,
    "dropped-keys": summaries.dropped_keys,
    "vattention-coverage": guarantees.vattention_coverage,
    "plan-confidence": guarantees.plan_confidence,
    "growth": costs.growth,
    "times": costs.times,
    "crossover": costs.crossover,
    "regimes": costs.regimes,
    "regime-map": costs.regime_map,
}


def chosen(names: Iterable[str]) -> dict[str, Build]:
    """Return the figures named, whose names begin so or fit a pattern; all where none is named.

    Raises
    ------
    LookupError
        For a name that fits none, with those there are.
    """
    names, wanted = list(names), set[str]()
    for name in names:
        found = fnmatch.filter(FIGURES, name if any(x in name for x in "*?[") else f"{name}*")
        if not found or not name:
            msg = f"no figure is called {name!r}: there are {', '.join(FIGURES)}"
            raise LookupError(msg)
        wanted.update(found)
    return {name: build for name, build in FIGURES.items() if not names or name in wanted}
