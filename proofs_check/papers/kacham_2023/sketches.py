"""Polynomial attention by sketches (Kacham et al. 2023): signs, moments, the causal mask.

Read: the abstract, and the authors' lower_triangular_multiplication.py (google-research,
polysketchformer). Of the sketches themselves only code by others was at hand: G_1, G_2 with r rows
of independent normal entries, S(x) = (G_1 x)(G_2 x) / sqrt r entry by entry, and the weight
<S(x) (x) S(x), S(y) (x) S(y)>.

1. <u (x) u, w (x) w> = <u, w>^2 >= 0: tensoring a sketch with itself keeps weights from being
   negative.
2. Let Z = <S(x), S(y)>, a mean of r independent products A B, A = (g.x)(g.y) and B likewise with
   another normal vector. E A = c := <x, y> and E A^2 = |x|^2 |y|^2 + 2 c^2 =: s.
3. E Z = c^2 and Var Z = (s^2 - c^4) / r.
4. So the weight that is used, Z^2, has mean c^4 + (s^2 - c^4) / r: unit vectors at a right angle
   get the weight 1/r in the mean, where the exact one is 0.
5. Block i of lt(A B^T) C is lt(A_i B_i^T) C_i + A_i (sum of B_l^T C_l over l < i).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.kacham_2023.source import CITATION
from proofs_check.papers.shared.softmax_gradient import Matrix, tested
from proofs_check.papers.shared.softmax_gradient import Source as Matrices
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)


def _source(place: str, *, read: bool) -> Source:
    return Source(
        citation=CITATION,
        place=place,
        fidelity="constants made explicit",
        wording_verified=read,
    )


def _square(power: int = 2) -> Iterator[Identity]:
    from sympy import QQ, ring

    for r in (1, 2, 4):
        _, *free = ring([*(f"u{i}" for i in range(r)), *(f"w{i}" for i in range(r))], QQ)
        u, w = free[:r], free[r:]
        pairs = itertools.product(range(r), repeat=2)
        tensored = sum((u[i] * u[j] * w[i] * w[j] for i, j in pairs), 0 * u[0])
        plain = sum((a * b for a, b in zip(u, w, strict=True)), 0 * u[0])
        yield Identity(tensored, plain**power, f"r = {r}")


# --- moments --------------------------------------------------------------------------------------


def _normal_moment(exponents: tuple[int, ...]) -> int:
    """E of a product of powers of independent standard normal variables."""
    value = 1
    for e in exponents:
        value *= 0 if e % 2 else int(np.prod(range(1, e, 2)))
    return value


def _mean(polynomial: Any) -> Any:
    """Mean over the first variables g0, g1, g2 of a polynomial of the ring."""
    ring = polynomial.ring
    total = ring.zero
    for monomial, coefficient in polynomial.terms():
        rest = ring.from_dict({(0, 0, 0, *monomial[3:]): coefficient})
        total += _normal_moment(monomial[:3]) * rest
    return total


def _one_sketch() -> tuple[Any, Any, Any, Any]:
    """E A, E A^2, c and |x|^2 |y|^2 in three dimensions."""
    from sympy import QQ, ring

    names = [f"{letter}{i}" for letter in "gxy" for i in range(3)]
    _, *free = ring(names, QQ)
    g, x, y = free[:3], free[3:6], free[6:]

    def dot(a: list[Any], b: list[Any]) -> Any:
        return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]

    product = dot(g, x) * dot(g, y)
    return _mean(product), _mean(product**2), dot(x, y), dot(x, x) * dot(y, y)


def _variance(factor: int = 2) -> Iterator[Identity]:
    """Steps 2 and 3, r times the variance, from E (AB)^2 = (E A^2)^2 and E AB = (E A)^2."""
    first, second, c, norms = _one_sketch()
    yield Identity(first, c, "E A")
    yield Identity(second**2 - first**4, (norms + factor * c**2) ** 2 - c**4, "r Var Z")


def _bias(part: Fraction = ONE) -> Iterator[Identity]:
    """Step 4 with r = 1, 2, 3 products, by expanding E Z^2 over pairs of products."""
    from sympy import QQ

    first, second, c, norms = _one_sketch()
    share = QQ(part.numerator, part.denominator)
    for r in (1, 2, 3):
        pairs = itertools.product(range(r), repeat=2)
        total = sum((second**2 if i == j else first**4 for i, j in pairs), 0 * c)
        bias = share * ((norms + 2 * c**2) ** 2 - c**4)
        yield Identity(total, r * r * c**4 + r * bias, f"r = {r}: r^2 E Z^2")


# --- the causal mask ------------------------------------------------------------------------------


def _lower(m: Matrix) -> Matrix:
    return m * np.tril(np.ones(m.shape, dtype=int))


def _blocks(source: Matrices, *, late: int = 0) -> Iterator[Identity]:
    """Both sides for several sizes and blocks; a fault starts the running sum a block too late."""
    for n, b in ((4, 2), (6, 2), (6, 3), (8, 4)):
        a, keys, c = source("a", n, 2), source("b", n, 2), source("c", n, 2)
        direct = _lower(a @ keys.T) @ c
        running = 0 * (keys[:1].T @ c[:1])
        sums = []
        for start in range(0, n, b):
            sums.append(running)
            running = running + keys[start : start + b].T @ c[start : start + b]
        for number, start in enumerate(range(0, n, b)):
            part = slice(start, start + b)
            block = _lower(a[part] @ keys[part].T) @ c[part] + a[part] @ sums[max(number - late, 0)]
            for i, j in itertools.product(range(b), range(2)):
                label = f"n, block = {n, b}, entry {start + i}, {j}"
                yield Identity(block[i, j], direct[start + i, j], label)


THEOREMS = (
    Theorem(
        key="polysketch.non-negative",
        title="a sketch tensored with itself gives no negative weight",
        statement="⟨u ⊗ u, w ⊗ w⟩ = ⟨u, w⟩² >= 0 for all sketches u, w.",
        source=_source("the tensoring that keeps weights from being negative", read=False),
        experiments=(
            Symbolic(identities=_square, covers="statement", scope="sketches of size 1, 2, 4"),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_square, 3), covers="statement", scope="the third power"
        ),
    ),
    Theorem(
        key="polysketch.variance",
        title="variance of a sketch of degree 2",
        statement=(
            "E Z = ⟨x, y⟩² and r Var Z = (‖x‖²‖y‖² + 2⟨x, y⟩²)² - ⟨x, y⟩⁴, Z = ⟨S(x), S(y)⟩ from r "
            "pairs of normal vectors."
        ),
        source=_source("the sketch of degree 2", read=False),
        experiments=(
            Symbolic(identities=_variance, covers="statement", scope="d = 3, all x and y, any r"),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_variance, 1), covers="statement", scope="⟨x, y⟩² once, not twice"
        ),
    ),
    Theorem(
        key="polysketch.bias",
        title="weights of degree 4 that cannot be negative are biased upwards",
        statement=(
            "E Z² = ⟨x, y⟩⁴ + ((‖x‖²‖y‖² + 2⟨x, y⟩²)² - ⟨x, y⟩⁴)/r: unit vectors at a right angle "
            "weigh 1/r in the mean, in place of 0."
        ),
        source=_source("the sketch of degree 4 by tensoring", read=False),
        reading="ours: the moment is computed here; no claim of unbiasedness is ascribed",
        experiments=(
            Symbolic(identities=_bias, covers="statement", scope="r = 1, 2, 3, d = 3, all x and y"),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_bias, Fraction(20, 21)),
            covers="statement",
            scope="20/21 of the bias",
        ),
        uses=("polysketch.variance", "polysketch.non-negative"),
        remarks=(
            "n far keys together weigh n/r, so r has to grow with n for a row to stay sharp.",
        ),
    ),
    Theorem(
        key="polysketch.block-causal",
        title="the causal product by blocks",
        statement=("Block i of lt(A Bᵀ) C is lt(A_i B_iᵀ) C_i + A_i Σ_(l < i) B_lᵀ C_l."),
        source=_source("lower_triangular_multiplication.py, lt_multiply", read=True),
        experiments=(
            Symbolic(
                identities=partial(tested, _blocks),
                grade="pit(2^-57)",
                covers="statement",
                scope="(n, block) = (4, 2), (6, 2), (6, 3), (8, 4), width 2, all A, B, C",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(tested, partial(_blocks, late=1)),
            grade="pit(2^-57)",
            covers="statement",
            scope="the running sum one block late",
        ),
    ),
)
