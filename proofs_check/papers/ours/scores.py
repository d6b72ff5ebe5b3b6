"""Our own statements about an error in the scores of one attention row; certificates cite them.

Nothing here is a quotation.

w, w + t      exact and perturbed scores of one row;   osc(t) = max_j t_j - min_j t_j
a_j = e^{w_j}, a~_j = e^{w_j + t_j}    the weights of `weights`, whose bound is used
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.ours.weights import enclose_tv, metric_bound
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

_HERE = here(__name__)

# 1. softmax(w) and softmax(w + t) have a~_j / a_j = e^{t_j}, so ln rho = osc(t) <= 2 max|t|.
# 2. Two tokens at w = (-h, h) moved by t = (2h, -2h) exchange their weights 1/(1 + e^{2h}) and
#    e^{2h}/(1 + e^{2h}).
# 3. There TV = tanh(h), while osc(t)/4 = max|t|/2 = h: the bound is attained.


def _moved_scores() -> list[Identity]:
    from sympy import QQ, field

    _, e, z = field("e, z", QQ)  # e = e^h, z = e^{common shift}
    f = (1 / (1 + e**2), e**2 / (1 + e**2))
    moved = (z * e**2 * f[0], z * f[1] / e**2)  # t = (2h + s, -2h + s), z = e^s
    tv = moved[0] / (moved[0] + moved[1]) - f[0]
    return [
        *metric_bound(),
        Identity(tv, (e - 1 / e) / (e + 1 / e), "exchanged weights: TV = tanh(h)"),
    ]


_SHIFTS = (*(Fraction(i, 8) for i in range(1, 33)), Fraction(1, 1000), Fraction(20))


def _exchanged_weights(_bits: int, shift: Fraction = Fraction(0)) -> list[Comparison]:
    comparisons = []
    for h in _SHIFTS:
        w, t = (-h, h), (2 * h + shift, -2 * h + shift)
        before, after = (
            [ball(x).exp() for x in w],
            [ball(x + y).exp() for x, y in zip(w, t, strict=True)],
        )
        comparisons.append(
            Comparison(
                2 * enclose_tv(before, after), 2 * (ball(max(t) - min(t)) / 4).tanh(), f"h = {h}"
            )
        )
    return comparisons


def _rows() -> Any:
    from hypothesis import strategies as st

    def scores(n: int) -> Any:
        entries = st.lists(st.integers(-24, 24).map(lambda i: i / 8), min_size=n, max_size=n)
        return st.fixed_dictionaries({"w": entries, "t": entries})

    return st.integers(1, 5).flatmap(scores)


def _softmax_change(instance: Instance) -> float:
    w, t = (np.array(instance[name], dtype=float) for name in ("w", "t"))
    before, after = np.exp(w), np.exp(w + t)
    change = float(np.sum(np.abs(after / after.sum() - before / before.sum())))
    return max(change - 1e-14, 0.0)  # what rounding leaves of no change


def _enclose_change(instance: Instance) -> Any:
    w, t = ([ball(float(x)) for x in instance[name]] for name in ("w", "t"))
    return 2 * enclose_tv([x.exp() for x in w], [(x + y).exp() for x, y in zip(w, t, strict=True)])


def _osc(instance: Instance) -> float:
    return float(max(instance["t"]) - min(instance["t"]))


def _largest(instance: Instance) -> float:
    return float(max(abs(x) for x in instance["t"]))


_SIZES = {"osc": _osc, "largest": _largest}


def _bound(instance: Instance, of: str, divisor: Fraction) -> float:
    return 2 * math.tanh(_SIZES[of](instance) / float(divisor))


def _change(instance: Instance, of: str, divisor: Fraction) -> tuple[Any, Any]:
    """Change of the softmax against 2 tanh(size of t / divisor)."""
    return _enclose_change(instance), 2 * (ball(_SIZES[of](instance)) / ball(divisor)).tanh()


_NEARLY_SHARP: Instance = {"w": [-0.0625, 0.0625], "t": [0.125, -0.125]}


def _search(of: str, divisor: Fraction, scope: str) -> Falsify:
    return search_by(
        partial(_change, of=of, divisor=divisor),
        instances=_rows,
        measured=_softmax_change,
        bound=partial(_bound, of=of, divisor=divisor),
        examples=(_NEARLY_SHARP,),
        scope=scope,
        tries=150,
    )


_EQUAL: dict[str, Any] = {"relation": "=", "radius": Fraction(1, 2**64)}

TANH = Theorem(
    key="ours.tanh",
    title="change of a softmax from the largest change of a score",
    statement=(
        "Σ_j |softmax(w)_j - softmax(w + t)_j| <= 2 tanh(max_j |t_j| / 2), and two tokens attain "
        "it for every max |t|."
    ),
    source=_HERE,
    reading="any number of keys, all real scores; per row",
    experiments=(
        Symbolic(
            identities=_moved_scores,
            covers="statement",
            scope="the bound: any number of keys, all scores; attained for every max |t|",
        ),
        Enclose(
            certify=_exchanged_weights,
            covers="statement",
            scope="attained: max |t| = 2h, h = 1/1000, 20 and i/8, i = 1, ..., 32",
            **_EQUAL,
        ),
        _search("largest", Fraction(2), "up to 5 keys, scores and changes in [-3, 3]"),
    ),
    expected=Status.PROVED,
    mutant=_search("largest", Fraction(101, 50), "1/2.02 in place of a half"),
    uses=("ours.hilbert",),
    remarks=("A change common to all scores moves nothing, so ours.oscillation is never worse.",),
)

OSCILLATION = Theorem(
    key="ours.oscillation",
    title="change of a softmax from the oscillation of the changes of its scores",
    statement=(
        "Σ_j |softmax(w)_j - softmax(w + t)_j| <= 2 tanh(osc(t) / 4), and two tokens attain it for "
        "every osc(t)."
    ),
    source=_HERE,
    reading="any number of keys, all real scores; per row; osc(t) = max_j t_j - min_j t_j",
    experiments=(
        Symbolic(
            identities=_moved_scores,
            covers="statement",
            scope=(
                "the bound: any number of keys, all scores; attained for every osc(t), whatever is "
                "added to t"
            ),
        ),
        Enclose(
            certify=partial(_exchanged_weights, shift=Fraction(7)),
            covers="statement",
            scope=(
                "attained: osc(t) = 4h with 7 added to t, h = 1/1000, 20 and i/8, i = 1, ..., 32"
            ),
            **_EQUAL,
        ),
        _search("osc", Fraction(4), "up to 5 keys, scores and changes in [-3, 3]"),
    ),
    expected=Status.PROVED,
    mutant=_search("osc", Fraction(101, 25), "1/4.04 in place of a quarter"),
    uses=("ours.hilbert",),
)

THEOREMS = (TANH, OSCILLATION)
