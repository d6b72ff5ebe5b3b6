"""Centred queries: the same attention, bounds that hold, certificates and gradients with weights on
the keys.
"""

from __future__ import annotations

import array_api_compat.numpy as xp
import numpy as np
import pytest
from dense_attention import EXTENDED, exact

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import Problem, pose
from approxattn.bounds.scores import row_norms
from approxattn.data import minilm_heads
from approxattn.methods.polynomials.centring import centre_scores
from approxattn.methods.polynomials.metric import balancing, moment, score_bounds_of

PROBLEMS = 250


def offset_problem(rng: np.random.Generator) -> tuple[list[HostArray], dict[str, object]]:
    """q, k, v whose queries have something in common, as those of trained heads have; n from 1 to
    30, masks, both dtypes.
    """
    n, d = int(rng.integers(1, 31)), int(rng.integers(1, 5))
    n_q = n if rng.random() < 0.6 else int(rng.integers(1, 6))
    q, k, v = (
        rng.standard_normal((m, d)) if rng.random() < 0.6 else rng.integers(-2, 3, (m, d)) * 1.0
        for m in (n_q, n, n)
    )
    q = 2.0 ** rng.integers(-8, 2) * q + rng.integers(-3, 4, d) * 2.0 ** rng.integers(-3, 2)
    if rng.random() < 0.5:
        k = k * np.exp2(rng.integers(-6, 1, d))
    options: dict[str, object] = {"scale": float(2.0 ** rng.integers(-4, 1))}
    if n_q == n and rng.random() < 0.5:
        options["causal"] = True
    if rng.random() < 0.4:
        options["key_mask"] = (rng.random(n) < 0.6) | (np.arange(n) == 0)
    dtype = np.float64 if rng.random() < 0.5 else np.float32
    return [x.astype(dtype) for x in (q, k, v)], options


METHODS = (
    aa.Polynomial(degree=2, basis="taylor"),
    aa.Polynomial(degree=8, basis="taylor", gradient="plug-in"),
    aa.Polynomial(degree=20, basis="taylor"),
    aa.Polynomial(tolerance=1e-3, basis="taylor", fallback=False),
    aa.Polynomial(degree=12, basis="taylor", centre="none"),
)


def hunt(seed: int, count: int) -> dict[str, float]:
    """Return the largest error / bound of outputs and gradients, and how often queries were
    centred.
    """
    rng = np.random.default_rng(seed)
    largest = {"value": 0.0, "dq": 0.0, "dk": 0.0, "dv": 0.0, "centred": 0.0}
    for number in range(count):
        (q, k, v), options = offset_problem(rng)
        dout = rng.integers(-2, 3, (q.shape[0], v.shape[1])).astype(q.dtype)
        method = METHODS[number % len(METHODS)]
        try:
            out = aa.attention(q, k, v, method, **options)
            grads = aa.attention_vjp(q, k, v, dout, method, **options)
        except ValueError as refusal:
            assert ": " in str(refusal)  # noqa: PT017 - a refusal with its remedy
            continue
        largest["centred"] += out.certificate.facts.get("queries centred") == "yes"
        pairs = [("value", out.value, out.certificate.rows, exact(q, k, v, **options))]
        reference = exact(q, k, v, **options, dout=dout)
        pairs += [
            (name, getattr(grads, name), getattr(grads.certificate, name), x)
            for name, x in zip(("dq", "dk", "dv"), reference, strict=True)
        ]
        for name, value, rows, true in pairs:
            bounded = np.isfinite(rows)
            error = np.abs(value.astype(EXTENDED) - true).max(-1)[bounded]
            noise = 1e-17 * (1 + np.abs(true).max(initial=0))  # of the reference
            ratio = np.where(error > noise, (error - noise) / np.maximum(rows[bounded], 1e-300), 0)
            largest[name] = max(largest[name], float(ratio.max(initial=0)))
    return largest


def test_no_error_above_its_certificate() -> None:
    largest = hunt(0, PROBLEMS)
    print(largest)
    assert largest.pop("centred") > 0.3 * PROBLEMS
    assert max(largest.values()) <= 1
    assert all(ratio > 0.05 for ratio in largest.values()), (
        "the hunt would not notice bounds ten times too small"
    )


def scores_of(problem: Problem) -> tuple[HostArray, HostArray, HostArray]:
    """Centred scores, exact scores and log weights, in extended precision."""
    found = centre_scores(problem)
    q, k = (x.astype(EXTENDED) for x in (found.queries, found.keys))
    log_w = (
        np.zeros(problem.n_k)
        if found.weights is None
        else np.log(np.maximum(found.weights[:, 0].astype(EXTENDED), 1e-300))
    )
    return (
        EXTENDED(problem.scale) * q @ k.T,
        EXTENDED(problem.scale) * problem.q.astype(EXTENDED) @ problem.k.astype(EXTENDED).T,
        log_w,
    )


def test_centring_shifts_each_row_by_a_constant_and_bounds_hold() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        (q, k, v), options = offset_problem(rng)
        problem = pose(q, k, v, **options)
        seen = np.ones(problem.n_k, bool) if problem.key_mask is None else problem.key_mask
        found = centre_scores(problem)
        centred, whole, log_w = scores_of(problem)
        assert np.all(np.abs(centred[:, seen]) <= found.bound[:, None])
        assert np.all(found.bound <= found.size)
        gap = (centred + log_w - whole)[:, seen]
        slack = 4 * problem.u * problem.d * np.abs(q).max() * np.abs(k).max() * problem.scale
        assert np.all(gap.max(-1) - gap.min(-1) <= found.log_error + 8 * slack + 1e-15)


def test_log_error_bounds_the_weights_as_computed() -> None:
    rng = np.random.default_rng(5)
    largest = 0.0
    for _ in range(200):
        (q, k, v), options = offset_problem(rng)
        problem = pose(q, k, v, **options)
        found = centre_scores(problem)
        if found.weights is None:
            continue
        seen = np.ones(problem.n_k, bool) if problem.key_mask is None else problem.key_mask
        k64 = found.keys.astype(EXTENDED)[seen]
        gap = np.log(found.weights[seen, 0].astype(EXTENDED)) - EXTENDED(
            problem.scale
        ) * k64 @ found.middle[0].astype(EXTENDED)
        largest = max(largest, float((gap.max() - gap.min()) / found.log_error[0]))
    assert 0.05 < largest <= 1


def test_consistent_gradient_passes_a_gradient_check_with_centred_queries() -> None:
    rng = np.random.default_rng(3)
    for n, causal in ((12, False), (12, True), (90, False), (90, True)):
        q, k, v, g = rng.uniform(-1, 1, (4, n, 2))
        q = 0.5 * q + np.array([1.5, -1.0])
        mask = np.arange(n) != 5
        method = aa.Polynomial(degree=2, basis="taylor", gradient="consistent")
        inputs = {"dq": q, "dk": k, "dv": v}
        grads = aa.attention_vjp(q, k, v, g, method, causal=causal, key_mask=mask)
        assert grads.certificate.facts["queries centred"] == "yes"
        for name in inputs:
            direction = rng.standard_normal((n, 2))

            def loss(
                t: float,
                name=name,
                direction=direction,
                inputs=inputs,
                causal=causal,
                mask=mask,
                g=g,
                method=method,
            ) -> float:
                moved = [x + t * direction * (key == name) for key, x in inputs.items()]
                return float(
                    np.sum(g * aa.attention(*moved, method, causal=causal, key_mask=mask).value)
                )

            slope = (8 * (loss(1e-3) - loss(-1e-3)) - (loss(2e-3) - loss(-2e-3))) / 12e-3
            assert slope == pytest.approx(
                float(np.sum(direction * getattr(grads, name))), rel=1e-7, abs=1e-9
            )


def test_heads_that_gain_are_centred_each_for_itself_and_keys_can_be_shared() -> None:
    rng = np.random.default_rng(2)
    q = rng.uniform(-1, 1, (2, 3, 20, 4))
    q[1] += 2.0
    k, v = rng.uniform(-1, 1, (2, 1, 20, 4)), rng.uniform(-1, 1, (2, 1, 20, 4))
    method = aa.Polynomial(degree=4, basis="taylor")
    shared = aa.attention(q, k, v, method)  # heads that share keys are one group
    assert shared.certificate.facts["queries centred"] == "1 of 2"
    out = aa.attention(q, *(np.repeat(x, 3, axis=1) for x in (k, v)), method)
    assert out.certificate.facts["queries centred"] == "3 of 6"
    assert np.all(
        np.abs(out.value - aa.attention(q, k, v, aa.Exact()).value).max(-1) <= out.certificate.rows
    )
    for i in range(2):
        alone = aa.attention(q[i, 1], k[i, 0], v[i, 0], method)
        np.testing.assert_allclose(out.value[i, 1], alone.value, atol=1e-13)
        np.testing.assert_allclose(out.certificate.rows[i, 1], alone.certificate.rows, rtol=1e-6)


def test_weights_that_would_spread_too_far_leave_the_queries_alone() -> None:
    rng = np.random.default_rng(4)
    q, k, v = rng.standard_normal((3, 50, 2)).astype(np.float32)
    q = 0.1 * q + 30.0
    facts = aa.attention(q, k, v, aa.Polynomial(degree=2, basis="taylor")).certificate.facts
    assert facts["queries centred"] == "no"
    with pytest.raises(ValueError, match=r"centre\(='queries'\) must be one of 'both', 'keys'"):
        aa.Polynomial(degree=2, centre="queries")


def test_balancing_is_exact_and_its_bound_the_smaller_one() -> None:
    rng = np.random.default_rng(6)
    stretch = np.array([10.0, 1.0, 0.1])
    q, k = rng.standard_normal((2, 40, 3)) * np.stack([stretch, 1 / stretch])[:, None]
    s, r = balancing(*(moment(x, row_norms(x, xp), xp) for x in (q, k)), 1e-10)
    np.testing.assert_allclose(s.T @ r, np.eye(3), atol=1e-12)
    bound, plain = score_bounds_of(q, k, pose(q, k, k, scale=1.0))
    largest = np.abs(q @ k.T).max(-1)
    assert np.all(largest <= bound)
    assert bound.max() < 0.3 * plain.max()


def test_real_heads_get_smaller_bounds() -> None:
    heads = minilm_heads()
    problem = pose(heads.q, heads.k, heads.v)
    both, keys = (centre_scores(problem, centre) for centre in ("both", "keys"))
    largest = [np.max(x, axis=-1) for x in (both.bound, keys.bound, keys.size)]
    assert np.all(largest[0] <= largest[2] * (1 + 1e-9))
    assert np.median(largest[0]) < 0.75 * np.median(largest[2])


def test_without_centres_later_tokens_have_no_influence_and_certificates_hold() -> None:
    rng = np.random.default_rng(4)
    q, k, v, dout = rng.standard_normal((4, 40, 3))
    later = np.arange(40) >= 20
    changed = [np.where(later[:, None], 3 * x + 1, x) for x in (q, k, v)]
    for degree in (2, 8):
        method = aa.Polynomial(degree=degree, basis="taylor", centre="none")
        kept, moved = (
            aa.attention(*x, method, causal=True).value[:20] for x in ((q, k, v), changed)
        )
        assert np.max(np.abs(kept - moved)) <= 1e-14
        for kind in ("consistent", "plug-in"):
            found = aa.attention_vjp(
                q,
                k,
                v,
                dout,
                aa.Polynomial(degree=8, basis="taylor", centre="none", gradient=kind),
                causal=True,
            )
            reference = exact(q, k, v, 3**-0.5, causal=True, dout=dout)
            for name, true in zip(("dq", "dk", "dv"), reference, strict=True):
                error = np.abs(getattr(found, name) - true).max(-1)
                assert np.all(error <= getattr(found.certificate, name))
    centred = aa.Polynomial(degree=2, basis="taylor")
    kept, moved = (aa.attention(*x, centred, causal=True).value[:20] for x in ((q, k, v), changed))
    assert np.max(np.abs(kept - moved)) > 0.01, "the centre of the keys comes from all of them"


def test_consistent_gradient_without_centres_passes_a_gradient_check() -> None:
    rng = np.random.default_rng(5)
    q, k, v, dout, direction = rng.uniform(-1, 1, (5, 30, 2))
    k = k + 1.5
    method = aa.Polynomial(degree=4, basis="taylor", centre="none", gradient="consistent")
    grads = aa.attention_vjp(q, k, v, dout, method, causal=True)
    for name, place in (("dq", 0), ("dk", 1), ("dv", 2)):

        def loss(t: float, place: int = place) -> float:
            moved = [x + t * direction * (place == i) for i, x in enumerate((q, k, v))]
            return float(np.sum(dout * aa.attention(*moved, method, causal=True).value))

        slope = (8 * (loss(1e-3) - loss(-1e-3)) - (loss(2e-3) - loss(-2e-3))) / 12e-3
        assert slope == pytest.approx(
            float(np.sum(direction * getattr(grads, name))), rel=1e-7, abs=1e-9
        )
