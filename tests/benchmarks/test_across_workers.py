"""What the benchmark of sharded runs measures and shows."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from sharded_runs import inputs, tables
from sharded_runs.processes import Watched, private_mib

import approxattn as aa

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "docs" / "results" / "distributed.json", ROOT / "docs" / "capacity.md"


def test_the_page_shows_the_results() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    assert tables.page(text, found) == text


def test_the_results_keep_what_the_page_says() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    for record in found.pop("kills", []):
        assert record["same bits"]
        assert record["killed after"] or not record["said"]
    bits: dict[tuple[int, bool], str] = {}
    for record in found.values():
        run = record["run"]
        if run["engine"] != "memory":  # whoever did it: the same bits
            kind = run["exponent"], run["causal"]
            assert bits.setdefault(kind, record["digest"]) == record["digest"]
            assert max(record["private MiB"]) <= 100


def test_rows_are_recomputed(tmp_path: Path) -> None:
    paths = inputs.files(tmp_path, 12)
    q, k, v = (np.load(path).astype("f8") for path in paths)
    rows = np.array([0, 7, 4095])
    exact = aa.attention(q[rows], k, v, aa.Exact()).value
    np.testing.assert_allclose(inputs.exact_rows(paths, rows), exact, atol=1e-12)
    again = [inputs.digest(path) for path in inputs.files(tmp_path, 12)]
    assert again == [inputs.digest(path) for path in paths]


def test_processes_are_watched() -> None:
    if not Path("/proc/self/status").exists():
        return
    with Watched(lambda: [os.getpid()]) as used:
        begun = time.process_time()
        block = np.ones(2**22)
        while time.process_time() - begun < 0.3:
            block += 1
    pid = os.getpid()
    assert 0.2 < used.seconds[pid] < 1.0
    assert used.peak[pid] > 32
    assert private_mib(pid) > 10
    assert private_mib(2**22 + 1) == 0
