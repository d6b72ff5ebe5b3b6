"""What a public call does about the modes of PyTorch and JAX, from stand-ins for both: neither has
to be installed to see that a mode is switched off inside, and is back afterwards.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import entry

KINDS = ("cpu", "cuda", "xpu")
"""Devices that the stand-in can autocast on; it knows no other."""


class Tensor:
    """No array is one, so that calls go on with those of NumPy."""


class Torch(SimpleNamespace):
    """The switches of PyTorch that are read and set, on the devices that autocast is on for."""

    Tensor = Tensor
    on: set[str]

    def __init__(self, *on: str) -> None:
        super().__init__(on=set(on), seen=[])

    def is_autocast_enabled(self, kind: str) -> bool:
        if kind not in KINDS:
            msg = f"unknown device {kind}"
            raise RuntimeError(msg)
        return kind in self.on

    @contextlib.contextmanager
    def autocast(self, kind: str, *, enabled: bool) -> Iterator[None]:
        before = set(self.on)
        (self.on.add if enabled else self.on.discard)(kind)
        yield
        self.on = before

    def is_grad_enabled(self) -> bool:
        return False


class Config(SimpleNamespace):
    """JAX: two settings, each with a context that changes it."""

    def __init__(self, products: str | None, *, wide: bool) -> None:
        super().__init__(jax_default_matmul_precision=products, jax_enable_x64=wide)

    @contextlib.contextmanager
    def change(self, name: str, value: Any) -> Iterator[None]:
        before = getattr(self, name)
        setattr(self, name, value)
        yield
        setattr(self, name, before)

    def jax(self) -> Any:
        return SimpleNamespace(
            config=self,
            enable_x64=lambda on: self.change("jax_enable_x64", on),
            default_matmul_precision=lambda p: self.change("jax_default_matmul_precision", p),
        )


class Watching:
    """`Exact`, which notes the devices that autocast is on for while it computes."""

    randomised, why_not_causal, why_no_scale = False, "", ""
    gradient_of_output = True

    def __init__(self, torch: Torch) -> None:
        self.torch = torch

    def compute(self, problem: Any, rng: Any) -> Any:
        self.torch.seen.append(set(self.torch.on))
        return aa.Exact().compute(problem, rng)

    def vjp(self, problem: Any, dout: Any, rng: Any) -> Any:
        self.torch.seen.append(set(self.torch.on))
        return aa.Exact().vjp(problem, dout, rng)


@pytest.mark.parametrize("on", [(), ("cpu",), ("cuda",), KINDS])
@pytest.mark.parametrize("verb", ["attention", "attention_vjp"])
def test_autocast_is_off_inside_on_every_device_and_on_again_afterwards(
    verb: str, on: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = Torch(*on)
    monkeypatch.setitem(sys.modules, "torch", torch)
    q, k, v = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    given = {"dout": v} if verb == "attention_vjp" else {}
    # by name: positional arrays of NumPy leave at once, and no library has modes for them
    result = getattr(aa, verb)(q=q, k=k, v=v, method=Watching(torch), **given)
    assert torch.seen == [set()]
    assert torch.on == set(on)
    value = result.value if verb == "attention" else result.dq
    assert value.dtype == np.float32


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("products", [None, "high", "bfloat16", "highest"])
def test_jax_has_64_bits_inside_and_exact_products_where_nobody_chose(
    products: str | None, wide: bool
) -> None:
    config = Config(products, wide=wide)
    with contextlib.ExitStack() as stack:
        entry._enter_jax(config.jax(), stack)
        assert config.jax_enable_x64 is True
        assert config.jax_default_matmul_precision == (products or "highest")
    assert config.jax_enable_x64 is wide
    assert config.jax_default_matmul_precision == products


def test_jax_before_the_global_name() -> None:
    config = Config(None, wide=False)
    jax = config.jax()
    jax.experimental = SimpleNamespace(enable_x64=jax.enable_x64)
    del jax.enable_x64
    with contextlib.ExitStack() as stack:
        entry._enter_jax(jax, stack)
        assert config.jax_enable_x64 is True


def test_a_torch_that_is_not_loaded_yet_is_left_alone() -> None:
    with contextlib.ExitStack() as stack:
        entry._enter_torch(None, stack)
        entry._enter_torch(SimpleNamespace(), stack)


def test_autocast_as_it_was_asked_for_before_2_4() -> None:
    old = SimpleNamespace(
        is_autocast_enabled=lambda: True,
        is_autocast_cpu_enabled=lambda: False,
    )
    assert [entry._autocast(old, kind) for kind in ("cpu", "cuda", "xpu")] == [False, True, False]
