"""Methods at equal cost a token: what each costs, and the largest parameter that a budget allows.

Cost model, in multiply-adds a query, forward, n tokens with width d and dv, and s = n_k / n_q keys
a query:

    exact                     n_k (d + dv)
    Linformer, mean-pool, k   k (d + dv) + s (d + dv)
    Linformer, row-sample, k  k (d + dv)
    fitted values, rank k     k (d + dv) + s (d + dv) + min(4 k, n_q) (n_k (d + dv) + k (d + dv +
        k)) / n_q
    Clustered, T heavy keys   (T + K) (d + dv) + C s d + log2(C K^s) 12 d, K means and C query
        blocks, both the power of two up to T / 2
    Nystrom, L landmarks      L (d + dv) (1 + s) + (L^2 d + 3 t L^3) / n_q, t iterations of three
        products and one more
    Performer, m features     m (d + dv + 1) (1 + s)
    Polynomial, rank r        r (dv + 2) (1 + s)

A budget is a fraction of the cost of exact attention; each method gets the largest parameter within
it. Times differ by a constant factor in either direction. The crossover is the number of tokens n =
n_q = n_k at which the method, its parameter unchanged, costs as much as exact attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from approxattn._problem import Problem
from approxattn.methods.low_rank.clustered import Clustered
from approxattn.methods.low_rank.fitted_linformer import FittedLinformer
from approxattn.methods.low_rank.linformer import Linformer
from approxattn.methods.low_rank.nystrom import Nystrom
from approxattn.methods.polynomials.fitted_polynomial import FittedPolynomial
from approxattn.methods.polynomials.polynomial import Polynomial
from approxattn.methods.random_features.performer import Performer
from approxattn.monomials.index import rank as features_of

Cost = Callable[[float, float], float]
"""Multiply-adds a query, of the numbers of queries and of keys."""


def exact_cost(problem: Problem, n_k: float) -> float:
    """Return the multiply-adds a query of exact attention."""
    return n_k * (problem.d + problem.dv)


def crossover(cost: Cost, problem: Problem) -> float:
    """Return the number of tokens, by doubling and bisection."""

    def dearer(n: int) -> bool:
        return cost(n, n) > exact_cost(problem, n)

    low, high = 0, 1
    while dearer(high) and high < 2**200:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if dearer(middle) else (low, middle)
    return float(high)


def candidates(problem: Problem, budget: float) -> list[tuple[str, Any, Cost]]:
    """Return each method with the largest parameter that the budget allows, and its cost a
    query.
    """
    d, dv = problem.d, problem.dv
    width, n_q, n_k = d + dv, problem.n_q, problem.n_k

    def pool(k: int) -> Cost:
        return lambda q, n: k * width + n / q * width

    def rows(k: int) -> Cost:
        return lambda _q, _n: k * width

    def fitted(k: int) -> Cost:
        return lambda q, n: (k + n / q) * width + min(4 * k, q) * (n * width + k * (width + k)) / q

    def landmarks(count: int) -> Cost:
        return lambda q, n: count * width * (1 + n / q) + (count**2 * d + 24 * count**3) / q

    def heavy(count: int) -> Cost:
        blocks, levels = _blocks(count), 12 * d * math.log2(_blocks(count))
        return lambda q, n: (count + blocks) * width + (blocks * d + levels) * n / q + levels

    def features(m: int) -> Cost:
        return lambda q, n: m * (width + 1) * (1 + n / q)

    def monomials(g: int) -> Cost:
        return lambda q, n: min(features_of(d, g), 10**200) * (dv + 2) * (1 + n / q)

    def fitted_monomials(g: int) -> Cost:
        return lambda q, n: monomials(g)(q, n) + min(FittedPolynomial.rows, q) * n * width / q

    allowed = budget * exact_cost(problem, n_k)
    found: list[tuple[str, Any, Cost]] = []
    makers: tuple[tuple[Callable[[int], Cost], Callable[[int], Any], int, str], ...] = (
        (
            pool,
            lambda k: Linformer(rank=k, sketch="mean-pool"),
            1,
            "Linformer(rank={}, sketch='mean-pool')",
        ),
        (
            rows,
            lambda k: Linformer(rank=k, sketch="row-sample"),
            1,
            "Linformer(rank={}, sketch='row-sample')",
        ),
        (fitted, lambda k: FittedLinformer(rank=k), 1, "FittedLinformer(rank={})"),
        (heavy, _clustered, 2, "Clustered(heavy={0}, key_blocks={1}, query_blocks={1})"),
        (landmarks, lambda k: Nystrom(landmarks=k), 1, "Nystrom(landmarks={})"),
        (features, lambda m: Performer(features=m), 1, "Performer(features={})"),
        (
            monomials,
            lambda g: Polynomial(degree=g, basis="taylor"),
            2,
            "Polynomial(degree={}, basis='taylor')",
        ),
        (fitted_monomials, lambda g: FittedPolynomial(degree=g), 2, "FittedPolynomial(degree={})"),
    )
    for cost_of, make, step, name in makers:
        value = _largest(partial(_affordable, cost_of, allowed, n_q, n_k), step)
        if value:
            found.append((name.format(value, _blocks(value)), make(value), cost_of(value)))
    return found


def _blocks(heavy: int) -> int:
    """Return the largest power of two up to half of a number, at least 1."""
    return 1 << max(0, (heavy // 2).bit_length() - 1)


def _clustered(heavy: int) -> Clustered:
    return Clustered(heavy=heavy, key_blocks=_blocks(heavy), query_blocks=_blocks(heavy))


def _affordable(
    cost_of: Callable[[int], Cost], allowed: float, n_q: int, n_k: int, parameter: int
) -> bool:
    return cost_of(parameter)(n_q, n_k) <= allowed


def _largest(allowed: Callable[[int], bool], step: int) -> int:
    """Return the largest multiple of `step` that is allowed, 0 if none: allowed numbers are those
    up to some point.
    """
    if not allowed(step):
        return 0
    low, high = 1, 2
    while allowed(high * step):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allowed(middle * step) else (low, middle)
    return low * step
