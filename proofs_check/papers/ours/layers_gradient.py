"""Our own statement about the gradient of one row when weights and values are both off.

The way back through the layers of `layers`; `approxattn.transformer` uses it.

    f, f'        weights of one row, computed and exact; ln rho = osc ln(f'/f)
    z, z'        what the cotangent makes of each value, computed and exact; omega = osc z
    P            f o (z - <f, z>); P' likewise with f' and z'

1. P' - P = (f' o (z - <f', z>) - P) + f' o (d - <f', d>), d = z' - z.
2. The first part is the change of ours.gradient: |.|_1 <= omega ln rho / 4.
3. The second has |.|_1 <= osc(d)/2 (`rows`, steps 7 to 9).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.ours import rows
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Assumption,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__, "approxattn.transformer.attention_error")

_KEYS = (2, 3, 4, 5)


def _proof() -> Iterator[Identity]:
    from sympy import QQ, ring

    for n in _KEYS:
        _, *s = ring([f"{x}{j}" for x in ("f", "g", "z", "d") for j in range(n)], QQ)
        f, g, z, d = (s[k * n : (k + 1) * n] for k in range(4))
        for j in range(n):
            moved = g[j] * (z[j] + d[j] - rows.dot(g, z) - rows.dot(g, d))
            old = f[j] * (z[j] - rows.dot(f, z))
            weights = g[j] * (z[j] - rows.dot(g, z)) - old
            label = f"two parts, {n} keys, entry {j}"
            yield Identity(moved - old, weights + g[j] * (d[j] - rows.dot(g, d)), label)
    yield from rows.deviation(_KEYS)


def _rows() -> Any:
    from hypothesis import strategies as st

    def of_length(n: int) -> Any:
        weights = st.lists(st.integers(1, 64), min_size=n, max_size=n)
        numbers = st.lists(st.integers(-8, 8), min_size=n, max_size=n)
        return st.fixed_dictionaries({"f": weights, "f'": weights, "z": numbers, "z'": numbers})

    return st.integers(1, 5).flatmap(of_length)


def _positive(instance: Instance) -> bool:
    return len({len(instance[name]) for name in instance}) == 1 and all(
        x > 0 for name in ("f", "f'") for x in instance[name]
    )


_POSITIVE = Assumption(text="all weights are positive", predicate=_positive, generator=_rows)


def _p(weights: Sequence[Any], z: Sequence[Any]) -> list[Any]:
    total = sum(weights)
    mean = sum(w * x for w, x in zip(weights, z, strict=True)) / total
    return [w / total * (x - mean) for w, x in zip(weights, z, strict=True)]


def _oscillation(instance: Instance) -> int:
    moved = [b - a for a, b in zip(instance["z"], instance["z'"], strict=True)]
    return int(max(moved) - min(moved))


def _backward(instance: Instance, part: Fraction = Fraction(2)) -> tuple[Any, Any]:
    rows = {name: [ball(x) for x in instance[name]] for name in ("f", "f'", "z", "z'")}
    pairs = zip(_p(rows["f"], rows["z"]), _p(rows["f'"], rows["z'"]), strict=True)
    distance = sum((abs(b - a) for a, b in pairs), ball(0))
    ratios = sorted(
        (y / x for x, y in zip(rows["f"], rows["f'"], strict=True)), key=lambda r: float(r.mid())
    )
    osc = ball(max(instance["z"]) - min(instance["z"]))
    return distance, osc * (ratios[-1] / ratios[0]).log() / 4 + ball(_oscillation(instance)) / ball(
        part
    )


_ATTAINED: Instance = {"f": [1, 1], "f'": [1, 1], "z": [0, 0], "z'": [1, -1]}


def _search(part: Fraction = Fraction(2)) -> Falsify:
    return search_by(
        partial(_backward, part=part),
        instances=_rows,
        assumptions=(_POSITIVE,),
        examples=(_ATTAINED,),
        scope="1 to 5 tokens, integer weights 1..64, integer z in -8..8",
    )


THEOREMS = (
    Theorem(
        key="ours.layers-gradient",
        title="Backward companion of T4: gradient of one row",
        statement=(
            "|P' - P|_1 ≤ (ω/4) ln ρ + osc(z' - z)/2, where P = f∘(z - <f, z>), ω = osc z and ln ρ "
            "= osc ln(f'/f); P' is P with f', z'."
        ),
        source=_HERE,
        reading=(
            "All positive weights, all z. ours.gradient bounds what the weights change; the rest "
            "is decided. The bounds on dq, dk, dv follow because rows of P sum to 0."
        ),
        assumptions=(_POSITIVE,),
        experiments=(
            Symbolic(
                identities=_proof,
                covers="statement",
                scope="2 to 5 keys, all weights, all z and z'",
            ),
            _search(),
        ),
        expected=Status.PROVED,
        mutant=_search(Fraction(101, 50)),
        uses=("ours.gradient", "ours.layers"),
    ),
)
