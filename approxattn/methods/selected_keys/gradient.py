"""The gradient through window, selected keys and summaries, with what was selected held fixed.

Symbols as in `chunk_keys`, for one block; G_i is the cotangent, f_ix the weight that query i gives
to x: a key met exactly, or the summary of a piece p. P_ix = f_ix (G_i . v_x - G_i . out_i).

1. The chain through the softmax, for keys that are met exactly: dq_i = sum_x P_ix k_x,
   dk_x = sum_i P_ix q_i, dv_x = sum_i f_ix G_i.
2. A summary has the score t_ip = q_i . kh_p + L_p - qm . kh_p, L_p = ln sum_j e^{qm . k_j}. So
   dq_i gets P_ip kh_p, dkh_p = sum_i P_ip (q_i - qm), dvh_p = sum_i f_ip G_i, and with
   B_p = sum_i P_ip the bias gives B_p sum_j pi_j k_j - B_p kh_p = 0 to qm, and B_p pi_j qm to k_j.
3. kh_p and vh_p depend on k and v by pi_j dkh_p and pi_j dvh_p, and through pi on f_j:
   df_j = pi_j (c_j - sum_l pi_l c_l), c_j = dkh_p . k_j + dvh_p . v_j.
4. f_j = qm . k_j gives df_j qm to k_j and sum_j df_j k_j to qm, of which each query of the block
   gets its share 1 / b.
5. All queries carry the scale: dq is multiplied by it at last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn._arrays.segments import segment_sum
from approxattn._problem import Problem
from approxattn.methods.selected_keys import forward
from approxattn.methods.selected_keys.chunk_keys import ChunkKeys


class _Pieces(NamedTuple):
    """Gradients of far keys (far, d), of their values (far, dv), and of the means (C, 1, d)."""

    k: Array
    v: Array
    mean: Array


class Sums:
    """Gradients of a problem without leading axes, added up chunk by chunk."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._dq: list[Array] = []
        self._dk = problem.xp.zeros_like(problem.k)
        self._dv = problem.xp.zeros_like(problem.v)

    def result(self) -> tuple[Array, Array, Array]:
        """Return dq, dk, dv."""
        problem = self._problem
        return problem.xp.concat(self._dq, axis=0) * problem.scale, self._dk, self._dv

    def add(self, keys: ChunkKeys, dout: Array) -> None:
        """Add a chunk, for the cotangent of its output, shape (C b, dv)."""
        problem, xp, chunk = self._problem, self._problem.xp, keys.chunk
        g = xp.reshape(dout, (chunk.count, chunk.rows, problem.dv))
        found = forward.weights(keys, xp)
        kappa = xp.sum(g * forward.output(keys, found, xp), axis=-1, keepdims=True)
        window, others = found.window / found.total, found.others / found.total
        p_window = window * (xp.matmul(g, xp.matrix_transpose(keys.window_v)) - kappa)
        p_others = others * (xp.matmul(g, xp.matrix_transpose(keys.v)) - kappa)
        dq = xp.matmul(p_window, keys.window_k) + xp.matmul(p_others, keys.k)
        selected = int(keys.places.shape[1])
        exact = (
            xp.concat([p_window, p_others[..., :selected]], axis=-1),
            xp.concat([window, others[..., :selected]], axis=-1),
        )
        self._scatter(keys, exact, g)
        if keys.summaries is not None:
            far = _through_summaries(
                problem, keys, p_others[..., selected:], others[..., selected:], g
            )
            dq = dq + far.mean / chunk.rows
            self._dk, self._dv = (
                _with_first(total, part, xp)
                for total, part in ((self._dk, far.k), (self._dv, far.v))
            )
        self._dq.append(xp.reshape(dq, (chunk.last - chunk.first, problem.d)))

    def _scatter(self, keys: ChunkKeys, exact: tuple[Array, Array], g: Array) -> None:
        """Add to the keys that are met exactly, which several blocks may share."""
        problem, xp, chunk = self._problem, self._problem.xp, keys.chunk
        p, f = (xp.matrix_transpose(x) for x in exact)
        both = xp.concat([xp.matmul(p, keys.q), xp.matmul(f, g)], axis=-1)
        windows = [np.arange(*chunk.window(block)) for block in range(chunk.count)]
        places = np.concatenate([np.stack(windows), _arrays.to_host(keys.places)], axis=1)
        flat = xp.reshape(both, (places.size, both.shape[-1]))
        ids = _arrays.from_host(places.reshape(-1), problem.q)
        sums = _arrays.cast(segment_sum(flat, ids, problem.n_k), problem.dtype, xp)
        self._dk = self._dk + sums[:, : problem.d]
        self._dv = self._dv + sums[:, problem.d :]


def _with_first(total: Array, part: Array, xp: Namespace) -> Array:
    """Return the total with a part added to its first rows."""
    first = part.shape[0]
    return xp.concat([total[:first, :] + part, total[first:, :]], axis=0)


def _through_summaries(problem: Problem, keys: ChunkKeys, p: Array, f: Array, g: Array) -> _Pieces:
    """Return steps 2 to 4, from P and f of the summaries, shapes (C, b, G)."""
    assert keys.summaries is not None  # noqa: S101 - the caller has looked
    xp, (k, v, _, weights) = problem.xp, keys.summaries
    dkh = xp.matmul(xp.matrix_transpose(p), keys.q - keys.mean)  # (C, G, d)
    dvh = xp.matmul(xp.matrix_transpose(f), g)
    mass = xp.sum(p, axis=1)  # (C, G)
    mean = keys.mean[:, 0, :]
    level = xp.sum(dkh * k, axis=-1) + xp.sum(dvh * v, axis=-1)
    dk, dv, dmean = [], [], xp.zeros_like(mean)
    pieces = keys.chunk.pieces(int(k.shape[1]))
    for number, ((start, stop), pi) in enumerate(zip(pieces, weights, strict=True)):
        own_k, own_v = problem.k[start:stop, :], problem.v[start:stop, :]
        to_k, to_v = dkh[:, number, :], dvh[:, number, :]
        c = xp.matmul(to_k, xp.matrix_transpose(own_k)) + xp.matmul(
            to_v, xp.matrix_transpose(own_v)
        )
        df = pi * (c - level[:, number : number + 1])
        dmean = dmean + xp.matmul(df, own_k)
        by_mean = xp.matrix_transpose(df + pi * mass[:, number : number + 1])
        pi = xp.matrix_transpose(pi)
        dk.append(xp.matmul(by_mean, mean) + xp.matmul(pi, to_k))
        dv.append(xp.matmul(pi, to_v))
    return _Pieces(xp.concat(dk, axis=0), xp.concat(dv, axis=0), dmean[:, None, :])
