"""The tables of docs/certificates.md: bounds by the range of the scores, by moments, and errors.

    ./run.sh bench moment-tables                  # or: python benchmarks/moment_tables.py output

"By range" is the same pass without moments: theorems T1 and T2 alone. Tokens are uniform on
[-1, 1], scale 1/sqrt(d), seed 0; cotangents are standard normal. Six layers: 16 columns, 4 heads,
512 tokens, residual and normalised. Bounds and errors of outputs are in units of osc(V).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import approxattn as aa
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.choosing.plan import polynomial_for
from approxattn.methods.polynomials.forward import Forward, forward
from approxattn.transformer import Layer, LayerNorm, Mlp, Residual, SelfAttention, Transformer
from approxattn.transformer import forward as through
from approxattn.transformer import gradient as back

Array = npt.NDArray[Any]

OUTPUTS, GRADIENTS = 4000, 4096
LENGTHS = tuple(2**k for k in (12, 14, 16, 18, 20))
LAYERS, TOKENS, WIDTH, HEADS = 6, 512, 16, 4
GAIN = 0.3
"""Spectral norm of W_O and of W_2; it is .7 for W_Q and W_K, 1 for W_V and W_1."""


@dataclass(frozen=True, kw_only=True)
class ByRange(aa.Polynomial):
    """A polynomial of which nothing is asked about moments."""

    def _run(self, problem: Any, scores: CentredScores, *, keep: bool = False) -> Forward:
        polynomial = polynomial_for(scores, self._known_degree(), self.basis or "minimax")
        return forward(problem, scores, replace(polynomial, moments=None), keep=keep)


def pair(**settings: Any) -> tuple[aa.Polynomial, aa.Polynomial]:
    """Return the method by range and by moments."""
    return ByRange(**settings), aa.Polynomial(**settings)


def uniform(n: int, d: int, dtype: str) -> tuple[Array, Array, Array]:
    """Draw queries, keys and values."""
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, n, d)).astype(dtype)
    return q, k, v


def number(x: float) -> str:
    """Write two digits."""
    return f"{x:.1e}".replace("e-0", "e-").replace("e+00", "").replace("e+0", "e")


def row(*cells: str) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def largest_and_median(bounds: Array) -> str:
    """Write both."""
    return f"{number(float(np.max(bounds)))} ({number(float(np.median(bounds)))})"


def output_table() -> Iterator[str]:
    """Yield truncations of the Taylor polynomial by degree, d = 8, n = 4,000, float64."""
    q, k, v = uniform(OUTPUTS, 8, "float64")
    exact, spread = aa.attention(q, k, v, aa.Exact()).value, np.max(np.ptp(v, axis=0))
    yield row("degree", "largest error", "by the range: largest (median)", "by moments: the same")
    for g in (4, 6, 8):
        found = [aa.attention(q, k, v, m) for m in pair(degree=g, basis="taylor")]
        error = float(np.max(np.abs(found[1].value - exact)) / spread)
        bounds = (f.certificate.facts["truncation, in units of osc(V)"] for f in found)
        yield row(str(g), number(error), *map(largest_and_median, bounds))


def gradient_table() -> Iterator[str]:
    """Yield largest errors and bounds of gradients, Taylor, d = 8, n = 4,096, float64."""
    q, k, v = uniform(GRADIENTS, 8, "float64")
    dout = np.random.default_rng(1).standard_normal(v.shape)
    exact = aa.attention_vjp(q, k, v, dout, aa.Exact())
    yield row(
        "gradient, degree", *(f"{x}: error, by range, by moments" for x in ("dq", "dk", "dv"))
    )
    for kind in ("plug-in", "consistent"):
        for g in (4, 8):
            methods = pair(degree=g, basis="taylor", gradient=kind)
            found = [aa.attention_vjp(q, k, v, dout, m) for m in methods]
            cells = []
            for name in ("dq", "dk", "dv"):
                error = np.max(np.abs(getattr(found[1], name) - getattr(exact, name)))
                bounds = [np.max(getattr(f.certificate, name)) for f in found]
                cells.append(", ".join(number(float(x)) for x in (error, *bounds)))
            yield row(f"{kind}, {g}", *cells)


def network(rng: np.random.Generator) -> Transformer:
    """Draw six residual layers whose attention and perceptron see normalised tokens."""

    def matrix(*shape: int, norm: float = 1.0) -> Array:
        w = rng.standard_normal(shape)
        return np.asarray(norm * w / np.linalg.norm(w, 2, axis=(-2, -1), keepdims=True))

    def layer() -> Layer:
        norm = LayerNorm(gain=np.ones(WIDTH), shift=np.zeros(WIDTH))
        own = WIDTH // HEADS
        attention = SelfAttention(
            wq=matrix(HEADS, WIDTH, own, norm=0.7),
            wk=matrix(HEADS, WIDTH, own, norm=0.7),
            wv=matrix(HEADS, WIDTH, own),
            wo=matrix(WIDTH, WIDTH, norm=GAIN),
        )
        mlp = Mlp(w1=matrix(WIDTH, 2 * WIDTH), w2=matrix(2 * WIDTH, WIDTH, norm=GAIN))
        return Layer(
            attention=attention, norm=norm, residual=True, then=(Residual(maps=(norm, mlp)),)
        )

    return Transformer(layers=tuple(layer() for _ in range(LAYERS)))


def layer_table() -> Iterator[str]:
    """Yield the largest bounds and errors after six layers, and of dL/dX."""
    rng = np.random.default_rng(0)
    net, (x, g) = network(rng), rng.standard_normal((2, TOKENS, WIDTH))
    true, true_back = through(net, x, aa.Exact()), back(net, x, g, aa.Exact())
    yield row("degree", "output: error, by range, by moments", "dL/dX: error, by range, by moments")
    for degree in (8, 12):
        methods = pair(degree=degree, basis="taylor", gradient="plug-in")
        out = [through(net, x, m) for m in methods]
        grads = [back(net, x, g, m) for m in methods]
        error = np.max(np.linalg.norm(out[1].value - true.value, axis=-1))
        off = np.sum(np.linalg.norm(grads[1].tokens[0] - true_back.tokens[0], axis=-1))
        bounds = [float(np.max(o.layers[-1].out)) for o in out]
        of_x = [float(np.max(b.certificate.tokens[0])) for b in grads if b.certificate is not None]
        yield row(
            str(degree),
            ", ".join(number(float(y)) for y in (error, *bounds)),
            ", ".join(number(float(y)) for y in (off, *of_x)),
        )


def length_table() -> Iterator[str]:
    """Yield whole certificates in float32 for growing n, with the largest error of 64 rows."""
    names = ("Taylor: by range", "by moments", "error", "minimax", "one-sided", "error")
    yield row("d, degree", "n", *names)
    for d, g in ((8, 4), (16, 2)):
        for n in LENGTHS:
            yield row(f"{d}, {g}", f"2^{n.bit_length() - 1}", *length_cells(n, d, g))


def length_cells(n: int, d: int, g: int) -> Iterator[str]:
    """Yield the cells of one line."""
    q, k, v = uniform(n, d, "float32")
    spread = float(np.max(np.ptp(v, axis=0)))
    some = np.linspace(0, n - 1, 64).astype(int)
    wide_q, wide_k, wide_v = (x.astype("float64") for x in (q[some], k, v))
    exact = aa.attention(wide_q, wide_k, wide_v, aa.Exact()).value
    methods = (*pair(degree=g, basis="taylor"), *pair(degree=g, basis="minimax")[1:])
    for method in (*methods, aa.Polynomial(degree=g, basis="one-sided")):
        found = aa.attention(q, k, v, method)
        yield largest_and_median(found.certificate.rows / spread)
        if not isinstance(method, ByRange) and method.basis != "minimax":
            yield number(float(np.max(np.abs(found.value[some] - exact)) / spread))


TABLES = {
    "output": output_table,
    "gradients": gradient_table,
    "layers": layer_table,
    "lengths": length_table,
}


def main() -> None:
    """Print the tables asked for, all of them if none is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("tables", nargs="*", help=", ".join(TABLES))
    for name in parser.parse_args().tables or TABLES:
        if name not in TABLES:
            parser.error(f"there is no table {name!r}: choose among {', '.join(TABLES)}")
        for line in TABLES[name]():
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
