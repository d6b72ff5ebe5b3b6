"""What the code published for Liang et al. 2024 computes and reports.

Citation of the paper and letters: `gradient`.

The repository compares a degree-2 polynomial attention with what it calls exact attention. Here:
its normaliser, and what its measure of the error says.

Read: the code. `low_rank_approx.py` has the normaliser and the measure; `kernel_approx.py` beside
it uses the true softmax.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.liang_2024.source import CODE
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Assumption, Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- the normaliser -------------------------------------------------------------------------------


def _matrices() -> Any:
    from hypothesis import strategies as st

    row = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
    return st.fixed_dictionaries({"exponents": st.lists(row, min_size=2, max_size=2), "v": row})


def _outputs(instance: Instance) -> tuple[list[Fraction], list[Fraction]]:
    """A D^-1 v and D^-1 A v for A_ij = 2^e_ij, D = diag(A 1)."""
    a = [[Fraction(2) ** e for e in row] for row in instance["exponents"]]
    d, v = [sum(row, Fraction(0)) for row in a], instance["v"]
    columns = [sum((x * v[j] / d[j] for j, x in enumerate(row)), Fraction(0)) for row in a]
    rows = [
        sum((x * v[j] for j, x in enumerate(row)), Fraction(0)) / d[i] for i, row in enumerate(a)
    ]
    return columns, rows


def _difference(instance: Instance) -> tuple[Fraction, int]:
    """Difference of the two outputs, against 0."""
    return max(abs(x - y) for x, y in zip(*_outputs(instance), strict=True)), 0


def _beyond_values(instance: Instance, percent: int = 100) -> tuple[Fraction, Fraction]:
    """The largest output of softmax attention against a share of the largest value."""
    _, rows = _outputs(instance)
    return max(map(abs, rows)), Fraction(percent, 100) * max(map(abs, instance["v"]))


_WITNESSES: tuple[Instance, ...] = ({"exponents": [[2, 2], [0, 0]], "v": [1, 1]},)
"""A = [[4, 4], [1, 1]], V = 1: D^-1 A V = 1, but A D^-1 V = (5/2, 5/8)."""


def _search(confirm: Any, scope: str) -> Falsify:
    return search_by(confirm, instances=_matrices, examples=_WITNESSES, scope=scope)


NORMALISATION = Theorem(
    key="lss24.code-normaliser",
    title="the normaliser of the published code",
    statement=(
        "What the code calls exact attention, A D⁻¹ V with D = diag(A 1), is softmax attention D⁻¹ "
        "A V."
    ),
    source=Source(
        citation=CODE,
        place="low_rank_approx.py, forward pass, exact and approximate",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "A D⁻¹ divides column j by the sum of row j; two tokens, A_ij = 2^e_ij, one column of V"
    ),
    alternative_readings=(
        "With D⁻¹ on the other side it is softmax attention; both sides agree when all row sums "
        "are equal.",
    ),
    experiments=(_search(_difference, "2 x 2, A = 2^e, |e| <= 2"),),
    expected=Status.REFUTED,
    mutant=_search(
        partial(_beyond_values, percent=95), "0.95 max |v| as a bound of softmax attention"
    ),
    repaired_by="lss24.output-range",
    repaired=_search(_beyond_values, "softmax attention is at most max |v|"),
    kind="code",
    defence=(
        "Both sides of the comparison use the same normaliser, so the reported error of the "
        "approximation against it is a fair figure of its own, and kernel_approx.py has the true "
        "softmax. But what low_rank_approx.py calls exact is not the attention of the paper's "
        "Definition 1.2, which divides row i by its own sum."
    ),
    by_hand=ByHand(
        instance="A = [[4, 4], [1, 1]], V = (1, 1)ᵀ, D = diag(8, 2).",
        shows=(
            "Row 1 of A D⁻¹ V is 4/8 + 4/2 = 2.5. Softmax attention averages the values, so it is "
            "1."
        ),
        instead=(
            "Row i is divided by its own sum, D⁻¹ A V. Its outputs lie in the range of the values "
            "(lss24.output-range)."
        ),
    ),
    remarks=(
        "The same slip is in eqs. (4) and (15) of Linformer: linformer.column-normalisation.",
    ),
)

# --- the measure of the error ---------------------------------------------------------------------
# Let z = x - y with |z| = t |y| and t < 2, Euclidean norms (of all entries together).
#
# 1. |x + y|^2 = |2 y + z|^2 = 4 |y|^2 + 4 <y, z> + |z|^2.
# 2. |y|^2 |z|^2 - <y, z>^2 = sum_{i < j} (y_i z_j - y_j z_i)^2, so |<y, z>| <= |y| |z| = t |y|^2.
# 3. By 1 and 2, (2 - t)^2 |y|^2 <= |x + y|^2 <= (2 + t)^2 |y|^2.
# 4. So the reported |x - y|/|x + y| lies between t/(2 + t) and t/(2 - t).


def _norms(size: int, *, plain: bool = False) -> Iterator[Identity]:
    """Steps 1 to 3, squared: 16 (|y|^2 |z|^2 - <y, z>^2) is what the two sides of 3 leave."""
    from sympy import QQ, ring

    _, *s = ring([*(f"y{i}" for i in range(size)), *(f"z{i}" for i in range(size))], QQ)
    y, z = s[:size], s[size:]

    def inner(p: Any, q: Any) -> Any:
        return sum((a * c for a, c in zip(p, q, strict=True)), 0 * s[0])

    both = [(1 if plain else 2) * a + c for a, c in zip(y, z, strict=True)]
    middle = inner(both, both) - 4 * inner(y, y) - inner(z, z)
    squares = [(y[i] * z[j] - y[j] * z[i]) ** 2 for j in range(size) for i in range(j)]
    rest = sum(squares, 0 * s[0])
    yield Identity(16 * inner(y, y) * inner(z, z) - middle**2, 16 * rest, f"{size} entries")


def _pairs() -> Any:
    from hypothesis import strategies as st

    return st.fixed_dictionaries({"x": st.integers(-9, 9), "y": st.integers(-9, 9)})


def _defined(instance: Instance) -> bool:
    return bool(instance["y"] != 0 and abs(instance["x"] - instance["y"]) < 2 * abs(instance["y"]))


_DEFINED = Assumption(text="y is not 0 and |x - y| < 2 |y|", predicate=_defined, generator=_pairs)


def _reported(instance: Instance, percent: int = 100) -> tuple[Fraction, Fraction]:
    """What is reported, against a share of t/(2 - t)."""
    x, y = instance["x"], instance["y"]
    t = Fraction(abs(x - y), abs(y))
    return Fraction(abs(x - y), abs(x + y)), Fraction(percent, 100) * t / (2 - t)


def _pair_search(scope: str, percent: int = 100) -> Falsify:
    return search_by(
        partial(_reported, percent=percent),
        instances=_pairs,
        assumptions=(_DEFINED,),
        examples=_HALF,
        scope=scope,
    )


_HALF: tuple[Instance, ...] = ({"x": 1, "y": 2},)

ERROR_METRIC = Theorem(
    key="lss24.code-error-metric",
    title="the error that the published code reports is about half the relative error",
    statement=(
        "If ‖x - y‖ = t ‖y‖ with t < 2, the reported ‖x - y‖/‖x + y‖ lies between t/(2 + t) and "
        "t/(2 - t)."
    ),
    source=Source(
        citation=CODE,
        place="low_rank_approx.py, relative_error",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="x approximate, y exact, Euclidean norm; both ends are attained by x = (1 ± t) y",
    assumptions=(_DEFINED,),
    experiments=(
        Symbolic(identities=partial(_norms, 1), covers="statement", scope="one entry, all x and y"),
        Symbolic(identities=partial(_norms, 4), covers="statement", scope="4 entries, all x and y"),
        _pair_search("one entry, whole numbers up to 9, upper end"),
    ),
    expected=Status.PROVED,
    mutant=_pair_search("0.95 t/(2 - t)", 95),
    remarks=(
        "For x close to y the reported figure is t/2: the 4.67 % to 0.77 % of the repository's "
        "table are relative errors of about twice that.",
    ),
)

THEOREMS = (NORMALISATION, ERROR_METRIC)
