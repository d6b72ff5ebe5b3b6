"""The pages of the gallery: sphinx-gallery runs `docs/gallery/plot_*.py`, and each figure that a
script shows becomes its picture, what it says, the source's numbers beside ours, and its files.
"""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path
from typing import Any

FOLDER = "plots"

_ROLE = re.compile(r":(?:class|func):`~(\w[\w.]*)`")
_SCRIPT = re.compile(r"\]\((?:[^()]*gallery/)?plot_(\w+)\.py\)")
_shown: list[Any] = []


def settings() -> dict[str, Any]:
    """Return what sphinx-gallery is told."""
    return {
        "examples_dirs": "gallery",
        "gallery_dirs": FOLDER,
        "backreferences_dir": f"{FOLDER}/backreferences",
        "doc_module": ("approxattn", "proofs_check"),
        "image_scrapers": ("plots",),
        "reset_modules": ("plots.take",),
        "minigallery_sort_order": "plots.order",
        "within_subsection_order": "FileNameSortKey",
        "capture_repr": (),
        "notebook_extensions": set(),
        "download_all_examples": False,
        "write_computation_times": False,
        "min_reported_time": 1e9,
        "show_signature": False,
        "run_stale_examples": True,  # what they call may have changed
        "abort_on_example_error": True,
    }


def take(_settings: Any, _script: Any) -> None:
    """Take what the next script shows, in place of printing and writing it."""
    from proofs_check.figures.output import show

    setattr(show, "show", _shown.append)  # noqa: B010 - mypy asks for it


def _get_sg_image_scraper() -> Any:
    return pictures


def pictures(_block: Any, variables: Any, config: Any) -> str:
    """Write the files of the figures that were shown, and return their part of the page."""
    from proofs_check.figures.output import files
    from proofs_check.running.evidence import environment

    parts = []
    for figure in _shown:
        first = Path(next(variables["image_path_iterator"]))
        origin = files.origin_of(figure, environment()["versions"])
        files.write(figure, first.parent, files.FORMATS, origin)
        narrow = len(figure.panels) > 1
        if narrow:
            files.write_narrow(figure, first.parent, origin)
        shutil.copyfile(first.parent / f"{figure.name}.png", first)  # makes the thumbnail
        place = "/" + first.parent.relative_to(config["src_dir"]).as_posix()
        parts.append(_part(figure, place, origin, narrow=narrow))
    _shown.clear()
    return "\n".join(parts)


def _part(figure: Any, place: str, origin: Any, *, narrow: bool) -> str:
    lines = _image(figure, f"{place}/{figure.name}.svg", "wide" if narrow else "")
    if narrow:
        lines += _image(figure, f"{place}/{figure.name}-narrow.svg", "narrow")
    lines += [escaped(figure.caption), ""]
    lines += _table(figure)
    if figure.of_paper:
        lines += [f"Redraws: {escaped(figure.of_paper)}.", ""]
    lines += ["Shows " + ", ".join(f"`{key}`" for key in figure.claims) + ".", ""]
    given = [f":download:`{x.upper()} <{place}/{figure.name}.{x}>`" for x in ("csv", "svg", "png")]
    seed = "no random numbers" if figure.seed is None else f"seed {figure.seed}"
    command = f"`python -m proofs_check figures {figure.name}`"
    lines += [f"Numbers and pictures: {', '.join(given)}, or by {command}.", ""]
    made = f"Made with {seed}, {origin['versions']}, commit {origin['commit']}."
    return "\n".join([*lines, escaped(made), ""])


def _image(figure: Any, path: str, kind: str) -> list[str]:
    """Return the picture, and a link to the file: phones show figures of two panels as a column."""
    lines = [f".. image:: {path}", f"   :alt: {escaped(figure.title)}", f"   :class: plot {kind}"]
    return [*lines, "   :loading: lazy", ""]


def _table(figure: Any) -> list[str]:
    if not figure.printed:
        return []
    lines = [".. list-table::", "   :header-rows: 1", "", "   * -", "     - source", "     - here"]
    for row in figure.printed:
        cells = [escaped(x) for x in (row.what, row.source, row.ours)]
        lines += [f"   * - {cells[0]}", *(f"     - {cell}" for cell in cells[1:])]
    return [*lines, ""]


def escaped(text: str) -> str:
    """Let signs be signs, outside of code: |x| is a size here, not a substitution."""
    parts = text.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([\\*|_])", r"\\\1", parts[i])
    return "`".join(parts)


def order(script: str) -> int:
    """Return the place of a script: that of its figure in the list of all."""
    return _places()[Path(script).stem.removeprefix("plot_")]


@functools.cache
def _places() -> dict[str, int]:
    from proofs_check.figures.gallery import FIGURES

    return {name.replace("-", "_"): i for i, name in enumerate(FIGURES)}


@functools.cache
def mentioned(folder: Path) -> frozenset[str]:
    """Return the public names that scripts speak of; their pages show the plots."""
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("plot_*.py")]
    return frozenset(name for text in texts for name in _ROLE.findall(text))


def _to_pages(_app: Any, _name: str, source: list[str]) -> None:
    """Let links to scripts, which lead somewhere in the repository too, lead to their pages."""
    source[0] = _SCRIPT.sub(rf"](/{FOLDER}/plot_\1.rst)", source[0])


def setup(app: Any) -> dict[str, bool]:
    """Register the links."""
    app.connect("source-read", _to_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
