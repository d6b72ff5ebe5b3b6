"""Our own statements about attention whose input is off, forward and backward.

`approxattn.transformer` carries them through its layers.

T4, forward:
    u, u'        computed and exact tokens, numbers here, |u'_j - u_j| <= delta;
                 scores beta w u_i u_j, so that q = w u, k = v = u
    sigma_i      root mean square of u_j - c under the weights of row i
    lambda_i     2 beta |w| max_j (|u_i| + |u_j - c| + delta) delta for any centre c: bounds the
                 oscillation over j of the change of the scores of row i
    Attn         row i: softmax of its scores, times u

Backward:
    f, f', z, z' weights of one row and what the cotangent makes of each value, computed and exact;
                 ln rho = osc ln(f'/f)
    P            f o (z - <f, z>), P' likewise with f', z'

The proofs stand in approxattn/transformer/attention_error.py.

1. Forward: T1 on the scores, then means of u' against means of u.
2. Backward: T3 for f -> f'.
3. For z -> z' it is used that sum_j f_j |x_j - <f, x>| <= osc(x) / 2.
4. The left side is convex in x, so x may be taken as an indicator.
5. A Bernoulli variable of mean a has 2 a (1 - a) <= 1/2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Assumption, Falsify, Instance
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__, "approxattn.transformer.attention_error")

Pair = Callable[[Instance], tuple[Any, Any]]
"""What is measured and its bound, as balls."""


def _search(
    pair: Pair, scope: str, instances: Any, assumption: Assumption, example: Instance
) -> Falsify:
    """Return the search for an instance where the first exceeds the second."""
    return search_by(
        pair, instances=instances, assumptions=(assumption,), examples=(example,), scope=scope
    )


# --- forward --------------------------------------------------------------------------------------
# Instances hold integers; tokens are eighths of them, errors are `errors` times delta / 4.


def _tokens() -> Any:
    from hypothesis import strategies as st

    def of_length(n: int) -> Any:
        def entries(top: int) -> Any:
            return st.lists(st.integers(-top, top), min_size=n, max_size=n)

        return st.fixed_dictionaries(
            {
                "tokens": entries(32),
                "errors": entries(4),
                "delta": st.sampled_from([1, 1 / 8, 1 / 64]),
                "w": st.integers(-4, 4),
            }
        )

    return st.integers(1, 4).flatmap(of_length)


def _within(instance: Instance) -> bool:
    return len(instance["tokens"]) == len(instance["errors"]) >= 1 and all(
        abs(e) <= 4 for e in instance["errors"]
    )


_OFF_BY_DELTA = Assumption(
    text="no token is off by more than delta", predicate=_within, generator=_tokens
)


def _both(instance: Instance) -> tuple[list[Any], list[Any]]:
    u = [ball(x) / 8 for x in instance["tokens"]]
    return u, [
        x + ball(e) * ball(instance["delta"]) / 4
        for x, e in zip(u, instance["errors"], strict=True)
    ]


def _attention(u: Sequence[Any], w: Any) -> list[Any]:
    rows = []
    for x in u:
        weights = [(w * x * y).exp() for y in u]
        rows.append(
            sum((a * y for a, y in zip(weights, u, strict=True)), ball(0)) / sum(weights, ball(0))
        )
    return rows


def _forward(instance: Instance, own: int = 1) -> tuple[Any, Any]:
    """Return change and bound of the row where the one exceeds the other most, or falls short
    least; `own` counts delta itself.
    """
    u, moved = _both(instance)
    delta, w = ball(instance["delta"]), ball(instance["w"])
    centre = ball(min(instance["tokens"]) + max(instance["tokens"])) / 16
    radius = ball(max(instance["tokens"]) - min(instance["tokens"])) / 16
    pairs = []
    for x, before, after in zip(u, _attention(u, w), _attention(moved, w), strict=True):
        farthest = max((abs(y - centre) for y in u), key=lambda r: float(r.mid()))
        log_ratio = 2 * abs(w) * (abs(x) + farthest + delta) * delta
        pairs.append((abs(after - before), own * delta + 2 * (log_ratio / 4).tanh() * radius))
    return max(pairs, key=lambda pair: float((pair[0] - pair[1]).mid()))


def _by_moments(instance: Instance, own: int = 1) -> tuple[Any, Any]:
    """Return change and bound by second moments of the row where the one exceeds the other most."""
    u, moved = _both(instance)
    delta, w = ball(instance["delta"]), ball(instance["w"])
    centre = sum(u, ball(0)) / len(u)
    farthest = max((abs(y - centre) for y in u), key=lambda r: float(r.mid()))
    pairs = []
    for x, before, after in zip(u, _attention(u, w), _attention(moved, w), strict=True):
        weights = [(w * x * y).exp() for y in u]
        moment = sum(
            (a * (y - centre) ** 2 for a, y in zip(weights, u, strict=True)), ball(0)
        ) / sum(weights, ball(0))
        sigma = abs(moment).sqrt()
        growth = (2 * abs(w) * (abs(x) + farthest + delta) * delta).exp()
        change = abs(w) * delta * (abs(x) + sigma + delta)
        pairs.append((abs(after - before), own * delta + growth * sigma * change))
    return max(pairs, key=lambda pair: float((pair[0] - pair[1]).mid()))


_SHIFTED: Instance = {"tokens": [8, 0], "errors": [4, 4], "delta": 1, "w": 0}

# --- backward -------------------------------------------------------------------------------------


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


def _backward(instance: Instance, part: int = 2) -> tuple[Any, Any]:
    rows = {name: [ball(x) for x in instance[name]] for name in ("f", "f'", "z", "z'")}
    pairs = zip(_p(rows["f"], rows["z"]), _p(rows["f'"], rows["z'"]), strict=True)
    distance = sum((abs(b - a) for a, b in pairs), ball(0))
    ratios = sorted(
        (y / x for x, y in zip(rows["f"], rows["f'"], strict=True)), key=lambda r: float(r.mid())
    )
    osc = ball(max(instance["z"]) - min(instance["z"]))
    return distance, osc * (ratios[-1] / ratios[0]).log() / 4 + ball(_oscillation(instance)) / part


_ATTAINED: Instance = {"f": [1, 1], "f'": [1, 1], "z": [0, 0], "z'": [1, -1]}

THEOREMS = (
    Theorem(
        key="ours.layers",
        title="T4: attention whose input is off",
        statement=(
            "|Attn(u')_i - Attn(u)_i| ≤ δ + 2 tanh(λ_i / 4) max_j |u_j - c|, λ_i = 2 |w| δ max_j "
            "(|u_i| + |u_j - c| + δ), if |u'_j - u_j| ≤ δ for all j."
        ),
        source=_HERE,
        reading=(
            "Tokens are numbers here; for vectors the moduli become norms of the products that the "
            "code measures."
        ),
        assumptions=(_OFF_BY_DELTA,),
        experiments=(
            _search(
                _forward,
                "1 to 4 tokens, eighths in -4..4, w in -4..4, δ = 1, 1/8, 1/64",
                _tokens,
                _OFF_BY_DELTA,
                _SHIFTED,
            ),
        ),
        expected=Status.INCONCLUSIVE,
        mutant=_search(
            partial(_forward, own=0),
            "the same without δ itself: a common shift of all tokens refutes it",
            _tokens,
            _OFF_BY_DELTA,
            _SHIFTED,
        ),
        uses=("ours.hilbert",),
        remarks=(
            "Proved on paper in the text above the code; not refuted is all that a search can say.",
        ),
    ),
    Theorem(
        key="ours.layers-moments",
        title="T4 by second moments under the attention's own weights",
        statement=(
            "|Attn(u')_i - Attn(u)_i| ≤ δ + exp(λ_i) σ_i Λ_i, σ_i² = Σ_j f_ij (u_j - c)², Λ_i = "
            "|w| δ (|u_i| + σ_i + δ), λ_i as in ours.layers, if |u'_j - u_j| ≤ δ for all j."
        ),
        source=_HERE,
        reading=(
            "Tokens are numbers, c is their mean; for vectors σ is the largest standard deviation "
            "of a direction (approxattn/transformer/second_moments.py)."
        ),
        assumptions=(_OFF_BY_DELTA,),
        experiments=(
            _search(
                _by_moments,
                "1 to 4 tokens, eighths in -4..4, w in -4..4, δ = 1, 1/8, 1/64",
                _tokens,
                _OFF_BY_DELTA,
                _SHIFTED,
            ),
        ),
        expected=Status.INCONCLUSIVE,
        mutant=_search(
            partial(_by_moments, own=0),
            "the same without δ itself",
            _tokens,
            _OFF_BY_DELTA,
            _SHIFTED,
        ),
        uses=("ours.layers",),
        remarks=("To first order in δ it bounds row i of the Jacobian at the computed point.",),
    ),
    Theorem(
        key="ours.layers-gradient",
        title="Backward companion of T4: gradient of one row",
        statement=(
            "|P' - P|_1 ≤ (ω/4) ln ρ + osc(z' - z)/2, where P = f∘(z - <f, z>), ω = osc z and ln ρ "
            "= osc ln(f'/f); P' is P with f', z'."
        ),
        source=_HERE,
        reading=(
            "Every row length, all positive weights, all z. The bounds on dq, dk, dv follow "
            "because rows of P sum to 0."
        ),
        assumptions=(_POSITIVE,),
        experiments=(
            _search(
                _backward,
                "1 to 5 tokens, integer weights 1..64, integer z in -8..8",
                _rows,
                _POSITIVE,
                _ATTAINED,
            ),
        ),
        expected=Status.INCONCLUSIVE,
        mutant=_search(
            partial(_backward, part=3),
            "with a third in place of the half",
            _rows,
            _POSITIVE,
            _ATTAINED,
        ),
        uses=("ours.gradient", "ours.layers"),
    ),
)
