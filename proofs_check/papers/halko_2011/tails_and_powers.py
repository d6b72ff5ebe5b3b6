"""Tails of the loss of a range finder, and the range finder with powers of A A^T.

Letters and steps: `range_finder`. For A with r + p + 1 columns the loss is at most sigma_{r+1} /
sqrt(B), B of the Beta distribution with parameters (p + 1)/2 and r/2 (steps 1 to 4). It has rank 1,
so both norms of it agree. T >= sigma_{r+1}. So

1. (10.7) allows at least (1 + t sqrt(3 r/(p + 1)) + u t e sqrt(r + p)/(p + 1)) sigma_{r+1};
2. (10.8) allows at least the same plus t e sqrt(r + p)/(p + 1) sigma_{r+1};
3. each fails with probability at most Pr(B < m^{-2}), m the factor of sigma_{r+1}. That is an
   incomplete Beta function, enclosed by ball arithmetic.

The two theorems are quoted in the form of the printed article; earlier versions have larger
constants.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.halko_2011.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Plan, Sample
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

_CASES = tuple(
    itertools.product(
        (1, 2, 4, 8), (4, 6, 8), (Fraction(3, 2), Fraction(2), Fraction(3)), (1, 2, 3)
    )
)
"""r, p, t, u."""


def _below(x: Any, r: int, p: int) -> Any:
    """Pr(B < x)."""
    from flint import arb, fmpq

    return arb(x).beta_lower(arb(fmpq(p + 1, 2)), arb(fmpq(r, 2)), regularized=True)


def _factor(r: int, p: int, t: Fraction, u: int, *, spectral: bool) -> Any:
    """What is allowed over sigma_{r+1} where the other values beyond r are small."""
    from flint import arb

    step = ball(t) * arb(1).exp() * arb(r + p).sqrt() / (p + 1)
    first = 1 + ball(t) * ball(Fraction(3 * r, p + 1)).sqrt()
    return first + u * step + (step if spectral else 0)


def _tails(_bits: int, *, spectral: bool, part: Fraction = Fraction(1)) -> list[Comparison]:
    from flint import arb

    def pairs() -> Iterator[Comparison]:
        for r, p, t, u in _CASES:
            factor = _factor(r, p, t, u, spectral=spectral)
            claimed = 2 / ball(t) ** p + (-arb(u * u) / 2).exp()
            label = f"r = {r}, p = {p}, t = {t}, u = {u}"
            yield Comparison(_below(1 / factor**2, r, p), claimed * ball(part), label)

    return list(pairs())


_SCOPE = (
    "every A with r + p + 1 columns, r = 1, 2, 4, 8, p = 4, 6, 8, t = 3/2, 2, 3, u = 1, 2, 3, by "
    "incomplete Beta functions"
)


def _deviation(*, spectral: bool, part: Fraction) -> Theorem:
    """Theorem 10.7 or 10.8."""
    lost, number = ("‖(1 - Q Qᵀ) A‖₂", 8) if spectral else ("‖(1 - Q Qᵀ) A‖_F", 7)
    t, s = "(Σ_{j>r} σ_j²)^{1/2}", "σ_{r+1}"
    first = (
        f"(1 + t sqrt(3r/(p + 1))) {s} + t e sqrt(r + p)/(p + 1) {t}"
        if spectral
        else f"(1 + t sqrt(3r/(p + 1))) {t}"
    )
    norm = "spectral" if spectral else "Frobenius"
    return Theorem(
        key=f"hmt.{norm.lower()}-tail",
        title=f"tail of the loss of a range finder, {norm} norm",
        statement=(
            f"{lost} <= {first} + u t e sqrt(r + p)/(p + 1) {s}, but for a probability of at most "
            "2 t^(-p) + e^(-u²/2), for p >= 4 and t, u >= 1."
        ),
        source=Source(
            citation=CITATION, place=f"Theorem 10.{number}", fidelity="constants made explicit"
        ),
        reading="where 2 t^(-p) + e^(-u²/2) >= 1 nothing is claimed",
        experiments=(
            Enclose(certify=partial(_tails, spectral=spectral), covers="statement", scope=_SCOPE),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_tails, spectral=spectral, part=part),
            covers="statement",
            scope=f"the probability times 1/{1 / part}",
        ),
        uses=("hmt.frobenius",),
        remarks=("With so few columns the bound has much room: the mutant's factor is that room.",),
    )


# --- powers ---------------------------------------------------------------------------------------

_SIGMA = (8.0, 6.0, 4.0, *(1.0,) * 17)
_RANK, _EXTRA, _POWER = 3, 4, 1


def _draw_power(rng: np.random.Generator, m: int) -> np.ndarray:
    """Spectral losses of the range finder with q = 1, m times."""
    sigma = np.array(_SIGMA)
    omega = rng.standard_normal((m, len(sigma), _RANK + _EXTRA))
    q, _ = np.linalg.qr(sigma[:, None] ** (2 * _POWER + 1) * omega)
    lost = np.eye(len(sigma))[None] * sigma - q @ (np.swapaxes(q, 1, 2) * sigma)
    return np.asarray(np.linalg.norm(lost, ord=2, axis=(1, 2)))


def _power_bound() -> float:
    """The right-hand side of (10.10)."""
    k = 2 * _POWER + 1
    tail = math.sqrt(sum(s ** (2 * k) for s in _SIGMA[_RANK:]))
    first = (1 + math.sqrt(_RANK / (_EXTRA - 1))) * _SIGMA[_RANK] ** k
    whole = first + math.e * math.sqrt(_RANK + _EXTRA) / _EXTRA * tail
    return float(whole ** (1 / k))


def _sampled(factor: float = 1.0) -> Sample:
    sampler = "singular values 8, 6, 4 and 17 ones, r = 3, p = 4, q = 1, Gaussian test matrix"
    return Sample(
        draw=_draw_power,
        claim="mean <=",
        target=factor * _power_bound(),
        plan=Plan(n=4000, sampler=sampler),
        bounds=(-1e-9, _SIGMA[0] + 1e-9),
        covers="statement",
        scope=sampler + ("" if factor == 1 else f"; the bound times {factor:g}"),
    )


POWER = Theorem(
    key="hmt.power-iteration",
    title="randomised range finder with powers of A Aᵀ",
    statement=(
        "E‖(1 - Q Qᵀ) A‖₂ <= [(1 + sqrt(r/(p - 1))) σ_{r+1}^(2q+1) + (e sqrt(r + p)/p) (Σ_{j>r} "
        "σ_j^(2(2q+1)))^{1/2}]^(1/(2q+1)), Q a basis of the range of (A Aᵀ)^q A Ω."
    ),
    source=Source(citation=CITATION, place="Corollary 10.10", fidelity="constants made explicit"),
    reading="one spectrum is sampled, q = 1",
    experiments=(_sampled(),),
    expected=Status.SUPPORTED,
    mutant=_sampled(0.45),
    uses=("hmt.spectral", "hmt.power-projection"),
)

THEOREMS = (
    _deviation(spectral=False, part=Fraction(1, 1400)),
    _deviation(spectral=True, part=Fraction(1, 7000)),
    POWER,
)
