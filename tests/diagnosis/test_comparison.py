"""The comparison of methods: its errors are those of the methods, its costs add up, its advice
follows; its oracle by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.data import minilm_heads
from approxattn.diagnosis import comparison
from approxattn.diagnosis import singular_values as oracles
from approxattn.diagnosis.comparison import Trial, pareto


def problem(
    seed: int = 0, size: float = 1.0, shape: tuple[int, ...] = (2, 64, 4)
) -> list[HostArray]:
    return list(np.random.default_rng(seed).uniform(-size, size, (3, *shape)))


def diagnose(*qkv: HostArray, library: Library = NUMPY, **options: Any) -> aa.Regime:
    options = {
        name: library.put(x) if isinstance(x, np.ndarray) else x for name, x in options.items()
    }
    return aa.diagnose(*(library.put(x) for x in qkv), compare_methods=True, **options)


@pytest.mark.parametrize(
    "options", [{}, {"causal": True}, {"key_mask": np.arange(64) % 5 != 1}, {"scale": 1.5}]
)
def test_errors_are_those_of_the_methods(options: dict[str, Any]) -> None:
    q, k, v = problem()
    regime = diagnose(q, k, v, **options)
    exact = aa.attention(q, k, v, aa.Exact(), **options).value
    tried = [t for t in regime.trials if t.method is not None]
    assert len(tried) >= 4
    for trial in tried:
        if trial.method.randomised:
            continue
        value = aa.attention(q, k, v, trial.method, **options).value
        relative = np.linalg.norm(value - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
        assert trial.error == pytest.approx(np.median(relative), rel=1e-6)
    assert {type(t.method).__name__ for t in tried if options.get("causal")} <= {
        "Performer",
        "Polynomial",
        "FittedPolynomial",
    }
    # Our own names.
    assert all(eval(t.name, vars(aa).copy()) == t.method for t in tried)  # noqa: S307


def test_every_cost_is_within_its_budget_and_equal_to_exact_at_the_crossover() -> None:
    regime = diagnose(*problem(1, shape=(300, 8)))
    for trial in regime.trials:
        if trial.method is None:
            continue
        assert trial.cost <= max(comparison.BUDGETS)
        assert 1 <= trial.crossover <= 300
        smaller = [b for b in comparison.BUDGETS if b >= trial.cost]
        assert trial.cost > min(smaller) / 8 or "Polynomial" in trial.name
    pooled = next(t for t in regime.trials if t.name == "Linformer(rank=149, sketch='mean-pool')")
    assert pooled.cost == pytest.approx((149 * 16 + 16) / (300 * 16))
    assert pooled.crossover == 150


def test_spectrum_by_hand() -> None:
    q, k, v = problem(2, 2.0, (40, 4))
    w = np.exp(q @ k.T / 2)
    p = w / w.sum(axis=1, keepdims=True)
    spectrum = diagnose(q, k, v).spectrum
    assert spectrum is not None
    kappa = np.linalg.norm(p) * np.linalg.norm(v) / np.linalg.norm(p @ v)
    assert spectrum.kappa == pytest.approx(kappa)
    assert spectrum.sketch_rank == pytest.approx((kappa**2 + 1) / 0.01)
    u, s, vh = np.linalg.svd(p)
    for tolerance, rank in spectrum.output_ranks.items():
        errors = [
            np.linalg.norm((u[:, :r] * s[:r]) @ vh[:r] @ v - p @ v)
            for r in (int(rank) - 1, int(rank))
        ]
        assert errors[1] <= tolerance * np.linalg.norm(p @ v) < errors[0]


def test_singular_values_without_singular_vectors() -> None:
    q, k, v = problem(5, 3.0, (30, 4))
    w = np.exp(q[:12] @ k.T)
    p = w / w.sum(axis=1, keepdims=True)
    found, wanted = oracles.output_errors_of_rows(p, p @ v), oracles.output_errors(p, v)
    np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_hashes_needed() -> None:
    q, k, v = problem(6)
    regime = aa.diagnose(q, k, v)
    widest = np.max(v.max(axis=1) - v.min(axis=1))
    assert regime.hashes == {t: aa.Yoso.hashes_for(t * widest, 0.01, v) for t in (0.1, 0.01, 0.001)}
    assert "hashes, YOSO's kernel" in str(regime)


def test_certified_errors_hold() -> None:
    regime = diagnose(*problem(7, 0.3))
    tried = [t for t in regime.trials if t.method is not None]
    assert all(t.error <= t.certified for t in tried)
    assert any(t.certified < 1 for t in tried)


_HEADS = minilm_heads()
_HEAD = tuple(x[1, :1, :160].astype(np.float64) for x in (_HEADS.q, _HEADS.k, _HEADS.v))
REGIMES: dict[str, tuple[tuple[HostArray, ...], dict[str, Any]]] = {
    "a head": (_HEAD, {}),
    "scores x 1/4": (_HEAD, {"scale": 0.25 / np.sqrt(32)}),
    "scores x 2": (_HEAD, {"scale": 2 / np.sqrt(32)}),
    "scores x 4": (_HEAD, {"scale": 4 / np.sqrt(32)}),
    "random": (tuple(np.random.default_rng(8).normal(size=(3, 1, 160, 8))), {}),
    "nearly flat": (tuple(0.3 * np.random.default_rng(9).normal(size=(3, 1, 160, 4))), {}),
    "causal": (_HEAD, {"causal": True}),
    "masked": (_HEAD, {"key_mask": np.arange(160)[None] % 4 > 0}),
}


@pytest.mark.parametrize("name", REGIMES)
def test_the_advice_is_right_when_the_methods_are_run(name: str) -> None:
    (q, k, v), options = REGIMES[name]
    regime = diagnose(q, k, v, **options)
    exact = aa.attention(q, k, v, aa.Exact(), **options).value

    def error(method: Any) -> float:
        runs = [
            aa.attention(q, k, v, method, rng=np.random.default_rng(i), **options).value
            for i in range(3)
        ]
        return float(
            np.median([np.linalg.norm(run - exact) / np.linalg.norm(exact) for run in runs])
        )

    found = {
        t.name: error(t.method) for t in regime.trials if t.method is not None and not t.refused
    }
    front = pareto(regime.trials)
    if not front:  # then none may be better than the mean of v
        mean = next(t.error for t in regime.trials if t.name == "mean of v")
        assert min(found.values()) >= 0.8 * min(mean, 1.0)
        return
    best = front[-1]
    assert best.name in regime.advice
    assert found[best.name] <= 1.25 * min(found.values())
    if best.error <= 0.1:
        good = next(t for t in front if t.error <= 0.1)
        assert f"{good.name} comes within" in regime.advice
        assert found[good.name] <= 0.13
        cheaper = [
            t
            for t in regime.trials
            if t.method is not None and not t.refused and t.cost < good.cost
        ]
        assert all(found[t.name] > 0.08 for t in cheaper)


def test_the_front() -> None:
    def trial(cost: float, error: float) -> Trial:
        return Trial(name=f"{cost}", method=aa.Exact(), cost=cost, crossover=1.0, error=error)

    mean = Trial(
        name="mean of v", method=None, cost=float("nan"), crossover=float("nan"), error=0.8
    )
    trials = (
        trial(0.1, 0.9),
        trial(0.2, 0.7),
        trial(0.3, 0.75),
        trial(0.4, 0.5),
        trial(0.4, 0.6),
        mean,
    )
    assert [t.cost for t in pareto(trials)] == [0.2, 0.4]
    assert [t.error for t in pareto(trials)] == [0.7, 0.5]


def test_advice_on_real_heads_and_on_scaled_ones_is_right() -> None:
    heads = minilm_heads()
    raw = diagnose(heads.q, heads.k, heads.v)
    best = pareto(raw.trials)[-1]
    assert best.error > 0.1
    assert f"{best.name} has the least error" in raw.advice
    assert "take Exact()" in raw.advice
    small = diagnose(heads.q, heads.k, heads.v, scale=0.02 / np.sqrt(32))
    good = next(t for t in pareto(small.trials) if t.error <= 0.1)
    assert f"{good.name} comes within" in small.advice
    exact = aa.attention(heads.q, heads.k, heads.v, aa.Exact(), scale=0.02 / np.sqrt(32)).value
    value = aa.attention(
        heads.q,
        heads.k,
        heads.v,
        good.method,
        scale=0.02 / np.sqrt(32),
        rng=np.random.default_rng(0),
    ).value
    relative = np.linalg.norm(value - exact, axis=(-2, -1)) / np.linalg.norm(exact, axis=(-2, -1))
    assert np.median(relative) == pytest.approx(good.error, rel=0.3)


def test_a_refusal_is_no_failure() -> None:
    q, k, v = (x.astype(np.float32) for x in problem(3, 1.0, (64, 2)))
    regime = diagnose(q * np.float32(1e10), k * np.float32(1e10), v)
    refused = [t for t in regime.trials if t.refused]
    assert refused
    assert all(np.isinf(t.error) for t in refused)
    printed = " ".join(str(regime).split())  # long reasons go over several lines
    assert all(t.refused in printed for t in refused)


def test_a_method_that_memory_has_no_room_for_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        msg = "query_blocks(=8): keys of all blocks of queries would take 25.6 GiB; lower it"
        raise MemoryError(msg)

    monkeypatch.setattr("approxattn.methods.low_rank.clustered.check_memory", full)
    regime = diagnose(*problem(3, 1.0, (256, 8)))
    refused = {type(t.method).__name__: t.refused for t in regime.trials if t.refused}
    assert refused == {"Clustered": "too much memory, query_blocks(=8)"}
    assert any(np.isfinite(t.error) for t in regime.trials if t.method is not None)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_every_library_gives_the_same(library: Library) -> None:
    arrays, mask = problem(4, shape=(2, 32, 4)), np.arange(32) != 7
    found, host = (diagnose(*arrays, key_mask=mask, library=place) for place in (library, NUMPY))
    assert [t.name for t in found.trials] == [t.name for t in host.trials]
    np.testing.assert_allclose(
        [t.error for t in found.trials], [t.error for t in host.trials], rtol=1e-6
    )
