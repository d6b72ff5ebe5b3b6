"""Claims of the catalogue as checks: their instances are drawn until one refutes them, without
shrinking, in the process that holds the fault.
"""

from __future__ import annotations

import functools
from typing import Any

from proofs_check.faults.checks._oracles import Complaints
from proofs_check.statements.experiment import Falsify


def claim(key: str) -> Complaints:
    """Search the experiments of a theorem of `code_certificates` or `code_gradients`."""
    from proofs_check.papers.our_code import certificates as code_certificates
    from proofs_check.papers.our_code import gradients as code_gradients

    theorem = next(
        t for t in (*code_certificates.THEOREMS, *code_gradients.THEOREMS) if t.key == key
    )
    for experiment in theorem.experiments:
        if isinstance(experiment, Falsify):
            yield from hunt(key, experiment)


def certified_gradients() -> Complaints:
    """The same for methods whose gradients the catalogue has no entry for: pooled means, minimax
    polynomials.
    """
    from proofs_check.papers.our_code import gradients as code_gradients

    methods: tuple[dict[str, Any], ...] = (
        *({"name": "Linformer", "sketch": "mean-pool", "rank": k} for k in (1, 2, 5)),
        *(
            {"name": "Polynomial", "basis": "minimax", "degree": g, "gradient": kind}
            for g in (1, 3)
            for kind in ("plug-in", "consistent")
        ),
        *(
            {"name": "Polynomial", "basis": "taylor", "degree": 0, "gradient": kind}
            for kind in ("plug-in", "consistent")
        ),
    )
    for part in (methods[:3], methods[3:]):
        experiment = Falsify(
            instances=functools.partial(code_gradients._posed, part, "float64", 1),
            measured=code_gradients.measured,
            bound=code_gradients.whole,
            confirm=code_gradients.confirm,
            assumptions=(code_gradients._ACCEPTED,),
            tries=300,
            covers="statement",
            scope="as in code_gradients",
        )
        yield from hunt("gradients", experiment)


def hunt(name: str, experiment: Falsify) -> Complaints:
    """Complain about the first instance that exact arithmetic finds to violate the claim."""
    import hypothesis
    from hypothesis import HealthCheck, Phase

    from proofs_check.checkers.fresh import confirm_here

    @hypothesis.settings(
        max_examples=experiment.tries,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(experiment.instances())
    def search(instance: Any) -> None:
        if not all(a.predicate is None or a.predicate(instance) for a in experiment.assumptions):
            return
        ratio = experiment.measured(instance) / experiment.bound(instance)
        if not ratio <= 1 and confirm_here(experiment, instance).violated:
            msg = f"{name}: error {ratio:.4g} times its bound for {dict(instance['method'])}"
            raise _Found(msg)

    try:
        search()
    except _Found as found:
        yield str(found)


class _Found(Exception):
    """Says what was found, and ends the search."""
