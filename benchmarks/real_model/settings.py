"""What is put in place of attention: for the whole model, and on single heads."""

from __future__ import annotations

import approxattn as aa
from real_model import plans
from real_model.rivals import Blocks, Delta, Oracle, Rival, Window
from real_model.sampling_rivals import HashSampling, Hyper, Verified
from real_model.swaps import HeadAttention, Public


def everywhere() -> dict[str, HeadAttention]:
    """Return attention that all heads of the model share."""
    return {
        plans.EXACT: Public(aa.Exact()),
        **{f"window {w} + 4": Window(back=w - 1) for w in (256, 512, 1024)},
        "window 256 + 4, delta correction": Delta(back=255),
        "4 blocks of 32 by means": Blocks(kept=4),
        **dict(map(_selected, ((0, 192, 16), (128, 64, 16), (128, 192, 16), (256, 192, 16)))),
        **ours(),
    }


def _selected(numbers: tuple[int, int, int]) -> tuple[str, HeadAttention]:
    """Return SelectedSummaries and its name, for heavy keys, recent keys and summaries."""
    heavy, recent, summaries = numbers
    return f"SelectedSummaries({heavy}, {recent}, {summaries})", Public(_method(*numbers))


def _method(heavy: int, recent: int, summaries: int) -> aa.SelectedSummaries:
    return aa.SelectedSummaries(heavy=heavy, recent=recent, summaries=summaries)


def ours() -> dict[str, HeadAttention]:
    """Return our methods that have a causal form."""
    return {
        "Polynomial(degree=2)": Public(aa.Polynomial(degree=2, basis="taylor")),
        "FittedPolynomial(degree=2)": Public(aa.FittedPolynomial(degree=2)),
        "Performer(features=256)": Public(aa.Performer(features=256)),
        "YosoExpectation(bits=8)": Public(aa.YosoExpectation(bits=8)),
        "LSHSoftmax(bits=4, tables=4)": Public(aa.LSHSoftmax(bits=4, tables=4)),
        "BertLSH(bits=2)": Public(aa.BertLSH(bits=2)),
    }


PLANNED = (0.1, 0.05, 0.2)
"""Relative errors that plans are made for, and the model is run with."""

COMPARED = (
    *((error, 1.0, 0.1) for error in PLANNED),
    *((0.1, margin, 0.1) for margin in (0.7, 0.5)),
    *((0.1, 1.0, exceeding) for exceeding in (0.2, 0.3)),
)
"""Errors, margins and shares of blocks that may exceed them, of plans that are compared."""


def candidates() -> list[aa.SelectedSummaries]:
    """Return what a plan chooses from."""
    windows = [(0, recent, 0) for recent in (64, 192, 448, 960)]
    summaries = [(0, 64, 16), (0, 192, 16), (64, 64, 16), (128, 64, 16), (128, 192, 16)]
    larger = [(256, 192, 16), (512, 448, 16)]
    return [_method(*numbers) for numbers in windows + summaries + larger]


def on_heads(n: int) -> dict[str, dict[str, HeadAttention]]:
    """Return what is compared on single heads of n tokens, by family, at growing cost."""
    shares = (1 / 64, 1 / 32, 1 / 16, 1 / 8)
    keys = [max(16, round(share * n / 2)) for share in shares]
    windows: dict[str, HeadAttention] = {f"window {w}": Window(back=w) for w in keys}
    deltas: dict[str, HeadAttention] = {f"delta, window {w}": Delta(back=w) for w in keys}
    oracle: dict[str, HeadAttention] = {f"oracle {t}": Oracle(top=t) for t in keys}
    hyper: dict[str, HeadAttention] = {
        f"sorted blocks {s}, {s} sampled": Hyper(size=s, sample=s, least=max(64, n // 8))
        for s in (keys[0], keys[2])
    }
    selected = [(count // 2, count // 2, 16) for count in keys] + [(0, keys[1], 16)]
    return {
        "SelectedSummaries(heavy, recent, summaries)": dict(map(_selected, selected)),
        "window and first keys": windows,
        "delta correction": deltas,
        "blocks by means": _blocks(keys),
        "blocks by means, means for the rest": _blocks(keys, rest=True),
        "blocks by boxes (Quest)": _blocks(keys, by="box", size=16),
        "HyperAttention": hyper,
        "LSH sampling (MagicPIG)": {
            "10 bits, 150 tables": HashSampling(),
            "8 bits, 75 tables": HashSampling(bits=8, tables=75),
        },
        "verified (vAttention)": {
            f"within {e}, failure {f}": Verified(within=e, failure=f)
            for e, f in ((0.1, 0.1), (0.05, 0.05))
        },
        "oracle": oracle,
    }


def _blocks(
    keys: list[int], *, by: str = "mean", size: int = 32, rest: bool = False
) -> dict[str, HeadAttention]:
    """Return block selection that reads about so many keys, the window of 64 included."""
    found: dict[str, HeadAttention] = {}
    for count in keys:
        kept = max(1, (count - 64) // size)
        rule: Rival = Blocks(kept=kept, size=size, by=by, rest=rest)
        found[f"{kept} blocks of {size}"] = rule
    return found
