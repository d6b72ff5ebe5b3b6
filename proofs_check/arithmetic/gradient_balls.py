"""Enclosure of the exact gradient of softmax attention, the oracle for the certificates of
`approxattn.attention_vjp`.

Loss sum_ic G_ic out_ic, out_i = sum_j f_ij v_j, s_ij = beta q_i . k_j. With z_ij = G_i . v_j,
kappa_i = sum_j f_ij z_ij (= G_i . out_i) and df_ij = f_ij (ds_ij - sum_l f_il ds_il), the
derivative in s_ij is P_ij = f_ij (z_ij - kappa_i); hence

    dq = beta P K,    dk = beta P^T Q,    dv = f^T G.

Hidden pairs have f_ij = 0 exactly, and so do the rows of dk and dv that belong to a masked key.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from flint import arb, arb_mat

from proofs_check.arithmetic.balls import Ball, Rows, ball, matrix, precision, seen_keys, softmax

__all__ = ["GradientRows", "exact_attention_gradient"]


class GradientRows(NamedTuple):
    """Balls around dq, dk and dv, shapes (n_q, d), (n_k, d), (n_k, dv)."""

    dq: Rows
    dk: Rows
    dv: Rows


def exact_attention_gradient(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    dout: np.ndarray,
    *,
    scale: float | Fraction | Ball | None = None,
    causal: bool = False,
    key_mask: np.ndarray | None = None,
    bits: int = 128,
) -> GradientRows:
    """Enclose dq, dk, dv of softmax attention of one head for the cotangent `dout` of its output.

    Parameters
    ----------
    q, k, v, scale, causal, key_mask, bits
        As for `proofs_check.arithmetic.balls.exact_attention`.
    dout : array, shape (n_q, dv)
        G = dL/dout, finite floats taken as the dyadic numbers they are.

    Returns
    -------
    GradientRows
        Each ball contains the exact entry.

    Raises
    ------
    ValueError
        When a query sees no key, or a shape does not fit.
    """
    if dout.shape != (q.shape[0], v.shape[1]):
        msg = (
            f"dout has shape {dout.shape}, the output {(q.shape[0], v.shape[1])}: pass a cotangent "
            "of the output"
        )
        raise ValueError(msg)
    with precision(bits):
        beta = 1 / arb(q.shape[1]).sqrt() if scale is None else ball(scale)
        queries, keys, cotangent = matrix(q) * beta, matrix(k), matrix(dout)
        scores, pairs = queries * keys.transpose(), cotangent * matrix(v).transpose()
        weights, slopes = [], []
        for i in range(q.shape[0]):
            seen = seen_keys(i, k.shape[0], causal, key_mask)
            f = softmax([scores[i, j] for j in seen])
            z = [pairs[i, j] for j in seen]
            kappa = sum((x * y for x, y in zip(f, z, strict=True)), arb(0))
            weights.append(_everywhere(f, seen, k.shape[0]))
            slopes.append(
                _everywhere([x * (y - kappa) for x, y in zip(f, z, strict=True)], seen, k.shape[0])
            )
        f_all, p_all = _as_matrix(weights, k.shape[0]), _as_matrix(slopes, k.shape[0])
        dq, dk = p_all * (keys * beta), p_all.transpose() * queries
        dv = f_all.transpose() * cotangent
        return GradientRows(dq.tolist(), dk.tolist(), dv.tolist())


def _everywhere(values: Sequence[Ball], seen: Sequence[int], n_k: int) -> list[Ball]:
    row = [arb(0)] * n_k
    for j, x in zip(seen, values, strict=True):
        row[j] = x
    return row


def _as_matrix(rows: Rows, columns: int) -> Any:
    return arb_mat(len(rows), columns, [x for row in rows for x in row])
