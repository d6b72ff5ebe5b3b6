"""Time every method at many n and d: the table of docs/performance.md.

    ./run.sh bench which                     # or: python benchmarks/which.py --tokens 1024,4096

Processor time of whole calls on one thread, float32, one head, dv = d, with the certificate; the
least of a few calls. What is compared is taken in turn in one process. Exact attention is timed up
to 8,192 tokens and counted on from there by n^2, which a ~ marks. Scores lie within 2 in size; the
error is relative to exact attention in the Frobenius norm, at the largest n that is timed for it.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from forward import inputs, relative_error
from threadpoolctl import threadpool_limits

import approxattn as aa

METHODS: dict[str, Any] = {
    "Exact": aa.Exact(),
    "Polynomial(degree=2, taylor)": aa.Polynomial(degree=2, basis="taylor"),
    "Linformer(64, mean-pool)": aa.Linformer(rank=64, sketch="mean-pool"),
    "Nystrom(64)": aa.Nystrom(landmarks=64),
    "Performer(128)": aa.Performer(features=128),
    "Clustered(64, 64, 64)": aa.Clustered(heavy=64, key_blocks=64, query_blocks=64),
    "SelectedSummaries(128, 64, 16)": aa.SelectedSummaries(heavy=128, recent=64, summaries=16),
}
LARGEST_EXACT = 8192


def milliseconds(method: Any, n: int, d: int, repeats: int) -> tuple[float, np.ndarray]:
    """Return the least time of a few calls, and the value."""
    q, k, v = inputs(n, d, 2.0, np.random.default_rng(n))
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        value = aa.attention(q, k, v, method, rng=np.random.default_rng(0)).value
        spent.append(time.process_time() - start)
    return 1000 * min(spent), np.asarray(value)


def measured(tokens: list[int], widths: list[int], repeats: int) -> list[dict[str, Any]]:
    """Return a row for each width and method: times by n, and the error."""
    rows = []
    for d in widths:
        at = max(n for n in tokens if n <= LARGEST_EXACT)
        right = milliseconds(METHODS["Exact"], at, d, 1)[1]
        for name, method in METHODS.items():
            timed = [n for n in tokens if name != "Exact" or n <= LARGEST_EXACT]
            found = {n: milliseconds(method, n, d, repeats) for n in timed}
            rows.append(
                {
                    "d": d,
                    "method": name,
                    "ms": {n: found[n][0] for n in timed},
                    "error": relative_error(found[at][1], right),
                }
            )
            print(cells(rows[-1], tokens), flush=True)
    return rows


def cells(row: dict[str, Any], tokens: list[int]) -> str:
    """Return a row as Markdown; what was counted on from n^2 has a ~."""
    last = max(row["ms"])
    times = [
        f"{row['ms'][n]:.3g}" if n in row["ms"] else f"~{row['ms'][last] * (n / last) ** 2:.2g}"
        for n in tokens
    ]
    return f"| {row['d']} | {row['method']} | {' | '.join(times)} | {row['error']:.1g} |"


def main() -> None:
    """Read the options, measure, print the table and write the file."""
    parser = argparse.ArgumentParser(description="Time every method at many n and d.")
    parser.add_argument("--tokens", default="512,2048,8192,32768", help="numbers of tokens")
    parser.add_argument("--widths", default="16,32,64,128", help="widths d")
    parser.add_argument("--repeats", type=int, default=3, help="calls; the fastest counts")
    parser.add_argument("--out", type=Path, default=Path("report/bench_which.json"))
    options = parser.parse_args()
    tokens, widths = (
        sorted(map(int, text.split(","))) for text in (options.tokens, options.widths)
    )
    print(f"| d | method | {' | '.join(f'n = {n:,}, ms' for n in tokens)} | error |")
    print("|---|---|" + "---|" * (len(tokens) + 1))
    with threadpool_limits(limits=1):
        rows = measured(tokens, widths, options.repeats)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
