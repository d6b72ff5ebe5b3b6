"""Hypothesis without constants from loaded modules: a search depends on its seed alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["without_local_constants"]


@contextlib.contextmanager
def without_local_constants() -> Iterator[None]:
    """Keep Hypothesis from trying numbers that occur in the source of loaded modules.

    Recent versions do so for modules that are not installed. What a search finds then depends on
    which modules its process has loaded so far, and on where the packages lie. There is no setting
    against it; versions without the attribute have no such constants.
    """
    import hypothesis.internal.conjecture.providers as inside

    providers: Any = inside
    provider = providers.HypothesisProvider
    usual = vars(provider).get("_local_constants")
    if usual is None:
        yield
        return
    provider._local_constants = providers.Constants()
    providers.CONSTANTS_CACHE.cache.clear()  # it holds choices made with those constants
    try:
        yield
    finally:
        provider._local_constants = usual
        providers.CONSTANTS_CACHE.cache.clear()
