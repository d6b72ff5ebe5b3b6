"""Write the report in the forms asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from approxattn.whole_files import check_place, make_folder, write_text
from proofs_check.report import web_page as page
from proofs_check.report.json_document import document
from proofs_check.report.junit import junit
from proofs_check.report.markdown import markdown
from proofs_check.running.campaign import Outcome
from proofs_check.running.evidence import Evidence

__all__ = ["FILES", "write"]

FILES: Mapping[str, str] = {
    "html": "index.html",
    "md": "report.md",
    "json": "report.json",
    "junit": "junit.xml",
}
"""Name of the file by form."""


def write(
    outcome: Outcome,
    evidence: Evidence | None,
    out_dir: str | Path,
    *,
    formats: Sequence[str] = tuple(FILES),
) -> list[Path]:
    """Write the report, one file a form; the folder is made when absent.

    Parameters
    ----------
    outcome : Outcome
        What the campaign says.
    evidence : Evidence or None
        For when and where the campaign ran; without it, this machine is named.
    out_dir : path
        Where to.
    formats : sequence of str
        Keys of `FILES`. For "html" the real heads are measured and the figures computed anew, in
        some seconds.

    Returns
    -------
    list of Path
        The files, in the order asked for.

    Raises
    ------
    ValueError
        For a form that does not exist, and for evidence that another version of the catalogue left.
    NotWrittenError
        When a file cannot be written; the last report is then kept.
    """
    stale = [
        r.theorem.key for r in outcome.results if len(r.verdicts) != len(r.theorem.experiments)
    ]
    if stale:
        msg = (
            f"the evidence on {', '.join(stale[:3])} is of another version of the catalogue: carry "
            "out `python -m proofs_check run` again"
        )
        raise ValueError(msg)
    unknown = [name for name in formats if name not in FILES]
    if unknown:
        msg = f"formats(={list(formats)}) holds {unknown[0]!r}: choose from {', '.join(FILES)}"
        raise ValueError(msg)
    folder = make_folder(out_dir)
    for name in formats:
        check_place(folder / FILES[name])  # now, not after the minute that the figures take
    facts = page.environment_of(evidence)
    texts = {FILES[name]: _text(name, outcome, facts) for name in dict.fromkeys(formats)}
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _text(name: str, outcome: Outcome, facts: Mapping[str, str]) -> str:
    if name == "html":
        return page.measured(outcome.results, facts)
    if name == "md":
        return markdown(outcome, facts)
    if name == "json":
        data = document(outcome, facts)
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return junit(outcome)
