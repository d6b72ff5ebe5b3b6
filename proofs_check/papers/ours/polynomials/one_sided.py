"""Our own statements about the best polynomials below and above exp on [-B, B].

`approxattn.exponential.one_sided` takes the polynomial midway between them.

    L, U      Hermite's interpolants of exp at nodes y_0 ... y_g of [-B, B], double ones twice
    g odd     L: (g+1)/2 double nodes.  U: -B, B and (g-1)/2 double nodes between
    g even    L: -B and g/2 double nodes.  U: B and g/2 double nodes
    h_m       the sum of all monomials of degree m, h_m = 0 for m < 0
    mu        a distribution on [-B, B] with moments m_t

Hermite: L <= exp <= U on [-B, B].

1. y^n = sum_{k <= g} h_{n-k}(y_0 ... y_k) prod_{i < k} (y - y_i)
       + h_{n-g-1}(y_0 ... y_g, y) prod_{i <= g} (y - y_i): the first sum interpolates y^n.
2. e^s = e^-B sum_n y^n / n! with y = s + B >= 0: all nodes are >= 0 in y, so all h are.
3. So e^s - H(s) is a positive number times prod_k (s - x_k), which has the sign that the nodes
   give it. At s = x_k it is 0.

Best mean: no polynomial U' >= exp of degree g has a smaller mean than the U whose double nodes are
those of Gauss's quadrature for mu (g odd: Lobatto's with -B and B; g even: Radau's with B); none
L' <= exp has a larger one than L with those of Gauss (g odd) or of Radau with -B (g even).

4. The quadrature has positive weights w_k at the nodes x_k, and sum_k w_k x_k^t = m_t for t <= g.
5. So E U' = sum_k w_k U'(x_k) >= sum_k w_k e^(x_k) = sum_k w_k U(x_k) = E U. The same for L.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__, "approxattn.exponential.one_sided")

# --- Hermite --------------------------------------------------------------------------------------


def _complete(degree: int, letters: Sequence[Any], one: Any) -> Any:
    """h_m."""
    if degree < 0:
        return 0 * one
    chosen = itertools.combinations_with_replacement(letters, degree)
    return sum((math.prod(c, start=one) for c in chosen), 0 * one)


def _remainder(more: int = 0) -> Iterator[Identity]:
    """Step 1 for single and double nodes."""
    from sympy import QQ, ring

    _, y, a, b, c = ring("y, a, b, c", QQ)
    one = y**0
    cases = {
        "L, g = 1": (a, a),
        "U, g = 1": (a, b),
        "U, g = 2": (a, a, b),
        "U, g = 3": (a, b, b, c),
    }
    for (name, nodes), n in itertools.product(cases.items(), range(7)):
        total = 0 * one
        for k in range(len(nodes)):
            known = math.prod([y - x for x in nodes[:k]], start=one)
            total += _complete(n - k, nodes[: k + 1], one) * known
        rest = math.prod([y - x for x in nodes], start=one)
        last = _complete(n - len(nodes) + more, [*nodes, y], one)
        yield Identity(y**n, total + last * rest, f"{name}, y^{n}")


def _divided(nodes: Sequence[Any]) -> list[Any]:
    """Divided differences of exp at sorted nodes, equal ones next to each other."""
    table, found = [x.exp() for x in nodes], [nodes[0].exp()]
    for order in range(1, len(nodes)):
        row = []
        for i in range(len(nodes) - order):
            apart = nodes[i + order] - nodes[i]
            same = nodes[i + order] is nodes[i]
            step = nodes[i].exp() / math.factorial(order) if same else 0
            row.append(step if same else (table[i + 1] - table[i]) / apart)
        table = row
        found.append(table[0])
    return found


def _interpolant(nodes: Sequence[Any], differences: Sequence[Any], s: Any) -> Any:
    value = 0 * s
    for x, c in reversed(list(zip(nodes, differences, strict=True))):
        value = value * (s - x) + c
    return value


def _nodes(g: int, b: Fraction, above: bool, inner: Sequence[Any]) -> list[Any]:
    """Return the nodes in increasing order, the inner ones twice."""
    low, high = ball(-b), ball(b)
    twice = [x for x in inner for _ in range(2)]
    if g % 2:
        return [low, *twice, high] if above else twice
    return [*twice, high] if above else [low, *twice]


def _inner(g: int, above: bool) -> int:
    """Return how many inner nodes there are."""
    return (g - 1) // 2 if g % 2 and above else (g + 1) // 2 if g % 2 else g // 2


def _between(_bits: int, wrong: bool = False) -> Iterator[Comparison]:
    """L <= exp <= U at 33 points, for inner nodes that are evenly spaced, or near the middle."""
    for g, b, spread in itertools.product(
        (1, 2, 3, 4, 7, 8), (1, 4), (Fraction(1), Fraction(1, 4))
    ):
        for above in (False, True):
            count = _inner(g, above)
            places = [Fraction(2 * i + 1, count) - 1 for i in range(count)]
            nodes = _nodes(g, Fraction(b), above != wrong, [ball(b * spread * x) for x in places])
            if len(nodes) != g + 1:
                continue
            differences, sign = _divided(nodes), 1 if above else -1
            for i in range(-16, 17):
                s = ball(Fraction(b * (7 * i + 1), 7 * 16 + 3))  # no node
                gap = sign * (_interpolant(nodes, differences, s) - s.exp())
                yield Comparison(0, gap, f"g = {g}, B = {b}, {'U' if above else 'L'}, {i}/16 B")


HERMITE = Theorem(
    key="ours.one-sided-hermite",
    title="polynomials below and above exp",
    statement=(
        "L <= exp <= U on [-B, B] for Hermite's interpolants at double nodes inside and, for even "
        "g, -B for L and B for U; for odd g, none for L and both for U."
    ),
    source=_HERE,
    reading="any double nodes in [-B, B]",
    experiments=(
        Symbolic(
            identities=_remainder,
            covers="step",
            scope="the remainder for y^n, n <= 6: all nodes, g = 1, 2, 3",
        ),
        Enclose(
            certify=_between,
            bits=192,
            covers="statement",
            scope="g = 1, 2, 3, 4, 7, 8, B = 1, 4, two sets of nodes, 33 points",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_between, wrong=True),
        bits=192,
        covers="statement",
        scope="even g with the other end in the place of the right one",
    ),
)

# --- the best mean --------------------------------------------------------------------------------

_B = Fraction(3)
_POINTS = tuple(_B * Fraction(i, 8) for i in range(-8, 9))
_MASSES = tuple(Fraction(math.comb(16, i), 2**16) for i in range(17))


def _mean(function: Any) -> Any:
    """E over mu, a binomial distribution on 17 points of [-3, 3]; of fractions or of balls."""
    terms = [(m, function(s)) for m, s in zip(_MASSES, _POINTS, strict=True)]
    return sum((m if isinstance(x, Fraction) else ball(m)) * x for m, x in terms)


def _gauss(count: int, density: Any) -> list[Any]:
    """Return the nodes of Gauss's quadrature of mu times a density: the zeros of the monic
    polynomial of that degree, 1 or 2, that is orthogonal to all lower ones.
    """
    moment = [_mean(lambda s, t=t: density(s) * s**t) for t in range(2 * count)]
    if count == 0:
        return []
    if count == 1:
        return [ball(moment[1] / moment[0])]
    # s^2 - p s - q orthogonal to 1 and s
    det = moment[1] ** 2 - moment[0] * moment[2]
    p = (moment[2] * moment[1] - moment[0] * moment[3]) / det
    q = (moment[1] * moment[3] - moment[2] ** 2) / det
    root = (ball(p**2 / 4 + q)).sqrt()
    return [ball(p / 2) - root, ball(p / 2) + root]


def _quadrature_nodes(g: int, above: bool, shift: Fraction) -> list[Any]:
    """Return the inner nodes; `shift` moves them, for the mutant."""
    if g % 2:
        density = (lambda s: (_B - s) * (_B + s)) if above else (lambda _s: Fraction(1))
    else:
        density = (lambda s: _B - s) if above else (lambda s: _B + s)
    return [x + ball(shift) for x in _gauss(_inner(g, above), density)]


def _weights(nodes: Sequence[Any]) -> list[Any]:
    """Return the weights of the quadrature: means of Lagrange's polynomials."""
    found = []
    for k, x in enumerate(nodes):
        others = [y for j, y in enumerate(nodes) if j != k]
        below = math.prod([x - y for y in others], start=ball(1))
        found.append(
            _mean(lambda s, o=others, b=below: math.prod([ball(s) - y for y in o], start=1 / b))
        )
    return found


def _cases(shift: Fraction) -> Iterator[tuple[str, int, list[Any], list[Any], list[Any]]]:
    for g, above in itertools.product((1, 2, 3, 4), (False, True)):
        inner = _quadrature_nodes(g, above, shift)
        nodes = _nodes(g, _B, above, inner)
        single = [x for i, x in enumerate(nodes) if i == 0 or nodes[i - 1] is not x]
        yield f"{'U' if above else 'L'}, g = {g}", g, nodes, single, _weights(single)


def _positive(_bits: int) -> Iterator[Comparison]:
    for label, _, _, _, weights in _cases(Fraction(0)):
        for k, w in enumerate(weights):
            yield Comparison(0, w, f"{label}, weight {k}")


def _dual(_bits: int, shift: Fraction = Fraction(0)) -> Iterator[Comparison]:
    """Step 4, and both ends of step 5."""
    for label, g, nodes, single, weights in _cases(shift):
        for t in range(g + 1):
            seen = sum(w * x**t for w, x in zip(weights, single, strict=True))
            yield Comparison(seen, ball(_mean(lambda s, t=t: s**t)), f"{label}, moment {t}")
        differences = _divided(nodes)
        of_u = _mean(lambda s, n=nodes, d=differences: _interpolant(n, d, ball(s)))
        of_exp = sum(w * x.exp() for w, x in zip(weights, single, strict=True))
        yield Comparison(of_u, of_exp, f"{label}, the mean")


_MU = "g = 1, 2, 3, 4, a binomial distribution on 17 points of [-3, 3]"
_EXACT: dict[str, Any] = {"relation": "=", "radius": Fraction(1, 2**80), "bits": 192}

OPTIMAL = Theorem(
    key="ours.one-sided-optimal",
    title="no polynomial above or below exp has a nearer mean",
    statement=(
        "E_μ U' >= E_μ U for every polynomial U' >= exp of degree g on [-B, B], U with the double "
        "nodes of the quadrature of Gauss (or Radau, Lobatto) for μ; and E_μ L' <= E_μ L."
    ),
    source=_HERE,
    reading=(
        "linear programming duality (Markov, Stieltjes): the quadrature is the dual solution, and "
        "its mean of exp is that of U"
    ),
    experiments=(
        Enclose(certify=_dual, covers="statement", scope=f"equal means: {_MU}", **_EXACT),
        Enclose(certify=_positive, bits=192, covers="statement", scope=f"weights > 0: {_MU}"),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_dual, shift=Fraction(1, 100)),
        covers="statement",
        scope="inner nodes moved by 1/100",
        **_EXACT,
    ),
    uses=("ours.one-sided-hermite",),
)

THEOREMS = (HERMITE, OPTIMAL)
