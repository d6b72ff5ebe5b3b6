"""Hypothesis profiles and lanes.

`HYPOTHESIS_PROFILE=full` looks forty times as long; `-m "not long"` is the quick lane.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from lanes import is_long

# A failure must come back on the next run and on the next machine: no database, no clock, the same
# examples each time.
_HEALTH = [HealthCheck.too_slow]  # machines differ; slowness is no error
settings.register_profile(
    "quick",
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=_HEALTH,
)
settings.register_profile(
    "full",
    max_examples=1000,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=_HEALTH,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the long lane."""
    for item in items:
        if is_long(item.nodeid):
            item.add_marker(pytest.mark.long)
