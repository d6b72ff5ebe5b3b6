"""Growth on a GPU, judged from files: linear is supported, more is refuted, nothing is nothing."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from proofs_check import Status
from proofs_check.checkers import check
from proofs_check.papers.our_code_campaigns import gpu_time


def file(folder: Path, power: float, sizes: Any = gpu_time.SIZES, **names: str) -> Path:
    """Write the records of a GPU whose time is n^power."""
    device, day = names.get("device", "NVIDIA Test"), names.get("day", "2026-12-01")
    records: list[dict[str, Any]] = [
        {"name": "environment", "arguments": {}, "result": {"device": device}}
    ]
    for d, g in gpu_time.SHAPES:
        for n in sizes:
            arguments = {"method": "polynomial", "d": d, "degree": g, "n": n}
            for more, factor in (({}, 1.0), ({"gradient": True}, 3.0 + n / 2**20)):
                t = 1e-9 * factor * n**power
                result = {"seconds": [t, 1.5 * t, 0.9 * t, t, t]}
                records.append({"name": "call", "arguments": arguments | more, "result": result})
    path = folder / f"test-{day}.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + '\n{"cut', encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("power", "status"), [(1.0, "supported"), (1.2, "refuted"), (2.0, "refuted"), (0.9, "refuted")]
)
def test_a_file_decides(tmp_path: Path, power: float, status: str) -> None:
    file(tmp_path, power)
    theorem = gpu_time.theorem(gpu_time.newest(tmp_path))
    verdicts = [check(e) for e in theorem.experiments]
    assert [v.status for v in verdicts] == [Status(status)] * 3
    assert all("NVIDIA Test, docs/results/test-2026-12-01.jsonl" in v.scope for v in verdicts)
    assert theorem.expected is Status.SUPPORTED


def test_without_a_file_nothing_is_decided(tmp_path: Path) -> None:
    file(tmp_path, 1.0, device="CPU")  # a dry run
    theorem = gpu_time.theorem(gpu_time.newest(tmp_path))
    verdicts = [check(e) for e in theorem.experiments]
    assert {v.status for v in verdicts} == {Status.INCONCLUSIVE} == {theorem.expected}
    assert all("./run.sh bench gpu" in v.note for v in verdicts)


def test_few_sizes_decide_nothing(tmp_path: Path) -> None:
    file(tmp_path, 1.0, sizes=gpu_time.SIZES[:3])
    theorem = gpu_time.theorem(gpu_time.newest(tmp_path))
    assert {check(e).status for e in theorem.experiments} == {Status.INCONCLUSIVE}


def test_the_newest_file_counts(tmp_path: Path) -> None:
    file(tmp_path, 2.0, day="2026-12-01")
    file(tmp_path, 1.0, day="2026-12-02")
    (experiment, *_) = gpu_time.theorem(gpu_time.newest(tmp_path)).experiments
    assert check(experiment).status is Status.SUPPORTED


def test_the_mutant_is_refuted_and_experiments_can_be_sent(tmp_path: Path) -> None:
    file(tmp_path, 1.0)
    theorem = gpu_time.theorem(gpu_time.newest(tmp_path))
    assert check(theorem.mutant).status is Status.REFUTED
    again = pickle.loads(pickle.dumps(theorem.experiments[0]))  # noqa: S301 - our own
    assert check(again).status is Status.SUPPORTED
