"""How the nouns of this room refuse what they are built with: by one sentence."""

from __future__ import annotations

__all__ = ["require"]


def require(condition: object, rule: str) -> None:
    """Raise ValueError with the sentence `rule` unless the condition holds.

    Every sentence reads ``name(=value) breaks this rule: do that instead``.
    """
    if not condition:
        raise ValueError(rule)
