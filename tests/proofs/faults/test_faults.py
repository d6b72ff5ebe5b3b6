"""Deliberate faults: the list is up to date, faults of all kinds are caught in processes of their
own, and the code as it is raises no alarm.
"""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proofs_check.__main__ import app
from proofs_check.catalogue import theorem
from proofs_check.faults import depends
from proofs_check.faults.checks import FUNCTIONS, complaints
from proofs_check.faults.checks.suite import failing_tests, file_of
from proofs_check.faults.depends import CONTROL, control_names, digest_of
from proofs_check.faults.fault import KINDS, Fault, StaleFaultError
from proofs_check.faults.listed import FAULTS, REASONS
from proofs_check.faults.run import FORM, Outcome, chosen, gathered, run
from proofs_check.faults.worker import answer
from proofs_check.hunt.store import Store
from proofs_check.report.faults import markdown

QUICK = (
    "collision.joint-sign",
    "concentration.bernstein",
    "minimax.interval-down",
    "audit.marked",
    "state.scale",
    "features.causal-diagonal",
    "nystrom.skew",
    "chebyshev.first-omitted",
    "promise.of-infinity",
)


def test_the_list_is_up_to_date() -> None:
    """Every text occurs exactly once, and what stands in its place is Python."""
    for fault in FAULTS.values():
        compile(fault.faulted_source(), fault.key, "exec")
    assert len(FAULTS) >= 100
    assert {fault.kind for fault in FAULTS.values()} == set(KINDS)
    assert len(
        {(fault.module, fault.function, fault.text, fault.wrong) for fault in FAULTS.values()}
    ) == len(FAULTS)
    assert set(REASONS) <= set(FAULTS)


def test_formatting_makes_no_fault_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source in another layout, without a comment, gives the same faulted code."""
    fault = FAULTS["softmax.kappa-sign"]
    before = fault.faulted_source()
    other = tmp_path / "other.py"
    other.write_text(
        ast.unparse(ast.parse(fault.path().read_text(encoding="utf-8"))), encoding="utf-8"
    )
    monkeypatch.setattr(Fault, "path", lambda _: other)
    assert other.read_text(encoding="utf-8") != before
    assert fault.faulted_source() == before


def test_every_check_exists() -> None:
    """A name is that of a function, of tests, or of a claim."""
    for name in {name for fault in FAULTS.values() for name in fault.checks}:
        if name.startswith("tests/"):
            _, _, function = name.partition("::")
            assert f"def {function or 'test_'}" in file_of(name).read_text(encoding="utf-8"), name
        else:
            assert name in FUNCTIONS or theorem(name)
    assert set(FUNCTIONS) <= {name for fault in FAULTS.values() for name in fault.checks}


def test_a_stale_fault_says_so() -> None:
    """Text that is not there, or there twice, is an error that names the remedy."""
    fault = FAULTS["softmax.kappa-sign"]
    for text in ("no such text", "problem"):
        with pytest.raises(StaleFaultError, match="stale, bring it up to date"):
            replace(fault, text=text).faulted_source()
    with pytest.raises(StaleFaultError, match=r"no function 'Nobody\.nothing'"):
        replace(fault, function="Nobody.nothing").faulted_source()
    with pytest.raises(StaleFaultError):
        replace(fault, module="approxattn.nothing").faulted_source()
    with pytest.raises(ValueError, match="a fault changes something"):
        replace(fault, wrong=fault.text)
    with pytest.raises(ValueError, match="must be one of"):
        replace(fault, kind="typo")


@pytest.mark.parametrize(
    "name",
    [
        "exponential.bounds",
        "hashing.probabilities",
        "hashing.concentration",
        "audit.coverage",
        "low-rank.slopes",
        "polynomial.state",
        "calls.float16",
    ],
)
def test_no_alarm_without_a_fault(name: str) -> None:
    """Checks have nothing to say about the code as it is."""
    assert list(complaints(name)) == []


def test_a_test_that_fails_is_a_complaint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that passes is none, and where no test ran nothing was found."""
    monkeypatch.setattr("proofs_check.faults.checks.suite.ROOT", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(
        "def test_good():\n    pass\n\n\ndef test_bad():\n    assert 1 == 2\n"
    )
    (tmp_path / "tests" / "test_b.py").write_text("import nowhere_at_all\n")
    (said,) = failing_tests("tests/test_a.py")
    assert "test_a.py::test_bad" in said
    assert not list(failing_tests("tests/test_a.py::test_good"))
    assert not list(failing_tests("tests/test_a.py -k 'good and not bad'"))
    assert not list(failing_tests("tests/test_a.py -k nobody"))
    assert not list(failing_tests("tests/test_absent.py"))
    assert "nowhere_at_all" in next(failing_tests("tests/test_b.py"))


def test_faults_are_caught() -> None:
    """Nine of different kinds, by the checks meant for them."""
    found = list(run(QUICK, jobs=2, control=False))
    assert {o.key for o in found} == set(QUICK)
    assert len({FAULTS[key].kind for key in QUICK}) >= 6
    for o in found:
        assert o.caught, o
        assert o.check in FAULTS[o.key].checks


def outcome(key: str, check: str = "", complaint: str = "") -> Outcome:
    return Outcome(key=key, check=check, complaint=complaint, seconds=0.1)


CLEAN = [outcome(name) for name in control_names()]


def test_a_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are kept for the very code that gave them; what had no answer is asked again."""
    asked: list[str] = []

    def told(name: str, _: float) -> Outcome:
        asked.append(name)
        return outcome(name, complaint="not finished") if name == QUICK[0] else outcome(name, "x")

    monkeypatch.setattr("proofs_check.faults.run._one", told)
    for again in (QUICK[:3], [QUICK[0]], [QUICK[0], QUICK[3]]):
        asked.clear()
        with Store(tmp_path / "s.jsonl", FORM) as store:
            keys = QUICK[:3] if QUICK[3] not in again else QUICK[:4]
            found = list(run(keys, control=False, store=store))
        assert asked == list(again)
        assert {o.key for o in found} == set(keys)
    monkeypatch.setattr("proofs_check.faults.depends._packages", lambda: b"other code")
    asked.clear()
    with Store(tmp_path / "s.jsonl", FORM) as store:
        list(run(QUICK[:3], control=False, store=store))
    assert asked == list(QUICK[:3])


def test_what_an_outcome_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own checks and all code outside of the checks."""
    names = ("collision.bits", "audit.marked", f"{CONTROL}:hashing.probabilities", "settings.flags")
    before = [digest_of(name) for name in names]
    content = depends._content

    def other(path: Path) -> bytes:
        return b"other" if path.name in ("hashing.py", "test_messages.py") else content(path)

    monkeypatch.setattr(depends, "_content", other)
    changed = [old != digest_of(name) for old, name in zip(before, names, strict=True)]
    assert changed == [True, False, True, True]
    monkeypatch.setitem(FAULTS, "audit.marked", replace(FAULTS["audit.marked"], kind="leak"))
    assert digest_of("audit.marked") != before[1]


def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("hello\n")
    done = CliRunner().invoke(app, ["faults", QUICK[0], "--store", str(tmp_path / "s")])
    assert done.exit_code == 2
    assert "no record of" in done.stderr


def test_the_control_is_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs on the code as it is; one that is missing, complains or does not end spoils it."""
    good = [outcome(key, "x", "y") for key in QUICK]
    assert {name.partition(":")[2] for name in control_names()} == {
        check for fault in FAULTS.values() for check in fault.checks
    }
    assert not gathered([*good, *CLEAN[1:]]).ok
    slow = replace(CLEAN[3], complaint="not finished within 600 s")
    assert slow.key.partition(":")[2] in gathered([*good, *CLEAN[:3], slow, *CLEAN[4:]]).summary
    monkeypatch.setattr("proofs_check.faults.checks.FUNCTIONS", {})
    assert answer(f"{CONTROL}:exponential.degrees")["check"] == "exponential.degrees"


def test_shares_and_page() -> None:
    """A survivor lowers the share, a false alarm or an unfinished control spoils the whole."""
    good = [outcome(key, "x", "y") for key in QUICK]
    assert gathered([*good, *CLEAN]).ok
    assert not gathered(good).ok
    alarm = replace(CLEAN[0], check="exact.long", complaint="alarm")
    assert not gathered([*good, alarm, *CLEAN[1:]]).ok
    lost = gathered([outcome(QUICK[0]), *good[1:], *CLEAN])
    assert lost.share == 8 / 9
    assert not lost.ok
    page = markdown(lost)
    assert "8 of 9" in page
    assert f"- `{QUICK[0]}`" in page


def test_groups_and_unknown_keys() -> None:
    """A key that ends in a dot stands for a group."""
    assert set(chosen(["audit."])) == {key for key in FAULTS if key.startswith("audit.")}
    assert chosen([]) == tuple(FAULTS)
    with pytest.raises(KeyError, match="no fault"):
        chosen(["audit.nothing"])


def test_command() -> None:
    """JSON of one fault; misuse has exit status 2."""
    done = CliRunner().invoke(app, ["faults", "collision.bits", "--json", "--no-control"])
    data = json.loads(done.stdout)
    assert data["faults"][0]["check"] == "hashing.probabilities"
    assert done.exit_code == 1  # without the control nothing is certain
    assert CliRunner().invoke(app, ["faults", "nothing"]).exit_code == 2


def test_module_that_no_check_loads() -> None:
    """A fault in a module that its checks never import is not caught, and says why."""
    assert isinstance(FAULTS["audit.marked"], Fault)
    from proofs_check.faults.worker import FaultedFinder

    finder = FaultedFinder(FAULTS["audit.marked"])
    assert finder.find_spec("approxattn.audit") is None
    assert not finder.loaded
