"""Statements typeset: the formulas of a text as MathML, its words as they are.

The statements are written in one line of Unicode (`e^(-(ε² - ε³)k/4)`, `‖P~ - P‖_F`, `<f_i, q_i>`).
This sets scripts, fractions, roots, accents and brackets, and changes no letter, no digit and no
order. A fraction takes as numerator the factors before it, back to an operator or a sum sign, and
as denominator the factors after it that no white space separates: `a b/2m c` is a b over 2 m, times
c. Fractions in fractions and in scripts keep their slash.
"""

from __future__ import annotations

import unicodedata
from html import escape

from proofs_check.report.mathml_elements import THIN, Atom, letter, operator, raised, row, scripted
from proofs_check.report.mathml_reader import NAMES, SUBSCRIPTS, Token, spans

__all__ = ["html"]

_BREAKS = frozenset("=≤≥<>→≪")
_BINARY = frozenset("+-±·∘⊘×*")
_LINE = 46
"""Letters of formula after which a sum may be continued on the next line. *Chosen*."""


def html(text: str) -> str:
    """The text as HTML, its formulas as inline MathML, cut where a line may end."""
    parts: list[str] = []
    for is_formula, tokens in spans(text):
        parts.append(" " if tokens[0].space and parts else "")
        parts.append(_Formula(tokens).html() if is_formula else _words(tokens))
    return "".join(parts)


def _words(tokens: list[Token]) -> str:
    first, *others = tokens
    plain = first.text + "".join((" " if t.space else "") + t.text for t in others)
    return escape(unicodedata.normalize("NFC", plain), quote=False)


class _Formula:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.i = 0
        self.depth = 0
        self.end = len(tokens)  # place of the bar that closes the innermost pair of bars

    def html(self) -> str:
        """The formula as <math> elements, with places where a line may end between them."""
        pieces: list[list[str]] = [[]]
        length = 0
        while self.token is not None:
            start = self.i
            sign = self.token.text if self.token.kind == "op" else ""
            if pieces[-1] and (sign in _BREAKS or (sign in _BINARY and length > _LINE)):
                pieces.append([])
                length = 0
            pieces[-1].extend(self.item(first=self.i == 0))
            length += sum(len(t.text) for t in self.tokens[start : self.i])
        return "<wbr>".join(f"<math>{''.join(piece)}</math>" for piece in pieces if piece)

    @property
    def token(self) -> Token | None:
        return self.tokens[self.i] if self.i < len(self.tokens) else None

    def peek(self, *kinds: str, tight: bool = False) -> bool:
        token = self.token
        return token is not None and token.kind in kinds and not (tight and token.space)

    def take(self) -> Token:
        self.i += 1
        return self.tokens[self.i - 1]

    def item(self, *, first: bool = False, stacked: bool = True, in_sum: bool = False) -> list[str]:
        """One operator, or one term: factors up to the next operator, fractions among them."""
        token = self.tokens[self.i]
        if token.kind in ("op", "comma", "colon", "angle-end", "close"):
            self.take()
            return [operator(token.text, self._form(first) if token.text in "+-±" else "")]
        parts: list[str] = []
        while self.peek("open", "letter", "number", "name", "big", "angle") or self._bar_opens(
            whole=True
        ):
            if parts and self.tokens[self.i].space:
                parts.append(THIN)
            sum_here = self.peek("big")
            chain = self.chain()
            parts.append(chain)
            # what follows stands under the sum: no fraction reaches across it
            if sum_here and self._factor_follows(0):
                thin = [THIN] if self.tokens[self.i].space else []
                under = [*thin, *self.item(stacked=stacked, in_sum=True)]
                return (
                    self.fraction([*parts, *under])
                    if stacked and self._slash()
                    else [*parts, *under]
                )
            if stacked and self._slash() and not self._big_after_slash(in_sum):
                parts = self.fraction(parts)
        if not parts:
            parts.append(self.atom())
        return parts

    def _slash(self) -> bool:
        return (
            self.depth == 0
            and self.peek("op")
            and self.tokens[self.i].text == "/"
            and self._factor_follows(1)
        )

    def _big_after_slash(self, in_sum: bool) -> bool:
        """Whether a sum is divided by a sum: then all of the first is the numerator."""
        return in_sum and self.tokens[self.i + 1].kind == "big"

    def fraction(self, above: list[str]) -> list[str]:
        """The fraction that begins here: the term so far over the chain of factors that follows, or
        over all of a sum.
        """
        self.take()
        self.depth += 1
        below = self.chain(whole=self.peek("big"))
        self.depth -= 1
        top = above[0] if len(above) == 1 else row(above)
        return [Atom(f"<mfrac>{getattr(top, 'bare', top)}{below.bare}</mfrac>")]

    def _form(self, first: bool) -> str:
        before = self.tokens[self.i - 2] if self.i >= 2 else None
        after = self.token
        sign = before is None or before.kind in ("op", "comma", "open", "angle", "script") or first
        return "prefix" if sign and after is not None else "infix"

    def _factor_follows(self, ahead: int) -> bool:
        here = self.i + ahead
        after = self.tokens[here] if here < len(self.tokens) else None
        if after is None or after.kind == "bar":
            return after is not None and self._partner(here) is not None
        return after.kind in ("letter", "number", "name", "big", "open", "angle")

    def chain(self, *, whole: bool = False) -> Atom:
        """Factors without white space between them; `whole` takes those after white space too (what
        a Σ stands before).
        """
        atoms = [self.atom()]
        while self.peek(
            "letter", "number", "name", "big", "open", "angle", tight=not whole
        ) or self._bar_opens(whole):
            if self.tokens[self.i].space:
                atoms.append(Atom(THIN))
            atoms.append(self.atom())
        return atoms[0] if len(atoms) == 1 else Atom(row(list(atoms)))

    def _bar_opens(self, whole: bool) -> bool:
        return self.peek("bar", tight=not whole) and self._partner(self.i) is not None

    def _partner(self, here: int) -> int | None:
        """Place of the bar that closes the one here: the next of its kind at the same depth that
        does not itself open a pair.
        """
        if here == self.end:
            return None
        depth = nested = 0
        for j in range(here + 1, self.end):
            token, before = self.tokens[j], self.tokens[j - 1]
            depth += (token.kind in ("open", "angle")) - (token.kind in ("close", "angle-end"))
            if depth < 0:
                return None
            if token.kind == "bar" and token.text == self.tokens[here].text and depth == 0:
                if j == here + 1 or token.space or before.kind in ("op", "open", "comma", "script"):
                    nested += 1
                elif nested:
                    nested -= 1
                else:
                    return j
        return None

    def atom(self) -> Atom:
        """One factor with its scripts."""
        token = self.take()
        if token.kind in ("open", "angle"):
            base = self.group(token)
        elif token.kind == "bar":
            base = self.bars(token)
        elif token.text in ("√", "sqrt") and self._factor_follows(0):
            return self.scripts(Atom(f"<msqrt>{self.chain().bare}</msqrt>"))
        elif token.kind == "big":
            base = Atom(f"<mo>{token.text}</mo>")
        elif token.kind == "name":
            return self.application(self.scripts(Atom(f"<mi>{token.text}</mi>")))
        elif token.kind == "number":
            base = Atom(f"<mn>{token.text}</mn>")
        elif token.kind == "letter":
            base = Atom(letter(token.text))
        else:
            base = Atom(operator(token.text))
        return self.scripts(base)

    def application(self, name: Atom) -> Atom:
        """A name and the one factor that it is applied to."""
        if not self.peek(
            "open", "letter", "number", "name", "big", "angle"
        ) and not self._bar_opens(whole=True):
            return name
        space = [THIN] if self.tokens[self.i].space else []
        return Atom(row([name, *space, self.atom()]))

    def group(self, start: Token) -> Atom:
        parts: list[str] = []
        while self.token is not None and not self.peek("close", "angle-end"):
            parts += self.item(first=not parts)
        inner = row(parts) if parts else "<mrow></mrow>"
        if self.token is None:
            return Atom(row([operator(start.text, "prefix"), inner]))
        end = self.take()
        left, right = ("⟨", "⟩") if start.kind == "angle" else (start.text, end.text)
        fenced = f"<mrow>{operator(left, 'prefix')}{inner}{operator(right, 'postfix')}</mrow>"
        return Atom(fenced, bare=inner if start.text == "(" and right == ")" else fenced)

    def bars(self, start: Token) -> Atom:
        partner = self._partner(self.i - 1)
        if partner is None:
            return Atom(f'<mo stretchy="false">{start.text}</mo>')
        parts: list[str] = []
        outer, self.end = self.end, partner
        while self.i < partner:
            parts += self.item(first=not parts)
        self.end = outer
        self.take()
        left, right = operator(start.text, "prefix"), operator(start.text, "postfix")
        return Atom(f"<mrow>{left}{''.join(parts)}{right}</mrow>")

    def scripts(self, base: Atom) -> Atom:
        """Indices, exponents, primes, tildes and factorials right after a factor."""
        low: list[str] = []
        high: list[str] = []
        bare, body = base.bare, str(base)
        while (
            self.peek("script", "raised", "lowered", "prime", "tilde", "bang", tight=True)
            or self._norm_index()
        ):
            token = self.take()
            if token.kind == "tilde":
                body = f'<mover accent="true">{body}<mo>~</mo></mover>'
            elif token.kind == "bang":
                body = f"<mrow>{scripted(body, low, high)}<mo>!</mo></mrow>"
                low, high = [], []
            # an index after an exponent keeps its place
            elif high and (token.kind == "lowered" or token.text == "_"):
                body, low, high = scripted(body, low, high), [], []
                self.i -= 1
            elif token.kind == "prime":
                high.append("<mo>′</mo>")
            elif token.kind == "raised":
                high.append(raised(token.text))
            elif token.kind == "lowered":
                low.append(f"<mn>{''.join(SUBSCRIPTS.get(c, c) for c in token.text)}</mn>")
            elif token.kind == "letter":
                low.append(f"<mi>{token.text}</mi>")
            else:
                script = self.script()
                # 2^e_ij: the index belongs to the exponent
                if token.text == "^" and self.peek("script", tight=True):
                    script = str(self.scripts(Atom(script)))
                (low if token.text == "_" else high).append(script)
        result = scripted(body, low, high)
        return Atom(result, bare=bare if result == str(base) else result)

    def _norm_index(self) -> bool:
        """The ∞ of ‖s‖∞."""
        return (
            self.peek("letter", tight=True)
            and self.tokens[self.i].text == "∞"
            and self.tokens[self.i - 1].kind == "bar"
        )

    def script(self) -> str:
        """What follows _ or ^: a group without its brackets, or a run of letters and digits,
        perhaps with a sign.
        """
        if self.peek("open", tight=True):
            start = self.take()
            parts: list[str] = []
            while self.token is not None and not self.peek("close"):
                parts += self.item(first=not parts, stacked=False)
            if self.token is not None:
                self.take()
            return row(parts) if start.text in "({" and parts else "".join(parts)
        parts = []
        if self.peek("op", tight=True) and self.tokens[self.i].text in "-±":
            parts.append(operator(self.take().text, "prefix"))
        if self.peek("bar", tight=True):
            return row([*parts, self.bars(self.take())])
        if self.peek("colon", tight=True):
            parts.append(operator(self.take().text))
        while self.peek("letter", "number", "name", "lowered", tight=True):
            token = self.take()
            text = token.text
            tag = "mn" if token.kind in ("number", "lowered") else "mi"
            letters = (
                [text]
                if tag == "mn" or text in NAMES or len(text) > 3 or not text.isascii()
                else list(text)
            )
            parts += [letter(c) if tag == "mi" else f"<mn>{c}</mn>" for c in letters]
        return row(parts) if parts else "<mrow></mrow>"
