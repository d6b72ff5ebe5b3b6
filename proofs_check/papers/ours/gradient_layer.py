"""What T3 says of the gradients of a whole layer; nothing here is a quotation.

Letters of `gradient_row`, and of `layer` of Liang et al. 2024.

X, W, W_V, G     tokens, W_Q W_K^T, value weights, cotangent of the output; h = X W_V,
                 z_ij = G_i . h_j, P = f o (z - <f, z>)
f~, P~           approximate weights with log ratios of oscillation ln rho_i in row i, and the
                 plug-in P~; omega_i = osc_j z_ij
tau_i            tanh(ln rho_i / 4), which bounds the total variation of f~_i and f_i

dW = beta X^T P X,   dW_V = X^T f^T G,   dX = beta (P X W^T + P^T X W) + f^T G W_V^T
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball, softmax, upper
from proofs_check.papers.ours import rows
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Assumption, Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__, "approxattn.bounds.gradients")

# --- instances: one layer, integer inputs, weights off by integer ratios --------------------------


def _layers() -> Any:
    from hypothesis import strategies as st

    def matrix(rows: int, columns: int, low: int = -2, high: int = 2) -> Any:
        return st.lists(
            st.lists(st.integers(low, high), min_size=columns, max_size=columns),
            min_size=rows,
            max_size=rows,
        )

    def of_size(size: tuple[int, int]) -> Any:
        n, d = size
        parts = {
            name: matrix(*shape)
            for name, shape in {"x": (n, d), "g": (n, d), "w": (d, d), "wv": (d, d)}.items()
        }
        return st.fixed_dictionaries({**parts, "ratio": matrix(n, n, 4, 8)})

    return st.tuples(st.integers(1, 3), st.integers(1, 2)).flatmap(of_size)


def _positive(instance: Instance) -> bool:
    return all(r > 0 for row in instance["ratio"] for r in row)


_POSITIVE = Assumption(text="all weights are positive", predicate=_positive, generator=_layers)


def _balls(rows: Any) -> Any:
    return np.array([[ball(x) for x in row] for row in rows], dtype=object)


def _osc(values: Any) -> Any:
    """Largest minus smallest of balls, widened so that it is an upper bound where balls overlap."""
    top, low = values[0], values[0]
    for v in values[1:]:
        top, low = top.max(v), low.min(v)
    return top - low


class _Layer:
    """Everything the bounds speak of, as balls."""

    def __init__(self, instance: Instance) -> None:
        self.x, self.g, self.w, self.wv = (_balls(instance[name]) for name in ("x", "g", "w", "wv"))
        scores = (self.x @ self.w @ self.x.T) / 2
        self.f = np.array([softmax(list(row)) for row in scores], dtype=object)
        weighted = self.f * _balls(instance["ratio"])
        self.other = weighted / np.sum(weighted, axis=1)[:, None]
        self.z = self.g @ (self.x @ self.wv).T
        self.p, self.plug = (
            f * (self.z - np.sum(f * self.z, axis=1)[:, None]) for f in (self.f, self.other)
        )
        rho = [Fraction(max(row), min(row)) for row in instance["ratio"]]
        self.excess = np.array([ball(r - 1) for r in rho], dtype=object)
        self.log = np.array([ball(r).log() for r in rho], dtype=object)
        self.tau = np.array([(x / 4).tanh() for x in self.log], dtype=object)
        self.omega = np.array([_osc(list(row)) for row in self.z], dtype=object)

    def entrywise(self) -> tuple[Any, Any]:
        return self.plug - self.p, self.f * (self.omega * (self.excess + self.tau))[:, None]

    def weights(self) -> tuple[Any, Any]:
        spread = np.array([_osc(list(column)) for column in self.x.T], dtype=object)
        rows = np.abs(self.x).T @ (self.omega * self.log) / 16  # beta = 1/2
        return self.x.T @ (self.plug - self.p) @ self.x / 2, rows[:, None] * spread[None, :]

    def values(self) -> tuple[Any, Any]:
        spread = np.array([_osc(list(column)) for column in self.x.T], dtype=object)
        return self.x.T @ (self.other - self.f).T @ self.g, spread[:, None] * (
            self.tau @ np.abs(self.g)
        )[None, :]

    def tokens(self) -> tuple[Any, Any]:
        right, left, back = self.x @ self.w.T, self.x @ self.w, self.g @ self.wv.T
        change = self.plug - self.p
        error = (change @ right + change.T @ left) / 2 + (self.other - self.f).T @ back
        spread = np.array([_osc(list(column)) for column in right.T], dtype=object)
        own = (self.omega * self.log / 16)[:, None] * spread[None, :]
        others = (self.f * ((self.excess + self.tau) * self.omega)[:, None]).T @ np.abs(left) / 2
        return error, own + others + (self.f * self.excess[:, None]).T @ np.abs(back)


def _worst(instance: Instance, part: str, divisor: Fraction = Fraction(1)) -> tuple[Any, Any]:
    """The entry with the largest error / bound, and a part of its bound."""
    errors, bounds = getattr(_Layer(instance), part)()
    pairs = [(abs(e), b) for e, b in zip(np.ravel(errors), np.ravel(bounds), strict=True)]
    error, bound = max(pairs, key=lambda pair: upper(pair[0]) / (float(pair[1].mid()) + 1e-300))
    return error, bound / ball(divisor)


def _ratio(instance: Instance, part: str) -> float:
    error, bound = (float(side.mid()) for side in _worst(instance, part))
    return error / bound if bound > 1e-30 else 0.0


def _largest_ratio(_instance: Instance, divisor: Fraction) -> float:
    return (1 + 1e-9) / float(divisor)


_SCOPE = (
    "1 to 3 tokens of width 1 or 2, integer X, W, W_V, G in -2..2, integer ratios of weights 4..8, "
    "β = 1/2"
)


# Layers that attain a bound nearly, one ratio off by a little. Weights: equal scores, and z in the
# first column of X, the signs of W in the second. Values: two tokens. Tokens: the second token has
# the weight e^-8 in the first row.
_EXTREMAL: dict[str, Instance] = {
    "weights": {
        "x": [[0, 1], [0, -1], [1, -1], [1, 1]],
        "g": [[1, 0]] * 4,
        "w": [[0, 0], [0, 0]],
        "wv": [[1, 0], [0, 1]],
        "ratio": [[64, 63, 64, 63], [63, 64, 63, 64], [63, 64, 63, 64], [64, 63, 64, 63]],
    },
    "values": {
        "x": [[0], [1]],
        "g": [[1], [0]],
        "w": [[0]],
        "wv": [[1]],
        "ratio": [[63, 64], [1, 1]],
    },
    "tokens": {
        "x": [[2, 0], [-2, 0]],
        "g": [[0, 1], [0, 1]],
        "w": [[2, 0], [0, 0]],
        "wv": [[0, 0], [0, 1]],
        "ratio": [[4, 5], [1, 1]],
    },
}


def _search(part: str, divisor: Fraction = Fraction(1)) -> Falsify:
    return Falsify(
        instances=_layers,
        measured=partial(_ratio, part=part),
        bound=partial(_largest_ratio, divisor=divisor),
        confirm=partial(_worst, part=part, divisor=divisor),
        assumptions=(_POSITIVE,),
        examples=(_EXTREMAL[part],) if part in _EXTREMAL else (),
        covers="statement",
        scope=_SCOPE + (f"; the bound divided by {float(divisor):g}" if divisor > 1 else ""),
        tries=100,
    )


_NEAR = Fraction(21, 20)
"""What the mutants divide the bounds by."""


# --- what the bounds follow from ------------------------------------------------------------------
# Entry by entry, in one row, kappa = <f, z> and kappa~ = <f~, z>:
#
# 1. P~ - P = (f~ - f)(z - kappa~) + f (kappa - kappa~).
# 2. |z - kappa~| <= omega, and |kappa - kappa~| <= tau omega (ours.hilbert).
# 3. |f~ - f| <= (rho - 1) f (`rows`, steps 4 to 6).
# 4. Together |P~ - P| <= (rho - 1) f omega + f tau omega.
#
# Summed against a column x of the keys, for a row p that sums to 0:
#
# 5. |sum_j p_j x_j| <= |p|_1 osc(x)/2 (`rows`, steps 1 to 3).
# 6. |P~ - P|_1 <= omega ln rho / 4 (ours.gradient), and |f~ - f|_1 <= 2 tau (ours.hilbert).
# 7. dW: 5 and 6 for row i of P~ - P, times beta |X_ia|, summed over i.
# 8. dW_V: 5 and 6 for row i of f~ - f, times |G_ib|, summed over i.
# 9. dX: 5 and 6 for row j of P~ - P, 4 for its entries (i, j), and 3 for those of f~ - f.


def _split(keys: Sequence[int], *, without_mean: bool = False) -> Iterator[Identity]:
    """Step 1."""
    from sympy import QQ, ring

    for n in keys:
        _, *s = ring([f"{x}{j}" for x in "ftz" for j in range(n)], QQ)
        f, t, z = s[:n], s[n : 2 * n], s[2 * n :]
        mean, other = rows.dot(f, z), rows.dot(t, z)
        for j in range(n):
            second = 0 * mean if without_mean else f[j] * (mean - other)
            change = t[j] * (z[j] - other) - f[j] * (z[j] - mean)
            yield Identity(change, (t[j] - f[j]) * (z[j] - other) + second, f"{n} keys, entry {j}")


def _entrywise() -> Iterator[Identity]:
    """Steps 1 and 3, and that z - kappa~ is an average of differences of z."""
    keys = (2, 3, 4)
    yield from _split(keys)
    yield from rows.ratios(keys)
    from sympy import QQ, ring

    for n in keys:
        _, *s = ring([*(f"f{j}" for j in range(n - 1)), *(f"z{j}" for j in range(n))], QQ)
        f, z = rows.weights(s[: n - 1], s[0] ** 0), s[n - 1 :]
        spread = rows.dot(f, [z[0] - y for y in z])
        yield Identity(z[0] - rows.dot(f, z), spread, f"z - kappa~, {n} keys")


_KEYS = (2, 3, 4, 5)

_ROWS = Symbolic(
    identities=partial(rows.zero_sum, _KEYS),
    covers="statement",
    scope="rows of 2 to 5 keys, any number of rows: all rows that sum to 0, of every sign pattern",
)
_ENTRIES = Symbolic(
    identities=_entrywise,
    covers="statement",
    scope="rows of 2, 3 and 4 keys: all f, all ratios of weights, all z",
)
_HALF = "P~ - P and f~ - f are bounded by"

THEOREMS = (
    Theorem(
        key="ours.gradient-entrywise",
        title="plug-in gradient, entry by entry",
        statement="|P~_ij - P_ij| <= f_ij ω_i (ρ_i - 1 + τ_i), τ_i = tanh(ln ρ_i / 4).",
        source=_HERE,
        reading="ours.hilbert bounds the change of <f, z>; the rest is decided",
        assumptions=(_POSITIVE,),
        expected=Status.PROVED,
        experiments=(_ENTRIES, _search("entrywise")),
        mutant=Symbolic(
            identities=partial(_split, (3,), without_mean=True),
            covers="step",
            scope="without the change of <f, z>",
        ),
        uses=("ours.hilbert",),
    ),
    Theorem(
        key="ours.gradient-weights",
        title="T3 for the query and key weights",
        statement=(
            "|ΔdW_ab| <= (β/8) Σ_i |X_ia| ω_i ln ρ_i osc(X_:b) for dW = β Xᵀ P X with the plug-in "
            "P~."
        ),
        source=_HERE,
        reading=f"a corollary: {_HALF} ours.gradient and ours.hilbert, the rest is decided",
        assumptions=(_POSITIVE,),
        expected=Status.PROVED,
        experiments=(_ROWS, _search("weights")),
        mutant=_search("weights", _NEAR),
        uses=("ours.gradient", "lss24.gradient"),
    ),
    Theorem(
        key="ours.gradient-value-weights",
        title="T1 for the gradient in the value weights",
        statement=(
            "|ΔdW_{V,ab}| <= osc(X_:a) Σ_i τ_i |G_ib| for dW_V = Xᵀ fᵀ G with f~ in place of f."
        ),
        source=_HERE,
        reading="a corollary: f~ - f is bounded by ours.hilbert, the rest is decided",
        assumptions=(_POSITIVE,),
        expected=Status.PROVED,
        experiments=(_ROWS, _search("values")),
        mutant=_search("values", _NEAR),
        uses=("ours.hilbert", "lss24.gradient"),
    ),
    Theorem(
        key="ours.gradient-tokens",
        title="T3 for the gradient in the layer's input",
        statement=(
            "|ΔdX_ja| <= β ((ω_j ln ρ_j / 8) osc((X Wᵀ)_:a) + Σ_i (ρ_i - 1 + τ_i) f_ij ω_i |(X "
            "W)_ia|) + Σ_i (ρ_i - 1) f_ij |(G W_Vᵀ)_ia| for dX = β (P X Wᵀ + Pᵀ X W) + fᵀ G W_Vᵀ "
            "with f~, P~."
        ),
        source=_HERE,
        reading=f"a corollary: {_HALF} ours.gradient and ours.hilbert, the rest is decided",
        assumptions=(_POSITIVE,),
        expected=Status.PROVED,
        experiments=(_ROWS, _ENTRIES, _search("tokens")),
        mutant=_search("tokens", _NEAR),
        uses=("ours.gradient", "ours.gradient-entrywise", "lss24.gradient"),
    ),
)
