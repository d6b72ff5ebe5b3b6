"""How the nouns of this room refuse what they are built with: by one sentence."""

from __future__ import annotations

__all__ = ["check_covers", "require"]


def require(condition: object, rule: str) -> None:
    """Raise ValueError with the sentence `rule` unless the condition holds.

    Every sentence reads ``name(=value) breaks this rule: do that instead``.
    """
    if not condition:
        raise ValueError(rule)


def check_covers(covers: str, *, can_prove: bool) -> None:
    """A step is exact or it is none: what is argued rests on it."""
    rule = f"covers(={covers!r}) is neither 'statement' nor 'step': say what the verdict is about"
    require(covers in ("statement", "step"), rule)
    rule = (
        "covers(='step') asks of a search, a sample or a timing what it cannot decide: make what "
        "it tests a theorem of its own, or leave it out"
    )
    require(can_prove or covers == "statement", rule)
