"""What a source file makes a computer do, as a hash: the code without the prose.

The file is parsed and its syntax tree is hashed, so that comments, line breaks, quotation marks
and parentheses cannot matter. Left out of the tree are

* docstrings, and every other string that stands alone as a statement;
* in a file of statements, the fields of its records that only a reader sees: `PROSE`, the whole
  of `RECORDS`, the text of an `Assumption`, and private string constants that nothing else uses;
* of a file of statements that holds nothing but string constants, such as citations, everything.

All else counts: code, numbers, experiments, predicates and generators. So do the scope of an
experiment, the labels of its comparisons and the sampler of a plan, since verdicts repeat them:
a stored verdict would go on saying the old words. Words handed to a function by position count
too; nothing here can know that they are only words.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator

__all__ = ["PROSE", "RECORDS", "code_digest", "without_prose"]

PROSE = frozenset(
    {
        "alternative_readings",
        "by_hand",
        "citation",
        "defence",
        "place",
        "reading",
        "remarks",
        "source",
        "statement",
        "title",
    }
)
"""Keyword arguments of a record (a name that begins with a capital letter) that are only read."""

RECORDS = frozenset({"ByHand", "Place", "Source", "Unchecked", "here", "our_code"})
"""Records, and functions that build one, of which no argument can change a verdict."""

_DIGESTS: dict[tuple[bytes, bool], bytes] = {}
"""By hash of the file and whether it holds statements: within a process nothing is parsed twice."""


def code_digest(source: bytes, *, statements: bool) -> bytes:
    """Hash of what the source does.

    Parameters
    ----------
    source : bytes
        The file. One that is no Python is hashed as it stands.
    statements : bool
        Whether it holds statements of a paper, whose records have fields of prose.
    """
    key = hashlib.sha256(source).digest(), statements
    if key not in _DIGESTS:
        try:
            text = without_prose(source, statements=statements)
        except (SyntaxError, ValueError):  # ValueError: a null byte
            return key[0]
        _DIGESTS[key] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return _DIGESTS[key]


def without_prose(source: bytes, *, statements: bool) -> str:
    """Return the syntax tree as text, one token a word, without prose."""
    tree = ast.parse(source)
    tokens: list[str] = []
    if statements and all(map(_is_words, tree.body)):
        return ""
    if statements:
        tree.body = _without_idle_strings(tree.body)
    _write(tree, tokens, statements)
    return " ".join(tokens)


def _write(node: ast.AST, tokens: list[str], statements: bool) -> None:
    tokens.append(type(node).__name__)
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            _write(value, tokens, statements)
        elif isinstance(value, list):
            tokens.append("[")
            for item in _kept(node, value) if statements else value:
                if isinstance(item, ast.AST):
                    if not _stands_alone(item):
                        _write(item, tokens, statements)
                else:
                    tokens.append(repr(item))
            tokens.append("]")
        elif name != "kind":  # u"..." or "..."
            tokens.append(repr(value))


def _stands_alone(node: ast.AST) -> bool:
    """Whether this is a statement that is only a string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _kept(parent: ast.AST, children: list[ast.AST]) -> Iterable[ast.AST]:
    """Those arguments of a call that are not prose; of any other node, all children."""
    if not (isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name)):
        return children
    name = parent.func.id
    if name in RECORDS:
        return ()
    if not name.lstrip("_")[:1].isupper():
        return children
    prose = PROSE | {"text"} if name == "Assumption" else PROSE
    return [c for c in children if not (isinstance(c, ast.keyword) and c.arg in prose)]


def _without_idle_strings(body: list[ast.stmt]) -> list[ast.stmt]:
    """Drop ``_NAME = "..."`` where nothing but prose speaks of the name."""
    used = {name for statement in body for name in _names(statement)}
    return [
        s
        for s in body
        if not (_is_string_constant(s) and _target(s).startswith("_") and _target(s) not in used)
    ]


def _names(node: ast.AST) -> Iterator[str]:
    """Names that are read anywhere but in prose."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id
    for _, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            yield from _names(value)
        elif isinstance(value, list):
            for child in _kept(node, value):
                if isinstance(child, ast.AST):
                    yield from _names(child)


def _is_string_constant(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_words(statement: ast.stmt) -> bool:
    return _stands_alone(statement) or _is_string_constant(statement)


def _target(statement: ast.stmt) -> str:
    """The single name that is assigned to, or nothing."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return target.id if isinstance(target, ast.Name) else ""
    return ""
