"""`contraction.contract` and `adjoint.contract_gradient` with our kernels.

Rounding (proved here): K of `kernel` holds.

1. The monomials are the same products in the same order, so the same bits.
2. A block of at most `chunk_length` keys is one product of the library: as many additions as in a
   chunk of the general way, in whatever order.
3. The sums of blocks are added in float64, weighted there, and rounded once. In float32 that is at
   most two roundings for up to 2^28 blocks, in float64 one for each block and one for the weight.
   The general way counts one for each block, and 4 for the weight.
4. The product with the state has r additions, the own block of a causal sum those of its scores,
   as there.
5. In the gradient a derivative of a monomial has one rounding for its power, which 2 g covers, and
   entry a of dx_i is a sum over the C(d + g - 1, g - 1) monomials that hold x_a, as many as in
   `adjoint.pull_back`.

Underflow: no more operations than in `kernel`, and the sums of blocks cannot underflow in float64
where they did not in float32.
"""

from __future__ import annotations

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn.monomials.dense import dense_gradient, dense_sums
from approxattn.monomials.device.blocks import (
    Device,
    Run,
    blocks_of,
    each,
    flat_blocks,
    own_degrees,
    pull_back_threads,
    serves,
)
from approxattn.monomials.parts.dense import dense_sums_with_parts


def contract(
    x: Array,
    y: Array,
    values: Array,
    coefficients: tuple[float, ...],
    causal: bool,
    xp: Namespace,
    asked: tuple[int, ...] = (),
) -> Array:
    """Return what `contraction.contract` does; shapes (n_x, d), (n_y, d), (n_y, m) -> (n_x, m +
    number of degrees asked for).
    """
    device = Device(x, coefficients, xp)
    if not causal:
        state = _widened(device, state_of(device, y, values), asked)
        return read(device, x, state)
    earlier = y.shape[0] - x.shape[0]  # keys that every query sees
    carry = _total(device, y[:earlier, :], values[:earlier, :])
    y, values = y[earlier:, :], values[earlier:, :]
    of_x, of_y = device.columns(x), device.columns(y)

    def one(run: Run) -> Array:
        right = blocks_of(values, run, xp)
        before = _widened(device, _add(device, carry, of_y, run, right, prefixes=True), asked)
        past = xp.matmul(xp.matrix_transpose(before), device.features(of_x, run))
        tokens = blocks_of(x, run, xp), blocks_of(y, run, xp), right, coefficients, True, xp
        own = dense_sums_with_parts(*tokens, asked) if asked else dense_sums(*tokens)
        return flat_blocks(own + xp.matrix_transpose(past), xp)

    return each(device.key_runs(x.shape[0], causal=True), xp, one)


def contract_gradient(
    x: Array,
    left: Array,
    y: Array,
    right: Array,
    coefficients: tuple[float, ...],
    causal: bool,
    xp: Namespace,
) -> Array:
    """Return what `adjoint.contract_gradient` does; shapes (n_x, d), (n_x, m), (n_y, d), (n_y, m)
    -> (n_x, d).
    """
    device = Device(x, coefficients, xp)
    of_x, of_y = device.columns(x), device.columns(y)
    gradient, carry = device.empty(*of_x.shape), device.no_state(right.shape[1])
    if not causal:
        return read_gradient(device, x, left, state_of(device, y, right))
    own = []
    for run in device.key_runs(x.shape[0], causal=True):
        a, b, c, e = (blocks_of(array, run, xp) for array in (x, left, y, right))
        before = _add(device, carry, of_y, run, e, prefixes=True)
        device.pull_back(of_x, run, xp.matmul(before, xp.matrix_transpose(b)), gradient)
        own.append(flat_blocks(dense_gradient(a, b, c, e, coefficients, True, xp), xp))
    return xp.concat(own, axis=0) + xp.matrix_transpose(gradient)


def serves_gradient(d: int, degree: int, *arrays: Array) -> bool:
    """Return whether our kernels take these arrays and settings for the gradient."""
    if not serves(d, degree, *arrays):
        return False
    return pull_back_threads(d, arrays[0].dtype.itemsize) > 0


def state_of(device: Device, y: Array, values: Array) -> Array:
    """Return S = sum_j w phi(y_j) values_j^T, shape (r, m)."""
    return device.weighted(_total(device, y, values))


def _total(device: Device, y: Array, values: Array) -> Array:
    """Return the unweighted state of these keys, float64, shape (r, m)."""
    carry, columns = device.no_state(values.shape[1]), device.columns(y)
    for run in device.key_runs(y.shape[0]):
        _add(device, carry, columns, run, blocks_of(values, run, device.xp), prefixes=False)
    return carry


def read(device: Device, x: Array, state: Array) -> Array:
    """Return phi(x_i)^T S, shapes (n, d), (r, m) -> (n, m)."""
    columns, xp = device.columns(x), device.xp

    def one(run: Run) -> Array:
        phi = device.features(columns, run)[0, ...]
        return xp.matmul(xp.matrix_transpose(phi), state)

    return each(device.query_runs(x.shape[0]), xp, one)


def read_gradient(device: Device, x: Array, left: Array, state: Array) -> Array:
    """Return the gradient of left_i . (phi(x_i)^T S) with respect to x, shapes (n, d), (n, m), (r,
    m) -> (n, d).
    """
    columns, xp = device.columns(x), device.xp
    gradient = device.empty(*columns.shape)
    for run in device.query_runs(x.shape[0]):
        cotangent = xp.matmul(state, xp.matrix_transpose(left[run.tokens, :]))
        device.pull_back(columns, run, cotangent, gradient)
    return xp.matrix_transpose(gradient)


def _add(
    device: Device, carry: Array, columns: Array, run: Run, right: Array, *, prefixes: bool
) -> Array | None:
    parts = device.xp.matmul(device.features(columns, run), right)
    return device.add(carry, parts, prefixes=prefixes)


def _widened(device: Device, state: Array, asked: tuple[int, ...]) -> Array:
    """Return the state, shape (..., r, m), with one more column for each degree asked for: the last
    one, 0 but for the monomials of that degree.
    """
    if not asked:
        return state
    xp, own = device.xp, own_degrees(device.d, device.degree, asked)
    of_degree = xp.astype(_arrays.from_host(own, state), device.dtype)
    return xp.concat([state, state[..., -1:] * of_degree], axis=-1)
