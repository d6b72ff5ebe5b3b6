"""Our own statement about a softmax some of whose scores are exact.

Certificates of methods that meet a few keys exactly cite it. Nothing here is a quotation.

f, f~     exact and approximate weights of one row, f_j = f~_j e^{t_j} / Z
R         the tokens whose t_j need not be 0;   r = f~(R),   |t_j| <= eta

1. TV = max_A f(A) - f~(A) is attained by A = {j: t_j > ln Z}. Tokens with t_j = 0 are all in A or
   all outside.
2. Let E = e^eta, and let the exact tokens be outside A. Let A have the f~-mass x in R and there
   the mean X of e^t, and let the rest of R have the mean Y, both between 1/E and E.
3. With N = (r - x) Y + 1 - r and N_0 = (r - x)/E + 1 - r, D(x) = x E + N_0:
       x E / D(x) - x X / (x X + N) = x ((E - X) N + X (r - x)(Y - 1/E)) / (D(x)(x X + N)) >= 0.
   So t is eta on A and -eta on the rest of R at worst, and D(x) = 1 - r + r / E + x (E - 1/E).
4. f(A) - f~(A) = x E / D(x) - x = (E + D(0) - D(x) - D(0) E / D(x)) / (E - 1/E).
5. That is (E + D(0) - 2 sqrt(D(0) E)) / (E - 1/E), less
   (D(x) - sqrt(D(0) E))^2 / (D(x) (E - 1/E)) >= 0.
6. If the exact tokens are in A, the same holds of the complement with 1/E for E.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.ours.weights import enclose_tv
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status


def _gain(slope: int) -> list[Identity]:
    from sympy import QQ, field

    _, e, x, best = field("e, x, best", QQ)  # best = sqrt(D(0) E), so that D(0) = best^2 / E
    start = best**2 / e
    step = e - slope / e
    d = start + x * step
    gain, largest = x * e / d - x, (e + start - 2 * best) / (e - 1 / e)
    return [
        Identity(
            largest - gain,
            (d - best) ** 2 / (d * (e - 1 / e)),
            "distance to the largest difference",
        )
    ]


def _worst_changes() -> list[Identity]:
    """Step 3."""
    from sympy import QQ, field

    _, e, r, x, up, down = field("e, r, x, X, Y", QQ)
    most = x * e / (1 - r + r / e + x * (e - 1 / e))
    rest = (r - x) * down + 1 - r
    gap = x * ((e - up) * rest + up * (r - x) * (down - 1 / e))
    below = (1 - r + r / e + x * (e - 1 / e)) * (x * up + rest)
    return [Identity(most - x * up / (x * up + rest), gap / below, "two values are worst")]


def _proof(slope: int = 1) -> list[Identity]:
    return [*_worst_changes(), *_gain(slope)]


def _rows() -> Any:
    from hypothesis import strategies as st

    def scores(n: int) -> Any:
        entries = st.lists(st.integers(-24, 24).map(lambda i: i / 8), min_size=n, max_size=n)
        return st.fixed_dictionaries({"w": entries, "t": entries, "moved": st.integers(1, n)})

    return st.integers(2, 5).flatmap(scores)


def _moves(instance: Instance) -> list[float]:
    return [t if j < instance["moved"] else 0.0 for j, t in enumerate(instance["t"])]


def _change(instance: Instance) -> float:
    near = np.exp(np.array(instance["w"], dtype=float))
    exact = near * np.exp(_moves(instance))
    return max(float(np.sum(np.abs(exact / exact.sum() - near / near.sum()))) / 2 - 1e-14, 0.0)


def _largest(e: Any, r: Any, root: Any) -> Any:
    """Largest difference of the first case, x at most r; the second case has 1/e for e."""
    start = 1 - r + r / e
    best = root(start * e)
    x = (best - start) / (e - 1 / e)
    if x > r:
        x, best = r, 1 - r + r * e
    return abs(x * e / best - x)


def _share(instance: Instance) -> tuple[float, float]:
    weights = np.exp(np.array(instance["w"], dtype=float))
    return max(abs(t) for t in _moves(instance)), float(
        weights[: instance["moved"]].sum() / weights.sum()
    )


def _bound(instance: Instance, part: Fraction = Fraction(1)) -> float:
    eta, r = _share(instance)
    if eta == 0:
        return 0.0
    return float(max(_largest(math.exp(s * eta), r / float(part), math.sqrt) for s in (1, -1)))


def _confirm(instance: Instance, part: Fraction = Fraction(1)) -> tuple[Any, Any]:
    w, t = ([ball(float(x)).exp() for x in xs] for xs in (instance["w"], _moves(instance)))
    change = enclose_tv(w, [x * y for x, y in zip(w, t, strict=True)])
    eta, _ = _share(instance)
    if eta == 0:
        return change, ball(0)
    r = sum(w[: instance["moved"]], ball(0)) / sum(w, ball(0)) / ball(part)
    up, down = (_largest(ball(s * eta).exp(), r, lambda z: z.sqrt()) for s in (1, -1))
    return change, up if float(up) > float(down) else down


_ATTAINED: Instance = {"w": [0.0, 2.0], "t": [0.125, 0.0], "moved": 1}
_NEAR = Fraction(51, 50)

TANH_PART = Theorem(
    key="ours.tanh-part",
    title="change of a softmax some of whose scores are exact",
    statement=(
        "If scores of tokens of approximate mass r are off by at most η and the others are exact, "
        "TV <= max over x in [0, r] of x e^η / (1 - r + r e^-η + 2 x sinh η) - x and "
        "x - x e^-η / (1 - r + r e^η - 2 x sinh η), which is tanh(η/2) for r = 1."
    ),
    source=here(__name__),
    reading="any number of keys, all real scores; per row",
    experiments=(
        Symbolic(
            identities=_proof,
            covers="statement",
            scope="any number of keys, all masses r, all η and all changes of at most η",
        ),
        Falsify(
            instances=_rows,
            measured=_change,
            bound=_bound,
            confirm=_confirm,
            examples=(_ATTAINED,),
            tries=150,
            covers="statement",
            scope="up to 5 keys, scores and changes in [-3, 3]",
        ),
    ),
    expected=Status.PROVED,
    mutant=Falsify(
        instances=_rows,
        measured=_change,
        bound=partial(_bound, part=_NEAR),
        confirm=partial(_confirm, part=_NEAR),
        examples=(_ATTAINED,),
        covers="statement",
        scope="the mass divided by 1.02",
    ),
    uses=("ours.tanh",),
)

THEOREMS = (TANH_PART,)
