"""Our own statements about rows that keep k keys only: what no such row can beat.

P is a row of weights with sum 1, H a set of kept keys, tau = 1 - P(H) the mass outside. The
identities of truncation itself are in `tzachristas_2025`: TV = tau for P cut to H and made to sum
to 1, and the exact error of the output.

1. Let g be any row that lives on H. Then TV(P, g) >= g(H) - P(H) = tau, so P cut to H is a nearest
   row on H, and tau is least for the k largest weights: replacing a kept weight by a larger one
   that is not kept lowers tau by the difference.
2. The output of P cut to H is off by tau (mu_T - mu_H) in each column, means of its values on the
   tail and on H: at most tau osc(v). A tail of values max v and a head of values min v attain it.
3. Without making it sum to 1 the output is off by sum over the tail of P_j v_j: at most
   tau max|v|, attained by equal values, whatever the range of v.
4. With the weight tau on the middle c of the range of v in the place of the tail, the output is off
   by tau (mu_T - c): at most tau osc(v) / 2, attained by a tail of values max v.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.ours.rows import dot, weights
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
_ONE = Fraction(1)
_SIZES = ((3, 1), (5, 2), (6, 4))
"""Keys n, and keys kept k."""


def _nearest() -> Iterator[Identity]:
    """Step 1 with g_j = P_j + a_j - b_j on H, a_j and b_j >= 0, and the exchange."""
    from sympy import QQ, ring

    for n, k in _SIZES:
        free = [*(f"p{j}" for j in range(n - 1)), *(f"b{j}" for j in range(k))]
        r, *s = ring([*free, *(f"a{j}" for j in range(k - 1))], QQ)
        p, b, a = weights(s[: n - 1], r.one), s[n - 1 : n - 1 + k], s[n - 1 + k :]
        tau, taken = sum(p[k:], r.zero), sum(b, r.zero)
        a = [*a, tau + taken - sum(a, r.zero)]  # so that g sums to 1
        distance = (sum(a, r.zero) + taken + tau) / 2
        yield Identity(distance - tau, taken, f"n, k = {n, k}: TV(P, g) - tau")
        exchanged = sum(p[1 : k + 1], r.zero)
        yield Identity(tau - (1 - exchanged), p[k] - p[0], f"n, k = {n, k}: exchange")


def _row(instance: Instance) -> tuple[list[Fraction], list[Fraction], int]:
    """Weights, the largest first, values, and the number kept."""
    pairs = sorted(zip(instance["p"], instance["v"], strict=True), key=lambda x: -x[0])
    total = sum(x for x, _ in pairs)
    p, v = [Fraction(x) / Fraction(total) for x, _ in pairs], [Fraction(x) for _, x in pairs]
    return p, v, min(int(instance["kept"]), len(p))


def _error(p: Sequence[Any], v: Sequence[Any], k: int, form: str) -> tuple[Any, Any]:
    """Error of the output, and tau times the range that the form allows."""
    tau, head = sum(p[k:], Fraction(0)), dot(p[:k], v[:k])
    exact, osc = dot(p, v), max(v) - min(v)
    if form == "sum 1":
        return abs(exact - head / (1 - tau)), tau * osc
    if form == "as it is":
        return abs(exact - head), tau * max(abs(x) for x in v)
    return abs(exact - head - tau * (max(v) + min(v)) / 2), tau * osc / 2


def _output(instance: Instance, form: str, part: Fraction = _ONE) -> tuple[Any, Any]:
    p, v, k = _row(instance)
    error, bound = _error(p, v, k, form)
    return error, part * bound


def _floor(instance: Instance, part: Fraction = _ONE) -> tuple[Any, Any]:
    """`part` of the mass outside the k largest, against TV(P, g) for a row g on the first k."""
    raw, other = ([Fraction(x) for x in instance[name]] for name in ("p", "v"))
    k = min(int(instance["kept"]), len(raw))
    p = [x / sum(raw) for x in raw]
    live = [abs(x) + 1 for x in other[:k]]
    g = [x / sum(live) for x in live] + [Fraction(0)] * (len(p) - k)
    distance = sum((abs(x - y) for x, y in zip(p, g, strict=True)), Fraction(0)) / 2
    return part * (1 - sum(sorted(p)[-k:], Fraction(0))), distance


def _rows() -> Any:
    from hypothesis import strategies as st

    def row(n: int) -> Any:
        positive = st.lists(st.integers(1, 16), min_size=n, max_size=n)
        values = st.lists(st.integers(-16, 16), min_size=n, max_size=n)
        return st.fixed_dictionaries({"p": positive, "v": values, "kept": st.integers(1, n)})

    return st.integers(2, 6).flatmap(row)


def _search(confirm: Any, part: Fraction, scope: str) -> Falsify:
    """A search of up to 6 keys; `scope` names what is measured."""
    scope = f"up to 6 keys, whole weights and values up to 16: {scope}"
    return search_by(
        partial(confirm, part=part),
        instances=_rows,
        examples=({"p": [5, 1], "v": [0, 1], "kept": 1},),
        tries=120,
        scope=scope if part == 1 else f"{scope}, times {part}",
    )


_FORMS = {
    "sum 1": "made to sum to 1",
    "as it is": "not made to sum to 1",
    "middle": "with the middle value for the tail",
}


def _outputs(form: str, part: Fraction = _ONE) -> Falsify:
    return _search(partial(_output, form=form), part, _FORMS[form])


def _attained(_bits: int) -> Iterator[Comparison]:
    for n, k in (*_SIZES, (256, 32)):
        raw = [Fraction(n - j) for j in range(n)]
        p = [x / sum(raw) for x in raw]
        step = [Fraction(0)] * k + [_ONE] * (n - k)
        for form, v in (("sum 1", step), ("as it is", [_ONE] * n), ("middle", step)):
            yield Comparison(*_error(p, v, k, form), f"n, k = {n, k}, {form}")


def _means() -> Iterator[Identity]:
    """Steps 2 to 4: the three errors, exactly."""
    from sympy import QQ, field

    for n, k in _SIZES:
        names = [*(f"p{j}" for j in range(n - 1)), *(f"v{j}" for j in range(n)), "c"]
        _, *free = field(names, QQ)
        p, v, c = weights(free[: n - 1], free[0] ** 0), free[n - 1 : -1], free[-1]
        tau, label = sum(p[k + 1 :], p[k]), f"n, k = {n, k}"
        head, tail = dot(p[:k], v[:k]), dot(p[k:], v[k:])
        gap = tau * (tail / tau - head / (1 - tau))
        yield Identity(dot(p, v) - head / (1 - tau), gap, f"{label}: sum 1")
        yield Identity(dot(p, v) - head, tau * (tail / tau), f"{label}: as it is")
        middle = dot(p, v) - head - tau * c
        yield Identity(middle, tau * (tail / tau - c), f"{label}: middle")


_SCOPE = "(n, k) = (3, 1), (5, 2), (6, 4), all weights"

NEAREST = Theorem(
    key="ours.k-keys-floor",
    title="no row on k keys is nearer than the k heaviest",
    statement=(
        "TV(P, g) >= 1 - (the sum of the k largest P_j) for every row g of weights on at most k "
        "keys; P cut to its k largest weights and made to sum to 1 attains it."
    ),
    source=_HERE,
    reading=(
        "the floor of the weights for each method that attends to k keys a row, not of outputs; "
        "summary keys and estimates of the rest are no such method, and go below it"
    ),
    experiments=(
        Symbolic(identities=_nearest, covers="statement", scope=f"{_SCOPE}, all rows g"),
        _search(_floor, _ONE, "distance of rows on k keys"),
    ),
    expected=Status.PROVED,
    mutant=_search(_floor, Fraction(51, 50), "distance of rows on k keys"),
    uses=("top-k.tail-mass",),
)

OUTPUT = Theorem(
    key="ours.dropped-keys",
    title="the output of a row whose tail is dropped, sharply",
    statement=(
        "If keys of mass τ are dropped, each column of the output is off by at most τ osc(v) when "
        "the rest is made to sum to 1, τ max|v| when it is not, and τ osc(v)/2 when the weight τ "
        "stays on the middle of the range of v. All three are attained for every row P."
    ),
    source=_HERE,
    reading="any set of kept keys; osc and max over the column, which a certificate knows",
    experiments=(
        Symbolic(identities=_means, covers="statement", scope=f"{_SCOPE}, values and middles"),
        Enclose(
            certify=_attained,
            relation="=",
            covers="statement",
            scope="attained: (n, k) = (3, 1), (5, 2), (6, 4), (256, 32), one row each",
        ),
        *(_outputs(form) for form in _FORMS),
    ),
    expected=Status.PROVED,
    mutant=_outputs("middle", Fraction(49, 50)),
    uses=("top-k.output-error",),
    remarks=(
        "The mean of all values in the place of the middle has no such bound: it may be at an end.",
    ),
)

THEOREMS = (NEAREST, OUTPUT)
