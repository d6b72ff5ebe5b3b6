"""The checks on functions of torch tensors; skipped where torch is not installed."""

from __future__ import annotations

from typing import Any

import pytest

from approxattn.testing import Attention, check_attention

torch: Any = pytest.importorskip("torch")

FEW = (1, 2, 3, 5, 65)


def sdpa(q: Any, k: Any, v: Any, *, is_causal: bool = False, key_mask: Any = None) -> Any:
    mask = None if key_mask is None else key_mask[None, :]
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=is_causal
    )


def examined(function: Any) -> Any:
    return check_attention(
        Attention(function, framework="torch", leading=2, gradient="autograd", sizes=FEW)
    )


def test_attention_of_torch_passes_with_its_gradients() -> None:
    found = examined(sdpa)
    assert found.ok, found
    # it has no keywords for offsets, windows and packed sequences
    forms = ["query offset", "window agrees with softmax", "keys beyond the window"]
    assert [f.name for f in found.findings if f.held is None] == [
        "nearer than the mean of the values",
        *forms,
        "packed sequences",
    ]


def test_keywords_of_a_built_in_function_are_those_that_are_named() -> None:
    function = torch.nn.functional.scaled_dot_product_attention
    plain = Attention(function, framework="torch", leading=2, sizes=FEW)
    assert check_attention(plain)["causal"].held is None
    named = Attention(function, framework="torch", leading=2, sizes=FEW, keywords=["is_causal"])
    found = check_attention(named)
    assert found.ok, found
    assert found["causal"].held
    assert found["later keys"].held


def test_a_detached_part_shows_in_its_derivative_alone() -> None:
    def detached(q: Any, k: Any, v: Any) -> Any:
        return sdpa(q, k.detach() + 0 * k, v)

    found = examined(detached)
    assert [f.name for f in found.findings if f.held is False] == ["dk is the derivative"]


def test_writes_are_found() -> None:
    def writes(q: Any, k: Any, v: Any) -> Any:
        with torch.no_grad():
            q.mul_(2.0)
        return sdpa(q / 2, k, v)

    attention = Attention(writes, framework="torch", leading=2, sizes=FEW)
    found = check_attention(attention)
    assert [f.name for f in found.findings if f.held is False] == ["inputs are not written to"]
