"""Counted cost of hashed attention: YOSO, BERT-LSH, softmax over colliding pairs.

What is counted: `counted`.

What depends on the pairs that happen to collide is counted in its worst case, on queries and keys
that are all equal. Every pair collides there, and the rows of pairs are padded to w, the power of
two from n on. Up to n = 64 the code also computes exact variances for its facts, at n^3; the sizes
below are larger where that matters.
"""

from __future__ import annotations

from typing import Any

from proofs_check.papers.our_code.counted import Cost, Formula, Settings, Work, bits, wide

_LONG = (7023, 9623, 13023, 9643, 9625)
_SAMPLED = (
    {"bits": 4, "hashes": 8, "zero_rows": "orthogonal"},
    {"bits": 3, "hashes": 13, "zero_rows": "orthogonal"},
)
_DROPPED = float("-inf")


def _with(settings: tuple[Settings, ...], **more: Any) -> tuple[Settings, ...]:
    return tuple({**own, **more} for own in settings)


def _codes(n: Any, d: Any, s: Settings) -> Any:
    """Codes of queries and keys: 2 n d for each bit of each hash or table."""
    return 2 * n * d * s.get("bits", 2) * s.get("hashes", s.get("tables", 1))


def _tables(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """For each hash: sort n codes, find both ends of 2^bits buckets."""
    return s["hashes"] * (n * bits(n - 1) + 2 * 2 ** s["bits"] * bits(n))


def _dense(a: int, b: int, c: int = 0, *, hashed: bool = False) -> Formula:
    """Return n^2 (a d + b dv + c), and the codes if hashed."""
    return lambda n, d, dv, s: n**2 * (a * d + b * dv + c) + (_codes(n, d, s) if hashed else 0)


def _square(times: int) -> Formula:
    return lambda n, _d, _dv, _s: times * n**2


def _collided_back(n: Any, _d: Any, _dv: Any, _s: Settings) -> Any:
    """Twice (dk and dv): sort n w pairs by key, find both ends of n keys."""
    pairs = n * wide(n)
    return 2 * (pairs * bits(pairs - 1) + 2 * n * bits(pairs))


def _sampled_gradient(n: Any, d: Any, dv: Any, s: Settings) -> Any:
    """Codes, and for each hash and once more for the certificate one bucket of n queries and n
    keys.
    """
    return _codes(n, d, s) + (s["hashes"] + 1) * 4 * n * d * dv


_GRADIENT = Work(products=_dense(3, 2, 1), functions=_square(1), exponent=2)
_UNIT_GRADIENT = Work(products=_dense(4, 3, 2), functions=_square(2), exponent=2)
_FORWARD = Work(products=lambda n, d, _dv, s: _codes(n, d, s), sorting=_tables)

COSTS = (
    Cost(
        name="yoso-expectation",
        method="YosoExpectation",
        settings=(
            {"bits": 4, "zero_rows": "orthogonal"},
            {"bits": 9, "zero_rows": "orthogonal", "gradient": "surrogate"},
        ),
        statement=(
            "YosoExpectation: n² (d + dv + 1) multiplications and n² arc cosines forward, n² (3d + "
            "2 dv + 1) and n² for the gradient."
        ),
        forward=Work(products=_dense(1, 1, 1), functions=_square(1), exponent=2),
        gradient=_GRADIENT,
        remarks=("The extra column is the sum of the weights that the certificate needs.",),
    ),
    Cost(
        name="yoso-expectation-normalised",
        method="YosoExpectation",
        settings=({"bits": 3, "zero_rows": "orthogonal", "normalize": True},),
        statement=(
            "YosoExpectation with unit rows: n² (d + dv + 1) multiplications and n² arc cosines "
            "forward, n² (4d + 3 dv + 2) and 2n² for the gradient."
        ),
        forward=Work(products=_dense(1, 1, 1), functions=_square(1), exponent=2),
        gradient=_UNIT_GRADIENT,
    ),
    Cost(
        name="yoso",
        method="Yoso",
        settings=(*_SAMPLED, {**_SAMPLED[0], "bound": "bernstein"}),
        sizes=_LONG,
        statement=(
            "Yoso with τ bits and m hashes: 2 n d τ m multiplications and m (n ⌈log₂ n⌉ + 2 · 2^τ "
            "⌈log₂(n + 1)⌉) comparisons forward, whose sums are additions; the exact gradient is "
            "that of its expectation, n² (3d + 2 dv + 1) multiplications and n² arc cosines."
        ),
        forward=_FORWARD,
        gradient=_GRADIENT,
        remarks=(
            "On NumPy the tables are filled without sorting.",
            "Linear in n only forward, or with gradient='sampled'.",
        ),
    ),
    Cost(
        name="yoso-normalised",
        method="Yoso",
        settings=_with(_SAMPLED, normalize=True),
        sizes=_LONG,
        statement=(
            "Yoso with unit rows: forward as without; the exact gradient n² (4d + 3 dv + 2) "
            "multiplications and 2n² arc cosines."
        ),
        forward=_FORWARD,
        gradient=_UNIT_GRADIENT,
    ),
    Cost(
        name="yoso-hadamard",
        method="Yoso",
        settings=({"bits": 2, "hashes": 8, "hashing": "hadamard", "zero_rows": "orthogonal"},),
        sizes=(7043, 9643, 13045, 9683),
        statement=(
            "Yoso with Hadamard hashing, its directions held as a matrix: multiplications and "
            "comparisons as with Gaussian hyperplanes."
        ),
        forward=_FORWARD,
        gradient=_GRADIENT,
        remarks=("On NumPy the transform runs by additions.",),
    ),
    Cost(
        name="yoso-sampled",
        method="Yoso",
        settings=_with(
            ({"bits": 4, "hashes": 8}, {"bits": 3, "hashes": 13}), gradient="sampled", parallel=True
        ),
        sizes=_LONG,
        statement=(
            "Yoso, sampled gradient, all tokens in one bucket: 2 n d τ m multiplications for the "
            "codes and 4 n d dv for each hash, once more for the certificate; 4 m n ⌈log₂ n⌉ "
            "comparisons."
        ),
        forward=_FORWARD,
        gradient=Work(
            products=_sampled_gradient,
            sorting=lambda n, _d, _dv, s: 4 * s["hashes"] * n * bits(n - 1),
        ),
        remarks=(
            "A bucket of s queries and t keys takes the lesser of 2 (s + t) d dv and s t (dv + "
            "2d), so it is linear in n even here, where going pair by pair takes n² (dv + 2d) a "
            "hash.",
        ),
    ),
    Cost(
        name="bert-lsh",
        method="BertLSH",
        settings=({}, {"bits": 3, "tables": 2}),
        statement=(
            "BertLSH, dense, K bits and L tables: n² (2d + dv) + 2 n d K L multiplications, n² "
            "exponentials and n² arc cosines forward; n² (3d + 2 dv) + 2 n d K L and n² "
            "exponentials for the gradient."
        ),
        forward=Work(products=_dense(2, 1, hashed=True), functions=_square(2), exponent=2),
        gradient=Work(products=_dense(3, 2, hashed=True), functions=_square(1), exponent=2),
        remarks=(
            "Compare bert-lsh.flops: the hashing is the smallest part.",
            (
                "One n² d and the arc cosines are for the expected share of collisions, a fact "
                "beside the output."
            ),
        ),
    ),
    Cost(
        name="bert-lsh-dropped",
        method="BertLSH",
        settings=({"fill": _DROPPED}, {"bits": 3, "tables": 2, "fill": _DROPPED}),
        statement=(
            "BertLSH, dense, other pairs dropped: products as with the logit 0; n² exponentials "
            "more forward, for what the dropped pairs would weigh."
        ),
        forward=Work(products=_dense(2, 1, hashed=True), functions=_square(3), exponent=2),
        gradient=Work(products=_dense(3, 2, hashed=True), functions=_square(1), exponent=2),
    ),
    Cost(
        name="bert-lsh-paper-code",
        method="BertLSH",
        settings=(
            {"fidelity": "paper-code"},
            {"bits": 3, "tables": 2, "table_size": 4, "fidelity": "paper-code"},
        ),
        statement=(
            "BertLSH as the authors' code computes it: n² (3d + dv) + 2 n d K L multiplications "
            "forward, n² (6d + 2 dv) + 2 n d K L for the gradient."
        ),
        forward=Work(products=_dense(3, 1, hashed=True), functions=_square(2), exponent=2),
        gradient=Work(products=_dense(6, 2, hashed=True), functions=_square(1), exponent=2),
        remarks=(
            "n² d more, for the scores of the mirrored half and the certificate's comparison with "
            "the right ones.",
        ),
    ),
    Cost(
        name="bert-lsh-sparse",
        method="BertLSH",
        settings=tuple(
            {"bits": 2, "tables": t, "sparse": True, "fill": f, "parallel": True}
            for t, f in ((1, 0.0), (2, _DROPPED))
        ),
        sizes=(1623, 1723, 7023, 9643, 9625),
        statement=(
            "BertLSH over colliding pairs, all of them colliding: n² d + n w (d + dv) + 2 n d K L "
            "multiplications, n² arc cosines and n (2w + 1) exponentials forward; n w (3d + 2 dv) "
            "+ 2 n d K L, 2n (2w + 1) and 2 n w ⌈log₂ n w⌉ + 4 n ⌈log₂(n w + 1)⌉ comparisons for "
            "the gradient."
        ),
        forward=Work(
            products=lambda n, d, dv, s: n**2 * d + n * wide(n) * (d + dv) + _codes(n, d, s),
            functions=lambda n, _d, _dv, _s: n**2 + n * (2 * wide(n) + 1),
            exponent=2,
        ),
        gradient=Work(
            products=lambda n, d, dv, s: n * wide(n) * (3 * d + 2 * dv) + _codes(n, d, s),
            functions=lambda n, _d, _dv, _s: 2 * n * (2 * wide(n) + 1),
            sorting=_collided_back,
            exponent=2,
        ),
        remarks=(
            "n² d and the arc cosines are for the expected share of collisions, a fact beside the "
            "output.",
        ),
    ),
    Cost(
        name="lsh-softmax",
        method="LSHSoftmax",
        settings=tuple({"bits": 2, "tables": t, "parallel": True} for t in (1, 3)),
        sizes=_LONG,
        statement=(
            "LSHSoftmax, all pairs colliding: n w (2d + dv) + 2 n d K L multiplications and n (6w "
            "+ 1) exponentials, logarithms and arc cosines forward; n w (5d + 2 dv) + 2 n d K L, "
            "2n (6w + 1) and 2 n w ⌈log₂ n w⌉ + 4 n ⌈log₂(n w + 1)⌉ comparisons for the gradient."
        ),
        forward=Work(
            products=lambda n, d, dv, s: n * wide(n) * (2 * d + dv) + _codes(n, d, s),
            functions=lambda n, _d, _dv, _s: n * (6 * wide(n) + 1),
            exponent=2,
        ),
        gradient=Work(
            products=lambda n, d, dv, s: n * wide(n) * (5 * d + 2 * dv) + _codes(n, d, s),
            functions=lambda n, _d, _dv, _s: 2 * n * (6 * wide(n) + 1),
            sorting=_collided_back,
            exponent=2,
        ),
        remarks=("With P n² pairs colliding, about a share P of all but the codes.",),
    ),
)

THEOREMS = tuple(cost.theorem() for cost in COSTS)
