"""The web page: gather what it says, fill the template, put the style sheet and the drawings
inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proofs_check.report import coverage, mathml, real_heads, tables
from proofs_check.report import dependency_graph as graph
from proofs_check.report import ratio_strips as strips
from proofs_check.report import records as view
from proofs_check.report.errata import errata, stronger
from proofs_check.report.figures import Figure, figures
from proofs_check.report.searches import searches
from proofs_check.running.campaign import Result
from proofs_check.running.evidence import Evidence, environment
from proofs_check.statements.verdict import Status

_HERE = Path(__file__).parent


def measured(results: Sequence[Result], facts: Mapping[str, str]) -> str:
    """The page as text, one file, no script, nothing fetched: the real heads are measured and the
    figures computed for it.
    """
    measurement = real_heads.measure()
    return render(results, measurement, figures(measurement), facts)


def render(
    results: Sequence[Result],
    measurement: real_heads.Measurement,
    drawings: Sequence[Figure],
    facts: Mapping[str, str],
) -> str:
    """Return the page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    engine = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # It escapes the words.
    engine.filters["math"] = lambda text: Markup(mathml.html(text))  # noqa: S704
    groups, heads = view.groups(results), tables.head_rows(measurement)
    certificates = tables.certificate_rows(results, measurement)
    return engine.get_template("page.html").render(
        style=(_HERE / "style.css").read_text(encoding="utf-8"),
        groups=groups,
        summary=view.summary(groups),
        certificates=certificates,
        violated=[row.method for row in certificates if row.violated],
        heads=heads,
        nulls=tables.null_rows(measurement),
        heads_sentence=tables.heads_sentence(heads),
        conclusion=tables.conclusion(heads, measurement),
        measurement=measurement,
        figures={figure.name: figure for figure in drawings},
        errata=errata(results),
        stronger=stronger(results),
        searches=searches(results),
        coverage=coverage.tables(results),
        statuses=[str(status) for status in Status],
        graph=graph.draw(results),
        strips={r.theorem.key: strips.draw(strips.ratios(r), _kinds(r)) for r in results},
        environment=facts,
    )


def _kinds(result: Result) -> list[str]:
    return [type(experiment).__name__ for experiment in result.theorem.experiments]


def environment_of(evidence: Evidence | None) -> dict[str, str]:
    """Where and how the campaign ran, as lines of text; of this machine when there is none."""
    last = None if evidence is None else evidence.last_campaign()
    units, where = last if last is not None else ([], environment())
    facts: dict[str, Any] = {}
    if units:
        facts |= {
            "budget": units[0].budget,
            "seed": units[0].seed,
            "code": units[0].fingerprint[:12],
            "experiments": len(units),
        }
    facts |= {"system": where["system"], "machine": where["machine"], **where["versions"]}
    return {name: str(value) for name, value in facts.items()}
