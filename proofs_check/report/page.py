"""Write the page: gather what it says, fill the template, put the style sheet and the drawings inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proofs_check import real_heads
from proofs_check.campaign import Result
from proofs_check.errata import errata
from proofs_check.evidence import Evidence, environment
from proofs_check.report import graph, mathml, strips, tables, view
from proofs_check.report.figures import Figure, figures

_HERE = Path(__file__).parent


def write(results: Sequence[Result], evidence_path: str | Path, out_dir: str | Path) -> Path:
    """Write ``index.html``: one file, no script, nothing fetched from elsewhere.

    The real heads are measured and the figures computed anew, in some seconds.

    Parameters
    ----------
    results : sequence of Result
        What the campaign says.
    evidence_path : path
        The evidence store, for when and where the campaign ran; without it, this machine is named.
    out_dir : path
        Folder of the page; made when absent.

    Returns
    -------
    Path
        The page.
    """
    measurement = real_heads.measure()
    text = render(results, measurement, figures(measurement), _environment(Path(evidence_path)))
    page = Path(out_dir) / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    return page


def render(
    results: Sequence[Result], measurement: real_heads.Measurement, drawings: Sequence[Figure], facts: Mapping[str, str]
) -> str:  # fmt: skip
    """Return the page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    engine = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    engine.filters["math"] = lambda text: Markup(mathml.html(text))  # noqa: S704 - it escapes the words
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
        measurement=measurement,
        figures={figure.name: figure for figure in drawings},
        errata=errata(results),
        graph=graph.draw(results),
        strips={r.theorem.key: strips.draw(strips.ratios(r), _kinds(r)) for r in results},
        environment=facts,
    )


def _kinds(result: Result) -> list[str]:
    return [type(experiment).__name__ for experiment in result.theorem.experiments]


def _environment(path: Path) -> dict[str, str]:
    """Where and how the campaign ran, as lines of text."""
    last = None
    if path.is_file():
        with Evidence(path) as evidence:
            last = evidence.last_campaign()
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
