"""Our own statement about the gradient of one row whose weights are off by a known sum.

The certificates of the gradients of polynomial attention cite it. Letters as in `moments`, and

    z_j          numbers with oscillation omega
    kappa        sum_j f_j z_j;  kappa~ with f~
    P_j          f_j (z_j - kappa);  P~_j with f~
    Delta        f~ - f, which sums to 0
    t            |Delta|_1 / 2 <= mu (`ours.moments-distance`)

1. P~_j - P_j = Delta_j (z_j - kappa) - f~_j (kappa~ - kappa).
2. The left side is linear in z and does not see constants. With z = z_0 + sum_l d_l 1_{B_l}
   (nested sets, d >= 0) its norm is at most sum_l d_l times that for 1_{B_l}, and sum d_l = omega.
3. So z may be taken as the indicator of a set B; let beta = f(B). Then kappa~ - kappa =
   Delta(B), z - kappa is 1 - beta on B and -beta elsewhere.
4. Let Delta gain p and lose m on B, gain p' and lose m' elsewhere: p + p' = m + m' = t, and
   Delta(B) = p - m >= 0 without loss of generality (or exchange B and the rest).
5. |f~|_1 <= 1 + 2 t, because f is positive and sums to 1.
6. So |P~ - P|_1 <= (p + m)(1 - beta) + (p' + m') beta + (1 + 2 t)(p - m).
7. 2 t (1 + t) less the right side of 6 is 2 p' (1 - beta) + 2 m beta + 2 t (p' + m) >= 0.

It is attained for every mu, in the limit a_2 -> 0, by two keys with b_1 = a_1 and b_2 < 0:

8. |P~ - P|_1 = 2 omega |y (1 - y) - x (1 - x)| = 2 omega |y - x| |1 - x - y| with x = f_2 and
   y = f~_2.
9. For x -> 0 and y = -t that is 2 t (1 + t) omega, and mu tends to t.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.ours.polynomials.moments import WEIGHTS, mu_of, normalised
from proofs_check.papers.ours.rows import dot
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Comparison,
    Enclose,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status


def _row(f: Sequence[Any], z: Sequence[Any]) -> list[Any]:
    """P from its definition."""
    mean = dot(f, z)
    return [w * (x - mean) for w, x in zip(f, z, strict=True)]


def _difference(keys: Sequence[int]) -> Iterator[Identity]:
    """Step 1."""
    from sympy import QQ, ring

    for n in keys:
        _, *s = ring([f"{x}{j}" for x in ("f", "delta", "z") for j in range(n)], QQ)
        f, delta, z = s[:n], s[n : 2 * n], s[2 * n :]
        other = [x + y for x, y in zip(f, delta, strict=True)]
        moved, mean = dot(delta, z), dot(f, z)
        for j, (new, old) in enumerate(zip(_row(other, z), _row(f, z), strict=True)):
            claimed = delta[j] * (z[j] - mean) - other[j] * moved
            yield Identity(new - old, claimed, f"{n} keys, key {j + 1}")


def _set_of_keys() -> list[Identity]:
    """Steps 4, 6 and 7."""
    from sympy import QQ, ring

    _, gained, elsewhere, lost, beta = ring("p, p', m, beta", QQ)
    t = gained + elsewhere
    lost_elsewhere = t - lost
    inside, outside = (gained + lost) * (1 - beta), (elsewhere + lost_elsewhere) * beta
    norm = inside + outside + (1 + 2 * t) * (gained - lost)
    left = 2 * elsewhere * (1 - beta) + 2 * lost * beta + 2 * t * (elsewhere + lost)
    return [Identity(2 * t * (1 + t) - norm, left, "2 t (1 + t) less the norm")]


def _two_keys() -> Iterator[Identity]:
    """Step 8, and the bound for two keys of any f and f~, moved by t either way."""
    from sympy import QQ, ring

    _, x, t, z1, z2 = ring("x, t, z1, z2", QQ)
    one = x**0
    for sign in (1, -1):
        y = x + sign * t
        pairs = zip(_row([one - y, y], [z1, z2]), _row([one - x, x], [z1, z2]), strict=True)
        first, second = (new - old for new, old in pairs)
        value = (y - x) * (1 - x - y) * (z2 - z1)
        yield Identity(second, value, f"P~_2 - P_2, y = x {sign:+d} t")
        yield Identity(first, -value, f"P~_1 - P_1, y = x {sign:+d} t")
        # |1 - x - y| <= 1 + t for 0 <= x <= 1
        above, below = (1 + t) - (1 - x - y), (1 + t) + (1 - x - y)
        yield Identity(above, 2 * x + (1 + sign) * t, f"1 - x - y <= 1 + t, sign {sign}")
        yield Identity(below, 2 * (1 - x) + (1 - sign) * t, f"x + y - 1 <= 1 + t, sign {sign}")


_SIZES = (Fraction(1, 100), Fraction(1, 2), Fraction(1), Fraction(10), Fraction(100))


def _norm(exact: Sequence[Any], computed: Sequence[Any], z: Sequence[Any]) -> Any:
    both = zip(_row(normalised(exact), z), _row(normalised(computed), z), strict=True)
    return sum(abs(new - old) for old, new in both)


def _attained(_bits: int) -> list[Comparison]:
    comparisons = []
    for size in _SIZES:
        # b_2 / (1 + b_2) = -size
        exact, computed = [Fraction(1), Fraction(1, 10**6)], [Fraction(1), -size / (1 + size)]
        mu = mu_of(exact, computed)
        bound = 2 * mu * (1 + mu)
        moved = _norm(exact, computed, [0, 1])
        comparisons.append(Comparison(Fraction(999, 1000) * bound, moved, f"f~_2 = {-size}"))
    return comparisons


def _sides(instance: Instance, part: Fraction = Fraction(1)) -> tuple[Any, Any]:
    a, b, z = ([Fraction(x) for x in instance[name]] for name in ("exact", "computed", "values"))
    mu = mu_of(a, b)
    return _norm(a, b, z), part * 2 * mu * (1 + mu) * (max(z) - min(z))


_NEARLY_SHARP: Instance = {"exact": [1024, 1], "computed": [1024, -512], "values": [0, 1]}


def _search(part: Fraction = Fraction(1)) -> Falsify:
    assert WEIGHTS.generator is not None  # noqa: S101 -- narrows the type
    return search_by(
        partial(_sides, part=part),
        instances=WEIGHTS.generator,
        assumptions=(WEIGHTS,),
        examples=(_NEARLY_SHARP,),
        tries=150,
        scope="up to 5 keys, whole weights up to 1024 and computed ones from -1024 to 2048"
        + ("" if part == 1 else f", {part} of the bound"),
    )


GRADIENT = Theorem(
    key="ours.moments-gradient",
    title="gradient of one row from weights that are off by a known sum",
    statement=(
        "|P̃ - P|_1 <= 2 μ (1 + μ) ω, where P = f∘(z - <f, z>), ω = osc z and μ = Σ_j |b_j - a_j| "
        "/ |E|, for exact weights a_j > 0 and computed ones b_j of any sign; P̃ is P with f̃ = b / "
        "E. "
        "For every μ > 0 no smaller number will do."
    ),
    source=here(__name__, "approxattn.bounds.moments"),
    reading=(
        "any number of keys and any z. Of the proof's two ways (moves of mass one by one, and "
        "sets of keys) the second is decided here"
    ),
    assumptions=(WEIGHTS,),
    experiments=(
        Symbolic(
            identities=_two_keys,
            covers="statement",
            scope="2 keys, all f, f~ and z, t in the place of μ",
        ),
        Symbolic(
            identities=_set_of_keys,
            covers="statement",
            scope="z the indicator of a set of keys, any number of keys, all f and f~",
        ),
        Symbolic(
            identities=partial(_difference, (2, 3, 4)),
            covers="step",
            scope="P~ - P: 2 to 4 keys, all f, f~ and z",
        ),
        Enclose(
            certify=_attained,
            covers="statement",
            scope="0.999 of the bound is reached by two keys: μ about 1/100, 1/2, 1, 10, 100",
        ),
        _search(),
    ),
    expected=Status.PROVED,
    mutant=_search(Fraction(99, 100)),
    uses=("ours.moments-distance",),
    remarks=("From z to sets of keys by hand, in the text above the code (step 2).",),
)

THEOREMS = (GRADIENT,)
