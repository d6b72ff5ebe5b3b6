"""N. Halko, P. G. Martinsson, J. A. Tropp: the expected loss of a randomised range finder.

"Finding Structure with Randomness", SIAM Review 53 (2011), 217-288. The range of A is found from A
times a Gaussian matrix Omega of r + p columns. Q spans the range of A Omega, and (1 - Q Q^T) A is
what is lost. The paper bounds its expectation by the singular values beyond r.

Here: the Frobenius bound (10.5), the spectral bound (10.6), and what the first rests on. The
structural bound is in `structural`, tails and powers are in `tails_and_powers`.

Read: no part of the paper's own text; the statements are known from other sources, wording
unverified.

    paper                here
    k, p                 r, p: rank aimed at, oversampling; l = r + p
    Sigma_1, Sigma_2     the first r singular values, and those beyond; T = |Sigma_2|_F
    Omega_1, Omega_2     the first r and the other rows of Omega in the basis of right singular
                         vectors: independent Gaussian matrices
    P                    Q Q^T, the projection on the range of A Omega

A with one column more than Omega, n = r + p + 1, without any of the paper's lemmas. A rotation of A
and the addition of a small multiple of 1 make A diagonal and invertible, A = diag(sigma):

1. 1 - P = x x^T for a unit vector x with (A Omega)^T x = 0. Let g be the vector of the signed
   maximal minors of Omega, so that Omega^T g = 0. Then x is A^{-1} g over its length.
2. The loss is |A^T x| = |g| / |A^{-1} g|. So with h = g/|g| its square is 1 / sum_i h_i^2 /
   sigma_i^2.
3. sum_i h_i^2/sigma_i^2 >= (1/sigma_{r+1}^2) B with B = sum_{i>r} h_i^2, as sigma decreases.
4. Omega is Gaussian, so h is uniform on the sphere, and B has the Beta distribution of parameters
   a = (p + 1)/2 and b = r/2.
5. E 1/B = (a + b - 1)/(a - 1): x^{a-1} (1 - x)^b vanishes at 0 and 1, and its derivative is
   x^{a-2} (1 - x)^{b-1} ((a - 1) - (a + b - 1) x).
6. That is (p - 1 + r)/(p - 1) = 1 + r/(p - 1).
7. E(loss)^2 <= E loss^2 <= (1 + r/(p - 1)) sigma_{r+1}^2 <= (1 + r/(p - 1)) T^2.

Any A:

8. loss^2 <= T^2 + |Sigma_2 Omega_2 Omega_1^+|_F^2 (hmt.structural).
9. E|S G R|_F^2 = |S|_F^2 |R|_F^2 for a Gaussian G. Given Omega_1 it is used with G = Omega_2.
10. |Omega_1^+|_F^2 = tr (Omega_1 Omega_1^T)^{-1}. Its i-th diagonal entry is the inverse square of
    the distance of row i of Omega_1 from the span of the others.
11. That distance is the length of a Gaussian vector in l - r + 1 = p + 1 dimensions, and
    E 1/chi^2_{p+1} = 1/(p - 1).
12. So E loss^2 <= (1 + r/(p - 1)) T^2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.halko_2011.gaussian_matrices import inverse, scaled
from proofs_check.papers.halko_2011.source import CITATION
from proofs_check.statements.experiment import Identity, Plan, Sample, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- one column more than Omega -------------------------------------------------------------------


def _minor(rows: Any, left_out: int) -> Any:
    """Determinant of the rows but one, by Leibniz's formula."""
    kept = [row for i, row in enumerate(rows) if i != left_out]
    total = 0
    for order in itertools.permutations(range(len(kept))):
        inversions = sum(a > b for a, b in itertools.combinations(order, 2))
        total += (-1) ** inversions * math.prod(
            (row[j] for row, j in zip(kept, order, strict=True)), start=kept[0][0] ** 0
        )
    return total


def _normal(n: int) -> Iterator[Identity]:
    """Steps 1 and 3 for n singular values."""
    from sympy import QQ, ring

    names = [f"o{i}{j}" for i in range(n) for j in range(n - 1)]
    _, *s = ring(names, QQ)
    rows = [s[i * (n - 1) : (i + 1) * (n - 1)] for i in range(n)]
    g = [(-1) ** i * _minor(rows, i) for i in range(n)]
    for j in range(n - 1):
        along = sum((rows[i][j] * g[i] for i in range(n)), 0 * s[0])
        yield Identity(along, 0 * s[0], f"Omega^T g = 0, n = {n}, column {j}")
    _, *t = ring([*(f"b{i}" for i in range(n)), *(f"h{i}" for i in range(n))], QQ)
    b, h = t[:n], [x * x for x in t[n:]]  # b_i = 1/sigma_i^2, increasing in i
    for r in range(1, n):
        whole = sum((x * y for x, y in zip(b, h, strict=True)), 0 * t[0])
        part = b[r] * sum(h[r:], 0 * t[0])
        rest = [b[i] * h[i] if i < r else (b[i] - b[r]) * h[i] for i in range(n)]
        yield Identity(whole - part, sum(rest, 0 * t[0]), f"step 3, n = {n}, r = {r}")


def _one_more(shift: int = 1) -> Iterator[Identity]:
    """Steps 1 to 6; `shift` is what is taken from p in the constant."""
    from sympy import QQ, field, ring

    for n in (3, 4):
        yield from _normal(n)
    _, a, b, x = ring("a, b, x", QQ)
    slope = (a - 1) * (1 - x) - b * x
    yield Identity(slope, (a - 1) - (a + b - 1) * x, "derivative of x^{a-1} (1 - x)^b")
    _, r, p = field("r, p", QQ)
    a, b = (p + 1) / 2, r / 2
    yield Identity((a + b - 1) / (a - 1), 1 + r / (p - shift), "E 1/B = 1 + r/(p - 1)")


def _spectral() -> Iterator[Identity]:
    """The loss has rank 1 there, so both norms agree, and sqrt(1 + s^2) <= 1 + s for s >= 0."""
    from sympy import QQ, ring

    yield from _one_more()
    _, s = ring("s", QQ)
    yield Identity((1 + s) ** 2 - (1 + s**2), 2 * s, "s = sqrt(r/(p - 1))")


def _parts() -> Iterator[Identity]:
    """Steps 9 to 11."""
    yield from scaled()
    yield from inverse()


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
        covers="statement",
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
        reading=(
            "decided for every A with r + p + 1 columns, where the second moment obeys it even "
            "with σ_{r+1}² in place of the sum; argued for every A with r + p at most its smaller "
            "size"
        ),
        experiments=(
            Symbolic(
                identities=_one_more,
                covers="statement",
                scope=(
                    "every A with r + p + 1 columns, all r >= 1 and p >= 2 (the normal vector by "
                    "minors for 3 and 4 columns)"
                ),
            ),
            Symbolic(
                identities=_parts,
                covers="step",
                scope=(
                    "any A: E|S G R|² for small matrices, tr (Ω₁Ω₁ᵀ)⁻¹ by distances for two rows, "
                    "E 1/χ²_{p+1} for p = 2, 3, 5, 8"
                ),
            ),
            _sampled("frobenius"),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_one_more, shift=0), covers="step", scope="r/p in place of r/(p - 1)"
        ),
        uses=("hmt.structural", "hmt.scaled-gaussian", "hmt.inverse-gaussian"),
        remarks=("The mutant differs from the constant by less than 10 % from r = p = 4 on.",),
    ),
    Theorem(
        key="hmt.spectral",
        title="randomised range finder, spectral norm",
        statement=(
            "E‖(1 - Q Qᵀ) A‖₂ <= (1 + sqrt(r/(p - 1))) σ_{r+1} + (e sqrt(r + p)/p) (Σ_{j>r} "
            "σ_j²)^{1/2} for p >= 2."
        ),
        source=Source(citation=CITATION, place="Theorem 10.6", fidelity="constants made explicit"),
        reading="decided for every A with r + p + 1 columns; beyond, one spectrum is sampled",
        experiments=(
            Symbolic(
                identities=_spectral,
                covers="statement",
                scope="every A with r + p + 1 columns, all r >= 1 and p >= 2",
            ),
            _sampled("spectral"),
        ),
        expected=Status.PROVED,
        mutant=_sampled("spectral", 0.3),
        uses=("hmt.frobenius",),
    ),
)
