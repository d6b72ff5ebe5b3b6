"""Python source that rebuilds what a verdict rests on and checks it again, without the search that
found it.
"""

from __future__ import annotations

from collections.abc import Sequence

from proofs_check.running.evidence import Unit
from proofs_check.statements import named, serial
from proofs_check.statements.experiment import Count, Enclose, Falsify
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status, Verdict

__all__ = ["source"]


def source(
    theorem: Theorem, unit: Unit, verdict: Verdict, *, modules: Sequence[str] = (), first: str = ""
) -> str:
    """Self-contained script: a refutation's witness, written out and re-checked exactly; else the
    experiment carried out anew.

    It exits with 0 when the witness refutes, or the experiment comes to the same verdict, and with
    1 when not.

    Parameters
    ----------
    theorem, unit, verdict
        The statement, which of its experiments, and what that found.
    modules : sequence of str
        Where the statement is looked for; in our catalogue unless given.
    first : str
        Python that comes first.
    """
    experiment = theorem.experiments[unit.experiment]
    witness = verdict.witness if verdict.status is Status.REFUTED else None
    body = _again(unit, verdict)
    if witness is not None and isinstance(experiment, Falsify):
        body = _witness_of_search(experiment, witness)
    elif witness is not None and isinstance(experiment, Enclose) and "point" in witness:
        body = _witness_point(unit, witness["point"])
    elif witness is not None and isinstance(experiment, Count):
        body = _witness_size(unit, witness["size"])
    heading = f"# {theorem.key}, experiment {unit.experiment}: {verdict.status}"
    if modules:
        named = f"theorem = load({tuple(modules)!r}).__getitem__"
        there = f"from proofs_check.catalogue import load\n\n{named}"
        body = [there if line == _OURS else line for line in body]
    return "\n".join([heading, *filter(None, [first]), *body, ""])


_OURS = "from proofs_check.catalogue import theorem"


def _witness_of_search(experiment: Falsify, witness: object) -> list[str]:
    predicates = [a.predicate for a in experiment.assumptions if a.predicate is not None]
    names = {f"assumption_{i}": p for i, p in enumerate(predicates, start=1)}
    bindings = named.python(experiment.confirm, "confirm")
    for name, predicate in names.items():
        bindings += named.python(predicate, name)
    met = "".join(f" and {name}(witness)" for name in names)
    return [
        "import functools",
        "from fractions import Fraction",
        "import numpy as np",
        "from proofs_check.checkers import exact",
        "from proofs_check.arithmetic.balls import precision",
        *bindings,
        "",
        f"witness = {serial.to_python(witness)}",
        "with precision(128):",
        "    measured, bound = confirm(witness)",
        *(f"    print('{named.label(p)}:', {name}(witness))" for name, p in names.items()),
        "    print('measured:', measured)",
        "    print('bound:   ', bound)",
        "    violated = exact.holds(measured, bound) is False",
        "    print('violated:', violated)",
        f"    raise SystemExit(0 if violated{met} else 1)",
    ]


def _witness_point(unit: Unit, point: object) -> list[str]:
    return [
        "from fractions import Fraction",
        "from proofs_check.checkers import exact",
        "from proofs_check.arithmetic.balls import ball, precision",
        _OURS,
        "",
        f"experiment = theorem({unit.theorem!r}).experiments[{unit.experiment}]",
        f"point = {serial.to_python(point)}",
        "for bits in (experiment.bits, 2 * experiment.bits, 4 * experiment.bits):",
        "    with precision(bits):",
        "        x = [ball(p) for p in point]",
        "        lhs, rhs = experiment.lhs(*x), experiment.rhs(*x)",
        "        print('lhs:', lhs)",
        "        print('rhs:', rhs)",
        "        holds = exact.holds(lhs, rhs, experiment.relation, experiment.radius)",
        "    if holds is not None:",
        "        break",
        "print('violated:', holds is False)",
        "raise SystemExit(0 if holds is False else 1)",
    ]


def _witness_size(unit: Unit, size: object) -> list[str]:
    return [
        _OURS,
        "",
        f"experiment = theorem({unit.theorem!r}).experiments[{unit.experiment}]",
        f"counted, formula = experiment.measured({size!r}), experiment.formula({size!r})",
        "print('counted:', counted)",
        "print('formula:', formula)",
        "holds = counted == formula if experiment.relation == '=' else counted <= formula",
        "print('violated:', not holds)",
        "raise SystemExit(1 if holds else 0)",
    ]


def _again(unit: Unit, verdict: Verdict) -> list[str]:
    return [
        "from proofs_check.checkers import check",
        _OURS,
        "",
        f"experiment = theorem({unit.theorem!r}).experiments[{unit.experiment}]",
        f"verdict = check(experiment, rng_seed={unit.rng_seed}, budget={unit.budget!r})",
        "print(verdict.status, verdict.grade, verdict.scope)",
        "print(verdict.witness or dict(verdict.facts))",
        "print(verdict.note)",
        f"raise SystemExit(0 if verdict.status == {str(verdict.status)!r} else 1)",
    ]
