"""How long experiments take where no run of theirs is known: what a first run is judged by.

Of interest are proportions, which the pace of the run corrects. Without them a run's first minute,
of hundreds of short experiments, promised an end in two minutes, and later in forty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proofs_check.running.evidence import Unit

__all__ = ["SECONDS", "usual_seconds"]

OTHERS = 0.05
"""Seconds of an experiment of a theorem that is not listed: the mean of all those, measured."""

FULL = 10.0
"""So much longer the full budget takes. *Chosen*: it asks for 10 times the problems."""

SECONDS: Mapping[str, tuple[float, ...]] = {
    "aa22.minimal-degrees-table": (1, 3),
    "code.bert-lsh": (6, 6),
    "code.bert-lsh-paper-code": (5, 4),
    "code.bert-lsh-sparse": (4, 4),
    "code.clustered": (10, 8),
    "code.exact": (11, 12),
    "code.fitted-linformer": (1, 1),
    "code.fitted-polynomial": (25, 25),
    "code.gradient-polynomial": (1, 1),
    "code.linformer-mean-pool": (7, 8),
    "code.linformer-row-sample": (6, 7),
    "code.lsh-softmax": (2, 1),
    "code.majorants": (9, 5),
    "code.nystrom": (4, 4),
    "code.performer": (5, 5),
    "code.polynomial-minimax": (15, 15),
    "code.polynomial-taylor": (21, 21),
    "code.selected-summaries": (9, 8),
    "code.yoso": (11, 9),
    "code.yoso-expectation": (7, 8),
    "controls.sample-false": (0.6,),
    "hmt.frobenius": (0.05, 0.7, 0.2),
    "hmt.power-iteration": (2,),
    "hmt.structural": (0.0002, 1),
    "hyper.alpha-on-heads": (4,),
    "hyper.null-baseline": (4,),
    "hyper.row-norms": (0.6,),
    "kim.row-derivative": (1, 0.1),
    "linformer.null-baseline": (1,),
    "linformer.theorem-1": (0.2, 6e-05, 0.8),
    "linformer.theorem-2": (0.1, 9e-05, 0.7),
    "ours.cell-geometry-on-heads": (0.9,),
    "ours.gradient": (0.003, 0.09, 0.09, 0.2, 0.0004, 0.7),
    "ours.k-keys-floor": (0.002, 0.5),
    "ours.l1-hoeffding": (0.08, 0.08, 0.9),
    "ours.layers": (0.005, 0.5),
    "ours.layers-gradient": (0.005, 0.5),
    "ours.layers-moments": (0.004, 0.03, 0.0003, 0.6),
    "ours.majorant-descartes": (1, 0.05),
    "ours.mean-pool": (0.03, 1),
    "ours.tanh-part": (0.009, 0.6),
    "subgen.null-baseline": (3,),
    "support-basis.error": (0.007, 0.6),
    "top-k.real-heads": (1,),
    "vattention.on-heads": (3,),
    "vattention.on-heads-coded": (4,),
    "yoso.hadamard-bias": (1,),
}
"""Seconds of each experiment by the quick budget, of theorems with one of half a second or more:
one run of 803 experiments, wall time on a busy machine scaled to the processor time of all."""


def usual_seconds(units: Iterable[Unit]) -> dict[Unit, float]:
    """Return what each unit may be expected to take."""
    return {unit: _seconds(unit) * (FULL if unit.budget == "full" else 1) for unit in units}


def _seconds(unit: Unit) -> float:
    listed = SECONDS.get(unit.theorem, ())
    return listed[unit.experiment] if unit.experiment < len(listed) else OTHERS
