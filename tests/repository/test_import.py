"""What `import approxattn` loads: seen from a fresh interpreter, because this one has loaded
everything.
"""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "sympy",
    "flint",
    "matplotlib",
    "hypothesis",
    "pytest",
    "statsmodels",
    "scipy",
    "cupy",
    "torch",
    "jax",
    "proofs_check",
)


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules a fresh interpreter holds after one statement."""
    code = (
        f"{statement}\n"
        "import json, sys\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    # Our own code.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_import_is_light() -> None:
    loaded = loaded_after("import approxattn")
    assert "approxattn" in loaded
    assert loaded.isdisjoint(HEAVY), (
        f"import approxattn also loads {sorted(loaded.intersection(HEAVY))}"
    )


def test_import_of_the_checks_is_light() -> None:
    """pytest and Hypothesis come in with the functions that need them."""
    loaded = loaded_after("import approxattn.testing")
    assert loaded.isdisjoint(HEAVY)
    assert "hypothesis" in loaded_after("import approxattn.testing as t; t.problems()")


def test_command_line_help_is_light() -> None:
    loaded = loaded_after("import proofs_check.__main__")
    heavy = loaded.intersection(HEAVY) - {"proofs_check"}
    assert not heavy, (
        f"import proofs_check.__main__ also loads {sorted(heavy)}: import it inside the command"
    )


@pytest.mark.parametrize("module", ["scipy", "hypothesis"])
def test_the_probe_sees_a_heavy_import(module: str) -> None:
    assert module in loaded_after(f"import approxattn, {module}")
