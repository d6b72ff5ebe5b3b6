"""The study of a GPU: every step runs on a CPU at tiny sizes, goes on where it stopped, and reads
its records rightly.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu
from gpu_study import records, summary
from gpu_study.items import DRY, FULL, items
from gpu_study.library import Library, copies_counted, times

from proofs_check.checkers.scale import check
from proofs_check.statements.verdict import Status

NUMPY = Library("numpy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a whole dry run."""
    folder = tmp_path_factory.mktemp("study")
    assert gpu.main(["--dry-run", "--out", str(folder)]) == 0
    (path,) = folder.glob("*.jsonl")
    return path


def test_every_step_runs(finished: Path) -> None:
    found = records.read(finished)
    wanted = {(i.name, json.dumps(dict(i.arguments), sort_keys=True)) for i in items(DRY)}
    there = {(r["name"], json.dumps(r["arguments"], sort_keys=True)) for r in found}
    assert there == wanted | {("environment", "{}")}
    assert not [r for r in found if "error" in r["result"]]
    skipped = {r["name"] for r in found if "skipped" in r["result"]}
    assert skipped == {"sdpa", "ceiling"}  # what needs PyTorch on a GPU
    judged = [r["result"] for r in found if r["name"] == "accuracy"]
    assert judged
    assert all(r["outside"] == 0 and r["identical"] and r["relative"] < 1e-5 for r in judged)
    said = json.loads(finished.with_suffix(".summary.json").read_text(encoding="utf-8"))
    assert said["errors"] == []
    assert said["ceilings"].keys() == {"copy", "float32", "float64"}
    assert finished.with_suffix(".svg").stat().st_size > 10_000


def test_a_second_run_adds_nothing_and_mends_a_line_cut_short(finished: Path) -> None:
    lines = finished.read_text(encoding="utf-8").splitlines(keepends=True)
    finished.write_text("".join(lines[:-1]) + lines[-1][:40], encoding="utf-8")
    assert gpu.main(["--dry-run", "--out", str(finished)]) == 0
    again = finished.read_text(encoding="utf-8").splitlines(keepends=True)
    assert again[:-1] == lines[:-1]
    assert records.key(json.loads(again[-1])) == records.key(json.loads(lines[-1]))


def test_other_code_is_measured_anew(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(finished.read_text(encoding="utf-8"), encoding="utf-8")
    before = len(records.read(path))
    monkeypatch.setattr(records, "source", lambda: "another")
    assert gpu.main(["--dry-run", "--out", str(path), "--only", "ceiling"]) == 0
    new = records.read(path)[before:]
    assert {r["source"] for r in new} == {"another"}
    assert [r["name"] for r in new] == ["environment", *["ceiling"] * 5]


def test_an_error_is_a_record_and_the_next_item_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        msg = "out of memory"
        raise MemoryError(msg)

    monkeypatch.setattr(gpu, "measure", fails)
    path = tmp_path / "one.jsonl"
    assert gpu.main(["--dry-run", "--out", str(path)]) == 0
    found = [r for r in records.read(path) if r["name"] != "environment"]
    assert {r["result"]["error"] for r in found} == {"MemoryError: out of memory"}
    assert len(found) == len({records.key(r) for r in found}) > 40


def test_no_item_starts_without_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "measure", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(gpu, "Library", lambda _: NUMPY)
    path = tmp_path / "one.jsonl"
    assert gpu.main(["--budget", "12", "--out", str(path)]) == 0
    assert [r["name"] for r in records.read(path)] == ["environment"]


def test_without_a_gpu_the_run_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--library", "torch"]) == 2
    assert "no GPU can be used through torch" in capsys.readouterr().err


def test_the_most_valuable_comes_first_and_fits() -> None:
    every = list(items(FULL))
    names = [item.name for item in every]
    assert names.index("accuracy") < names.index("sums") < names.index("call")
    growth = next(i for i, item in enumerate(every) if item.arguments.get("n") == 2**18)
    assert sum(item.seconds for item in every[:growth]) < 540 / 2
    assert len({json.dumps([i.name, dict(i.arguments)]) for i in every}) > 0.95 * len(every)


def test_the_claim_about_growth_reads_these_records() -> None:
    from proofs_check.papers.our_code_campaigns import gpu_time

    made = tuple(
        {"name": i.name, "arguments": dict(i.arguments), "result": {"seconds": [1.0]}}
        for i in items(FULL)
    )
    measured = gpu_time.Measured("made up", made)
    for d, g in gpu_time.SHAPES:
        assert measured.seconds(d, g).keys() >= set(gpu_time.SIZES)


@pytest.mark.parametrize(
    ("power", "status"), [(1.0, Status.SUPPORTED), (1.2, Status.REFUTED), (None, None)]
)
def test_the_claim_is_checked_from_a_file(
    tmp_path: Path, power: float | None, status: Status | None
) -> None:
    """A file of a GPU with figures of older code in it, or one of a dry run alone."""
    from proofs_check.papers.our_code_campaigns import gpu_time

    place = SimpleNamespace(device="NVIDIA X", name="cupy", xp=np)
    path = tmp_path / "nvidia-x-2026-11-30.jsonl"
    if power is None:
        path = tmp_path / "cpu-2026-11-30.jsonl"
        place.device = "CPU"
    old = {"source": "old", "library": "cupy"}
    records.write(path, records.environment(place) | old)
    for i in items(FULL):
        if i.name == "call":
            own = recorded("call", i.arguments["n"], 1.0) | {"arguments": dict(i.arguments)}
            records.write(path, own | old)
    records.write(path, records.environment(place))
    for i in items(FULL):
        if i.name == "call":
            seconds = 1e-7 * i.arguments["n"] ** (power or 1.0)
            own = recorded("call", i.arguments["n"], seconds) | {"arguments": dict(i.arguments)}
            records.write(path, own | {"source": records.source()})
    claim = gpu_time.theorem(gpu_time.newest(tmp_path))
    assert ("NVIDIA X" in claim.experiments[0].scope) == (power is not None)
    for experiment in claim.experiments:
        if power is None:
            with pytest.raises(LookupError, match="no measurement"):
                experiment.workload(2**16)
        else:
            verdict = check(experiment, rng_seed=0, budget="quick")
            assert verdict.status is status, verdict


def test_crossovers_are_those_of_the_same_width() -> None:
    calls = [{"d": 64}, {"d": 16}, {"d": 64, "gradient": True}, {"d": 64, "causal": True}]
    found = [recorded("call", n, 1e-6 * n, **own) for own in calls for n in (1024, 4096, 16384)]
    found += [recorded("sdpa", n, 2e-10 * n * n, d=64, dtype="bfloat16") for n in (2048, 32768)]
    (name,) = summary.summary(found)["crossovers"]
    assert name == "call d=64"


def test_a_dry_run_writes_no_results_of_a_device() -> None:
    assert gpu.parsed([]).out == gpu.RESULTS
    own = gpu.parsed(["--dry-run"]).out
    assert own.is_dir()
    assert gpu.RESULTS not in (own, *own.parents)
    own.rmdir()


@pytest.mark.parametrize("line", ["[]", '{"name": "sums"}', "nonsense"])
def test_a_damaged_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "one.jsonl"
    good = json.dumps(records.environment(NUMPY))
    path.write_text(f"{good}\n{line}\n{good}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2"):
        records.read(path)


def recorded(name: str, n: int, seconds: float, **arguments: Any) -> records.Record:
    result = {"seconds": [seconds, seconds * 1.01, seconds * 0.99]}
    common = {"library": "cupy", "source": "x", "took": 1.0}
    return {"name": name, "arguments": {"n": n, **arguments}, "result": result, **common}


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_exponents(power: float) -> None:
    ns = [2**e for e in range(10, 23)]
    # launches hide the growth below 2^16
    found = [recorded("sums", n, max(1e-3, 1e-3 * (n / 2**15) ** power)) for n in ns]
    ((name, points),) = summary.series(found).items()
    assert name == "sums"
    low, middle, high = summary.exponent(points)
    assert low <= power + 1e-9
    assert power <= high + 1e-9
    assert abs(middle - power) < 1e-6
    assert summary.exponent(points[-3:]) is None


def test_crossover() -> None:
    ours = [(n, 1e-6 * n) for n in (1024, 4096, 16384)]
    exact = [(n, 2e-10 * n * n) for n in (2048, 8192, 32768)]
    assert np.isclose(summary.crossover(ours, exact), 5000, rtol=1e-6)
    assert summary.crossover(exact, exact) is None
    assert summary.crossover([], exact) is None


def test_times_keep_the_first_call_apart() -> None:
    calls: list[int] = []
    found = times(NUMPY, lambda: calls.append(1), 1.0, most=4)
    assert len(found["seconds"]) == 4
    assert len(calls) == 5
    slow = times(NUMPY, lambda: sum(range(10_000)), 0.0)
    assert slow["seconds"] == [slow["first"]]


def test_copies_to_the_host_are_counted() -> None:
    array_api_strict = pytest.importorskip("array_api_strict")
    from approxattn import _arrays

    real = _arrays.to_host
    with copies_counted() as count:
        _arrays.to_host(array_api_strict.ones(3))
        _arrays.to_host(np.ones(3))  # there already
    assert count == {"copies": 1, "bytes": 24}
    assert _arrays.to_host is real
