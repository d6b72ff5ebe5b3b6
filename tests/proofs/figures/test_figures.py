"""Figures: numbers that are known, files that say where they come from, scripts, the command."""

import csv
import json
import math
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from proofs_check import catalogue
from proofs_check.__main__ import app
from proofs_check.figures import costs, gallery, heads
from proofs_check.figures.output import files, show
from proofs_check.figures.output.draw import drawn, style
from proofs_check.figures.output.style import MARKERS
from proofs_check.figures.record import Axis, Figure, Panel, Series
from proofs_check.papers.our_code_campaigns.gpu_time import Measured

GALLERY = Path(__file__).resolve().parents[3] / "docs" / "gallery"
ORIGIN = {"figure": "x", "theorems": "y", "seed": "0", "versions": "z=1", "commit": "abc"}


@pytest.fixture(scope="module")
def tiny() -> dict[str, Figure]:
    return {name: build(True) for name, build in gallery.FIGURES.items()}


@pytest.mark.parametrize("name", gallery.FIGURES)
def test_every_figure_can_be_drawn_and_names_theorems(name: str, tiny: dict[str, Figure]) -> None:
    figure = tiny[name]
    assert figure.name == name
    assert set(figure.claims) <= set(catalogue.theorems(timed=True))
    assert figure.claims
    with style(name):
        drawing = drawn(figure)
    for axes, panel in zip(drawing.axes, figure.panels, strict=True):
        assert axes.get_ylabel() == panel.y.label
        assert panel.x.label or panel.x.names
    values = [np.asarray(s.y, float) for panel in figure.panels for s in panel.series]
    assert all(np.isfinite(y).any() for y in values)


KNOWN = {
    # what the catalogue proves or the sources print, independent of the sizes drawn
    ("degrees", "best"): 41,
    ("degrees", "taylor"): 74,
    ("as23-degree", "at 2^40"): 870.06,
    ("ranks", "ours at 4"): 495,
    ("ranks", "printed at 4"): 735_471,
    ("even-and-odd", "P_3(-4)"): -17 / 3,
    ("total-variation", "attained share"): 1.0,
    ("printed-gradients", "AS24 dX, without 1/d"): 3.0,
    ("linformer-success", "claimed at k"): 0.5856,
    ("heads-null", "zero passes"): 1.0,
    ("bert-lsh-flops", "reported"): 10.24,
    ("plan-confidence", "as stated"): 0.1,  # 1/20 for the first and for the second, then none
    ("plan-confidence", "one level"): 1.0,  # 20 methods, each by a sample of its own
    ("gradient-rows", "largest share"): 1.0,
    # by hand, (12 D + 2 n) / (12 D + 4 k)
    ("linformer-savings", "time, n = 65536, k = 128"): 274 / 19,
    ("published-table", "reported, d = 4"): 6.5476,
    ("growth", "Exact"): 2.0,
    ("growth", "Performer, 256 features"): 1.0,
}


@pytest.mark.parametrize(("name", "fact"), KNOWN)
def test_known_numbers(name: str, fact: str, tiny: dict[str, Figure]) -> None:
    assert tiny[name].facts[fact] == pytest.approx(KNOWN[name, fact], rel=2e-4)


def test_the_crossings_of_yoso_are_where_they_are_proved() -> None:
    figure = gallery.FIGURES["yoso-weight"](False)
    assert list(figure.facts.values()) == pytest.approx([0.5495, -0.88932, 0.72024], abs=2e-4)


def test_bounds_lie_above_what_they_bound(tiny: dict[str, Figure]) -> None:
    def rows(name: str, label: str) -> np.ndarray:
        series = next(
            s for panel in tiny[name].panels for s in panel.series if s.label.startswith(label)
        )
        return np.asarray(series.y)

    assert (rows("layers", "bound with") <= rows("layers", "bound") * (1 + 1e-9)).all()
    assert (rows("layers", "error") <= rows("layers", "bound with")).all()
    assert (rows("moments", "error") <= rows("moments", "Taylor")).all()
    for share in ("mass", "value"):
        assert 0.1 < tiny["summary-cell"].facts[f"largest share of the {share} bound"] <= 1
    assert tiny["summary-cell"].facts["smallest excess"] >= 0
    gains = [g for name, g in tiny["summary-row"].facts.items() if name.startswith("gain")]
    assert all(1.5 < gain < 2 for gain in gains)
    drawn_below = ("total-variation", "gradient-rows", "mean-query-sample", "dropped-keys")
    for name in (*drawn_below, "range-finder"):
        shares = [x for fact, x in tiny[name].facts.items() if fact.startswith("largest share")]
        assert max(shares) <= 1
    least, most = (
        np.concatenate([np.asarray(s.low if low else s.y) for s in bands])
        for bands in [[s for s in tiny["least-error"].panels[0].series if s.kind == "band"]]
        for low in (True, False)
    )
    assert (least <= most).all()


def test_four_keys_show_that_the_bound_of_the_gradient_is_sharp(tiny: dict[str, Figure]) -> None:
    ends = tiny["gradient-rows"].panels[0].series[2]
    assert np.asarray(ends.y) == pytest.approx(np.tanh(np.asarray(ends.x) / 4), abs=1e-12)


def test_the_measure_of_the_published_code_is_half_a_relative_error(
    tiny: dict[str, Figure],
) -> None:
    assert tiny["published-table"].facts["relative / reported"] == pytest.approx(2, rel=0.05)
    assert tiny["published-table"].facts["softmax, last"] > 5


def test_the_student_learns_and_all_start_alike(tiny: dict[str, Figure]) -> None:
    facts = tiny["training"].facts
    assert facts["last, exact"] < 0.9 * facts["first, exact"]
    assert facts["first, degree 2, plug-in"] == facts["first, exact"]


def test_low_rank_savings_count_as_they_are_printed(tiny: dict[str, Figure]) -> None:
    facts = tiny["linformer-savings"].facts
    # operations explain the printed times within a factor of two and a bit, never exceed them
    assert 0.4 < facts["least quotient"] < facts["largest quotient"] < 1.1


def test_packages_stand_beside_our_methods(tiny: dict[str, Figure], tmp_path: Path) -> None:
    (panel,) = tiny["heads-cost"].panels
    measured = json.loads(heads.MEASURED.read_text(encoding="utf-8"))["packages"]
    for package in measured:
        name = f"{package['package']} {package['version']}"
        (series,) = (s for s in panel.series if s.label == name)
        for cost, error in zip(series.x, series.y, strict=True):
            (row,) = (r for r in package["rows"] if r["cost"] == cost)
            assert error == np.median(row["errors"])
    assert len(measured) > 1
    assert list(heads.packages(tmp_path / "nothing")) == []


def test_times_of_a_gpu_are_drawn_where_there_are_any() -> None:
    def call(d: int, n: int, seconds: float) -> dict[str, object]:
        arguments = {"method": "polynomial", "d": d, "degree": 2, "n": n}
        return {"name": "call", "arguments": arguments, "result": {"seconds": [seconds, seconds]}}

    records = (call(64, 2048, 3.0), call(64, 1024, 1.5), call(48, 1024, 9.0))
    (series,) = costs.of_gpu(Measured("made up", records))
    assert (list(series.x), list(series.y)) == ([1024, 2048], [1.5, 3.0])
    assert "d = 64" in series.label
    assert costs.of_gpu(Measured("none", ())) == []


def test_the_map_of_regimes_by_hand(tiny: dict[str, Figure]) -> None:
    cells = {
        (int(x), int(y)): series.label
        for series in tiny["regime-map"].panels[1].series
        for x, y in zip(series.x, series.y, strict=True)
    }
    assert len(cells) == 9  # each cell has one winner
    assert cells[0, 2] == "degree 1"  # scores within 1/4: a straight line, at any width
    assert cells[2, 2] == "exact"  # scores up to 8 in 64 directions


def test_printed_formulas_are_wrong_and_corrected_ones_right(tiny: dict[str, Figure]) -> None:
    printed, corrected = tiny["printed-gradients"].panels[0].series
    assert (np.asarray(printed.y) > 0.1).all()
    assert (np.asarray(corrected.y) < 1e-9).all()


def test_the_error_of_shared_hashes_does_not_fall_with_the_tokens() -> None:
    facts = gallery.FIGURES["yoso-tokens"](False).facts
    assert facts["last"] == pytest.approx(facts["exact"], rel=0.4)  # 60 draws
    assert facts["last, independent"] < facts["exact"] / 20


def test_hashes_and_crossover() -> None:
    assert gallery.FIGURES["yoso-error"](False).facts["slope"] == pytest.approx(-0.5, abs=0.1)
    facts = gallery.FIGURES["crossover"](True).facts
    # the rank is C(d + 2, 2), and a token costs twice the rank, as against n
    assert facts["d = 64, g = 2"] == pytest.approx(math.comb(66, 2), rel=0.05)


def test_files_say_where_they_come_from(tmp_path: Path, tiny: dict[str, Figure]) -> None:
    figure = tiny["total-variation"]
    origin = files.origin_of(figure, {"numpy": "9.9"})
    svg, png, table = files.write(figure, tmp_path, ("svg", "png", "csv"), origin)
    assert png.read_bytes().startswith(b"\x89PNG")
    for text in (svg.read_text(encoding="utf-8"), table.read_text(encoding="utf-8")):
        assert "ours.hilbert" in text
        assert "numpy=9.9" in text
        assert str(figure.seed) in text
        assert origin["commit"] in text
    lines = [x for x in table.read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    found = list(csv.DictReader(lines))
    assert len(found) == sum(len(s.x) for panel in figure.panels for s in panel.series)
    first = figure.panels[0].series[0]
    assert float(found[0]["x"]) == first.x[0]  # to the last digit
    assert float(found[0]["y"]) == first.y[0]


def test_a_figure_is_the_same_bytes_again(tmp_path: Path, tiny: dict[str, Figure]) -> None:
    one, two = (tmp_path / name for name in "ab")
    for folder in (one, two):
        folder.mkdir()
        files.write(tiny["ranks"], folder, ("svg", "csv"), ORIGIN)
    for name in ("ranks.svg", "ranks.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def scripts() -> dict[str, Path]:
    return {p.stem.removeprefix("plot_").replace("_", "-"): p for p in GALLERY.glob("plot_*.py")}


def test_every_figure_has_a_script_that_shows_it(
    tiny: dict[str, Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(show, "show", lambda figure: shown.append(figure.name))
    for name, build in gallery.FIGURES.items():
        monkeypatch.setattr(
            sys.modules[build.__module__], build.__name__, lambda name=name: tiny[name]
        )
    for path in scripts().values():
        runpy.run_path(str(path))
    assert shown == list(scripts())
    assert set(shown) == set(gallery.FIGURES)


def test_the_gallery_shows_every_script_and_every_figure_of_a_paper(
    tiny: dict[str, Figure],
) -> None:
    text = (GALLERY / "gallery.md").read_text(encoding="utf-8")
    for figure in tiny.values():
        stem = f"plot_{figure.name.replace('-', '_')}"
        assert text.count(f"\n   gallery/{stem}.py\n") == 1
        assert text.count(f"\n/plots/{stem}\n") == 1
        row = f"| {figure.of_paper} | `python -m proofs_check figures {figure.name}` |"
        assert (row in text) == bool(figure.of_paper)


def test_pages_have_the_titles_of_their_figures(tiny: dict[str, Figure]) -> None:
    for name, path in scripts().items():
        title = path.read_text(encoding="utf-8").splitlines()[1]
        assert title == re.sub(r"\b2 (?=(real )?heads)", "8 ", tiny[name].title)


def test_a_script_says_what_the_figure_says(
    tiny: dict[str, Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = next(f for f in tiny.values() if f.printed)
    show.show(figure, tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    for part in (figure.title, figure.caption, *(row.ours for row in figure.printed)):
        assert " ".join(part.split()) in said
    assert {p.suffix for p in tmp_path.iterdir()} == {".svg", ".png", ".csv"}


def test_no_two_series_differ_by_colour_alone(tiny: dict[str, Figure]) -> None:
    for figure in tiny.values():
        for panel, axes in zip(figure.panels, drawn(figure).axes, strict=False):
            colours = len({s.colour for s in panel.series if s.colour is not None})
            if colours > len(MARKERS) or any(s.kind == "squares" for s in panel.series):
                continue  # more than there are shapes; squares have their names written
            own = {s.label for s in panel.series if s.label}
            looks = {
                line.get_label(): (
                    line.get_marker(),
                    line.get_linestyle(),
                    line.get_markerfacecolor() == "none",
                )
                for line in axes.lines
                if line.get_label() in own
            }
            assert len(set(looks.values())) == len(looks), f"{figure.name}: {looks}"


def test_the_command(tmp_path: Path) -> None:
    place = str(tmp_path / "new" / "place")
    done = CliRunner().invoke(
        app, ["figures", "rank", "--out", place, "--format", "csv", "--budget", "quick"]
    )
    assert done.exit_code == 0, done.output
    assert {p.name for p in Path(place).iterdir()} == {"ranks.csv"}


@pytest.mark.parametrize(
    ("arguments", "said"), [(["nothing"], "'nothing'"), (["ranks", "--format", "bmp"], "bmp")]
)
def test_misuse_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["figures", *arguments, "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert said in done.output
    assert not list(tmp_path.iterdir())


def test_series_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lengths \[1, 2\]"):
        Series(label="s", x=[1, 2], y=[1])


def test_marks_and_names_are_drawn() -> None:
    axis = Axis(label="", names=("a", "b"))
    series = Series(label="s", x=[0, 1], y=[2, 3], low=[1, 1], kind="bars")
    panel = Panel(x=axis, y=Axis(label="height"), series=(series,))
    figure = Figure(name="n", title="t", claims=("k",), caption="c", panels=(panel,))
    axes = drawn(figure).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert [(bar.get_y(), bar.get_height()) for bar in axes.patches] == [(1, 1), (1, 2)]
