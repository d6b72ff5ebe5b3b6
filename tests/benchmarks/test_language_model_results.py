"""What the benchmark of the language model keeps and shows: passages that come back, records,
tables, the page.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from real_model import goals, one_head, tables
from real_model.cells import Cells
from real_model.settings import everywhere, on_heads
from real_model.texts import with_copies

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("n", [2048, 8192])
def test_passages_come_back(n: int) -> None:
    passages, length = n // 340, 48
    running, words = np.zeros(n, np.int64), np.arange(1, 5000)
    text = with_copies(running, words, np.random.default_rng(0), passages=passages, length=length)
    assert len(text.seconds) == passages
    assert text.distances[0] == round(1000 / 8192 * n)
    assert text.distances[-1] == round(7500 / 8192 * n)
    for second, distance in zip(text.seconds, text.distances, strict=True):
        copy = text.tokens[second : second + length]
        assert copy.min() > 0
        first = second - distance
        np.testing.assert_array_equal(copy, text.tokens[first : first + length])
    # nothing overlaps, and the rest is as it was
    assert (text.tokens > 0).sum() == 2 * passages * length
    assert (running == 0).all()
    # loss i is that of token i + 1: the losses of second copies are of tokens seen before
    seen = text.tokens[text.places() + 1].reshape(passages, length - 1)
    before = text.tokens[text.places(second=False) + 1].reshape(passages, length - 1)
    np.testing.assert_array_equal(seen, before)
    assert text.places().max() < n - 1


def test_passages_that_find_no_place() -> None:
    with pytest.raises(ValueError, match=r"passages=9 of length=40 find no place in 400 tokens"):
        with_copies(
            np.zeros(400, np.int64), np.arange(99), np.random.default_rng(0), passages=9, length=40
        )


def test_records_survive_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "figures.json"
    Cells(path).keep("a", {"x": 1})
    again = Cells(path)
    assert "a" in again
    again.keep("b", [2])
    assert json.loads(path.read_text()) == {"a": {"x": 1}, "b": [2]}
    assert "c" not in Cells(path)


def test_names_of_settings_are_no_places() -> None:
    """The bar separates the parts of a record's name."""
    pairs = [(f, s) for f, row in on_heads(8192).items() for s in row]
    assert len(set(pairs)) == len(pairs) > 20
    assert not any("|" in x for x in (*everywhere(), *sum(pairs, ())))


def test_margins() -> None:
    point = {"exact": 6.5, "above": 0.125, "cost": 0.5, "time": 0.25}
    found = {"64 | curve | aa.plan | 0.8": point, "32 | curve | means | 1": point, "32 | x | W": {}}
    rows = tables.curve_table(found).splitlines()[2:]
    assert rows == [
        "| 32 | means | 1 | 6.5 | 12 % | 50 % | 25 % |",
        "| 64 | aa.plan | 0.8 | 6.5 | 12 % | 50 % | 25 % |",
    ]


def records() -> dict[str, object]:
    base = {
        "standard error": 0.001,
        "seconds of PyTorch": 30.0,
        "multiply-adds over exact": 0.125,
        "processor seconds, all": 60.0,
    }
    return {
        "check": {"tokens": 1024, "largest difference of logits": 0.0007},
        "64 | kings | text": {"sha256": "0"},
        "64 | kings | Exact": base | {"nats a token": 2.5, "change": 0.0, "seconds": 60.0},
        "64 | kings | W": base | {"nats a token": 2.6, "change": -0.1, "seconds": 6.0},
        "64 | copies | W": base
        | {
            "nats a token": 2.0,
            "change": 0.25,
            "seconds": None,
            "second copies": 1.5,
            "change on second copies": 0.75,
            "its standard error": 0.125,
        },
        "64 | kings | heads | window | w": {"errors": [0.1, 0.3, 0.2], "cost": 0.25},
        "64 | copies | heads | window | w": {"errors": [0.2, 0.2, 0.9], "cost": 0.75},
        "64 | copies | heads | window | v": {"errors": [0.5], "cost": 0.1},
    }


def test_tables() -> None:
    model = tables.model_table(records()).splitlines()
    assert model[2] == "| 64 | Exact | 2.5000 |  |  | 12.5 % | 0.50 | 60 |"
    assert model[3].startswith("| 64 | W | −0.1000 ± 0.0010 | +0.2500 ± 0.0010 | +0.750 ± 0.125 |")
    assert model[3].endswith("| 12.5 % | 5.00 | 120 |")
    heads = tables.heads_table(records()).splitlines()
    assert heads[2] == "| 64 | window | w | 50.0 % | 0.200 | 0.600 | 0.900 |"
    assert "0.0007" in tables.check_table(records())


def test_table_of_plans() -> None:
    plan = {
        "change": 0.01,
        "planned on": ["kings", "parser"],
        "heads left exact": 5,
        "settings": {"Exact": [0], "W": [1]},
    }
    assert len(tables.curve_table({"64 | kings | W": {}}).splitlines()) == 2  # no margins yet
    rows = tables.plan_table({"64 | copies | aa.plan, error 0.1": plan}).splitlines()
    wanted = "| 64 | aa.plan, error 0.1 | kings and parser | copies | 5 | +0.0100 |"
    assert rows[2:] == [wanted]


def planned(change: float, seconds: float) -> dict[str, object]:
    return {
        "change": change,
        "standard error": 0.001,
        "seconds": seconds,
        "seconds of PyTorch": 40.0,
        "change on second copies": 10 * change,
        "its standard error": 0.01,
    }


def test_goals() -> None:
    """The fastest plan within the change counts, on both texts; nothing is said without records."""
    near, far = "aa.plan, error 0.05", "aa.plan, error 0.2"
    ours = "SelectedSummaries(heavy, recent, summaries)"
    heads = {
        f"{ours} | s": {"errors": [0.1, 0.2], "cost": 0.1},
        "window and first keys | w": {"errors": [0.2, 0.3], "cost": 0.11},
        "delta correction | d": {"errors": [0.05, 0.06], "cost": 0.12},
        "blocks by means | b": {"errors": [0.9, 0.9], "cost": 0.01},  # no setting of ours for it
    }
    found = {
        **{f"8192 | {text} | {near}": planned(0.004, 10.0) for text in goals.TEXTS},
        f"8192 | kings | {far}": planned(0.03, 4.0),
        f"8192 | parser | {far}": planned(0.001, 4.0),
        f"8192 | copies | {near}": planned(0.004, 10.0),
        "8192 | curve | aa.plan, error 0.1 | 1": {"exact": 5.0, "above": 0.3},
        "8192 | curve | aa.plan, error 0.1 | 0.5": {"exact": 30.0, "above": 0.05},
        one_head.exact_name(): {"value": 1.25, "certified": 1.5},
        one_head.selected_name(32768): {"value": 7.5},
        one_head.selected_name(65536): {"value": 13.5},
        **{f"2048 | kings | heads | {name}": record for name, record in heads.items()},
    }
    rows = goals.rows(found)
    assert [row[3].partition(":")[0] for row in rows] == [
        *("missed", "reached", "missed", "missed", "missed", "reached", "missed", "reached")
    ]
    changes = "+0.0040 ± 0.0010, +0.0040 ± 0.0010"
    assert rows[0][2] == rows[1][2] == f"{near}: {changes} at 4.00x"
    assert rows[2][2] == f"{near}: +0.040 ± 0.010"
    assert rows[3][2] == "aa.plan, error 0.1, margin 0.5: 30 and 5 %"
    assert rows[6][2] == "n = 2,048: nearer than 1 of 2 settings"
    assert rows[7][2] == "1.25x, with a certificate 1.50x"
    assert goals.rows({"8192 | kings | Exact": {}}) == []
    assert "| missed: " in tables.goals_table(found)


def test_the_picture(tmp_path: Path) -> None:
    tables.picture(records(), tmp_path / "heads.svg")
    assert "n = 64" in (tmp_path / "heads.svg").read_text()


def test_the_page_shows_the_results() -> None:
    kept = json.loads((ROOT / "docs" / "results" / "language-model.json").read_text())
    page = (ROOT / "docs" / "language_model.md").read_text()
    stale = "python benchmarks/language_model.py --parts --save"
    assert tables.filled(page, kept) == page, stale
    with pytest.raises(ValueError, match="one place <!-- goals -->"):
        tables.filled("", kept)
