"""What an installation has: libraries, BLAS and threads, devices, extras; and whether it
computes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Mapping

from threadpoolctl import threadpool_info

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "plot": ("matplotlib",),
    "torch": ("torch",),
    "transformers": ("torch", "transformers"),
    "jax": ("jax",),
    "gpu": ("cupy",),
    "distributed": ("dask", "distributed"),
    "testing": ("hypothesis", "pytest"),
    "verify": ("flint", "hypothesis", "jinja2", "matplotlib", "rich", "sympy", "typer"),
}
"""Modules that each extra of the package brings."""

_LIBRARIES = ("numpy", "scipy", "array-api-compat", "threadpoolctl")

_DEVICES = {
    "torch": "import torch; print(torch.cuda.device_count())",
    "cupy": "import cupy; print(cupy.cuda.runtime.getDeviceCount())",
    "jax": "import jax; print(sum(d.platform == 'gpu' for d in jax.devices()))",
}

_TRIAL = """
import numpy as np, approxattn as aa
q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 300, 8))
out, exact = (aa.attention(q, k, v, m) for m in (aa.Polynomial(degree=6), aa.Exact()))
error = np.max(np.abs(out.value - exact.value), axis=-1)
print(bool(np.all(error <= out.certificate.rows + exact.certificate.rows)))
"""


def examination() -> dict[str, dict[str, str]]:
    """Return what is found, by section: name and value.

    Libraries with devices are asked in processes of their own: nothing is loaded into this one.
    """
    return {
        "system": {
            "approxattn": importlib.metadata.version("approxattn"),
            "Python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        },
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "BLAS and threads": _blas(),
        "devices": {name: _devices(name, code) for name, code in _DEVICES.items()},
        "extras": {name: _extra(modules) for name, modules in EXTRAS.items()},
        "trial": {"a certificate that holds": _trial()},
    }


def _blas() -> dict[str, str]:
    import scipy.linalg  # noqa: F401 - loads its BLAS, to be seen below

    found = {
        f"{x['internal_api']} {x['version']}": f"{_threads(x['num_threads'])}, {x['user_api']}"
        for x in threadpool_info()
    }
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**found, **{name: os.environ[name] for name in limits if name in os.environ}}


def _threads(count: int) -> str:
    return f"{count} thread" + ("" if count == 1 else "s")


def _devices(module: str, code: str) -> str:
    if importlib.util.find_spec(module) is None:
        return "not installed"
    status, found = _run(code)
    return f"{found} on a GPU" if status == 0 else f"does not load: {found}"


def _extra(modules: tuple[str, ...]) -> str:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"without {', '.join(missing)}" if missing else "complete"


def _trial() -> str:
    status, found = _run(_TRIAL)
    return {(0, "True"): "yes", (0, "False"): "NO"}.get((status, found), f"fails: {found}")


def _run(code: str) -> tuple[int, str]:
    """Run code in a fresh interpreter; return its status and the last line that it wrote."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
        )
    except subprocess.TimeoutExpired:
        return 1, "no answer in two minutes"
    lines = (done.stdout if done.returncode == 0 else done.stderr).split("\n")
    return done.returncode, next((line for line in reversed(lines) if line.strip()), "nothing")


def told(found: Mapping[str, Mapping[str, str]]) -> str:
    """Return the examination as lines for a terminal."""
    width = max(len(name) for rows in found.values() for name in rows)
    lines = []
    for section, rows in found.items():
        lines.append(section)
        lines += [f"  {name:<{width}}  {value}" for name, value in rows.items()]
    return "\n".join(lines)
