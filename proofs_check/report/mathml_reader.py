"""Tell formulas from words in a statement: the first half of typesetting it.

Text in Unicode in, tokens out; nothing is dropped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

__all__ = ["NAMES", "SUBSCRIPTS", "SUPERSCRIPTS", "Token", "spans"]

NAMES = frozenset(
    (
        "exp",
        "log",
        "ln",
        "max",
        "min",
        "tanh",
        "cosh",
        "sinh",
        "asinh",
        "sin",
        "arcsin",
        "cos",
        "arccos",
        "sqrt",
        "diag",
        "softmax",
        "osc",
        "rank",
        "Var",
        "Pr",
        "TV",
        "sup",
        "inf",
        "det",
        "sign",
        "GELU",
        "ReLU",
    )
)
"""Set upright where a formula follows them, words elsewhere."""

_VARIABLES = frozenset(("dv", "dq", "dk", "lo", "hi", "eps", "out", "du", "sup", "TV", "Attn"))
_PRODUCTS = frozenset(("AB", "nd", "Rx", "Ry", "AZ", "FV", "WL", "uB", "wE"))

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵀⁿᵏᴷᵗᵍ", "0123456789−+TnkKtg", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+−", strict=True))

_RELATIONS = {
    "<=": "≤",
    ">=": "≥",
    "->": "→",
    "!=": "≠",
    "<<": "≪",
    "...": "…",
    "..": "‥",
    ".": "·",
}

_TOKEN = re.compile(
    r"""
    (?P<word>i\.e\.|e\.g\.                            # abbreviations
      |(?<![\w)])[a-z][a-z0-9-]*\.[a-z][a-z0-9-]{2,}   # keys of the catalogue
      |(?<=\))-[a-z]{2,} |[A-Za-z0-9]*[A-Za-z]{2,}(?:-[A-Za-z]+)+ |[A-Za-z]-[a-z]{2,}
      |[A-Z]+(?:[0-9]+[A-Z]+)+[0-9]* |[A-Za-z]{2,}[0-9]+ |[A-Za-z]+'s\b)
    |(?P<letters>(?:[A-Za-z][\u0300-\u036f]*)+)
    |(?P<greek>(?!Σ)[\u0391-\u03c9ℓ∞][\u0300-\u036f]*)
    |(?P<number>[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?(?:\.\.\.)?)
    |(?P<raised>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵀⁿᵏᴷᵗᵍ]+) |(?P<lowered>[₀-₉₊₋]+)
    |(?P<big>[Σ∏∫√∇]) |(?P<script>[_^]) |(?P<prime>') |(?P<tilde>~) |(?P<bang>!)
    |(?P<angle><(?=[^\s=<>][^<>]*,[^<>]*>))
    |(?P<op>(?<=\b[A-Za-z])\.(?=[A-Za-z]\b)|<=|>=|->|!=|<<|\.\.\.|\.\.|[-+*/=<>·∘⊘±≤≥≠×→∈])
    |(?P<open>[(\[{⌈]) |(?P<close>[)\]}⌉]) |(?P<bar>[|‖])
    |(?P<comma>,) |(?P<colon>[:;]) |(?P<other>\S)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A piece of the text: its kind, what it reads, and whether white space stands before it."""

    kind: str
    text: str
    space: bool

    @property
    def math(self) -> bool:
        """Whether it belongs to a formula."""
        return self.kind != "word"


def spans(text: str) -> Iterator[tuple[bool, list[Token]]]:
    """Alternate runs of words and of formula: (is formula, tokens).

    Brackets are balanced inside a formula.
    """
    tokens = _settle(list(_tokens(text)))
    run: list[Token] = []
    for token in tokens:
        if run and run[-1].math != token.math:
            yield run[-1].math, run
            run = []
        run.append(token)
    if run:
        yield run[-1].math, run


def _tokens(text: str) -> Iterator[Token]:
    # Letters with accents in two parts; signs such as ≠ stay whole.
    text = "".join(
        unicodedata.normalize("NFD", c) if unicodedata.category(c)[0] == "L" else c for c in text
    )
    end = 0
    for match in _TOKEN.finditer(text):
        kind, sign = match.lastgroup or "other", match[0]
        space, before, after = (
            match.start() > end,
            text[: match.start()][-2:],
            text[match.end() : match.end() + 1],
        )
        end = match.end()
        if kind == "big" and sign == "∇":
            kind = "greek"
        if kind == "letters":
            kind = _kind_of_letters(sign, before, after)
        if kind == "op":
            sign = _RELATIONS.get(sign, sign)
        if kind == "product":
            for i, letter in enumerate(sign):
                yield Token(kind="letter", text=letter, space=space and i == 0)
            continue
        yield Token(kind="letter" if kind == "greek" else kind, text=sign, space=space)


def _kind_of_letters(letters: str, before: str, after: str) -> str:
    plain = "".join(c for c in letters if not unicodedata.combining(c))
    if plain in NAMES:
        return "name"
    if plain in _PRODUCTS:
        return "product"
    if len(plain) <= 3 and before.endswith(("_", "^", "_{", "^{")):  # indices: a_ij, Σ_{jl}
        return "product" if len(plain) > 1 and plain == letters else "letter"
    known = plain in _VARIABLES or re.fullmatch(
        "d[A-Za-z]" if before.endswith("/") else "d[A-Z]", plain
    )
    applied = after != "" and (after in "_(^'~" or after in SUPERSCRIPTS)
    return "letter" if len(plain) == 1 or plain != letters or known or applied else "word"


def _settle(tokens: list[Token]) -> list[Token]:
    """Decide what one token alone does not tell: articles, names without argument, brackets around
    words, punctuation.
    """
    # backwards: a name is a name if what follows is formula
    for i in range(len(tokens) - 1, -1, -1):
        token = tokens[i]
        before = tokens[i - 1] if i else None
        after = tokens[i + 1] if i + 1 < len(tokens) else None
        if (
            token.kind == "name"
            and token.text not in ("TV", "GELU", "ReLU")
            and (before is None or before.kind != "op")
            and (after is None or after.kind in ("word", "comma", "colon", "other", "close", "op"))
        ):
            tokens[i] = replace(token, kind="word")
        if token.kind == "letter" and token.text == "a" and _is_article(before, after):
            tokens[i] = replace(token, kind="word")
        if (
            token.text == "x"
            and before is not None
            and after is not None
            and before.kind == after.kind == "number"
            and token.space
            and after.space
        ):
            tokens[i] = replace(token, kind="op", text="×")
    tokens = _split_off_digits(tokens)
    wordy = _brackets_around_words(tokens)
    depth, out = 0, []
    for i, token in enumerate(tokens):
        if i not in wordy:
            depth += token.kind in ("open", "angle")
            depth -= token.kind == "close" or token.kind == "angle-end"
        bare = token.kind == "script" and i + 1 in wordy  # a script that is text keeps its sign
        is_text = (
            bare
            or i in wordy
            or token.kind == "other"
            or (token.kind in ("comma", "colon") and depth == 0 and not _in_script(tokens, i))
        )
        out.append(replace(token, kind="word") if is_text else token)
    return _lone_numbers(out)


def _is_article(before: Token | None, after: Token | None) -> bool:
    starts = before is None or not before.math or before.kind in ("comma", "colon")
    follows = (
        after is not None
        and after.space
        and after.kind in ("letter", "name", "word")
        and after.text not in ("in", "is")
    )
    opens = (
        before is not None and before.kind == "open" and after is not None and after.kind == "word"
    )
    return (starts and follows) or opens


def _in_script(tokens: list[Token], i: int) -> bool:
    """The colon of V_:c."""
    return i > 0 and tokens[i - 1].text == "_" and not tokens[i].space


def _split_off_digits(tokens: list[Token]) -> list[Token]:
    """A digit right after a letter is its index: ε1, D2."""
    return [
        replace(token, kind="lowered")
        if token.kind == "number"
        and i
        and tokens[i - 1].kind == "letter"
        and not token.space
        and (i < 2 or tokens[i - 2].kind != "script" or tokens[i - 1].space)
        else token
        for i, token in enumerate(tokens)
    ]


def _brackets_around_words(tokens: list[Token]) -> set[int]:
    """Places of brackets that hold words, or have no partner: they belong to the text."""
    stack: list[int] = []
    loose: set[int] = set()
    pairs: list[tuple[int, int]] = []
    for i, token in enumerate(tokens):
        if token.kind in ("open", "angle"):
            stack.append(i)
        elif token.kind == "close" or (
            token.text == ">" and stack and tokens[stack[-1]].kind == "angle"
        ):
            if stack:
                if token.text == ">":
                    tokens[i] = replace(token, kind="angle-end")
                pairs.append((stack.pop(), i))
            else:
                loose.add(i)
    loose |= set(stack)
    for a, b in pairs:
        if any(t.kind in ("word", "other") for t in tokens[a + 1 : b]):
            loose |= {a, b}
    return loose


def _lone_numbers(tokens: list[Token]) -> list[Token]:
    """A number between words is no formula."""
    return [
        replace(token, kind="word")
        if token.kind == "number"
        and (i == 0 or not tokens[i - 1].math)
        and (i + 1 == len(tokens) or not tokens[i + 1].math)
        else token
        for i, token in enumerate(tokens)
    ]
