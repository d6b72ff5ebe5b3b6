"""What stands in the pages as something to type can be typed: Python blocks run, commands exist and
have the options that are written, and those that take a moment run.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import approxattn as aa
from approxattn.__main__ import _parser
from proofs_check.__main__ import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name != "changelog.md"),
    *sorted((ROOT / "docs" / "theory").glob("*.md")),
]
ELSEWHERE = {"docs/torch.md", "docs/jax.md"}
"""Pages whose Python blocks run in tests/frontends/test_torch_pages.py."""


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def python_blocks(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(page: str, block: str, names: dict) -> dict:
    exec(compile(block, page, "exec"), names)  # noqa: S102 - our own page
    return names


def written(folder: Path, n: int = 64, d: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {name: rng.uniform(-1, 1, (n, d)).astype(np.float32) for name in "qkv"}
    for name, x in found.items():
        np.save(folder / f"{name}.npy", x)
    return found


def test_readme_model() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from hugging_face_models import VOCABULARY, make

    (block,) = python_blocks("README.md")
    ids = torch.randint(1, VOCABULARY, (1, 16))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    names = run("README.md", block, {"model": make("bert"), "batch": batch})
    assert names["found"].recommended


def test_plan_of_a_model() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from hugging_face_models import VOCABULARY, make

    (block,) = python_blocks("docs/plans.md")
    text, other = (
        {"input_ids": torch.randint(1, VOCABULARY, (1, 16)), "attention_mask": torch.ones(1, 16)}
        for _ in range(2)
    )
    given = {"model": make("bert"), "text": text, "another_text": other, "numpy": np}
    assert run("docs/plans.md", block, given)["found"] is not None


def test_progress_that_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)  # tests share one
    (block,) = python_blocks("docs/results.md")
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 64, 8))
    run("docs/results.md", block, {"aa": aa, "q": q, "k": k, "v": v})


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tokens = written(tmp_path)
    np.save("dout.npy", tokens["v"])
    files, lazy, gradient = python_blocks("docs/distributed.md")
    names = run("docs/distributed.md", files, {})
    right = aa.attention(*tokens.values(), aa.Exact()).value
    assert float(np.max(np.abs(names["out"].value - right))) <= names["out"].bound
    run("docs/distributed.md", gradient, names)
    assert names["grads"].dk.shape == (64, 8)
    array, zarr = pytest.importorskip("dask.array"), pytest.importorskip("zarr")
    for name, x in tokens.items():
        array.from_array(x, chunks=(32, 8)).to_zarr(f"{name}.zarr")
    run("docs/distributed.md", lazy, names)
    assert zarr.open("o.zarr", mode="r").shape == (64, 8)


def test_checks_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")

    def linear(q, k, v):
        weights = (1 + (q @ k.swapaxes(-1, -2)) / np.sqrt(q.shape[-1]) / 4) ** 2
        return weights @ v / weights.sum(axis=-1, keepdims=True)

    mine = ModuleType("mypackage")
    vars(mine).update(flash=torch.nn.functional.scaled_dot_product_attention, linear=linear)
    monkeypatch.setitem(sys.modules, "mypackage", mine)
    table, law = python_blocks("docs/testing.md")
    names = run("docs/testing.md", table, {})
    assert names["test_attention"].pytestmark[0].name == "parametrize"
    names = run("docs/testing.md", law, {"cubic": linear})
    names["test_output_lies_among_the_values"]()


def test_no_page_has_python_that_no_test_runs() -> None:
    having = {named(page) for page in PAGES if python_blocks(named(page))}
    here = {"README.md", *(f"docs/{x}.md" for x in ("distributed", "plans", "results", "testing"))}
    assert having == here | ELSEWHERE


# --- commands -------------------------------------------------------------------------------------

FIRST = re.compile(
    r"(?:\$ )?(?:\.venv/bin/)?(?:python -m )?(proofs_check|approxattn(?:\.testing)?|\./run\.sh)\s"
)


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of a page, in blocks, indented or in backticks, as words."""
    text = page.read_text(encoding="utf-8")
    pieces = re.findall(r"`([^`\n]+)`", text)
    pieces += [line for line in text.splitlines() if FIRST.match(line.strip())]
    for piece in pieces:
        found = FIRST.match(piece.strip() + " ")
        if found and piece.strip() != found.group().strip():
            rest = piece.strip()[found.end() :].split("  #")[0].split(" #")[0]
            yield [found.group(1), *shlex.split(rest)]


COMMANDS = sorted({tuple(words) for page in PAGES for words in commands(page)})


def options_of_proofs_check(name: str) -> set[str]:
    import typer

    command = typer.main.get_group(app).commands[name]
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}


def options_of_approxattn(name: str) -> set[str]:
    (subparsers,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    return set(subparsers.choices[name]._option_string_actions)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_exist_with_their_options(words: tuple[str, ...]) -> None:
    program, name, *rest = (*words, "")
    asked = {word.split("=")[0] for word in rest if word.startswith("--")}
    if name.startswith("--"):
        assert name in {"--version", "--help", "--install-completion", "--attention"}
    elif program == "proofs_check":
        assert asked <= options_of_proofs_check(name)
    elif program == "approxattn":
        assert asked <= options_of_approxattn(name)
    elif program == "./run.sh":
        usage = (ROOT / "run.sh").read_text(encoding="utf-8")
        assert re.search(rf"^  {name} ", usage, re.MULTILINE)
        if name == "bench" and rest[0]:
            assert f"bench {rest[0]}:" in usage


def test_there_are_commands_and_a_wrong_one_is_noticed() -> None:
    assert len(COMMANDS) > 20
    with pytest.raises(AssertionError):
        test_commands_exist_with_their_options(("proofs_check", "run", "--never"))
    with pytest.raises(KeyError):
        test_commands_exist_with_their_options(("proofs_check", "never"))


def test_the_command_for_files_runs(tmp_path: Path) -> None:
    written(tmp_path)
    (words,) = {words for words in COMMANDS if words[:2] == ("approxattn", "attend") and words[3:]}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "o.npy").shape == (64, 8)


def test_every_script_that_a_page_names_is_there() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for script in re.findall(r"python ((?:examples|benchmarks)/\S+\.py)", text):
            assert (ROOT / script).is_file(), (page, script)
    for module in re.findall(r"python -m ([a-z_.]+)", "".join(p.read_text() for p in PAGES)):
        assert importlib.util.find_spec(module) is not None, module
