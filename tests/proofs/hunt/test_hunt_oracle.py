"""The oracles of the hunt against ball arithmetic: no entry is farther off than they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hunt_oracles import check_item

from proofs_check.arithmetic.balls import ball, max_error, precision
from proofs_check.hunt import problems
from proofs_check.hunt.methods import ROWS, Cell, Row
from proofs_check.hunt.modes.transformers import _in_balls as in_balls
from proofs_check.hunt.modes.transformers import draw as draw_network
from proofs_check.hunt.oracles import enclosures, networks
from proofs_check.hunt.oracles import softmax as oracle
from proofs_check.hunt.oracles.angles import yoso
from proofs_check.hunt.oracles.network_balls import slope_rows, value_rows
from proofs_check.hunt.oracles.softmax import Exact
from proofs_check.hunt.problems import Posed

pytestmark = pytest.mark.skipif(not oracle.EXTENDED, reason="there is no 80-bit format here")


def drawn(row: str, mode: str, dtype: str, index: int) -> Posed:
    cell = Cell(row, mode, dtype)
    return problems.draw(problems.generator(7, cell, index), cell, index)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("mode", ["plain", "causal", "mask"])
def test_attention(mode: str, dtype: str) -> None:
    used = 0.0
    for index in range(6):
        posed = drawn("exact", mode, dtype, index)
        a = posed.cleaned()
        exact = oracle.attention(a["q"], a["k"], a["v"], scale=posed.scale, visible=posed.visible())
        for item in range(0, posed.count, 9):
            rows = enclosures.attention_rows(ROWS["exact"], posed, item)(2600)
            used = max(used, check_item(exact, item, rows))
    assert used > 1e-3  # the errors that are claimed are not idle


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("part", ["dq", "dk", "dv"])
def test_gradient(part: str, dtype: str) -> None:
    for index in range(8):
        posed = drawn("exact", "gradient", dtype, index)
        a = posed.cleaned()
        exact = oracle.gradient(
            *(a[n] for n in ("q", "k", "v", "g")), scale=posed.scale, visible=posed.visible()
        )
        for item in range(0, posed.count, 13):
            check_item(
                getattr(exact, part), item, enclosures.gradient_rows(posed, item, part)(2600)
            )


@pytest.mark.parametrize("name", ["yoso-expectation", "yoso-expectation-unit"])
def test_yoso(name: str) -> None:
    row = ROWS[name]
    for index in range(6):
        posed = drawn(name, "causal", "float64", index)
        a = posed.cleaned()
        exact = yoso(
            a["q"],
            a["k"],
            a["v"],
            bits=row.bits,
            normalize=row.normalize,
            visible=posed.visible(),
        )
        for item in range(0, posed.count, 11):
            check_item(exact, item, enclosures.attention_rows(row, posed, item)(640), bits=1300)


def test_tensor_oracle_is_attention_over_pairs() -> None:
    posed = drawn("tensor-taylor-4", "tensor", "float64", 1)
    a, beta = posed.arrays, oracle.Long(1) / posed.arrays["q"].shape[-1]
    k, v = (
        (a[x].astype(oracle.Long)[:, :, None] * a[y].astype(oracle.Long)[:, None]).reshape(
            posed.count, -1, a[x].shape[-1]
        )
        for x, y in (("k", "k2"), ("v", "v2"))
    )
    exact = oracle.attention(a["q"], k, v, scale=posed.scale or beta)
    for item in range(0, posed.count, 11):
        check_item(exact, item, enclosures.tensor_rows(posed, item)(2600))


def test_an_error_that_is_claimed_too_small_is_seen() -> None:
    """The comparison can fail: the same entries with a thousandth of their error bounds."""
    posed = drawn("exact", "plain", "float64", 2)
    a = posed.arrays
    exact = oracle.attention(a["q"], a["k"], a["v"], scale=posed.scale)
    wrong = Exact(exact.value * (1 + 2.0**-60), exact.error / 1000)

    def hold() -> None:
        for item in range(posed.count):
            check_item(wrong, item, enclosures.attention_rows(ROWS["exact"], posed, item)(640))

    with pytest.raises(AssertionError):
        hold()


# --- networks -------------------------------------------------------------------------------------


def network(index: int, dtype: str = "float64") -> tuple[Posed, dict[str, Any]]:
    cell = Cell("exact", "network", dtype)
    row: Row = ROWS["exact"]
    posed = draw_network(problems.generator(3, cell, index), cell, index, row)
    return posed, posed.extra["plan"]


@pytest.mark.parametrize("index", range(6))
def test_network_in_extended_precision_is_the_network_in_balls(index: int) -> None:
    posed, plan = network(index)
    weights, x = posed.extra["weights"], posed.arrays["x"]
    value = networks.value(plan, weights, x, posed.mask)
    for item in (0, 5):
        mask = None if posed.mask is None else posed.mask[item]
        rows = value_rows(plan, weights, x[item], mask, 2000)
        size = float(np.max(np.abs(value[item]))) + 1
        if np.isfinite(value[item].astype(float)).all():
            assert max_error(value[item].astype(float), rows, bits=2000)[0] <= 1e-13 * size


def test_slopes_by_complex_steps_are_central_differences_in_balls() -> None:
    """Item by item for the tokens, summed over items for a parameter, each case by itself."""
    posed, plan = network(1)
    rng = np.random.default_rng(0)
    weights = {n: rng.standard_normal(a.shape) for n, a in posed.extra["weights"].items()}
    x, g = rng.standard_normal((2, 2, *posed.arrays["x"].shape[1:]))
    mask = np.ones(x.shape[:2], bool)
    mask[1, -1] = mask.shape[1] == 1
    found = networks.slopes(
        plan, [networks.Case(weights, x, g), networks.Case(weights, x, 2 * g)], mask
    )
    assert set(found[0]) == {"x", *weights}
    for name in ("x", "layers.0.attention.wq", "layers.0.then.1.maps.0.w1"):
        slope = found[0][name].astype(float)
        assert np.array_equal(found[1][name].astype(float), 2 * slope)
        items = [
            np.array(slope_rows(plan, weights, *of, name, seen, 160), object)
            for *of, seen in zip(x, g, mask, strict=True)
        ]
        rows = np.concatenate(items) if name == "x" else items[0] + items[1]
        close = 1e-13 * (1 + np.max(np.abs(slope)))
        assert max_error(slope.reshape(rows.shape), rows.tolist(), bits=1400)[1] <= close


def test_a_parameter_gets_the_sum_over_matrices_of_tokens_in_balls_too() -> None:
    """What settles doubt about a call: the same slopes as the run that raised it."""
    cell = Cell("exact", "network-gradient", "float32")
    posed = draw_network(problems.generator(3, cell, 0), cell, 0, ROWS["exact"])
    assert posed.count > 1
    assert not posed.singly
    case = networks.Case(posed.extra["weights"], posed.arrays["x"], posed.arrays["g"])
    (found,) = networks.slopes(posed.extra["plan"], [case], posed.mask)
    for name, item in (("first.0.w", 0), ("layers.0.attention.wv", 0), ("x", posed.count - 1)):
        slope = found[name][item] if name == "x" else found[name].reshape(1, -1)
        rows = in_balls(posed, name)(item)
        top = float(np.max(np.abs(slope)))
        assert max_error(slope.astype(float), rows, bits=1400)[1] <= 1e-13 * top


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh"])
def test_activations(name: str) -> None:
    x = np.concatenate([np.linspace(-9, 9, 73), [-40.0, -4.0, 4.0, 40.0, 300.0]])
    step = np.ldexp(np.longdouble(1), -500)
    got = networks.activate(x.astype(np.clongdouble) + 1j * step, name)
    with precision(400):
        for at, value in zip(x, got, strict=True):
            exact = networks.activate(np.array([ball(float(at))], object), name)[0]
            gap = abs(exact - float(value.real))
            assert float(gap) <= 1e-15 * max(1.0, abs(at))
            ends = [
                networks.activate(np.array([ball(float(at)) + s * ball(2) ** -150], object), name)
                for s in (1, -1)
            ]
            slope = (ends[0][0] - ends[1][0]) / (2 * ball(2) ** -150)
            assert abs(float(slope) - float(value.imag / step)) <= 1e-15
