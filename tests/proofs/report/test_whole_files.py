"""Files of the report are written whole or not at all, wherever they go."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from approxattn.whole_files import (
    NotWrittenError,
    check_place,
    make_folder,
    whole_file,
    write_text,
)
from proofs_check.__main__ import app
from proofs_check.running.campaign import Campaign
from proofs_check.running.evidence import Evidence


def test_a_text_arrives_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é ≤\n")
    write_text(tmp_path / "a.txt", "ü \ud800\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "ü \\ud800\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_stood_there_stays_when_it_does_not_come_to_the_end(
    error: BaseException, tmp_path: Path
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    kind = NotWrittenError if isinstance(error, OSError) else KeyboardInterrupt

    def write_half() -> None:
        with whole_file(target) as file:
            file.write_text("half of the ne")
            raise error

    with pytest.raises(kind):
        write_half()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_mode_and_links_are_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "a.txt", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("a.txt")
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    umask = os.umask(0o027)
    try:
        write_text(tmp_path / "b.txt", "x")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "b.txt").stat().st_mode) == 0o640


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_is_written_to_and_not_replaced() -> None:
    write_text("/dev/null", "x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(NotWrittenError, match=r"/dev/full cannot be written \(No space left"):
        write_text("/dev/full", "x")


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * 255), "x")
    with pytest.raises(NotWrittenError, match="File name too long"):
        write_text(tmp_path / ("x" * 256), "x")


PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a folder": (lambda folder: folder, "name a file in it"),
    "below a file": (lambda folder: folder / "file" / "a", "name a folder where"),
    "in no folder": (lambda folder: folder / "none" / "a", "make its folder first"),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_trouble_names_the_place_and_a_remedy(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    find, remedy = PLACES[place]
    with pytest.raises(NotWrittenError, match=remedy) as caught:
        write_text(find(tmp_path), "x")
    assert str(find(tmp_path)) in str(caught.value)


@pytest.mark.parametrize("inner", ["", "deeper", "deeper/still"])
def test_a_folder_in_the_place_of_a_file(inner: str, tmp_path: Path) -> None:
    assert make_folder(tmp_path / "new" / inner).is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(NotWrittenError, match="name a folder where a folder is needed"):
        make_folder(tmp_path / "file" / inner)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_is_judged_before_the_work(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    find, remedy = PLACES[place]
    with pytest.raises(NotWrittenError, match=remedy) as caught:
        check_place(find(tmp_path))
    assert str(find(tmp_path)) in str(caught.value)
    for good in (tmp_path / "file", tmp_path / "new", Path(os.devnull)):
        check_place(good)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]


# --- the commands ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of which nothing has been carried out."""
    path = tmp_path_factory.mktemp("store") / "e.sqlite"
    with Evidence(path) as evidence:
        evidence.begin(Campaign(("controls.count-true",)).units)
    return path


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("report", "--format", "md", "--out", "file"), "file cannot be written (Not a directory)"),
        (("report", "--format", "md", "--out", "file/x"), "cannot be written (Not a directory)"),
        (("report", "--format", "md", "--out", "odd"), "report.md cannot be written (Is a dir"),
        (("export", "folder.csv"), "folder.csv cannot be written (Is a directory)"),
        (("export", "none/t.csv"), "none/t.csv cannot be written (No such file"),
        (("export", "file/t.csv"), "file/t.csv cannot be written (Not a directory)"),
        (("export", "file"), "must end in .csv or .parquet"),
    ],
)
def test_a_place_that_cannot_be_written_is_misuse(
    arguments: tuple[str, ...],
    complaint: str,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "odd" / "report.md").mkdir(parents=True)
    result = CliRunner().invoke(app, [*arguments, "--evidence", str(store)])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert complaint in line
    assert (tmp_path / "file").read_text() == "mine"
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "--format", "md", "--format", "junit", "--out", "."),
        ("export", "table.csv"),
    ],
)
def test_the_old_report_stays_when_the_disk_is_full(
    arguments: tuple[str, ...], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("report.md", "junit.xml", "table.csv")
    for name in names:
        (tmp_path / name).write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = CliRunner().invoke(app, [*arguments, "--evidence", str(store)])
    assert result.exit_code == 2, result.output
    assert "cannot be written (No space left on device): make room" in result.stderr
    assert [(tmp_path / name).read_text() for name in names] == ["old"] * 3
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize(
    ("arguments", "work"),
    [
        (("report", "--format", "html", "--out", "file"), "proofs_check.report.web_page.measured"),
        (("report", "--format", "html", "--out", "odd"), "proofs_check.report.web_page.measured"),
        (("errata", "--out", "none/e.md"), "proofs_check.commands.pages._checked"),
        (("pages", "--out", "file"), "proofs_check.commands.pages._checked"),
        (("faults", "--out", "none/f.md"), "proofs_check.faults.run.run"),
    ],
)
def test_the_place_is_looked_at_before_the_work(
    arguments: tuple[str, ...],
    work: str,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "odd" / "index.html").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    done: list[str] = []
    monkeypatch.setattr(work, lambda *_, **__: done.append(work))
    evidence = () if arguments[0] == "faults" else ("--evidence", str(store))
    result = CliRunner().invoke(app, [*arguments, *evidence])
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    assert not done
