"""The hunt as a campaign: the same problems each time, work that goes on, no cell starved, findings
that can be replayed.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

import approxattn as aa
from proofs_check.hunt import campaign as campaign_module
from proofs_check.hunt import methods, problems, written
from proofs_check.hunt.campaign import Hunt, improbable, summary
from proofs_check.hunt.chunk import examine, posed_for, replay
from proofs_check.hunt.command import hunt as command
from proofs_check.hunt.methods import APART, ELSEWHERE, HUNTED, MODES, ROWS, TABLE, Cell, cells
from proofs_check.hunt.store import Store, StoreError, read
from proofs_check.hunt.table import markdown

FEW = cells(methods=("exact", "mean-pool-3"), modes=("plain", "causal"), dtypes=("float32",))


def without_time(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**record, "seconds": 0} for record in records]


def run(store: Store, count: int = 400, jobs: int = 1, **options: Any) -> list[dict[str, Any]]:
    return list(Hunt(FEW, seed=3, problems=count, store=store).run(jobs=jobs, **options))


# --- the table ------------------------------------------------------------------------------------


def test_every_public_name_is_hunted_or_set_apart() -> None:
    assert set(aa.__all__) == HUNTED | APART | ELSEWHERE
    assert len(aa.__all__) == len(HUNTED) + len(APART) + len(ELSEWHERE)


def test_every_mode_and_dtype_is_in_some_cell() -> None:
    found = cells()
    assert {cell.mode for cell in found} == set(MODES)
    assert {cell.dtype for cell in found} == set(methods.DTYPES)
    assert {cell.row for cell in found} == {row.name for row in TABLE}
    assert len(ROWS) == len(TABLE)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": ("exakt",)}, "no row of the table"),
        ({"modes": ("upside-down",)}, "must be one of"),
        ({"dtypes": ("float128",)}, "must be one of"),
        ({"methods": ("audit",), "modes": ("state",)}, "leaves nothing"),
    ],
)
def test_names_that_are_not_there_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cells(**options)


# --- problems -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["plain", "mask", "batch", "gradient", "network", "tensor"])
def test_problems_follow_from_their_key_alone(mode: str) -> None:
    row = "tensor-taylor-4" if mode == "tensor" else "exact"
    for index in (0, 7):
        first, second = (
            posed_for(Cell(row, mode, "float64"), 5, index, ROWS[row])[0] for _ in range(2)
        )
        other = posed_for(Cell(row, mode, "float64"), 6, index, ROWS[row])[0]
        for name, a in first.arrays.items():
            assert a.tobytes() == second.arrays[name].tobytes()
        assert any(a.tobytes() != other.arrays[n].tobytes() for n, a in first.arrays.items())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sizes_reach_both_ends_of_the_dtype(dtype: str) -> None:
    tops = {"q": [], "k": [], "v": [], "g": []}  # type: dict[str, list[float]]
    for index in range(200):
        cell = Cell("exact", "gradient", dtype)
        posed = problems.draw(problems.generator(0, cell, index), cell, index)
        for name, found in tops.items():
            a = np.abs(posed.arrays[name].astype(np.float64))
            for top in a.max(axis=(1, 2)):
                if np.isfinite(top) and top > 0:
                    found.append(float(np.log2(top)))
    info = np.finfo(dtype)
    for name, found in tops.items():
        assert min(found) < math.log2(float(info.smallest_normal)) + 4, name
        assert max(found) > math.log2(float(info.max)) * 0.8, name


def test_rubbish_stands_behind_some_masks_and_the_oracle_does_not_see_it() -> None:
    kinds = set()
    for index in range(60):
        cell = Cell("exact", "mask", "float64")
        posed = problems.draw(problems.generator(0, cell, index), cell, index)
        assert posed.mask is not None
        assert posed.mask.any(axis=-1).all()
        if posed.rubbish and not posed.mask.all():
            hidden = posed.arrays["k"][~posed.mask]
            kinds.add(str(hidden[0, 0]))
            assert not posed.cleaned()["k"][~posed.mask].any()
    assert {"nan", "inf", "1e+37", "1e+300"} <= kinds | {"inf"}


@pytest.mark.parametrize("mode", ["mask", "network"])
def test_a_problem_reads_back_from_json_bit_by_bit(mode: str) -> None:
    for index in range(8):
        posed = posed_for(Cell("exact", mode, "float32"), 0, index, ROWS["exact"])[0]
        one = posed.take([0])
        text = written.as_json(one)
        assert text is not None
        back = written.from_json(json.loads(json.dumps(text, allow_nan=False)))
        for name, a in one.arrays.items():
            assert back.arrays[name].tobytes() == a.tobytes()
            assert back.arrays[name].dtype == a.dtype
        assert (back.scale, back.causal, back.seed) == (one.scale, one.causal, one.seed)


# --- campaigns ------------------------------------------------------------------------------------


def test_a_hunt_gives_every_cell_its_share() -> None:
    with Store(None) as store:
        hunt = Hunt(FEW, seed=3, problems=400, store=store)
        list(hunt.run())
        assert not hunt.left
        done = [hunt.progress[cell].done for cell in FEW]
    assert min(done) >= 100
    assert max(done) < 100 + 7 * problems.ITEMS  # one chunk more, an evolution at most


def test_each_counts_costly_cells_like_others() -> None:
    some = cells(methods=("exact", "minimax-1e-1"), modes=("plain",), dtypes=("float32",))
    some += cells(methods=("exact",), modes=("network-gradient",), dtypes=("float32",))
    with Store(None) as store:
        shared, each = (
            Hunt(some, seed=0, store=store, **given) for given in ({"problems": 1400}, {"each": 7})
        )
        list(each.run())
        done = [each.progress[cell].done for cell in some]
    assert [shared.targets[cell] for cell in some] == [800, 400, 200]
    assert [each.targets[cell] for cell in some] == [7, 7, 7]
    assert min(done) >= 7


def test_a_killed_hunt_goes_on_and_ends_with_the_same_records(tmp_path: Path) -> None:
    with Store(None) as store:
        run(store)
        whole = without_time(store.records)
    path = tmp_path / "hunt.jsonl"
    with Store(path) as store:
        steps = Hunt(FEW, seed=3, problems=400, store=store).run()
        for _ in range(3):
            next(steps)
    with path.open("ab") as file:  # what a kill leaves: a line without its end
        file.write(b'{"format": "approxattn hunt 1", "row": "ex')
    with Store(path) as store:
        assert len(store.records) == 3
        run(store)
    found = without_time([{k: x for k, x in r.items() if k != "format"} for r in read(path)])
    key = lambda r: (r["row"], r["mode"], r["index"])
    assert sorted(found, key=key) == sorted(whole, key=key)


def test_two_processes_do_the_same_chunks(tmp_path: Path) -> None:
    key = lambda r: (r["row"], r["mode"], r["index"])
    with Store(None) as one, Store(tmp_path / "two.jsonl") as two:
        run(one, 100)
        run(two, 100, jobs=2)
        ours, theirs = (sorted(without_time(s.records), key=key) for s in (one, two))
    assert ours == theirs


def test_the_time_limit_ends_a_hunt_and_says_what_is_left() -> None:
    with Store(None) as store:
        hunt = Hunt(FEW, seed=3, problems=10**9, store=store)
        list(hunt.run(time_limit=0.3))
        assert hunt.left == len(FEW)
        assert summary(store.records, hunt.left)["cells left"] == len(FEW)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello\n")
    with pytest.raises(StoreError, match=r"line 1 is no record"):
        Store(path)
    with pytest.raises(StoreError, match="cannot be read"):
        list(read(tmp_path / "absent"))
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path)
    assert path.read_text() == "hello\n"


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with Store(tmp_path / "s"), pytest.raises(StoreError, match="another process"):
        Store(tmp_path / "s")


def test_failures_are_judged_by_an_exact_test() -> None:
    def record(failed: int) -> dict[str, Any]:
        return {"row": "yoso", "trials": {"0.01": [1000, failed]}}

    assert not improbable([record(10)])
    (found,) = improbable([record(40)])
    assert found["failed"] == 40
    assert found["p"] < 1e-3
    # one failure of a certificate that should fail once in a thousand million calls
    assert improbable([{"row": "yoso-sure", "trials": {"1e-09": [1000, 1]}}])


def test_the_page_holds_counts_ratios_and_findings() -> None:
    with Store(None) as store:
        run(store, 100)
        records = store.records
    page = markdown(records)
    assert "| exact |" in page
    assert "| all |" in page
    wrong = {**records[0], "findings": [finding()]}
    assert "error >= 2, bound 1" in markdown([wrong])
    assert not summary([wrong])["ok"]
    assert max(map(len, page.splitlines())) <= 120


def finding() -> dict[str, Any]:
    return {
        "seed": 0,
        "row": "exact",
        "mode": "plain",
        "dtype": "float32",
        "library": "numpy",
        "index": 0,
        "generation": 0,
        "item": 0,
        "kind": "violation",
        "part": "out",
        "detail": "row 0: error >= 2, bound 1",
        "ratio": 2.0,
        "among": 1,
    }


# --- the command ----------------------------------------------------------------------------------


def invoke(*arguments: str) -> Any:
    app = Typer()
    app.command("hunt")(command)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_hunts_goes_on_and_prints_the_page(tmp_path: Path) -> None:
    store = str(tmp_path / "s.jsonl")
    options = ("--methods", "exact", "--modes", "plain", "--problems", "100", "--store", store)
    done = invoke(*options, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["problems"] >= 100
    again = invoke(*options, "--json")
    assert json.loads(again.output) == found  # nothing was left to do
    more = invoke(*options[:4], "--each", "130", "--store", store, "--json")
    cell = [r["problems"] for r in read(Path(store)) if r["dtype"] == "float16"]
    assert json.loads(more.output)["problems"] > found["problems"]
    assert sum(cell) >= 130
    page = invoke("--table", "--store", store).output
    assert "| exact |" in page
    fewest = min(
        sum(r["problems"] for r in read(Path(store)) if r["dtype"] == dtype)
        for dtype in methods.DTYPES
    )
    total = json.loads(more.output)["problems"]
    assert f"| plain | 3 | {total:,} | {fewest:,} |" in page


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    for arguments in (
        ("--methods", "exakt", "--store", str(tmp_path / "s")),
        ("--time-limit", "-1", "--store", str(tmp_path / "s")),
        ("--table", "--store", str(tmp_path / "absent")),
        ("--replay", "{nonsense"),
        ("--replay", '{"row": "exact"}'),
        ("--replay", str(tmp_path / "absent")),
    ):
        done = invoke(*arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert done.output.startswith("error: "), done.output


def test_a_finding_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = json.dumps(finding())
    assert invoke("--replay", sound).exit_code == 0
    import wrong_methods as trial

    wrong = ROWS | {"exact": trial.wrong_row("exact", trial.scaled(1e-3))}
    monkeypatch.setattr("proofs_check.hunt.chunk.ROWS", wrong)
    found = None
    for index in range(5):  # the last one is an evolution
        lines = examine(Cell("exact", "plain", "float32"), index=index)["findings"]
        assert lines or index < 4
        for found in lines:
            assert replay(found)[0]
    assert found is not None
    done = invoke("--replay", json.dumps(found))
    assert done.exit_code == 1
    assert "came back" in done.output
    assert campaign_module.findings_of([{"findings": lines}])[0]["kind"] == "violation"
