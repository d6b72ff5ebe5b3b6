"""Self-attention has no Lipschitz constant on all inputs (Kim et al. 2021); distances would.

Read: the abstract. Tokens x_1, ..., x_n in R, scores x_i x_j, outputs f_i = sum_j P_ij x_j.

1. d f_1 / d x_1 = P_11 + sum_j P_1j (x_j + [j = 1] x_1)(x_j - f_1), by the quotient rule.
2. At x_1 = 0 all scores of the first row are 0 and P_1j = 1/n. With the tokens 0, t, -t the
   derivative is (1 + 2 t^2) / 3, which has no bound.
3. For scores -(x_1 - x_j)^2 the weights at the same tokens are 1 and twice e^-u, u = t^2, and the
   derivative is (e^u + 4u) / (e^u + 2): the weights die out faster than the tokens grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.kim_2021.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def _products(x: Any, y: Any) -> Any:
    return x * y


def _distances(x: Any, y: Any) -> Any:
    return -((x - y) ** 2)


def _derivative(score: Callable[[Any, Any], Any]) -> Any:
    """d f_1 / d x_1 at the tokens 0, t, -t, by SymPy's derivative of the output itself."""
    from sympy import diff, exp, symbols

    tokens, t = symbols("x1 x2 x3"), symbols("t")
    weights = [exp(score(tokens[0], x)) for x in tokens]
    output = sum(w * x for w, x in zip(weights, tokens, strict=True)) / sum(weights)
    at = {tokens[0]: 0, tokens[1]: t, tokens[2]: -t}
    return diff(output, tokens[0]).subs(at)


def _unbounded(factor: int = 2) -> Iterator[Identity]:
    from sympy import cancel, symbols

    t = symbols("t")
    yield Identity(cancel(_derivative(_products)), (1 + factor * t**2) / 3, "products")


def _closed_form() -> Iterator[Identity]:
    """Step 3 with E for e^(t^2), so that both sides are rational."""
    from sympy import exp, symbols

    t, e = symbols("t E")
    found = _derivative(_distances).replace(exp, lambda power: e ** (power / t**2))
    yield Identity(found, (e + 4 * t**2) / (e + 2), "distances")


def _row(own: int = 1) -> Iterator[Identity]:
    """Step 1 with free weights: the slope of the scores is x_j, twice x_1 for the first."""
    from sympy import QQ, ring

    for n in (2, 3, 5):
        _, *free = ring([*(f"x{j}" for j in range(n)), *(f"p{j}" for j in range(1, n))], QQ)
        x, rest = free[:n], free[n:]
        p = [1 - sum(rest[1:], rest[0]), *rest]
        f = sum((a * b for a, b in zip(p, x, strict=True)), 0 * x[0])
        slope = [x[j] + (x[0] if j == 0 else 0) for j in range(n)]
        mean = sum((a * s for a, s in zip(p, slope, strict=True)), 0 * x[0])
        moved = sum((a * (s - mean) * y for a, s, y in zip(p, slope, x, strict=True)), p[0])
        once = [x[j] + (own * x[0] if j == 0 else 0) for j in range(n)]
        claimed = sum((a * s * (y - f) for a, s, y in zip(p, once, x, strict=True)), p[0])
        yield Identity(moved, claimed, f"n = {n}")


def _slope(u: Any) -> Any:
    """(e^u + 4u) / (e^u + 2), written so that u occurs in few places."""
    return 1 + (4 * u - 2) / (u.exp() + 2)


def _constant(_u: Any, *, most: Fraction) -> Any:
    return ball(most)


def _bounded(most: Fraction = Fraction(33, 20)) -> Enclose:
    return Enclose(
        lhs=_slope,
        rhs=partial(_constant, most=most),
        box=((0, 64),),
        covers="statement",
        scope="t² in [0, 64]",
    )


def _growth(_bits: int, part: Fraction = Fraction(1)) -> list[Comparison]:
    """|f_1(h) - f_1(0)| / h for h = 2^-3m at t = 2^m, against (1 + 2 t^2) / 3 less 1/100."""
    found = []
    for m in range(1, 12):
        t, h = ball(2**m), ball(Fraction(1, 2 ** (3 * m + 6)))
        up, down = (h * t).exp(), (-h * t).exp()
        own = (h * h).exp()
        moved = (own * h + up * t - down * t) / (own + up + down)
        claimed = (1 + 2 * t * t) / 3 * ball(part) - ball(Fraction(1, 100))
        found.append(Comparison(claimed, moved / h, f"t = 2^{m}"))
    return found


_READ = Source(
    citation=CITATION,
    place="abstract: dot-product self-attention is not Lipschitz for unbounded input",
    fidelity="constants made explicit",
    wording_verified=True,
)

THEOREMS = (
    Theorem(
        key="kim.row-derivative",
        title="the derivative of an output by its own token",
        statement="∂f_1/∂x_1 = P_11 + Σ_j P_1j (x_j + [j = 1] x_1)(x_j - f_1), scores x_i x_j.",
        source=Source(citation=CITATION, place="the Jacobian", fidelity="ours"),
        reading="tokens in R; keys, queries and values are the tokens",
        experiments=(
            Symbolic(
                identities=_row, covers="statement", scope="n = 2, 3, 5, all tokens, free weights"
            ),
            Symbolic(
                identities=_unbounded, covers="step", scope="the same at 0, t, -t, by SymPy's diff"
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_row, 0), covers="statement", scope="its own score moves by x_1 once"
        ),
    ),
    Theorem(
        key="kim.unbounded",
        title="self-attention is not Lipschitz on all inputs",
        statement="At the tokens 0, t, -t in R, ∂f_1/∂x_1 = (1 + 2t²)/3.",
        source=_READ,
        reading="an explicit family with n = 3 and d = 1; more tokens and coordinates contain it",
        experiments=(
            Symbolic(identities=_unbounded, covers="statement", scope="all t"),
            Enclose(
                certify=_growth,
                covers="statement",
                scope="differences of the outputs themselves, t = 2 to 2048, within 1/100",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_growth, part=Fraction(21, 20)),
            covers="statement",
            scope="21/20 of the derivative",
        ),
        uses=("kim.row-derivative",),
        remarks=("ours.layers bounds a layer on bounded inputs, where this does not happen.",),
    ),
    Theorem(
        key="kim.distances",
        title="scores by distance keep the same derivative bounded",
        statement=(
            "With scores -(x_i - x_j)² in place of x_i x_j, ∂f_1/∂x_1 at the tokens 0, t, -t is at "
            "most 33/20 for every t."
        ),
        source=Source(
            citation=CITATION,
            place="abstract: the alternative L2 self-attention is Lipschitz",
            fidelity="constants made explicit",
            wording_verified=True,
        ),
        reading=(
            "the family that refutes dot products, not all inputs; d = 1, keys equal to queries"
        ),
        experiments=(
            _bounded(),
            Symbolic(identities=_closed_form, covers="step", scope="(e^u + 4u)/(e^u + 2), u = t²"),
        ),
        expected=Status.PROVED,
        mutant=_bounded(Fraction(41, 25)),
        remarks=("For u = t² >= 64 it is at most 1 + 4u e^-u < 33/20, since u e^-u decreases.",),
    ),
)
