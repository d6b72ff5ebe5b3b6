"""The gradients of attention with an anisotropic set of monomials.

Symbols. left_i and right_j as in `gradient`; x = T_q q and y = T_k k are the coordinates of centred
queries and keys, T_q = sqrt(beta) S and T_k = sqrt(beta) R; y_j' is the head of y_j, y_j'' its
tail; d_1 K and d_2 K are the derivatives of the kernel with respect to the scores of both parts.

1. Consistent: dx_i = sum_j [d_1 K y_j', d_2 K y_j''] (left_i . right_j).
2. Plug-in: dx_i = sum_j K (left_i . right_j) y_j.
3. 1 is the gradient of sums with K. The head of 2 is that of sums with a primitive of K with
   respect to the score of the head, its tail likewise.
4. dq_i = T_q^T dx_i and dk_j = T_k^T dy_j; then `through_centres`.

Coordinates, degrees and coefficients are held fixed.
"""

from __future__ import annotations

from dataclasses import replace

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn.methods.polynomials.anisotropic.sums import SplitForward
from approxattn.methods.polynomials.through_centres import through_centres
from approxattn.monomials.split import SplitKernel, primitives


def split_gradient(run: SplitForward, dout: Array, kind: str) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv for the cotangent dout."""
    xp, coordinates, head = run.problem.xp, run.coordinates, run.split.head
    kappa = xp.sum(dout * run.value, axis=-1, keepdims=True)
    left = xp.concat([dout, -kappa], axis=-1) / run.denominator
    sums = coordinates.x, left, coordinates.y, run.values
    pairs = [
        (kernel.gradient_x(*sums), kernel.gradient_y(*sums))
        for kernel in gradient_kernels(run.kernel, kind)
    ]
    dx, dy = (
        xp.concat([pairs[0][i][..., :head], pairs[-1][i][..., head:]], axis=-1) for i in range(2)
    )
    dright = run.kernel.transposed_sums(coordinates.x, coordinates.y, left)
    dq, dk = (
        _arrays.cast(
            xp.matmul(_arrays.cast(a, "float64", xp), _arrays.from_host(t, a)),
            run.problem.dtype,
            xp,
        )
        for a, t in ((dx, coordinates.to_x), (dy, coordinates.to_y))
    )
    return through_centres(dq, dk, dright, run, kind)


def gradient_kernels(kernel: SplitKernel, kind: str) -> list[SplitKernel]:
    """Return the kernels whose gradients give the head and the tail part."""
    if kind == "consistent":
        return [kernel]
    return [replace(kernel, table=table) for table in primitives(kernel.table)]
