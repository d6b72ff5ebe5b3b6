"""A campaign ends by its time limit, by an interrupt or by kill -9, and goes on to the same
evidence; its processes end with it.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proofs_check import Status, Verdict
from proofs_check.report.progress import Progress
from proofs_check.running.campaign import Campaign
from proofs_check.running.evidence import Evidence
from proofs_check.running.unit_process import OtherCodeError, UnitProcess

SUPPORT = Path(__file__).parents[2] / "support"
SYNTHETIC = ("synthetic_theorems",)
SLOW = tuple(f"slow.number-{i}" for i in range(12))

CAMPAIGN = """
import sys
from pathlib import Path
from proofs_check.running.campaign import Campaign
from proofs_check.running.evidence import Evidence

keys = [f"slow.number-{i}" for i in range(12)]
campaign = Campaign(keys, modules=("synthetic_theorems",), jobs=int(sys.argv[2]))
with Evidence(Path(sys.argv[1])) as store:
    for unit, _ in campaign.run(store):
        print(unit.theorem, flush=True)
"""


def start(folder: Path, jobs: int = 2) -> subprocess.Popen[str]:
    """A campaign in a process, its evidence and its log in the folder."""
    script = folder / "campaign.py"
    script.write_text(CAMPAIGN)
    paths = os.pathsep.join((str(SUPPORT.parents[1]), str(SUPPORT)))
    environment = {**os.environ, "PYTHONPATH": paths, "SYNTHETIC_LOG": str(folder / "log")}
    command = [sys.executable, str(script), str(folder / "e.sqlite"), str(jobs)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@functools.cache
def campaign() -> Campaign:
    return Campaign(SLOW, modules=SYNTHETIC, jobs=2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the evidence when nothing happens."""
    with Evidence(tmp_path_factory.mktemp("undisturbed") / "e.sqlite") as store:
        for _ in campaign().run(store):
            pass
        assert len(campaign().stored(store)) == len(SLOW)
        return store.digest(campaign().units)


def resume(folder: Path) -> str:
    with Evidence(folder / "e.sqlite") as store:
        for _ in campaign().run(store):
            pass
        return store.digest(campaign().units)


def test_six_kills_at_random_moments(tmp_path: Path, undisturbed: str) -> None:
    """Some strike before the first verdict, the others between verdicts or while one is written."""
    rng, seen = random.Random(7), set[str]()  # noqa: S311 - moments to strike at
    for i in range(6):
        process = start(tmp_path, jobs=1 + i // 4)
        assert process.stdout is not None
        line = process.stdout.readline() if i % 3 else ""
        while line in seen:  # what is in the evidence already comes first
            line = process.stdout.readline()
        seen.add(line)
        time.sleep(rng.uniform(0.0, 0.2))
        process.kill()
        process.communicate()
    with Evidence(tmp_path / "e.sqlite") as store:
        assert 4 <= len(campaign().stored(store)) <= len(SLOW)
    assert resume(tmp_path) == undisturbed


def squares(folder: Path) -> list[int]:
    """The processes in which squares were begun, one entry a square."""
    log = folder / "log"
    return [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []


def test_no_process_survives_its_campaign(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    workers = set(squares(tmp_path))
    assert 1 <= len(workers) <= 2
    for _ in range(200):
        if not any(alive(pid) for pid in workers):
            return
        time.sleep(0.05)
    pytest.fail("a worker is still there ten seconds after its campaign was killed")


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    if status.exists() and "\nState:\tZ" in status.read_text():
        return False  # dead, and nobody has asked for its exit code yet
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_interrupt_leaves_a_valid_store(tmp_path: Path, undisturbed: str) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode != 0
    assert errors.strip().splitlines()[-1] == "KeyboardInterrupt"
    with Evidence(tmp_path / "e.sqlite") as store:
        stored = len(campaign().stored(store))
    assert 3 <= stored < len(SLOW)
    assert not any(alive(pid) for pid in squares(tmp_path))
    assert resume(tmp_path) == undisturbed


def test_the_time_limit_ends_in_order(tmp_path: Path, undisturbed: str) -> None:
    with Evidence(tmp_path / "e.sqlite") as store:
        first = dict(campaign().run(store, time_limit=0.0))
        assert first == {}
        outcome = campaign().conclude(store)
        assert (outcome.missing, outcome.wrong, outcome.ok) == (len(SLOW), False, False)
        rounds = 0
        while len(campaign().stored(store)) < len(SLOW):
            before = len(campaign().stored(store))
            for unit, verdict in campaign().run(store, time_limit=2.0 + rounds / 2):
                assert (unit.theorem.startswith("slow"), verdict.status) == (True, Status.PROVED)
            outcome, rounds = campaign().conclude(store), rounds + 1
            assert before <= len(SLOW) - outcome.missing
            assert (
                sum(r.verdict.status is Status.PROVED for r in outcome.results)
                == len(SLOW) - outcome.missing
            )
            assert {r.waiting for r in outcome.results} <= {0, 1}
        assert outcome.ok
        assert store.digest(campaign().units) == undisturbed


def test_a_process_is_replaced_before_it_grows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("proofs_check.running.unit_process._MOST_UNITS", 4)
    made = []
    before = UnitProcess.__init__

    def count(self: UnitProcess, modules: tuple[str, ...]) -> None:
        made.append(self)
        before(self, modules)

    monkeypatch.setattr(UnitProcess, "__init__", count)
    with Evidence(tmp_path / "e.sqlite") as store:
        found = dict(Campaign(SLOW, modules=SYNTHETIC, jobs=1).run(store))
    assert len(found) == len(SLOW)
    assert len(made) == 3


MEMORY = """
import subprocess, sys
held = bytearray(800 * 2**20)
held[:: 4096] = b"x" * len(held[:: 4096])
ask = "from proofs_check.running.unit_process import _most_memory; print(_most_memory())"
subprocess.run([sys.executable, "-c", ask], check=True)
"""


def test_a_process_does_not_count_the_memory_of_the_one_that_started_it() -> None:
    ran = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert 2**20 < int(ran.stdout) < 600 * 2**20


def test_other_code_is_refused(tmp_path: Path) -> None:
    """A source file edited in the middle of a campaign must not sign its verdicts with the
    fingerprint of the old one.
    """
    planned = Campaign(SLOW, modules=SYNTHETIC, jobs=2)
    planned.units = [type(u)(**(vars(u) | {"fingerprint": "0" * 64})) for u in planned.units]
    with (
        Evidence(tmp_path / "e.sqlite") as store,
        pytest.raises(OtherCodeError, match="begin the campaign anew"),
    ):
        list(planned.run(store))


def test_progress_expects_what_was_measured_before() -> None:
    units, now = campaign().units, [0.0]
    progress = Progress(units, {units[0]: 10.0, units[1]: 2.0}, jobs=2, clock=lambda: now[0])
    assert progress.remaining == pytest.approx(
        (12 + 10 * 6) / 2
    )  # the mean of 10 and 2 for the other ten, two at a time
    progress.found(units[1])
    now[0] = 5.0
    progress.advance(units[0], 5.0)  # twice as fast as expected: 10 s of work in 5 s
    assert (progress.done, progress.total, progress.rate) == (2, 12, 0.2)
    assert progress.remaining == pytest.approx(10 * (5 + 2) / 2 * 0.5)
    assert str(progress) == "2 of 12 experiments, 0.2/s, about 0:00:18 left"


def test_usual_seconds_outlive_the_code(tmp_path: Path) -> None:
    units = campaign().units
    older = type(units[0])(**(vars(units[0]) | {"fingerprint": "older", "seed": 5}))
    verdict = Verdict(status=Status.PROVED, grade="counted", scope="x", seconds=7.0)
    with Evidence(tmp_path / "e.sqlite") as store:
        store.put(older, verdict)
        assert store.usual_seconds(units) == {units[0]: 7.0}
