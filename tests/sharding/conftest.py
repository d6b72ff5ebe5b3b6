"""What clusters leave behind is cleared away in the test that had them."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _cleared(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect sockets of workers that were killed, which would warn in a later test."""
    yield
    if "cluster" in request.node.nodeid or "scheduler" in request.node.nodeid:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
