"""Checks of hashing: probabilities by counting, concentration by its definition, samples against
expectations, and who met whom.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from proofs_check.faults.checks._oracles import (
    Complaints,
    Host,
    above,
    apart,
    cosine_angles,
    dense_weights,
    package,
)

_SURE = 1e-9
"""Probability of a false alarm of one random check, of which there are a few dozen."""


def _agreement(rows: Host, turns: int = 20000) -> Host:
    """Signs of plane vectors under hyperplanes at evenly spaced angles, shape (turns, n): averages
    over them are exact to 1 / turns.
    """
    at = (np.arange(turns) + 0.5) * 2 * math.pi / turns
    return np.asarray(rows @ np.stack([np.cos(at), np.sin(at)]) > 0).T


def probabilities() -> Complaints:
    """Closed forms against counting over all hyperplanes of the plane, all codes, all tables."""
    from approxattn.hashing import collision as c

    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, 2)), rng.standard_normal((3, 2))
    signs = _agreement(np.concatenate([q, k]))
    met = signs[:, :2, None] == signs[:, None, 2:]  # (turns, 2, 3)
    one, both = met.mean(axis=0), (met[..., :, None] & met[..., None, :]).mean(axis=0)
    angles, between = cosine_angles(q, k), cosine_angles(k, k)
    for bits in (1, 3):
        yield from apart("pair", c.pair_probability(angles, bits), one**bits, 1e-3)
        triple = c.triple_probability(angles[:, :, None], angles[:, None, :], between, bits, np)
        yield from apart("triple", triple, both**bits, 2e-3)
    v = rng.standard_normal((3, 2))
    sums = np.einsum("tij,jc->tic", met.astype(float), v)
    yield from apart("variance", c.column_variance(q, k, v, 1, np), sums.var(axis=0), 5e-3)
    mean_square = np.sqrt(np.sum(sums.var(axis=0), axis=-1) / 7)
    yield from apart(
        "root mean square", c.root_mean_square_error(q, k, v, 1, 7, np), mean_square, 5e-3
    )
    yield from _codes(c)


def _codes(c: Any) -> Complaints:
    """Codes modulo a table size by all coefficients; unions by all outcomes of three tables."""
    size, p = 3, 0.3
    patterns = list(itertools.product((0, 1), repeat=2))
    coefficients = np.array(list(itertools.product(range(size), repeat=2)))
    differ = [
        np.mean((coefficients @ a - coefficients @ b) % size == 0)
        for a, b in itertools.permutations(np.array(patterns), 2)
    ]
    yield from apart(
        "modular", c.modular_probability(np.array(p), size), p + (1 - p) * np.mean(differ), 1e-12
    )
    first, second, joint = 0.4, 0.3, 0.2
    outcomes = {
        (1, 1): joint,
        (1, 0): first - joint,
        (0, 1): second - joint,
        (0, 0): 1 - first - second + joint,
    }
    chance = {t: math.prod(outcomes[x] for x in t) for t in itertools.product(outcomes, repeat=3)}
    some = sum(w for t, w in chance.items() if any(x[0] for x in t))
    two = sum(w for t, w in chance.items() if any(x[0] for x in t) and any(x[1] for x in t))
    yield from apart("union", c.union_probability(np.array(first), 3), some, 1e-12)
    yield from apart(
        "joint union", c.union_joint(*(np.array(x) for x in (first, second, joint)), 3), two, 1e-12
    )


def concentration() -> Complaints:
    """Radii put back into the inequalities that they come from."""
    from approxattn.bounds import concentration as c

    entries, delta = 20, 1e-3
    for blocks in ([1] * 500, [4] * 100 + [2]):
        t, hashes = c.hoeffding(blocks, entries, delta), sum(blocks)
        chance = 2 * entries * math.exp(-2 * t * t / sum((b / hashes) ** 2 for b in blocks))
        yield from apart(f"Hoeffding, {len(blocks)} blocks", chance, delta, 1e-6)
    variance, width, hashes = np.array([0.01, 0.2]), np.array([1.0, 2.0]), 4000
    radius = c.bernstein(variance, width, hashes, entries, delta)
    chance_two = 2 * entries * np.exp(-hashes * radius**2 / (2 * variance + 2 * width * radius / 3))
    yield from apart("Bernstein", chance_two, np.full(2, delta), 1e-6)
    log = math.log(4 * entries / delta)
    expected = np.sqrt(2 * variance * log / hashes) + 7 * width * log / (3 * (hashes - 1))
    yield from apart(
        "empirical Bernstein",
        c.empirical_bernstein(variance, width, hashes, entries, delta),
        expected,
        1e-9,
    )
    m = c.hashes_needed(0.1, entries, delta)
    if not c.hoeffding([1] * m, entries, delta) <= 0.1 < c.hoeffding([1] * (m - 2), entries, delta):
        yield f"{m} hashes are not the least for a tenth"


def yoso_samples() -> Complaints:
    """Means over many hashes: near their expectation, sums over colliding keys exact, errors told
    as they are.
    """
    aa = package()

    rng = np.random.default_rng(1)
    q, k, v = rng.standard_normal((4, 8)), rng.standard_normal((6, 8)), rng.standard_normal((6, 2))
    k[3] = q[0] + 0.1 * k[3]
    mask = np.array([True, True, False, True, True, True])
    expected = (1 - cosine_angles(q, k) / math.pi) ** 3 @ (v * mask[:, None])
    width = np.sum(np.abs(v * mask[:, None]), axis=0)
    for hashes, hashing, extra in ((20000, "gaussian", 0.0), (4096, "hadamard", 0.05)):
        method = aa.Yoso(bits=3, hashes=hashes, hashing=hashing, confidence=1 - _SURE)
        out = aa.attention(q, k, v, method, key_mask=mask, rng=np.random.default_rng(2))
        radius = math.sqrt(math.log(2 * 8 / _SURE) / (2 * hashes)) + extra
        yield from above(
            f"mean of {hashing} hashes", np.max(np.abs(out.value - expected) / width), radius
        )
        if hashing == "gaussian":
            told = out.certificate.facts["standard error of a row"]
            true = out.certificate.facts["root mean square error of a row before normalising"]
            yield from above("standard error", told, 2.5 * true)
            yield from above("standard error is too small", true, 2.5 * told)
            if not np.all(out.certificate.rows >= np.max(width) * (radius - extra) * (1 - 1e-9)):
                yield "the bound is below Hoeffding's for the l1 width of the values"
    same = np.repeat(q[:1], 6, axis=0)
    out = aa.attention(
        same[:2], same, v, aa.Yoso(bits=4, hashes=7), key_mask=mask, rng=np.random.default_rng(3)
    )
    yield from apart("keys equal to the query", out.value, np.tile(mask @ v, (2, 1)), 1e-12)


def hadamard() -> Complaints:
    """The structured hyperplanes are the rows of H D3 H D2 H D1."""
    from approxattn.hashing.hadamard import hadamard_rows, walsh_hadamard

    size = 8
    h = np.array([[(-1) ** (i & j).bit_count() for j in range(size)] for i in range(size)], float)
    rng = np.random.default_rng(4)
    signs, x = rng.choice([-1.0, 1.0], (3, size)), rng.standard_normal((3, size))
    yield from apart("transform", walsh_hadamard(x), x @ h, 1e-12)
    product = h @ np.diag(signs[2]) @ h @ np.diag(signs[1]) @ h @ np.diag(signs[0])
    yield from apart("rows", hadamard_rows(signs), product, 1e-12)


def met() -> Complaints:
    """Which pairs BERT-LSH lets meet, read off its weights: one logit is 0 or the score throughout,
    as often as the closed forms say.
    """
    aa = package()

    rng = np.random.default_rng(5)
    q, k = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    pattern = (1 - cosine_angles(q, k) / math.pi) ** 3
    scores, draws = q @ k.T / math.sqrt(3), 500
    for fidelity, size, tables in (("corrected", 2, 1), ("corrected", 8, 2), ("paper-code", 8, 2)):
        method = aa.BertLSH(bits=3, tables=tables, table_size=size, fidelity=fidelity)
        mirrored = fidelity == "paper-code"
        own = np.triu(scores) + np.triu(scores, 1).T if mirrored else scores
        share = 1 - (1 - (pattern + (1 - pattern) / size)) ** tables
        share = np.triu(share) + np.triu(share, 1).T if mirrored else share
        total = np.zeros((5, 5))
        for seed in range(draws):
            out = aa.attention(q, k, np.eye(5), method, rng=np.random.default_rng(seed)).value
            found = _met(out, own)
            if found is None or (mirrored and not np.array_equal(found, found.T)):
                yield f"{fidelity}: weights that no choice of pairs explains"
                return
            total += found
        off = np.abs(total / draws - share) / np.sqrt(share * (1 - share) / draws)
        if not np.max(off) <= 5:
            yield (
                f"{fidelity}, table of {size}: a pair meets {np.max(off):.3g} standard deviations "
                "off"
            )


def _met(weights: Host, scores: Host) -> Host | None:
    """Return the bool matrix with logits met * scores up to a constant a row, if there is one."""
    found = np.zeros(scores.shape, bool)
    for i, (row, s) in enumerate(zip(np.log(weights), scores, strict=True)):
        for start in (0.0, s[0]):
            logits = row - row[0] + start
            own = np.abs(logits - s) < 1e-9
            if np.all(own | (np.abs(logits) < 1e-9)):
                found[i] = own
                break
        else:
            return None
    return found


def inverse_probabilities() -> Complaints:
    """LSHSoftmax of two keys: either, their mean, or weights e^s / pi, and as often as the keys
    collide.
    """
    aa = package()

    q, k = np.array([[1.0, 0.2]]), np.array([[0.8, 0.9], [-0.3, 1.0]])
    share = 1 - (1 - (1 - cosine_angles(q, k)[0] / math.pi) ** 2) ** 3
    odds = dense_weights(q, k)[0].astype(float) / share
    possible = np.stack(
        [np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.full(2, 0.5), odds / odds.sum()]
    )
    counts, draws = np.zeros(4), 400
    for seed in range(draws):
        out = aa.attention(
            q, k, np.eye(2), aa.LSHSoftmax(bits=2, tables=3), rng=np.random.default_rng(seed)
        ).value[0]
        near = np.max(np.abs(possible - out), axis=1) < 1e-9
        if not near.any():
            yield f"weights {out} are not those of inverse probabilities"
            return
        counts[int(np.argmax(near))] += 1
    met_each = (counts[:2] + counts[3]) / draws
    if (
        not np.all(np.abs(met_each - share) <= 5 * np.sqrt(share * (1 - share) / draws))
        or counts[3] == 0
    ):
        yield f"keys collide with frequencies {met_each}, not {share}"
