"""A store that is damaged, foreign, locked or out of reach: one line, exit status 2, nothing lost.

Every kind of damage meets every command that reads or writes a store.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proofs_check import Status, Verdict
from proofs_check.__main__ import app
from proofs_check.running import database
from proofs_check.running.campaign import Campaign
from proofs_check.running.evidence import Evidence, EvidenceError, Unit

ROOT = Path(__file__).parents[3]
KEY = "controls.count-true"
PROVED = Verdict(status=Status.PROVED, grade="counted", scope="x", seconds=1.0)

COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", KEY, "--jobs", "1"),
    "run --fresh": ("run", KEY, "--jobs", "1", "--fresh"),
    "run --json": ("run", KEY, "--jobs", "1", "--json"),
    "replay": ("replay", KEY),
    "report": ("report", "--format", "junit", "--out", "out"),
    "errata": ("errata", "--out", "errata.md"),
    "pages": ("pages", "--out", "pages"),
    "export": ("export", "table.csv"),
}
READERS = ("replay", "report", "export")
WRITERS = ("errata", "pages")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the controls, each of whose verdicts is there without having been looked for."""
    path = tmp_path_factory.mktemp("whole") / "e.sqlite"
    campaign = Campaign((KEY,))
    with Evidence(path) as store:
        for unit in campaign.units:
            expected = campaign.theorems[unit.theorem].expected
            witness = {"size": 1} if expected is Status.REFUTED else None
            grade = "" if expected is Status.INCONCLUSIVE else "counted"
            status = Status.PROVED if expected is Status.SUPPORTED else expected
            verdict = Verdict(
                status=status, grade=grade, scope="x", witness=witness, note="y", seconds=0.5
            )
            store.put(unit, verdict)
        store.begin(campaign.units)
    return path


@pytest.fixture
def store(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in a folder of its own which is the working folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(whole, tmp_path / "e.sqlite"))


def call(name: str, store: Path) -> Result:
    return CliRunner().invoke(app, [*COMMANDS[name], "--evidence", str(store)])


def refused(result: Result, store: Path) -> str:
    """The one line of a refusal, which names the file and a remedy; with --json it stands on
    standard output too.
    """
    assert result.exit_code == 2, (result.output, result.exception)
    (line,) = result.stderr.splitlines()
    assert result.stdout == "" or json.loads(result.stdout) == {"error": line}
    assert line.startswith(f"error: evidence(={store}) ")
    assert ": " in line.removeprefix("error: ")
    return line


def contents(path: Path) -> bytes:
    """All bytes of a file; of what is none, that it is what it is."""
    return path.read_bytes() if path.is_file() else str(stat.S_IFMT(path.stat().st_mode)).encode()


def sql(*statements: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        db = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            assert db.execute(statement).rowcount != 0, statement
        db.close()

    return damage


def in_verdict(field: str, value: object) -> Callable[[Path], None]:
    """One field of every verdict replaced, the rest as it was."""

    def damage(path: Path) -> None:
        db = sqlite3.connect(path, isolation_level=None)
        for key, text in db.execute("SELECT key, verdict FROM unit").fetchall():
            changed = json.dumps(json.loads(text) | {field: value})
            db.execute("UPDATE unit SET verdict = ? WHERE key = ?", (changed, key))
        db.close()

    return damage


def cut(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return damage


def garbage(path: Path) -> None:
    path.write_bytes(b"no SQLite at all, but long enough to be read as one. " * 99)


def flipped(path: Path) -> None:
    """Page 2 and those that follow, all bits turned over."""
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(255 - b for b in data[4096:]))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def foreign(path: Path) -> None:
    path.unlink()
    sql("CREATE TABLE moz_places (id INTEGER)", "INSERT INTO moz_places VALUES (1)")(path)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "cut": cut(0.7),
    "cut in the first page": cut(0.05),
    "garbage": garbage,
    "bits turned over": flipped,
    "a folder": folder,
    "a pipe": pipe,
    "of another program": foreign,
    "of another program too": sql("CREATE TABLE theirs (id INTEGER)"),
    "a column missing": sql("ALTER TABLE unit DROP COLUMN verdict"),
    "a column more": sql("ALTER TABLE unit ADD COLUMN colour TEXT"),
    "a column of campaigns missing": sql("ALTER TABLE campaign DROP COLUMN environment"),
    "verdicts not JSON": sql("UPDATE unit SET verdict = 'proved'"),
    "verdicts empty": sql("UPDATE unit SET verdict = ''"),
    "verdicts no text": sql("UPDATE unit SET verdict = 7"),
    "verdicts not UTF-8": sql("UPDATE unit SET verdict = CAST(x'ff7b' AS TEXT)"),
    "verdicts a list": sql("UPDATE unit SET verdict = '[1]'"),
    "verdicts deep": sql("UPDATE unit SET verdict = replace(hex(zeroblob(50000)), '0', '[')"),
    "unknown status": in_verdict("status", "plausible"),
    "unknown field": in_verdict("colour", "red"),
    "no scope": in_verdict("scope", ""),
    "scope a number": in_verdict("scope", 3),
    "seconds a word": in_verdict("seconds", "long"),
    "seconds not finite": in_verdict("seconds", {"float": None, "hex": "nan"}),
    "tightness a word": in_verdict("tightness", "tight"),
    "facts a list": in_verdict("facts", [1]),
    "p a word": in_verdict("facts", {"p_support": "small"}),
    "p not a number": in_verdict("facts", {"p_refute": {"float": None, "hex": "nan"}}),
    "array cut": in_verdict("facts", {"x": {"array": {"dtype": "float64", "shape": [2]}}}),
    "fraction by zero": in_verdict("facts", {"x": {"fraction": "1/0"}}),
}

IN_THE_PLAN: dict[str, Callable[[Path], None]] = {
    "plan not JSON": sql("UPDATE campaign SET plan = 'all of them'"),
    "plan a mapping": sql("""UPDATE campaign SET plan = '{"theorem": 1}'"""),
    "plan of numbers": sql("UPDATE campaign SET plan = '[1, 2]'"),
    "unknown field in the plan": sql("""UPDATE campaign SET plan = '[{"colour": "red"}]'"""),
    "experiment a word": sql(
        """UPDATE campaign SET plan = replace(plan, '"experiment":0', '"experiment":"0"')"""
    ),
    "experiment 99": sql(
        """UPDATE campaign SET plan = replace(plan, '"experiment":0', '"experiment":99')"""
    ),
    "experiment -1": sql(
        """UPDATE campaign SET plan = replace(plan, '"experiment":0', '"experiment":-1')"""
    ),
    "unknown theorem": sql(
        "UPDATE campaign SET plan = replace(plan, 'controls.count-true', 'controls.no-such')"
    ),
    "environment not JSON": sql("UPDATE campaign SET environment = 'Linux'"),
    "environment empty": sql("UPDATE campaign SET environment = '{}'"),
    "no versions": sql(
        'UPDATE campaign SET environment = \'{"system":1,"machine":2,"versions":3}\''
    ),
}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in WRITERS])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_store_is_refused_and_left_as_it_is(
    damage: str, command: str, store: Path
) -> None:
    DAMAGE[damage](store)
    before = contents(store)
    result = call(command, store)
    refused(result, store)
    assert contents(store) == before
    assert not Path("table.csv").exists()
    assert not Path("out").exists()


@pytest.mark.parametrize("damage", ["cut", "garbage", "a folder", "verdicts not JSON", "foreign"])
@pytest.mark.parametrize("command", WRITERS)
def test_pages_too(damage: str, command: str, store: Path) -> None:
    """Apart, because they have most verdicts looked for: what is damaged is seen before that."""
    {**DAMAGE, "foreign": foreign}[damage](store)
    if damage == "verdicts not JSON":
        with pytest.raises(EvidenceError), Evidence(store) as evidence:
            evidence.usual_seconds([])
        return
    refused(call(command, store), store)
    assert not Path("errata.md").exists()
    assert not Path("pages").exists()


@pytest.mark.parametrize("command", ["report", "export"])
@pytest.mark.parametrize("damage", IN_THE_PLAN)
def test_a_damaged_plan_is_refused(damage: str, command: str, store: Path) -> None:
    IN_THE_PLAN[damage](store)
    before = contents(store)
    line = refused(call(command, store), store)
    if damage == "experiment 99":
        assert "experiment 99 of controls." in line
    assert contents(store) == before


@pytest.mark.parametrize("command", ["report", "export"])
def test_a_reader_wants_a_store_that_is_there(command: str, tmp_path: Path) -> None:
    """Apart from replay, which carries out what the evidence lacks, and writes nothing."""
    line = refused(call(command, tmp_path / "none.sqlite"), tmp_path / "none.sqlite")
    assert "does not exist" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["report", "export"])
def test_a_store_without_a_campaign_says_so(command: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    assert "holds no campaign" in refused(call(command, empty), empty)
    assert empty.read_bytes() == b""
    with Evidence(empty):
        pass
    assert "holds no campaign" in refused(call(command, empty), empty)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "replay"])
@pytest.mark.parametrize("inner", ["e.sqlite", "folder/e.sqlite"])
def test_a_store_below_a_file(inner: str, command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / inner
    refused(call(command, path), path)


# --- locked ---------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.05)


@pytest.fixture
def locked(store: Path) -> Iterator[Path]:
    """Held so that nobody may read either."""
    db = sqlite3.connect(store, isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    db.execute("DELETE FROM unit WHERE key = ''")
    yield store
    db.close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_that_is_held_for_long_is_refused(command: str, locked: Path) -> None:
    assert "held by another process" in refused(call(command, locked), locked)


@pytest.mark.usefixtures("impatient")
def test_a_writer_does_not_keep_readers_out(store: Path) -> None:
    with Evidence(store) as other:
        other._db.execute("BEGIN IMMEDIATE")
        assert call("export", store).exit_code == 0
        refused(call("run", store), store)


# --- out of reach, and full -----------------------------------------------------------------------
# The tests may run as root, whom permissions do not bind. So SQLite itself is made to say what it
# says on a read-only medium and on a full disk; where the kernel lets us mount one, it is real.


def test_readers_read_what_sqlite_cannot_open_in_place(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a read-only medium: no -shm file can be made beside the store."""
    usual = database._copied

    def refusing(file: Path, path: Path) -> sqlite3.Connection:
        if file == path:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorname = "SQLITE_CANTOPEN"
            raise error
        return usual(file, path)

    expected = call("export", store)
    table = Path("table.csv").read_text()
    monkeypatch.setattr(database, "_copied", refusing)
    for command in READERS:
        assert call(command, store).exit_code == 0
    assert call("export", store).stdout == expected.stdout
    assert Path("table.csv").read_text() == table
    cut(0.7)(store)
    for command in READERS:
        refused(call(command, store), store)


def test_what_a_killed_campaign_wrote_last_is_read(whole: Path, tmp_path: Path) -> None:
    """It stands in the -wal file, also where the store is read from a copy."""
    unit = Unit(theorem="a.b", experiment=0, seed=0, budget="quick", fingerprint="f")
    shutil.copy(whole, tmp_path / "e.sqlite")
    with Evidence(tmp_path / "e.sqlite") as writer:
        writer.put(unit, PROVED)
        killed = tmp_path / "killed"
        killed.mkdir()
        for name in ("e.sqlite", "e.sqlite-wal"):
            shutil.copy(tmp_path / name, killed)
        assert b'"a.b"' not in (killed / "e.sqlite").read_bytes()
    with Evidence(killed / "e.sqlite", copy=True) as reader:
        assert reader.get(unit) == PROVED
    assert database._copied_from_elsewhere(killed / "e.sqlite").execute(
        "SELECT count(*) FROM unit WHERE theorem = 'a.b'"
    ).fetchone() == (1,)


def test_a_store_that_changes_while_it_is_copied_is_not_believed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        usual(source, target)
        with Path(source).open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr("shutil.copyfile", copyfile)
    with pytest.raises(EvidenceError, match="was written to while it was read"):
        database._copied_from_elsewhere(store)


def test_a_copy_leaves_the_file_alone(store: Path) -> None:
    before, units = store.read_bytes(), Campaign((KEY,)).units
    with Evidence(store, copy=True) as copy:
        copy.forget(units)
        copy.put(units[0], PROVED)
        copy.begin(units[:1])
        assert copy.get(units[0]) == PROVED
    assert store.read_bytes() == before
    assert sorted(p.name for p in store.parent.iterdir()) == [store.name]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("SQLITE_FULL", "finds no room on its disk"),
        ("SQLITE_IOERR_WRITE", "cannot be read or written"),
        ("SQLITE_READONLY_DBMOVED", "cannot be written"),
        ("SQLITE_CORRUPT_VTAB", "is damaged"),
        ("SQLITE_BUSY_SNAPSHOT", "is held by another process"),
        ("SQLITE_TOOBIG", "cannot be used"),
        ("", "cannot be used"),
    ],
)
def test_every_error_of_sqlite_is_told(name: str, complaint: str, tmp_path: Path) -> None:
    error = sqlite3.OperationalError("its own words")
    if name:
        error.sqlite_errorname = name
    with pytest.raises(EvidenceError) as caught, database.explained(tmp_path / "e.sqlite"):
        raise error
    assert complaint in str(caught.value)
    assert "its own words" in str(caught.value)


def test_a_full_store_keeps_what_it_holds(store: Path) -> None:
    """SQLite's own word for a full disk, by a limit on the pages."""
    units = Campaign((KEY,)).units
    with Evidence(store) as evidence:
        held = evidence.digest(units)
        evidence._db.execute("PRAGMA max_page_count = 1")
        large = Verdict(status=Status.PROVED, grade="counted", scope="x" * 10**6)
        with pytest.raises(EvidenceError, match="finds no room on its disk"):
            evidence.put(Unit(**(vars(units[0]) | {"seed": 7})), large)
        assert evidence.digest(units) == held
    with Evidence(store) as evidence:
        assert evidence.digest(units) == held


IN_A_NAMESPACE = """
set -e
mkdir mounted out
{mount}
trap 'umount mounted' EXIT
{commands}
"""


def in_a_namespace(folder: Path, mount: str, commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands where something is mounted for them alone; skip where the kernel says no."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare")
    probe = [unshare, "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    script = IN_A_NAMESPACE.format(mount=mount, commands=commands)
    return subprocess.run(
        [unshare, "-rm", "sh", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
    )


def test_a_read_only_mount(store: Path) -> None:
    mount = (
        "mkdir source; mv e.sqlite source; mount --bind source mounted; "
        "mount -o remount,ro,bind mounted"
    )
    program = '"$PYTHON" -m proofs_check'
    readers = "\n".join(
        f"{program} {command} --evidence mounted/e.sqlite >/dev/null"
        for command in (
            f"replay {KEY}",
            "report --format junit --out out",
            "export out/table.csv",
        )
    )
    writer = f"{program} run {KEY} --evidence mounted/e.sqlite || test $? = 2"
    elsewhere = f"{program} export mounted/t.csv --evidence mounted/e.sqlite || test $? = 2"
    done = in_a_namespace(store.parent, mount, f"{readers}\n{writer}\n{elsewhere}")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in Path("out").iterdir()) == ["junit.xml", "table.csv"]
    first, second = done.stderr.splitlines()
    assert "evidence(=mounted/e.sqlite) cannot be" in first
    assert "mounted/t.csv cannot be written (Read-only file system)" in second


def test_a_full_disk(store: Path) -> None:
    """A campaign on a disk without room: one line, and what the store held is still there."""
    mount = "mount -t tmpfs -o size=400k none mounted; cp e.sqlite mounted"
    program = '"$PYTHON" -m proofs_check'
    commands = f"""
    dd if=/dev/zero of=mounted/ballast bs=1k 2>/dev/null || true
    {program} run {KEY} --seed 1 --evidence mounted/e.sqlite || test $? = 2
    {program} export mounted/table.csv --evidence mounted/e.sqlite || test $? = 2
    {program} export out/table.csv --evidence mounted/e.sqlite
    ls mounted >&2
    """
    done = in_a_namespace(store.parent, mount, commands)
    assert done.returncode == 0, done.stderr
    first, second, *names = done.stderr.splitlines()
    assert first.startswith("error: evidence(=mounted/e.sqlite) ")
    assert "mounted/table.csv cannot be written (No space left on device)" in second
    assert "table.csv" not in names
    assert not [name for name in names if name.endswith(".tmp")]
    assert "rows" in done.stdout
