"""BERT-LSH: softmax attention whose scores are kept only where query and key collide (Li & Yip
2024, "BERT-LSH").

A code is the random subset sum (sum_b c_b bit_b) mod T of `bits` hyperplane bits. A pair collides
if its codes agree in any of `tables` tables.

"corrected": score beta q_i . k_j where q_i and k_j collide, `fill` elsewhere.

"paper-code", what the authors' code does: pairs i <= j are inspected only, and the score of q_i and
k_j is written at (i, j) and (j, i). So the matrix of scores is symmetric, with 0 elsewhere.

Both end in a dense softmax, at the cost of exact attention (`dense_output.py`,
`dense_gradient.py`). The corrected form also runs on the colliding pairs alone, for either fill
(`output.py`, `gradient.py`).

Certificate: `weight_change.py`, or that of `output.py`. The scores and the softmax itself round as
in `bounds/softmax.py`, for logits and scores of size at most B_i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_choice, check_flag, check_integer, check_memory, keep
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn._problem.time_needed import SCORE, STEP, check_setting
from approxattn.bounds.perturbation import output_bound
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import key_norms, query_norms, score_bound, value_spread
from approxattn.bounds.softmax import softmax_rounding
from approxattn.certificate import (
    SOFTMAX,
    Approximation,
    Certificate,
    Gradients,
)
from approxattn.hashing.collision import (
    cosines,
    modular_probability,
    pair_probability,
    union_probability,
)
from approxattn.hashing.hyperplanes import draw_hyperplanes, modular_codes
from approxattn.methods.colliding_pairs.dense import (
    DenseLogits,
    all_seen,
    count,
    upper_triangle,
)
from approxattn.methods.colliding_pairs.dense_gradient import (
    logit_gradient,
    logit_gradient_rounding,
)
from approxattn.methods.colliding_pairs.dense_output import dense_output
from approxattn.methods.colliding_pairs.expected import PADDED, expected_pairs, pair_bytes
from approxattn.methods.colliding_pairs.gradient import pair_gradient
from approxattn.methods.colliding_pairs.output import (
    FIRST,
    foresee_collisions,
    found_pairs,
    pair_softmax,
)
from approxattn.methods.costs import Costed, Size

FIDELITIES = ("corrected", "paper-code")

SMALL = 2**20
"""Most pairs for which the expected collided fraction is among the facts. *Chosen*: it needs the
angle of every pair.
"""


@dataclass(frozen=True, kw_only=True)
class BertLSH(Costed):
    """Softmax attention over the pairs that collide under random hyperplane codes.

    Parameters
    ----------
    bits : int
        Hyperplanes per table ("bands" in the authors' code).
    tables : int
        Tables, joined by OR.
    table_size : int
        Number T of codes: two different bit patterns of a table get the same code with probability
        1/T.
    fidelity : {"corrected", "paper-code"}
        The method as described, or as the authors' code computes it: symmetric logits from the
        pairs i <= j only.
    fill : {0.0, -inf}
        Logit of a pair that does not collide. With -inf only colliding pairs have weight; a row
        without any attends uniformly over the keys it sees (*chosen*; counted in the certificate's
        facts).
    sparse : bool
        Form the colliding pairs only, in the output and in its gradient: cost and memory in
        proportion to them and to n (d + dv), a wider bound, as the other scores are never seen.
        With fill=0.0 the pairs that did not collide enter through the sum of all values. Not for
        "paper-code".
    max_pairs : int
        With sparse=True, the most collisions to take on; more are refused, with an estimate, before
        they are formed.

    Notes
    -----
    The gradient is that of the output for the hashes drawn; it is dense unless sparse=True. The
    facts give two counts of operations, a multiply-add counted as two: the hashing products alone,
    which is what the paper reports (2 x 2n d K L flops a head; less than Q K^T for n > 2 K L), and
    everything. A zero row has all bits 0 and collides accordingly. The same hashes serve all
    leading batch indices.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.BertLSH(tables=4), rng=np.random.default_rng(1))
    >>> exact = aa.attention(q, k, v, aa.Exact()).value
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
    True
    """

    bits: int = 2
    tables: int = 1
    table_size: int = 256
    fidelity: str = "corrected"
    fill: float = 0.0
    sparse: bool = False
    max_pairs: int = 2**26

    randomised: ClassVar[bool] = True
    gradient_of_output: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whys = {
            "bits": (1024, "beyond that only equal rows collide"),
            "tables": (2**16, "each table compares all pairs"),
            "table_size": (2**40, "codes are sums of 64-bit integers"),
            "max_pairs": (2**40, "pairs are counted in 64-bit integers"),
        }
        for name, (high, why) in whys.items():
            keep(self, **{name: check_integer(name, getattr(self, name), 1, high, why)})
        check_choice("fidelity", self.fidelity, FIDELITIES)
        keep(self, fill=_checked_fill(self.fill))
        if self.fidelity == "paper-code" and self.fill != 0.0:
            msg = (
                f"fill(={self.fill!r}) with fidelity='paper-code': the authors' code leaves the "
                "logit 0; use fill=0.0 or fidelity='corrected'"
            )
            raise ValueError(msg)
        check_flag("sparse", self.sparse)
        if self.sparse and self.fidelity == "paper-code":
            msg = (
                "sparse=True with fidelity='paper-code': the authors' code is dense; use "
                "fidelity='corrected'"
            )
            raise ValueError(msg)

    def _multiply_adds(self, size: Size) -> float:
        """Return 2 d + dv a pair, for scores, collisions expected and values, with those that
        collide only where `sparse`; and the codes.
        """
        codes = 2 * size.tokens * size.d * self.bits * self.tables
        if not self.sparse:
            more = size.d * (self.fidelity == "paper-code")
            return codes + size.pairs * (2 * size.d + size.dv + more)
        found = expected_pairs(size, self._meeting, self.tables)
        return codes + size.pairs * size.d + PADDED * found * (size.d + size.dv)

    def _bytes(self, size: Size) -> float:
        if not self.sparse:
            return size.held(1, 2, double=3) + size.scores(size.n_k, 6.5)
        return size.held(1, 2, double=8) + pair_bytes(size, self._meeting, self.tables)

    def _backward_cost(self, size: Size) -> tuple[float, float]:
        """Return half as much again; finding pairs holds more than what follows."""
        return 1.5 * self._multiply_adds(size), (1 if self.sparse else 1.5) * self._bytes(size)

    @property
    def _meeting(self) -> float:
        """The probability that two codes of one table agree, for a right angle."""
        return max(2.0**-self.bits, 1 / self.table_size)

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate.

        Raises
        ------
        ValueError
            fidelity="paper-code" with causal=True, or with unequal numbers of queries and keys.
        """
        self._check_problem(problem)
        codes = self._codes(problem, rng)
        filled = self.fill == 0.0
        if self.sparse:
            result = pair_softmax(
                problem, found_pairs(problem, codes, self.max_pairs), filled=filled
            )
        else:
            result = dense_output(self._logits(problem, codes))
        bound, spread = self._logit_bound(problem), value_spread(problem)
        rows = output_bound(result.tv, spread.osc) + softmax_rounding(problem, bound, problem.n_k)
        rows = rows + result.rounding * spread.top[..., None]
        facts = {
            "fidelity": self.fidelity,
            "bits": self.bits,
            "tables": self.tables,
            "table size": self.table_size,
            "fill": float(self.fill),
            "collided fraction": result.pairs / float(np.sum(problem.visible_keys)),
            **self._expected(problem),
            "rows without collision": result.empty_rows,
            **self._operations(problem, result.pairs),
            "score bound": bound,
            "change of the weights in total variation": result.tv,
        }
        theorem = "ours.oscillation"
        if self.sparse:
            theorem = "ours.filled-keys" if filled else "ours.reweighted-keys"
        certificate = Certificate(rows=up(rows), target=SOFTMAX, theorem=theorem, facts=facts)
        return Approximation(value=result.value, certificate=certificate)

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return dq, dk, dv of the output for the hashes drawn, and the bounds on their rounding
        errors.

        Raises
        ------
        ValueError
            As `compute`.
        """
        self._check_problem(problem)
        codes, bound = self._codes(problem, rng), self._logit_bound(problem)
        if self.sparse:
            result = pair_gradient(
                problem, dout, codes, self.max_pairs, bound, filled=self.fill == 0.0
            )
            dq, dk, dv, bounds = result.dq, result.dk, result.dv, result.bounds
        else:
            logits = self._logits(problem, codes)
            dq, dk, dv = logit_gradient(logits, dout)
            bounds = logit_gradient_rounding(problem, dout, bound, mirrored=logits.mirror)
        certificate = bounds.certificate(
            target="the gradient of BERT-LSH for the hashes drawn",
            facts={"fidelity": self.fidelity, "fill": float(self.fill), "unit roundoff": problem.u},
        )
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    def _logits(self, problem: Problem, codes: tuple[Array, Array]) -> DenseLogits:
        return DenseLogits(
            problem=problem,
            q_codes=codes[0],
            k_codes=codes[1],
            mirror=self.fidelity == "paper-code",
            filled=self.fill == 0.0,
        )

    def _operations(self, problem: Problem, pairs: int) -> dict[str, int]:
        """Return the flops of the hashing products, and those of hashing, scores, softmax and the
        product with V.
        """
        items, tokens = math.prod(problem.batch), problem.n_q + problem.n_k
        hashing = 2 * items * tokens * problem.d * self.bits * self.tables
        scored = pairs if self.sparse else items * problem.n_q * problem.n_k
        # what the method needs; the dense form computes all scores for its certificate
        scores = 2 * pairs * problem.d
        return {
            "flops of hashing": hashing,
            "flops": hashing
            + scores
            + 4 * scored
            + 2 * scored * problem.dv
            + items * problem.n_q * problem.dv,
        }

    def _check_problem(self, problem: Problem) -> None:
        if self.fidelity != "paper-code":
            return
        if problem.causal:
            msg = (
                "causal=True with fidelity='paper-code': its scores below the diagonal are those "
                "above it, of later keys; use 'corrected'"
            )
            raise ValueError(msg)
        if problem.n_q != problem.n_k:
            msg = (
                f"n_q = {problem.n_q}, n_k = {problem.n_k} with fidelity='paper-code': it mirrors "
                "a square of scores; use 'corrected'"
            )
            raise ValueError(msg)

    def _codes(self, problem: Problem, rng: np.random.Generator | None) -> tuple[Array, Array]:
        """Return the codes of queries and keys, int64, shapes (tables, ..., n_q), (tables, ...,
        n_k).
        """
        assert rng is not None  # noqa: S101 - `attention` asks for it
        tokens = math.prod(problem.batch) * (problem.n_q + problem.n_k)
        numbers = self.tables * (self.bits * problem.d + tokens)
        check_memory("tables", self.tables, numbers, "hyperplanes and codes")
        compared = 0 if self.sparse else math.prod(problem.batch) * problem.n_q * problem.n_k
        seconds = self.tables * (2 * STEP + SCORE * (40 * tokens + compared / 10))
        check_setting(problem, "tables", self.tables, seconds, "codes in all tables")
        normals = draw_hyperplanes(self.tables, self.bits, problem.q, rng)
        coefficients = _arrays.from_host(
            rng.integers(0, self.table_size, (self.tables, self.bits)), problem.q
        )

        def hashed(tables: int) -> tuple[Array, Array]:
            chosen = normals[:tables, ...], coefficients[:tables, ...], self.table_size
            q, k = (modular_codes(x, *chosen, problem.xp) for x in (problem.q, problem.k))
            return q, k

        if self.sparse and self.tables > FIRST:
            foresee_collisions(problem, hashed(FIRST), FIRST / self.tables, self.max_pairs)
        return hashed(self.tables)

    def _logit_bound(self, problem: Problem) -> HostArray:
        """Return B_i, at least the size of every score and logit of row i, shape (..., n_q)."""
        bound = score_bound(problem)
        if self.fidelity == "corrected":
            return bound
        q, k = query_norms(problem), key_norms(problem)
        return np.maximum(bound, up(problem.scale * k * np.max(q, axis=-1, keepdims=True)))

    def _expected(self, problem: Problem) -> dict[str, float]:
        """Return the mean collision probability over the visible pairs, for small problems."""
        if math.prod((*problem.batch, problem.n_q, problem.n_k)) > SMALL:
            return {}
        xp = problem.xp
        p = pair_probability(xp.acos(cosines(problem.q, problem.k, xp)), self.bits)
        p = union_probability(modular_probability(p, self.table_size), self.tables)
        if self.fidelity == "paper-code":
            p = xp.where(upper_triangle(p, 0, xp), p, xp.matrix_transpose(p))
        seen = all_seen(problem, p, 0, problem.n_k)
        return {
            "expected collided fraction": float(xp.sum(xp.where(seen, p, xp.zeros_like(p))))
            / count(seen, xp)
        }


def _checked_fill(fill: object) -> float:
    """Return the logit of a pair that did not collide."""
    number = isinstance(fill, int | float | np.integer | np.floating) and not isinstance(fill, bool)
    if not number or fill not in (0.0, -np.inf):
        msg = f"fill(={fill!r}) must be 0.0 or -inf: the logit 0, or no weight at all"
        raise ValueError(msg)
    return float(fill)
