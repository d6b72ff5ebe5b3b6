"""Attention to the k heaviest keys only (Tzachristas et al. 2025): exact errors.

A row P of positive weights with sum 1 is cut to a set H of keys (the head) and made to sum to 1
again: P^_j = P_j / (1 - tau) on H and 0 on the tail T, tau = sum_T P_j.

1. On H, P^_j - P_j = P_j tau / (1 - tau) > 0, with sum tau; on T it is -P_j, with sum -tau.
   So TV(P, P^) = tau.
2. P^_j / P_j = 1 / (1 - tau) for every j in H, so KL(P^ | P) = -ln(1 - tau).
3. With mu_H = sum_H P_j v_j / (1 - tau) and mu_T = sum_T P_j v_j / tau, the outputs are
   (1 - tau) mu_H + tau mu_T and mu_H, which differ by tau (mu_T - mu_H).
4. Let H hold the k largest scores, and let D be the gap to the next one. In units of the k-th
   weight, the head is h >= k and the tail is t <= (n - k) e^-D =: T.
   tau = t / (h + t), and T / (k + T) - t / (h + t) = (T (h - k) + k (T - t)) / ((k + T)(h + t)).

None of this needs that H holds the largest weights, except step 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.tzachristas_2025.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)
_SIZES = ((3, 1), (5, 2), (6, 4))
"""Keys n, and keys kept k."""


def _source(place: str) -> Source:
    return Source(
        citation=CITATION,
        place=place,
        fidelity="constants made explicit",
        wording_verified=True,
    )


def _row(n: int, k: int) -> tuple[list[Any], list[Any], Any]:
    """A row P of free positive weights, its truncation, and tau."""
    from sympy import QQ, field

    _, *free = field([f"p{j}" for j in range(n)], QQ)
    total = sum(free[1:], free[0])
    row = [p / total for p in free]
    tau = sum(row[k + 1 :], row[k])
    cut = [p / (1 - tau) if j < k else 0 * p for j, p in enumerate(row)]
    return row, cut, tau


def _tail_mass(part: Fraction = ONE) -> Iterator[Identity]:
    """Step 1: the parts where P^ is above P and where it is below, known by their signs."""
    for n, k in _SIZES:
        row, cut, tau = _row(n, k)
        above = [c - p for c, p in zip(cut[:k], row[:k], strict=True)]
        below = [p - c for c, p in zip(cut[k:], row[k:], strict=True)]
        for j, (a, p) in enumerate(zip(above, row[:k], strict=True)):
            yield Identity(a, p * tau / (1 - tau), f"n, k = {n, k}: P^_{j} >= P_{j}")
        half = (sum(above[1:], above[0]) + sum(below[1:], below[0])) / 2
        yield Identity(half, part * tau, f"n, k = {n, k}: half the sum of |P^ - P|")


def _divergence(power: int = 1) -> Iterator[Identity]:
    """Step 2: e^KL is the product of (P^_j / P_j)^P^_j, whose bases are all 1 / (1 - tau)."""
    for n, k in _SIZES:
        row, cut, tau = _row(n, k)
        for j in range(k):
            yield Identity(cut[j] / row[j], (1 - tau) ** -power, f"n, k = {n, k}: ratio {j}")
        yield Identity(sum(cut[1:], cut[0]), 1, f"n, k = {n, k}: the exponents sum to 1")


def _output(part: Fraction = ONE) -> Iterator[Identity]:
    from sympy import QQ, field

    for n, k in _SIZES:
        _, *free = field([*(f"p{j}" for j in range(n)), *(f"v{j}" for j in range(n))], QQ)
        weights, v = free[:n], free[n:]
        total = sum(weights[1:], weights[0])
        terms = [p / total * x for p, x in zip(weights, v, strict=True)]
        tau = sum(weights[k + 1 :], weights[k]) / total
        head, tail = sum(terms[1:k], terms[0]), sum(terms[k + 1 :], terms[k])
        exact, cut = head + tail, head / (1 - tau)
        gap = part * tau * (tail / tau - head / (1 - tau))
        yield Identity(exact - cut, gap, f"n, k = {n, k}")


def _gap_step() -> Iterator[Identity]:
    from sympy import QQ, field

    _, h, k, t, most = field("h, k, t, T", QQ)
    left = most / (k + most) - t / (h + t)
    right = (most * (h - k) + k * (most - t)) / ((k + most) * (h + t))
    yield Identity(left, right, "step 4: both parts of the numerator are at least 0")


def _gap_attained(_bits: int, part: Fraction = ONE) -> list[Comparison]:
    """k equal weights 1 and n - k equal weights 2^-e: the gap is e ln 2."""
    found = []
    for n, k in ((4, 1), (64, 8), (4096, 64)):
        for e in (0, 1, 5, 12):
            small = Fraction(1, 2**e)
            weights = [ONE] * k + [small] * (n - k)
            tau = sum(weights[k:], Fraction(0)) / sum(weights, Fraction(0))
            bound = (n - k) * small / (k + (n - k) * small)
            found.append(Comparison(tau, part * bound, f"n, k = {n, k}, gap {e} ln 2"))
    return found


_SCOPE = "(n, k) = (3, 1), (5, 2), (6, 4), all positive weights"

THEOREMS = (
    Theorem(
        key="top-k.tail-mass",
        title="the total variation of a truncated row is the mass cut off",
        statement="TV(P, P^) = τ, the mass of P outside the kept keys.",
        source=_source("abstract"),
        reading="any set of kept keys, not only the k largest weights",
        experiments=(Symbolic(identities=_tail_mass, covers="statement", scope=_SCOPE),),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_tail_mass, Fraction(21, 20)),
            covers="statement",
            scope="21/20 of the mass",
        ),
        remarks=(
            "ours.reweighted-keys bounds a row whose kept keys are weighted anew; at equal weights "
            "this is its exact value.",
        ),
    ),
    Theorem(
        key="top-k.divergence",
        title="total variation from the Kullback-Leibler divergence",
        statement="TV(P, P^) = 1 - exp(-KL(P^ ‖ P)).",
        source=_source("abstract"),
        reading="every ratio P^_j/P_j on the kept keys is 1/(1 - τ), so KL = -ln(1 - τ)",
        experiments=(Symbolic(identities=_divergence, covers="statement", scope=_SCOPE),),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_divergence, 2), covers="statement", scope="KL twice as large"
        ),
        uses=("top-k.tail-mass",),
    ),
    Theorem(
        key="top-k.output-error",
        title="the output error of a truncated row, exactly",
        statement=(
            "out - out_k = τ (μ_tail - μ_head), with the means of the values over tail and head."
        ),
        source=_source("abstract"),
        reading="one column of the values; the norm of the paper follows column by column",
        experiments=(
            Symbolic(identities=_output, covers="statement", scope=f"{_SCOPE}, all values"),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_output, Fraction(21, 20)),
            covers="statement",
            scope="21/20 of the error",
        ),
    ),
    Theorem(
        key="top-k.gap",
        title="the mass cut off, from the gap at the boundary",
        statement=(
            "τ <= (n - k) e^-Δ / (k + (n - k) e^-Δ), Δ the gap between the k-th and the next "
            "score; equality for k equal and n - k equal scores."
        ),
        source=Source(
            citation=CITATION,
            place="abstract, the bound from a single boundary gap",
            fidelity="constants made explicit",
        ),
        reading="the constant is ours: the abstract names the bound and does not print it",
        experiments=(
            Symbolic(
                identities=_gap_step, covers="statement", scope="all n, k, scores: step 4 decides"
            ),
            Enclose(
                certify=_gap_attained,
                covers="statement",
                scope="equality at n up to 4096, gaps 0, ln 2, 5 ln 2, 12 ln 2",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_gap_attained, part=Fraction(99, 100)),
            covers="statement",
            scope="99/100 of the bound",
        ),
        uses=("top-k.tail-mass",),
    ),
)
