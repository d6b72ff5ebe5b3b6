"""Elements of MathML as text: operators, rows, letters with their accents, scripts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

from proofs_check.report.mathml_reader import SUPERSCRIPTS

__all__ = ["THIN", "Atom", "letter", "operator", "raised", "row", "scripted"]

_SIGNS = {"-": "−"}
_ACCENTS = {"\u0302": "^", "\u0303": "~", "\u0304": "¯", "\u0308": "¨"}
THIN = '<mspace width="0.17em"></mspace>'


def operator(sign: str, form: str = "") -> str:
    """A sign; `form` says whether it stands before, between or after, where its place does not."""
    attribute = f' form="{form}"' if form else ""
    return f"<mo{attribute}>{escape(_SIGNS.get(sign, sign), quote=False)}</mo>"


def row(parts: Sequence[str]) -> str:
    """One element that holds all parts."""
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


class Atom(str):
    """MathML of a factor; `bare` leaves out the brackets that a fraction or a root makes
    needless.
    """

    bare: str

    def __new__(cls, text: str, bare: str | None = None) -> Atom:
        """Text, and the same without its brackets if it has any."""
        self = super().__new__(cls, text)
        self.bare = text if bare is None else bare
        return self


def letter(text: str) -> str:
    """An identifier; combining marks become accents above it."""
    base = "".join(c for c in text if not unicodedata.combining(c))
    marks = [c for c in text if unicodedata.combining(c)]
    body = f"<mi>{base}</mi>"
    for mark in marks:
        body = f'<mover accent="true">{body}<mo>{_ACCENTS.get(mark, mark)}</mo></mover>'
    return body


def raised(text: str) -> str:
    """An exponent written in raised characters."""
    if text == "ᵀ":
        return '<mi mathvariant="normal">T</mi>'
    plain = "".join(SUPERSCRIPTS[c] for c in text)
    sign = '<mo form="prefix">−</mo>' if plain[0] == "−" else ""
    rest = plain.lstrip("−")
    tag = "mi" if rest.isalpha() else "mn"
    body = f"<{tag}>{rest}</{tag}>"
    return row([sign, body]) if sign else body


def scripted(base: str, low: Sequence[str], high: Sequence[str]) -> str:
    """The base with an index, an exponent, or both."""
    if low and high:
        return f"<msubsup>{base}{row(low)}{row(high)}</msubsup>"
    if low:
        return f"<msub>{base}{row(low)}</msub>"
    return f"<msup>{base}{row(high)}</msup>" if high else base
