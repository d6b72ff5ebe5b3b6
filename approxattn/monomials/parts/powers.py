"""Powers of a block of scores, one after the other in one place, by few products.

Symbols. s is a score, b = 2^e the radix of P (`dense.radix`), y = s / b, z the place of the powers;
c_t b^t y^t = c_t s^t. The next power is made from the last one by two steps, each one product: z
becomes z z, or z y.

Rounding (proved here).

1. y has the roundings of s, d in each term: dividing by b is exact but for underflow.
2. Every step is one product, and y^t takes at most t - 1 of them: a copy of y gains a rounding
   with every product it takes part in, and all t copies take part in t - 1 products in all.
3. So y^t holds at most t (d + 1) - 1 roundings, and c_t b^t, rounded to the dtype, joins by two
   more: t (d + 1) + 1 besides those of the sum over keys.
4. `kernel.sum_roundings` counts g (d + 4) + 4 besides that sum, and t <= g.

Underflow (proved here). Let w be the smallest normal number, B >= |s|, q = max(B / b, 1).

1. A product loses at most w. Let L_t be what y^t has lost. L_1 <= w from the division by b; the
   loss of the score itself is counted elsewhere.
2. y^{a + c} loses L_a q^c + L_c q^a + w at most, but for the product L_a L_c and roundings, which
   are far below w q^{a + c}.
3. So L_t <= 2 t w q^t, by induction: 2 a - 1 + 2 c - 1 + 1 = 2 (a + c) - 1, and 1 more covers what
   2 leaves out.
4. The factor c_t b^t makes it 2 t w |c_t| max(B, b)^t, the last product loses w: `loss`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn.bounds.rounding import up
from approxattn.monomials.dense import radix

Multiply = Callable[[Array, Array], Array]


@functools.lru_cache(maxsize=64)
def steps(degrees: tuple[int, ...]) -> tuple[tuple[bool, tuple[bool, ...]], ...]:
    """Return for each degree whether its products start from y again, and which they are: True
    squares z, False multiplies it with y.
    """
    found, last = [], 1
    for t in degrees:
        onward, anew = _path(last, t), _path(1, t)
        found.append((len(anew) < len(onward), anew if len(anew) < len(onward) else onward))
        last = t
    return tuple(found)


def _path(start: int, end: int) -> tuple[bool, ...]:
    """Return the products from y^start to y^end."""
    found = []
    while end > start:
        square = end % 2 == 0 and end // 2 >= start
        found.append(square)
        end = end // 2 if square else end - 1
    return tuple(reversed(found))


def powers(y: Array, degrees: tuple[int, ...], multiply: Multiply) -> Iterator[Array]:
    """Yield y^t for each degree, which may lie where the next one will: `multiply` may write its
    result over the last.
    """
    z = y
    for anew, path in steps(degrees):
        z = y if anew else z
        for square in path:
            z = multiply(z, z if square else y)
        yield z


@functools.lru_cache(maxsize=64)
def scales(coefficients: tuple[float, ...], degrees: tuple[int, ...]) -> tuple[float, ...]:
    """Return c_t b^t for each degree."""
    e = radix(coefficients)
    return tuple(math.ldexp(coefficients[t], e * t) for t in degrees)


def loss(coefficients: tuple[float, ...], bound: HostArray, tiny: float) -> HostArray:
    """Return what underflow of the powers can take from one term of any part, beside what it takes
    from its score: shape of `bound`, B.
    """
    with np.errstate(over="ignore"):
        size = np.maximum(bound, 2.0 ** radix(coefficients))
        most, power = np.zeros_like(size), np.ones_like(size)
        for t, c in enumerate(coefficients[1:], start=1):
            power = power * size
            if c:
                most = np.maximum(most, (2 * t * abs(c)) * power)
        return up((most + 1) * tiny)
