"""Padding of a transformer: what stands in masked tokens changes nothing, not a bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dense_transformer import random_model

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.transformer import (
    Embedding,
    ModelGradients,
    Output,
    Transformer,
    forward,
    gradient,
    parameters,
)

METHODS = (aa.Exact(), aa.Polynomial(degree=2, basis="taylor", gradient="plug-in"))
MASKS = np.array([[True] * 3 + [False] * 2, [True, False] * 2 + [True]])


def numbers(value: Output, grads: ModelGradients) -> dict[str, HostArray]:
    """Return all that a caller can read, as arrays."""
    certificate = grads.certificate
    assert value.certificate is not None
    assert certificate is not None
    found = {"value": value.value, "rows": value.certificate.rows, "loss": certificate.loss}
    found |= {f"T_{i}": t for i, t in enumerate(value.tokens)}
    found |= {f"layer {i}": layer.out for i, layer in enumerate(value.layers)}
    found |= {f"dL/dT_{i}": t for i, t in enumerate(grads.tokens)}
    found |= {f"total {i}": t for i, t in enumerate(certificate.tokens)}
    found |= {name: np.asarray(p) for name, p in parameters(grads.model).items()}
    found |= {f"bound of {name}": np.asarray(b) for name, b in certificate.parameters.items()}
    return found | ({} if grads.dx is None else {"dx": grads.dx, "bound": certificate.dx})


def both(model: Transformer, x: Any, g: Any, method: Any, moments: bool) -> dict[str, HostArray]:
    options: dict[str, Any] = {"key_mask": MASKS, "second_moments": moments}
    return numbers(forward(model, x, method, **options), gradient(model, x, g, method, **options))


@pytest.mark.parametrize("moments", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=["exact", "polynomial"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("norm", "dtype"), [("pre", "float32"), ("post", "float64")])
def test_what_stands_in_masked_tokens_changes_nothing(
    norm: str, dtype: str, causal: bool, method: Any, moments: bool
) -> None:
    rng = np.random.default_rng(0)
    model = random_model(rng, norm=norm, causal=causal, dtype=np.dtype(dtype))
    x, g = rng.standard_normal((2, *MASKS.shape, 4)).astype(dtype)
    clean = both(model, x, g, method, moments)
    for fill in (0.0, np.nan, -np.inf, 1e12, float(np.finfo(dtype).max)):
        filled = [np.where(MASKS[..., None], y, np.asarray(fill, dtype)) for y in (x, g)]
        found = both(model, *filled, method, moments)
        assert found.keys() == clean.keys()
        for name, expected in clean.items():
            np.testing.assert_array_equal(found[name], expected, err_msg=f"{name}, {fill}")
    assert np.isfinite(clean["rows"]).all()
    for name in ("value", "rows", "T_0", "T_1", "dx", "dL/dT_0", "dL/dT_2"):
        assert not clean[name][~MASKS].any(), name


def test_as_if_the_masked_tokens_were_not_there() -> None:
    rng = np.random.default_rng(1)
    model = random_model(rng, layers=3)
    x, g = rng.standard_normal((2, 5, 4))
    padded = numbers(
        forward(model, x, aa.Exact(), key_mask=MASKS[0]),
        gradient(model, x, g, aa.Exact(), key_mask=MASKS[0]),
    )
    short = numbers(forward(model, x[:3], aa.Exact()), gradient(model, x[:3], g[:3], aa.Exact()))
    for name, expected in short.items():
        have = padded[name][:3] if padded[name].shape[:1] == (5,) else padded[name]
        if "bound" in name or name.startswith(("total", "rows", "layer ", "loss")):
            assert np.all(have <= 2 * expected + 1e-300), name  # longer sums round more
        else:
            np.testing.assert_allclose(have, expected, atol=1e-12, err_msg=name)


def test_token_numbers() -> None:
    """Numbers of padding need not be rows of the table."""
    rng = np.random.default_rng(2)
    layers = random_model(rng, layers=1).layers
    first = Embedding(tokens=rng.standard_normal((9, 4)), positions=rng.standard_normal((5, 4)))
    model = Transformer(first=(first,), layers=layers)
    ids, g = rng.integers(1, 9, MASKS.shape), rng.standard_normal((*MASKS.shape, 4))
    clean = both(model, ids, g, aa.Exact(), False)
    for fill in (0, -100, 10**6):
        found = both(model, np.where(MASKS, ids, fill), g, aa.Exact(), False)
        for name, expected in clean.items():
            np.testing.assert_array_equal(found[name], expected, err_msg=f"{name}, {fill}")
    assert not clean["first.0.tokens"][0].any()  # no token that takes part has the number 0


def test_masks_that_do_not_fit() -> None:
    rng = np.random.default_rng(3)
    model, x = random_model(rng), rng.standard_normal((2, 5, 4))
    for mask, error, what in (
        (MASKS.astype(int), TypeError, "must be bool"),
        (MASKS[:, :4], ValueError, r"\(2, 4\).*\(2, 5\)"),
        (np.ones((3, 2, 5), bool), ValueError, "must broadcast"),
        (np.zeros(5, bool), ValueError, "without keys"),
    ):
        with pytest.raises(error, match=what):
            forward(model, x, aa.Exact(), key_mask=mask)
