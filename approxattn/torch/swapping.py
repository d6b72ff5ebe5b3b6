"""Another attention implementation in a model, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def implementation(model: Any, name: str) -> Iterator[None]:
    """Run a block with the attention registered under `name`, and put back what was there.

    Raises
    ------
    TypeError
        For what is no model of transformers, or one that has an attention of its own.
    """
    if not hasattr(model, "set_attn_implementation"):
        msg = (
            f"{type(model).__name__} is no model of transformers: it has no set_attn_implementation"
        )
        raise TypeError(msg)
    before = _implementations(model.config)
    try:
        model.set_attn_implementation(name)
        if model.config._attn_implementation != name:
            msg = (
                f"{type(model).__name__} has an attention of its own, which transformers cannot "
                "replace: use a model that goes through AttentionInterface"
            )
            raise TypeError(msg)
        yield
    finally:
        model.set_attn_implementation(before)


def _implementations(config: Any) -> dict[str, Any]:
    """Return the names in use, in the form that `set_attn_implementation` takes."""
    found = {"": config._attn_implementation}
    for key in getattr(config, "sub_configs", {}):
        inner = getattr(config, key, None)
        if inner is not None:
            found[key] = _implementations(inner)
    return found
