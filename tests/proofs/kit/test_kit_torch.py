"""The kit on functions of torch tensors; skipped where torch is not installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proofs_check.__main__ import app
from proofs_check.kit import check_attention

torch: Any = pytest.importorskip("torch")


def sdpa(q: Any, k: Any, v: Any, *, is_causal: bool = False, key_mask: Any = None) -> Any:
    mask = None if key_mask is None else key_mask[None, :]
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=is_causal
    )


def test_attention_of_torch_passes_with_its_gradients() -> None:
    found = check_attention(sdpa, framework="torch", leading=2, gradient="autograd")
    assert found.ok, found
    not_asked = [finding.name for finding in found.findings if finding.held is None]
    forms = ["query offset", "window agrees with softmax", "keys beyond the window"]
    assert not_asked == [*forms, "packed sequences"], "the function has no such keywords"


def test_a_detached_part_shows_in_the_gradient_alone() -> None:
    def detached(q: Any, k: Any, v: Any) -> Any:
        return sdpa(q, k.detach() + 0 * k, v)

    found = check_attention(detached, framework="torch", gradient="autograd")
    assert [f.name for f in found.findings if f.held is False] == [
        "dk is the derivative",
        "gradient dk",
    ]


def test_wrong_dtype_and_writes_are_found() -> None:
    def single(q: Any, k: Any, v: Any) -> Any:
        return sdpa(q.float(), k.float(), v.float())

    def writes(q: Any, k: Any, v: Any) -> Any:
        return sdpa(q.mul_(0.5).mul_(2.0).add_(1e-9), k, v)

    assert check_attention(single, framework="torch")["dtype is kept"].held is False
    assert check_attention(writes, framework="torch")["inputs are not written to"].held is False


MODULE = """
import torch

def good(q, k, v, *, is_causal=False):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal)

def detached(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k.detach() + 0 * k, v)

def leaves(q, k, v):
    import os
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [("good", 0, "checks held"), ("detached", 1, "gradient dk"), ("leaves", 1, "exit status 0")],
)
def test_the_command_examines_torch_in_a_process_of_its_own(
    name: str, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    options = ["--torch", "--leading", "2", "--autograd"]
    done = CliRunner().invoke(app, ["audit", f"mine:{name}", *options])
    assert done.exit_code == status, done.output
    assert said in done.output


def test_the_example_runs_on_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parents[3] / "examples" / "audit_peers.py"
    spec = importlib.util.spec_from_file_location("audit_peers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit_peers"] = module
    spec.loader.exec_module(module)
    module.main(["torch", "--markdown"])
    printed = capsys.readouterr().out
    assert "scaled_dot_product_attention | 36 of 36 | - |" in printed
