"""Train a small encoder to evaluate ListOps expressions, with exact and with approximate attention
side by side.

    python examples/train_listops.py --setting tiny            # seconds
    python examples/train_listops.py --setting small           # minutes on one thread
    python examples/train_listops.py --setting large --library cupy   # made for a GPU

An expression such as [MAX 4 [MIN 7 2 ] 1 [SM 9 5 ] ] is one sequence of tokens, its value, 0 to 9,
the class. The grammar is that of Long Range Arena (Tay et al. 2021, its published generator): a
node is an operator with probability 1/4, its arguments 2 to `arguments` many, or else a digit, and
always a digit at the greatest depth; MIN, MAX, MED (the median, cut to an integer) and SM (the sum
modulo 10). Kept are expressions of `shortest` to n tokens; theirs have 500 to 2,000, which is what
the large setting is for.

Accuracies are measured on expressions that were not trained on. To beat: 1/10, the commonest value,
and the commonest value of each outermost operator.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from _training import (
    Batch,
    PooledCrossEntropy,
    Run,
    against_exact,
    experiment,
    fit,
    initial,
    moved,
    picture,
    save,
    student,
)

import approxattn as aa
from approxattn.transformer import Transformer, forward

OPERATORS = ("MIN", "MAX", "MED", "SM")
OPERATOR_SHARE = 0.25
END, PAD, VOCABULARY = 14, 15, 16  # 0 to 9 the digits, 10 to 13 the operators

METHODS: dict[str, Any] = {
    "exact": aa.Exact(),
    "yoso, expectation": aa.YosoExpectation(bits=7, normalize=True),
    "linformer, means of keys": aa.Linformer(rank=16, sketch="mean-pool"),
    # centre="keys": a centre of the queries would take in padding.
    "polynomial, consistent": aa.Polynomial(
        degree=2, basis="taylor", gradient="consistent", centre="keys"
    ),
}

Tree = int | tuple[int, tuple["Tree", ...]]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Sizes of one experiment."""

    layers: int
    heads: int
    d: int
    n: int
    shortest: int
    depth: int
    arguments: int
    batch: int
    steps: int
    every: int
    tests: int
    seeds: int
    rate: float = 2e-3


SETTINGS = {
    "tiny": Setting(
        layers=1,
        heads=2,
        d=8,
        n=24,
        shortest=4,
        depth=3,
        arguments=4,
        batch=4,
        steps=6,
        every=3,
        tests=40,
        seeds=2,
    ),
    "small": Setting(
        layers=2,
        heads=2,
        d=32,
        n=128,
        shortest=8,
        depth=5,
        arguments=6,
        batch=16,
        steps=500,
        every=100,
        tests=1000,
        seeds=4,
    ),
    "large": Setting(
        layers=4,
        heads=4,
        d=128,
        n=2000,
        shortest=1000,
        depth=10,
        arguments=10,
        batch=32,
        steps=5000,
        every=250,
        tests=2000,
        seeds=4,
        rate=5e-4,
    ),
}


# --- the task -------------------------------------------------------------------------------------


def draw(rng: np.random.Generator, depth: int, arguments: int, *, at: int = 1) -> Tree:
    """Return a random expression: a digit, or (operator, arguments)."""
    if at >= depth or rng.random() > OPERATOR_SHARE:
        return int(rng.integers(10))
    parts = tuple(
        draw(rng, depth, arguments, at=at + 1) for _ in range(rng.integers(2, arguments + 1))
    )
    return int(rng.integers(len(OPERATORS))), parts


def value(tree: Tree) -> int:
    """Return the value of an expression, 0 to 9."""
    if isinstance(tree, int):
        return tree
    operator, parts = tree
    numbers = sorted(value(part) for part in parts)
    middle, odd = divmod(len(numbers), 2)
    median = numbers[middle] if odd else (numbers[middle - 1] + numbers[middle]) // 2
    return (numbers[0], numbers[-1], median, sum(numbers) % 10)[operator]


def tokens(tree: Tree) -> list[int]:
    """Return an expression as integers below PAD."""
    if isinstance(tree, int):
        return [tree]
    operator, parts = tree
    return [10 + operator, *(token for part in parts for token in tokens(part)), END]


def written(sequence: Integers) -> str:
    """Return tokens as text."""
    names = [*"0123456789", *(f"[{name}" for name in OPERATORS), "]", ""]
    return " ".join(names[t] for t in sequence if t != PAD)


def expressions(s: Setting, count: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Return expressions of shortest to n tokens, padded, shape (count, n), and their values, shape
    (count,).
    """
    rows, values = np.full((count, s.n), PAD), np.zeros(count, np.int64)
    done = 0
    while done < count:
        tree = draw(rng, s.depth, s.arguments)
        line = tokens(tree)
        if s.shortest <= len(line) <= s.n:
            rows[done, : len(line)], values[done] = line, value(tree)
            done += 1
    return rows.astype(np.int64), values


def baselines(
    train: tuple[Integers, Integers], test: tuple[Integers, Integers]
) -> dict[str, float]:
    """Return the accuracies on the test of what needs no attention, learnt from the training
    expressions: chance, the commonest value, that of each first token.
    """
    (x, y), (x_test, y_test) = train, test
    overall = np.bincount(y, minlength=10).argmax()
    by_first = np.full(VOCABULARY, overall)
    for first in np.unique(x[:, 0]):
        by_first[first] = np.bincount(y[x[:, 0] == first], minlength=10).argmax()
    return {
        "chance": 0.1,
        "commonest value": float(np.mean(y_test == overall)),
        "commonest value by operator": float(np.mean(y_test == by_first[x_test[:, 0]])),
    }


# --- the experiment -------------------------------------------------------------------------------


def batch(rows: Integers, values: Integers, xp: Any) -> Batch:
    longest = int(np.max(np.sum(rows != PAD, axis=-1)))
    x, mask = xp.asarray(rows[:, :longest]), xp.asarray(rows[:, :longest] != PAD)
    return Batch(x, mask, PooledCrossEntropy(xp.asarray(values), mask, xp))


def batches(s: Setting, rng: np.random.Generator, xp: Any) -> Iterator[Batch]:
    """Yield fresh expressions for ever; those of a batch are alike in length, which saves
    padding.
    """
    while True:
        rows, values = expressions(s, 8 * s.batch, rng)
        order = np.argsort(np.sum(rows != PAD, axis=-1), kind="stable").reshape(8, s.batch)
        for some in rng.permutation(order):
            yield batch(rows[some], values[some], xp)


def measured(
    model: Transformer, method: Any, test: tuple[Integers, Integers], xp: Any
) -> dict[str, float]:
    """Return accuracy and loss on a test set."""
    rows, values = test
    order, parts = np.argsort(np.sum(rows != PAD, axis=-1), kind="stable"), []
    for some in np.array_split(order, max(1, len(order) // 20)):  # alike in length: less padding
        x, mask, loss = batch(rows[some], values[some], xp)
        loss(forward(model, x, method, key_mask=mask, certify=False).value)
        parts.append((len(some), loss.accuracy, loss.value))
    count, accuracy, loss_value = np.array(parts).T
    return {
        "accuracy": float(count @ accuracy / count.sum()),
        "loss": float(count @ loss_value / count.sum()),
    }


def train(method: Any, s: Setting, seed: int, xp: Any) -> Run:
    """Train one model; return its curves, and the baselines on the expressions it was tested on."""
    model = initial(
        np.random.default_rng((seed, 0)),
        layers=s.layers,
        heads=s.heads,
        d=s.d,
        n=s.n,
        vocabulary=VOCABULARY,
        classes=10,
        causal=False,
    )
    test = expressions(s, s.tests, np.random.default_rng((seed, 3)))
    source = batches(s, np.random.default_rng((seed, 1)), xp)
    run, _ = fit(
        moved(model, xp),
        method,
        source,
        lambda m: measured(m, method, test, xp),
        np.random.default_rng((seed, 2)),
        steps=s.steps,
        every=s.every,
        rate=s.rate,
        decay=True,
    )
    return {
        **run,
        "baselines": baselines(expressions(s, s.tests, np.random.default_rng((seed, 4))), test),
    }


def summary(runs: Mapping[str, list[Run]]) -> list[dict[str, Any]]:
    """Return the accuracies of the methods and of the baselines, with 95 % intervals over the
    seeds.
    """
    found = against_exact(runs, "accuracy")
    lines: list[dict[str, Any]] = [
        {
            "method": name,
            **figures,
            "processor seconds": float(np.mean([r["seconds"] for r in runs[name]])),
        }
        for name, figures in found.items()
    ]
    for name in runs["exact"][0]["baselines"]:
        mean, half = student([r["baselines"][name] for r in runs["exact"]])
        lines.append({"method": name, "accuracy": mean, "half width": half})
    return lines


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    chosen, runs, head = experiment(__doc__ or "", SETTINGS, METHODS, train, arguments)
    result: dict[str, Any] = {**head, "summary": summary(runs), "runs": runs}
    for line in result["summary"]:
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()})
    if chosen.out is not None:
        save(result, chosen.out, f"listops-{chosen.setting}")
        picture(
            runs,
            "accuracy",
            "accuracy on new expressions",
            chosen.out / f"listops-{chosen.setting}.svg",
        )
    return result


if __name__ == "__main__":
    main()
