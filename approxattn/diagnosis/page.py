"""The diagnosis as one HTML page: the table, and error against cost as a drawing, with nothing
loaded from elsewhere. It fits a phone and a dark screen.
"""

from __future__ import annotations

import html

from approxattn.diagnosis.cost_drawing import drawing
from approxattn.diagnosis.regime import Regime

_STYLE = (
    ":root{color-scheme:light dark;--ink:#1f2328;--paper:#fff;--box:#f4f5f6;--faint:#d5d8dc}"
    "@media(prefers-color-scheme:dark){"
    ":root{--ink:#e6e8ea;--paper:#16191d;--box:#22262b;--faint:#3c4248}}"
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:60em;padding:0 1em;"
    "color:var(--ink);background:var(--paper)}"
    "pre{font-size:13px;overflow-x:auto;background:var(--box);padding:1em}"
    "figure{margin:0;display:flex;flex-wrap:wrap;align-items:center}"
    "figure>svg{flex:1 1 34em;min-width:0;max-width:44em}"
    "text{font:13px sans-serif;fill:var(--ink)}"
    "@media(max-width:600px){text{font-size:16px}}"  # the drawing is scaled down there
    ".dot *{stroke:var(--paper);stroke-width:.8}"  # marks that overlap stay apart
    ".grid{stroke:var(--faint)}.axis,.front,.mean{stroke:var(--ink);fill:none}"
    ".front{opacity:.55}.mean{stroke-dasharray:6 4;opacity:.7}"
    "ul{list-style:none;padding:0 0 0 1em;margin:0;columns:12em}"
    "li{display:flex;align-items:center;gap:.5em;break-inside:avoid}"
    "li svg{width:24px;height:16px;flex:none}"
)


def page(regime: Regime, title: str) -> str:
    """Return the page."""
    name = html.escape(title)
    figure = f"<h2>Error against cost</h2>\n{drawing(regime.trials)}\n" if regime.trials else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{name}</h1>\n<p>{html.escape(regime.advice)}</p>\n{figure}"
        f"<h2>Numbers</h2>\n<pre>{html.escape(str(regime))}</pre>\n</body></html>\n"
    )
