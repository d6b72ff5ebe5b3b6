"""The table of docs/masks.md: which method takes which mask, and why not.

`python tests/support/masking/mask_table.py` writes it; a test compares it and calls every method.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from methods import TABLE, Row

import approxattn as aa
from approxattn.methods.protocol import WHY_NO, why_no

PAGE = Path(__file__).resolve().parents[3] / "docs" / "masks.md"
MARKS = "<!-- masks: written by tests/support/masking/mask_table.py -->", "<!-- end of masks -->"

FORMS: dict[str, dict[str, Any]] = {
    "key_mask": {"key_mask": np.array([True, True, False, True, True, True, True, True])},
    "causal": {"causal": True},
    "causal, n_q < n_k": {"causal": True, "query_offset": 4},
    "segments": {"segments": np.repeat([0, 1], 4)},
    "rows without keys": {"key_mask": np.zeros(8, bool), "empty_rows": "zero"},
    "window": {"window": (2, 0)},
    "bias": {"bias": np.arange(8.0)},
    "softcap": {"softcap": 5.0},
    "sinks": {"sinks": np.array(0.5)},
    "return_lse": {"return_lse": True},
}
"""What the columns are, on eight keys."""


def classes():
    """Return the first row of each class of methods, by the name of the class."""
    found: dict[str, Row] = {}
    for row in TABLE:
        found.setdefault(type(row.method).__name__, row)
    return found


def takes(method, options) -> bool:
    """Tell whether a call with such a mask is carried out."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 8, 4))
    if "query_offset" in options:
        q, ids = q[4:], options.get("segments")
        options = options if ids is None else {**options, "segments": (ids[4:], ids)}
    rng = np.random.default_rng(0) if method.randomised else None
    try:
        aa.attention(q, k, v, method, rng=rng, **options)
    except ValueError:
        return False
    return True


def reason(method, form: str) -> str:
    """Return why the method does not take a form, as it says itself."""
    for name in WHY_NO:
        if form.endswith(name):
            return why_no(method, name)
    return str(method.why_not_causal)


def table() -> str:
    """Return the table and the reasons below it."""
    lines = [
        f"| method | {' | '.join(FORMS)} |",
        f"|---|{'---|' * len(FORMS)}",
    ]
    reasons: dict[str, list[str]] = {}
    for name, row in classes().items():
        cells = []
        for form, options in FORMS.items():
            works = takes(row.method, options)
            cells.append("yes" if works else "no")
            if not works:
                who = reasons.setdefault(reason(row.method, form), [])
                who += [] if f"`{name}`" in who else [f"`{name}`"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    lines.append("")
    for why, who in reasons.items():
        lines += textwrap.wrap(f"- {', '.join(who)}: {why}.", 118, subsequent_indent="  ")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Return the page with the table as it is now."""
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n\n{table()}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
