"""What blocks drawn from a head prove of a method, when several methods are tried in turn.

Setting. The output O of a head on one text falls into N blocks of neighbouring rows. A method gives
Y. Block B is *above* where |Y_B - O_B|_F > eps |O_B|_F. A method is *bad* where on some text more
than K = floor(phi N) blocks are above. a blocks are drawn from the N to choose by, then s from the
other M = N - a to decide by, both uniformly without repetition, on each text by itself. The draws
know neither methods nor errors. A_i and C_i count the blocks above among these, for method i.

The statement (*proved here*). Errors on the a blocks, and times, fix a list of methods i = 1, 2,
...; the first is taken that passes at the level delta_i = delta / (i (i + 1)), and exact attention
where none does. Then a bad method is taken with probability at most delta.

1. C ~ H(M, b, s), the number of marked ones among s of M of which b are marked. Marking one more
   never makes C smaller, so P(C <= c) falls as b grows. Let b(c, delta_i) be the largest b with
   P(H(M, b, s) <= c) > delta_i; it is at least c, and grows with c.
2. Method i passes where A_i + b(C_i, delta_i) <= K on each text.
3. Let it be bad: on some text b > K - A_i of the M blocks are above. It passes only where
   b(C_i, delta_i) < b, so P(C_i <= c) <= delta_i for the c that was found; with c* the largest such
   c, the chance of that is P(C_i <= c*) <= delta_i. The a blocks are given here; they do not
   matter.
4. The methods of the list are known before the s blocks are drawn, and sum_i delta_i = delta. The
   union over i needs no independence. Stopping early, as when the time is up, takes exact
   attention, which is not bad.
5. Where s = M nothing is left to chance: b(c, .) = c.

What it says of the Frobenius norm. On the blocks that are not above, N - K at least, together
|Y - O|_F <= eps |O|_F.

What it does not say. Nothing follows for the norm over all blocks: two heads that differ in one
block, by as much as values allow, are told apart only where it is drawn, and s draws miss a share p
of the blocks with probability about (1 - p)^s. The error over the blocks drawn is an estimate.
Nor does anything follow for another text, without an assumption: see `approxattn.planning.search`.

Related: the order is that of a fixed sequence of tests with alpha spent along it; *wording
unverified*, so it is proved anew.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction


def level(place: int, confidence: float) -> Fraction:
    """Return delta_i of the method at a place i = 1, 2, ... of the list."""
    return (1 - Fraction(str(float(confidence)))) / (place * (place + 1))


def allowed(blocks: int, share: float) -> int:
    """Return K, the blocks of N that may be above."""
    return math.floor(Fraction(str(float(share))) * blocks)


@functools.lru_cache(maxsize=4096)
def most_above(blocks: int, drawn: int, seen: int, chance: Fraction) -> int:
    """Return b(c, delta_i): the most blocks of M that can be above where c of the s drawn are.

    Parameters
    ----------
    blocks, drawn, seen : int
        M, s <= M, and c <= s.
    chance : Fraction
        delta_i.
    """
    low, high = seen, blocks - drawn + seen  # the first is possible, and so is none beyond this
    while low < high:
        middle = (low + high + 1) // 2
        if _at_most(blocks, middle, drawn, seen) > chance:
            low = middle
        else:
            high = middle - 1
    return low


def _at_most(blocks: int, marked: int, drawn: int, seen: int) -> Fraction:
    """Return P(H(M, b, s) <= c), exactly."""
    ways = sum(
        math.comb(marked, j) * math.comb(blocks - marked, drawn - j) for j in range(seen + 1)
    )
    return Fraction(ways, math.comb(blocks, drawn))
