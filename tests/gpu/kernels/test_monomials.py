"""The kernels of monomials, executed on the CPU, against float64 and against the general way."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_cupy import TRAFFIC

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._arrays.cuda.launch import SWITCH
from approxattn._arrays.cuda.probe import NO_TENSOR_CORES
from approxattn.monomials import contraction as general
from approxattn.monomials import states
from approxattn.monomials.device.kernels import Kernels, coordinates
from approxattn.monomials.device.library import Library
from approxattn.monomials.device.runs import Run, runs
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import Kernel

SHAPES = [(3, 2, 1100, 4, "f4"), (1, 2, 1, 1, "f4"), (33, 2, 31, 2, "f4"), (5, 3, 70, 2, "f8")]
"""d, degree, tokens, columns of values, dtype: one chunk, several, and a rest."""

KERNELS = "monomials/device/kernels"
"""Where they are launched."""


@pytest.fixture(autouse=True)
def scalar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tensor cores out."""
    monkeypatch.setenv(SWITCH, NO_TENSOR_CORES)


def namespace(array: Any) -> Any:
    import array_api_compat

    return array_api_compat.array_namespace(array)


def problem(d: int, n: int, m: int, dtype: str, heads: int = 2) -> list[HostArray]:
    rng = np.random.default_rng(7)
    widths = d, d, m, m
    return [rng.uniform(-1, 1, (heads, n, width)).astype(dtype) for width in widths]


def reference(
    coefficients: tuple[float, ...], causal: bool, x: HostArray, y: HostArray, v: HostArray
) -> tuple[HostArray, HostArray]:
    """Return the sums in float64, and the sums of the sizes of all terms."""
    x, y, v = (a.astype(np.float64) for a in (x, y, v))
    found = []
    for a, b, c in ((x, y, v), *[[np.abs(z) for z in (x, y, v)]]):
        scores = a @ np.swapaxes(b, -1, -2)
        weight = np.polynomial.polynomial.polyval(scores, coefficients)
        found.append((np.tril(weight) if causal else weight) @ c)
    return found[0], found[1]


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize(("d", "degree", "n", "m", "dtype"), SHAPES)
def test_sums_and_gradient(
    kernels: ModuleType, order: str, d: int, degree: int, n: int, m: int, dtype: str, causal: bool
) -> None:
    coefficients = tuple(1.0 / (t + 1) for t in range(degree + 1))
    x, y, v, left = problem(d, n, m, dtype)
    there = [kernels.asarray(a) for a in (x, y, v, left)]
    xp = namespace(there[0])
    kernel = Kernel(coefficients=coefficients, causal=causal, kind="features", xp=xp)
    value, size = reference(coefficients, causal, x, y, v)
    unit = float(np.finfo(dtype).eps)
    found = kernel.sums(*there[:3]).get()
    assert np.all(np.abs(found - value) <= 16 * unit * size), order
    sums, parts, _ = kernel.sums_with_parts(*there[:3], (1,))
    assert np.all(np.abs(sums.get() - found) <= 16 * unit * size)
    one = reference((0.0, coefficients[1], *(0.0,) * (degree - 1)), causal, x, y, v[..., -1:])
    assert np.all(np.abs(parts.get() - one[0]) <= 16 * unit * one[1])
    own = kernel.gradient_x(there[0], there[3], there[1], there[2]).get()
    slopes = tuple(t * c for t, c in enumerate(coefficients))[1:]
    wide = gradient(slopes, causal, x, left, y, v)
    assert np.max(np.abs(own - wide)) <= 64 * unit * np.max(np.abs(wide))


def gradient(slopes: tuple[float, ...], causal: bool, *arrays: HostArray) -> HostArray:
    x, left, y, right = (a.astype(np.float64) for a in arrays)
    scores, pairs = x @ np.swapaxes(y, -1, -2), left @ np.swapaxes(right, -1, -2)
    weight = np.polynomial.polynomial.polyval(scores, slopes) * pairs
    return np.asarray((np.tril(weight) if causal else weight) @ y)


@pytest.mark.parametrize("earlier", [1, 30])
def test_keys_before_the_first_query(kernels: ModuleType, earlier: int) -> None:
    n, coefficients = 600, (1.0, 1.0, 0.5)
    x, y, v, left = problem(3, n, 2, "f4")
    later = [kernels.asarray(a) for a in (x[:, earlier:], y, v, left[:, earlier:])]
    kernel = Kernel(coefficients=coefficients, causal=True, kind="features", xp=namespace(later[0]))
    value, size = reference(coefficients, True, x, y, v)
    found = kernel.sums(*later[:3]).get()
    assert np.all(np.abs(found - value[:, earlier:]) <= 1e-6 * size[:, earlier:])
    own = kernel.gradient_x(later[0], later[3], later[1], later[2]).get()
    wide = gradient((1.0, 1.0), True, x, left, y, v)[:, earlier:]
    assert np.max(np.abs(own - wide)) <= 1e-5 * np.max(np.abs(wide))


def test_gradients_through_states(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, v, left = problem(3, 40, 2, "f4")
    there = [kernels.asarray(a) for a in (x, y, v, left)]
    xp, found = namespace(there[0]), []
    for switch in ("on", "off"):
        monkeypatch.setenv("APPROXATTN_KERNELS", switch)
        state = states.states(there[1], there[2], (1.0, 1.0, 0.5), xp)
        found.append(states.read_gradients(there[0], there[3], state, 2, xp).get())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[0], gradient((1.0, 1.0), False, x, left, y, v), atol=1e-3)


def test_every_order_gives_the_same_bits(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fake_cupy.raw import SETTINGS

    x, y, v, left = (kernels.asarray(a) for a in problem(3, 1100, 4, "f4"))
    kernel = Kernel(coefficients=(1, 1, 0.5), causal=True, kind="features", xp=namespace(x))
    found = []
    for order in ("in step", "last warp first", "by chance"):
        monkeypatch.setitem(SETTINGS, "order", order)
        found.append((kernel.sums(x, y, v).get(), kernel.gradient_x(x, left, y, v).get()))
    for other in found[1:]:
        np.testing.assert_array_equal(other[0], found[0][0])
        np.testing.assert_array_equal(other[1], found[0][1])


@pytest.mark.parametrize(("d", "degree", "dtype"), [(3, 2, "f4"), (5, 3, "f8")])
def test_features_are_those_of_the_general_way(
    kernels: ModuleType, d: int, degree: int, dtype: str
) -> None:
    x = kernels.asarray(problem(d, 41, 1, dtype)[0][0])
    xp = namespace(x)
    same = general.features(x, degree, xp).get()[:, 2:].reshape(-1, 3, 13).transpose(1, 0, 2)
    for makes in (Kernels, Library):
        blocks = makes(x, (1.0,) * (degree + 1), xp)
        found = blocks.features(blocks.columns(x), Run(2, 3, 13)).get()
        np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize(("d", "degree"), [(1, 4), (2, 1), (4, 3), (7, 2)])
def test_coordinates_stand_in_the_order_of_the_index(d: int, degree: int) -> None:
    x = np.random.default_rng(0).uniform(0.5, 2, (6, d))
    table = coordinates(d, degree)
    assert table.shape == (rank(d, degree), degree)
    padded = np.concatenate([np.ones((6, 1)), x], axis=1)
    product = np.prod(padded[:, table], axis=-1).T
    np.testing.assert_allclose(product, general.features(x, degree, namespace(x)), rtol=1e-14)


@pytest.mark.parametrize("n", [0, 1, 12, 13, 14, 100])
def test_runs_cover_every_token_once(n: int) -> None:
    found = runs(n, 13, 3)
    tokens = [token for run in found for token in range(n)[run.tokens]]
    assert tokens == list(range(n))
    assert all(run.blocks <= 3 for run in found)
    assert all(run.length == 13 or run.blocks == 1 for run in found)


def test_attention_uses_them_and_holds_its_certificate(kernels: ModuleType) -> None:
    q, k, v, _ = problem(4, 700, 4, "f4")
    exact = aa.attention(*(a.astype("f8") for a in (q, k, v)), aa.Exact()).value
    TRAFFIC.clear()
    own = aa.attention(*map(kernels.asarray, (q, k, v)), aa.Polynomial(degree=4))
    launched = sum(c for place, c in TRAFFIC.launches.items() if KERNELS in place)
    assert launched >= 2 * 3
    error = np.max(np.abs(own.value.get() - exact), axis=-1)
    assert np.all(error <= own.certificate.rows)


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_launches_do_not_grow_with_the_tokens(kernels: ModuleType, causal: bool) -> None:
    counts = []
    for n in (2048, 4096):
        q, k, v, g = (kernels.asarray(a) for a in problem(5, n, 5, "f4"))
        TRAFFIC.clear()
        aa.attention(q, k, v, aa.Polynomial(degree=2), causal=causal)
        forward = TRAFFIC.launches.total()
        aa.attention_vjp(q, k, v, g, aa.Polynomial(degree=2), causal=causal)
        counts.append((forward, TRAFFIC.launches.total()))
    assert counts[0] == counts[1]
    assert counts[0][0] < 300 > counts[0][1] / 4


def test_ten_thousand_launches_are_enough_for_a_million_tokens(kernels: ModuleType) -> None:
    heads, n, launches = 8, 2**20, 4  # tokens, monomials, product, running sum
    for d, degree in ((64, 2), (16, 4), (32, 2)):
        like = kernels.asarray(np.zeros((1, d), "f4"))
        blocks = Kernels(like, (1.0,) * (degree + 1), namespace(like))
        runs_ = len(blocks.key_runs(n, d + 1)) + len(blocks.query_runs(n, d + 1))
        assert heads * runs_ * launches + 500 < 10_000


def test_states_use_them(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, _ = problem(3, 40, 3, "f4")
    method = aa.Polynomial(degree=2)
    found = []
    for switch in ("on", "off"):
        monkeypatch.setenv("APPROXATTN_KERNELS", switch)
        TRAFFIC.clear()
        state = method.state(kernels.asarray(k), kernels.asarray(v), half_range=3.0)
        found.append(state.query(kernels.asarray(q)).value.get())
        launched = any(KERNELS in place for place in TRAFFIC.launches)
        assert launched == (switch == "on")
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
