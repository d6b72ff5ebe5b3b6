"""Our own statement about a row in which summary keys stand for some tokens.

It is `partial_scores` with what a summary key knows besides: the changes of the scores have the
mean 0 in each cell. Nothing here is a quotation.

f, f~     exact and approximate weights of one row, f_j = f~_j e^{t_j} / Z
R         the tokens of all cells, r = f~(R), |t_j| <= eta; in a cell with the summary's direction
          t_j = <delta, k_j - k_pi>, so sum_R f~_j t_j = 0. Other tokens have t_j = 0.

1. Z = sum_j f~_j e^{t_j} >= 1 by Jensen. TV = f(A) - f~(A) with A = {j : t_j > ln Z}, so every
   token of A is in R: the case in which the exact tokens belong to A does not occur.
2. Let A have the f~-mass x, and t the mean m there; on the rest of R its mean is -x m / (r - x).
   With the means X and Y of e^t there,
       f(A) - f~(A) = x X / (x X + (r - x) Y + 1 - r) - x,
   which grows with X and falls with Y.
3. Y >= e^{-x m / (r - x)} (Jensen), and X <= cosh eta + (m / eta) sinh eta (chord). Both serve the
   difference more, the larger m is.
4. For x <= r/2 the largest m is eta:
       T(x) = x e^eta / (x e^eta + (r - x) e^{-eta x / (r - x)} + 1 - r) - x.
5. For x >= r/2 the rest cannot go below -eta, so m = eta (r - x) / x at most. There the difference
   is (x e^-eta + r sinh eta) / D - x, D = 1 - r + r cosh eta >= 1 > e^-eta: it falls with x. So
   TV <= max over x in [0, r/2] of T(x).
6. Three tokens attain it: masses x, r - x, 1 - r, changes eta, -eta x / (r - x), 0.

No closed form of the best x is known to us. The fraction in T grows with x, so that between two
points x < x' of a grid T is at most T(x') + x' - x.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.ours.rows import dot
from proofs_check.papers.ours.weights import enclose_tv
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

__all__ = ["largest"]

_ONE = Fraction(1)
_CELLS = 128
"""Cells of the grid of x. *Chosen*: it loses r / 256 at most."""


def _gain(x: Any, r: Any, eta: Any, exp: Any) -> Any:
    """T(x)."""
    up, rest = x * exp(eta), (r - x) * exp(-eta * x / (r - x))
    return up / (up + rest + 1 - r) - x


def largest(eta: Any, r: Any, exp: Any = np.exp) -> Any:
    """Return the bound of step 5 by the grid, in floats, arrays or balls."""
    step = r / 2 / _CELLS
    found = [_gain(i * step, r, eta, exp) + step for i in range(1, _CELLS + 1)]
    return max(found, key=float)


def _exp(x: Any) -> Any:
    return x.exp()


def _steps() -> Iterator[Identity]:
    from sympy import QQ, field

    _, x, r, more, up, less, down, e = field("x, r, X1, X, Y1, Y, e", QQ)
    # X = X1 + more, Y1 = Y + less with more, less >= 0
    bottom = x * up + (r - x) * (down + less) + 1 - r
    better = x * (up + more) + (r - x) * down + 1 - r
    gap = x * more * ((r - x) * (down + less) + 1 - r) + x * up * (r - x) * less
    yield Identity(x * (up + more) / better - x * up / bottom, gap / (better * bottom), "step 2")
    cosh, sinh = (e + 1 / e) / 2, (e - 1 / e) / 2
    chord = x * cosh + (r - x) * sinh
    yield Identity(chord, x / e + r * sinh, "step 5: the numerator")
    yield Identity(chord + (r - x) / e, r * cosh, "step 5: the denominator")
    d = 1 - r + r * cosh
    yield Identity(d - 1 / e, (1 - r) * (1 - 1 / e) + r * sinh, "step 5: D > e^-eta")


_GRID = (Fraction(1, 50), Fraction(1, 4), Fraction(1, 2), Fraction(9, 10), _ONE)


def _attained(_bits: int) -> Iterator[Comparison]:
    for r in _GRID:
        for eta in (Fraction(1, 8), _ONE, Fraction(4), Fraction(12)):
            for share in (Fraction(1, 8), Fraction(1, 3), Fraction(1, 2)):
                x = share * r
                near = [x, r - x, 1 - r]
                moves = [eta, -eta * share / (1 - share), Fraction(0)]
                exact = [ball(a) * ball(t).exp() for a, t in zip(near, moves, strict=True)]
                gain = _gain(ball(x), ball(r), ball(eta), _exp)
                label = f"r = {r}, eta = {eta}, x = {share} r"
                yield Comparison(enclose_tv([ball(a) for a in near], exact), gain, label)


def _rows() -> Any:
    from hypothesis import strategies as st

    def scores(n: int) -> Any:
        entries = st.lists(st.integers(-24, 24).map(lambda i: i / 8), min_size=n, max_size=n)
        return st.fixed_dictionaries({"w": entries, "t": entries, "moved": st.integers(1, n)})

    return st.integers(1, 5).flatmap(scores)


def _change(instance: Instance, part: Fraction = _ONE) -> tuple[Any, Any]:
    """Total variation, the changes made to have the mean 0, against the bound for `part` of r."""
    moved = instance["moved"]
    near = [ball(float(x)).exp() for x in instance["w"]]
    total = sum(near, ball(0))
    near = [x / total for x in near]
    r = sum(near[:moved], ball(0)) if moved < len(near) else ball(1)
    t = [ball(float(x)) for x in instance["t"][:moved]]
    mean = dot(near[:moved], t) / r
    t = [x - mean for x in t]
    eta = max((abs(x) for x in t), key=float)
    exact = [x * y.exp() for x, y in zip(near, t, strict=False)] + near[moved:]
    return enclose_tv(near, exact), largest(eta, r * ball(part), _exp)


_CLOSE: Instance = {"w": [0.0, 0.5, 3.0], "t": [0.125, 0.0, 0.0], "moved": 2}


def _search(part: Fraction = _ONE) -> Falsify:
    scope = "up to 5 keys, scores and changes in [-3, 3]"
    return search_by(
        partial(_change, part=part),
        instances=_rows,
        examples=(_CLOSE,),
        tries=100,
        scope=scope if part == 1 else f"{scope}; {part} of the weight r",
    )


ROW = Theorem(
    key="ours.summary-row",
    title="change of a softmax in which summary keys stand for some tokens",
    statement=(
        "If tokens of approximate mass r have scores off by at most η, with mean 0 under their "
        "approximate weights, and the others are exact, TV <= max over x in [0, r/2] of "
        "x e^η / (x e^η + (r - x) e^(-ηx/(r - x)) + 1 - r) - x. Three tokens attain it."
    ),
    source=here(__name__),
    reading=(
        "summaries of any number of cells, η = max_j |⟨q - q₀, k_j - k_π⟩|; never above "
        "ours.tanh-part, and about half of it where r e^η is small"
    ),
    experiments=(
        Symbolic(
            identities=_steps,
            covers="statement",
            scope=(
                "any number of keys and cells, all masses r, all η, all changes of mean 0 (Jensen "
                "and the chord in words)"
            ),
        ),
        Enclose(
            certify=_attained,
            relation="=",
            radius=Fraction(1, 2**64),
            covers="statement",
            scope="the three tokens: five masses r, η = 1/8, 1, 4, 12, x = r/8, r/3, r/2",
        ),
        _search(),
    ),
    expected=Status.PROVED,
    mutant=_search(Fraction(24, 25)),
    uses=("ours.summary-lower", "ours.tanh-part"),
)

THEOREMS = (ROW,)
