"""`approxattn doctor`: what is installed, told rightly, and nothing loaded for it."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from approxattn import doctor
from approxattn.__main__ import main


def test_it_names_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert np.__version__ in text
    assert "a certificate that holds" in text
    assert text.rstrip().endswith("yes")


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["libraries"]["numpy"] == np.__version__
    assert found["extras"]["verify"] == "complete"
    assert set(found["devices"]) == {"torch", "cupy", "jax"}


def test_extras_are_those_of_the_package() -> None:
    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(doctor.EXTRAS) <= set(project["optional-dependencies"])


def test_what_is_missing_or_broken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor._DEVICES, "json", "raise ImportError('no driver')")
    monkeypatch.setitem(doctor._DEVICES, "no_such_module", "")
    monkeypatch.setattr(doctor, "_TRIAL", "print(False)")
    monkeypatch.setattr(doctor, "EXTRAS", {"some": ("json", "no_such_module")})
    found = doctor.examination()
    assert found["devices"]["json"] == "does not load: ImportError: no driver"
    assert found["devices"]["no_such_module"] == "not installed"
    assert found["extras"]["some"] == "without no_such_module"
    assert found["trial"]["a certificate that holds"] == "NO"


def test_a_trial_that_does_not_hold_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_TRIAL", "print(False)")
    assert main(["doctor"]) == 1


def test_nothing_heavy_is_loaded() -> None:
    code = "import sys, approxattn.doctor as d; d.examination(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
