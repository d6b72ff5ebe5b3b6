"""Our own statements about weights that are off by a known sum: T5, and the distance of the rows.

The certificates of polynomial attention cite them; `moments_gradient` has what follows for the
gradient.

    a_j > 0, b_j      exact and computed weights of one row; the b_j of any sign
    D, E              sum_j a_j and sum_j b_j, E not 0
    f_j, f~_j         a_j / D and b_j / E
    out, out~         sum_j f_j v_j and sum_j f~_j v_j
    mu                sum_j |b_j - a_j| / |E|
    lo, hi            ends of the range of the v_j
    e_j, p_j          sign and size of b_j - a_j, so p_j >= 0

T5, for any sign sigma of out~ - out and all signs e:

1. D (hi - lo) sum_j p_j - sigma D E (out~ - out) = sum_j p_j sum_l a_l T_jl.
2. T_jl = (hi - v_j) + (v_l - lo) where sigma e_j = 1, and (hi - v_l) + (v_j - lo) where it is -1.
   Both are not negative. Divide by D |E|.

The distance, for any signs sigma_j of E (f~_j - f_j):

3. 2 D sum_j p_j - sum_j sigma_j D E (f~_j - f_j)
       = sum_j (D p_j (1 - sigma_j e_j) + a_j sum_l p_l (1 + sigma_j e_l)) >= 0.

Sharpness, with two keys of which only the second is off, by eps:

4. Error over bound is a_1 / D in both, whatever eps is. It tends to 1 as a_2 tends to 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.ours.rows import dot
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Assumption,
    Comparison,
    Enclose,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

__all__ = ["THEOREMS", "WEIGHTS", "mu_of", "normalised"]

_HERE = here(__name__, "approxattn.bounds.moments")

_SIGNS = (1, -1)


def _letters(n: int) -> tuple[list[Any], list[Any], list[Any], Any, Any]:
    """Return a, p, v, lo and hi as indeterminates."""
    from sympy import QQ, ring

    _, *s = ring([*(f"{x}{j}" for x in "apv" for j in range(n)), "lo", "hi"], QQ)
    return s[:n], s[n : 2 * n], s[2 * n : 3 * n], s[-2], s[-1]


def _t5(keys: Sequence[int]) -> Iterator[Identity]:
    """Steps 1 and 2."""
    for n in keys:
        a, p, v, lo, hi = _letters(n)
        for e in itertools.product(_SIGNS, repeat=n):
            b = [x + sign * y for x, sign, y in zip(a, e, p, strict=True)]
            # D E (out~ - out)
            moved = sum(a) * dot(b, v) - sum(b) * dot(a, v)
            for sigma in _SIGNS:
                left = sum(
                    p[j] * a[k] * _range_left(v[j], v[k], lo, hi, sigma * e[j])
                    for j in range(n)
                    for k in range(n)
                )
                gap = sum(a) * (hi - lo) * sum(p) - sigma * moved
                yield Identity(gap, left, f"{n} keys, signs {e}, sigma = {sigma}")


def _range_left(moved: Any, other: Any, lo: Any, hi: Any, direction: int) -> Any:
    """T_jl of step 2."""
    up, down = (moved, other) if direction > 0 else (other, moved)
    return (hi - up) + (down - lo)


def _distance(keys: Sequence[int]) -> Iterator[Identity]:
    """Step 3."""
    for n in keys:
        a, p, *_ = _letters(n)
        for e, sigma in itertools.product(itertools.product(_SIGNS, repeat=n), repeat=2):
            b = [x + sign * y for x, sign, y in zip(a, e, p, strict=True)]
            moved = [sum(a) * y - sum(b) * x for x, y in zip(a, b, strict=True)]
            left = sum(
                sum(a) * p[j] * (1 - sigma[j] * e[j])
                + a[j] * sum(p[k] * (1 + sigma[j] * e[k]) for k in range(n))
                for j in range(n)
            )
            gap = 2 * sum(a) * sum(p) - dot(sigma, moved)
            yield Identity(gap, left, f"{n} keys, signs {e} and {sigma}")


def normalised(weights: Sequence[Any]) -> list[Any]:
    """Return the weights over their sum."""
    return [w / sum(weights) for w in weights]


def mu_of(exact: Sequence[Any], computed: Sequence[Any]) -> Any:
    """Return mu from its definition."""
    return sum(abs(y - x) for x, y in zip(exact, computed, strict=True)) / abs(sum(computed))


def _moved_output(exact: Sequence[Any], computed: Sequence[Any], v: Sequence[Any]) -> Any:
    return abs(dot(normalised(computed), v) - dot(normalised(exact), v))


def _moved_row(exact: Sequence[Any], computed: Sequence[Any]) -> Any:
    both = zip(normalised(exact), normalised(computed), strict=True)
    return sum(abs(y - x) for x, y in both)


def _two_keys() -> list[Identity]:
    """Step 4 without its absolute values, which are of one number each."""
    from sympy import QQ, field

    _, first, second, eps = field("a1, a2, eps", QQ)
    total = first + second
    moved = (second + eps) / (total + eps) - second / total
    mu = eps / (total + eps)
    return [
        Identity(moved, mu * first / total, "the output, v = (0, 1)"),
        Identity(moved, -(first / (total + eps) - first / total), "the other key loses as much"),
    ]


_OFF = (Fraction(1, 1000), Fraction(1), Fraction(1000), Fraction(-1, 2), Fraction(-1000))


def _attained(_bits: int) -> list[Comparison]:
    """The ratio exceeds 0.999 for weights off by little and by much, upwards and downwards."""
    exact, least = [Fraction(1), Fraction(1, 2000)], Fraction(999, 1000)
    comparisons: list[Comparison] = []
    for eps in _OFF:
        computed = [exact[0], exact[1] + eps]
        mu = mu_of(exact, computed)
        output, row = _moved_output(exact, computed, [0, 1]), _moved_row(exact, computed)
        comparisons.append(Comparison(least * mu, output, f"output, eps = {eps}"))
        comparisons.append(Comparison(least * 2 * mu, row, f"row, eps = {eps}"))
    return comparisons


# --- a search -------------------------------------------------------------------------------------


def _rows() -> Any:
    from hypothesis import strategies as st

    def of_length(n: int) -> Any:
        def entries(low: int, high: int) -> Any:
            return st.lists(st.integers(low, high), min_size=n, max_size=n)

        return st.fixed_dictionaries(
            {
                "exact": st.one_of(entries(1, 8), entries(1, 1024)),
                "computed": st.one_of(entries(-4, 12), entries(-1024, 2048)),
                "values": entries(-8, 8),
            }
        )

    return st.integers(1, 5).flatmap(of_length)


def _admissible(instance: Instance) -> bool:
    rows = (instance["exact"], instance["computed"], instance["values"])
    same = len(rows[0]) == len(rows[1]) == len(rows[2]) >= 1
    return same and all(x > 0 for x in rows[0]) and sum(rows[1]) != 0


WEIGHTS = Assumption(text="a_j > 0 and sum_j b_j != 0", predicate=_admissible, generator=_rows)


def _fractions(instance: Instance) -> tuple[list[Fraction], list[Fraction], list[Fraction]]:
    a, b, v = ([Fraction(x) for x in instance[n]] for n in ("exact", "computed", "values"))
    return a, b, v


def _output(instance: Instance, part: Fraction = Fraction(1)) -> tuple[Any, Any]:
    a, b, v = _fractions(instance)
    return _moved_output(a, b, v), part * mu_of(a, b) * (max(v) - min(v))


def _row(instance: Instance, part: Fraction = Fraction(1)) -> tuple[Any, Any]:
    a, b, _ = _fractions(instance)
    return _moved_row(a, b), part * 2 * mu_of(a, b)


_NEARLY_SHARP: Instance = {"exact": [1024, 1], "computed": [1024, 2], "values": [0, 1]}


def _search(sides: Any, part: Fraction = Fraction(1)) -> Falsify:
    return search_by(
        partial(sides, part=part),
        instances=_rows,
        assumptions=(WEIGHTS,),
        examples=(_NEARLY_SHARP,),
        tries=150,
        scope="up to 5 keys, whole weights up to 1024 and computed ones from -1024 to 2048"
        + ("" if part == 1 else f", {part} of the bound"),
    )


_ATTAINED = Enclose(
    certify=_attained,
    covers="statement",
    scope="0.999 of the bound is reached by two keys: eps = 1/1000, 1, 1000, -1/2, -1000",
)

MOMENTS = Theorem(
    key="ours.moments",
    title="T5: an output from weights that are off by a known sum",
    statement=(
        "|õut_c - out_c| <= osc(V_:c) Σ_j |b_j - a_j| / |E| for exact weights a_j > 0 and computed "
        "ones b_j of any sign, E = Σ_j b_j != 0; the constant cannot be improved."
    ),
    source=_HERE,
    reading=(
        "any weights, no hypothesis on the error of one of them. For b_j = w_j P(s_j), a_j = w_j "
        "e^(s_j) and Q = Σ_t q_t s^t >= |P - exp| where the scores lie, the sum is at most Σ_t q_t "
        "m_t with the moments m_t = Σ_j w_j s_j^t"
    ),
    assumptions=(WEIGHTS,),
    experiments=(
        Symbolic(
            identities=partial(_t5, (1, 2, 3, 4)),
            covers="statement",
            scope="1 to 4 keys, all weights a > 0, all b, all values",
        ),
        Symbolic(identities=_two_keys, covers="statement", scope="sharpness: all a_1, a_2 and eps"),
        _ATTAINED,
        _search(_output),
    ),
    expected=Status.PROVED,
    mutant=_search(_output, Fraction(99, 100)),
    remarks=(
        "For more keys the same sum over pairs of keys serves, by hand, in the text above the "
        "code.",
    ),
)

DISTANCE = Theorem(
    key="ours.moments-distance",
    title="distance of two rows from weights that are off by a known sum",
    statement=(
        "Σ_j |f̃_j - f_j| <= 2 μ, μ = Σ_j |b_j - a_j| / |E|, for exact weights a_j > 0 and "
        "computed ones b_j of any sign: so μ takes the place of a total variation. The constant "
        "cannot be improved."
    ),
    source=_HERE,
    reading="f̃ may have negative entries; both rows sum to 1, so no entry moves by more than μ",
    assumptions=(WEIGHTS,),
    experiments=(
        Symbolic(
            identities=partial(_distance, (1, 2, 3)),
            covers="statement",
            scope="1 to 3 keys, all weights a > 0, all b",
        ),
        Symbolic(identities=_two_keys, covers="statement", scope="sharpness: all a_1, a_2 and eps"),
        _ATTAINED,
        _search(_row),
    ),
    expected=Status.PROVED,
    mutant=_search(_row, Fraction(99, 100)),
    uses=("ours.moments",),
)

THEOREMS = (MOMENTS, DISTANCE)
