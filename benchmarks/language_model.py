"""Replace the attention of a small language model, and see what it costs and what it saves.

    ./run.sh bench language-model                          # all of it: hours of processor time
    ./run.sh bench language-model --tokens 2048 --only Exact window
    python benchmarks/language_model.py --capture heads.npz --texts kings --tokens 2048

SmolLM2-135M-Instruct in 4-bit weights, NumPy, float32, one thread. Every figure is written to the
file of results as soon as it is found, and is not looked for again. Times are processor times of
attention alone; PyTorch's attention is timed in the same process on the same numbers, in every
fifth layer, where it is installed. `docs/language_model.md` reads the results.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from real_model import judged, one_head, plans, settings, tables, texts
from real_model.cells import Cells
from real_model.heads import Capture, Head, judge
from real_model.network import Attend
from real_model.plans import Wanted
from real_model.smollm import SmolLM, compare
from real_model.swaps import Swap, torch, torch_attention
from threadpoolctl import threadpool_limits

from approxattn.planning.model import ModelPlan

DOCS = Path(__file__).resolve().parent.parent / "docs"
PARTS = ("check", "one-head", "plans", "curve", "heads", "model")
CURVE = ("kings", "parser")
"""Texts that margins are compared on, each judging the plan of the other."""
CHECKED = 1024


class Bench:
    """One run: what is asked for, and what is there already."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.cells = options, Cells(options.json)
        self.folder = options.json.parent / "language_model"
        self.until = time.process_time() + options.budget

    @functools.cached_property
    def smollm(self) -> SmolLM:
        """The model, read when something is missing."""
        return SmolLM()

    @functools.cache  # noqa: B019 - one run a process
    def text(self, name: str, n: int) -> texts.Text:
        """Return a text, and keep what identifies it."""
        found = texts.load(self.smollm, name, n)
        mark = hashlib.sha256(found.tokens.astype("<i8").tobytes()).hexdigest()[:16]
        self.cells.keep(f"{n} | {name} | text", {"sha256": mark, "distances": found.distances})
        return found

    def wanted(self, names: list[str]) -> Iterator[tuple[int, str, str]]:
        """Yield tokens, text and setting of what is asked for, not there yet, and in the budget."""
        only = self.options.only
        for n in self.options.tokens:
            for name in names:
                for text in self.options.texts:
                    asked = not only or any(piece.lower() in name.lower() for piece in only)
                    if not asked or f"{n} | {text} | {name}" in self.cells:
                        continue
                    if not self.in_time():
                        return
                    yield n, text, name

    def in_time(self) -> bool:
        """Return whether the budget is not spent, and say so where it is."""
        if time.process_time() > self.until:
            print("the budget is spent: run the same command again", file=sys.stderr)
            return False
        return True

    def keep(self, n: int, text: str, name: str, record: object) -> None:
        """Write a figure, and say so."""
        self.cells.keep(f"{n} | {text} | {name}", record)
        print(f"{n} | {text} | {name}: {record}", flush=True)

    def check(self) -> None:
        """Compare the forward pass with that of transformers."""
        if "check" in self.cells:
            return
        if torch() is None:
            print("PyTorch is not installed: no check against transformers, no times beside ours")
            return
        tokens = self.text(texts.NAMES[2], CHECKED).tokens
        exact = settings.everywhere()[plans.EXACT]
        attend = Swap(self.smollm.network, lambda *_: exact)
        try:
            self.cells.keep("check", compare(self.smollm, tokens, attend))
        except ImportError as error:
            print(f"no check against transformers: {error}")

    def one_head(self) -> None:
        """Time one causal head beside PyTorch."""
        if torch() is None:
            return
        for name, line in one_head.lines(self.options.repeats).items():
            if name not in self.cells and self.in_time():
                self.cells.keep(name, line())
                print(f"{name}: {self.cells.records[name]}", flush=True)

    def model(self) -> None:
        """Run the model with each setting in all heads."""
        everywhere = settings.everywhere()
        for n, text, name in self.wanted(list(everywhere)):
            exact = None if name == plans.EXACT else self.exact(n, text)
            chosen = everywhere[name]
            given = self.text(text, n)
            record, found = judged.run(self.smollm.network, given, lambda *_, it=chosen: it, exact)
            self._keep_losses(n, text, name, found)
            self.keep(n, text, name, record)

    def exact(self, n: int, text: str) -> judged.Losses:
        """Return the losses of exact attention, found now if they are not there."""
        path = self.folder / f"exact-{text}-{n}.npy"
        if not path.exists():
            self._run_exact(n, text)
        losses: judged.Losses = np.load(path)
        return losses

    def _run_exact(self, n: int, text: str, **options: Any) -> None:
        exact = settings.everywhere()[plans.EXACT]
        network, given = self.smollm.network, self.text(text, n)
        record, found = judged.run(network, given, lambda *_: exact, None, **options)
        self._keep_losses(n, text, plans.EXACT, found)
        self.keep(n, text, plans.EXACT, record)

    def _keep_losses(self, n: int, text: str, name: str, found: judged.Losses) -> None:
        if name == plans.EXACT:
            self.folder.mkdir(parents=True, exist_ok=True)
            np.save(self.folder / f"exact-{text}-{n}.npy", found)

    @functools.cache  # noqa: B019 - one run a process
    def captured(self, text: str, n: int) -> Capture:
        """Return queries, keys and values of the exact model, kept beside the results."""
        folder = self.folder / f"heads-{text}-{n}"
        exact = settings.everywhere()[plans.EXACT]
        if not Capture.there(folder):
            seen: list[Capture] = []

            def watch(attend: Attend) -> Attend:
                seen.append(Capture(attend))
                return seen[0]

            self._run_exact(n, text, watch=watch)
            seen[0].keep(folder)
        return Capture.kept(folder, Swap(self.smollm.network, lambda *_: exact))

    def heads(self) -> None:
        """Judge methods and rivals on one head of each layer."""
        for n in self.options.tokens:
            found = settings.on_heads(n)
            pairs = {f"heads | {f} | {s}": x for f, row in found.items() for s, x in row.items()}
            for _, text, name in self.wanted_at(n, [*pairs, "heads | PyTorch"]):
                heads = self.captured(text, n).heads
                if name == "heads | PyTorch":
                    self.keep(n, text, name, beside(heads))
                else:
                    self.keep(n, text, name, judge(pairs[name], heads))

    def plans(self) -> None:
        """Choose a method for each head on some texts, and run the model on others."""
        for n in self.options.tokens:
            asked = {Wanted((), error).name: error for error in settings.PLANNED}
            rows = list(self.wanted_at(n, list(asked)))
            self._make(n, [Wanted(texts.TEACHERS[x], asked[name]) for _, x, name in rows])
            for _, text, name in self.wanted_at(n, list(asked)):
                found = self.made(n, Wanted(texts.TEACHERS[text], asked[name]))
                if found is None:
                    break
                choose = plans.chooser(found)
                given, exact = self.text(text, n), self.exact(n, text)
                record, _ = judged.run(self.smollm.network, given, choose, exact)
                record |= {
                    "planned on": texts.TEACHERS[text],
                    "heads left exact": found.left_exact,
                    "settings": plans.settings(found),
                }
                self.keep(n, text, name, record)

    def curve(self) -> None:
        """Compare errors, margins and shares: heads left exact, and heads above the error on the
        text that a plan has not seen, from the plan of both texts, which leaves out each in turn.
        """
        if not set(CURVE) <= set(self.options.texts):
            return
        several = [*((text,) for text in CURVE), CURVE]
        for n in self.options.tokens:
            plans_of = {
                f"{n} | curve | {Wanted((), *numbers).name} | {numbers[1]:g}": [
                    Wanted(names, *numbers) for names in several
                ]
                for numbers in settings.COMPARED
            }
            missing = {name: x for name, x in plans_of.items() if name not in self.cells}
            self._make(n, [wanted for each in missing.values() for wanted in each])
            for name, each in missing.items():
                made = [self.made(n, wanted) for wanted in each]
                found = [plan for plan in made if plan is not None]
                if len(found) == len(each):
                    width = self.smollm.network.width
                    self.cells.keep(name, plans.point(found[:-1], found[-1], n, width))
                    print(f"{name}: {self.cells.records[name]}", flush=True)

    def _make(self, n: int, wanted: list[Wanted]) -> None:
        """Make plans that are not there."""
        plans.made(
            list(dict.fromkeys(wanted)),
            lambda name: self.captured(name, n),
            settings.candidates(),
            self.options.planning,
            self.folder / f"plans-{n}",
            self.in_time,
        )

    def made(self, n: int, wanted: Wanted) -> ModelPlan | None:
        """Return a plan; None where it is not complete."""
        found = wanted.kept(self.folder / f"plans-{n}")
        return found if len(found) == self.smollm.network.layers else None

    def wanted_at(self, n: int, names: list[str]) -> Iterator[tuple[int, str, str]]:
        """Yield what is wanted for one number of tokens."""
        yield from (entry for entry in self.wanted(names) if entry[0] == n)


def beside(heads: list[Head]) -> dict[str, float | None]:
    """Return PyTorch's processor time a head."""
    kit = torch()
    if kit is None:
        return {"seconds a head": None}
    spent = [torch_attention(kit, h.q[None], h.k[None], h.v[None])[1] for h in heads]
    return {"seconds a head": float(np.mean(spent))}


def machine() -> dict[str, object]:
    """Return what the figures depend on; the last run that adds any is described."""
    kit = torch()
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, one thread",
        "processes that wait, at the start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": kit.__version__ if kit is not None else None,
        "dtype": "float32",
    }


def save(path: Path) -> None:
    """Write the results into the documentation: file, picture and tables."""
    kept = DOCS / "results" / "language-model.json"
    if path.resolve() != kept:
        shutil.copyfile(path, kept)
    cells = Cells(kept)
    tables.picture(cells.records, DOCS / "results" / "language-model.svg")
    page = DOCS / "language_model.md"
    page.write_text(
        tables.filled(page.read_text(encoding="utf-8"), cells.records), encoding="utf-8"
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Replace the attention of a language model.")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192], help="n")
    parser.add_argument("--texts", nargs="+", default=list(texts.NAMES), choices=texts.NAMES)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--only", nargs="+", help="settings whose name holds one of these")
    parser.add_argument(
        "--budget", type=float, default=float("inf"), help="processor seconds; then it stops"
    )
    parser.add_argument(
        "--planning", type=float, default=1800, help="seconds that one plan of the model may take"
    )
    parser.add_argument("--repeats", type=int, default=9, help="turns of the part one-head")
    parser.add_argument("--capture", type=Path, help="write q, k, v of all heads there, no more")
    parser.add_argument("--save", action="store_true", help="write the results into docs/")
    parser.add_argument("--json", type=Path, default=Path("report/bench_language_model.json"))
    return parser.parse_args()


def main() -> None:
    """Do what is asked for."""
    options = arguments()
    bench = Bench(options)
    with threadpool_limits(limits=1):
        if options.capture:
            bench.captured(options.texts[0], options.tokens[0]).save(options.capture)
            return
        bench.cells.keep("run with", machine())
        steps = {name: getattr(bench, name.replace("-", "_")) for name in PARTS}
        for part in options.parts:
            steps[part]()
    if options.save:
        save(options.json)


if __name__ == "__main__":
    main()
