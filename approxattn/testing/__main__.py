"""``python -m approxattn.testing --attention PACKAGE:FUNCTION``: the suite, run by pytest.

All arguments are pytest's.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run the suite and return pytest's exit status."""
    import pytest

    suite = ["-p", "approxattn.testing.plugin", "--pyargs", "approxattn.testing.suite"]
    return int(pytest.main([*suite, *arguments]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
