"""The two gradients of polynomial attention.

Symbols. G_i is the cotangent of output i, z_ij = G_i . v_j, kappa_i = G_i . out_i, D_i the
denominator, left_i = [G_i, -kappa_i] / D_i, right_j = [v_j, 1], s_ij the scores, beta their factor.

1. left_i . right_j = (z_ij - kappa_i) / D_i.
2. Plug-in, the exact gradient formula with the softmax replaced by its approximation (AS24,
   LSS+24): dq_i = beta sum_j P(s_ij) (left_i . right_j) k_j, and dk_j likewise.
3. Consistent, the exact gradient of the approximate output: dq_i = beta sum_j P'(s_ij) (left_i .
   right_j) k_j, and dk_j likewise.
4. Both have dv_j = sum_i P(s_ij) G_i / D_i.
5. 2 and 3 are sums with R'(s_ij), where R = int P or R = P. So both are the gradient of a feature
   sum, of R one degree higher or of P itself, and no n x n and no n r d array is formed. (AS24 and
   LSS+24 form Khatri-Rao products of width r (d + 1) instead; under a causal mask the sums over i
   are suffix sums, which they do not mention.)

With centred queries and keys, q and k stand for the centred ones, right_j has the weight of key j,
and `through_centres` leads back. The coefficients of P are held fixed.
"""

from __future__ import annotations

from approxattn._arrays import Array
from approxattn.methods.polynomials.forward import Forward, kernel_of
from approxattn.methods.polynomials.through_centres import through_centres

KINDS = ("plug-in", "consistent")


def polynomial_gradient(run: Forward, dout: Array, kind: str) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv for the cotangent dout."""
    problem, xp = run.problem, run.problem.xp
    kappa = xp.sum(dout * run.value, axis=-1, keepdims=True)
    left = xp.concat([dout, -kappa], axis=-1) / run.denominator
    sums = run.queries, left, run.keys, run.values
    if kind == "consistent":
        dx, dy, dright = run.kernel.gradients(*sums, run.states)
    else:
        kernel = kernel_of(problem, primitive(run, kind), run.largest)
        dx, dy = kernel.gradient_x(*sums), kernel.gradient_y(*sums)
        weighted = run.scores.weights is not None
        dright = run.kernel.transposed_sums(
            run.queries, run.keys, left if weighted else left[..., :-1]
        )
    dq, dk = run.balance.query_gradient(dx), run.balance.key_gradient(dy)
    return through_centres(dq, dk, dright, run, kind)


def primitive(run: Forward, kind: str) -> tuple[float, ...]:
    """Return R with R' = P (plug-in) or R' = P' (consistent)."""
    return run.polynomial.antiderivative() if kind == "plug-in" else run.polynomial.coefficients
