"""N. Halko, P. G. Martinsson, J. A. Tropp: the expected loss of a randomised range finder.

"Finding Structure with Randomness", SIAM Review 53 (2011), 217-288. The range of A is found from A
times a Gaussian matrix Omega of r + p columns. Q spans the range of A Omega, and (1 - Q Q^T) A is
what is lost. The paper bounds its expectation by the singular values beyond r.

Here: the Frobenius bound (10.5) and the spectral bound (10.6), the two expectations they rest on,
and a sample.

Read: no part of the paper's own text; the statements are known from other sources, wording
unverified.

    paper                here
    k, p                 r, p: rank aimed at, oversampling
    Sigma_2              singular values beyond r; T = |Sigma_2|_F
    Omega_1, Omega_2     the first r and the other rows of Omega in the basis of right singular
                         vectors: independent Gaussian matrices
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from proofs_check.papers.halko_2011.source import CITATION
from proofs_check.statements.experiment import Identity, Plan, Sample, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- what the proof rests on ----------------------------------------------------------------------
# 1. |(1 - Q Q^T) A|_F^2 <= |Sigma_2|_F^2 + |Sigma_2 Omega_2 Omega_1^+|_F^2 (structural bound).
# 2. E|S G T|_F^2 = |S|_F^2 |T|_F^2 for a Gaussian G. Given Omega_1 it is used with G = Omega_2.
# 3. E|Omega_1^+|_F^2 = tr E (Omega_1 Omega_1^T)^-1 = r/(p - 1) for p >= 2.
# 4. Together E|(1 - Q Q^T) A|_F^2 <= (1 + r/(p - 1)) T^2, and Jensen's inequality takes the root.
#
# For r = 1 the expectation of 3 is that of 1/chi^2 with p + 1 degrees of freedom. Row by row it is
# that for every r (Schur complements), r times.


def _expectations(offset: int = 1) -> Iterator[Identity]:
    import sympy as sp

    x = sp.symbols("x", positive=True)
    for p in (2, 3, 5, 8):
        density = (
            x ** sp.Rational(p - 1, 2)
            * sp.exp(-x / 2)
            / (2 ** sp.Rational(p + 1, 2) * sp.gamma(sp.Rational(p + 1, 2)))
        )
        found = sp.simplify(sp.integrate(density / x, (x, 0, sp.oo)))
        yield Identity(
            found, sp.Rational(1, p - offset) if p > offset else sp.oo, f"E 1/chi^2_{p + 1}"
        )


def _second_moment() -> Iterator[Identity]:
    """E|S G T|_F^2 for a 2 x 2 Gaussian G: only squares of its entries survive."""
    from sympy import QQ, ring

    _, *s = ring(
        [
            *(f"s{i}{j}" for i in range(2) for j in range(2)),
            *(f"t{i}{j}" for i in range(2) for j in range(2)),
        ],
        QQ,
    )
    left, right = (
        np.array(s[:4], dtype=object).reshape(2, 2),
        np.array(s[4:], dtype=object).reshape(2, 2),
    )
    found = 0 * s[0]
    for a in range(2):
        for b in range(2):
            unit = np.zeros((2, 2), dtype=int)
            unit[a, b] = 1
            found += np.sum((left @ unit @ right) ** 2)
    yield Identity(found, np.sum(left**2) * np.sum(right**2), "E|S G T|_F^2 = |S|_F^2 |T|_F^2")


def _parts() -> Iterator[Identity]:
    yield from _expectations()
    yield from _second_moment()


# --- a sample -------------------------------------------------------------------------------------
# A diagonal matrix will do: the distribution of Omega does not change under rotations. Bounded
# draws: what is lost is at most |A|.

_SIGMA = (64.0, 32.0, 16.0, *(1.0,) * 17)
_RANK, _EXTRA = 3, 4


def _lost(rng: np.random.Generator, m: int) -> Any:
    sigma = np.array(_SIGMA)
    q, _ = np.linalg.qr(sigma[:, None] * rng.standard_normal((m, len(sigma), _RANK + _EXTRA)))
    return np.eye(len(sigma))[None] * sigma - q @ (np.swapaxes(q, 1, 2) * sigma)


def frobenius(rng: np.random.Generator, m: int) -> Any:
    """Draw m times what is lost, in the Frobenius norm."""
    return np.linalg.norm(_lost(rng, m), axis=(1, 2))


def spectral(rng: np.random.Generator, m: int) -> Any:
    """Draw m times what is lost, in the spectral norm."""
    return np.linalg.norm(_lost(rng, m), ord=2, axis=(1, 2))


def bound(kind: str, sigma: tuple[float, ...] = _SIGMA, r: int = _RANK, p: int = _EXTRA) -> float:
    """The right-hand side of (10.5) or (10.6)."""
    tail = math.sqrt(sum(s * s for s in sigma[r:]))
    if kind == "frobenius":
        return math.sqrt(1 + r / (p - 1)) * tail
    return (1 + math.sqrt(r / (p - 1))) * sigma[r] + math.e * math.sqrt(r + p) / p * tail


def _sampled(kind: str, factor: float = 1.0) -> Sample:
    draw = {"frobenius": frobenius, "spectral": spectral}[kind]
    size = math.sqrt(sum(s * s for s in _SIGMA)) if kind == "frobenius" else _SIGMA[0]
    sampler = (
        f"singular values 64, 32, 16 and 17 ones, r = {_RANK}, p = {_EXTRA}, Gaussian test matrix"
    )
    return Sample(
        draw=draw,
        claim="mean <=",
        target=factor * bound(kind),
        plan=Plan(n=4000, sampler=sampler),
        bounds=(-1e-9, size + 1e-9),
        scope=sampler + ("" if factor == 1 else f"; the bound times {factor:g}"),
    )


THEOREMS = (
    Theorem(
        key="hmt.frobenius",
        title="randomised range finder, Frobenius norm",
        statement=(
            "E‖(1 - Q Qᵀ) A‖_F <= sqrt(1 + r/(p - 1)) (Σ_{j>r} σ_j²)^{1/2} for p >= 2, Q a basis "
            "of the range of A Ω, Ω Gaussian with r + p columns."
        ),
        source=Source(citation=CITATION, place="Theorem 10.5", fidelity="constants made explicit"),
        reading="every A; r + p at most its smaller size",
        experiments=(
            Symbolic(
                identities=_parts,
                scope=(
                    "the expectations it rests on: r/(p - 1) for r = 1 and p = 2, 3, 5, 8; E|S G "
                    "T|² for 2 x 2 matrices"
                ),
            ),
            _sampled("frobenius"),
        ),
        expected=Status.PROVED,
        mutant=_sampled("frobenius", 0.5),
        remarks=(
            "The structural bound and the step from r = 1 to every r are in the comment above the "
            "entry.",
        ),
    ),
    Theorem(
        key="hmt.spectral",
        title="randomised range finder, spectral norm",
        statement=(
            "E‖(1 - Q Qᵀ) A‖₂ <= (1 + sqrt(r/(p - 1))) σ_{r+1} + (e sqrt(r + p)/p) (Σ_{j>r} "
            "σ_j²)^{1/2} for p >= 2."
        ),
        source=Source(citation=CITATION, place="Theorem 10.6", fidelity="constants made explicit"),
        reading="as hmt.frobenius",
        experiments=(_sampled("spectral"),),
        expected=Status.SUPPORTED,
        mutant=_sampled("spectral", 0.1),
        uses=("hmt.frobenius",),
    ),
)
