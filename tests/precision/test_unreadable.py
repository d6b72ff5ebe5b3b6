"""Arrays that cannot be read: each is refused by name, with a remedy that can be taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import Array

EXACT = aa.Exact()


def output(x: Array) -> Array:
    return aa.attention(x, x, x, EXACT).value


def total(x: Array) -> Array:
    return output(x).sum()


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">f2", ">i4"])
def test_bytes_in_the_other_order(dtype: str) -> None:
    x = np.arange(10.0).reshape(5, 2).astype(dtype)
    with pytest.raises(TypeError, match="bytes are in the other order") as caught:
        output(x)
    assert str(caught.value).endswith('pass q.astype(q.dtype.newbyteorder("="))')
    assert output(x.astype(x.dtype.newbyteorder("="))).shape == (5, 2)


def test_an_output_to_audit_in_the_other_order() -> None:
    x = np.arange(10.0).reshape(5, 2)
    with pytest.raises(TypeError, match=r"value has dtype >f8.*value.astype"):
        aa.audit(output(x).astype(">f8"), x, x, x, rows=2, rng=np.random.default_rng(0))


def test_dask() -> None:
    array = pytest.importorskip("dask.array")
    x = array.ones((5, 2))
    with pytest.raises(TypeError, match=r"approxattn\.dask.attention .*compute\(\) it"):
        output(x)


def traced_by_jax() -> dict[str, Callable[[Any], Any]]:
    jax = pytest.importorskip("jax")
    return {"jit": jax.jit(output), "grad": jax.grad(total), "vmap": jax.vmap(output)}


@pytest.mark.parametrize("kind", ["jit", "grad", "vmap"])
def test_tracers_of_jax(kind: str) -> None:
    jax = pytest.importorskip("jax")
    x = jax.numpy.ones((3, 5, 2))
    with pytest.raises(TypeError, match=r"tracer of JAX.*approxattn\.attention_vjp"):
        traced_by_jax()[kind](x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("kind", ["vmap", "grad", "jvp", "jacrev"])
def test_transforms_of_torch(kind: str) -> None:
    torch = pytest.importorskip("torch")
    x, func = torch.ones(3, 5, 2), torch.func
    calls = {
        "vmap": lambda: torch.vmap(output)(x),
        "grad": lambda: func.grad(total)(x),
        "jvp": lambda: func.jvp(total, (x,), (x,)),
        "jacrev": lambda: func.jacrev(total)(x),
    }
    with pytest.raises(TypeError, match=r"torch\.func.*approxattn\.attention_vjp"):
        calls[kind]()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_of_torch() -> None:
    torch = pytest.importorskip("torch")
    forward = torch.autograd.forward_ad
    with forward.dual_level():
        assert output(torch.ones(5, 2)).shape == (5, 2)  # without a tangent
        x = forward.make_dual(torch.ones(5, 2), torch.ones(5, 2))
        with pytest.raises(TypeError, match=r"tangent.*approxattn\.attention_vjp"):
            output(x)


def test_tensors_without_plain_numbers() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"layout.*q\.to_dense\(\)"):
        output(torch.ones(5, 2).to_sparse())
    with pytest.raises(TypeError, match="device meta"):
        output(torch.ones(5, 2, device="meta"))
