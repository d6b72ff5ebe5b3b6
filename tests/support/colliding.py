"""BERT-LSH and the problems it is tried on: rows of settings, options of a call, the pairs that
meet.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from cases import Case
from methods import Row

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.hashing.hyperplanes import draw_hyperplanes, modular_codes

NEVER = -math.inf


def bert(**options: Any) -> Row:
    return Row(
        name="bert",
        method=aa.BertLSH(**options),
        needs_square=options.get("fidelity") == "paper-code",
        slack=1e3,
    )


ROWS = {
    "default": bert(),
    "many tables": bert(bits=4, tables=3),
    "no fill": bert(fill=NEVER),
    "few survive": bert(bits=8, table_size=2**20, fill=NEVER),
    "everything collides": bert(table_size=1),
    "sparse": bert(sparse=True),
    "sparse, no fill": bert(bits=3, tables=2, fill=NEVER, sparse=True),
    "paper code": bert(fidelity="paper-code"),
    "paper code, 4 bits": bert(fidelity="paper-code", bits=4, tables=2),
}
MASK = np.arange(17) % 4 != 1
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"scale": 0.7},
    "mask": {"key_mask": MASK},
    "causal": {"causal": True},
    "causal mask": {"causal": True, "key_mask": MASK},
}


def case(n: int = 19, d: int = 4, dv: int = 3, n_q: int | None = None) -> Case:
    rng = np.random.default_rng([n, d])
    q = rng.standard_normal((n if n_q is None else n_q, d))
    return Case(name="case", q=q, k=rng.standard_normal((n, d)), v=rng.standard_normal((n, dv)))


def problem(kind: str, n: int = 17, d: int = 4, dv: int = 3) -> Case:
    rng = np.random.default_rng([n, d])
    q, k, v = rng.standard_normal((n, d)), rng.standard_normal((n, d)), rng.standard_normal((n, dv))
    if kind == "clustered":
        centres = rng.standard_normal((3, d))
        q, k = (2 * centres[rng.integers(0, 3, n)] + 1e-2 * x for x in (q, k))
    if kind == "adversarial":
        k = q * rng.choice([-1.0, 1.0, 3.0], (n, 1))
        k[::3], q[::5], q[1::5] = k[0], 0.0, q[1] * 2.0**-40
        q[2::5] *= 300.0  # scores of hundreds: softmax weights underflow
        v = v * 2.0 ** rng.integers(-20, 20, (n, 1))
    return Case(name=kind, q=q, k=k, v=v)


def read_keys(case: Case) -> HostArray:
    """Return the keys with 0 for those that the mask hides: what stands there is never read."""
    mask = case.options.get("key_mask", np.ones(len(case.k), bool))
    return np.where(mask[:, None], case.k, 0.0).astype(case.k.dtype)


def met_pairs(method: aa.BertLSH, case: Case, seed: int = 5) -> HostArray:
    """Return which pairs collide for the draws of a seed, shape (n_q, n_k), by comparing codes
    table by table.
    """
    rng = np.random.default_rng(seed)
    normals = draw_hyperplanes(method.tables, method.bits, case.q, rng)
    coefficients = rng.integers(0, method.table_size, (method.tables, method.bits))
    a, b = (
        modular_codes(x, normals, coefficients, method.table_size, np)
        for x in (case.q, read_keys(case))
    )
    return np.array(
        [[any(a[:, i] == b[:, j]) for j in range(len(case.k))] for i in range(len(case.q))]
    )
