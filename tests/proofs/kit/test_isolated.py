"""`audit` runs the function in another process: whatever it does there, it never passes by it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from approxattn.testing.calls import Answer, Left, Refused, Trouble, Unusable
from approxattn.testing.conduct import CHECKS, SETTINGS
from proofs_check.kit import isolated
from proofs_check.kit.isolated import TargetError, _Home, check_isolated
from proofs_check.kit.messages import (
    answer_message,
    answer_of,
    packed,
    trouble_message,
    unpacked,
)

ROOT = Path(__file__).parents[3]

RIGHT = """
import ctypes, os, random, signal, sys, threading, time
import numpy as np

def right(q, k, v):
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]).astype(q.dtype)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e @ v / e.sum(axis=-1, keepdims=True)

def says(words):
    # where the answers go
    for place in range(3, 99):
        try:
            while words:
                words = words[os.write(place, words):]
        except OSError:
            continue

def subject(q, k, v):
    {first}
    out = right(q, k, v)
    {then}
    return out
"""

LEAVING = {
    "sys.exit(0)": "SystemExit: 0",
    "raise SystemExit('bye')": "SystemExit: bye",
    "raise KeyboardInterrupt": "it raised KeyboardInterrupt",
    "raise GeneratorExit": "it raised GeneratorExit",
    "raise type('Odd', (BaseException,), {})('x')": "it raised Odd: x",
    "os._exit(0)": "exit status 0",
    "os._exit(3)": "exit status 3",
    "os.kill(os.getpid(), signal.SIGKILL)": "killed by SIGKILL",
    "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)": "its process",
    "ctypes.string_at(0)": "killed by SIGSEGV",
    "os.abort()": "killed by SIGABRT",
    "os.closerange(3, 64)": "its process",
    "threading.Timer(0, os._exit, [0]).start(); time.sleep(5)": "exit status 0",
    "np.array = np.asarray = None": "its process",
    "says(b'{}')": "its process gave an answer that cannot be read",
    "says(b'{}\\n' * 2)": "its process gave an answer that cannot be read",
    "says(bytes(10**6))": "its process gave an answer that cannot be read",
    "says(b'x' * 2**27)": "its process gave an answer that cannot be read",
}
"""What a function does in the place of computing, and what the report says."""

CONDUCT = {
    "print('hello')": "nothing is printed",
    "print('to nobody', file=sys.stderr)": "nothing is printed",
    "os.write(1, b'past Python')": "nothing is printed",
    "print('x' * 300000)": "nothing is printed",
    "np.random.seed(0)": "random numbers of others are kept",
    "np.random.standard_normal()": "random numbers of others are kept",
    "random.random()": "random numbers of others are kept",
    "np.seterr(all='ignore')": "error handling of NumPy is kept",
    "os.chdir('/')": "environment is kept",
    "os.environ['OMP_NUM_THREADS'] = '7'": "environment is kept",
    "q += 1": "inputs are not written to",
    "v[...] = 0": "inputs are not written to",
    "out = np.ma.masked_array(out, mask=False)": "plain arrays are returned",
    "out = np.asmatrix(out) if out.ndim == 2 else out": "plain arrays are returned",
}
"""What a function does after computing, and the one check that must fail for it."""

FEW = (1, 2, 5)
"""Numbers of tokens where those that are tried otherwise show nothing more."""


def write(folder: Path, first: str = "pass", then: str = "pass") -> str:
    """A module in the folder, of a name of its own, and its target."""
    name = f"subject_{abs(hash((folder, first, then)))}"
    (folder / f"{name}.py").write_text(RIGHT.format(first=first, then=then), encoding="utf-8")
    return f"{name}:subject"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_good_function_passes_and_every_check_of_its_conduct_is_made(here: Path) -> None:
    found = check_isolated(write(here))
    assert found.ok, found
    assert all(found[name].held for name in CHECKS)
    assert found.subject.endswith(":subject")


@pytest.mark.parametrize("deed", LEAVING)
def test_to_leave_is_to_fail_every_check(
    deed: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that a refusal passes: to leave is no way to refuse."""
    monkeypatch.setattr(isolated, "_MOST_ENDS", 2)  # processes take long to start
    found = check_isolated(write(here, deed), time_limit=60)
    assert not found.ok
    asked = [f for f in found.findings if f.held is not None and f.name not in CHECKS]
    assert len(asked) >= 15
    assert not any(f.held for f in asked), found
    assert LEAVING[deed] in found["accuracy in float64"].detail, found


def test_to_leave_at_one_input_only_fails_the_check_of_that_input(here: Path) -> None:
    found = check_isolated(write(here, "if np.isnan(k).any(): os._exit(0)"))
    assert [f.name for f in found.findings if f.held is False] == ["NaN does not disappear"]


@pytest.mark.parametrize("deed", ["time.sleep(1e6)", "while True: pass"])
def test_to_hang_is_to_fail_in_time(deed: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is short once the function has been imported, however long that takes here."""
    move_in = _Home.move_in

    def hurry(self: _Home) -> None:
        move_in(self)
        self._left = 0.5

    monkeypatch.setattr(_Home, "move_in", hurry)
    found = check_isolated(write(here, deed), time_limit=600)
    asked = [f for f in found.findings if f.held is not None]
    assert not any(f.held for f in asked), found
    assert all("not finished within 600 s in all" in f.detail for f in asked)


def test_a_function_that_goes_on_ending_processes_is_not_called_for_ever(here: Path) -> None:
    found = check_isolated(write(here, "os._exit(0)"))
    details = [f.detail for f in found.findings if f.held is False]
    assert sum("exit status 0" in detail for detail in details) == 5
    assert sum("not called any more" in detail for detail in details) == len(details) - 5 > 5


@pytest.mark.parametrize("deed", CONDUCT)
def test_conduct_beside_the_numbers_is_found(deed: str, here: Path) -> None:
    found = check_isolated(write(here, then=deed), sizes=FEW)
    assert [f.name for f in found.findings if f.held is False] == [CONDUCT[deed]], found


def test_threads_are_watched(here: Path) -> None:
    """Where the BLAS has more than one to begin with."""
    deed = "import threadpoolctl; threadpoolctl.threadpool_limits(1)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "proofs_check", "audit", write(here, deed)],
        capture_output=True,
        text=True,
        check=False,
        cwd=here,
        env=environment,
    )
    if "from [1" in done.stdout or done.returncode == 0:
        pytest.skip("the BLAS here has one thread only")
    assert re.search("FAILED  numbers of threads are kept: changed from .*2.* to .*1", done.stdout)
    assert "1 of " not in done.stdout.splitlines()[-1]


def test_every_setting_has_a_deed() -> None:
    assert set(CONDUCT.values()) | {"numbers of threads are kept"} == set(CHECKS)
    assert set(SETTINGS) < set(CHECKS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("import os; os._exit(0)", "exit status 0"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os; print('on the way', flush=True); os.kill(os.getpid(), 9)", "'on the way'"),
        ("import time; time.sleep(1e6)", "not finished within 2 s"),
        ("attention = 3", "is no function"),
        ("", "no attribute 'attention'"),
        ("\\0", "cannot be imported"),
    ],
)
def test_without_a_function_there_is_nothing_to_examine(
    text: str, complaint: str, here: Path
) -> None:
    """An import that fails is misuse: it says nothing about attention, neither well nor ill."""
    name = f"module_{abs(hash(text))}"
    (here / f"{name}.py").write_text(text.replace("\\0", "\0"), encoding="utf-8")
    with pytest.raises(TargetError, match="cannot be imported") as caught:
        check_isolated(f"{name}:attention", time_limit=2 if "sleep" in text else 60)
    assert complaint in str(caught.value)


def test_arguments() -> None:
    for target in ("mine", ":f", "mine:", ""):
        with pytest.raises(TargetError, match="must read PACKAGE:FUNCTION"):
            check_isolated(target)
    for limit in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="time_limit"):
            check_isolated("math:sqrt", time_limit=limit)
    with pytest.raises(ValueError, match="--torch"):
        check_isolated("math:sqrt", autograd=True)
    for scale in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="scale"):
            check_isolated("math:sqrt", scale=scale)


def test_an_interrupt_from_the_keyboard_ends_the_audit(here: Path) -> None:
    """Exit status 130, one line, and no process is left behind."""
    deed = f"open({str(here / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(1e6)"
    command = [sys.executable, "-m", "proofs_check", "audit", write(here, deed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=here, env=environment, stderr=subprocess.PIPE, text=True
    )
    while not (here / "pid").exists() or not (here / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    assert process.returncode == 130
    assert errors.strip() == "interrupted"
    assert gone(int((here / "pid").read_text()))


def test_the_function_ends_with_an_examination_that_is_killed(here: Path) -> None:
    deed = f"open({str(here / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(1e6)"
    command = [sys.executable, "-m", "proofs_check", "audit", write(here, deed)]
    process = subprocess.Popen(command, cwd=here, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not (here / "pid").exists() or not (here / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert gone(int((here / "pid").read_text()))


def test_what_the_function_starts_ends_with_it(here: Path) -> None:
    place = str(here / "pid")
    start = "__import__('subprocess').Popen(['sleep', '600']).pid"
    deed = f"os.path.exists({place!r}) or open({place!r}, 'w').write(str({start}))"
    check_isolated(write(here, deed))
    assert gone(int((here / "pid").read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends within ten seconds; a dead one that nobody has buried counts."""
    for _ in range(200):
        status = Path(f"/proc/{pid}/status")
        try:
            os.kill(pid, 0)
            if status.exists() and "\nState:\tZ" in status.read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


# --- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        np.array([[1.5, np.nan], [-0.0, np.inf]]),
        np.zeros((0, 3), np.float32),
        np.array([True, False]),
        np.array(3 + 4j),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ],
)
def test_arrays_arrive_to_the_last_bit(x: np.ndarray) -> None:
    (back,) = answer_of(unpacked(packed(answer_message(Answer(outputs=(x,)))))).outputs
    assert (back.dtype, back.shape, back.tobytes()) == (x.dtype, x.shape, x.tobytes())


@pytest.mark.parametrize("kind", [Refused, Unusable, Left])
def test_troubles_arrive(kind: type[Trouble]) -> None:
    sent = kind("what it said, é", [("nothing is printed", "'x'")])
    with pytest.raises(kind, match="what it said, é") as caught:
        answer_of(unpacked(packed(trouble_message(sent))))
    assert caught.value.misdeeds == sent.misdeeds


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not JSON",
        b"[]",
        b"{}",
        b'{"misdeeds": []}',
        b'{"misdeeds": [], "outputs": []}',
        b'{"misdeeds": [], "outputs": ["x"]}',
        b'{"misdeeds": [], "trouble": "SystemExit", "text": ""}',
        b'{"misdeeds": [], "outputs": [{"dtype": "<f8", "shape": [2], "data": ""}]}',
        b'{"misdeeds": [], "outputs": [{"dtype": "|O", "shape": [1], "data": "AAAAAAAAAAA="}]}',
        b'{"misdeeds": [], "outputs": [{"dtype": "<f8", "shape": [-1], "data": ""}]}',
    ],
)
def test_nothing_else_is_an_answer(data: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        answer_of(unpacked(data))
