"""Time whole calls: with a certificate, without one, the sums alone, and PyTorch's exact attention;
and a token of decoding, by a state and by exact attention.

    ./run.sh bench calls                    # or: python benchmarks/calls.py --repeats 9 --json FILE

float32, one thread, d = dv. All are processor times of one process, taken in turn; a ratio is the
median over the turns. "certified" reads the rows of the certificate, "value" has certify=False,
"sums" are `Kernel.sums`. Goals stand in brackets.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from polynomial import inputs, kernel
from threadpoolctl import threadpool_limits
from whole_calls import EXACT, SELECTED, Tasks, calls, exact_line, in_turn, over, selected_line

import approxattn as aa

TOKENS = 8192
POLYNOMIALS = {(16, 2): 1.5, (16, 4): 1.25, (32, 2): 1.25, (64, 2): 1.25}
"""Goals for certified calls over the sums; those without a certificate have VALUE."""
VALUE = 1.1
DECODING = {"one head": (), "8 heads": (8,)}
"""Leading axes of a decoder of width 64 and degree 2."""
SEEN, STEP = 2048, 2.0
"""Tokens before the one decoded, and the goal for `state.attend` over `Exact` on as many keys."""


def polynomial_line(d: int, g: int, repeats: int) -> dict[str, float]:
    """Measure calls of a Taylor polynomial over its sums."""
    x, y, values = inputs(TOKENS, d, np.random.default_rng(d + g))
    q = x * np.float32(d**0.5)
    sums: Tasks = {"sums": lambda: kernel(g).sums(x, y, values)}
    method = aa.Polynomial(degree=g, basis="taylor")
    return over(in_turn(sums | calls(method, q, y, values[:, :d].copy()), repeats), "sums")


def decoding_line(heads: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Measure one token: attended to and taken up by a state, both with certificates, over exact
    attention, whose cache takes it up for nothing.
    """
    tokens = np.random.default_rng(1).standard_normal((3, *heads, SEEN, 64)).astype(np.float32)
    q, k, v = tokens * np.float32(0.5)
    state = aa.Polynomial(degree=2, basis="taylor", centre="none").state(k, v)
    new = tuple(x[..., -1:, :].copy() for x in (q, k, v))
    tasks: Tasks = {
        "exact": lambda: aa.attention(new[0], k, v, aa.Exact()).certificate.rows,
        "state": lambda: state.attend(*new)[0].certificate.rows,
    }
    return over(in_turn(tasks, 10 * repeats), "exact")


def main() -> None:
    """Read the options, print the figures and write them."""
    parser = argparse.ArgumentParser(description="Time whole calls on one thread.")
    parser.add_argument("--repeats", type=int, default=9, help="turns; ratios are their medians")
    parser.add_argument(
        "--json", type=Path, default=Path("report/bench_calls.json"), help="file for the figures"
    )
    options = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with threadpool_limits(limits=1):
        print(f"Taylor polynomials, n = {TOKENS:,}, one head: over their sums")
        for (d, g), goal in POLYNOMIALS.items():
            line = found[f"{d}, {g}"] = polynomial_line(d, g, options.repeats)
            print(
                f"  ({d}, {g})  sums {line['sums ms']:7.2f} ms   certified "
                f"{line['certified']:.2f} [{goal}]   value {line['value']:.2f} [{VALUE}]"
            )
        print("Exact: over PyTorch's scaled_dot_product_attention")
        for name, (shape, causal, goal) in EXACT.items():
            line = found[name] = exact_line(shape, causal, options.repeats)
            if not line:
                print("  PyTorch is not installed")
                break
            print(
                f"  {name:<34} torch {line['torch ms']:7.2f} ms   certified "
                f"{line['certified']:.2f} [{goal}]   value {line['value']:.2f}"
            )
        print(
            "PyTorch's over SelectedSummaries(heavy=128, recent=192, summaries=16), one causal head"
        )
        for n, goal in SELECTED.items():
            line = found[f"selected, {n}"] = selected_line(n, max(2, options.repeats // 3))
            if line:
                print(
                    f"  n = {n:<30,} value {line['value ms']:7.2f} ms   certified "
                    f"{line['certified']:.1f}   value {line['value']:.1f} [{goal:g}]"
                )
        print(f"Decoding a token, d = 64, degree 2: over Exact on {SEEN:,} keys")
        for name, heads in DECODING.items():
            line = found[f"decoding, {name}"] = decoding_line(heads, options.repeats)
            ratio = f"state {line['state']:.2f} [{STEP}]"
            print(f"  {name:<34} exact {line['exact ms']:7.2f} ms   {ratio}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
