"""Z. Zeng et al., "You Only Sample (Almost) Once": when hashes collide, and the slope of that.

Z. Zeng, Y. Xiong, S. Ravi, S. Acharya, G. Fung and V. Singh, "You Only Sample (Almost) Once: Linear
cost self-attention via Bernoulli sampling", ICML 2021, PMLR 139:12321-12332, arXiv 2111.09714.

YOSO replaces the softmax weight of query i and key j by the probability that their sign hashes
agree. So a hash table samples the weighted sum of values in time linear in n. YOSO-E is the
expectation, YOSO-m the mean of m sampled hashes. Its backward pass replaces the derivative of the
weight, which diverges at parallel vectors, by a lower bound.

Read: the abstract and the opening of the paper, and the authors' code (mlpen/YOSO, both versions);
not the paper's lemmas. Only entries that quote the code are marked as verified.

    paper, code          here
    tau (hash_code_len)  bits of one hash
    m (num_hash)         number of independent hashes
    q, k on the sphere   q_i, k_j of any length; theta_ij the angle between them
    B(Q, K)              B_ij = 1[h(q_i) = h(k_j)]
    P = E B              p_ij = (1 - theta_ij / pi)^tau
    triple               p_ijl = (1 - (theta_ij + theta_il + theta^k_jl) / (2 pi))^tau
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared import planar_hashing as planar
from proofs_check.papers.shared.source import here
from proofs_check.papers.zeng_2021.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Plan, Sample, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- collisions -----------------------------------------------------------------------------------


def _pair_collisions(claimed_bits: int | None = None) -> Iterator[Identity]:
    for bits, turn in itertools.product((1, 2, 3), range(7)):
        counted = planar.mean([row[0] for row in planar.collisions(0, (turn,), bits)])
        claimed = (1 - Fraction(turn, 6)) ** (bits if claimed_bits is None else claimed_bits)
        yield Identity(counted, claimed, f"angle {turn} pi/6, {bits} bits")


def _wedge() -> list[Identity]:
    """The probability that one bit of two vectors agrees.

    1. Only the projection of w on the plane of q and k counts. It is a standard Gaussian of that
       plane, in polar coordinates (r, phi) with density r e^{-r^2/2} / (2 pi).
    2. With q at angle 0 and k at theta both bits are 1 for theta - pi/2 < phi < pi/2.
    3. Both are 0 on the opposite wedge.
    4. The bits of one hash use independent hyperplanes, hence the power tau.
    """
    from sympy import exp, integrate, oo, pi, symbols

    r, theta = symbols("r theta", positive=True)
    phi = symbols("phi", real=True)
    wedge = integrate(
        integrate(r * exp(-(r**2) / 2), (r, 0, oo)) / (2 * pi), (phi, theta - pi / 2, pi / 2)
    )
    return [Identity(2 * wedge, 1 - theta / pi, "both wedges")]


def _half_orthant(c: Any, x: Any, _: bool) -> Any:
    return (-x * x / 2).exp() * (1 + (c * x).erf()) / 2


def _orthant_integrals(bits: int) -> list[Comparison]:
    """The same probability as an integral over one coordinate.

    1. <q,w> = x and <k,w> = rho x + sqrt(1 - rho^2) y with x and y independent normal.
    2. Pr[agree] = 2 int_0^oo phi(x) Phi(c x) dx, c = rho / sqrt(1 - rho^2).
    3. The part beyond x = 24 is below e^{-24^2/2} < 2^-400.
    """
    from flint import acb, arb, fmpq

    comparisons = []
    for rho in (fmpq(-9, 10), fmpq(-1, 3), fmpq(0), fmpq(1, 2), fmpq(7, 8), fmpq(99, 100)):
        c = acb(arb(rho) / (1 - arb(rho) ** 2).sqrt()) / acb(2).sqrt()
        agree = 2 * acb.integral(partial(_half_orthant, c), 0, 24).real / (2 * arb.pi()).sqrt()
        comparisons.append(
            Comparison(agree, 1 - arb(rho).acos() / arb.pi(), f"cosine {rho}, {bits} binary digits")
        )
    return comparisons


def _codes(x: np.ndarray, hyperplanes: np.ndarray) -> np.ndarray:
    """Bits (draws, tau) of one vector under hyperplanes (draws, tau, d)."""
    return np.asarray(np.matmul(hyperplanes, x) > 0)


_Q = np.array([1.0, 2.0, -1.0, 0.5, 0.0])
_K = np.array([2.0, 1.0, 0.0, 1.0, 1.0])
_L = np.array([1.0, 1.0, -2.0, 0.0, 1.0])


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


def _draw_pair(rng: np.random.Generator, m: int) -> np.ndarray:
    w = rng.standard_normal((m, 2, 5))
    return np.asarray(np.all(_codes(_Q, w) == _codes(_K, w), axis=1), dtype=np.float64)


COLLISION = Theorem(
    key="yoso.collision",
    title="collision probability of a sign hash",
    statement=(
        "Pr[h(q) = h(k)] = (1 - θ/π)^τ for h made of τ independent Gaussian hyperplanes, θ the "
        "angle between q and k. Hence E Ŷ = P V."
    ),
    source=Source(
        citation=CITATION,
        place="definition of YOSO-E (after Charikar 2002)",
        fidelity="constants made explicit",
    ),
    reading=(
        "any dimension, any non-zero q and k; the same hyperplanes for queries and keys; i.i.d. "
        "Gaussian ones (not Hadamard-based)"
    ),
    experiments=(
        Symbolic(
            identities=_wedge,
            covers="statement",
            scope=(
                "every angle θ in [0, π], one hyperplane, any dimension; τ of them by independence"
            ),
        ),
        Symbolic(
            identities=_pair_collisions,
            grade="exact-rational",
            covers="statement",
            scope="θ a multiple of π/6, τ = 1, 2, 3, all hashes enumerated",
        ),
        Enclose(
            certify=_orthant_integrals,
            relation="=",
            radius=Fraction(1, 2**64),
            covers="statement",
            scope="six cosines from -9/10 to 99/100, by rigorous quadrature",
        ),
        Sample(
            draw=_draw_pair,
            claim="mean =",
            target=(1 - _angle(_Q, _K) / np.pi) ** 2,
            plan=Plan(n=80_000, margin=0.02, sampler="5-dimensional Gaussian hyperplanes"),
            bounds=(0.0, 1.0),
            covers="statement",
            scope="one pair of vectors, d = 5, τ = 2",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_pair_collisions, claimed_bits=1),
        grade="exact-rational",
        covers="statement",
        scope="without the power",
    ),
    remarks=(
        "For rows of a randomised Hadamard transform the bits of a code are dependent and the "
        "formula does not hold for τ > 1.",
    ),
)


def _triple_collisions(half: int = 2) -> Iterator[Identity]:
    # Of three signs, none or exactly two of the pairs differ: 1[all agree] = 1 - (number of
    # differing pairs) / 2.
    for signs in itertools.product((0, 1), repeat=3):
        differing = sum(a != b for a, b in itertools.combinations(signs, 2))
        yield Identity(int(len(set(signs)) == 1), 1 - Fraction(differing, half), f"signs {signs}")
    for bits, j, l in itertools.product((1, 2), range(12), range(12)):
        counted = planar.mean([row[0] * row[1] for row in planar.collisions(0, (j, l), bits)])
        yield Identity(
            counted,
            planar.triple(0, j, l, bits),
            f"directions 0, {j}, {l} in units of pi/6, {bits} bits",
        )


def _draw_triple(rng: np.random.Generator, m: int) -> np.ndarray:
    w = rng.standard_normal((m, 1, 5))
    q, k, l = (_codes(x, w)[:, 0] for x in (_Q, _K, _L))
    return np.asarray((q == k) & (k == l), dtype=np.float64)


TRIPLE = Theorem(
    key="yoso.triple",
    title="joint collision of one query with two keys",
    statement="Pr[h(q) = h(k) = h(l)] = (1 - (θ_qk + θ_ql + θ_kl) / 2π)^τ.",
    source=here(__name__, how="from yoso.collision by counting disagreeing pairs"),
    reading=(
        "any dimension, any three non-zero vectors, one hash of τ independent Gaussian hyperplanes "
        "shared by all"
    ),
    experiments=(
        Symbolic(
            identities=_triple_collisions,
            grade="exact-rational",
            covers="statement",
            scope=(
                "all sign patterns of three vectors (any dimension, by linearity from the pairs); "
                "all planar triples at multiples of π/6 enumerated, τ = 1, 2"
            ),
        ),
        Sample(
            draw=_draw_triple,
            claim="mean =",
            target=1 - (_angle(_Q, _K) + _angle(_Q, _L) + _angle(_K, _L)) / (2 * np.pi),
            plan=Plan(n=80_000, margin=0.02, sampler="5-dimensional Gaussian hyperplanes"),
            bounds=(0.0, 1.0),
            covers="statement",
            scope="three vectors, d = 5, τ = 1",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_triple_collisions, half=1),
        grade="exact-rational",
        covers="statement",
        scope="the same without the factor 2",
    ),
    uses=("yoso.collision",),
)

# --- the gradient ---------------------------------------------------------------------------------


def _pi_minus_theta_times_sine(theta: Any) -> Any:
    from flint import arb

    return (arb.pi() - theta) * theta.sin()


def _reciprocal(constant: Fraction, theta: Any) -> Any:
    """1 / constant, whatever the angle."""
    return theta * 0 + 1 / ball(constant)


def _derivative() -> list[Identity]:
    """With theta = arccos x, dp/dx = -(1/sin theta) dp/dtheta; so p' / (tau p) is
    1 / ((pi - theta) sin theta).
    """
    from sympy import diff, pi, simplify, sin, symbols

    theta, tau = symbols("theta tau", positive=True)
    p = (1 - theta / pi) ** tau
    return [
        Identity(
            simplify(-diff(p, theta) / (sin(theta) * tau * p)),
            1 / ((pi - theta) * sin(theta)),
            "p' / (tau p)",
        )
    ]


_ANGLES = ((0, Fraction(355, 113)),)  # 355/113 > pi, so the box covers [0, pi]

GRADIENT = Theorem(
    key="yoso.surrogate-gradient",
    title="lower bound of the derivative",
    statement=(
        "(τ/2) p(x) <= p'(x) for p(x) = (1 - arccos(x)/π)^τ, |x| < 1; the largest constant is "
        "0.5495...: 0.5495 τ p <= p', and 0.55 τ p <= p' fails."
    ),
    source=Source(
        citation=CITATION,
        place="yoso_v1/kernel.py, Cumulation.backward: (hash_code_len / 2) expectation",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "every τ > 0 at once: p'/(τ p) = 1 / ((π - θ) sin θ) does not depend on it; equivalently "
        "(π - θ) sin θ <= 2 on [0, π]"
    ),
    experiments=(
        Symbolic(identities=_derivative, covers="statement", scope="every τ > 0 and 0 < θ < π"),
        Enclose(
            lhs=_pi_minus_theta_times_sine,
            rhs=partial(_reciprocal, Fraction(1, 2)),
            box=_ANGLES,
            covers="statement",
            scope="(π - θ) sin θ <= 2 for all θ in [0, π]",
        ),
        Enclose(
            lhs=_pi_minus_theta_times_sine,
            rhs=partial(_reciprocal, Fraction(5495, 10_000)),
            box=_ANGLES,
            covers="statement",
            scope="(π - θ) sin θ <= 1/0.5495 for all θ in [0, π]",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        lhs=_pi_minus_theta_times_sine,
        rhs=partial(_reciprocal, Fraction(55, 100)),
        box=_ANGLES,
        covers="statement",
        scope="constant 0.55",
    ),
    remarks=(
        (
            "The derivative is at least 1.099 times the surrogate, so a finite-difference check of "
            "the published backward pass must fail."
        ),
        "The constant 0.5495 and its sharpness are ours.",
    ),
)

THEOREMS = (COLLISION, TRIPLE, GRADIENT)
