"""docs/generated/capabilities.md: what each method and each call takes, and why not.

`COMMAND` writes it; a test compares it and calls every method.
"""

from __future__ import annotations

import ast
import dataclasses
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from methods import TABLE, Row

import approxattn as aa
from approxattn.methods.protocol import WHY_NO, Differentiable, value_alone, why_no
from approxattn.methods.sharded import Shardable
from approxattn.transformer import SelfAttention

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "generated" / "capabilities.md"
COMMAND = "PYTHONPATH=tests/support python tests/support/masking/capabilities.py"

FORMS: dict[str, dict[str, Any]] = {
    "key_mask": {"key_mask": np.array([True, True, False, True, True, True, True, True])},
    "causal": {"causal": True},
    "causal, n_q < n_k": {"causal": True, "query_offset": 4},
    "segments": {"segments": np.repeat([0, 1], 4)},
    "rows without keys": {"key_mask": np.zeros(8, bool), "empty_rows": "zero"},
    "scale": {"scale": 0.7},
    "window": {"window": (2, 0)},
    "bias": {"bias": np.arange(8.0)},
    "bias of positions": {"bias": aa.ALiBi(np.array(0.5)), "query_offset": 0},
    "softcap": {"softcap": 5.0},
    "sinks": {"sinks": np.array(0.5)},
    "return_lse": {"return_lse": True},
}
"""What the columns of the first table are, on eight keys."""


def classes():
    """Return the first row of each class of methods, by the name of the class."""
    found: dict[str, Row] = {}
    for row in TABLE:
        found.setdefault(type(row.method).__name__, row)
    return found


def takes(method, options) -> bool:
    """Tell whether a call with such a mask is carried out."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 8, 4))
    if options.get("query_offset"):
        q, ids = q[4:], options.get("segments")
        options = options if ids is None else {**options, "segments": (ids[4:], ids)}
    rng = np.random.default_rng(0) if method.randomised else None
    try:
        aa.attention(q, k, v, method, rng=rng, **options)
    except ValueError:
        return False
    return True


def reason(method, form: str) -> str:
    """Return why the method does not take a form, as it says itself."""
    for name in WHY_NO:
        if name in form.split(" ")[0]:
            return why_no(method, name)
    return str(method.why_no_scale if form == "scale" else method.why_not_causal)


class Ability(NamedTuple):
    """Something that a method has or has not, and the question that its code answers."""

    has: Callable[[Any], bool]
    meaning: str


def _has_setting(method: Any, name: str) -> bool:
    return name in {field.name for field in dataclasses.fields(method)}


ABILITIES: dict[str, Ability] = {
    "random": Ability(lambda m: bool(m.randomised), "needs `rng`"),
    "gradient": Ability(lambda m: isinstance(m, Differentiable), "`attention_vjp` takes it"),
    "trains": Ability(
        lambda m: bool(getattr(m, "gradient_of_output", False)),
        "its gradient is that of its output, so torch and JAX train through it",
    ),
    "tolerance": Ability(
        lambda m: _has_setting(m, "tolerance"), "takes an error and chooses its settings"
    ),
    "value alone": Ability(value_alone, "`certify=False` leaves out what only bounds need"),
    "state": Ability(lambda m: hasattr(m, "state"), "has a state for decoding"),
    "distributed": Ability(
        lambda m: isinstance(m, Shardable), "can be taken in blocks, over files and machines"
    ),
    "cost": Ability(lambda m: hasattr(m, "cost"), "says what a call takes; `max_memory` works"),
    "weights": Ability(
        lambda m: not getattr(m, "why_not_linear", ""), "`aa.weights` shows its weights"
    ),
}
"""What the columns of the second table are: each is read from the first settings in
tests/support/methods.py."""

CALLS = {
    "attention": "attend/__init__.py",
    "attention_vjp": "attend/__init__.py",
    "audit": "audit/__init__.py",
    "diagnose": "diagnosis/regime.py",
    "weights": "diagnosis/weights.py",
    "tensor_attention": "methods/polynomials/tensor_attention.py",
    "torch.scaled_dot_product_attention": "torch/attention.py",
    "jax.attention": "jax/callback.py",
    "jax.traced_attention": "jax/traced.py",
    "transformer.forward": "transformer/forward.py",
    "transformer.gradient": "transformer/gradient.py",
    "dask.attention": "dask/calls.py",
    "distributed.attention": "distributed/calls.py",
}
"""Public calls, and where they stand."""

ARGUMENTS = (
    "key_mask",
    "causal",
    "query_offset",
    "window",
    "segments",
    "empty_rows",
    "bias",
    "softcap",
    "sinks",
    "return_lse",
    "certify",
    "max_memory",
)
ALIASES = {"causal": ("is_causal",), "key_mask": ("attn_mask",), "bias": ("attn_mask",)}
ALIASES |= dict.fromkeys(("window", "segments"), ("attn_mask",))
"""Arguments that stand for others in torch's signature."""

OF_A_LAYER = {field.name for field in dataclasses.fields(SelfAttention)} & set(ARGUMENTS)
"""Arguments that a transformer has in its layers."""


def arguments_of(name: str, file: str) -> set[str]:
    """Return the names of the arguments of a function, as its source has them."""
    tree = ast.parse((ROOT / "approxattn" / file).read_text(encoding="utf-8"))
    wanted = name.rpartition(".")[2]
    function = next(
        x for x in tree.body if isinstance(x, ast.FunctionDef) and x.name == wanted
    ).args
    return {x.arg for x in (*function.posonlyargs, *function.args, *function.kwonlyargs)}


def by_methods() -> Iterator[str]:
    """Yield the lines of the table of masks, and the reasons below it."""
    yield f"| method | {' | '.join(FORMS)} |"
    yield f"|---|{'---|' * len(FORMS)}"
    reasons: dict[str, int] = {}
    for name, row in classes().items():
        cells = []
        for form, options in FORMS.items():
            why = "" if takes(row.method, options) else reason(row.method, form)
            cells.append(f"no ({reasons.setdefault(why, len(reasons) + 1)})" if why else "yes")
        yield f"| `{name}` | {' | '.join(cells)} |"
    yield ""
    for why, number in reasons.items():
        yield textwrap.fill(f"{number}. {why}.", 118, subsequent_indent="   ")


def by_abilities() -> Iterator[str]:
    """Yield the lines of the table of abilities, and what they mean."""
    yield f"| method | {' | '.join(ABILITIES)} |"
    yield f"|---|{'---|' * len(ABILITIES)}"
    for name, row in classes().items():
        cells = ["yes" if ability.has(row.method) else "no" for ability in ABILITIES.values()]
        yield f"| `{name}` | {' | '.join(cells)} |"
    yield ""
    yield from (f"- *{name}*: {ability.meaning}." for name, ability in ABILITIES.items())


def by_calls() -> Iterator[str]:
    """Yield the lines of the table of calls and their arguments."""
    yield f"| call | {' | '.join(ARGUMENTS)} |"
    yield f"|---|{'---|' * len(ARGUMENTS)}"
    for name, file in CALLS.items():
        have = arguments_of(name, file)
        layers = OF_A_LAYER if name.startswith("transformer.") else set()
        cells = ["layer" if x in layers else _cell(x, have) for x in ARGUMENTS]
        yield f"| `{name}` | {' | '.join(cells)} |"


def _cell(argument: str, have: set[str]) -> str:
    if argument in have:
        return "yes"
    other = [alias for alias in ALIASES.get(argument, ()) if alias in have]
    return f"`{other[0]}`" if other else "no"


def page() -> str:
    """Return the page."""
    return "\n".join(
        [
            "# Capabilities",
            "",
            "What each method takes, and the reason that it gives where it refuses. Every cell of",
            "the first table is a call that was made; a test compares this page with the code.",
            "Methods stand for the first settings in `tests/support/methods.py`. What is taken may",
            "be combined, but for `return_lse` with `sinks`: parts over different keys would each",
            "count the sink.",
            "",
            f"Written by `{COMMAND}`.",
            "",
            "## Masks and scores",
            "",
            *by_methods(),
            "",
            "## What else a method has",
            "",
            *by_abilities(),
            "",
            "## What each call takes",
            "",
            "Read from the signatures. In torch, masks may come as `attn_mask` too: key masks,",
            "windows and packed sequences are recognised in it, anything else is a bias. *layer*:",
            "an argument of `SelfAttention`. The output of a masked token is 0 in a transformer.",
            "",
            *by_calls(),
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
