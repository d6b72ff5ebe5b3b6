"""A campaign on a Dask cluster leaves the same evidence as one on this machine, also when a worker
is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proofs_check import Status
from proofs_check.__main__ import app
from proofs_check.running.campaign import Campaign
from proofs_check.running.dask_workers import SchedulerError
from proofs_check.running.evidence import Evidence

distributed = pytest.importorskip("distributed")

SYNTHETIC = ("synthetic_theorems",)
SLOW = tuple(f"slow.number-{i}" for i in range(12))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two worker processes of one thread, each with a nanny that starts a new one when it dies."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,
        dashboard_address=None,
        silence_logs=50,
    ) as started:
        yield started


def digest(path: Path, campaign: Campaign) -> str:
    with Evidence(path) as store:
        for _ in campaign.run(store):
            pass
        return store.digest(campaign.units)


def test_crashes_and_time_outs_are_inconclusive_there_too(tmp_path: Path, cluster: Any) -> None:
    keys = ("bad.hangs", "bad.dies", "good.square")
    campaign = Campaign(keys, modules=SYNTHETIC, limit=4.0, scheduler=cluster.scheduler_address)
    with Evidence(tmp_path / "e.sqlite") as store:
        found = {unit.theorem: verdict for unit, verdict in campaign.run(store)}
        assert len(campaign.stored(store)) == 1
    assert found["good.square"].status is Status.PROVED
    assert "not finished within 4 s" in found["bad.hangs"].note
    assert "exit code -9" in found["bad.dies"].note


def test_one_of_two_workers_killed(tmp_path: Path, cluster: Any) -> None:
    local = digest(tmp_path / "local.sqlite", Campaign(SLOW, modules=SYNTHETIC, jobs=2))
    campaign = Campaign(SLOW, modules=SYNTHETIC, scheduler=cluster.scheduler_address)
    with distributed.Client(cluster, set_as_default=False) as client:
        before = client.run(os.getpid)
    assert len(before) == 2
    with Evidence(tmp_path / "dask.sqlite") as store:
        for i, _ in enumerate(campaign.run(store)):
            if i == 2:
                os.kill(min(before.values()), signal.SIGKILL)
        assert len(campaign.stored(store)) == len(SLOW)
        assert store.digest(campaign.units) == local


def test_the_time_limit_holds_there_too(tmp_path: Path, cluster: Any) -> None:
    campaign = Campaign(("bad.hangs",), modules=SYNTHETIC, scheduler=cluster.scheduler_address)
    with Evidence(tmp_path / "e.sqlite") as store:
        assert list(campaign.run(store, time_limit=1.0)) == []
        assert campaign.conclude(store).missing == 1
    with distributed.Client(cluster, set_as_default=False) as client:
        assert set(client.run(busy).values()) == {0}


def busy() -> int:
    """Processes that a Dask worker keeps for campaigns."""
    import time

    from proofs_check.running import dask_workers

    for _ in range(100):  # the thread that waits for the killed process takes a moment to notice
        if not dask_workers._BUSY:
            break
        time.sleep(0.05)
    return len(dask_workers._BUSY) + len(dask_workers._IDLE)


def test_nobody_at_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofs_check.running.dask_workers._PATIENCE", 0.5)
    campaign = Campaign(("good.square",), modules=SYNTHETIC, scheduler="tcp://127.0.0.1:9")
    with (
        Evidence(tmp_path / "e.sqlite") as store,
        pytest.raises(SchedulerError, match="dask scheduler"),
    ):
        list(campaign.run(store))


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proofs_check.running.dask_workers._PATIENCE", 0.5)
    arguments = [
        "run",
        "controls.count-true",
        "--scheduler",
        "tcp://127.0.0.1:9",
        "--evidence",
        str(tmp_path / "e.sqlite"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "does not answer" in result.stderr


def test_dask_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    campaign = Campaign(("good.square",), modules=SYNTHETIC, scheduler="tcp://127.0.0.1:9")
    with (
        Evidence(tmp_path / "e.sqlite") as store,
        pytest.raises(SchedulerError, match=r"approxattn\[distributed\]"),
    ):
        list(campaign.run(store))
