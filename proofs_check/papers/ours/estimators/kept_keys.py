"""Our own statements about attention to some keys only; nothing random is left here.

Certificates of `approxattn.methods.colliding_pairs` cite them. Nothing here is a quotation. TV is
half of the sum norm of a difference of rows of weights, and t bounds a TV by ours.hilbert.

Kept keys, reweighted by c_j. f = (1 - mu) g + mu h are the exact weights, g on the kept keys and h
on the dropped ones, and f~ is proportional to g c.

1. f - f~ = (1 - mu)(g - f~) + mu (h - f~), entry by entry.
2. TV(g, f~) <= tanh(osc ln c / 4) (ours.hilbert), and TV(h, f~) = 1, since they share no key. So
   TV(f, f~) <= (1 - mu) tanh(osc ln c / 4) + mu.
3. Let s be the sum of exp over the D dropped keys, s <= D e^B. Then mu = s/(s + Z) <= D e^B/(D e^B
   + Z), as s/(s + Z) grows with s.

The other keys at the logit 0. f = (1-a) g + a h and f~ = (1-b) g + b u: g lives on the kept keys, h
and u (uniform) on the r others, whose weights lie between e^-B and e^B.

4. osc ln(h/u) <= 2 B, so TV(h, u) <= tanh(B/2) = t, and for the same reason TV(f, f~) <= t.
5. For a >= b, f - f~ = (a-b)(h - g) + b (h - u), so TV(f, f~) <= a - b + b t, which grows with a.
6. For a <= b, f - f~ = (a-b)(u - g) + a (h - u), so TV(f, f~) <= b - a + a t = b - a (1 - t),
   which falls with a.
7. a = s/(s + Z), s the sum of exp over the others, between r e^-B and r e^B.
8. So a_- <= a <= a_+, and the larger of 5 at a_+ and 6 at a_- bounds TV(f, f~).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from functools import partial

from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_NEAR = Fraction(101, 100)
"""What the mutants divide the bounds by."""

# --- kept keys, reweighted ------------------------------------------------------------------------


def _reweighted(kept: Sequence[int], factor: Fraction = Fraction(1)) -> tuple[Fraction, Fraction]:
    """Total variation between f and the kept keys reweighted by 1/pi, and the claimed bound with
    e^{osc/2} in place of the exponential.
    """
    # osc ln(1/pi) = ln 4: tanh(osc/4) = 1/3
    inclusion = [Fraction(1), Fraction(1, 4), Fraction(1), Fraction(1, 4)]
    f = [Fraction(w, 10) for w in (1, 2, 3, 4)]
    raw = [a * u / p for a, u, p in zip(f, kept, inclusion, strict=True)]
    total = sum(raw)
    distance = sum((abs(a - b / total) for a, b in zip(f, raw, strict=True)), Fraction(0)) / 2
    dropped = sum(a * (1 - u) for a, u in zip(f, kept, strict=True))
    here = {p for p, u in zip(inclusion, kept, strict=True) if u}
    tanh = Fraction(1, 3) if len(here) == 2 else Fraction(0)
    return distance, (dropped + (1 - dropped) * tanh) / factor


def _all_patterns(_bits: int, factor: Fraction = Fraction(1)) -> list[Comparison]:
    patterns = [kept for kept in itertools.product((0, 1), repeat=4) if any(kept)]
    return [Comparison(*_reweighted(kept, factor), f"kept {kept}") for kept in patterns]


def _mixture() -> list[Identity]:
    """Steps 1 and 3."""
    from sympy import QQ, field

    _, mu, g, h, used, x, d, s, z = field("mu, g, h, f~, x, D, s, Z", QQ)
    f = (1 - mu) * g + mu * h
    largest = d * x / (d * x + z)
    return [
        Identity(f - used, (1 - mu) * (g - used) + mu * (h - used), "f - f~, entry by entry"),
        Identity(largest - s / (s + z), z * (d * x - s) / ((d * x + z) * (s + z)), "mass dropped"),
    ]


SURE = Theorem(
    key="ours.reweighted-keys",
    title="attention to some keys, reweighted",
    statement=(
        "If f~ keeps the keys of softmax mass 1 - μ, in proportion to f_j c_j, then TV(f~, f) <= "
        "μ + (1 - μ) tanh(osc ln c / 4); μ <= D e^B / (D e^B + Z) for D dropped keys of scores at "
        "most B and Z the sum of exp over the kept ones."
    ),
    source=here(__name__, how="convexity of the total variation and ours.hilbert"),
    reading="one row, any draw: nothing random is left once the kept keys are known",
    experiments=(
        Symbolic(
            identities=_mixture,
            covers="statement",
            scope="any number of keys, any weights and any set of kept keys, given ours.hilbert",
        ),
        Enclose(
            certify=_all_patterns,
            covers="statement",
            scope="weights 1 : 2 : 3 : 4, c = 1 or 4, all sets of kept keys",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_all_patterns, factor=_NEAR),
        covers="statement",
        scope="the bound divided by 1.01",
    ),
    uses=("ours.hilbert",),
)

# --- the other keys at the logit 0 ----------------------------------------------------------------


def _filled(_bits: int, factor: Fraction = Fraction(1)) -> list[Comparison]:
    """TV of weights with 1/x <= x_j <= x on the others, against the bound with e^B = x; there
    tanh(B/2) = (x - 1)/(x + 1).
    """
    comparisons = []
    for x, kept, number in itertools.product(
        (Fraction(17, 16), Fraction(3, 2), Fraction(4)),
        ((), (Fraction(1, 4),), (Fraction(4), Fraction(1)), (Fraction(30),)),
        (1, 2, 3),
    ):
        t = (x - 1) / (x + 1)
        for others in itertools.product((1 / x, Fraction(1), x), repeat=number):
            z, r = sum(kept, Fraction(0)), len(others)
            exact, used = (*kept, *others), (*kept, *(Fraction(1) for _ in others))
            f, l = ([y / sum(row) for y in row] for row in (exact, used))
            distance = sum((abs(a - b) for a, b in zip(f, l, strict=True)), Fraction(0)) / 2
            b, high, low = r / (r + z), r * x / (r * x + z), r / x / (r / x + z)
            bound = min(t, max(high - b + b * t, b - low + low * t)) / factor
            comparisons.append(
                Comparison(distance, bound, f"e^B = {x}, kept {kept}, others {others}")
            )
    return comparisons


def _mixtures() -> list[Identity]:
    """Steps 5, 6 and 8."""
    from sympy import QQ, field

    _, a, b, g, h, u, t = field("a, b, g, h, u, t", QQ)
    difference = (1 - a) * g + a * h - ((1 - b) * g + b * u)
    _, r, x, s, z = field("r, x, s, Z", QQ)
    share, most, least = s / (s + z), r * x / (r * x + z), (r / x) / (r / x + z)
    above = z * (r * x - s) / ((r * x + z) * (s + z))
    below = z * (s - r / x) / ((r / x + z) * (s + z))
    return [
        Identity(difference, (a - b) * (h - g) + b * (h - u), "a >= b"),
        Identity(difference, (a - b) * (u - g) + a * (h - u), "a <= b"),
        Identity(b - a + a * t, b - a * (1 - t), "falls with a"),
        Identity(most - share, above, "a <= a_+"),
        Identity(share - least, below, "a >= a_-"),
    ]


FILLED = Theorem(
    key="ours.filled-keys",
    title="attention with the logit 0 for keys that were not looked at",
    statement=(
        "If f~ keeps the scores of some keys, Z the sum of their exponentials, and gives r "
        "others, whose scores lie in [-B, B], the logit 0, then TV(f~, f) <= min(t, max(a₊ - b + "
        "b t, b - a₋ + a₋ t)) with t = tanh(B/2), b = r/(r + Z), a± = r e^±B/(r e^±B + Z)."
    ),
    source=here(__name__, how="mixtures of the kept and the other keys, and ours.hilbert"),
    reading=(
        "one row, any draw: nothing random is left once the kept keys are known; BERT-LSH without "
        "forming the other scores"
    ),
    experiments=(
        Symbolic(
            identities=_mixtures,
            covers="statement",
            scope="any number of kept and of other keys, all scores, given ours.hilbert",
        ),
        Enclose(
            certify=_filled,
            covers="statement",
            scope=(
                "one to three others with weights e^-B, 1 or e^B, none to two kept keys, e^B = "
                "17/16, 3/2 and 4"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_filled, factor=_NEAR),
        covers="statement",
        scope="the bound divided by 1.01",
    ),
    uses=("ours.hilbert",),
)

THEOREMS = (SURE, FILLED)
