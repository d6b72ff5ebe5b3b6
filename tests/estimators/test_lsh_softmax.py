"""The Horvitz-Thompson softmax over colliding pairs: against sums over many draws, its variances,
and its gradient.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import Case, run
from colliding import case
from methods import Row
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.hashing import collision
from approxattn.hashing.hyperplanes import codes, draw_hyperplanes


def weights_by_hand(problem: Case, bits: int, tables: int, seed: int, radius: int = 0) -> HostArray:
    """Return e^s U / pi, shape (n_q, n_k), by counting the bits that differ."""
    normals = draw_hyperplanes(tables, bits, problem.q, np.random.default_rng(seed))
    sides = [np.einsum("td,hbd->htb", x, normals) > 0 for x in (problem.q, problem.k)]
    met = ((sides[0][:, :, None] != sides[1][:, None]).sum(axis=-1) <= radius).any(axis=0)
    p = 1 - np.arccos(collision.cosines(problem.q, problem.k, np)) / math.pi
    one = sum(math.comb(bits, t) * p ** (bits - t) * (1 - p) ** t for t in range(radius + 1))
    inclusion = 1 - (1 - one) ** tables
    return np.asarray(
        np.exp(problem.q @ problem.k.T / math.sqrt(problem.q.shape[1])) * met / inclusion
    )


@pytest.mark.parametrize(("bits", "radius"), [(2, 0), (4, 1), (1, 1)])
def test_output_is_the_ratio_of_the_weighted_sums(bits: int, radius: int) -> None:
    problem = case()
    for seed in range(5):
        w = weights_by_hand(problem, bits, 3, seed, radius)
        method = aa.LSHSoftmax(bits=bits, tables=3, radius=radius)
        value = run(Row(name="ht", method=method, slack=1), problem, seed=seed).value
        some = w.any(axis=1)
        np.testing.assert_allclose(
            value[some], (w @ problem.v / w.sum(-1, keepdims=True))[some], rtol=0, atol=1e-13
        )


@pytest.mark.parametrize(("bits", "radius"), [(2, 0), (3, 1), (1, 1)])
def test_sums_are_unbiased_with_the_variance_in_the_facts(bits: int, radius: int) -> None:
    problem, draws = case(n=6, d=3), 1500
    out = run(
        Row(name="ht", method=aa.LSHSoftmax(bits=bits, tables=2, radius=radius), slack=1), problem
    )
    exact = run(Row(name="exact", method=aa.Exact(), slack=1), problem).value
    scores = np.exp(problem.q @ problem.k.T / math.sqrt(3))
    f = scores / scores.sum(-1, keepdims=True)
    ratio = np.stack(
        [weights_by_hand(problem, bits, 2, seed, radius) for seed in range(draws)]
    ) / scores.sum(-1, keepdims=True)
    mean = ratio.sum(-1)  # D_i
    deviation = out.certificate.facts["relative standard deviation of the denominator"]
    assert (np.abs(mean.mean(0) - 1) <= 4.5 * deviation / math.sqrt(draws) + 1e-12).all()
    np.testing.assert_allclose(mean.std(0), deviation, rtol=0.12, atol=1e-7)
    residual = ratio @ problem.v - mean[..., None] * exact  # R_i
    error = out.certificate.facts["root mean square of the first-order error of a row"]
    np.testing.assert_allclose(np.sqrt((residual**2).sum(-1).mean(0)), error, rtol=0.12, atol=1e-7)
    assert np.abs(residual.mean(0)).max() <= 4.5 * error.max() / math.sqrt(draws) + 1e-12
    assert f.shape == (6, 6)


def test_joint_union_probability_is_the_frequency() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 3))
    normals = draw_hyperplanes(3 * 6000, 2, x, rng)
    met = (
        (codes(x, normals, np)[:, :1] == codes(x, normals, np)[:, 1:])
        .reshape(6000, 3, 2)
        .any(axis=1)
    )
    p, triple = collision.pair_and_triple(x[:1], x[1:], 2, np)
    joint = collision.union_joint(p[0, 0], p[0, 1], triple[0, 0, 1], 3)
    assert abs(met.all(axis=1).mean() - joint) < 4 * math.sqrt(joint * (1 - joint) / 6000)


def test_joint_probability_of_a_ball_is_the_frequency() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 3))
    sides = np.einsum("td,hbd->htb", x, rng.standard_normal((40_000, 4, 3))) > 0
    near = (sides[:, :1] != sides[:, 1:]).sum(axis=-1) <= 1
    p, joint = collision.ball_pair_and_triple(x[:1], x[1:], 4, 1, np)
    for found, true in ((near.mean(axis=0), p[0]), (near.all(axis=1).mean(), joint[0, 0, 1])):
        assert (np.abs(found - true) < 4.5 * np.sqrt(true * (1 - true) / 40_000)).all()
    np.testing.assert_allclose(np.diagonal(joint[0]), p[0], atol=1e-7)  # a key with itself


def test_opposite_keys_of_some_weight_have_no_variance() -> None:
    problem = Case(
        name="opposite",
        q=np.array([[1.0]]),
        k=np.array([[1.0], [-1.0]]),
        v=np.array([[1.0], [0.0]]),
    )
    facts = run(Row(name="ht", method=aa.LSHSoftmax(bits=3), slack=1), problem).certificate.facts
    assert np.isinf(facts["relative standard deviation of the denominator"]).all()


def test_more_tables_are_more_accurate() -> None:
    problem = case(n=40, d=8)
    exact = run(Row(name="exact", method=aa.Exact(), slack=1), problem).value
    errors = [
        np.mean(
            [
                np.linalg.norm(
                    run(
                        Row(name="ht", method=aa.LSHSoftmax(bits=4, tables=t), slack=1),
                        problem,
                        seed=s,
                    ).value
                    - exact
                )
                for s in range(10)
            ]
        )
        for t in (4, 16, 64)
    ]
    assert errors[0] > 1.5 * errors[1] > 1.5 * 1.5 * errors[2]


def cotangent(problem: Case) -> HostArray:
    return np.random.default_rng(9).standard_normal((len(problem.q), problem.v.shape[1]))


def gradient_by_hand(problem: Case, w: HostArray, g: HostArray) -> list[HostArray]:
    """Return the softmax gradient with the weights w / sum w in the place of the softmax's; uniform
    and constant in rows of zeros.
    """
    n, beta = w.shape[1], 1 / math.sqrt(problem.q.shape[1])
    alone = ~w.any(axis=1)
    f = np.where(alone[:, None], 1 / n, w / np.where(alone, 1, w.sum(1))[:, None])
    z = g @ problem.v.T
    p = np.where(alone[:, None], 0, f * (z - (f * z).sum(1, keepdims=True)))
    return [beta * p @ problem.k, beta * p.T @ problem.q, f.T @ g]


def test_gradient_is_the_softmax_gradient_of_the_weighted_pairs() -> None:
    problem = case()
    g = cotangent(problem)
    for seed in range(5):
        grads = aa.attention_vjp(
            problem.q,
            problem.k,
            problem.v,
            g,
            aa.LSHSoftmax(bits=2, tables=3),
            rng=np.random.default_rng(seed),
        )
        expected = gradient_by_hand(problem, weights_by_hand(problem, 2, 3, seed), g)
        for name, true in zip(("dq", "dk", "dv"), expected, strict=True):
            assert (
                np.abs(getattr(grads, name) - true).max(-1) <= getattr(grads.certificate, name)
            ).all()
            np.testing.assert_allclose(getattr(grads, name), true, rtol=0, atol=1e-12)
    assert "held fixed" in grads.certificate.target


def test_gradient_tends_to_that_of_the_softmax() -> None:
    """Not to the derivative of the output for the codes drawn, which would differentiate the
    probabilities too.
    """
    problem = case(n=12, d=3)
    g = cotangent(problem)
    exact = aa.attention_vjp(problem.q, problem.k, problem.v, g, aa.Exact())
    for tables, allowed in ((20, 0.4), (2000, 0.06)):
        rng = np.random.default_rng(0)
        grads = aa.attention_vjp(
            problem.q, problem.k, problem.v, g, aa.LSHSoftmax(bits=3, tables=tables), rng=rng
        )
        for name in ("dq", "dk", "dv"):
            true = getattr(exact, name)
            assert np.linalg.norm(getattr(grads, name) - true) < allowed * np.linalg.norm(true)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_gradient_in_every_library_with_masks(library: Library) -> None:
    problem = case(n=12, d=3).where(options={"causal": True, "key_mask": np.arange(12) % 5 != 2})
    g, put = cotangent(problem), library.put
    options = {"causal": True, "key_mask": put(problem.options["key_mask"])}
    inputs = [problem.q, problem.k, problem.v, g]
    method, rng = aa.LSHSoftmax(bits=2, tables=2), np.random.default_rng
    grads = aa.attention_vjp(*(put(x) for x in inputs), method, rng=rng(1), **options)
    alone = aa.attention_vjp(*inputs, method, rng=rng(1), **problem.options)
    for name in ("dq", "dk", "dv"):
        np.testing.assert_allclose(
            library.get(getattr(grads, name)), getattr(alone, name), atol=1e-12
        )
    assert not alone.dk[2].any()
    assert not alone.dv[7].any()
