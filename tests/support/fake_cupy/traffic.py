"""What crossed between host and device, and how many kernels were launched, with the places in the
code that asked.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field

_OWN = ("/fake_cupy/", "/array_api_compat/", "/numpy/")


@dataclass
class Traffic:
    """Counts since the last `clear`.

    Attributes
    ----------
    launches, syncs : Counter
        By the place that asked, "file:line".
    down, up : int
        Bytes to the host and to the device.
    """

    launches: Counter[str] = field(default_factory=Counter)
    syncs: Counter[str] = field(default_factory=Counter)
    down: int = 0
    up: int = 0

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def launch(self) -> None:
        self.launches[_place()] += 1

    def to_host(self, size: int) -> None:
        """A copy to the host, or a scalar read: the host waits for the device."""
        self.syncs[_place()] += 1
        self.down += size

    def to_device(self, size: int) -> None:
        self.up += size


def _place() -> str:
    """Return the package's line that asked, without those that only hand on."""
    frame, found = sys._getframe(2), ""
    while frame is not None:
        name = frame.f_code.co_filename
        if not any(own in name for own in _OWN):
            found = f"{name.rpartition('/approxattn/')[2]}:{frame.f_lineno}"
            if "/_arrays/" not in name:
                return found
        frame = frame.f_back  # type: ignore[assignment]
    return found
