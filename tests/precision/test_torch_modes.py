"""What PyTorch keeps beside its tensors: autocast, the precision of products, the compiler."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cases import Case
from methods import TABLE, Row

import approxattn as aa
from approxattn._arrays import Array, HostArray
from approxattn.transformer import Layer, SelfAttention, Transformer, forward, gradient

torch = pytest.importorskip("torch")


def tokens(n: int = 24, d: int = 4, seed: int = 0) -> list[HostArray]:
    found = np.random.default_rng(seed).standard_normal((4, n, d)).astype(np.float32)
    return [found[0] * 3, *found[1:]]


def model(put: Callable[[HostArray], Array]) -> Transformer:
    w = np.random.default_rng(1).standard_normal((3, 2, 4, 2)).astype(np.float32)
    attention = SelfAttention(wq=put(w[0]), wk=put(w[1]), wv=put(w[2]))
    return Transformer(layers=(Layer(attention=attention),))


def draws() -> np.random.Generator:
    return np.random.default_rng(3)


TAYLOR = aa.Polynomial(degree=4, basis="taylor")

CALLS: dict[str, Callable[..., Any]] = {
    "attention": lambda q, k, v, _g: aa.attention(q, k, v, aa.Exact()).value,
    "attention_vjp": lambda q, k, v, g: aa.attention_vjp(q, k, v, g, aa.Exact()).dk,
    "audit": lambda q, k, v, g: aa.audit(g, q, k, v, rows=5, rng=draws()).errors,
    "diagnose": lambda q, k, v, _g: aa.diagnose(q, k, v, rng=draws()).largest_score,
    "state": lambda _q, k, v, _g: TAYLOR.state(k, v).sums,
    "query": lambda q, k, v, _g: TAYLOR.state(k, v).extend(k, v).query(q).value,
    "tensor": lambda q, k, v, g: aa.tensor_attention(q / 9, k, g, v, v, degree=4).value,
    "forward": lambda q, _k, _v, _g: forward(model(torch.tensor), q, aa.Exact()).value,
    "gradient": lambda q, _k, _v, g: gradient(model(torch.tensor), q, g, aa.Exact()).dx,
}


@contextlib.contextmanager
def autocast(dtype: Any, around: str) -> Iterator[None]:
    """Enter autocast in one of the ways that people do."""
    with contextlib.ExitStack() as stack:
        if around in ("no_grad", "inference_mode"):
            stack.enter_context(getattr(torch, around)())
        if around == "nested":
            stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
        stack.enter_context(torch.autocast("cpu", dtype=dtype))
        yield


@pytest.mark.parametrize("around", ["nothing", "no_grad", "inference_mode", "nested"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", CALLS)
def test_autocast_changes_nothing(name: str, dtype: str, around: str) -> None:
    given = [torch.tensor(x) for x in tokens()]
    plain = CALLS[name](*given)
    with autocast(getattr(torch, dtype), around):
        found = CALLS[name](*given)
        narrowed = given[0] @ given[1].T
        assert narrowed.dtype == getattr(torch, dtype), "autocast is on again after the call"
    assert str(getattr(found, "dtype", "")) == str(getattr(plain, "dtype", ""))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(plain))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("row", [r for r in TABLE if r.every == 1], ids=str)
def test_every_method_under_autocast(row: Row, dtype: str) -> None:
    given = [torch.tensor(x) for x in tokens()[:3]]

    def output() -> Any:
        rng = draws() if row.method.randomised else None
        return aa.attention(*given, row.method, rng=rng)

    plain = output()
    with torch.autocast("cpu", dtype=getattr(torch, dtype)):
        found = output()
    np.testing.assert_array_equal(found.value.numpy(), plain.value.numpy())
    np.testing.assert_array_equal(found.certificate.rows, plain.certificate.rows)


# --- the precision of products --------------------------------------------------------------------


@pytest.fixture
def precision() -> Iterator[Callable[[str], None]]:
    before = torch.get_float32_matmul_precision()
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


METHODS = (
    aa.Exact(),
    TAYLOR,
    aa.Linformer(rank=64, sketch="mean-pool"),
    aa.Clustered(heavy=4, key_blocks=2, query_blocks=2),
)


@pytest.mark.parametrize("mode", ["high", "medium"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_lower_precision_is_in_the_certificate(
    method: Any, mode: str, precision: Callable[[str], None]
) -> None:
    """Some CPUs multiply in bfloat16 then, from 64 tokens and features on."""
    case = Case(name="wide", **dict(zip("qkv", tokens(256, 64)[:3], strict=True)))
    wide = [x.astype(np.float64) for x in (case.q, case.k, case.v)]
    exact = aa.attention(*wide, aa.Exact())
    given = [torch.tensor(x) for x in (case.q, case.k, case.v)]
    plain = aa.attention(*given, method).certificate
    precision(mode)
    out = aa.attention(*given, method)
    errors = np.max(np.abs(out.value.numpy() - exact.value), axis=-1)
    print(f"{mode}: largest error / bound {np.max(errors / out.certificate.rows):.3g}")
    assert (errors <= out.certificate.rows + exact.certificate.rows).all()
    assert (out.certificate.rows > plain.rows).all()
    assert torch.get_float32_matmul_precision() == mode


def in_a_new_process(code: str) -> str:
    """Run Python; return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert "requires_grad=True to a scalar" not in done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "setting",
    [
        "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.set_float32_matmul_precision('medium')",
    ],
)
def test_each_setting_is_read(setting: str) -> None:
    """Older and newer settings must not be mixed in one process, so each has its own."""
    found = in_a_new_process(
        "import torch, approxattn as aa\n"
        "from approxattn._arrays.precision import float32_products\n"
        "x = torch.ones(3, 2); print(float32_products(x))\n"
        f"{setting}\n"
        "print(float32_products(x)); aa.attention(x, x, x, aa.Exact())\n"
    )
    assert found.split() == ["float32", "tf32" if "tf32" in setting else "bfloat16"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_compiled_code_breaks_off_and_agrees() -> None:
    """In a new process: nothing has run before the compiler sees the call."""
    found = in_a_new_process(
        "import approxattn as aa, torch\n"
        "def f(q, k, v, m):\n"
        "    return (aa.attention(q * 2, k, v, m).value + 1).sin().sum()\n"
        "x = torch.linspace(-1, 1, 90, dtype=torch.float64).reshape(3, 10, 3)\n"
        "for m in (aa.Exact(), aa.Polynomial(degree=4, basis='taylor')):\n"
        "    grads = []\n"
        "    for g in (f, torch.compile(f, backend='eager'), torch.compile(f, backend='eager')):\n"
        "        leaves = [y.clone().requires_grad_() for y in x]\n"
        "        value = g(*leaves, m); value.backward()\n"
        "        grads.append([value.detach(), *(y.grad for y in leaves)])\n"
        "    same = [torch.equal(a, b) for two in grads[1:] for a, b in zip(grads[0], two)]\n"
        "    print(all(same))\n"
    )
    assert found.split() == ["True", "True"]
