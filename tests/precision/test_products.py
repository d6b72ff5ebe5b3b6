"""Certificates where float32 products are made of rounded factors, as tensor cores make them.

No GPU is needed: an array library rounds the factors of its products to TF32 or bfloat16 and says
so through the function that asks the real libraries. Where it does not say so, the same check finds
rows outside: the check can fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cases import Case, run, suits
from methods import TABLE, Row
from namespaces import NUMPY, STRICT, rounded, rounded_products

import approxattn as aa
from approxattn._arrays import Array, HostArray, precision
from approxattn.methods.protocol import Differentiable
from approxattn.transformer import (
    Layer,
    Mlp,
    Residual,
    SelfAttention,
    Transformer,
    forward,
    gradient,
)

D, DV = 4, 3
SIZES = (1, 2, 16, 128, 512)
SCORES = (1.0, 6.0, 30.0)
"""Sizes of the largest score."""


@dataclass(frozen=True)
class Mode:
    """A way to round factors.

    Attributes
    ----------
    name : str
        Key of `precision.FORMATS`.
    bits : int
        Explicit bits that are kept.
    cut : bool
        Whether the others are cut off instead of rounded.
    """

    name: str
    bits: int
    cut: bool = False

    def __str__(self) -> str:
        return f"{self.name}-cut" if self.cut else self.name


MODES = (
    Mode("tf32", 10),
    Mode("tf32", 10, cut=True),
    Mode("bfloat16", 7),
    Mode("bfloat16", 7, cut=True),
)

ROWS = [row for row in TABLE if row.target != "hadamard" and row.name != "minimax-1e-1"]
"""The expectation over all signs is too dear for many tokens."""

SOON = ("exact", "taylor-4", "mean-pool-3", "clustered-2", "bert-lsh", "yoso-sure")


def tried(rows: list[Row]) -> list[object]:
    """Return every row with factors cut, which loses most, and some with factors rounded; most of
    them are for the long run of the tests.
    """
    return [
        pytest.param(row, mode, marks=() if row.name in SOON and soon else pytest.mark.long)
        for row, (mode, soon) in itertools.product(
            rows, zip(MODES, (True, False, False, True), strict=True)
        )
        if mode.cut or row.name in SOON
    ]


def problems(row: Row) -> Iterator[Case]:
    """Yield problems from one token to many, with scores from small to large.

    Every fourth where a new interval of scores costs the method a search.
    """
    rng = np.random.default_rng(0)
    for number, (n, size) in enumerate(itertools.product(SIZES, SCORES)):
        if not number % (1 if row.every == 1 else 4):
            q, k, v = (rng.standard_normal((n, width)) for width in (D, D, DV))
            q *= size / max(np.abs(q @ k.T).max() / D**0.5, 1e-30)
            yield Case(name=f"n={n} scores={size:g}", q=q, k=k, v=v).astype("float32")


def truth(row: Row, case: Case) -> tuple[HostArray, HostArray]:
    """Return what the certificate of the row speaks about, and a bound on its own error."""
    method: Any = aa.Exact()
    if row.target == "yoso":
        method = aa.YosoExpectation(bits=row.bits, normalize=row.normalize, zero_rows="orthogonal")
    q, k, v = (x.astype(np.float64) for x in (case.q, case.k, case.v))
    exact = aa.attention(q, k, v, method)
    return exact.value, exact.certificate.rows


def worst_forward(row: Row) -> float:
    """Return the largest error / bound over all problems that the method takes."""
    largest = 0.0
    for case in problems(row):
        if not suits(row, case):
            continue
        exact, slack = truth(row, case)
        try:
            out = run(row, case, STRICT)
        except ValueError as error:
            if ": " in str(error):
                continue  # a refusal, with its remedy
            raise
        bounds = out.certificate.rows
        bounded = np.isfinite(bounds)
        errors = np.max(np.abs(out.value - exact), axis=-1) - slack
        largest = max(largest, float(np.max(errors[bounded] / bounded_by(bounds), initial=0.0)))
    return largest


def bounded_by(bounds: HostArray) -> HostArray:
    """Return the finite bounds, none of them 0."""
    return np.maximum(bounds[np.isfinite(bounds)], 1e-300)


def worst_gradient(row: Row) -> float:
    """Return the same for dq, dk, dv against the gradient of softmax attention."""
    largest, rng = 0.0, np.random.default_rng(1)
    for case in problems(row):
        dout = rng.standard_normal((case.q.shape[0], DV)).astype(np.float32)
        wide = [x.astype(np.float64) for x in (case.q, case.k, case.v, dout)]
        exact = aa.attention_vjp(*wide, aa.Exact())
        given = [STRICT.put(x) for x in (case.q, case.k, case.v, dout)]
        draws = np.random.default_rng(5) if row.method.randomised else None
        try:
            grads = aa.attention_vjp(*given, row.method, rng=draws)
        except ValueError as error:
            if ": " in str(error):
                continue
            raise
        if grads.certificate.target != exact.certificate.target:
            continue
        for name in ("dq", "dk", "dv"):
            bounds, slack = (getattr(x.certificate, name) for x in (grads, exact))
            gap = np.abs(STRICT.get(getattr(grads, name)) - getattr(exact, name))
            errors = (np.max(gap, axis=-1) - slack)[np.isfinite(bounds)]
            largest = max(largest, float(np.max(errors / bounded_by(bounds), initial=0.0)))
    return largest


def told(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    """Let the libraries that are no NumPy say what their products are."""
    real = precision.float32_products
    monkeypatch.setattr(
        precision,
        "float32_products",
        lambda x: real(x) if isinstance(x, np.ndarray) else mode.name,
    )


@pytest.mark.parametrize(("row", "mode"), tried(ROWS), ids=str)
def test_error_within_certificate(row: Row, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, mode)
    with rounded_products(mode.bits, cut=mode.cut):
        worst = worst_forward(row)
    print(f"{row} {mode}: largest error / bound {worst:.3g}")
    assert worst <= 1


@pytest.mark.parametrize(
    ("row", "mode"), tried([r for r in ROWS if isinstance(r.method, Differentiable)]), ids=str
)
def test_gradient_within_certificate(row: Row, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, mode)
    with rounded_products(mode.bits, cut=mode.cut):
        worst = worst_gradient(row)
    print(f"{row} {mode}: largest error / bound {worst:.3g}")
    assert worst <= 1


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_untold_the_check_finds_rows_outside(mode: Mode) -> None:
    exact = next(row for row in ROWS if row.name == "exact")
    with rounded_products(mode.bits, cut=mode.cut):
        assert worst_forward(exact) > 1
        assert worst_gradient(exact) > 1


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_factors_lose_what_they_should(mode: Mode) -> None:
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    lost = np.abs(rounded(x, mode.bits, cut=mode.cut) - x) / np.abs(x)
    share = lost.max() / 2.0**-mode.bits
    assert (0.9 if mode.cut else 0.4) < share <= (1 if mode.cut else 0.5)
    assert NUMPY.owns(rounded(x, mode.bits))


# --- what is no method: states, tensor attention, whole networks ----------------------------------


def test_a_state_is_made_of_exact_products_and_may_be_queried_with_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, mode = aa.Polynomial(degree=4, basis="taylor"), MODES[-1]
    q, k, v = np.random.default_rng(0).standard_normal((3, 40, D)).astype(np.float32)
    state = method.state(STRICT.put(k), STRICT.put(v))
    told(monkeypatch, mode)
    with pytest.raises(ValueError, match=r"PolynomialState outlives .* bfloat16.*'highest'"):
        method.state(STRICT.put(k), STRICT.put(v))
    with pytest.raises(ValueError, match="'highest'"):
        state.extend(STRICT.put(k), STRICT.put(v))
    with rounded_products(mode.bits, cut=mode.cut):
        out = state.query(STRICT.put(q))
    exact = aa.attention(*(x.astype(np.float64) for x in (q, k, v)), aa.Exact())
    errors = np.max(np.abs(STRICT.get(out.value) - exact.value), axis=-1)
    assert (errors <= out.certificate.rows + exact.certificate.rows).all()


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_tensor_attention_within_certificate(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    given = np.random.default_rng(0).uniform(-1, 1, (5, 12, 2)).astype(np.float32)
    q, k1, k2, v1, v2 = given.astype(np.float64)
    weights = np.exp(np.einsum("ia,ja,la->ijl", q, k1, k2) / 2)
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    exact = np.einsum("ijl,jc,lc->ic", weights, v1, v2)
    ratios = []
    for known in (False, True):
        if known:
            told(monkeypatch, mode)
        with rounded_products(mode.bits, cut=mode.cut):
            out = aa.tensor_attention(*map(STRICT.put, given), degree=12, basis="taylor")
        errors = np.max(np.abs(STRICT.get(out.value) - exact), axis=-1)
        ratios.append(float(np.max(errors / out.certificate.rows)))
    print(f"tensor attention {mode}: untold {ratios[0]:.3g}, told {ratios[1]:.3g}")
    assert ratios[1] <= 1


def network(put: Callable[[HostArray], Array]) -> Transformer:
    rng = np.random.default_rng(2)

    def w(*shape: int) -> Array:
        return put((rng.standard_normal(shape) / 2).astype(np.float32))

    attention = SelfAttention(wq=w(2, 4, 2), wk=w(2, 4, 2), wv=w(2, 4, 2), wo=w(4, 4))
    then = (Residual(maps=(Mlp(w1=w(4, 8), w2=w(8, 4)),)),)
    return Transformer(layers=(Layer(attention=attention, residual=True, then=then),))


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_networks_within_certificate(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    x, dout = np.random.default_rng(0).standard_normal((2, 1, 4)).astype(np.float32)
    wide = network(lambda host: host.astype(np.float64))
    exact = gradient(wide, x.astype(np.float64), dout.astype(np.float64), aa.Exact())
    ratios = []
    for known in (False, True):
        if known:
            told(monkeypatch, mode)
        with rounded_products(mode.bits, cut=mode.cut):
            own = network(STRICT.put)
            out = forward(own, STRICT.put(x), aa.Exact())
            grads = gradient(own, STRICT.put(x), STRICT.put(dout), aa.Exact())
        off = np.max(np.abs(STRICT.get(out.value) - exact.value), axis=-1)
        dx = np.sum(np.linalg.norm(STRICT.get(grads.dx) - exact.dx, axis=-1))
        ratios.append((float(np.max(off / out.certificate.rows)), dx / grads.certificate.dx))
    print(f"network {mode}: untold {ratios[0]}, told {ratios[1]}")
    assert max(ratios[0]) > 1, "the check finds nothing where nobody tells"
    assert max(ratios[1]) <= 1
