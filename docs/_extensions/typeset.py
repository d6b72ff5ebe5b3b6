r"""Formulas of the pages as pictures in the page itself, drawn by Matplotlib when it is built.

MathJax, which Sphinx takes, comes from another machine whenever a page is read; these pages load
nothing from outside. Matplotlib reads TeX's mathematics without environments; a formula in several
lines is cut at `\\`. What it cannot read ends the build, and the message shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from html import escape
from typing import Any

EM = 100
"""Units of the outlines an em: whole numbers are then finer than a pixel."""
SHOWN = 1.12
"""How much larger than the text: Computer Modern is smaller than the pages' font. *Chosen*."""


@cache
def picture(tex: str) -> str:
    """Return one line of TeX as inline SVG, which has the size of the text and stands on its line.

    Raises
    ------
    ValueError
        For what Matplotlib cannot read.
    """
    from matplotlib import rc_context
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath, TextToPath

    with rc_context({"mathtext.fontset": "cm"}):
        try:
            outline = TextPath((0, 0), f"${tex}$", size=EM)
            width, height, depth = TextToPath().get_text_width_height_descent(
                f"${tex}$", FontProperties(size=EM), ismath=True
            )
        except ValueError as error:
            msg = f"this formula cannot be read: {tex}\n{error}"
            raise ValueError(msg) from None
    shown = SHOWN / EM
    return (
        f'<svg class="math" role="img" aria-label="{escape(tex, quote=True)}" '
        f'style="width:{width * shown:.3f}em;height:{height * shown:.3f}em;'
        f'vertical-align:{-depth * shown:.3f}em" '
        f'viewBox="0 {depth - height:.0f} {width:.0f} {height:.0f}">'
        f'<path d="{_steps(outline)}"/></svg>'
    )


def _steps(outline: Any) -> str:
    """Return the outline in the language of SVG, y downwards."""
    from matplotlib.path import Path

    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    parts = []
    for points, code in outline.iter_segments(curves=True, simplify=False):
        places = " ".join(f"{x:.0f} {-y:.0f}" for x, y in points.reshape(-1, 2))
        parts.append("Z" if code == Path.CLOSEPOLY else letters[code] + places)
    return "".join(parts)


def inline(tex: str) -> str:
    """Return a formula within a line: limits of sums stand beside them there."""
    tex = re.sub(r"\\sum(?![a-z])", r"{\\sum}", " ".join(tex.split()))
    return picture(re.sub(r"\\(max|min)(?![a-z])", r"\\,{\\\1}", tex))


def display(tex: str) -> str:
    """Return a formula of its own, line by line, with large fractions."""
    lines = [" ".join(x.split()) for x in tex.replace(r"\frac", r"\dfrac").split("\\\\")]
    body = "".join(f"<div>{picture(line)}</div>" for line in lines if line)
    return f'<div class="displaymath" tabindex="0">{body}</div>'


def _visit(write: Callable[[str], str]) -> Callable[[Any, Any], None]:
    def visit(translator: Any, node: Any) -> None:
        from docutils.nodes import SkipNode

        translator.body.append(write(node.astext()))
        raise SkipNode

    return visit


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer under the name "matplotlib"."""
    app.add_html_math_renderer("matplotlib", (_visit(inline), None), (_visit(display), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
