"""The tables of certificates: moments never make a bound larger, and errors stay within both."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import moment_tables

NUMBER = re.compile(r"(?<![\w^])\d(?:\.\d+)?(?:e[+-]?\d+)?(?![\w^])")


def cells(table):
    """Return the numbers in the cells of each line below the head, but for the first column."""
    _, *lines = table()
    return [
        [[float(x) for x in NUMBER.findall(cell)] for cell in line.strip("| ").split(" | ")[1:]]
        for line in lines
    ]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    sizes = {"OUTPUTS": 400, "GRADIENTS": 300, "TOKENS": 24, "LENGTHS": (128, 256)}
    for name, size in sizes.items():
        monkeypatch.setattr(moment_tables, name, size)


@pytest.mark.parametrize("name", ["gradients", "layers"])
def test_errors_and_bounds_are_in_order(name):
    for line in cells(moment_tables.TABLES[name]):
        for error, by_range, by_moments in line:
            assert error <= by_moments <= by_range


def test_outputs_are_in_order():
    for (error,), by_range, by_moments in cells(moment_tables.output_table):
        assert error <= by_moments[0] <= by_range[0]
        assert by_moments[1] <= by_range[1]


def test_certificates_of_all_lengths_are_in_order():
    lines = cells(moment_tables.length_table)
    assert len(lines) == 4
    for _, by_range, by_moments, (error,), minimax, one_sided, (other,) in lines:
        assert error <= by_moments[0] <= by_range[0]
        assert other <= one_sided[0]
        assert 0 < minimax[1] <= minimax[0]
