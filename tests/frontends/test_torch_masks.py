"""Masks of torch read as structure: what is read shows the same pairs, or the mask is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from approxattn.torch import masks  # noqa: E402 - after the skip
from approxattn.torch.masks import Structure, dense, structure_of  # noqa: E402


@st.composite
def structures(draw):
    """Return a structure of any kind, with its sizes and leading axes."""
    n_q, n_k = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    lead = draw(st.sampled_from([(), (2,), (2, 1), (2, 3)]))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    key_mask = torch.rand((*lead, n_k), generator=rng) < 0.7 if draw(st.booleans()) else None
    kind = draw(st.sampled_from(["all", "causal", "window", "segments", "causal segments"]))
    offset = draw(st.integers(-3, 6))
    rest = {
        "all": {},
        "causal": {"causal": True, "query_offset": offset},
        "window": {"window": (draw(st.integers(0, 4)), draw(st.integers(0, 4)))},
        "segments": {},
        "causal segments": {"causal": True, "query_offset": n_k - n_q},
    }[kind]
    if "segments" in kind:
        n_q = n_k if kind == "causal segments" else n_q
        rest = rest | {"query_offset": 0} if kind == "causal segments" else rest
        ids = [torch.randint(0, 2, (n,), generator=rng).cumsum(0) for n in (n_q, n_k)]
        rest["segments"] = (ids[1], ids[1]) if n_q == n_k else tuple(ids)
    return Structure(key_mask=key_mask, **rest), n_q, n_k


@given(structures())
def test_what_is_read_shows_the_same_pairs(case) -> None:
    structure, n_q, n_k = case
    mask = dense(structure, n_q, n_k, "cpu")
    found = structure_of(mask, n_q, n_k)
    assert found.bias is None
    shown = dense(found, n_q, n_k, "cpu").expand(mask.shape)
    assert torch.equal(shown, mask)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_any_mask_is_read_truly(n_q: int, n_k: int, seed: int) -> None:
    mask = torch.rand(n_q, n_k, generator=torch.Generator().manual_seed(seed)) < 0.6
    found = structure_of(mask, n_q, n_k)
    assert torch.equal(dense(found, n_q, n_k, "cpu").expand(mask.shape), mask)


def test_what_is_no_order_of_tokens_stays_a_mask_of_pairs() -> None:
    mask = torch.eye(4, dtype=torch.bool) | torch.eye(4, dtype=torch.bool).flip(0)
    found = structure_of(mask, 4, 4)
    assert torch.equal(found.bias, torch.where(mask, 0.0, -torch.inf))
    additive = torch.where(mask, torch.arange(4.0), -torch.inf)
    assert torch.equal(structure_of(additive, 4, 4).bias, additive)


def test_plain_structures_get_plain_descriptions() -> None:
    square = torch.ones(5, 5, dtype=torch.bool)
    assert structure_of(square, 5, 5) == Structure()
    assert structure_of(square.tril(), 5, 5) == Structure(causal=True)
    bottom_right = torch.ones(3, 5, dtype=torch.bool).tril(2)
    assert structure_of(bottom_right, 3, 5) == Structure(causal=True, query_offset=2)
    window = square.tril() & square.triu(-1)
    assert structure_of(window, 5, 5) == Structure(causal=True, window=(1, 0))


@pytest.mark.parametrize("hidden", [-torch.inf, torch.finfo(torch.float32).min])
def test_additive_masks(hidden: float) -> None:
    allowed = torch.ones(4, 4, dtype=torch.bool).tril()
    mask = torch.zeros(4, 4).masked_fill(~allowed, hidden)
    assert structure_of(mask, 4, 4) == Structure(causal=True)
    biased = mask + torch.arange(4.0)
    found = structure_of(biased, 4, 4)
    assert found.causal
    assert torch.equal(found.bias[allowed], biased[allowed])
    assert torch.isfinite(found.bias).all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(4, 4, dtype=torch.int64), "must be bool or floating"),
        (torch.full((4, 4), torch.nan), "NaN"),
        (torch.zeros(3, 4), "must broadcast"),
        (torch.zeros(4), "must broadcast"),
        (torch.full((4, 4), torch.finfo(torch.float32).min / 3), "biases below"),
    ],
)
def test_refusals(mask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        structure_of(mask, 4, 4)


def test_one_mask_of_many_layers_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = masks._structure
    monkeypatch.setattr(masks, "_structure", lambda *given: reads.append(1) or real(*given))
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    assert [structure_of(mask, 4, 4).causal for _ in range(3)] == [True] * 3
    assert len(reads) == 1
    mask[:] = True  # and again after it was written to
    assert not structure_of(mask, 4, 4).causal
    assert len(reads) == 2
