"""A record as a small HTML table. It takes colours and fonts from the page it stands in, so that it
reads on light and on dark ones, and loads nothing.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

_LINE = "1px solid rgba(128,128,128,.4)"
_NAME = f"text-align:left;padding:.15em 1em .15em 0;border-bottom:{_LINE};opacity:.75"
_VALUE = f"text-align:left;padding:.15em 0;border-bottom:{_LINE}"


def table(title: str, summary: str, rows: Mapping[str, str]) -> str:
    """Return a title, one sentence, and a table of names and values."""
    body = "".join(
        f'<tr style="background:none"><th scope="row" style="{_NAME};font-weight:normal">'
        f'{html.escape(name)}</th><td style="{_VALUE}">{html.escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return (
        '<div style="color:inherit;max-width:60em;line-height:1.4">'
        f"<div><strong>{html.escape(title)}</strong> &nbsp;{html.escape(summary)}</div>"
        f'<table style="border-collapse:collapse;margin:.4em 0;color:inherit">{body}</table></div>'
    )
