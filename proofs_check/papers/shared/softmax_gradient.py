"""Derivatives of one attention layer, exact over any commutative ring.

Matrices are NumPy arrays of objects: elements of a polynomial ring, residues modulo a prime,
rationals or balls. The weights are free indeterminates. Let e_ij = exp(S_ij),
alpha_i = sum_j e_ij and N_i = sum_j e_ij U_ij for any U; the loss is sum_i N_i / alpha_i.

1. (N_i / alpha_i)' = (N_i' alpha_i - N_i alpha_i') / alpha_i^2, with
       N_i' = sum_j e_ij (S'_ij U_ij + U'_ij)    and    alpha_i' = sum_j e_ij S'_ij.
   Only this quotient rule is used, not the Jacobian of softmax that the papers' formulas come from.
2. Both sides of every identity tested are rational in the e_ij, and do not change when a row of e
   is multiplied by a number. So sum_j e_ij = 1 may be assumed.
3. Then e_i1 = 1 - the rest, e = f, alpha = 1, and the identities become polynomial.
4. An identity of polynomials holds in particular at the values of exp.

Identity testing takes all indeterminates uniform in F_p, p = 2^61 - 1.

5. A polynomial that does not vanish, of total degree D, vanishes at the point with probability at
   most D / p (Schwartz-Zippel).
6. The coefficients are sums of fewer than p terms +-1. So none that differs from zero vanishes
   modulo p.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from proofs_check.statements.experiment import Identity

__all__ = [
    "PRIME",
    "Matrix",
    "Source",
    "attention_loss_slope",
    "ball_matrices",
    "indeterminates",
    "integer_matrices",
    "residues",
    "softmax",
    "tested",
    "weights",
]

Matrix: TypeAlias = "np.ndarray[Any, Any]"
Source: TypeAlias = Callable[[str, int, int], Matrix]
"""``source(name, rows, columns)``: a matrix of independent indeterminates, or of random values for
them.
"""

PRIME = 2**61 - 1


def indeterminates(shapes: dict[str, tuple[int, int]]) -> Source:
    """Matrices of generators of one sparse polynomial ring over the rationals."""
    from sympy import QQ, ring

    names = [
        f"{name}_{i}_{j}"
        for name, (rows, columns) in shapes.items()
        for i in range(rows)
        for j in range(columns)
    ]
    _, *generators = ring(names, QQ)
    found: dict[str, Matrix] = {}
    for name, (rows, columns) in shapes.items():
        count = rows * columns
        found[name] = np.array(generators[:count], dtype=object).reshape(rows, columns)
        generators = generators[count:]

    def source(name: str, rows: int, columns: int) -> Matrix:
        if found[name].shape != (rows, columns):
            msg = f"{name} was declared of shape {found[name].shape}, not {(rows, columns)}"
            raise ValueError(msg)
        return found[name]

    return source


def residues(rng: np.random.Generator) -> Source:
    """Matrices of uniform residues modulo `PRIME`."""
    from flint import nmod

    def source(_name: str, rows: int, columns: int) -> Matrix:
        drawn = [nmod(int(x), PRIME) for x in rng.integers(0, PRIME, size=rows * columns)]
        return np.array(drawn, dtype=object).reshape(rows, columns)

    return source


def tested(
    identities: Callable[..., Iterator[Identity]], *sizes_and_rng: Any
) -> Iterator[Identity]:
    """``identities`` of the sizes given, at residues drawn by the generator that comes last."""
    *sizes, rng = sizes_and_rng
    return identities(residues(rng), *sizes)


def weights(rest: Matrix) -> Matrix:
    """Rows that sum to one: the first entry is one minus the rest."""
    first = np.array([[1 - sum(row, 0)] for row in rest.tolist()], dtype=object)
    return np.concatenate([first, rest], axis=1)


def attention_loss_slope(f: Matrix, slope_s: Matrix, u: Matrix, slope_u: Matrix) -> Any:
    """Derivative of sum_ij f_ij u_ij when the scores and u move with the given slopes, by the
    quotient rule above.
    """
    moved = f * slope_s
    total = 0
    for i in range(f.shape[0]):
        n, a = np.sum(f[i] * u[i]), np.sum(moved[i])
        total = total + np.sum(moved[i] * u[i]) + np.sum(f[i] * slope_u[i]) - n * a
    return total


# --- instances with numbers, for refutations: free weights would not do, since they need not be tho


def integer_matrices(shapes: dict[str, str], *, max_tokens: int = 3, max_width: int = 2) -> Any:
    """Strategy of whole matrices by name, entries in [-2, 2]; "nd" means n rows and d columns.

    Sizes are drawn first.
    """
    from hypothesis import strategies as st

    from proofs_check.arithmetic.instances import arrays, integers

    def build(size: tuple[int, int]) -> Any:
        length = {"n": size[0], "d": size[1]}
        return st.fixed_dictionaries(
            {name: arrays(length[s[0]], length[s[1]], integers(2)) for name, s in shapes.items()}
        )

    return st.tuples(st.integers(1, max_tokens), st.integers(1, max_width)).flatmap(build)


def ball_matrices(instance: Mapping[str, Any]) -> dict[str, Matrix]:
    """The same matrices as balls around the same numbers."""
    from flint import arb

    return {
        name: np.array([[arb(x) for x in row] for row in np.asarray(m).tolist()], dtype=object)
        for name, m in instance.items()
    }


def softmax(scores: Matrix) -> Matrix:
    """Softmax of every row, for floats and for balls."""
    e = np.exp(scores) if scores.dtype != object else np.frompyfunc(lambda x: x.exp(), 1, 1)(scores)
    return np.asarray(e / np.sum(e, axis=1)[:, None])
